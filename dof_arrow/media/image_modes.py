"""How the pixels of each Pillow mode become RGB or grey of 8 bits.

    1, L, RGB, RGBX                as they are (16-bit colour: Pillow keeps the high byte)
    P, LA, La, PA, RGBA, RGBa      laid on white where transparent; so is any picture with a
                                   transparent colour
    L of signed bytes              as I
    CMYK, YCbCr, HSV, LAB          converted to RGB; Adobe's inverted CMYK is told by its marker
    I;16 and its byte orders,      the upper 8 of the bits in use
      I of a PGM
    I, F                           linear between the lowest and the highest finite value

The last two are rules of `media.intensity`; pixels of the value that a TIFF names as none (GDAL's
tag) are left out of them and become 0. Opacity that is 0 in all of a BMP is none: the picture is
opaque. A TIFF's fourth sample that is not said to be opacity is refused unless it is full.
White-is-zero TIFFs are inverted, whatever their depth.

RGB becomes L as 0.299 R + 0.587 G + 0.114 B (ITU-R 601-2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, _imaging

from dof_arrow.errors import PictureError
from dof_arrow.media import orientation, tiff_layout
from dof_arrow.media.array import thrice
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


def converted(
    picture: Image.Image, facts: PictureFacts, mode: str, turn: int, *, grey_once: bool = False
) -> Pixels:
    """A loaded picture's pixels in `mode`, uint8 [h, w, 3] or [h, w, 1], turned by an orientation.

    Some rows are converted at a time, so that no second picture is held. `grey_once` as in
    `image.decode`.
    """
    convert = rule_of(facts.mode)(picture, facts)
    if grey_once and mode == "RGB" and _is_grey(picture, convert):
        return thrice(_in(picture, convert, "L", turn))
    return _in(picture, convert, mode, turn)


def _is_grey(picture: Image.Image, convert: Conversion) -> bool:
    """Whether a conversion gives grey levels, which are the same in each channel of RGB."""
    return convert(picture.crop((0, 0, 1, 1))).mode == "L"


def _in(picture: Image.Image, convert: Conversion, mode: str, turn: int) -> Pixels:
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
    """uint8 [h, w, channels] of a loaded picture in RGB or L, read-only.

    `np.asarray` gives the same: it has Pillow pack the pixels in pieces of 64 KiB and joins them,
    which takes three times as long as all of them at once.
    """
    shape = picture.height, picture.width, len(picture.mode)  # a letter is a channel
    packer = _imaging.raw_encoder(picture.mode, picture.mode)
    packer.setimage(picture.im, (0, 0, *picture.size))
    _, _, packed = packer.encode(math.prod(shape))
    return np.frombuffer(packed, np.uint8).reshape(shape)


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


def _opaque(picture: Image.Image, facts: PictureFacts) -> Conversion:
    tags = tiff_layout.tags_of(picture)
    if picture.mode == "L" and tags.get(tiff_layout.SAMPLE_FORMAT) == (tiff_layout.SIGNED,):
        return _stretched(picture, facts)
    if picture.mode == "RGBA" and _is_no_alpha(picture, facts, tags):
        return lambda band: band.convert("RGB")
    return _on_white if picture.has_transparency_data else _unchanged


def _is_no_alpha(picture: Image.Image, facts: PictureFacts, tags: Any) -> bool:
    """Whether a fourth sample is no opacity; PictureError where that cannot be told."""
    if facts.format == "BMP":
        return picture.getchannel("A").getbbox() is None
    untold = facts.format == "TIFF" and tiff_layout.EXTRA_SAMPLES not in tags
    if untold and picture.getchannel("A").getextrema() != (255, 255):
        raise PictureError(
            "a fourth sample that the TIFF does not say is opacity",
            expected="the tag ExtraSamples",
            hint="Write it again with three samples, or with the tag.",
            rule="unsupported-mode",
        )
    return False


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
    none = _no_data(picture)
    unused = unused_bits(_without(none, _values(picture)))
    clear = picture.info.get("transparency")

    def convert(band: Image.Image) -> Image.Image:
        values = np.asarray(band)
        grey = upper_bits(values, unused)
        # A PNG of 16 bits may name one grey value that is transparent.
        if isinstance(clear, int):
            grey[values == clear] = 255
        return _finished(grey, values, picture, none)

    return convert


def _stretched(picture: Image.Image, facts: PictureFacts) -> Conversion:
    if facts.format == "PPM" and facts.mode == "I":  # a PGM of 16 bits
        return _upper_bits(picture, facts)
    none = _no_data(picture)
    dtype = _stored_type(picture)
    parts = (values.view(dtype or values.dtype) for values in _values(picture))
    low, high = extremes(_without(none, parts))

    def convert(band: Image.Image) -> Image.Image:
        values = np.asarray(band)
        values = values.view(dtype or values.dtype)
        grey = stretch(values, low, high, factor_first=True)
        return _finished(grey, values, picture, none)

    return convert


def _stored_type(picture: Image.Image) -> type[np.generic] | None:
    """What numbers are, where Pillow calls them otherwise."""
    tags = tiff_layout.tags_of(picture)
    if picture.mode == "L":
        return np.int8
    kind = tags.get(tiff_layout.SAMPLE_FORMAT, (tiff_layout.UNSIGNED,))
    deep = tags.get(tiff_layout.BITS_PER_SAMPLE) == (32,)
    unsigned = picture.mode == "I" and deep and kind == (tiff_layout.UNSIGNED,)
    return np.uint32 if unsigned else None


def _no_data(picture: Image.Image) -> float | None:
    """The value of pixels that are none, where a TIFF names one."""
    text = str(tiff_layout.tags_of(picture).get(tiff_layout.NODATA, ""))
    with suppress(ValueError):
        return float(text.strip(" \0"))
    return None


def _without(none: float | None, parts: Iterator[npt.NDArray[Any]]) -> Iterator[npt.NDArray[Any]]:
    for values in parts:
        yield values if none is None else values[_differs(values, none)]


def _differs(values: npt.NDArray[Any], none: float) -> npt.NDArray[np.bool_]:
    same = values.dtype.type(none) if values.dtype.kind == "f" else none
    return np.asarray(values != same)


def _finished(
    grey: Pixels, values: npt.NDArray[Any], picture: Image.Image, none: float | None
) -> Image.Image:
    """Levels with white as white is, and 0 where there is nothing."""
    grey = _dark_zero(grey, picture)
    if none is not None:
        grey[~_differs(values, none)] = 0
    return Image.fromarray(grey)


def _dark_zero(grey: Pixels, picture: Image.Image) -> Pixels:
    """Pillow leaves white-is-zero TIFFs of more than 8 bits as they are stored."""
    tags = tiff_layout.tags_of(picture)
    return 255 - grey if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("1", "L", "RGB", "RGBX", "P", "LA", "La", "PA", "RGBA", "RGBa"), _opaque),
    **dict.fromkeys(("CMYK", "YCbCr", "HSV", "LAB"), _colour),
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), _upper_bits),
    **dict.fromkeys(("I", "F"), _stretched),
}
