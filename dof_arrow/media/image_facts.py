"""What a stored picture is like, as its header and its tags say."""

from __future__ import annotations

import io
from contextlib import suppress

from PIL import Image

from dof_arrow.media import orientation, plugins, tiff_pages
from dof_arrow.media.decoder_noise import load
from dof_arrow.media.facts import PictureFacts

_BITS_PER_SAMPLE = 258
_PNG_BIT_DEPTH = 24  # the offset of that byte in the header chunk
_BITS = {"1": 1, "I": 16, "F": 32}


def facts_of(picture: Image.Image, data: bytes, frames: int | None = None) -> PictureFacts:
    """The facts of an opened picture, of which `data` are the stored bytes.

    Its frames are counted where `frames` does not say how many there are.

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
        frames=_frames(picture, data) if frames is None else frames,
        orientation=turn,
        bytes=len(data),
    )


def _orientation(picture: Image.Image) -> int:
    if _is_upright(picture):
        return orientation.UPRIGHT
    if picture.format == "PNG":
        load(picture)  # getexif would, and its failure would pass unseen below
    with suppress(Exception):  # damaged EXIF is no reason to lose a picture
        value = picture.getexif().get(orientation.TAG, orientation.UPRIGHT)
        if orientation.exists(value):
            return int(value)
    return orientation.UPRIGHT


def _is_upright(picture: Image.Image) -> bool:
    """Whether the plugin that decodes a picture turns it, whatever its EXIF still says."""
    if picture.format == plugins.JXL:
        return not getattr(picture, "jpeg", False)  # a JPEG inside lies as it was stored
    return picture.format == plugins.HEIF


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
            return len(tiff_pages.pages(data))
        if picture.format == "GIF":  # counting walks through the frames and may end astray
            with Image.open(io.BytesIO(data), formats=("GIF",)) as again:
                return int(getattr(again, "n_frames", 1))
        return int(getattr(picture, "n_frames", 1))
    return 1
