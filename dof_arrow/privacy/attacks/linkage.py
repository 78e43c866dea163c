"""Linkage: pictures of one person found by another picture of the same person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads import intervals
from dof_arrow.privacy.attacks.finding import Clock, Finding, Measured, dealt, measured, numbered
from dof_arrow.privacy.attacks.gallery import alarm, directions, first, sizes
from dof_arrow.sampling.splits import folds

Array = NDArray[Any]
Metric = Callable[[Array], Array]


_KNOWS = "the picture itself, changed a little, and the core"
_STEP = 512  # rows compared with all others at a time
_COMPONENTS = 512
_SHRINKAGE = 0.1


def link(
    features: Array, groups: Array, seed: int = 0, records: Array | None = None
) -> list[Finding]:
    """How often a row of features float [n, D] leads to another one of its group int64 [n].

    Rows of the same of `records` int64 [n], such as views of a picture or frames of a clip, are the
    same picture, and no other one.
    Told as the share of cases in which the other one comes first in a gallery of strangers, and as
    the share of pairs that score above all but 0.1% of pairs of strangers. One attacker takes the
    cosine, another a metric that other groups taught. Raises UsageError where fewer than two
    groups have two records, or for too few groups.
    """
    codes, _ = numbered(groups)
    of = np.arange(len(codes)) if records is None else records
    if np.count_nonzero(_records_of(codes, of) > 1) < 2:
        raise UsageError(
            "no pictures to link", expected="groups of two pictures or more", found="one a group"
        )
    other = features[dealt(len(features), seed)]
    findings = []
    for attacker, taught, knows in (
        ("cosine", False, "a picture of the person, and the core"),
        ("learned", True, "the same, and features of other groups with their groups"),
    ):
        clock = Clock()
        reached = _attack(features, codes, of, seed, taught)
        control = _attack(other, codes, of, seed, taught)
        findings += _told(reached, control, attacker, knows, seed, clock)
    return findings


@dataclass(slots=True)
class _Reached:
    """Scores of rows, gathered half by half: by metric their values, the chance, their groups."""

    values: defaultdict[str, list[Array]] = field(default_factory=lambda: defaultdict(list))
    chances: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    groups: list[Array] = field(default_factory=list)

    def score(self, metric: str) -> Measured:
        """The mean over all rows."""
        return _share(np.concatenate(self.values[metric]), np.concatenate(self.groups))


def _told(
    reached: _Reached, control: _Reached, attacker: str, knows: str, seed: int, clock: Clock
) -> list[Finding]:
    seconds = clock.seconds()
    groups = np.concatenate(reached.groups)
    findings = []
    for metric in reached.values:
        finding = Finding(
            attack="linkage",
            of="another picture of the same group",
            attacker=attacker,
            knows=knows,
            metric=metric,
            reached=reached.score(metric),
            control=control.score(metric),
            baseline=float(np.mean(reached.chances[metric])),
            rows=len(groups),
            groups=len(np.unique(groups)),
            seed=seed,
            seconds=seconds,
        )
        findings.append(finding)
    return findings


def _records_of(codes: Array, records: Array) -> Array:
    """How many records each group has, [G]."""
    pairs = np.unique(np.stack([codes, records]), axis=1)
    return np.bincount(pairs[0], minlength=int(codes.max()) + 1)


def _attack(features: Array, codes: Array, records: Array, seed: int, taught: bool) -> _Reached:
    """Attack either half of the groups; the other half teaches the metric."""
    half_of = folds(codes, 2, seed=seed)
    reached = _Reached()
    for half in (0, 1):
        inside = half_of == half
        seen = features[inside]
        if taught:
            metric = _metric(features[~inside], codes[~inside])
            seen = metric(seen)
        _attack_half(directions(seen), codes[inside], records[inside], reached)
    return reached


def _attack_half(units: Array, codes: Array, records: Array, reached: _Reached) -> None:
    counts = np.bincount(codes)
    alike = np.flatnonzero(_records_of(codes, records)[codes] > 1)
    if not len(alike):
        return
    most = len(codes) - int(counts.max()) + 1  # what every gallery can hold
    known = sizes(most)
    higher: list[Array] = []
    scores: list[Array] = []
    impostors: list[Array] = []
    for start in range(0, len(alike), _STEP):
        rows = alike[start : start + _STEP]
        products = units[rows] @ units.T
        for row, found in zip(rows, products, strict=True):
            same = codes == codes[row]
            others = np.sort(found[~same])
            same &= records != records[row]
            mates = found[same]
            higher.append(len(others) - np.searchsorted(others, mates))
            scores.append(mates)
            impostors.append(others)
    threshold, chance = alarm(np.concatenate(impostors))
    for size in known:
        name = f"first of {size:,}"
        if size == most:
            name = "first of all"
        pairs = zip(higher, impostors, strict=True)
        values = [float(first(each, len(others), size).mean()) for each, others in pairs]
        reached.values[name].append(np.array(values))
        reached.chances[name].append(1 / size)
    passed = [float((each > threshold).mean()) for each in scores]
    reached.values["TPR at FPR .001"].append(np.array(passed))
    reached.chances["TPR at FPR .001"].append(chance)
    reached.groups.append(codes[alike])


def _metric(features: Array, codes: Array) -> Metric:
    """Directions in which rows of one group differ count less: whitened by their scatter."""
    mean = features.mean(axis=0, dtype=np.float64)
    basis = _components(features - mean)
    reduced = (features - mean) @ basis
    counts = np.bincount(codes)
    sums = np.zeros((len(counts), reduced.shape[1]))
    np.add.at(sums, codes, reduced)
    centres = sums / np.maximum(counts, 1)[:, None]
    several = counts[codes] > 1
    within = (reduced - centres[codes])[several]
    scatter = within.T @ within / max(len(within), 1)
    values, vectors = np.linalg.eigh(scatter)
    floor = _SHRINKAGE * max(float(values.mean()), np.finfo(np.float64).tiny)
    scale = 1 / np.sqrt(np.maximum(values, 0) + floor)
    weights = basis @ (vectors * scale)
    return lambda rows: np.asarray((rows - mean) @ weights)


def _components(centred: Array) -> Array:
    """The principal components float64 [D, r] of centred rows, at most 512."""
    rows, width = centred.shape
    if width <= rows:
        values, vectors = np.linalg.eigh(centred.T @ centred)
    else:
        values, left = np.linalg.eigh(centred @ centred.T)
        vectors = centred.T @ left / np.sqrt(np.maximum(values, values.max() * 1e-12))
    kept = values > values.max() * 1e-9
    return np.asarray(vectors[:, kept][:, -_COMPONENTS:])


def find_again(
    features: Array,
    again: Array,
    groups: Array,
    seed: int = 0,
    records: Array | None = None,
) -> list[Finding]:
    """How often a picture that was changed a little leads to its own row of features float [n, D].

    `again` float [a, D] are the features of changed pictures, those of the first rows; all rows are
    in the gallery. Other rows of the same of `records` int64 [n], such as frames of a clip, are
    not. One attacker compares by cosine, another first takes off what all rows, and all changed
    pictures, have in common. Raises UsageError for too few groups.
    """
    of = np.arange(len(features)) if records is None else records
    common = features.mean(axis=0, dtype=np.float64)
    change = again.mean(axis=0, dtype=np.float64)
    findings = []
    for attacker, ours, theirs, knows in (
        ("cosine", features, again, _KNOWS),
        ("centred", features - common, again - change, f"{_KNOWS}; others changed as it"),
    ):
        clock = Clock()
        rows, pictures = directions(ours), directions(theirs)
        findings += _found_again(rows, pictures, groups, of, attacker, knows, seed, clock)
    return findings


def _found_again(
    ours: Array,
    theirs: Array,
    groups: Array,
    of: Array,
    attacker: str,
    knows: str,
    seed: int,
    clock: Clock,
) -> list[Finding]:
    codes, count = numbered(groups[: len(theirs)])
    reached = _own_row(ours, theirs, of)
    control = _own_row(ours, theirs[dealt(len(theirs), seed)], of)
    together = np.unique(of, return_inverse=True, return_counts=True)
    others = (len(ours) - together[2][together[1]])[: len(theirs)]
    findings = []
    for size in sizes(int(others.min()) + 1):
        finding = Finding(
            attack="same picture",
            of="its row",
            attacker=attacker,
            knows=knows,
            metric=f"first of {size:,}",
            reached=_share(_first(reached, others, size), codes),
            control=_share(_first(control, others, size), codes),
            baseline=1 / size,
            rows=len(theirs),
            groups=count,
            seed=seed,
            seconds=clock.seconds(),
        )
        findings.append(finding)
    return findings


def _share(values: Array, groups: Array) -> Measured:
    """The mean of chances, whose interval has some width even where all are equal."""
    return measured(intervals.share(values, groups, int(groups.max()) + 1))


def _first(higher: Array, others: Array, size: int) -> Array:
    """The chance float64 [n] to come first, where galleries are drawn from so many others, [n]."""
    chances = np.empty(len(higher))
    for count in np.unique(others).tolist():
        same = others == count
        chances[same] = first(higher[same], count, size)
    return chances


def _own_row(ours: Array, theirs: Array, records: Array) -> Array:
    """How many rows of other records are as near as the own one or nearer, int64 [n]."""
    higher = []
    for start in range(0, len(theirs), _STEP):
        products = theirs[start : start + _STEP] @ ours.T
        rows = np.arange(len(products))
        own = products[rows, start + rows]
        strangers = records[start + rows][:, None] != records
        nearer = (products >= own[:, None]) & strangers
        higher.append(np.count_nonzero(nearer, axis=1))
    return np.concatenate(higher)
