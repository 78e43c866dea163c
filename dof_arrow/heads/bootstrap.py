"""Confidence intervals by resampling the judged rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

RESAMPLES = 1000
_BLOCK = 1 << 22  # weights held at a time: 32 MiB


def resamples(groups: Array, count: int = RESAMPLES, seed: int = 0) -> Iterator[Array]:
    """Weights float64 [b, n], `count` rows in all: how often each row's group was drawn.

    Groups (patients) are drawn with replacement, not rows, because rows of one group are not
    independent. A single group cannot be resampled: then nothing is given.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 8.

    >>> sum(len(weights) for weights in resamples(np.array(["a", "a", "b"])))
    1000
    """
    names, codes = np.unique(groups, return_inverse=True)
    size = len(names)
    if size < 2:
        return
    random = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(codes))
    for start in range(0, count, block):
        rows = min(block, count - start)
        drawn = random.integers(size, size=(rows, size))
        # One bincount for the whole block: each row counts in bins of its own.
        first_bin = size * np.arange(rows)[:, None]
        bins = (drawn + first_bin).ravel()
        times = np.bincount(bins, minlength=rows * size)
        by_group = times.reshape(rows, size)
        yield by_group[:, codes].astype(np.float64)


def interval(values: Array) -> tuple[float, float] | None:
    """The 95% percentile interval of resampled scores; None if no score is finite.

    Source: Efron & Tibshirani 1993, chapter 13.

    >>> interval(np.arange(1001.0))
    (25.0, 975.0)
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)
