"""TIFF layouts that Pillow reads wrongly or not at all: set right, or refused by what they are."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

from PIL import Image, ImageFile

from dof_arrow.errors import PictureError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
NODATA = 42113  # GDAL's tag: the value of pixels that are none, as a text
EXTRA_SAMPLES = 338
SAMPLE_FORMAT = 339
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # values of that tag
BITS_PER_SAMPLE = 258

_COMPRESSION = 259
_PHOTOMETRIC = 262
_WHITE_IS_ZERO, _YCBCR = 0, 6
_SAMPLES_PER_PIXEL = 277
_PLANAR = 284
_APART = 2  # a plane after the other
_SUBSAMPLING = 530
_HINT = "Convert it to PNG or to a TIFF of 8 or 16 bits, samples side by side."


def mend(picture: Image.Image) -> None:
    """Have an opened TIFF decoded as it is stored; PictureError for what Pillow would mistake."""
    if isinstance(picture, ImageFile.ImageFile) and picture.format == "TIFF" and picture.tile:
        _mend(picture)


def _mend(picture: ImageFile.ImageFile) -> None:
    tags = tags_of(picture)
    compressed = any(tile.codec_name == "libtiff" for tile in picture.tile)
    if compressed:
        picture.tile = [_in_native_order(tile) for tile in picture.tile]
        return
    if tags.get(_PHOTOMETRIC) == _YCBCR and tuple(tags.get(_SUBSAMPLING, (2, 2))) != (1, 1):
        raise _unread("colour differences shared by several pixels, uncompressed")
    if tags.get(_PLANAR) == _APART:
        picture.tile = _planes(picture, tags)


def tags_of(picture: Image.Image) -> Any:
    """The tags of a TIFF; of other pictures none."""
    return getattr(picture, "tag_v2", {})


def unread(data: bytes) -> PictureError | None:
    """Why Pillow does not open a TIFF, by its tags; None where they cannot be read."""
    from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2

    with suppress(Exception):
        tags = ImageFileDirectory_v2(data[:16] if data[2] == 43 or data[3] == 43 else data[:8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        compression = int(tags.get(_COMPRESSION, 1))
        if compression not in COMPRESSION_INFO:
            return _unread(f"compression {compression}")
        bits = int(max(tags[BITS_PER_SAMPLE]))
        kinds = {SIGNED: "signed ", FLOAT: "floating "}
        kind = kinds.get(int(max(tags.get(SAMPLE_FORMAT, (UNSIGNED,)))), "")
        samples = int(tags.get(_SAMPLES_PER_PIXEL, 1))
        white = ", 0 is white" if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else ""
        order = ", big-endian" if data.startswith(b"MM") else ""
        noun = "sample" if samples == 1 else "samples"
        return _unread(f"{samples} {noun} of {bits} {kind}bits{white}{order}")
    return None


def _unread(found: str) -> PictureError:
    return PictureError(
        "pixels of this kind are not read of a TIFF",
        found=found,
        hint=_HINT,
        rule="unsupported-mode",
    )


def _in_native_order(tile: Any) -> Any:
    """The tile, its values not swapped again: libtiff gives them in this machine's order."""
    raw = tile.args[0]
    for swapped in (";16B", ";32B"):
        raw = raw.replace(swapped, swapped[:-1] + "N")
    return tile._replace(args=(raw, *tile.args[1:]))


def _planes(picture: ImageFile.ImageFile, tags: Any) -> list[Any]:
    """The tiles of planes apart; those of samples that are no band of the picture are left out."""
    deep = max(tags.get(BITS_PER_SAMPLE, (1,))) == 16
    if picture.mode == "LA" or (deep and picture.mode not in ("RGB", "RGBA")):
        raise _unread("such planes apart")
    order = ";16L" if tags.prefix.startswith(b"II") else ";16B"
    tiles: list[Any] = []
    stored: list[Any] = picture.tile
    for tile in stored:
        band = tile.args[0]
        if band in picture.getbands():
            # Pillow would take the lower byte of a value for a pixel, the upper for the next one.
            raw = band + order if deep else band
            tiles.append(tile._replace(args=(raw, *tile.args[1:])))
    return tiles
