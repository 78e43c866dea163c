"""How pixel values of any type become 8-bit ones: the one account of the rule.

Stored pictures, arrays, the frames of a clip and DICOM files all use it:

    bool                            0 and 255
    uint8                           as it is
    unsigned of more than 8 bits    the upper 8 of the bits in use: those of the greatest value, at
                                    least 8 (12-bit radiographs are often stored in 16 bits)
    signed, float                   no range is known: the lowest finite value becomes 0, the
                                    highest 255, linear between; infinities become 0 and 255, NaN
                                    becomes 0; all becomes 0 where there are no two finite values

"The greatest" and "the lowest" are those of the whole picture, or of the whole clip, or frames
would flicker. A picture or clip may be given in parts, so that it need not be held in memory.
SPEC.md 4.4 asks for 8 bits a channel in step 1 and leaves this rule to the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]
ToBytes = Callable[[Array], Pixels]  # values of a part -> the same in 8 bits


def to_bytes(values: Array) -> Pixels:
    """A whole picture's values as uint8, by the rule above; PictureError for what are no numbers.

    >>> to_bytes(np.array([-1.0, 0.0, 1.0, np.nan])).tolist()
    [0, 128, 255, 0]
    """
    return rule_for(values.dtype, [values])(values)


def rule_for(dtype: np.dtype[Any], parts: Iterable[Array]) -> ToBytes:
    """The rule for values of a dtype, by the range of all `parts`; PictureError for no numbers.

    >>> clip = np.array([[0, 511], [0, 1023]], np.uint16)
    >>> rule_for(clip.dtype, clip)(clip[0]).tolist()
    [0, 127]
    """
    if dtype == np.uint8:
        return _unchanged
    if dtype == np.bool_:
        return _black_or_white
    if dtype.kind == "u":
        return partial(upper_bits, unused=unused_bits(parts))
    if dtype.kind in "if":
        low, high = extremes(parts)
        return partial(stretch, low=low, high=high)
    raise PictureError(
        "an array that is no picture",
        expected="numbers",
        found=str(dtype),
        rule="unsupported-mode",
    )


def unused_bits(parts: Iterable[Array]) -> int:
    """How many lower bits are dropped so that 8 of the bits in use are left.

    >>> unused_bits([np.array([4095], np.uint16), np.array([7], np.uint16)])
    4
    """
    greatest = max((int(part.max()) for part in parts if part.size), default=0)
    return max(greatest.bit_length() - 8, 0)


def upper_bits(values: Array, unused: int) -> Pixels:
    """Values without their `unused` lower bits, as uint8."""
    shifted: Array = values >> values.dtype.type(unused)
    return shifted.astype(np.uint8)


def extremes(parts: Iterable[Array]) -> tuple[float, float]:
    """The lowest and the highest finite value of all parts; 0 and 0 where there is none.

    >>> extremes([np.array([2.0, np.inf]), np.array([np.nan]), np.array([-1.0])])
    (-1.0, 2.0)
    """
    lowest: list[float] = []
    highest: list[float] = []
    for part in parts:
        finite = part[np.isfinite(part)] if part.dtype.kind == "f" else part
        if finite.size:
            lowest.append(float(finite.min()))
            highest.append(float(finite.max()))
    return min(lowest, default=0.0), max(highest, default=0.0)


def stretch(values: Array, low: float, high: float, *, factor_first: bool = False) -> Pixels:
    """Values as uint8: `low` and below 0, `high` and above 255, linear between; NaN becomes 0.

    All becomes 0 unless `high` is above `low`. `factor_first` is how stored pictures are scaled: it
    rounds differently where a value lies midway between two levels (25 of 0 to 50 becomes 127, not
    128). Both orders stay as they are, since features were made from either.

    >>> stretch(np.array([0, 10, 20, 30]), 10, 20).tolist()
    [0, 0, 255, 255]
    """
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    # In place, since a copy in float64 is eight times the picture.
    levels = values.astype(np.float64)
    levels -= low
    if factor_first:
        levels *= 255 / (high - low)
    else:
        levels *= 255
        levels /= high - low
    np.nan_to_num(levels, copy=False, nan=0.0)
    np.clip(levels, 0, 255, out=levels)
    return np.rint(levels, out=levels).astype(np.uint8)


def _unchanged(values: Array) -> Pixels:
    return values


def _black_or_white(values: Array) -> Pixels:
    return values.astype(np.uint8) * np.uint8(255)
