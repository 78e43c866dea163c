"""Attribute inference: what a column says of a person, told from the features of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads import intervals
from dof_arrow.heads.intervals import Estimate
from dof_arrow.privacy.attacks.finding import (
    Clock,
    Finding,
    Measured,
    dealt,
    measured,
    numbered,
)
from dof_arrow.privacy.attacks.ridge import predicted

Array = NDArray[Any]

KNOWS = "the column and features of other groups, of the same core"


def infer_class(
    features: Array, codes: Array, groups: Array, name: str, seed: int = 0
) -> list[Finding]:
    """How well a class int64 [n], 0 and up, is told from features float [n, D].

    Told by AUC, the mean over classes, and by accuracy against the most frequent class. Raises
    UsageError for too few groups, or where all rows are of one class.
    """
    clock = Clock()
    group_of, count = numbered(groups)
    classes, y = np.unique(codes, return_inverse=True)
    if len(classes) < 2:
        raise UsageError("nothing to infer", name, "two classes or more", "one")
    flags = (y[:, None] == np.arange(len(classes))).astype(np.float64)
    said, mean = predicted(features, flags, group_of, seed, y)
    shuffled = features[dealt(len(features), seed)]
    other, other_mean = predicted(shuffled, flags, group_of, seed, y)
    usual = float(np.bincount(y).max() / len(y))
    told = [
        # Without the mean that was taught, which is less where a class is tried more often.
        ("AUC", _auc(y, said - mean, group_of), _auc(y, other - other_mean, group_of), 0.5),
        ("accuracy", _accuracy(y, said, group_of), _accuracy(y, other, group_of), usual),
    ]
    return _findings(told, name, len(y), count, seed, clock)


def infer_number(
    features: Array, values: Array, groups: Array, name: str, seed: int = 0
) -> list[Finding]:
    """How well a number float [n] is told from features float [n, D], by R2.

    Raises UsageError for too few groups, or where all numbers are one.
    """
    clock = Clock()
    group_of, count = numbered(groups)
    y = values.astype(np.float64)[:, None]
    if (y == y[0]).all():
        raise UsageError("nothing to infer", name, "different numbers", "one")
    said, mean = predicted(features, y, group_of, seed)
    other, _ = predicted(features[dealt(len(features), seed)], y, group_of, seed)
    total = np.square(y - mean)[:, 0]
    reached = intervals.explained(np.square(y - said)[:, 0], total, group_of)
    control = intervals.explained(np.square(y - other)[:, 0], total, group_of)
    told = [("R2", measured(reached), measured(control), 0.0)]
    return _findings(told, name, len(y), count, seed, clock)


def _findings(
    told: Sequence[tuple[str, Measured, Measured, float]],
    name: str,
    rows: int,
    groups: int,
    seed: int,
    clock: Clock,
) -> list[Finding]:
    seconds = clock.seconds()
    findings = []
    for metric, reached, control, baseline in told:
        finding = Finding(
            attack="attribute",
            of=name,
            attacker="ridge",
            knows=KNOWS,
            metric=metric,
            reached=reached,
            control=control,
            baseline=baseline,
            rows=rows,
            groups=groups,
            seed=seed,
            seconds=seconds,
        )
        findings.append(finding)
    return findings


def _auc(y: Array, said: Array, groups: Array) -> Measured:
    count = int(groups.max()) + 1
    classes = said.shape[1]
    if classes == 2:
        return measured(intervals.auc(y == 1, said[:, 1] - said[:, 0], groups, count))
    found: list[Estimate] = []
    for code in range(classes):
        found.append(intervals.auc(y == code, said[:, code], groups, count))
    return measured(intervals.mean(found))


def _accuracy(y: Array, said: Array, groups: Array) -> Measured:
    right = said.argmax(axis=1) == y
    return measured(intervals.share(right, groups, int(groups.max()) + 1))
