"""DICOM bytes -> uint8 pixels as a viewer shows them (DICOM PS3.3).

Grey pictures: see `media.dicom_grey`. Colour: RGB, YBR and palettes become RGB, of more than 8 bits
the upper 8. Of several frames the one that is asked for.

Refused unless allowed: pictures that say that identifying text is burned into them (`burned-in`),
and the deflated transfer syntax (`deflated`), which must be inflated in full before anything can be
known of it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError
from dof_arrow.media import dicom_file, dicom_grey, dicom_pixels, dicom_tables
from dof_arrow.media.array import in_mode
from dof_arrow.media.bounds import MEMORY
from dof_arrow.media.dicom_grey import Levels, grey_levels
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.intensity import Pixels, stretch, upper_bits

Array = npt.NDArray[Any]

_PALETTE = "PALETTE COLOR"
_YBR = ("YBR_FULL", "YBR_FULL_422")
_YBR_OF_JPEG_2000 = ("YBR_ICT", "YBR_RCT")
_COLOUR = ("RGB", _PALETTE, *_YBR, *_YBR_OF_JPEG_2000)
_READ = (*dicom_grey.PHOTOMETRIC, *_COLOUR)
_SHOWN = (
    "BitsAllocated",
    "BitsStored",
    "BluePaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor",
    "BurnedInAnnotation",
    *dicom_pixels.OFFSETS,
    "Columns",
    "DoubleFloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingValue",
    "FloatPixelPaddingRangeLimit",
    "FloatPixelPaddingValue",
    "GreenPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor",
    "HighBit",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PlanarConfiguration",
    "RedPaletteColorLookupTableData",
    "RedPaletteColorLookupTableDescriptor",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
    "SegmentedBluePaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SharedFunctionalGroupsSequence",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
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
_TWO_DIMENSIONAL = 1  # of RegionSpatialFormat


class Moving(NamedTuple):
    """What a file of several frames says of them.

    How many there are; seconds that each lasts (none: not said); the box that holds pictures of the
    body: left, top, right, bottom in pixels (None: not said); the grey values that stand for black
    and white (None: not known before the frames are read).
    """

    frames: int
    lasting: tuple[float, ...]
    region: tuple[int, int, int, int] | None
    limits: tuple[float, float] | None


def decode(
    data: bytes,
    *,
    mode: Literal["RGB", "L"] = "RGB",
    frame: int | None = None,
    max_pixels: int | None = None,
    allow: Collection[str] = (),
    limits: tuple[float, float] | None = None,
    grey_once: bool = False,
) -> tuple[Pixels, PictureFacts]:
    """Pixels uint8 [h, w, 3] or [h, w, 1], C-contiguous, and what the stored picture was like.

    `frame`: the one to read of several; None: there must be one alone.
    `limits`: the stored grey values taken for the lowest and highest, instead of this frame's own.
    `grey_once` as in `image.decode`. `allow` may name `burned-in` and `deflated`. Raises
    PictureError, whose text quotes nothing of the file, for what is refused or cannot be read;
    MissingExtra without pydicom.
    """
    with dicom_file.explained():
        about = dicom_file.read(data, _SHOWN, allow)
        frame = _only_frame(about) if frame is None else frame
        _check(data, about, frame, max_pixels, allow)
        values = dicom_pixels.frame_values(data, about, frame)
        if about.PhotometricInterpretation in dicom_grey.PHOTOMETRIC:
            levels = grey_levels(values, about, frame, limits)
            pixels = levels.pixels[..., None]
        else:
            pixels = _colour(values, about)
            levels = Levels(pixels)
        return in_mode(pixels, mode, grey_once=grey_once), _facts(data, about, levels)


def moving(data: bytes, allow: Collection[str] = ()) -> Moving:
    """What a file of several frames says of their times and regions.

    Raises PictureError for bytes that are no DICOM file.
    """
    with dicom_file.explained():
        about = dicom_file.read(data, _MOVING, allow)
        count = int(about.get("NumberOfFrames") or 1)
        return Moving(count, _lasting(about, count), _region(about), _limits(about))


def extremes(data: bytes, frame: int, allow: Collection[str] = ()) -> tuple[float, float]:
    """The lowest and highest stored value of a frame, padding left out."""
    with dicom_file.explained():
        about = dicom_file.read(data, _SHOWN, allow)
        _check(data, about, frame, None, allow)
        return dicom_grey.extremes(dicom_pixels.frame_values(data, about, frame), about)


def _lasting(about: Any, count: int) -> tuple[float, ...]:
    """Seconds that each frame lasts (C.7.6.5), none where nothing is said."""
    vector = about.get("FrameTimeVector")
    if vector is not None and count > 1 and len(vector) == count:
        # Each is the time since the frame before, the first is 0; how long the last frame lasts is
        # not said.
        between = [float(value) / 1000 for value in vector][1:]
        return (*between, between[-1]) if min(between) > 0 else ()
    seconds = _seconds(about)
    return (seconds,) * count if seconds > 0 else ()


def _seconds(about: Any) -> float:
    """Seconds that every frame lasts; 0 where nothing is said."""
    each = about.get("FrameTime")
    rate = about.get("CineRate") or about.get("RecommendedDisplayFrameRate")
    if each:
        return float(each) / 1000
    return 1 / float(rate) if rate else 0.0


def _region(about: Any) -> tuple[int, int, int, int] | None:
    """The box around all two-dimensional ultrasound regions (C.8.5.5), as `Moving` has it."""
    found = []
    for item in about.get("SequenceOfUltrasoundRegions") or []:
        if int(item.get("RegionSpatialFormat") or 0) == _TWO_DIMENSIONAL:
            found.append(item)
    if not found:
        return None
    left = min(int(item["RegionLocationMinX0"].value) for item in found)
    top = min(int(item["RegionLocationMinY0"].value) for item in found)
    right = max(int(item["RegionLocationMaxX1"].value) for item in found)
    bottom = max(int(item["RegionLocationMaxY1"].value) for item in found)
    return left, top, right + 1, bottom + 1


def _limits(about: Any) -> tuple[float, float] | None:
    """The stored values that 8 bits or fewer can hold; None for more, of which few may be used."""
    bits = int(about.get("BitsStored") or 16)
    if bits > 8 or about.get("PixelRepresentation"):
        return None
    return 0, (1 << bits) - 1


def _only_frame(about: Any) -> int:
    """The number of the frame that is the picture; PictureError where there are several."""
    frames = int(about.get("NumberOfFrames") or 1)
    if frames > 1:
        raise PictureError(
            f"the DICOM file holds {frames} frames",
            expected="one picture",
            hint="Give --clips to take each as a frame of a clip.",
            rule="several-pages",
        )
    return 0


def _check(
    data: bytes, about: Any, frame: int, max_pixels: int | None, allow: Collection[str]
) -> None:
    """Refuse a picture before its pixels are read."""
    if "Rows" not in about or "PhotometricInterpretation" not in about:
        raise PictureError("a DICOM file without a picture", rule="unsupported-format")
    if str(about.get("BurnedInAnnotation", "")).upper() == "YES" and "burned-in" not in allow:
        raise PictureError(
            "the picture says that identifying text is burned into it",
            rule="burned-in",
            hint="Mask the text first, or allow such pictures with --allow burned-in.",
        )
    if about.PhotometricInterpretation not in _READ:
        raise PictureError(
            "pixels of this kind are not read", expected=", ".join(_READ), rule="unsupported-mode"
        )
    dicom_pixels.check(data, about)
    _check_colour(about)
    _check_size(about, max_pixels)
    if not 0 <= frame < int(about.get("NumberOfFrames") or 1):
        raise PictureError("no such frame", found=str(frame), rule="undecodable")


def _check_colour(about: Any) -> None:
    """Refuse colours that would be turned into others without a word."""
    kind = about.PhotometricInterpretation
    samples = 1 if kind in (*dicom_grey.PHOTOMETRIC, _PALETTE) else 3
    if about.SamplesPerPixel != samples:
        raise PictureError(
            "the kind of pixels and the samples of each contradict one another",
            expected=f"{samples} a pixel",
            found=str(about.SamplesPerPixel),
        )
    deep = kind in _YBR and about.BitsAllocated > 8
    strange = kind in _YBR_OF_JPEG_2000 and not dicom_pixels.is_jpeg_2000(about)
    if deep or strange:
        raise PictureError(
            "luminance and colour differences in such a form are not read",
            expected="8 bits, or JPEG 2000",
            rule="unsupported-mode",
        )


def _check_size(about: Any, max_pixels: int | None) -> None:
    most = MEMORY // _cost(about) if max_pixels is None else max_pixels
    if not 0 < about.Rows * about.Columns <= most:
        raise PictureError(
            "too many pixels",
            expected=f"at most {most}",
            found=f"{about.Columns} x {about.Rows}",
            hint="Allow more with --max-pixels N.",
            rule="too-large",
        )


def _cost(about: Any) -> int:
    """Bytes of memory that a pixel takes at the most: as stored, decoded, looked up, in 8 bits.

    Measured: 9 for RGB, 7 for 16 bits, 36 for 32.
    """
    samples = about.get("SamplesPerPixel") or 1
    stored = int(samples * about.BitsAllocated + 7) // 8
    looked_up = 6 if about.BitsAllocated <= 16 else 24
    return 3 * stored + looked_up


def _colour(values: Array, about: Any) -> Pixels:
    """Colours in 8 bits a channel."""
    if about.PhotometricInterpretation == _PALETTE:
        return _of_palette(values, about)
    bits = int(about.BitsStored)
    if bits < 8:
        return stretch(values, 0, (1 << bits) - 1)
    return upper_bits(values, bits - 8)


def _of_palette(values: Array, about: Any) -> Pixels:
    """Palette indexes as RGB; how deep a colour is says its table, whatever the picture stores."""
    low, high = int(values.min()), int(values.max())
    stored = np.arange(low, high + 1)
    channels: list[Pixels] = []
    for table in dicom_tables.of_palette(about, low, high):
        channels.append(upper_bits(table(stored), table.bits - 8))
    return dicom_grey.looked_up(values, np.stack(channels, axis=1), low)


def _facts(data: bytes, about: Any, levels: Levels) -> PictureFacts:
    return PictureFacts(
        width=about.Columns,
        height=about.Rows,
        mode=str(about.PhotometricInterpretation),
        bits=about.BitsStored,
        format="DICOM",
        frames=int(about.get("NumberOfFrames") or 1),
        orientation=1,
        bytes=len(data),
        low=levels.low,
        high=levels.high,
    )
