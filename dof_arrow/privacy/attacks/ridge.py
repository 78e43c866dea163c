"""Linear attackers: ridge regression, taught on some groups and tried on others.

A. Hoerl and R. Kennard, "Ridge regression: biased estimation for nonorthogonal problems" (1970).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.sampling.splits import folds

Array = NDArray[Any]

FOLDS = 5
_STRENGTHS = 10.0 ** np.arange(-7, 4)  # of the penalty, a row
_CONSTANT = 1e-12
_MOST_OWN = 0.99  # that a row is taken to pull its own answer
_CHOOSING = 3000  # rows, at most, by which the strength is chosen


class Ridge:
    """Ridge regressions of all strengths at once, from one eigendecomposition.

    Features float [n, D] are standardised; answers float [n, m] are centred.
    """

    def __init__(self, x: Array, y: Array) -> None:
        x = x.astype(np.float64)
        self._mean = x.mean(axis=0)
        scale = x.std(axis=0)
        constant = scale <= _CONSTANT * (np.abs(self._mean) + _CONSTANT)
        scale[constant] = np.inf
        self._scale = scale
        self.mean = y.mean(axis=0, dtype=np.float64)
        self._rows = len(x)
        standard = (x - self._mean) / self._scale
        # The features of the only picture in colour, say, lie a thousand times further out than all
        # that were taught: there the nearest of these has to do.
        self._lowest = standard.min(axis=0)
        self._highest = standard.max(axis=0)
        centred = y - self.mean
        self._is_tall = standard.shape[0] >= standard.shape[1]
        if self._is_tall:
            values, vectors = np.linalg.eigh(standard.T @ standard)
            self._basis = vectors
            self._shares = vectors.T @ (standard.T @ centred)
        else:
            values, vectors = np.linalg.eigh(standard @ standard.T)
            self._basis = standard.T @ vectors
            self._shares = vectors.T @ centred
        self._values = np.maximum(values, 0)

    def __call__(self, x: Array, strength: float) -> Array:
        """Answers float64 [k, m] for features [k, D]."""
        penalty = strength * self._rows
        weights = self._shares / (self._values + penalty)[:, None]
        projected = self.standard(x) @ self._basis
        return np.asarray(projected @ weights + self.mean)

    def unseen(self, x: Array, y: Array, strength: float) -> Array:
        """Answers float64 [n, m] for the rows that it was taught, each as if taught the others.

        The mean and the scale are those of all (R. Cook, "Detection of influential observation in
        linear regression", 1977).
        """
        penalty = strength * self._rows
        along = self.standard(x) @ self._basis
        whole = self._values + penalty
        if not self._is_tall:  # the squares of the basis have these lengths, not 1
            real = self._values > _CONSTANT * self._values.max()
            whole = whole * np.where(real, self._values, np.inf)
        own = np.square(along) @ (1 / whole) + 1 / self._rows
        missed = y - self(x, strength)
        return np.asarray(y - missed / (1 - np.minimum(own, _MOST_OWN))[:, None])

    def standard(self, x: Array) -> Array:
        """Features float [k, D] as it sees them: around 0, spread by 1, within what was taught."""
        standard = (x - self._mean) / self._scale
        return np.asarray(np.clip(standard, self._lowest, self._highest))


def strength_for(x: Array, y: Array, groups: Array, seed: int) -> float:
    """The strength with the least squared error on a third of the groups, taught on the others.

    As it is that of a row, it does not depend on how many rows there are: 3,000 will do.
    """
    parts = -(-len(x) // _CHOOSING)
    if parts > 1 and len(np.unique(groups)) >= 3 * parts:
        some = folds(groups, parts, seed=seed) == 0
        x = x[some]
        y = y[some]
        groups = groups[some]
    fold_of = folds(groups, min(3, len(np.unique(groups))), seed=seed)
    out = fold_of == 0
    model = Ridge(x[~out], y[~out])
    errors = []
    for strength in _STRENGTHS:
        missed = model(x[out], strength) - y[out]
        errors.append(float(np.square(missed).sum()))
    return float(_STRENGTHS[int(np.argmin(errors))])


def predicted(
    x: Array, y: Array, groups: Array, seed: int, strata: Array | None = None
) -> tuple[Array, Array]:
    """Answers float64 [n, m] for each row by an attacker who was taught on other groups.

    And the mean answers of what each attacker was taught: what is said without any features. Each
    attacker is taught on about as many rows of each class of `strata`.
    """
    said = np.empty(y.shape)
    mean = np.empty(y.shape)
    for out in tried(groups, seed, strata):
        taught = ~out
        strength = strength_for(x[taught], y[taught], groups[taught], seed)
        model = Ridge(x[taught], y[taught])
        said[out] = model(x[out], strength)
        mean[out] = model.mean
    return said, mean


def tried(groups: Array, seed: int, strata: Array | None = None) -> Iterator[Array]:
    """Which rows are attacked, bool [n], fold by fold: whole groups; the others teach."""
    count = min(FOLDS, len(np.unique(groups)))
    fold_of = folds(groups, count, strata=strata, seed=seed)
    for fold in np.unique(fold_of):
        yield fold_of == fold
