"""Rows dealt into splits or folds, with groups kept together."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.split_names import TEST, TRAIN, VALID, standard_or_own

Array = NDArray[Any]

_SPLIT_EXAMPLE = "train=0.8,valid=0.1,test=0.1"


def parse_fractions(text: str) -> dict[str, float]:
    """The fraction of each split from a text: names with numbers above 0, which add up to 1.

    `train`, `valid` and `test` may be written in other ways, as `Training` or `dev`. Raises
    UsageError for anything else.

    >>> parse_fractions("train=0.8,test=0.2")
    {'train': 0.8, 'test': 0.2}
    """
    numbers: dict[str, str] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        name = name.strip()
        if not name or name in numbers:
            raise _not_fractions("each split needs a name of its own", text)
        numbers[name] = number
    try:
        fractions = {name: float(number) for name, number in numbers.items()}
    except ValueError:
        raise _not_fractions("each split needs a number", text) from None
    return _checked(fractions)


def split_by_fraction(
    groups: Sequence[str],
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
    stratify: Sequence[Hashable] | None = None,
) -> list[str]:
    """The split of each row, in the order of the rows; the rows of a group stay together.

    Each split misses its fraction of the rows by less than the largest group. `stratify` (a value
    for each row; a group counts as its most frequent one) brings the rows of each value near the
    fractions too. The result depends on the groups, their sizes and values, and the seed, but not
    on the order of the rows. A split may stay empty where there are few groups. Raises UsageError
    if fractions or lengths are wrong.

    >>> split_by_fraction(["ann", "bob", "ann", "cyd"], {"train": 0.75, "test": 0.25})
    ['train', 'train', 'train', 'test']
    """
    fractions = _checked(fractions)
    sizes = Counter(groups)
    need = dict.fromkeys(fractions, 0.0)  # rows that each split still needs
    split_of: dict[str, str] = {}
    for members in _strata(groups, sizes, stratify):
        rows = sum(sizes[group] for group in members)
        for name, fraction in fractions.items():
            need[name] += fraction * rows
        for group, draw in _drawn(members, sizes, seed):
            split = _choose(need, sizes[group], draw)
            split_of[group] = split
            need[split] -= sizes[group]
    return [split_of[group] for group in groups]


def split_by_number(numbers: Array, fractions: Mapping[str, float]) -> list[str]:
    """The split of each number in [0, 1), by where it lies among the fractions.

    A number's split depends on nothing but the number and the fractions: train, valid and test lie
    in this order from 0 upward, then splits of other names by name, in whatever order they are
    given. So a part of `test` made `valid` moves nothing out of `train`. Raises UsageError if
    fractions are wrong.

    >>> split_by_number(np.array([0.79, 0.8, 0.99]), {"test": 0.2, "train": 0.8})
    ['train', 'test', 'test']
    """
    fractions = _checked(fractions)
    names = sorted(fractions, key=_place)
    ends = np.cumsum([fractions[name] for name in names])
    # The last split takes what rounding leaves over.
    places = np.searchsorted(ends[:-1], numbers, side="right")
    return [names[place] for place in places.tolist()]


def _place(name: str) -> tuple[int, str]:
    """Where a split stands: train, valid, test, then the others by name."""
    usual = (TRAIN, VALID, TEST)
    return (usual.index(name) if name in usual else len(usual), name)


def check_groups(groups: Sequence[str | None], splits: Sequence[str | None]) -> None:
    """Raise UsageError where rows of one group are in different splits.

    Rows without a group or without a split do not count.

    >>> check_groups(["ann", "bob", "ann"], ["train", "test", "train"])
    """
    first: dict[str, int] = {}
    for row, (group, split) in enumerate(zip(groups, splits, strict=True)):
        if group is None or split is None:
            continue
        other = first.setdefault(group, row)
        if splits[other] != split:
            raise UsageError(
                "the given splits part a group",
                expected="all rows of a group in one split",
                found=f"rows {other} ({splits[other]}) and {row} ({split}) of the same group",
                hint=f"Correct the split column, or leave it out and use --split {_SPLIT_EXAMPLE}.",
            )


def _checked(fractions: Mapping[str, float]) -> dict[str, float]:
    shown = ",".join(f"{name}={number}" for name, number in fractions.items())
    if not all(math.isfinite(number) and number > 0 for number in fractions.values()):
        raise _not_fractions("each split needs a number above 0", shown)
    if not math.isclose(math.fsum(fractions.values()), 1, abs_tol=1e-6):
        raise _not_fractions("the fractions do not add up to 1", shown)
    named = {standard_or_own(name): number for name, number in fractions.items()}
    if len(named) < len(fractions):
        raise _not_fractions("two names of one split", shown)
    return named


def _not_fractions(what: str, found: str) -> UsageError:
    hint = f"Write for example --split {_SPLIT_EXAMPLE}."
    return UsageError(what, found=found or "nothing", hint=hint)


def _strata(
    groups: Sequence[str],
    sizes: Mapping[str, int],
    stratify: Sequence[Hashable] | None,
) -> list[list[str]]:
    """The groups of each value, those of the rarest value first.

    So the frequent values, which come last, make up for what the rounding of rare ones left over.
    """
    if stratify is None:
        return [list(sizes)]
    if len(stratify) != len(groups):
        raise UsageError(
            "stratify needs a value a row", expected=f"{len(groups)}", found=f"{len(stratify)}"
        )
    strata: defaultdict[str, list[str]] = defaultdict(list)
    for group, value in _most_frequent(groups, stratify).items():
        strata[value].append(group)
    by_size = sorted(strata, key=lambda value: (len(strata[value]), value))
    return [strata[value] for value in by_size]


def _most_frequent(groups: Sequence[str], values: Sequence[Hashable]) -> dict[str, str]:
    """The most frequent value of each group, as a text."""
    counts = Counter(zip(groups, map(repr, values), strict=True))
    found: dict[str, str] = {}
    for group, value in sorted(counts, key=lambda pair: (-counts[pair], pair)):
        found.setdefault(group, value)
    return found


def _drawn(members: Sequence[str], sizes: Mapping[str, int], seed: int) -> list[tuple[str, float]]:
    """The groups, each with a number in [0, 1); the largest first, so that small ones fill gaps."""
    hashes = {group: _hash(group, seed) for group in members}
    order = sorted(members, key=lambda group: (-sizes[group], hashes[group], group))
    return [(group, hashes[group] / 2**64) for group in order]


def _hash(group: str, seed: int) -> int:
    digest = hashlib.blake2b(group.encode(), digest_size=8, key=str(seed).encode())
    return int.from_bytes(digest.digest(), "big")


def _choose(need: Mapping[str, float], size: int, draw: float) -> str:
    """One of the splits that a group fits in, drawn in proportion to need; else the neediest."""
    fitting = {name: rows for name, rows in need.items() if rows >= size - 1e-6}
    mark = draw * sum(fitting.values())
    for name, rows in fitting.items():
        mark -= rows
        if mark < 0:
            return name
    return max(need, key=lambda name: need[name])


def folds(groups: Array, k: int, *, strata: Array | None = None, seed: int = 0) -> Array:
    """The fold int64 [n] of each row: `k` folds of nearly equal size, a group never in two of them.

    Groups are dealt out like cards, the largest first, stratum by stratum (`strata`: codes int
    [n]), so each fold gets its share of every class. A group with rows of several strata is dealt
    with its rarest.

    >>> folds(np.array(["a", "a", "b", "c"]), 3).tolist()
    [0, 0, 2, 1]
    """
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    count = len(size)
    stratum = np.zeros(count, np.int64) if strata is None else _rarest(strata, group, count)
    chance = np.random.default_rng(seed).random(count)
    order = np.lexsort((chance, -size, stratum))
    dealt = np.empty(count, np.int64)
    dealt[order] = np.arange(count) % k
    return dealt[group]


def _rarest(strata: Array, group: Array, count: int) -> Array:
    """The rarest stratum of each group, as a rank by size."""
    rank = np.argsort(np.argsort(np.bincount(strata), kind="stable"))
    found = np.full(count, len(rank))
    np.minimum.at(found, group, rank[strata])
    return found
