"""Judging a head: folds, metrics and their intervals, as pure functions of arrays.

A metric takes what is true, what was predicted and **weights** `float64 [b, n]`, one row of weights per resample, and
gives `b` scores. So one function serves the score itself (weights of one) and its bootstrap, whatever is resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Metric = Callable[[Array, Array, Array], Array]

RESAMPLES = 1000
_BLOCK = 1 << 22  # weights held at a time: 32 MiB
_CONSTANT = 1e-12  # a variance below this part of the whole is rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A metric's value, its 95% bootstrap interval (None where one cannot be had) and what a constant guess gets."""

    score: float
    interval: tuple[float, float] | None
    baseline: float


def accuracy(true: Array, predicted: Array, weights: Array) -> Array:
    """Share of right answers; for flags `bool [n, C]`, of right flags.

    >>> accuracy(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), np.ones((1, 4)))
    array([0.75])
    """
    return _mean(_by_row(true == predicted), weights)


def balanced_accuracy(true: Array, predicted: Array, weights: Array) -> Array:
    """Mean over the classes of the share of right answers in each; classes of no weight do not count.

    For flags, every flag is a question of two classes, and the mean is taken over the flags.
    Source: Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010.

    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), np.ones((1, 4)))
    array([0.5])
    """
    if true.ndim == 1:
        return _nanmean(_recalls(true, predicted, weights))
    return _nanmean(np.stack([balanced_accuracy(t, p, weights) for t, p in zip(true.T, predicted.T, strict=True)], 1))


def r2(true: Array, predicted: Array, weights: Array) -> Array:
    """Share of the variance explained, 1 - SSE / SST; NaN where what is true does not vary.

    >>> r2(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]), np.ones((1, 3)))
    array([1.])
    """
    centred = true - true.mean()
    total = _mean(centred**2, weights) - _mean(centred, weights) ** 2
    total[total <= _CONSTANT * np.mean(centred**2)] = 0.0
    return 1.0 - _divide(_mean((true - predicted) ** 2, weights), total)


def mae(true: Array, predicted: Array, weights: Array) -> Array:
    """Mean absolute error, in the target's unit.

    >>> mae(np.array([1.0, 2.0]), np.array([1.0, 4.0]), np.ones((1, 2)))
    array([1.])
    """
    return _mean(np.abs(true - predicted), weights)


METRICS: Mapping[str, Mapping[str, Metric]] = {
    "category": {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy},
    "multilabel": {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy},
    "regression": {"r2": r2, "mae": mae},
}


def judge(
    kind: str, true: Array, predicted: Array, baseline: Array, groups: Array, *, seed: int = 0, count: int = RESAMPLES
) -> dict[str, Score]:
    """The scores of predictions, the main one first; all metrics see the same resamples.

    `kind` is a target's kind, `true`, `predicted` and `baseline` (what a constant guess says) are `int [n]` codes,
    `bool [n, C]` flags or `float [n]` values, `groups` any `[n]` labels of what must be drawn together.

    >>> scores = judge("category", np.array([0, 1] * 50), np.array([0, 1] * 50), np.zeros(100, int), np.arange(100))
    >>> scores["accuracy"]
    Score(score=1.0, interval=(1.0, 1.0), baseline=0.5)
    """
    metrics, whole = METRICS[kind], np.ones((1, len(true)))
    drawn: dict[str, list[Array]] = {name: [] for name in metrics}
    for weights in resamples(groups, count, seed):
        for name, metric in metrics.items():
            drawn[name].append(metric(true, predicted, weights))
    return {
        name: Score(
            score=float(metric(true, predicted, whole)[0]),
            interval=interval(np.concatenate(drawn[name])) if drawn[name] else None,
            baseline=float(metric(true, baseline, whole)[0]),
        )
        for name, metric in metrics.items()
    }


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


def folds(groups: Array, k: int, *, strata: Array | None = None, seed: int = 0) -> Array:
    """The fold `int64 [n]` of each row: `k` folds of near-equal size, a group never in two of them.

    Groups are dealt out like cards, the largest first, stratum by stratum (`strata`: int codes `[n]`), so each fold
    gets its share of every class. A group of several strata is dealt with its rarest.

    >>> folds(np.array(["a", "a", "b", "c"]), 3).tolist()
    [0, 0, 2, 1]
    """
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    stratum = np.zeros(len(size), np.int64) if strata is None else _rarest(strata, group, len(size))
    chance = np.random.default_rng(seed).random(len(size))
    dealt = np.empty(len(size), np.int64)
    dealt[np.lexsort((chance, -size, stratum))] = np.arange(len(size)) % k
    return dealt[group]


def _rarest(strata: Array, group: Array, count: int) -> Array:
    rank = np.argsort(np.argsort(np.bincount(strata), kind="stable"))
    found = np.full(count, len(rank))
    np.minimum.at(found, group, rank[strata])
    return found


def _recalls(true: Array, predicted: Array, weights: Array) -> Array:
    order = np.argsort(true, kind="stable")
    starts = np.unique(true[order], return_index=True)[1]
    sorted_weights = weights[:, order]
    hits = np.add.reduceat(sorted_weights * (true == predicted)[order], starts, axis=1)
    return _divide(hits, np.add.reduceat(sorted_weights, starts, axis=1))


def _by_row(right: Array) -> Array:
    return right.mean(axis=1) if right.ndim > 1 else right.astype(np.float64)


def _mean(values: Array, weights: Array) -> Array:
    return np.asarray((weights @ values) / weights.sum(axis=1))


def _nanmean(values: Array) -> Array:
    known = np.isfinite(values)
    return _divide(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))


def _divide(over: Array, under: Array) -> Array:
    return np.asarray(np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0))
