"""Scores of predictions with bootstrap intervals: overall, and for each class.

Source of the intervals: Efron & Tibshirani, An Introduction to the Bootstrap, 1993.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.heads import metrics
from dof_arrow.heads.bootstrap import RESAMPLES, interval, resamples
from dof_arrow.heads.metrics import Metric

Array = NDArray[Any]
Json = Any
# A metric whose truth and predictions are given already: weights [b, n] in, scores [b, ...] out.
Measure = Callable[[Array], Array]

MAX_CLASSES = 100  # with more, scores by class and a confusion matrix would outgrow the head

# The first of each kind is the main one.
_CLASS_METRICS: Mapping[str, Metric] = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "f1": metrics.f1,
}
METRICS: Mapping[str, Mapping[str, Metric]] = {
    "category": _CLASS_METRICS,
    "multilabel": _CLASS_METRICS,
    "regression": {"r2": metrics.r2, "mae": metrics.mae},
}
# These judge probabilities, so they need `Predictions.outputs`.
_PROBABILITY_METRICS: Mapping[str, Metric] = {"auc": metrics.auc, "ece": metrics.ece}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A metric's value, its 95% bootstrap interval (None if there is none), and a guess's value."""

    score: float
    interval: tuple[float, float] | None
    baseline: float


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions for n rows.

    `said` has the form of the truth: class codes int64 [n], flags bool [n, C] or values float [n].
    `outputs` are the probabilities [n, C] behind it, if there are any.
    """

    said: Array
    outputs: Array | None = None


@dataclass(frozen=True, slots=True)
class _Measured:
    """A metric on all rows, and the low and high ends [2, ...] of its interval, if it has one."""

    value: Array
    ends: Array | None


def judge(
    kind: str,
    true: Array,
    predicted: Predictions,
    baseline: Predictions,
    groups: Array,
    *,
    seed: int = 0,
    count: int = RESAMPLES,
) -> dict[str, Score]:
    """Score predictions by every metric of a kind of target, the main metric first.

    `true` are codes `int [n]`, flags `bool [n, C]` or values `float [n]`, `baseline` what a
    constant guess says, `groups` labels `[n]` of rows that are drawn together. All metrics see the
    same resamples.

    >>> right, guess = Predictions(np.array([0, 1] * 50)), Predictions(np.zeros(100, int))
    >>> judge("category", np.array([0, 1] * 50), right, guess, np.arange(100))["accuracy"]
    Score(score=1.0, interval=(1.0, 1.0), baseline=0.5)
    """
    ours = _measures(kind, true, predicted)
    theirs = _measures(kind, true, baseline)
    guessed = _on_all_rows(theirs, len(true))
    measured = _measured(ours, len(true), groups, seed, count)
    scores = {}
    for name, found in measured.items():
        scores[name] = Score(
            score=float(found.value),
            interval=_interval(found.ends),
            baseline=float(guessed.get(name, math.nan)),
        )
    return scores


def by_class(
    kind: str,
    true: Array,
    predicted: Predictions,
    baseline: Predictions,
    groups: Array,
    count: int,
    *,
    seed: int = 0,
    draws: int = RESAMPLES,
) -> list[dict[str, Score]]:
    """Score each of `count` classes, or flags: recall, precision, F1 and AUC.

    The list is empty for regression and for more than MAX_CLASSES classes.
    """
    if kind == "regression" or count > MAX_CLASSES:
        return []
    classes = np.arange(count)
    ours = _class_measures(true, predicted, classes)
    theirs = _class_measures(true, baseline, classes)
    guessed = _on_all_rows(theirs, len(true))
    measured = _measured(ours, len(true), groups, seed, draws)
    unknown = np.full(count, math.nan)
    scores = []
    for each in range(count):
        of_class = {}
        for name, found in measured.items():
            ends = None if found.ends is None else found.ends[:, each]
            of_class[name] = Score(
                score=float(found.value[each]),
                interval=_interval(ends),
                baseline=float(guessed.get(name, unknown)[each]),
            )
        scores.append(of_class)
    return scores


def summary(report: Mapping[str, Json]) -> str:
    """A report in one line.

    >>> summary({"metric": "r2", "score": 0.5, "interval": [0.4, 0.6], "baseline": -0.01,
    ...          "n_test": 90, "groups": 30, "how": "test split"})
    'r2 0.500 (95% interval 0.400 to 0.600, baseline -0.010) on 90 rows of 30 groups, test split'
    """
    spread = "no interval: too few groups"
    if report["interval"]:
        low, high = report["interval"]
        spread = f"95% interval {low:.3f} to {high:.3f}"
    score = _shown(report["score"])
    baseline = _shown(report["baseline"])
    rows, groups = report["n_test"], report["groups"]
    return (
        f"{report['metric']} {score} ({spread}, baseline {baseline}) "
        f"on {rows} rows of {groups} groups, {report['how']}"
    )


def _shown(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.3f}"


def _measures(kind: str, true: Array, predictions: Predictions) -> dict[str, Measure]:
    """Every metric of a kind of target, as a function of the weights alone."""
    found: dict[str, Measure] = {}
    for name, metric in METRICS[kind].items():
        found[name] = partial(metric, true, predictions.said)
    if kind != "regression" and predictions.outputs is not None:
        for name, metric in _PROBABILITY_METRICS.items():
            found[name] = partial(metric, true, predictions.outputs)
    return found


def _class_measures(true: Array, predictions: Predictions, classes: Array) -> dict[str, Measure]:
    """Every metric of single classes, as a function of the weights alone."""
    said, outputs = predictions.said, predictions.outputs
    found: dict[str, Measure] = {
        "recall": partial(metrics.class_recall, true, said, classes=classes),
        "precision": partial(metrics.class_precision, true, said, classes=classes),
        "f1": partial(metrics.class_f1, true, said, classes=classes),
    }
    if outputs is not None:
        found["auc"] = partial(metrics.class_auc, true, outputs, classes=classes)
    return found


def _measured(
    measures: Mapping[str, Measure], rows: int, groups: Array, seed: int, count: int
) -> dict[str, _Measured]:
    """Each measure on all rows and on `count` resamples of their groups."""
    drawn = defaultdict(list)
    for weights in resamples(groups, count, seed):
        for name, measure in measures.items():
            drawn[name].append(measure(weights))
    found = {}
    for name, value in _on_all_rows(measures, rows).items():
        ends = None  # a single group cannot be resampled: then nothing was drawn
        if name in drawn:
            ends = _ends(np.concatenate(drawn[name]))
        found[name] = _Measured(value, ends)
    return found


def _on_all_rows(measures: Mapping[str, Measure], rows: int) -> dict[str, Array]:
    """Each measure with every row counted once."""
    whole = np.ones((1, rows))
    return {name: measure(whole)[0] for name, measure in measures.items()}


def _ends(values: Array) -> Array:
    """The low and high ends [2, ...] of the intervals of resampled values [b, ...]."""
    columns = values.reshape(len(values), -1).T
    nothing = (math.nan, math.nan)  # no resample has a score
    found = [interval(column) or nothing for column in columns]
    ends = np.array(found).T
    return ends.reshape(2, *values.shape[1:])


def _interval(ends: Array | None) -> tuple[float, float] | None:
    if ends is None or np.isnan(ends).any():
        return None
    return float(ends[0]), float(ends[1])
