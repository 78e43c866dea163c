"""Rows parted into splits and folds, groups kept together."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError

Array = NDArray[Any]


_SPLIT_EXAMPLE = "train=0.8,valid=0.1,test=0.1"


def parse_fractions(text: str) -> dict[str, float]:
    """The fractions of splits as they are typed: names, numbers above 0, 1 in sum; UsageError for anything else.

    >>> parse_fractions("train=0.8,test=0.2")
    {'train': 0.8, 'test': 0.2}
    """
    pairs = [part.partition("=") for part in text.split(",")]
    names = [name.strip() for name, _, _ in pairs]
    if not all(names) or len(set(names)) < len(names):
        raise _not_fractions("each split needs a name of its own", text)
    try:
        fractions = {name: float(number) for name, (_, _, number) in zip(names, pairs, strict=True)}
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
    """The split of each row, in the order of the rows; rows of one group are never parted.

    Each split misses its fraction of the rows by less than the largest group. `stratify` (a value a row; a group counts
    as its most frequent one) brings the rows of each value near the fractions too. Depends on nothing but the groups,
    their sizes and values, and the seed: not on the order of the rows. A split may stay empty where groups are few.
    Raises UsageError if fractions or lengths are wrong.

    >>> split_by_fraction(["ann", "bob", "ann", "cyd"], {"train": 0.75, "test": 0.25})
    ['train', 'train', 'train', 'test']
    """
    fractions = _checked(fractions)
    sizes = Counter(groups)
    need = dict.fromkeys(fractions, 0.0)
    chosen: dict[str, str] = {}
    for members in _strata(groups, sizes, stratify):
        rows = sum(sizes[group] for group in members)
        need = {name: need[name] + fraction * rows for name, fraction in fractions.items()}
        for group, draw in _drawn(members, sizes, seed):
            chosen[group] = _choose(need, sizes[group], draw)
            need[chosen[group]] -= sizes[group]
    return [chosen[group] for group in groups]


def check_groups(groups: Sequence[str | None], splits: Sequence[str | None]) -> None:
    """Raise UsageError where rows of one group stand in different splits; rows without group or split count nowhere.

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
    return dict(fractions)


def _not_fractions(what: str, found: str) -> UsageError:
    return UsageError(
        what, found=found or "nothing", hint=f"Write for example --split {_SPLIT_EXAMPLE}."
    )


def _strata(
    groups: Sequence[str],
    sizes: Mapping[str, int],
    stratify: Sequence[Hashable] | None,
) -> list[list[str]]:
    """The groups of each value, the rarest value first: what rounding leaves over, the frequent ones make up for."""
    if stratify is None:
        return [list(sizes)]
    if len(stratify) != len(groups):
        raise UsageError(
            "stratify needs a value a row", expected=f"{len(groups)}", found=f"{len(stratify)}"
        )
    counts = Counter(zip(groups, map(repr, stratify), strict=True))
    chosen: dict[str, str] = {}
    for group, value in sorted(counts, key=lambda pair: (-counts[pair], pair)):
        chosen.setdefault(group, value)
    strata: defaultdict[str, list[str]] = defaultdict(list)
    for group, value in chosen.items():
        strata[value].append(group)
    return [
        members for _, members in sorted(strata.items(), key=lambda item: (len(item[1]), item[0]))
    ]


def _drawn(members: Sequence[str], sizes: Mapping[str, int], seed: int) -> list[tuple[str, float]]:
    """The groups with a number in [0, 1) each, the largest first, so that small ones fill what is left."""
    hashes = {group: _hash(group, seed) for group in members}
    order = sorted(members, key=lambda group: (-sizes[group], hashes[group], group))
    return [(group, hashes[group] / 2**64) for group in order]


def _hash(group: str, seed: int) -> int:
    return int.from_bytes(
        hashlib.blake2b(group.encode(), digest_size=8, key=str(seed).encode()).digest(), "big"
    )


def _choose(need: Mapping[str, float], size: int, draw: float) -> str:
    """One of the splits that the group fits in, by lot in proportion to their need; else the neediest."""
    fitting = {name: rows for name, rows in need.items() if rows >= size - 1e-6}
    mark = draw * sum(fitting.values())
    for name, rows in fitting.items():
        mark -= rows
        if mark < 0:
            return name
    return max(need, key=lambda name: need[name])


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
