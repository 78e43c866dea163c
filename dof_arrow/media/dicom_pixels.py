"""Stored DICOM values of one frame, as the file encodes them (DICOM PS3.5, chapter 8).

Of each value only the bits from HighBit down are kept, BitsStored of them, and the uppermost is the
sign where values are signed: what lies in the other bits may be an overlay with text (8.1.1). A
decoder that is not installed is named. Where the compressed stream and the file's attributes
disagree in a way that changes the values, the picture is refused.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError
from dof_arrow.media import dicom_file

Array = npt.NDArray[Any]

FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}  # and the bits of a value
OFFSETS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")  # of compressed frames
_KEYWORDS = {0x0010: "PixelData", 0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData"}
_PIXEL_GROUP = 0x7FE0
_ALLOCATED = (1, 8, 16, 32, 64)
_RLE = "1.2.840.10008.1.2.5"
_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201")
# Markers of JPEG and JPEG-LS behind which the bits of a value stand (ITU-T T.81, B.2.2; T.87).
_FRAME_MARKERS = (
    *range(0xC0, 0xC4),
    *range(0xC5, 0xC8),
    *range(0xC9, 0xCC),
    *range(0xCD, 0xD0),
    0xF7,
)
_DECODERS = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls"


def check(data: bytes, about: Any) -> None:
    """Refuse pixels that no installed decoder reads, and attributes that contradict one another.

    Adds to `about` what the file may leave out: SamplesPerPixel, PixelRepresentation, HighBit.
    """
    _check_decoder(about.file_meta.TransferSyntaxUID)
    keyword = pixel_keyword(data, about)
    needed = ["BitsAllocated"] if keyword in FLOATS else ["BitsAllocated", "BitsStored"]
    for name in needed:
        _require(about, name)
    if about.BitsAllocated not in _ALLOCATED:
        raise PictureError(
            "values of such a size are not read",
            expected="1, 8, 16, 32 or 64 bits allocated",
            found=str(about.BitsAllocated),
            rule="unsupported-mode",
        )
    _add_missing(about, keyword)
    _check_bits(about)


def pixel_keyword(data: bytes, about: Any) -> str:
    """PixelData, FloatPixelData or DoubleFloatPixelData; PictureError where there is none."""
    syntax = about.file_meta.TransferSyntaxUID
    if syntax == dicom_file.DEFLATED:
        return "PixelData"  # which is told when it is inflated
    order = "<" if syntax.is_little_endian else ">"
    tag = data[about.pixels_at : about.pixels_at + 4]
    if len(tag) == 4:
        group, element = struct.unpack(order + "HH", tag)
        if group == _PIXEL_GROUP and element in _KEYWORDS:
            return _KEYWORDS[element]
    raise PictureError("a DICOM file without a picture", rule="unsupported-format")


def frame_values(data: bytes, about: Any, frame: int) -> Array:
    """The values of one frame, [h, w] or [h, w, 3]; YBR_FULL and YBR_FULL_422 as RGB."""
    syntax = about.file_meta.TransferSyntaxUID
    precision, signed = None, False
    if syntax.is_encapsulated and syntax != _RLE:
        precision, signed = _of_stream(data, about, frame)
        _check_precision(about, precision)
    values = _decoded(data, about, frame, precision)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind == "f" or about.BitsAllocated == 1:
        return values
    if is_jpeg_2000(about):
        _check_sign(values, about, signed)
    return _own_bits(values, about, precision)


def is_jpeg_2000(about: Any) -> bool:
    """Whether the pixels are compressed as JPEG 2000."""
    return about.file_meta.TransferSyntaxUID in _JPEG_2000


def _check_decoder(syntax: Any) -> None:
    from pydicom.pixels import get_decoder

    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise PictureError(
            "compressed in a way that is not read", rule="unsupported-format"
        ) from None
    if not available:
        raise _no_decoder(syntax.name)


def _no_decoder(what: str) -> PictureError:
    return PictureError(
        f"compressed as {what}, for which no decoder is installed",
        rule="unsupported-format",
        hint=_DECODERS,
    )


def _require(about: Any, name: str) -> None:
    if about.get(name) is None:
        raise PictureError("an attribute that says what the pixels are is missing", found=name)


def _add_missing(about: Any, keyword: str) -> None:
    if "SamplesPerPixel" not in about:
        grey = about.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
        about.SamplesPerPixel = 1 if grey else 3
    if keyword in FLOATS:
        about.BitsStored = FLOATS[keyword]
    elif "PixelRepresentation" not in about:
        # Values of 8 bits and colours are unsigned wherever they are met.
        if about.BitsAllocated > 8 and about.SamplesPerPixel == 1:
            _require(about, "PixelRepresentation")
        about.PixelRepresentation = 0
    if "HighBit" not in about:
        about.HighBit = about.BitsStored - 1
    if about.SamplesPerPixel > 1 and about.file_meta.TransferSyntaxUID.is_encapsulated:
        about.PlanarConfiguration = 0  # the compressed stream says how samples lie
    elif about.SamplesPerPixel > 1:
        _require(about, "PlanarConfiguration")


def _check_bits(about: Any) -> None:
    if not 0 < about.BitsStored <= about.HighBit + 1 <= about.BitsAllocated:
        raise PictureError(
            "the bits of the values contradict one another",
            expected="0 < BitsStored <= HighBit + 1 <= BitsAllocated",
            found=f"{about.BitsStored}, {about.HighBit} + 1, {about.BitsAllocated}",
        )


def _decoded(data: bytes, about: Any, frame: int, precision: int | None) -> Array:
    """The values as pydicom has them, all bits of the container kept."""
    import pydicom
    from pydicom.pixels import pixel_array

    source: Any = io.BytesIO(data)  # of which only the frame is read, ...
    syntax = about.file_meta.TransferSyntaxUID
    if syntax == dicom_file.DEFLATED:
        source = pydicom.dcmread(source, force=True)  # ... unless all of it must be inflated
    options: dict[str, Any] = {"samples_per_pixel": about.SamplesPerPixel}
    if about.SamplesPerPixel > 1:
        options["planar_configuration"] = about.PlanarConfiguration
    if about.get("PixelRepresentation") is not None:
        options["pixel_representation"] = about.PixelRepresentation
    if not is_jpeg_2000(about):
        options["correct_unused_bits"] = False
    if syntax in (_JPEG_BASELINE, _JPEG_EXTENDED) and precision == 8:
        options["bits_allocated"] = 8  # as the decoder gives them, whatever the file allocates
    return np.asarray(pixel_array(source, index=frame, **options))


def _check_precision(about: Any, precision: int) -> None:
    """Refuse what Pillow decodes wrongly or not at all, where no other decoder is installed."""
    from pydicom.pixels import get_decoder

    syntax = about.file_meta.TransferSyntaxUID
    if precision <= 8:
        if about.BitsStored > 8 and syntax == _JPEG_BASELINE:
            raise PictureError(
                "the compressed stream holds fewer bits than the file says",
                expected=f"BitsStored {about.BitsStored}",
                found=str(precision),
            )
        return
    colour = about.SamplesPerPixel > 1
    by_pillow = get_decoder(syntax).available_plugins == ("pillow",)
    if by_pillow and (syntax == _JPEG_EXTENDED or precision > 16 or colour):
        raise _no_decoder(f"{syntax.name} of {precision} bits")


def _of_stream(data: bytes, about: Any, frame: int) -> tuple[int, bool]:
    """Bits of a value in the compressed stream of a frame, and whether they are signed."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import get_j2k_parameters

    file = io.BytesIO(data)
    file.seek(about.pixels_at + 12)  # behind tag, value representation and length
    count = int(about.get("NumberOfFrames") or 1)
    offsets = [about.get(name) for name in OFFSETS]
    known: Any = None if None in offsets else tuple(offsets)
    stream = get_frame(file, frame, number_of_frames=count, extended_offsets=known)
    if is_jpeg_2000(about):
        found = get_j2k_parameters(stream)
        return int(found["precision"]), bool(found["is_signed"])
    return _jpeg_precision(stream), False


def _jpeg_precision(stream: bytes) -> int:
    """Bits of a value in JPEG and JPEG-LS; PictureError for what is neither."""
    at = 2
    while at + 4 < len(stream) and stream[at] == 0xFF:
        if stream[at + 1] in _FRAME_MARKERS:
            return stream[at + 4]
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    raise PictureError("the compressed stream is damaged")


def _check_sign(values: Array, about: Any, signed: bool) -> None:
    """Refuse values whose sign the file and the compressed stream tell differently."""
    stated = bool(about.PixelRepresentation)
    # Unsigned values of which none has its uppermost bit set are the same either way.
    if signed != stated and (signed or values.min() < 0):
        words = ("unsigned", "signed")
        raise PictureError(
            "the compressed stream and the file disagree on the sign of values",
            expected=f"{words[stated]}, as PixelRepresentation says",
            found=words[signed],
        )


def _own_bits(values: Array, about: Any, precision: int | None) -> Array:
    """The values of the bits that are theirs, in place."""
    held = 8 * values.dtype.itemsize
    above = held - 1 - about.HighBit
    # A compressed stream of fewer bits has none below the lowest that is stored.
    if precision is not None and precision <= about.HighBit:
        above = held - about.BitsStored
    unused = held - about.BitsStored
    if unused > 0:
        np.left_shift(values, above, out=values)
        np.right_shift(values, unused, out=values)  # of signed values the sign comes along
    return values
