"""Stored DICOM values -> grey levels as a viewer shows them (DICOM PS3.3).

Rescale slope and intercept or modality table (C.11.1), then the first value table or window
(C.11.2: linear, exact, sigmoid), else the lowest value becomes 0 and the highest 255, padding left
out. MONOCHROME1 is inverted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError
from dof_arrow.media import dicom_tables, intensity
from dof_arrow.media.dicom_file import without_empty
from dof_arrow.media.intensity import Pixels, stretch

Array = npt.NDArray[Any]

PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_PADDINGS = ("PixelPaddingValue", "FloatPixelPaddingValue", "DoubleFloatPixelPaddingValue")
_LIMITS = (
    "PixelPaddingRangeLimit",
    "FloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingRangeLimit",
)


class Levels(NamedTuple):
    """Grey levels uint8, and the rescaled values that became 0 and 255 (None: no straight line)."""

    pixels: Pixels
    low: float | None = None
    high: float | None = None


def grey_levels(
    values: Array, about: Any, frame: int, limits: tuple[float, float] | None
) -> Levels:
    """The levels of a frame [h, w]; `limits` instead of its own lowest and highest value."""
    _add_functional_groups(about, frame)
    low, high = limits or extremes(values, about)
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        # No more values than 16 bits hold: the level of each is worked out once and looked up.
        first = int(low)
        table = _levels(np.arange(first, int(high) + 1), about)
        levels = table._replace(pixels=looked_up(values, table.pixels, first))
    else:
        levels = _levels(np.clip(values, low, high), about)
    if about.PhotometricInterpretation == "MONOCHROME1":
        return levels._replace(pixels=255 - levels.pixels)
    return levels


def extremes(values: Array, about: Any) -> tuple[float, float]:
    """The lowest and highest finite stored value, padding left out."""
    padding = _stated_padding(about)
    if padding is not None:
        below = values < min(padding)
        above = values > max(padding)
        inside = values[below | above]
        values = inside if inside.size else values
    return intensity.extremes([values])


def looked_up(values: Array, table: Array, first: int) -> Array:
    """For each value [h, w] what stands for it in a table that begins with `first`, [h, w, …]."""
    shown = np.empty((*values.shape, *table.shape[1:]), table.dtype)
    last = first + len(table) - 1
    for row, line in enumerate(values):  # line by line: numpy widens indexes to 64 bits
        places = np.clip(line.astype(np.int64), first, last) - first
        shown[row] = table[places]
    return shown


def _stated_padding(about: Any) -> tuple[float, float] | None:
    """Both ends of the values that are padding (C.7.5.1.1.2)."""
    for name, limit in zip(_PADDINGS, _LIMITS, strict=True):
        value = about.get(name)
        if value is not None:
            ends = [_as_stored(end, about) for end in (value, about.get(limit, value))]
            return min(ends), max(ends)
    return None


def _as_stored(value: Any, about: Any) -> float:
    """A padding value with the sign that pixels have: files call its 16 bits signed or not."""
    number = float(value)
    if about.get("PixelRepresentation") == 1 and 1 << 15 <= number < 1 << 16:
        return number - (1 << 16)
    return number


def _add_functional_groups(about: Any, frame: int) -> None:
    """Add what functional groups say of how a frame is shown, where the file itself does not."""
    own = about.get("PerFrameFunctionalGroupsSequence") or []
    shared = about.get("SharedFunctionalGroupsSequence") or []
    for group in [*own[frame : frame + 1], *shared[:1]]:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in (group.get(name) or [])[:1]:
                said = without_empty(item)
                new = {element.tag: element for element in said if element.tag not in about}
                about.update(new)


def _levels(stored: Array, about: Any) -> Levels:
    """Grey levels of stored values, as the file says."""
    values = _rescaled(stored, about)
    low, high = _possible(about)
    table = dicom_tables.of_sequence(about, "VOILUTSequence", low, high)
    if table is not None:
        return Levels(stretch(table(values), 0, table.greatest))
    window = _window(about)
    if window is None:
        low, high = intensity.extremes([values])
        return Levels(stretch(values, low, high), low, high)
    return _windowed(values, *window, _function(about))


def _rescaled(stored: Array, about: Any) -> Array:
    """Stored values after the modality table, or slope and intercept (C.11.1)."""
    table = _modality(about)
    if table is not None:
        return table(stored)
    slope, intercept = _slope(about)
    if (slope, intercept) == (1, 0):
        return stored
    values: Array = stored.astype(np.float64) * slope
    values += intercept
    return values


def _modality(about: Any) -> dicom_tables.Lookup | None:
    low, high = _stored_range(about)
    return dicom_tables.of_sequence(about, "ModalityLUTSequence", low, high)


def _slope(about: Any) -> tuple[float, float]:
    """Slope and intercept; one that is not stated changes nothing."""
    slope = _first(about.get("RescaleSlope", 1))
    if slope == 0:
        raise PictureError("a rescale slope of 0, by which all values are equal")
    return slope, _first(about.get("RescaleIntercept", 0))


def _stored_range(about: Any) -> tuple[float, float]:
    """The values that the stored bits can hold."""
    bits = int(about.BitsStored)
    if about.get("PixelRepresentation") == 1:
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def _possible(about: Any) -> tuple[float, float]:
    """The values that rescaling can give."""
    table = _modality(about)
    if table is not None:
        return 0, table.greatest
    slope, intercept = _slope(about)
    ends = [end * slope + intercept for end in _stored_range(about)]
    return min(ends), max(ends)


def _function(about: Any) -> str:
    stated = str(about.get("VOILUTFunction", "LINEAR")).upper()
    if stated not in _FUNCTIONS:
        raise PictureError(
            "a window of a function that is not read",
            expected=", ".join(_FUNCTIONS),
            rule="unsupported-mode",
        )
    return stated


def _windowed(values: Array, centre: float, width: float, function: str) -> Levels:
    if function == "SIGMOID":
        return Levels(_sigmoid(values, centre, width))
    if function == "LINEAR_EXACT":
        half = width / 2
    else:
        # C.11.2.1.2: the window spans width - 1 steps about the centre minus one half.
        centre -= 0.5
        half = (width - 1) / 2
    low, high = centre - half, centre + half
    if low == high:  # a width of 1 is a step: what is above is white
        return Levels(np.where(values > high, np.uint8(255), np.uint8(0)))
    return Levels(stretch(values, low, high), low, high)


def _sigmoid(values: Array, centre: float, width: float) -> Pixels:
    """C.11.2.1.3.1, with 0 and 255 as the lowest and highest level."""
    exponents = np.clip(-4 * (values - centre) / width, -700, 700)  # beyond, exp overflows
    levels: Array = np.rint(255 / (1 + np.exp(exponents)))
    return np.nan_to_num(levels).astype(np.uint8)


def _window(about: Any) -> tuple[float, float] | None:
    """Centre and width of the first window; None without one, or where its width cannot be."""
    stated = [about.get(name) for name in ("WindowCenter", "WindowWidth")]
    if None in stated:
        return None
    centre, width = map(_first, stated)
    if _function(about) == "LINEAR":
        return (centre, width) if width >= 1 else None
    return (centre, width) if width > 0 else None


def _first(value: Any) -> float:
    """The number, or the first of several."""
    return float(value[0] if hasattr(value, "__len__") else value)
