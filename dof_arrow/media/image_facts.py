"""What a stored picture is like, as its header and its tags say."""

from __future__ import annotations

import io
import struct
from contextlib import suppress

from PIL import Image

from dof_arrow.media import orientation
from dof_arrow.media.decoder_noise import load
from dof_arrow.media.facts import PictureFacts

_BITS_PER_SAMPLE = 258
_PNG_BIT_DEPTH = 24  # the offset of that byte in the header chunk
_BITS = {"1": 1, "I": 16, "F": 32}


def facts_of(picture: Image.Image, data: bytes) -> PictureFacts:
    """The facts of an opened picture, of which `data` are the stored bytes.

    Raises what Pillow raises, and PictureError, where a PNG's pixels are damaged.
    """
    turn = _orientation(picture)
    width, height = picture.size
    # Pillow reports the size of a TIFF as it will be once turned.
    if picture.format == "TIFF" and turn >= orientation.LYING:
        width, height = height, width
    return PictureFacts(
        width=width,
        height=height,
        mode=picture.mode,
        bits=_bits(picture, data),
        format=picture.format or "",
        frames=_frames(picture, data),
        orientation=turn,
        bytes=len(data),
    )


def _orientation(picture: Image.Image) -> int:
    if picture.format == "PNG":
        load(picture)  # getexif would, and its failure would pass unseen below
    with suppress(Exception):  # damaged EXIF is no reason to lose a picture
        value = picture.getexif().get(orientation.TAG, orientation.UPRIGHT)
        if orientation.exists(value):
            return int(value)
    return orientation.UPRIGHT


def _bits(picture: Image.Image, data: bytes) -> int:
    """Bits a channel, as stored."""
    if picture.format == "PNG":
        return data[_PNG_BIT_DEPTH]
    tags = getattr(picture, "tag_v2", None)
    if tags is not None:
        return int(max(tags.get(_BITS_PER_SAMPLE, (1,))))
    if picture.mode.startswith("I;16"):
        return 16
    return _BITS.get(picture.mode, 8)


def _frames(picture: Image.Image, data: bytes) -> int:
    with suppress(Exception):  # what is wrong in later frames does not matter to the first
        if picture.format == "TIFF":
            return _tiff_frames(data)
        if picture.format == "GIF":  # counting walks through the frames and may end astray
            with Image.open(io.BytesIO(data), formats=("GIF",)) as again:
                return int(getattr(again, "n_frames", 1))
        return int(getattr(picture, "n_frames", 1))
    return 1


def _tiff_frames(data: bytes) -> int:
    """The length of the chain of directories (TIFF 6.0, section 2; BigTIFF).

    Pillow would read the tags of each of them.
    """
    order = "<" if data.startswith(b"II") else ">"
    if 43 in data[2:4]:  # the version number of a BigTIFF
        first, offset, count, entry = 8, order + "Q", order + "Q", 20
    else:
        first, offset, count, entry = 4, order + "I", order + "H", 12
    (at,) = struct.unpack_from(offset, data, first)
    seen: set[int] = set()
    while at and at not in seen:
        seen.add(at)
        (entries,) = struct.unpack_from(count, data, at)
        end = at + struct.calcsize(count) + entry * entries
        (at,) = struct.unpack_from(offset, data, end)
    return len(seen)
