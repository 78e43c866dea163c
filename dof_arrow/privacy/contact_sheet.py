"""A contact sheet of what attackers rebuilt: for the owner's eye, as a score tells it badly.

It shows pictures of the source, and goes where they may go; it is never stored in a dataset.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.privacy.attacks.inversion import Rebuilt, ssim

Array = NDArray[Any]

_EACH = 6  # pictures of a block
_BLOCKS = ("rebuilt best", "median", "worst")
_SCALE = 2  # pixels of the sheet along one of a thumbnail
_GAP = 4
_LABEL = 64  # pixels for what a row is
_TITLE = 16
_PAPER, _INK = 255, 0


def contact_sheet(pictures: Array, rebuilt: Rebuilt) -> bytes:
    """The PNG bytes of a sheet: grey pictures float [n, h, w] of 0 to 1 above what attackers made.

    Side by side stand those that the decoder rebuilt best, those in the middle, and the worst, six
    of each or as many as there are, by SSIM. Below each picture stand ridge's, the decoder's, and
    the decoder's from features that were dealt to other rows. Equal arrays give equal bytes.
    """
    rows = {
        "picture": pictures,
        "ridge": rebuilt.ridge,
        "decoder": rebuilt.decoder,
        "shuffled": rebuilt.shuffled,
    }
    order = np.argsort(-ssim(pictures.astype(np.float64), rebuilt.decoder), kind="stable")
    return _drawn(rows, _blocks(order))


def _blocks(order: Array) -> dict[str, Array]:
    """Which pictures, best first, stand in each block."""
    each = max(min(_EACH, len(order) // len(_BLOCKS)), 1)
    last = len(order) - each
    blocks = {}
    for name, start in zip(_BLOCKS, (0, last // 2, last), strict=True):
        blocks[f"{name} of {len(order):,}"] = order[start : start + each]
    return blocks


def _drawn(rows: Mapping[str, Array], blocks: Mapping[str, Array]) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    height, width = next(iter(rows.values())).shape[1:]
    down, right = height * _SCALE + _GAP, width * _SCALE + _GAP
    shown = sum(len(places) for places in blocks.values())
    size = (_LABEL + shown * right + len(blocks) * _GAP, _TITLE + len(rows) * down)
    sheet = Image.new("L", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default_imagefont()  # the same wherever Pillow is
    for line, name in enumerate(rows):
        draw.text((_GAP, _TITLE + line * down), name, _INK, font)
    left = _LABEL
    for title, places in blocks.items():
        draw.text((left, 2), title, _INK, font)
        for place in places.tolist():
            for line, pictures in enumerate(rows.values()):
                sheet.paste(_grey(pictures[place]), (left, _TITLE + line * down))
            left += right
        left += _GAP
    stored = io.BytesIO()
    sheet.save(stored, "PNG")
    return stored.getvalue()


def _grey(picture: Array) -> Any:
    from PIL import Image

    values = np.rint(picture.clip(0, 1) * 255).astype(np.uint8)
    large = values.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
    return Image.fromarray(large)
