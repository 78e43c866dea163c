"""Membership: whether a row was among those that a head was trained on, told from the head alone.

N. Carlini et al., "Membership inference attacks from first principles" (2022), for the second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads import intervals
from dof_arrow.privacy.attacks.finding import Clock, Finding, Measured, measured, numbered
from dof_arrow.privacy.attacks.ridge import Ridge, strength_for

Array = NDArray[Any]

_SHADOWS = 16
_LEAST_SPREAD = 1e-9


def member(
    features: Array,
    codes: Array,
    groups: Array,
    name: str,
    seed: int = 0,
    *,
    strength: float | None = None,
) -> list[Finding]:
    """How well an attacker tells whether a head for classes int64 [n] was trained on a row.

    A linear head is trained on half of the groups of features float [n, D]; both halves are
    attacked, by the head's loss, and by how likely that loss is beside those of heads that other
    halves trained. `strength` is that of the head's penalty, by default the best for other
    groups. Told by AUC. Raises UsageError for too few groups, or where all are of one class.
    """
    clock = Clock()
    group_of, count = numbered(groups)
    classes, y = np.unique(codes, return_inverse=True)
    if len(classes) < 2:
        raise UsageError("nothing to train a head on", name, "two classes or more", "one")
    if strength is None:
        flags = _flags(y, len(classes))
        strength = strength_for(features, flags, group_of, seed)
    random = np.random.default_rng([seed, 2])
    halves = [_half(random, group_of, count) for _ in range(_SHADOWS + 2)]
    sure = np.array([_sureness(features, y, half, strength) for half in halves[:-1]])
    likely = _likelier(sure[0], sure[1:], np.array(halves[1:-1]))
    findings = []
    for attacker, score, knows in (
        ("loss", sure[0], "the row, its class, and the head"),
        ("LiRA", likely, "the same, and data to train such heads on"),
    ):
        finding = Finding(
            attack="membership",
            of=f"a linear head for {name}",
            attacker=attacker,
            knows=knows,
            metric="AUC",
            reached=_auc(halves[0], score, group_of, count),
            control=_auc(halves[-1], score, group_of, count),
            baseline=0.5,
            rows=len(y),
            groups=count,
            seed=seed,
            seconds=clock.seconds(),
        )
        findings.append(finding)
    return findings


def _flags(y: Array, classes: int) -> Array:
    flags = y[:, None] == np.arange(classes)
    return np.asarray(flags, np.float64)


def _half(random: np.random.Generator, groups: Array, count: int) -> Array:
    """Which rows are of a random half of the groups, bool [n]."""
    chosen = np.zeros(count, bool)
    chosen[random.permutation(count)[: count // 2]] = True
    return np.asarray(chosen[groups])


def _sureness(features: Array, y: Array, half: Array, strength: float) -> Array:
    """How near a head trained on a half comes to what is true: its squared error turned, [n]."""
    flags = _flags(y, int(y.max()) + 1)
    model = Ridge(features[half], flags[half])
    missed = model(features, strength) - flags
    return np.asarray(-np.square(missed).sum(axis=1))


def _likelier(sure: Array, shadows: Array, halves: Array) -> Array:
    """How much likelier it is that a row was trained on, as a log ratio of two normals, [n]."""
    inside = _normal(sure, shadows, halves)
    outside = _normal(sure, shadows, ~halves)
    return np.asarray(inside - outside)


def _normal(sure: Array, shadows: Array, mask: Array) -> Array:
    """The log density of a row's value among those of the heads of a kind."""
    counts = np.maximum(mask.sum(axis=0), 1)
    mean = np.where(mask, shadows, 0).sum(axis=0) / counts
    squares = np.where(mask, np.square(shadows - mean), 0)
    # One spread for all rows: few heads tell little of that of a single row.
    spread = max(float(np.sqrt(squares.sum() / mask.sum())), _LEAST_SPREAD)
    return np.asarray(-np.square((sure - mean) / spread) / 2 - np.log(spread))


def _auc(members: Array, score: Array, groups: Array, count: int) -> Measured:
    return measured(intervals.auc(members, score, groups, count))
