"""Linear heads: logistic or ridge regression, as scikit-learn fits them (extra `train`)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import require
from dof_arrow.heads import layers
from dof_arrow.heads.features import CONSTANT
from dof_arrow.sampling.splits import folds

Array = NDArray[Any]

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
_DEFAULT_STRENGTH = 10.0  # where there are too few groups to choose one
_INNER_FOLDS = 3
_INNER_ROWS = 4000
_MAX_STEPS = 1000
_LEAST = 1e-12  # a probability of 0 would have an infinite loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """activation((x - mean) @ weights + bias).

    The activation is softmax, a sigmoid for each column, or nothing, by the target's kind. `mean`
    is float32 [D], `weights` float32 [D, K] with the scale of the features folded in, `bias`
    float32 [K], `codes` int64 [K] the class of each column. The mean stays a step of its own:
    folded into the bias, features far from zero would lose their digits in float32.
    """

    kind: str
    mean: Array
    weights: Array
    bias: Array
    codes: Array
    strength: float
    converged: bool = True

    def __call__(self, x: Array) -> Array:
        """Outputs float32 [n, K] for features float32 [n, D]: probabilities, or values."""
        logits = (x - self.mean) @ self.weights + self.bias
        return _activate(self.kind, logits)

    def predict(self, x: Array) -> Array:
        """Predictions for features [n, D]: codes int64 [n], flags bool [n, C] or values [n]."""
        outputs = self(x)
        if self.kind == "regression":
            return outputs[:, 0]
        if self.kind == "multilabel":
            return outputs >= 0.5
        return np.asarray(self.codes[outputs.argmax(axis=1)])

    def steps(self) -> list[layers.Step]:
        """The same as the steps of a head."""
        return [
            layers.Shift(self.mean),
            layers.Affine(self.weights, self.bias),
            layers.Function(layers.ENDS[self.kind]),
        ]


def fit(
    kind: str, x: Array, y: Array, groups: Array, *, balance: bool = False, seed: int = 0
) -> Linear:
    """Fit a linear head to features float32 [n, D] and codes [n], flags [n, C] or values [n].

    The weights of the standardised features have a normal prior of variance strength / D, so that
    one strength means the same for every width. The strength is the one of STRENGTHS with the
    least loss over three grouped folds of at most 4,000 rows; as a property of the prior it does
    not depend on the number of rows. Only classes that occur in `y` get a column.
    """
    limits = require("threadpoolctl", extra="train").threadpool_limits
    # The solver's products are small: two threads waited for each other and took 8 to 20 times as
    # long as one.
    with limits(1):
        standard, mean, scale = _standardise(x)
        strength = choose_strength(kind, standard, y, groups, balance, seed)
        model = solve(kind, standard, y, strength, balance)
    weights = model.weights / scale[:, None]
    return replace(model, mean=mean, weights=weights.astype(np.float32))


def _standardise(x: Array) -> tuple[Array, Array, Array]:
    """Features of mean 0 and variance 1, and the mean and scale; constant columns become 0."""
    mean = x.mean(axis=0, dtype=np.float64)
    mean = mean.astype(np.float32)
    standard = x - mean
    # einsum sums the squares in float64 without a float64 copy of the features.
    squares = np.einsum("nd,nd->d", standard, standard, dtype=np.float64)
    scale = np.sqrt(squares / len(x))
    constant = scale <= CONSTANT * np.abs(mean)
    scale[constant] = np.inf
    standard /= scale.astype(np.float32)
    return standard, mean, scale


def choose_strength(
    kind: str, x: Array, y: Array, groups: Array, balance: bool, seed: int
) -> float:
    """The strength with the least loss on rows left out."""
    chosen = sample(kind, y, groups, seed)
    x, y = x[chosen], y[chosen]
    groups = groups[chosen]
    if len(np.unique(groups)) < _INNER_FOLDS:
        return _DEFAULT_STRENGTH
    strata = y if kind == "category" else None
    fold_of = folds(groups, _INNER_FOLDS, strata=strata, seed=seed)

    def loss(strength: float) -> float:
        total = 0.0
        for fold in range(_INNER_FOLDS):
            out = fold_of == fold
            kept = ~out
            model = solve(kind, x[kept], y[kept], strength, balance)
            losses = _losses(model, x[out], y[out])
            total += float(losses.sum())
        return total

    return min(STRENGTHS, key=loss)


def sample(kind: str, y: Array, groups: Array, seed: int) -> Array:
    """A mask of about _INNER_ROWS rows, or of all if there are fewer, in whole groups."""
    parts = -(-len(y) // _INNER_ROWS)
    strata = y if kind == "category" else None
    fold_of = folds(groups, parts, strata=strata, seed=seed)
    return np.asarray(fold_of == 0)


def solve(kind: str, x: Array, y: Array, strength: float, balance: bool) -> Linear:
    """Fit to features that are standardised already."""
    if kind == "category":
        return _softmax(x, y, strength, balance)
    if kind == "multilabel":
        return _sigmoids(x, y, strength, balance)
    return _ridge(x, y, strength)


def _softmax(x: Array, y: Array, strength: float, balance: bool) -> Linear:
    codes, index = np.unique(y, return_inverse=True)
    weights, bias, converged = _logistic(x, index, strength, balance)
    if len(codes) == 2:
        # The solver gives the second class's logit only: the first class's is zero.
        weights = np.pad(weights, ((0, 0), (1, 0)))
        bias = np.pad(bias, (1, 0))
    return made_of("category", weights, bias, codes, strength, converged)


def _sigmoids(x: Array, y: Array, strength: float, balance: bool) -> Linear:
    """A logistic regression for each flag."""
    weights, biases, converged = [], [], True
    for flag in y.T:
        column, bias, done = _logistic(x, flag, strength, balance)
        weights.append(column)
        biases.append(bias)
        converged = converged and done
    codes = np.arange(y.shape[1])
    together = np.concatenate(weights, axis=-1)
    return made_of(
        "multilabel", together, np.concatenate(biases, axis=-1), codes, strength, converged
    )


def _ridge(x: Array, y: Array, strength: float) -> Linear:
    from sklearn.linear_model import Ridge

    mean = y.mean()
    unit = float(y.std()) or 1.0
    model = Ridge(alpha=x.shape[1] / strength)
    model.fit(x, (y - mean) / unit)
    weights = model.coef_.astype(np.float64) * unit
    bias = float(model.intercept_) * unit + mean
    codes = np.arange(1)
    return made_of("regression", weights[:, None], np.array([bias]), codes, strength)


def _logistic(x: Array, y: Array, strength: float, balance: bool) -> tuple[Array, Array, bool]:
    """Weights [D, K] and bias [K] in float64, and whether the solver converged; K = 1 for two."""
    from sklearn.linear_model import LogisticRegression

    width = x.shape[1]
    if (y == y[0]).all():
        return np.zeros((width, 1)), constant_logit(y), True
    model = LogisticRegression(
        C=strength / width,
        max_iter=_MAX_STEPS,
        class_weight="balanced" if balance else None,
    )
    with warnings.catch_warnings():
        ignore_convergence()
        model.fit(x, y)
    weights = model.coef_.T.astype(np.float64)
    bias = model.intercept_.astype(np.float64)
    steps = int(model.n_iter_.max())
    return weights, bias, steps < _MAX_STEPS


def ignore_convergence() -> None:
    """Let scikit-learn's solver stop early without a warning of its own: `converged` tells."""
    from sklearn.exceptions import ConvergenceWarning

    warnings.simplefilter("ignore", ConvergenceWarning)


def constant_logit(y: Array) -> Array:
    """The logit of a flag that is the same in all n rows, by the rule of succession.

    Of k rows that have it, its probability is (k + 1) / (n + 2).
    """
    count = y.sum(dtype=np.float64)
    likely = (count + 1) / (len(y) + 2)
    odds = likely / (1 - likely)
    return np.array([np.log(odds)])


def made_of(
    kind: str, weights: Array, bias: Array, codes: Array, strength: float, converged: bool = True
) -> Linear:
    """A model of standardised features: weights [D, K], bias [K], the class code of each column."""
    return Linear(
        kind=kind,
        mean=np.zeros(len(weights), np.float32),
        weights=weights,
        bias=bias.astype(np.float32),
        codes=codes,
        strength=strength,
        converged=converged,
    )


def _activate(kind: str, logits: Array) -> Array:
    if kind == "regression":
        return logits
    if kind == "multilabel":
        return 0.5 * (1.0 + np.tanh(0.5 * logits))  # the sigmoid, without overflow
    largest = logits.max(axis=1, keepdims=True)
    powers = np.exp(logits - largest)  # the softmax, without overflow
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _losses(model: Linear, x: Array, y: Array) -> Array:
    """Log loss or squared error of each row, or of each flag."""
    outputs = model(x)
    if model.kind == "regression":
        errors = outputs[:, 0] - y
        return np.asarray(np.square(errors))
    if model.kind == "multilabel":
        likely = np.where(y, outputs, 1 - outputs)
    else:
        of_class = y[:, None] == model.codes
        likely = (outputs * of_class).sum(axis=1)
    likely = np.maximum(likely, _LEAST)
    return np.asarray(-np.log(likely))
