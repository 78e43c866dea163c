"""Picture bytes -> uint8 pixels, upright, by rules that are stated once (SPEC.md 4.4, "Decode").

Formats read: `FORMATS`, by plugins HEIF and JPEG XL (`media.plugins`); all others are refused by
name. Of an animation the first frame is taken; a TIFF of several pictures is refused.
Colour profiles are not applied. How each kind of pixel becomes 8 bits says `media.image_modes`.
Nothing here names a file or quotes what a picture holds.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from PIL import Image, UnidentifiedImageError

from dof_arrow.errors import PictureError
from dof_arrow.media import orientation as exif
from dof_arrow.media import tiff_layout, tiff_pages
from dof_arrow.media.bounds import MEMORY, check_pixels
from dof_arrow.media.decoder_noise import listen_to_libtiff, load, without_warnings
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.image_facts import facts_of
from dof_arrow.media.image_modes import converted, rule_of
from dof_arrow.media.intensity import Pixels
from dof_arrow.media.plugins import HEIF, JXL, is_heif, jxl_size, plugin_format

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")
# Bytes that a pixel takes in a decoder at its worst, measured; 4 where no other number stands.
_IN_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
_IN_DECODER = {"WEBP": 16, "JPEG2000": 20, "AVIF": 10, HEIF: 12, JXL: 16}
_DRAFTS = (2, 4, 8)  # the divisors by which a JPEG can be decoded smaller
# Where other formats have their magic bytes, and what they are called.
_OTHERS = (
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"%!PS", "PostScript"),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\3\4", "a zip archive"),
    (0, b"<svg", "SVG"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (0, b"\x93NUMPY", "an array"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (4, b"ftyp", "a video"),
    (128, b"DICM", "DICOM"),
)
_HTML = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<!--.{0,1000}?-->\s*)?<(!doctype\s+html|html)", re.I | re.S
)


def decode(
    data: bytes,
    *,
    mode: Literal["RGB", "L"] = "RGB",
    orientation: Literal["exif", "ignore"] = "exif",
    draft: int | None = None,
    max_pixels: int | None = None,
    grey_once: bool = False,
) -> tuple[Pixels, PictureFacts]:
    """Pixels uint8 [h, w, 3] or [h, w, 1], C-contiguous, and what the stored picture was like.

    `draft` lets a JPEG be decoded straight to the smallest of 1/1, 1/2, 1/4, 1/8 whose shorter side
    is >= draft pixels. With `grey_once` the three equal channels of a grey picture are one in
    memory (`array.thrice`), and the pixels not C-contiguous. Raises PictureError; a picture of more
    than `max_pixels` is refused before its pixels are decoded, by default one that would take more
    than `MEMORY` bytes: from 25 million pixels in JPEG 2000 to 107 million grey ones.

    >>> pixels, facts = decode(b"P5 2 1 255 " + bytes([7, 9]), mode="L")
    >>> pixels.tolist(), facts.format, facts.bits
    ([[[7], [9]]], 'PPM', 8)
    """
    with _opened(data, max_pixels, draft) as (picture, facts):
        if draft and picture.format == "JPEG":
            picture.draft(None, (draft, draft))
        upright = orientation == "exif"
        return _decoded(picture, facts, mode, upright=upright, grey_once=grey_once), facts


def inspect(data: bytes, *, max_pixels: int | None = None) -> PictureFacts:
    """What a stored picture is like, mostly from its header; raises PictureError.

    A PNG is decoded, because its EXIF may follow its pixels.

    >>> inspect(b"P5 2 1 255 " + bytes([7, 9])).width
    2
    """
    with _opened(data, max_pixels) as (_, facts):
        return facts


class TiffPages:
    """The pages of a TIFF file, decoded as `decode` does, in any order; the file is opened once.

    `numbers` are the pages that are pictures. Raises PictureError.
    """

    def __init__(
        self,
        data: bytes,
        *,
        mode: Literal["RGB", "L"] = "RGB",
        orientation: Literal["exif", "ignore"] = "exif",
        max_pixels: int | None = None,
    ) -> None:
        listen_to_libtiff()
        self.numbers = tiff_pages.pictures(tiff_pages.pages(data))
        self._data = data
        self._mode = mode
        self._upright = orientation == "exif"
        self._max_pixels = max_pixels
        with _explained(data), without_warnings:
            self._picture = Image.open(io.BytesIO(data), formats=("TIFF",))

    def decode(self, number: int) -> tuple[Pixels, PictureFacts]:
        """The pixels of one of the pictures, and what it is like."""
        picture = self._picture
        with _explained(self._data), without_warnings:
            picture.seek(self.numbers[number])
            _check_size(picture, self._max_pixels, None)
            facts = facts_of(picture, self._data, frames=len(self.numbers))
            return _decoded(picture, facts, self._mode, upright=self._upright), facts


def _decoded(
    picture: Image.Image,
    facts: PictureFacts,
    mode: Literal["RGB", "L"],
    *,
    upright: bool,
    grey_once: bool = False,
) -> Pixels:
    load(picture)
    turn = _turn(facts, upright=upright)
    return converted(picture, facts, mode, turn, grey_once=grey_once)


@contextmanager
def _opened(
    data: bytes, max_pixels: int | None, draft: int | None = None
) -> Iterator[tuple[Image.Image, PictureFacts]]:
    """The picture, its size checked, nothing of it decoded yet but a PNG or JPEG XL."""
    listen_to_libtiff()
    with _explained(data), without_warnings:
        plugin = plugin_format(data)
        if plugin == JXL:  # which would be decoded as it is opened
            check_pixels(jxl_size(data), max_pixels or MEMORY // (_IN_DECODER[JXL] + 1))
        formats = FORMATS if plugin is None else (plugin,)
        with Image.open(io.BytesIO(data), formats=formats) as picture:
            if picture.format == "TIFF":
                picture.seek(tiff_pages.only_picture(data))
            _check_size(picture, max_pixels, draft)
            facts = facts_of(picture, data)
            rule_of(facts.mode)  # refuses modes that are not read, before the pixels are decoded
            yield picture, facts


def _check_size(picture: Image.Image, max_pixels: int | None, draft: int | None) -> None:
    """Refuse a picture before its pixels are decoded."""
    if max_pixels is None:
        max_pixels = MEMORY * _shrunk(picture, draft) ** 2 // _cost(picture)
    check_pixels(picture.size, max_pixels)


def _shrunk(picture: Image.Image, draft: int | None) -> int:
    """How many times smaller, in width and height, a picture is decoded."""
    if not draft or picture.format != "JPEG":
        return 1
    shorter = min(picture.size)
    return max((times for times in _DRAFTS if shorter >= times * draft), default=1)


def _cost(picture: Image.Image) -> int:
    """Bytes of memory that decoding takes a pixel at the most."""
    own = _IN_MODE.get(picture.mode, 4)
    turned = own if picture.format == "TIFF" else 0  # which Pillow turns by itself
    in_pillow = own + turned + 3
    decoding = _IN_DECODER.get(picture.format or "", 0)
    return max(in_pillow, decoding) + 1


@contextmanager
def _explained(data: bytes) -> Iterator[None]:
    """Any failure on a stranger's bytes becomes a PictureError that quotes nothing of them."""
    try:
        yield
    except PictureError:
        raise
    # `from None` throughout: the causes quote bytes and paths.
    except (UnidentifiedImageError, KeyError):  # the latter for a compression that is not known
        raise _unknown(data) from None
    except (Image.DecompressionBombError, MemoryError):
        raise PictureError("the picture is too large to decode", rule="too-large") from None
    except Exception as error:
        if isinstance(error, EOFError) or "truncat" in str(error).lower():
            raise PictureError("the picture ends too early", rule="truncated") from None
        raise PictureError("the picture's bytes are damaged") from None


def _unknown(data: bytes) -> PictureError:
    if not data:
        return PictureError("the file holds 0 bytes", rule="empty")
    if _HTML.match(data):  # as servers send it in the place of a picture
        return PictureError(
            "no picture: HTML text", hint="Download it anew.", rule="unsupported-format"
        )
    if is_heif(data):
        return PictureError("the picture's bytes are damaged")
    for offset, magic, name in _OTHERS:
        if data.startswith(magic, offset):
            hint = f"Convert it to one of {', '.join(FORMATS)}."
            return PictureError(
                f"{name} is not read as a picture", hint=hint, rule="unsupported-format"
            )
    by_tags = tiff_layout.unread(data) if data.startswith(tiff_layout.MAGIC) else None
    return by_tags or PictureError("not a picture, or its header is damaged")


def _turn(facts: PictureFacts, *, upright: bool) -> int:
    """The orientation that is left to be applied; Pillow applies a TIFF's by itself."""
    by_pillow = facts.format == "TIFF"
    if upright == by_pillow:
        return exif.UPRIGHT
    return facts.orientation if upright else exif.undoing(facts.orientation)
