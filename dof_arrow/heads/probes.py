"""Rows on which a head is compared with the model that it was made of: usual and far ones.

A clip at 6, a threshold or a softmax over the batch may show on no row of the training set. So the
rows go far beyond it, and come in several batch sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BATCH = 257  # rows at once: a prime, which no batch size of a model divides
_FEW = 64
_LAST_DIGITS = 4
_FACTORS = (0.0, 1e-3, -1.0, 30.0, -1e3, 1e6)
# The smallest is denormal in float32.
_CONSTANTS = (1e-40, -1e-40, 1e-20, 1e-3, -1e-3, 1.0, -1.0, 1e3, -1e3, 1e6, -1e6, 1e10, -1e10)
OF_THE_DATASET = "rows of the dataset"


def probes(rows: Array, edges: Array | None = None) -> dict[str, Array]:
    """Groups of rows float32 [n, D] by what they are, made of rows of the dataset.

    >>> groups = probes(np.ones((3, 2), np.float32))
    >>> groups["rows of the dataset"].shape, float(groups["rows times 1e+06"][0, 0])
    ((257, 2), 1000000.0)
    """
    rows = rows.astype(np.float32)
    few = np.resize(rows, (_FEW, rows.shape[1]))
    found = {OF_THE_DATASET: np.resize(rows, (BATCH, rows.shape[1]))}
    for factor in _FACTORS:
        found[f"rows times {factor:g}"] = few * np.float32(factor)
    found["rows with each feature far from its mean"] = _scattered(rows)
    found["rows with one feature far from its mean"] = _single(rows)
    constants = np.array(_CONSTANTS, np.float32)
    found["rows of one number"] = np.repeat(constants[:, None], rows.shape[1], axis=1)
    if edges is not None and len(edges):
        found["rows at the thresholds of trees"] = edges
    return found


def _scattered(rows: Array) -> Array:
    """Rows of normal numbers, 100 deviations wide."""
    random = np.random.default_rng(0)
    drawn = random.normal(size=(_FEW, rows.shape[1]))
    return np.asarray(_mean(rows) + 100 * _deviation(rows) * drawn, np.float32)


def _single(rows: Array) -> Array:
    """The mean row, with one feature 10,000 deviations away, up in one and down in the next."""
    width = rows.shape[1]
    chosen = np.resize(np.arange(width), _FEW)
    found = np.repeat(_mean(rows)[None], _FEW, axis=0)
    signs = np.where(np.arange(_FEW) % 2, 1, -1)
    found[np.arange(_FEW), chosen] += 1e4 * signs * _deviation(rows)[chosen]
    return np.asarray(found, np.float32)


def _mean(rows: Array) -> Array:
    return np.asarray(rows.mean(axis=0, dtype=np.float64))


def _deviation(rows: Array) -> Array:
    """The deviation of each feature, 1 where it is constant."""
    found = rows.std(axis=0, dtype=np.float64)
    return np.where(found > 0, found, 1.0)


def moved(rows: Array, seed: int) -> Array:
    """The same rows, each number moved by a few of its last digits, up or down.

    What the answers change by is how exactly float32 can say them at all.
    """
    random = np.random.default_rng(seed)
    signs = random.choice([-1.0, 1.0], size=rows.shape)
    step = _LAST_DIGITS * np.finfo(np.float32).eps
    return np.asarray(rows * (1 + step * signs), np.float32)
