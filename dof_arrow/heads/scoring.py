"""Scores of predictions with their intervals: overall, and for each class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.heads import intervals, metrics
from dof_arrow.heads.intervals import Estimate
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
PROBABILITY_METRICS: Mapping[str, Metric] = {"auc": metrics.auc, "ece": metrics.ece}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A metric's value, its 95% interval (None if there is none), and a guess's value."""

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


def judge(
    kind: str,
    true: Array,
    predicted: Predictions,
    baseline: Predictions,
    groups: Array,
    *,
    seed: int = 0,
) -> dict[str, Score]:
    """Score predictions by every metric of a kind of target, the main metric first.

    `true` are codes `int [n]`, flags `bool [n, C]` or values `float [n]`, `baseline` what a
    constant guess says, `groups` labels `[n]` of rows that are not independent. `seed` is
    for the draws of the interval of `ece`.

    >>> right, guess = Predictions(np.array([0, 1] * 50)), Predictions(np.zeros(100, int))
    >>> found = judge("category", np.array([0, 1] * 50), right, guess, np.arange(100))
    >>> [round(end, 3) for end in found["accuracy"].interval]
    [0.963, 1.0]
    """
    grouped = _Grouped.of(groups)
    estimates = _estimates(kind, true, predicted, grouped, seed)
    theirs = _on_all_rows(_measures(kind, true, baseline), len(true))
    scores = {}
    for name, found in estimates.items():
        guessed = float(theirs.get(name, math.nan))
        scores[name] = _score(found, guessed, grouped)
    return scores


def by_class(
    kind: str,
    true: Array,
    predicted: Predictions,
    baseline: Predictions,
    groups: Array,
    count: int,
) -> list[dict[str, Score]]:
    """Score each of `count` classes, or flags: recall, precision, F1 and AUC.

    The list is empty for regression and for more than MAX_CLASSES classes.
    """
    if kind == "regression" or count > MAX_CLASSES:
        return []
    grouped = _Grouped.of(groups)
    classes = np.arange(count)
    guessed = _on_all_rows(_class_measures(true, baseline, classes), len(true))
    unknown = np.full(count, math.nan)
    scores = []
    for code in range(count):
        of_class = {}
        for name, found in _class_estimates(true, predicted, code, grouped).items():
            theirs = float(guessed.get(name, unknown)[code])
            of_class[name] = _score(found, theirs, grouped)
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
        for name, metric in PROBABILITY_METRICS.items():
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


def _on_all_rows(measures: Mapping[str, Measure], rows: int) -> dict[str, Array]:
    """Each measure with every row counted once."""
    whole = np.ones((1, rows))
    return {name: measure(whole)[0] for name, measure in measures.items()}


@dataclass(frozen=True, slots=True)
class _Grouped:
    """The group of each row int64 [n], numbered from 0, and how many groups there are."""

    codes: Array
    count: int

    @classmethod
    def of(cls, groups: Array) -> _Grouped:
        names, codes = np.unique(groups, return_inverse=True)
        return cls(codes, len(names))


def _score(found: Estimate, baseline: float, grouped: _Grouped) -> Score:
    """A score with its interval, if there are two groups and its ends are known."""
    ends = (found.low, found.high)
    known = grouped.count > 1 and all(map(math.isfinite, ends))
    return Score(score=found.value, interval=ends if known else None, baseline=baseline)


def _estimates(
    kind: str, true: Array, predicted: Predictions, grouped: _Grouped, seed: int
) -> dict[str, Estimate]:
    """Every metric of a kind of target."""
    said, outputs = predicted.said, predicted.outputs
    groups = (grouped.codes, grouped.count)
    if kind == "regression":
        value = float(metrics.r2(true, said, np.ones((1, len(true))))[0])
        return {
            "r2": intervals.r2(true, said, *groups, value),
            "mae": intervals.mae(true, said, *groups),
        }
    found = {
        "accuracy": intervals.accuracy(true, said, *groups),
        "balanced_accuracy": intervals.mean(_recalls(true, said, grouped)),
        "f1": intervals.mean(_f1s(true, said, grouped)),
    }
    if outputs is not None:
        found["auc"] = intervals.mean(_areas(true, outputs, grouped))
        found["ece"] = intervals.mean(_calibrations(true, outputs, grouped, seed))
    return found


def _recalls(true: Array, said: Array, grouped: _Grouped) -> Iterator[Estimate]:
    """The recall of each class that occurs; of a flag, the mean of rows with and without it."""
    if true.ndim == 1:
        for code in np.unique(true):
            yield _recall(true == code, said == code, grouped)
        return
    for here, found in zip(true.T, said.T, strict=True):
        both = (_recall(here, found, grouped), _recall(~here, ~found, grouped))
        yield intervals.mean(both)


def _recall(here: Array, found: Array, grouped: _Grouped) -> Estimate:
    """Of the rows where `here` is true, the share where `found` is."""
    return intervals.share(found[here], grouped.codes[here], grouped.count)


def _f1s(true: Array, said: Array, grouped: _Grouped) -> Iterator[Estimate]:
    """F1 of each class that is true or said somewhere, or of each flag."""
    for here, found in _flags(true, said):
        yield intervals.f1(here, found, grouped.codes, grouped.count)


def _flags(true: Array, said: Array) -> Iterator[tuple[Array, Array]]:
    """For each class or flag, the rows bool [n] that are of it, and those that are said to be."""
    if true.ndim > 1:
        yield from zip(true.T, said.T, strict=True)
        return
    for code in np.union1d(true, said):
        yield true == code, said == code


def _areas(true: Array, outputs: Array, grouped: _Grouped) -> Iterator[Estimate]:
    columns = range(outputs.shape[1])
    if true.ndim == 1 and outputs.shape[1] == 2:
        columns = range(1, 2)  # of two classes the first one's area is the same
    for code in columns:
        yield _area(true, outputs, code, grouped)


def _area(true: Array, outputs: Array, code: int, grouped: _Grouped) -> Estimate:
    positive = true == code if true.ndim == 1 else true[:, code]
    return intervals.auc(positive, outputs[:, code], grouped.codes, grouped.count)


def _calibrations(true: Array, outputs: Array, grouped: _Grouped, seed: int) -> Iterator[Estimate]:
    pairs = [metrics.stated(true, outputs)]
    if true.ndim > 1:
        pairs = list(zip(outputs.T, true.T, strict=True))
    for probability, came in pairs:
        yield intervals.ece(probability, came, grouped.codes, grouped.count, seed)


def _class_estimates(
    true: Array, predicted: Predictions, code: int, grouped: _Grouped
) -> dict[str, Estimate]:
    """Every metric of one class, or flag."""
    said, outputs = predicted.said, predicted.outputs
    here = true == code if true.ndim == 1 else true[:, code]
    found = said == code if true.ndim == 1 else said[:, code]
    estimates = {
        "recall": _recall(here, found, grouped),
        "precision": _recall(found, here, grouped),
        "f1": intervals.f1(here, found, grouped.codes, grouped.count),
    }
    if outputs is not None:
        estimates["auc"] = _area(true, outputs, code, grouped)
    return estimates
