"""DICOM bytes -> uint8 pixels as a viewer shows them, and of all other attributes only those on a list (DICOM PS3.3).

Grey pictures: rescale slope and intercept or modality table (C.11.1), then the first window (C.11.2: linear, exact,
sigmoid) or value table, else lowest value -> 0, highest -> 255 without padding; MONOCHROME1 is inverted. Colour: RGB,
YBR and palettes become RGB, of more than 8 bits the upper 8. Of several frames the one asked for.

Refused unless allowed: pictures that say that identifying text is burned into them (`burned-in`), and the deflated
transfer syntax (`deflated`), which must be inflated in full before anything can be known of it.
"""

from __future__ import annotations

import io
import logging
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import DofError, PictureError, require
from dof_arrow.media.array import in_mode
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.image import MEMORY, without_warnings
from dof_arrow.media.intensity import stretch

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

SUFFIXES = (".dcm", ".dicom")
PERMISSIONS = ("burned-in", "deflated")

ATTRIBUTES = (
    "BitsStored",
    "BodyPartExamined",
    "Columns",
    "EchoTime",
    "Exposure",
    "ImageLaterality",
    "KVP",
    "Laterality",
    "MagneticFieldStrength",
    "Modality",
    "NumberOfFrames",
    "PatientAge",
    "PatientPosition",
    "PatientSex",
    "PhotometricInterpretation",
    "RepetitionTime",
    "Rows",
    "SliceLocation",
    "SliceThickness",
    "ViewPosition",
)
GROUPS = ("PatientID", "SeriesInstanceUID", "StudyInstanceUID")

_DEFLATED = "1.2.840.10008.1.2.1.99"
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_SHOWN = (
    "BitsAllocated",
    "BitsStored",
    "BluePaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor",
    "BurnedInAnnotation",
    "Columns",
    "GreenPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "RedPaletteColorLookupTableData",
    "RedPaletteColorLookupTableDescriptor",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
    "SharedFunctionalGroupsSequence",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
)
_CORNERS = (
    "RegionLocationMinX0",
    "RegionLocationMinY0",
    "RegionLocationMaxX1",
    "RegionLocationMaxY1",
)
_MOVING = (
    "BitsStored",
    "CineRate",
    "FrameTime",
    "FrameTimeVector",
    "NumberOfFrames",
    "PixelRepresentation",
    "RecommendedDisplayFrameRate",
    "SequenceOfUltrasoundRegions",
)
_TWO_DIMENSIONAL = 1
_AGE = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_CODE = re.compile(r"[A-Z0-9 _.+-]{1,16}", re.IGNORECASE)

logging.getLogger("pydicom").addHandler(logging.NullHandler())  # it would quote values on stderr


class Moving(NamedTuple):
    """Several frames: how many, seconds that each lasts (none: not said), the box that holds pictures of the body
    (left, top, right, bottom; None: not said), and the grey values that stand for black and white, where all may occur.
    """

    frames: int
    lasting: tuple[float, ...]
    region: tuple[int, int, int, int] | None
    limits: tuple[int, int] | None


def is_dicom(data: bytes) -> bool:
    """Whether these bytes begin as a DICOM file does: 128 bytes of anything, then `DICM`.

    >>> is_dicom(bytes(128) + b"DICM")
    True
    """
    return data[128:132] == b"DICM"


def decode(
    data: bytes,
    *,
    mode: Literal["RGB", "L"] = "RGB",
    frame: int = 0,
    max_pixels: int | None = None,
    allow: Collection[str] = (),
    limits: tuple[int, int] | None = None,
) -> tuple[Pixels, PictureFacts]:
    """Pixels uint8 [h, w, 3] or [h, w, 1], C-contiguous, and what the stored picture was like.

    `limits`: the stored grey values taken for the lowest and highest, instead of this frame's own.
    `allow` may name `burned-in` and `deflated`. Raises PictureError, whose text quotes nothing of the file, for what
    is refused or cannot be read; MissingExtra without pydicom.
    """
    with _explained():
        about = _read(data, _SHOWN, allow)
        _check(about, frame, max_pixels, allow)
        values = _frame(data, about, frame)
        grey = about.PhotometricInterpretation in _GREY
        shown, low, high = (
            _grey(values, about, frame, limits) if grey else (_colour(values, about), None, None)
        )
        return in_mode(shown, mode), _facts(data, about, low, high)


def moving(data: bytes, allow: Collection[str] = ()) -> Moving:
    """What a file of several frames says of their times and regions; PictureError for bytes that are no DICOM file."""
    with _explained():
        about = _read(data, _MOVING, allow)
        count = int(about.get("NumberOfFrames") or 1)
        return Moving(count, _lasting(about, count), _regions(about), _range(about))


def extremes(data: bytes, frame: int, allow: Collection[str] = ()) -> tuple[int, int]:
    """The lowest and highest stored value of a frame, padding left out."""
    with _explained():
        about = _read(data, _SHOWN, allow)
        _check(about, frame, None, allow)
        return _extremes(_frame(data, about, frame), about)


def attributes(
    data: bytes, names: Sequence[str], allow: Collection[str] = ()
) -> dict[str, str | None]:
    """Attributes of `ATTRIBUTES` and `GROUPS` as text, ages in years; None where absent or not of the form required.

    Raises PictureError for bytes that are no DICOM file.
    """
    with _explained():
        about = _read(data, [*names, "BurnedInAnnotation"], allow)
        return {name: _text(name, about.get(name)) for name in names}


def _lasting(about: Any, count: int) -> tuple[float, ...]:
    """Seconds that each frame lasts (C.7.6.5), none where nothing is said."""
    vector, each = about.get("FrameTimeVector"), about.get("FrameTime")
    rate = about.get("CineRate") or about.get("RecommendedDisplayFrameRate")
    if (
        vector is not None and count > 1 and len(vector) == count
    ):  # each from the frame before, the first 0
        times = [float(value) / 1000 for value in vector]
        return (*times[1:], times[-1]) if min(times[1:]) > 0 else ()
    seconds = float(each) / 1000 if each else 1 / float(rate) if rate else 0.0
    return (seconds,) * count if seconds > 0 else ()


def _regions(about: Any) -> tuple[int, int, int, int] | None:
    """The box around all two-dimensional ultrasound regions (C.8.5.5), as `Moving` has it."""
    found = [
        item
        for item in about.get("SequenceOfUltrasoundRegions") or []
        if int(item.get("RegionSpatialFormat") or 0) == _TWO_DIMENSIONAL
    ]
    if not found:
        return None
    left, top, right, bottom = ([int(item[name].value) for item in found] for name in _CORNERS)
    return min(left), min(top), max(right) + 1, max(bottom) + 1


def _range(about: Any) -> tuple[int, int] | None:
    """The stored values that 8 bits or fewer can hold; None for more, of which few may be in use."""
    bits = int(about.get("BitsStored") or 16)
    return (0, (1 << bits) - 1) if bits <= 8 and not about.get("PixelRepresentation") else None


def _text(name: str, value: Any) -> str | None:
    text = str(value).strip() if value is not None and name in (*ATTRIBUTES, *GROUPS) else ""
    if name == "PatientAge":
        number, unit = text[:-1], text[-1:]
        return f"{int(number) * _AGE[unit]:.4g}" if number.isdecimal() and unit in _AGE else None
    return text if (name in GROUPS and text) or _CODE.fullmatch(text) else None


@contextmanager
def _explained() -> Iterator[None]:
    """Any failure on a stranger's bytes becomes a PictureError that quotes nothing of them."""
    require("pydicom", extra="dicom")
    try:
        with without_warnings:
            yield
    except DofError:
        raise
    except MemoryError:
        raise PictureError("the picture is too large to decode", rule="too-large") from None
    except Exception:
        raise PictureError("the DICOM file is damaged") from None


def _read(data: bytes, names: Sequence[str], allow: Collection[str]) -> Any:
    """The named attributes, and no others."""
    import pydicom

    syntax, start = _transfer_syntax(data)
    if syntax == _DEFLATED:
        _check_deflated(data[start:], allow)
    return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=list(names))


def _transfer_syntax(data: bytes) -> tuple[str, int]:
    """The transfer syntax UID, and where the data set begins behind the file's meta information (PS3.10, 7.1)."""
    at, syntax = 132, ""
    while data[at : at + 2] == b"\x02\x00":
        long = data[at + 4 : at + 6] in _LONG
        start = at + (12 if long else 8)
        length = int.from_bytes(data[start - (4 if long else 2) : start], "little")
        if data[at + 2 : at + 4] == b"\x10\x00":
            syntax = data[start : start + length].rstrip(b"\0 ").decode("ascii")
        at = start + length
    return syntax, at


def _check_deflated(stream: bytes, allow: Collection[str]) -> None:
    if "deflated" not in allow:
        raise PictureError(
            "the DICOM file is deflated as a whole",
            rule="deflated",
            hint="Allow it with --allow deflated, or convert it: dcmconv +te IN OUT",
        )
    state = zlib.decompressobj(-zlib.MAX_WBITS)
    state.decompress(stream, MEMORY // 4)
    if state.unconsumed_tail:
        raise PictureError("the DICOM file is too large when inflated", rule="too-large")


def _check(about: Any, frame: int, max_pixels: int | None, allow: Collection[str]) -> None:
    if "Rows" not in about or "PhotometricInterpretation" not in about:
        raise PictureError("a DICOM file without a picture", rule="unsupported-format")
    if str(about.get("BurnedInAnnotation", "")).upper() == "YES" and "burned-in" not in allow:
        raise PictureError(
            "the picture says that identifying text is burned into it",
            rule="burned-in",
            hint="Mask the text first, or allow such pictures with --allow burned-in.",
        )
    if about.PhotometricInterpretation not in (*_GREY, *_COLOUR):
        raise PictureError(
            "pixels of this kind are not read",
            expected=", ".join((*_GREY, *_COLOUR)),
            rule="unsupported-mode",
        )
    _check_decoder(about.file_meta.TransferSyntaxUID)
    size = about.Rows * about.Columns
    most = MEMORY // _cost(about) if max_pixels is None else max_pixels
    if not 0 < size <= most:
        raise PictureError(
            "too many pixels",
            expected=f"at most {most}",
            found=f"{about.Columns} x {about.Rows}",
            hint="Allow more with --max-pixels N.",
            rule="too-large",
        )
    if not 0 <= frame < int(about.get("NumberOfFrames") or 1):
        raise PictureError("no such frame", found=str(frame), rule="undecodable")


def _cost(about: Any) -> int:
    """Bytes of memory that a pixel takes at the most: as stored, decoded, looked up, in 8 bits."""
    stored = int((about.get("SamplesPerPixel") or 1) * about.BitsAllocated + 7) // 8
    return 3 * stored + (
        6 if about.BitsAllocated <= 16 else 24
    )  # measured: 9 for RGB, 7 for 16 bits, 36 for 32


def _check_decoder(syntax: Any) -> None:
    from pydicom.pixels import get_decoder

    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise PictureError(
            "compressed in a way that is not read", rule="unsupported-format"
        ) from None
    if not available:
        raise PictureError(
            f"compressed as {syntax.name}, for which no decoder is installed",
            rule="unsupported-format",
            hint="pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls",
        )


def _frame(data: bytes, about: Any, frame: int) -> Array:
    import pydicom
    from pydicom.pixels import apply_color_lut, pixel_array

    file = io.BytesIO(data)  # of which only the frame is read, unless all of it must be inflated
    deflated = about.file_meta.TransferSyntaxUID == _DEFLATED
    values: Array = pixel_array(pydicom.dcmread(file) if deflated else file, index=frame)
    return (
        apply_color_lut(values, about)
        if about.PhotometricInterpretation == "PALETTE COLOR"
        else values
    )


def _colour(values: Array, about: Any) -> Pixels:
    palette = about.PhotometricInterpretation == "PALETTE COLOR"
    bits = 8 * values.dtype.itemsize if palette else about.BitsStored
    return (values >> max(bits - 8, 0)).astype(np.uint8)


def _grey(
    values: Array, about: Any, frame: int, limits: tuple[int, int] | None
) -> tuple[Pixels, float | None, float | None]:
    """Pixels [h, w, 1], and the rescaled values that became 0 and 255."""
    _complete(about, frame)
    low, high = limits or _extremes(values, about)
    if values.dtype.itemsize <= 2:  # as many values as 16 bits hold: each is looked up
        stored = np.arange(low, high + 1)
        table, *ends = _shown(stored, about)
        shown = _looked_up(values, table, low, high)
    else:
        shown, *ends = _shown(np.clip(values, low, high), about)
    shown = 255 - shown if about.PhotometricInterpretation == "MONOCHROME1" else shown
    return shown[..., None], ends[0], ends[1]


def _looked_up(values: Array, table: Pixels, low: int, high: int) -> Pixels:
    shown = np.empty(values.shape, np.uint8)
    for row, line in enumerate(values):  # line by line: numpy widens indexes to 64 bits
        shown[row] = table[np.clip(line, low, high).astype(np.int64) - low]
    return shown


def _complete(about: Any, frame: int) -> None:
    """Add what functional groups say of how a frame is shown, where the file's own attributes do not say it."""
    shared, own = (
        about.get("SharedFunctionalGroupsSequence"),
        about.get("PerFrameFunctionalGroupsSequence"),
    )
    for group in [*(own or [])[frame : frame + 1], *(shared or [])[:1]]:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in (group.get(name) or [])[:1]:
                about.update({element.tag: element for element in item if element.tag not in about})


def _extremes(values: Array, about: Any) -> tuple[int, int]:
    """The lowest and highest stored value, padding left out."""
    padding = about.get("PixelPaddingValue")
    if padding is not None:
        limit = about.get("PixelPaddingRangeLimit", padding)
        inside = values[(values < min(padding, limit)) | (values > max(padding, limit))]
        values = inside if inside.size else values
    return int(values.min()), int(values.max())


def _shown(stored: Array, about: Any) -> tuple[Pixels, float | None, float | None]:
    """Grey levels of stored values, and the rescaled values that become 0 and 255 where a line leads from one to the
    other."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    values = apply_modality_lut(stored, about)
    if about.get("VOILUTSequence"):
        bits = int(about.VOILUTSequence[0].LUTDescriptor[2])
        return stretch(apply_voi(values.astype(np.int64), about), 0, (1 << bits) - 1), None, None
    window = _window(about)
    if window is None:
        low, high = float(values.min()), float(values.max())
    elif about.get("VOILUTFunction") == "SIGMOID":
        centre, width = window
        return (
            np.rint(255 / (1 + np.exp(-4 * (values - centre) / width))).astype(np.uint8),
            None,
            None,
        )
    else:
        low, high = _LINES[about.get("VOILUTFunction") == "LINEAR_EXACT"](*window)
    return stretch(values, low, high), low, high


def _window(about: Any) -> tuple[float, float] | None:
    """Centre and width of the first window, if there is one that can be."""
    numbers = [about.get(name) for name in ("WindowCenter", "WindowWidth")]
    if any(number is None or number == "" for number in numbers):
        return None
    centre, width = (float(n[0] if hasattr(n, "__len__") else n) for n in numbers)
    least = 0 if about.get("VOILUTFunction") in ("LINEAR_EXACT", "SIGMOID") else 1
    return (centre, width) if width > least else None


def _linear(centre: float, width: float) -> tuple[float, float]:
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2


def _exact(centre: float, width: float) -> tuple[float, float]:
    return centre - width / 2, centre + width / 2


_LINES: tuple[Callable[[float, float], tuple[float, float]], ...] = (_linear, _exact)


def _facts(data: bytes, about: Any, low: float | None, high: float | None) -> PictureFacts:
    return PictureFacts(
        width=about.Columns,
        height=about.Rows,
        mode=str(about.PhotometricInterpretation),
        bits=about.BitsStored,
        format="DICOM",
        frames=int(about.get("NumberOfFrames") or 1),
        orientation=1,
        bytes=len(data),
        low=low,
        high=high,
    )
