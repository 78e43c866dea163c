"""Linear heads of more features than fit into memory: the same models, in passes over their rows.

What is minimised is what `linear` has scikit-learn minimise; so the weights are the same, up to
where a solver stops. Each pass reads the rows where they lie, some thousand at a time, and adds up
the loss and its gradient in float64. L-BFGS, as scipy has it, needs some tens of passes: it begins
at the solution for a part of the rows.

D. Liu and J. Nocedal, "On the limited memory BFGS method for large scale optimization" (1989).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import require
from dof_arrow.heads import linear
from dof_arrow.heads.features import Examples, moments
from dof_arrow.heads.linear import Linear

Array = NDArray[Any]

IN_MEMORY = 1 << 28  # bytes of features, up to which scikit-learn has them all at once

_STEP = 1 << 25  # bytes of float64 at a time
_START = 1 << 26  # bytes of features that the solver begins with
_MAX_PASSES = 200
_TOLERANCE = 1e-6  # of the gradient of the mean loss; scikit-learn stops at 1e-4
_ROUNDING = 64 * np.finfo(np.float64).eps  # of the value, as scikit-learn has it
_WIDEST_SQUARE = 4096  # columns, up to which a matrix of their products is made


def is_large(inputs: Examples, places: Array) -> bool:
    """Whether these examples are too many to be copied."""
    return len(places) * inputs.width * np.dtype(np.float32).itemsize > IN_MEMORY


def fit(
    kind: str,
    inputs: Examples,
    places: Array,
    y: Array,
    groups: Array,
    *,
    balance: bool = False,
    seed: int = 0,
) -> Linear:
    """Fit a linear head to the examples at `places`, as `linear.fit` does to a matrix.

    Beside the rows of one step it holds the targets, and a part of the features for the start.
    """
    limits = require("threadpoolctl", extra="train").threadpool_limits
    with limits(1):
        mean, factor = moments(inputs, places)
        rows = _Rows(inputs, places, mean, factor)
        sample = np.flatnonzero(linear.sample(kind, y, groups, seed))
        strength = linear.choose_strength(
            kind, rows.standard(sample), y[sample], groups[sample], balance, seed
        )
        model = _solved(kind, rows, y, strength, balance)
    weights = model.weights * factor[:, None]
    return replace(model, mean=mean, weights=weights.astype(np.float32))


def _solved(kind: str, rows: _Rows, y: Array, strength: float, balance: bool) -> Linear:
    if kind == "category":
        return _category(rows, y, strength, balance)
    if kind == "multilabel":
        return _multilabel(rows, y, strength, balance)
    return _ridge(rows, y, strength)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of features, to be standardised by their mean and 1 / standard deviation."""

    inputs: Examples
    places: Array
    mean: Array
    factor: Array

    @property
    def width(self) -> int:
        return self.inputs.width

    def __len__(self) -> int:
        return len(self.places)

    def standard(self, chosen: Array) -> Array:
        """Some rows, standardised, float32."""
        found = self.inputs.take(self.places[chosen])
        assert isinstance(found, np.ndarray)
        return np.asarray((found - self.mean) * self.factor)

    def parts(self) -> Iterator[tuple[slice, Array]]:
        """All rows, standardised, float64, some at a time, with their places among all."""
        step = max(_STEP // (8 * self.width), 1)
        for start in range(0, len(self), step):
            place = slice(start, start + step)
            part = np.asarray(self.inputs.take(self.places[place]), np.float64)
            part -= self.mean
            part *= self.factor
            yield place, part

    def spread(self) -> Array:
        """Rows from everywhere, as many as the solver begins with."""
        most = max(_START // (4 * self.width), 1)
        return np.arange(0, len(self), -(-len(self) // most))


def _ridge(rows: _Rows, y: Array, strength: float) -> Linear:
    mean = float(y.mean())
    unit = float(y.std()) or 1.0
    wanted = ((y - mean) / unit)[:, None]
    penalty = rows.width / strength
    if rows.width <= _WIDEST_SQUARE:
        weights, bias = _normal_equations(rows, wanted, penalty)
        converged = True
    else:
        problem = _Problem(rows, wanted, penalty, _squares)
        weights, bias, converged = problem.solved(np.zeros((rows.width, 1)), np.zeros(1))
    weights, bias = weights * unit, bias * unit + mean
    return linear.made_of("regression", weights, bias, np.arange(1), strength, converged)


def _normal_equations(rows: _Rows, wanted: Array, penalty: float) -> tuple[Array, Array]:
    """The weights [D, 1] and bias [1] of ridge regression from one pass."""
    products = np.zeros((rows.width, rows.width))
    answers = np.zeros((rows.width, 1))
    sums = np.zeros(rows.width)
    for place, part in rows.parts():
        products += part.T @ part
        answers += part.T @ wanted[place]
        sums += part.sum(axis=0)
    # The mean was rounded to float32: what is left of it counts where it is large.
    left = sums / len(rows)
    products -= np.outer(sums, left)
    answers -= np.outer(left, wanted.sum(axis=0))
    products[np.diag_indices(rows.width)] += penalty
    weights = np.linalg.solve(products, answers)
    return weights, wanted.mean(axis=0) - left @ weights


def _category(rows: _Rows, y: Array, strength: float, balance: bool) -> Linear:
    codes, wanted = np.unique(y, return_inverse=True)
    if len(codes) == 1:
        return linear.made_of("category", np.zeros((rows.width, 1)), np.zeros(1), codes, strength)
    start, bias = _class_start(rows, y, codes, strength, balance)
    penalty = rows.width / strength
    if len(codes) > 2:
        shares = _balanced(np.bincount(wanted)) if balance else None
        problem = _Problem(rows, wanted, penalty, _softmax, shares)
        weights, bias, converged = problem.solved(start, bias)
    else:  # one logit, of the second class
        flags = wanted[:, None] == 1
        problem = _Problem(rows, flags, penalty, _sigmoids, _flag_shares(flags, balance))
        start, bias = np.diff(start), np.diff(bias)
        weights, bias, converged = problem.solved(start, bias)
        weights, bias = np.pad(weights, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
    return linear.made_of("category", weights, bias, codes, strength, converged)


def _class_start(
    rows: _Rows, y: Array, codes: Array, strength: float, balance: bool
) -> tuple[Array, Array]:
    """Weights [D, K] and bias [K] for some of the rows; zero for classes that they lack."""
    spread = rows.spread()
    model = linear.solve("category", rows.standard(spread), y[spread], strength, balance)
    weights, bias = np.zeros((rows.width, len(codes))), np.zeros(len(codes))
    columns = np.searchsorted(codes, model.codes)
    weights[:, columns] = model.weights
    bias[columns] = model.bias
    return weights, bias


def _multilabel(rows: _Rows, y: Array, strength: float, balance: bool) -> Linear:
    """A logistic regression for each flag, all of them in the same passes."""
    spread = rows.spread()
    model = linear.solve("multilabel", rows.standard(spread), y[spread], strength, balance)
    weights, bias = model.weights.copy(), model.bias.astype(np.float64)
    constant = (y == y[:1]).all(axis=0)
    weights[:, constant] = 0
    for column in np.flatnonzero(constant):
        bias[column] = linear.constant_logit(y[:, column])[0]
    flags = y[:, ~constant].astype(bool)
    converged = True
    if flags.shape[1]:
        penalty = rows.width / strength
        problem = _Problem(rows, flags, penalty, _sigmoids, _flag_shares(flags, balance))
        found = problem.solved(weights[:, ~constant], bias[~constant])
        weights[:, ~constant], bias[~constant], converged = found
    return linear.made_of("multilabel", weights, bias, model.codes, strength, converged)


def _balanced(counts: Array) -> Array:
    """What a row of each class counts, so that all classes count alike."""
    return np.asarray(counts.sum(axis=0) / (len(counts) * counts))


def _flag_shares(flags: Array, balance: bool) -> Array | None:
    """What a row counts for each flag [2, K], without and with it."""
    if not balance:
        return None
    having = flags.sum(axis=0)
    return _balanced(np.stack([len(flags) - having, having]))


# The loss of logits [n, K] and its slopes [n, K], given what was wanted.
Loss = Callable[[Array, Array, Array | None], tuple[float, Array]]


def _softmax(logits: Array, wanted: Array, shares: Array | None) -> tuple[float, Array]:
    rows = np.arange(len(logits))
    logits -= logits.max(axis=1, keepdims=True)
    slopes = np.exp(logits)
    total = slopes.sum(axis=1)
    losses = np.log(total) - logits[rows, wanted]
    slopes /= total[:, None]
    slopes[rows, wanted] -= 1
    if shares is not None:
        losses *= shares[wanted]
        slopes *= shares[wanted][:, None]
    return float(losses.sum()), slopes


def _sigmoids(logits: Array, wanted: Array, shares: Array | None) -> tuple[float, Array]:
    losses = np.logaddexp(0, logits) - wanted * logits
    slopes = 0.5 * (1 + np.tanh(0.5 * logits)) - wanted
    if shares is not None:
        counts = np.where(wanted, shares[1], shares[0])
        losses *= counts
        slopes *= counts
    return float(losses.sum()), slopes


def _squares(values: Array, wanted: Array, shares: Array | None) -> tuple[float, Array]:
    slopes = values - wanted
    return 0.5 * float(np.square(slopes).sum()), slopes


@dataclass(frozen=True, slots=True)
class _Problem:
    """The mean loss over all rows, and a penalty for the squares of the weights."""

    rows: _Rows
    wanted: Array
    penalty: float
    loss: Loss
    shares: Array | None = None

    def solved(self, weights: Array, bias: Array) -> tuple[Array, Array, bool]:
        """The best weights [D, K] and bias [K] from a start, and whether the solver converged."""
        optimize = require("scipy.optimize", extra="train")
        shape = (len(weights) + 1, len(bias))
        found = optimize.minimize(
            lambda flat: self._value(flat.reshape(shape)),
            np.vstack([weights, bias]).ravel(),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": _MAX_PASSES, "gtol": _TOLERANCE, "ftol": _ROUNDING},
        )
        best = found.x.reshape(shape)
        return best[:-1], best[-1], bool(found.success)

    def _value(self, made: Array) -> tuple[float, Array]:
        """The value at [weights, bias], and its gradient."""
        weights, bias = made[:-1], made[-1]
        total = 0.5 * self.penalty * float(np.square(weights).sum())
        gradient = np.zeros_like(made)
        gradient[:-1] = self.penalty * weights
        for place, part in self.rows.parts():
            loss, slopes = self.loss(part @ weights + bias, self.wanted[place], self.shares)
            total += loss
            gradient[:-1] += part.T @ slopes
            gradient[-1] += slopes.sum(axis=0)
        count = len(self.rows)
        return total / count, gradient.ravel() / count
