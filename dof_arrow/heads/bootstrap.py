"""Intervals by drawing the judged rows anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


RESAMPLES = 1000


_BLOCK = 1 << 22  # weights held at a time: 32 MiB


def resamples(groups: Array, count: int = RESAMPLES, seed: int = 0) -> Iterator[Array]:
    """Weights `float64 [b, n]`, `count` rows in all: how often each row's group was drawn, with replacement.

    Rows of one group (a patient) are not independent, so groups are drawn, not rows; of one group nothing can be drawn.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 8.

    >>> sum(len(weights) for weights in resamples(np.array(["a", "a", "b"])))
    1000
    """
    names, codes = np.unique(groups, return_inverse=True)
    size, random = len(names), np.random.default_rng(seed)
    block = max(1, _BLOCK // max(1, len(codes)))
    for start in range(0, count if size > 1 else 0, block):
        rows = min(block, count - start)
        drawn = random.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        yield times[:, codes].astype(np.float64)


def interval(values: Array) -> tuple[float, float] | None:
    """The 95% percentile interval of bootstrap values (Efron & Tibshirani 1993, chapter 13); None of none finite.

    >>> interval(np.arange(1001.0))
    (25.0, 975.0)
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)
