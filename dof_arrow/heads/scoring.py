"""Judging a head: the folds to judge it by, its scores with intervals, per class and per group, and the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads import metrics
from dof_arrow.heads.bootstrap import RESAMPLES, interval, resamples
from dof_arrow.heads.labels import Labels
from dof_arrow.heads.metrics import Metric

Array = NDArray[Any]

MAX_CLASSES = 100  # of more, no score a class and no confusion matrix: they would outgrow the head
# The main one first; those of the second table judge chances.
METRICS: Mapping[str, Mapping[str, Metric]] = {
    "category": {
        "accuracy": metrics.accuracy,
        "balanced_accuracy": metrics.balanced_accuracy,
        "f1": metrics.f1,
    },
    "multilabel": {
        "accuracy": metrics.accuracy,
        "balanced_accuracy": metrics.balanced_accuracy,
        "f1": metrics.f1,
    },
    "regression": {"r2": metrics.r2, "mae": metrics.mae},
}
OF_CHANCES: Mapping[str, Mapping[str, Metric]] = {
    "category": {"auc": metrics.auc, "ece": metrics.ece},
    "multilabel": {"auc": metrics.auc, "ece": metrics.ece},
    "regression": {},
}
Json = Any
MAX_VALUES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A metric's value, its 95% bootstrap interval (None where one cannot be had) and what a constant guess gets."""

    score: float
    interval: tuple[float, float] | None
    baseline: float


@dataclass(frozen=True, slots=True)
class Predictions:
    """What was predicted of n rows: `said` as the truth is given, `outputs` the chances [n, C] behind it, if any."""

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
    count: int = RESAMPLES,
) -> dict[str, Score]:
    """The scores of predictions, the main one first; all metrics see the same resamples.

    `kind` is a target's kind, `true` are `int [n]` codes, `bool [n, C]` flags or `float [n]` values, `baseline` what a
    constant guess says, `groups` any `[n]` labels of what must be drawn together.

    >>> right, guess = Answers(np.array([0, 1] * 50)), Predictions(np.zeros(100, int))
    >>> judge("category", np.array([0, 1] * 50), right, guess, np.arange(100))["accuracy"]
    Score(score=1.0, interval=(1.0, 1.0), baseline=0.5)
    """
    ours, theirs = _functions(kind, true, predicted), _functions(kind, true, baseline)
    found = _measured(ours, len(true), groups, seed, count)
    whole = np.ones((1, len(true)))
    return {
        name: Score(
            score=float(value), interval=_pair(spread), baseline=_first(theirs, name, whole)
        )
        for name, (value, spread) in found.items()
    }


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
    """Of each of `count` classes or flags: recall, precision, F1 and AUC; none of a regression or of many classes."""
    if kind == "regression" or count > MAX_CLASSES:
        return []
    ours, theirs = (
        _class_functions(true, answers, np.arange(count)) for answers in (predicted, baseline)
    )
    found, whole = _measured(ours, len(true), groups, seed, draws), np.ones((1, len(true)))
    guessed = {name: function(whole)[0] for name, function in theirs.items()}
    return [
        {
            name: Score(
                score=float(value[i]),
                interval=_pair(spread[:, i]) if spread is not None else None,
                baseline=float(guessed[name][i]) if name in guessed else float("nan"),
            )
            for name, (value, spread) in found.items()
        }
        for i in range(count)
    ]


def _functions(kind: str, true: Array, answers: Predictions) -> dict[str, Callable[[Array], Array]]:
    """Each metric as a function of weights alone."""
    found = {name: _bound(metric, true, answers.said) for name, metric in METRICS[kind].items()}
    if answers.outputs is not None:
        found |= {
            name: _bound(metric, true, answers.outputs) for name, metric in OF_CHANCES[kind].items()
        }
    return found


def _class_functions(
    true: Array, answers: Predictions, classes: Array
) -> dict[str, Callable[[Array], Array]]:
    told = {
        "recall": metrics.class_recall,
        "precision": metrics.class_precision,
        "f1": metrics.class_f1,
    }
    found = {name: _bound(metric, true, answers.said, classes) for name, metric in told.items()}
    if answers.outputs is not None:
        found["auc"] = _bound(metrics.class_auc, true, answers.outputs, classes)
    return found


def _bound(
    metric: Callable[..., Array], true: Array, said: Array, *more: Array
) -> Callable[[Array], Array]:
    return lambda weights: metric(true, said, weights, *more)


def _first(functions: Mapping[str, Callable[[Array], Array]], name: str, whole: Array) -> float:
    return float(functions[name](whole)[0]) if name in functions else float("nan")


def _measured(
    functions: Mapping[str, Callable[[Array], Array]],
    rows: int,
    groups: Array,
    seed: int,
    count: int,
) -> dict[str, tuple[Array, Array | None]]:
    """Each function's value on all rows, and the low and high ends of its intervals, [2, ...]."""
    drawn: dict[str, list[Array]] = {name: [] for name in functions}
    for weights in resamples(groups, count, seed):
        for name, function in functions.items():
            drawn[name].append(function(weights))
    whole = np.ones((1, rows))
    return {
        name: (function(whole)[0], _ends(np.concatenate(drawn[name])) if drawn[name] else None)
        for name, function in functions.items()
    }


def _ends(values: Array) -> Array:
    columns = values.reshape(len(values), -1).T
    found = [interval(column) or (np.nan, np.nan) for column in columns]
    return np.array(found).T.reshape(2, *values.shape[1:])


def _pair(spread: Array | None) -> tuple[float, float] | None:
    return (
        None if spread is None or np.isnan(spread).any() else (float(spread[0]), float(spread[1]))
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows that a head was judged on, what it said of them, and what a constant guess says."""

    rows: Array
    answers: Predictions
    guess: Predictions

    def among(self, chosen: Array) -> Judged:
        """Those of the rows where the mask `chosen` is true."""
        return Judged(self.rows[chosen], _some(self.answers, chosen), _some(self.guess, chosen))


def prior(target: Target, y: Array) -> dict[str, float]:
    """What the labels `y` alone teach: each class's share, or mean and standard deviation.

    >>> prior(Target(kind="category", classes=("a", "b")), np.array([0, 0, 1, 0]))
    {'a': 0.75, 'b': 0.25}
    """
    if target.kind == "regression":
        return {"mean": float(y.mean()), "std": float(y.std())}
    shares = (
        np.bincount(y, minlength=len(target.classes)) / len(y) if y.ndim == 1 else y.mean(axis=0)
    )
    return {name: float(share) for name, share in zip(target.classes, shares, strict=True)}


def guess(target: Target, shares: Mapping[str, float], count: int) -> Predictions:
    """The best constant prediction for `count` rows: the most frequent class, each flag's majority, the mean."""
    if target.kind == "regression":
        return Predictions(np.full(count, shares["mean"]))
    chances = np.tile([shares.get(name, 0.0) for name in target.classes], (count, 1))
    return Predictions(
        chances.argmax(axis=1) if target.kind == "category" else chances >= 0.5, chances
    )


def scores(on: Labels, judged: Judged, seed: int) -> dict[str, Score]:
    """The scores of what was judged, the main one first."""
    rows = judged.rows
    return judge(
        on.target.kind, on.values[rows], judged.answers, judged.guess, on.groups[rows], seed=seed
    )


def details(on: Labels, judged: Judged, seed: int) -> dict[str, Json]:
    """Scores a class, confusion matrix (rows true, columns predicted) and calibration, as far as the target has any."""
    target, rows, answers = on.target, judged.rows, judged.answers
    if answers.outputs is None:
        return {}
    count, true = len(target.classes), on.values[rows]
    found: dict[str, Json] = {"reliability": metrics.reliability(true, answers.outputs)}
    each = by_class(target.kind, true, answers, judged.guess, on.groups[rows], count, seed=seed)
    if each:
        met = np.bincount(true, minlength=count) if true.ndim == 1 else true.sum(axis=0)
        found["by_class"] = {
            name: {"n": int(n), **asdict(score)}
            for name, n, score in zip(target.classes, met, each, strict=True)
        }
    if target.kind == "category" and count <= MAX_CLASSES:
        found["confusion"] = metrics.confusion(true, answers.said, count).tolist()
    return found


def by_column(on: Labels, judged: Judged, name: str, values: Array, seed: int) -> dict[str, Json]:
    """The scores among the rows of each value [n of `on`] of a column: of each sex, site, device."""
    found = values[judged.rows]
    names = sorted(set(found.tolist()))
    if len(names) > MAX_VALUES:
        raise UsageError(
            "too many different values to judge by",
            where=f"column {name}",
            expected=f"at most {MAX_VALUES}",
            found=str(len(names)),
            hint="Choose another column for --by",
        )
    parts = {value: judged.among(found == value) for value in names}
    return {
        value: {"n": len(part.rows), "groups": groups(on, part), **asdict(scores(on, part, seed))}
        for value, part in parts.items()
    }


def groups(on: Labels, judged: Judged) -> int:
    """How many groups were judged."""
    return len(np.unique(on.groups[judged.rows]))


def asdict(found: Mapping[str, Score]) -> dict[str, Json]:
    """Scores as JSON values."""
    return {name: dataclasses.asdict(score) for name, score in found.items()}


def plain(value: dict[str, Json]) -> dict[str, Json]:
    """Fit for JSON: tuples as lists, numbers that are none (R2 of what does not vary) as null."""
    made: dict[str, Json] = json.loads(json.dumps(value), parse_constant=lambda _: None)
    return made


def summary(report: Mapping[str, Json]) -> str:
    """A report in one line.

    >>> summary({"metric": "r2", "score": 0.5, "interval": [0.4, 0.6], "baseline": -0.01, "n_test": 90,
    ...          "groups": 30, "how": "grouped 5-fold"})
    'r2 0.500 (95% interval 0.400 to 0.600, baseline -0.010) on 90 rows of 30 groups, grouped 5-fold'
    """
    interval = report["interval"]
    spread = (
        f"95% interval {interval[0]:.3f} to {interval[1]:.3f}"
        if interval
        else "no interval: too few groups"
    )
    return (
        f"{report['metric']} {_shown(report['score'])} ({spread}, baseline {_shown(report['baseline'])}) "
        f"on {report['n_test']} rows of {report['groups']} groups, {report['how']}"
    )


def narrow(on: Labels, judged: Judged, main: Score) -> Iterator[str]:
    """A word on an interval that cannot be as narrow as it looks."""
    if main.interval and main.interval[0] == main.interval[1] == main.score:
        share = min(1, 3 / groups(on, judged))
        yield f"no two resamples differ: the interval is too narrow, {share:.0%} of groups may be wrong"


def _some(answers: Predictions, chosen: Array) -> Predictions:
    return Predictions(
        answers.said[chosen], None if answers.outputs is None else answers.outputs[chosen]
    )


def _shown(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.3f}"
