"""Arrays of numbers -> uint8 pixels, by the rules by which stored pictures become 8 bits (`media`).

    bool              0 and 255
    uint8             as it is
    uint16, uint32    the upper 8 of the bits in use: those of the greatest value, at least 8
    int, float        no known range: lowest finite value -> 0, highest -> 255, linear

Axes: [h, w], [h, w, c] or, where the last axis is none of 1 to 4 long and the first is, [c, h, w]. Channels: grey,
grey with alpha, RGB, RGB with alpha; what is transparent lies on white.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.intensity import to_bytes

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def decode(
    values: Array, *, mode: Literal["RGB", "L"] = "RGB", format: str = "array"
) -> tuple[Pixels, PictureFacts]:
    """Pixels uint8 [h, w, 3] or [h, w, 1], C-contiguous, and what the array was like; PictureError for other arrays.

    >>> pixels, facts = decode(np.array([[0, 4095]], np.uint16), mode="L")
    >>> pixels.ravel().tolist(), facts.mode, facts.bits
    ([0, 255], 'L', 16)
    """
    picture = channels_last(values)
    facts = PictureFacts(
        width=picture.shape[1],
        height=picture.shape[0],
        mode=_MODES[picture.shape[2]],
        bits=1 if values.dtype == np.bool_ else 8 * values.dtype.itemsize,
        format=format,
        frames=1,
        orientation=1,
        bytes=values.nbytes,
    )
    return in_mode(to_bytes(picture), mode), facts


def channels_last(values: Array) -> Array:
    """A picture [h, w, c] with 1 to 4 channels.

    >>> channels_last(np.zeros((3, 20, 10))).shape, channels_last(np.zeros((20, 10))).shape
    ((20, 10, 3), (20, 10, 1))
    """
    picture = values[..., None] if values.ndim == 2 else values
    if picture.ndim == 3 and picture.shape[2] not in _MODES and picture.shape[0] in _MODES:
        picture = np.moveaxis(picture, 0, 2)
    if picture.ndim != 3 or picture.shape[2] not in _MODES or not picture.size:
        raise PictureError(
            "an array that is no picture",
            expected="[h, w], [h, w, c] or [c, h, w], 1 to 4 channels",
            found=str(list(values.shape)),
            rule="unsupported-mode",
        )
    return picture


def in_mode(picture: Pixels, mode: Literal["RGB", "L"]) -> Pixels:
    """uint8 pixels [h, w, 1 to 4] as RGB [h, w, 3] or grey [h, w, 1], without alpha.

    >>> in_mode(np.array([[[9, 0]]], np.uint8), "RGB").tolist()
    [[[255, 255, 255]]]
    """
    channels = picture.shape[2]
    if channels in (2, 4):
        picture = _on_white(picture[:, :, :-1], picture[:, :, -1:])
    if mode == "L" and channels > 2:
        from PIL import Image

        return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).convert("L"))[..., None]
    wanted = 1 if mode == "L" else 3
    return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], wanted)))


def _on_white(picture: Pixels, alpha: Pixels) -> Pixels:
    share = alpha / np.float32(255)
    return np.rint(picture * share + 255 * (1 - share)).astype(np.uint8)
