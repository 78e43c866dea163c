"""How the pixels of each Pillow mode become RGB or grey of 8 bits.

    1, L, RGB, RGBX                as they are (16-bit colour: Pillow keeps the high byte)
    P, LA, La, PA, RGBA, RGBa      laid on white where transparent; so is any picture with a
                                   transparent colour
    CMYK, YCbCr, HSV, LAB          converted to RGB; Adobe's inverted CMYK is told by its marker
    I;16 and its byte orders,      the upper 8 of the bits in use
      I of a PGM
    I, F                           linear between the lowest and the highest finite value

The last two are rules of `media.intensity`. White-is-zero TIFFs are inverted, whatever their depth.
RGB becomes L as 0.299 R + 0.587 G + 0.114 B (ITU-R 601-2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dof_arrow.errors import PictureError
from dof_arrow.media import orientation
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.intensity import Pixels, extremes, stretch, unused_bits, upper_bits

Conversion = Callable[[Image.Image], Image.Image]  # a band of a picture -> in RGB or grey of 8 bits
Rule = Callable[[Image.Image, PictureFacts], Conversion]

BAND = 1 << 20  # pixels converted at a time
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0


def rule_of(mode: str) -> Rule:
    """The rule for a Pillow mode; PictureError for modes that are not read."""
    if mode not in _RULES:
        raise PictureError(
            "pixels of this kind are not read", expected=" ".join(_RULES), rule="unsupported-mode"
        )
    return _RULES[mode]


def converted(picture: Image.Image, facts: PictureFacts, mode: str, turn: int) -> Pixels:
    """A loaded picture's pixels in `mode`, uint8 [h, w, 3] or [h, w, 1], turned by an orientation.

    Some rows are converted at a time, so that no second picture is held.
    """
    convert = rule_of(facts.mode)(picture, facts)
    width, height = picture.size
    if _rows_of_a_band(picture) >= height and turn == orientation.UPRIGHT:
        whole = _as(mode, convert(picture))
        return np.ascontiguousarray(_pixels(whole))
    channels = 1 if mode == "L" else 3
    if turn >= orientation.LYING:
        upright = np.empty((width, height, channels), np.uint8)
    else:
        upright = np.empty((height, width, channels), np.uint8)
    stored = orientation.as_stored(upright, turn)
    for top, band in _bands(picture):
        # Bound to no name, which would keep a band in memory while the next one is converted.
        stored[top : top + band.height] = _pixels(_as(mode, convert(band)))
    return upright


def _pixels(picture: Image.Image) -> Pixels:
    """uint8 [h, w, channels]."""
    return np.asarray(picture).reshape(picture.height, picture.width, -1)


def _rows_of_a_band(picture: Image.Image) -> int:
    return max(BAND // picture.width, 1)


def _bands(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The picture in bands of some rows, each with the number of its first row."""
    rows = _rows_of_a_band(picture)
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        yield top, picture.crop((0, top, picture.width, bottom))


def _values(picture: Image.Image) -> Iterator[npt.NDArray[Any]]:
    for _, band in _bands(picture):
        yield np.asarray(band)


def _as(mode: str, picture: Image.Image) -> Image.Image:
    return picture if picture.mode == mode else picture.convert(mode)  # convert would copy


def _opaque(picture: Image.Image, _: PictureFacts) -> Conversion:
    return _on_white if picture.has_transparency_data else _unchanged


def _unchanged(band: Image.Image) -> Image.Image:
    return band


def _on_white(band: Image.Image) -> Image.Image:
    band = band.convert("RGBA")
    white = Image.new("RGB", band.size, "white")
    white.paste(band, mask=band.getchannel("A"))
    return white


def _colour(picture: Image.Image, _: PictureFacts) -> Conversion:
    return lambda band: band.convert("RGB")


def _upper_bits(picture: Image.Image, _: PictureFacts) -> Conversion:
    unused = unused_bits(_values(picture))
    clear = picture.info.get("transparency")

    def convert(band: Image.Image) -> Image.Image:
        values = np.asarray(band)
        grey = upper_bits(values, unused)
        # A PNG of 16 bits may name one grey value that is transparent.
        if isinstance(clear, int):
            grey[values == clear] = 255
        return Image.fromarray(_dark_zero(grey, picture))

    return convert


def _stretched(picture: Image.Image, facts: PictureFacts) -> Conversion:
    if facts.format == "PPM" and facts.mode == "I":  # a PGM of 16 bits
        return _upper_bits(picture, facts)
    low, high = extremes(_values(picture))

    def convert(band: Image.Image) -> Image.Image:
        grey = stretch(np.asarray(band), low, high, factor_first=True)
        return Image.fromarray(_dark_zero(grey, picture))

    return convert


def _dark_zero(grey: Pixels, picture: Image.Image) -> Pixels:
    """Pillow leaves white-is-zero TIFFs of more than 8 bits as they are stored."""
    tags = getattr(picture, "tag_v2", {})
    return 255 - grey if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("1", "L", "RGB", "RGBX", "P", "LA", "La", "PA", "RGBA", "RGBa"), _opaque),
    **dict.fromkeys(("CMYK", "YCbCr", "HSV", "LAB"), _colour),
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), _upper_bits),
    **dict.fromkeys(("I", "F"), _stretched),
}
