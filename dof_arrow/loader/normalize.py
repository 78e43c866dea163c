"""Features brought to mean 0 and standard deviation 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.loader.batch_source import BatchSource

Array = NDArray[Any]
Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Normalization:
    """Mean and standard deviation of each number of a row, float32 [width] each."""

    mean: Float
    deviation: Float

    def apply(self, x: Float) -> None:
        """Normalize rows [k, width] in place."""
        x -= self.mean
        x /= self.deviation


def normalization(
    source: BatchSource, given: str | tuple[Array, Array] | None, feature: str | None
) -> Normalization | None:
    """What `normalize` asks for: by a split, or by a given mean and deviation; None for nothing."""
    if given is None:
        return None
    shape = source.row_shape(feature)
    if isinstance(given, str):
        mean, deviation = source.statistics(given, feature)
    else:
        mean, deviation = _given(given, shape)
    # A number that never varies would be divided by 0.
    deviation = np.where(np.asarray(deviation) > 0, deviation, 1)
    return Normalization(_for_each_number(mean, shape), _for_each_number(deviation, shape))


def _given(pair: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """A pair of means and deviations; UsageError for what is none, or suits no row."""
    found = f"{type(pair).__name__}"
    try:
        mean, deviation = (np.asarray(values, np.float64) for values in pair)
        found = f"{list(mean.shape)} and {list(deviation.shape)}"
        for values in (mean, deviation):
            _for_each_number(values, shape)
    except (TypeError, ValueError):
        mean = deviation = np.array(np.nan)
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation >= 0).all()):
        expected = f"a split, or finite means and deviations of {' x '.join(map(str, shape))}"
        raise UsageError("features cannot be normalized", "normalize", expected, found)
    return mean, deviation


def _for_each_number(values: Any, shape: tuple[int, ...]) -> Float:
    """One value for each number of a row, from as many or one for each place of its last axis."""
    flat = np.asarray(values, np.float32).ravel()
    if flat.size == np.prod(shape):
        return flat
    return np.broadcast_to(flat, shape).ravel()
