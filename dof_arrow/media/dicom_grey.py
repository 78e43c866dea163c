"""Stored DICOM values -> grey levels as a viewer shows them (DICOM PS3.3).

Rescale slope and intercept or modality table (C.11.1), then the first window (C.11.2: linear,
exact, sigmoid) or value table, else the lowest value becomes 0 and the highest 255, padding left
out. MONOCHROME1 is inverted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dof_arrow.media.intensity import Pixels, stretch

Array = npt.NDArray[Any]

PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")


class Levels(NamedTuple):
    """Grey levels uint8, and the rescaled values that became 0 and 255 (None: no straight line)."""

    pixels: Pixels
    low: float | None = None
    high: float | None = None


def grey_levels(values: Array, about: Any, frame: int, limits: tuple[int, int] | None) -> Levels:
    """The levels of a frame [h, w]; `limits` instead of its own lowest and highest value."""
    _add_functional_groups(about, frame)
    low, high = limits or extremes(values, about)
    if values.dtype.itemsize <= 2:
        # No more values than 16 bits hold: the level of each is worked out once and looked up.
        table = _levels(np.arange(low, high + 1), about)
        levels = table._replace(pixels=_looked_up(values, table.pixels, low, high))
    else:
        levels = _levels(np.clip(values, low, high), about)
    if about.PhotometricInterpretation == "MONOCHROME1":
        return levels._replace(pixels=255 - levels.pixels)
    return levels


def extremes(values: Array, about: Any) -> tuple[int, int]:
    """The lowest and highest stored value, padding left out."""
    padding = about.get("PixelPaddingValue")
    if padding is not None:
        limit = about.get("PixelPaddingRangeLimit", padding)
        below = values < min(padding, limit)
        above = values > max(padding, limit)
        inside = values[below | above]
        values = inside if inside.size else values
    return int(values.min()), int(values.max())


def _looked_up(values: Array, table: Pixels, low: int, high: int) -> Pixels:
    shown = np.empty(values.shape, np.uint8)
    for row, line in enumerate(values):  # line by line: numpy widens indexes to 64 bits
        places = np.clip(line, low, high).astype(np.int64) - low
        shown[row] = table[places]
    return shown


def _add_functional_groups(about: Any, frame: int) -> None:
    """Add what functional groups say of how a frame is shown, where the file itself does not."""
    own = about.get("PerFrameFunctionalGroupsSequence") or []
    shared = about.get("SharedFunctionalGroupsSequence") or []
    for group in [*own[frame : frame + 1], *shared[:1]]:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in (group.get(name) or [])[:1]:
                new = {element.tag: element for element in item if element.tag not in about}
                about.update(new)


def _levels(stored: Array, about: Any) -> Levels:
    """Grey levels of stored values, as the file says."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    values = apply_modality_lut(stored, about)
    if about.get("VOILUTSequence"):
        bits = int(about.VOILUTSequence[0].LUTDescriptor[2])
        greatest = (1 << bits) - 1
        entries = apply_voi(values.astype(np.int64), about)
        return Levels(stretch(entries, 0, greatest))
    window = _window(about)
    if window is None:
        low, high = float(values.min()), float(values.max())
        return Levels(stretch(values, low, high), low, high)
    centre, width = window
    if about.get("VOILUTFunction") == "SIGMOID":
        return Levels(_sigmoid(values, centre, width))
    if about.get("VOILUTFunction") == "LINEAR_EXACT":
        half = width / 2
    else:
        # C.11.2.1.2: the window spans width - 1 steps about the centre minus one half.
        centre -= 0.5
        half = (width - 1) / 2
    low, high = centre - half, centre + half
    return Levels(stretch(values, low, high), low, high)


def _sigmoid(values: Array, centre: float, width: float) -> Pixels:
    """C.11.2.1.3.1, with 0 and 255 as the lowest and highest level."""
    exponents = -4 * (values - centre) / width
    levels: Array = np.rint(255 / (1 + np.exp(exponents)))
    return levels.astype(np.uint8)


def _window(about: Any) -> tuple[float, float] | None:
    """Centre and width of the first window; None without one, or where its width cannot be."""
    stated = [about.get(name) for name in ("WindowCenter", "WindowWidth")]
    if None in stated or "" in stated:
        return None
    centre, width = map(_first, stated)
    # A linear window of width 1 is a step, which has no two ends to stretch between.
    least = 0 if about.get("VOILUTFunction") in ("LINEAR_EXACT", "SIGMOID") else 1
    return (centre, width) if width > least else None


def _first(value: Any) -> float:
    """The number, or the first of several."""
    return float(value[0] if hasattr(value, "__len__") else value)
