"""Grey values of any depth as 8-bit ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError

Pixels = npt.NDArray[np.uint8]

Array = npt.NDArray[Any]


def to_bytes(values: Array) -> Pixels:
    """Numbers of any type as uint8, by the table above.

    >>> to_bytes(np.array([-1.0, 0.0, 1.0, np.nan])).tolist()
    [0, 128, 255, 0]
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u":
        unused = max(int(values.max()).bit_length() - 8, 0)
        shifted: Array = values >> values.dtype.type(unused)
        return shifted.astype(np.uint8)
    if values.dtype.kind not in "if":
        raise PictureError(
            "an array that is no picture",
            expected="numbers",
            found=str(values.dtype),
            rule="unsupported-mode",
        )
    finite = values[np.isfinite(values)]
    return stretch(
        values, *((float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0))
    )


def stretch(values: Array, low: float, high: float) -> Pixels:
    """Numbers as uint8: `low` and below 0, `high` and above 255, linear between; NaN 0, all 0 without a range.

    >>> stretch(np.array([0, 10, 20, 30]), 10, 20).tolist()
    [0, 0, 255, 255]
    """
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    scaled = (values.astype(np.float64) - low) * 255 / (high - low)
    return np.rint(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255)).astype(np.uint8)
