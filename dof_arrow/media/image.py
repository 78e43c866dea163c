"""Picture bytes -> uint8 pixels, upright, by rules that are stated once (SPEC: preprocessing, "decode").

Formats read: `FORMATS`; all others are refused by name. Of an animation the first frame is taken. Colour profiles are
not applied. How the pixels of each Pillow mode become 8 bits stands in one table, `_RULES`:

    1, L, RGB, RGBX                as they are (16-bit colour: Pillow keeps the high byte)
    P, LA, La, PA, RGBA, RGBa      laid on white where transparent; so is any picture with a transparent colour
    CMYK, YCbCr, HSV, LAB          converted to RGB; Adobe's inverted CMYK is told by its marker
    I;16 and kin, I of a PGM       the upper 8 of the bits in use: those of the greatest value, at least 8 (12-bit
                                   radiographs are often stored in 16 bits)
    I, F                           no known range: lowest finite value -> 0, highest -> 255, linear

White-is-zero TIFFs are inverted, whatever their depth.
RGB becomes L as 0.299 R + 0.587 G + 0.114 B (ITU-R 601-2). Nothing here names a file or quotes what a picture holds.
"""

from __future__ import annotations

import ctypes
import io
import logging
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, _imaging

from dof_arrow.errors import PictureError
from dof_arrow.media.facts import PictureFacts

Pixels = npt.NDArray[np.uint8]
Rule = Callable[
    [Image.Image], Image.Image
]  # a band of a picture -> the same in RGB or grey of 8 bits

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")
MEMORY = 512 << 20  # bytes that decoding one picture may take
_ORIENTATION, _PHOTOMETRIC, _BITS_PER_SAMPLE = 274, 262, 258
# Views of an upright array, through which the rows of a picture of that orientation are written as they are stored.
_TURNED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}
_UNDO = {6: 8, 8: 6}
_libtiff = threading.local()
_BAND = 1 << 20  # pixels converted at a time
# Bytes that a pixel takes in a decoder at its worst, measured; 4 where no other number stands.
_IN_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
_IN_DECODER = {"WEBP": 16, "JPEG2000": 20, "AVIF": 10}
_OTHERS = (
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"%!PS", "PostScript"),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\3\4", "a zip archive"),
    (0, b"<svg", "SVG"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (128, b"DICM", "DICOM"),
)

# Pillow logs broken tags; with no handler at all Python would print them on stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def decode(
    data: bytes,
    *,
    mode: Literal["RGB", "L"] = "RGB",
    orientation: Literal["exif", "ignore"] = "exif",
    draft: int | None = None,
    max_pixels: int | None = None,
) -> tuple[Pixels, PictureFacts]:
    """Pixels uint8 [h, w, 3] or [h, w, 1], C-contiguous, and what the stored picture was like.

    `draft` lets a JPEG be decoded straight to the smallest of 1/1, 1/2, 1/4, 1/8 whose shorter side is >= draft pixels.
    Raises PictureError; a picture of more than `max_pixels` is refused before its pixels are decoded, by default one
    that would take more than `MEMORY` bytes: from 25 million pixels in JPEG 2000 to 107 million grey ones.

    >>> pixels, facts = decode(b"P5 2 1 255 " + bytes([7, 9]), mode="L")
    >>> pixels.tolist(), facts.format, facts.bits
    ([[[7], [9]]], 'PPM', 8)
    """
    with _opened(data, max_pixels, draft) as (picture, facts):
        if draft:
            picture.draft(None, (draft, draft))
        _load(picture)
        return _in_bands(
            picture, _rule(facts.mode)(picture, facts), mode, _turn(facts, orientation == "exif")
        ), facts


def inspect(data: bytes, *, max_pixels: int | None = None) -> PictureFacts:
    """What a stored picture is like, mostly from its header (a PNG's EXIF may follow its pixels); raises PictureError.

    >>> inspect(b"P5 2 1 255 " + bytes([7, 9])).width
    2
    """
    with _opened(data, max_pixels) as (_, facts):
        return facts


@contextmanager
def _opened(
    data: bytes, max_pixels: int | None, draft: int | None = None
) -> Iterator[tuple[Image.Image, PictureFacts]]:
    _listen_to_libtiff()
    with _mended(data), without_warnings, Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        _check_size(picture, max_pixels, draft)
        facts = _facts(picture, data)
        _rule(facts.mode)
        yield picture, facts


def _check_size(picture: Image.Image, max_pixels: int | None, draft: int | None) -> None:
    """Refuse a picture before its pixels are decoded."""
    if max_pixels is None:
        smallest = draft if draft and picture.format == "JPEG" else min(picture.size) + 1
        shrunk = max((f for f in (2, 4, 8) if min(picture.size) >= f * smallest), default=1)
        max_pixels = MEMORY * shrunk**2 // _cost(picture)
    if picture.width * picture.height > max_pixels:
        raise PictureError(
            "too many pixels",
            expected=f"at most {max_pixels}",
            rule="too-large",
            found=f"{picture.width} x {picture.height}",
            hint="Allow more with --max-pixels N.",
        )


def _cost(picture: Image.Image) -> int:
    """Bytes of memory that decoding takes a pixel at the most."""
    own = _IN_MODE.get(picture.mode, 4)
    turned = own if picture.format == "TIFF" else 0  # which Pillow turns by itself
    return max(own + turned + 3, _IN_DECODER.get(picture.format or "", 0)) + 1


@contextmanager
def _mended(data: bytes) -> Iterator[None]:
    """Any failure on a stranger's bytes becomes a PictureError that quotes nothing of them."""
    try:
        yield
    except PictureError:
        raise
    except UnidentifiedImageError:
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
    for offset, magic, name in _OTHERS:
        if data.startswith(magic, offset):
            hint = f"Convert it to one of {', '.join(FORMATS)}."
            return PictureError(
                f"{name} is not read as a picture", hint=hint, rule="unsupported-format"
            )
    return PictureError("not a picture, or its header is damaged")


def _facts(picture: Image.Image, data: bytes) -> PictureFacts:
    orientation = _orientation(picture)
    # Pillow reports the size of a TIFF as it will be once turned.
    sideways = picture.format == "TIFF" and orientation >= 5
    width, height = picture.size[::-1] if sideways else picture.size
    return PictureFacts(
        width=width,
        height=height,
        mode=picture.mode,
        bits=_bits(picture, data),
        format=picture.format or "",
        frames=_frames(picture, data),
        orientation=orientation,
        bytes=len(data),
    )


def _orientation(picture: Image.Image) -> int:
    if picture.format == "PNG":
        _load(picture)  # getexif would, and its failure would pass unseen below
    with suppress(Exception):  # damaged EXIF is no reason to lose a picture
        value = picture.getexif().get(_ORIENTATION, 1)
        return value if value in _TURNED else 1
    return 1


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
    """The length of the chain of directories (TIFF 6.0, section 2; BigTIFF); Pillow would read each one's tags."""
    order, big = "<" if data.startswith(b"II") else ">", 43 in data[2:4]
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    seen: set[int] = set()
    while at and at not in seen:
        seen.add(at)
        (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        end = at + (8 + 20 * entries if big else 2 + 12 * entries)
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, end)
    return len(seen)


def _bits(picture: Image.Image, data: bytes) -> int:
    if picture.format == "PNG":
        return data[24]
    tags = getattr(picture, "tag_v2", None)
    if tags is not None:
        return int(max(tags.get(_BITS_PER_SAMPLE, (1,))))
    return {"1": 1, "I": 16, "F": 32}.get(
        picture.mode, 16 if picture.mode.startswith("I;16") else 8
    )


def _turn(facts: PictureFacts, upright: bool) -> int:
    """The orientation that is left to be applied; Pillow applies a TIFF's by itself."""
    if upright == (facts.format == "TIFF"):
        return 1
    return facts.orientation if upright else _UNDO.get(facts.orientation, facts.orientation)


def _in_bands(picture: Image.Image, rule: Rule, mode: str, turn: int) -> Pixels:
    """The picture's pixels in `mode`, upright, converted some rows at a time so that no second picture is held."""
    width, height = picture.size
    rows = max(_BAND // width, 1)
    if rows >= height and turn == 1:
        return np.ascontiguousarray(_as(mode, rule(picture))).reshape(height, width, -1)
    channels = 1 if mode == "L" else 3
    upright = np.empty(
        (width, height, channels) if turn >= 5 else (height, width, channels), np.uint8
    )
    stored = _TURNED[turn](upright)
    for top, band in _bands(picture):
        stored[top : top + band.height] = np.asarray(_as(mode, rule(band))).reshape(
            band.height, width, channels
        )
    return upright


def _bands(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    for top in range(0, picture.height, rows := max(_BAND // picture.width, 1)):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _as(mode: str, picture: Image.Image) -> Image.Image:
    return picture if picture.mode == mode else picture.convert(mode)  # convert would copy


def _opaque(picture: Image.Image, _: PictureFacts) -> Rule:
    return _on_white if picture.has_transparency_data else lambda band: band


def _on_white(band: Image.Image) -> Image.Image:
    band = band.convert("RGBA")
    white = Image.new("RGB", band.size, "white")
    white.paste(band, mask=band.getchannel("A"))
    return white


def _colour(picture: Image.Image, _: PictureFacts) -> Rule:
    return lambda band: band.convert("RGB")


def _upper_bits(picture: Image.Image, _: PictureFacts) -> Rule:
    unused = max(
        max(int(np.asarray(band).max()) for _, band in _bands(picture)).bit_length() - 8, 0
    )
    clear = picture.info.get("transparency")

    def rule(band: Image.Image) -> Image.Image:
        values = np.asarray(band)
        grey = (values >> unused).astype(np.uint8)
        if isinstance(clear, int):
            grey[values == clear] = 255
        return Image.fromarray(_dark_zero(grey, picture))

    return rule


def _stretched(picture: Image.Image, facts: PictureFacts) -> Rule:
    if facts.format == "PPM" and facts.mode == "I":
        return _upper_bits(picture, facts)
    extremes = [(float(v.min()), float(v.max())) for v in map(_finite, _bands(picture)) if v.size]
    low, high = (
        min((low for low, _ in extremes), default=0.0),
        max((high for _, high in extremes), default=0.0),
    )
    scale = 255 / (high - low) if high > low else 0.0

    def rule(band: Image.Image) -> Image.Image:
        clean = np.nan_to_num(np.asarray(band, dtype=np.float64), nan=low, posinf=high, neginf=low)
        return Image.fromarray(_dark_zero(np.rint((clean - low) * scale).astype(np.uint8), picture))

    return rule


def _finite(band: tuple[int, Image.Image]) -> npt.NDArray[np.float64]:
    values = np.asarray(band[1], dtype=np.float64)
    return values[np.isfinite(values)]


def _dark_zero(grey: Pixels, picture: Image.Image) -> Pixels:
    """Pillow leaves white-is-zero TIFFs of more than 8 bits as they are stored."""
    tags = getattr(picture, "tag_v2", {})
    return 255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey


_RULES: dict[str, Callable[[Image.Image, PictureFacts], Rule]] = {
    **dict.fromkeys(("1", "L", "RGB", "RGBX", "P", "LA", "La", "PA", "RGBA", "RGBa"), _opaque),
    **dict.fromkeys(("CMYK", "YCbCr", "HSV", "LAB"), _colour),
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), _upper_bits),
    **dict.fromkeys(("I", "F"), _stretched),
}


def _rule(mode: str) -> Callable[[Image.Image, PictureFacts], Rule]:
    if mode not in _RULES:
        raise PictureError(
            "pixels of this kind are not read", expected=" ".join(_RULES), rule="unsupported-mode"
        )
    return _RULES[mode]


class _WhileAny:
    """A context that the first thread to enter opens and the last to leave closes.

    Python's warning filters belong to the process: threads that save and restore them by turns would lose them.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make, self._lock, self._inside = make, threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._open = self._make()
                self._open.__enter__()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._open.__exit__(None, None, None)


@contextmanager
def _decoders_warnings_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(PIL|pydicom)\.")
        yield


without_warnings = _WhileAny(_decoders_warnings_ignored)


def _note_error(*_: object) -> None:
    _libtiff.failed = True


_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(_note_error)


@cache
def _listen_to_libtiff() -> None:
    """Libtiff goes on after errors that Pillow does not report, and prints them on stderr: note them instead.

    Both handlers belong to Pillow's own copy of the library; a build that hides them stays as it is.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(_imaging.__file__)
        for name, handler in (("TIFFSetErrorHandler", _HANDLER), ("TIFFSetWarningHandler", None)):
            setter = getattr(library, name)
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(ctypes.cast(handler, ctypes.c_void_p) if handler else None)


def _load(picture: Image.Image) -> None:
    _libtiff.failed = False
    picture.load()
    if _libtiff.failed:
        raise PictureError("the picture's bytes are damaged")
