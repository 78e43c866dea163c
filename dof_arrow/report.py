"""The report on a head: its scores, per class and per group, and what a reader of them should know."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow import judge, metrics
from dof_arrow.errors import UsageError
from dof_arrow.judge import Answers, Score
from dof_arrow.labels import Labels
from dof_arrow.metadata import Target

Array = NDArray[Any]
Json = Any

MAX_VALUES = 50


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows that a head was judged on, what it said of them, and what a constant guess says."""

    rows: Array
    answers: Answers
    guess: Answers

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
    shares = np.bincount(y, minlength=len(target.classes)) / len(y) if y.ndim == 1 else y.mean(axis=0)
    return {name: float(share) for name, share in zip(target.classes, shares, strict=True)}


def guess(target: Target, shares: Mapping[str, float], count: int) -> Answers:
    """The best constant prediction for `count` rows: the most frequent class, each flag's majority, the mean."""
    if target.kind == "regression":
        return Answers(np.full(count, shares["mean"]))
    chances = np.tile([shares.get(name, 0.0) for name in target.classes], (count, 1))
    return Answers(chances.argmax(axis=1) if target.kind == "category" else chances >= 0.5, chances)


def scores(on: Labels, judged: Judged, seed: int) -> dict[str, Score]:
    """The scores of what was judged, the main one first."""
    rows = judged.rows
    return judge.judge(on.target.kind, on.values[rows], judged.answers, judged.guess, on.groups[rows], seed=seed)


def details(on: Labels, judged: Judged, seed: int) -> dict[str, Json]:
    """Scores a class, confusion matrix (rows true, columns predicted) and calibration, as far as the target has any."""
    target, rows, answers = on.target, judged.rows, judged.answers
    if answers.outputs is None:
        return {}
    count, true = len(target.classes), on.values[rows]
    found: dict[str, Json] = {"reliability": metrics.reliability(true, answers.outputs)}
    each = judge.by_class(target.kind, true, answers, judged.guess, on.groups[rows], count, seed=seed)
    if each:
        met = np.bincount(true, minlength=count) if true.ndim == 1 else true.sum(axis=0)
        found["by_class"] = {name: {"n": int(n), **asdict(score)}
                             for name, n, score in zip(target.classes, met, each, strict=True)}
    if target.kind == "category" and count <= judge.MAX_CLASSES:
        found["confusion"] = metrics.confusion(true, answers.said, count).tolist()
    return found


def by_column(on: Labels, judged: Judged, name: str, values: Array, seed: int) -> dict[str, Json]:
    """The scores among the rows of each value [n of `on`] of a column: of each sex, site, device."""
    found = values[judged.rows]
    names = sorted(set(found.tolist()))
    if len(names) > MAX_VALUES:
        raise UsageError("too many different values to judge by", where=f"column {name}",
                         expected=f"at most {MAX_VALUES}", found=str(len(names)), hint="Choose another column for --by")
    parts = {value: judged.among(found == value) for value in names}
    return {value: {"n": len(part.rows), "groups": groups(on, part), **asdict(scores(on, part, seed))}
            for value, part in parts.items()}


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
    spread = f"95% interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else "no interval: too few groups"
    return (f"{report['metric']} {_shown(report['score'])} ({spread}, baseline {_shown(report['baseline'])}) "
            f"on {report['n_test']} rows of {report['groups']} groups, {report['how']}")


def narrow(on: Labels, judged: Judged, main: Score) -> Iterator[str]:
    """A word on an interval that cannot be as narrow as it looks."""
    if main.interval and main.interval[0] == main.interval[1] == main.score:
        share = min(1, 3 / groups(on, judged))
        yield f"no two resamples differ: the interval is too narrow, {share:.0%} of groups may be wrong"


def _some(answers: Answers, chosen: Array) -> Answers:
    return Answers(answers.said[chosen], None if answers.outputs is None else answers.outputs[chosen])


def _shown(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.3f}"
