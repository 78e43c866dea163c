"""Which split each input is drawn into: by a keyed hash, exactly, or as a dataset has it already.

By the hash a person's split depends on the owner's key and on who it is, never on who else there
is: it is the same in every month, and in every hospital that has the key. What a dataset says of a
person or an input comes before both.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError, few
from dof_arrow.extraction.block import Column
from dof_arrow.sampling import splits
from dof_arrow.security.keys import check_key
from dof_arrow.security.pseudonyms import Kind, pseudonyms, split_numbers

Naming = Callable[[Kind, list[str]], list[str]]
Unit = tuple[Kind, str]  # a group, or an input without one

EXACT = "--split-exact"
_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRule:
    """How splits are drawn: the `fractions`, by hash or `exact`ly, and the sides that a dataset
    has already (`known`, a file or directory)."""

    fractions: Mapping[str, float]
    exact: bool = False
    known: Dataset | None = None


@dataclass(frozen=True, kw_only=True)
class Units:
    """What splits must not part: each group, and each input that has no group.

    `keys` and `groups` are the inputs' own names; `united` gives all names of a group that others
    were joined to.
    """

    keys: Column
    groups: Column = None
    united: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def _listed(self) -> tuple[list[Unit], NDArray[np.int64]]:
        places: dict[Unit, int] = {}
        keys = self.keys.to_pylist()
        groups = [None] * len(keys) if self.groups is None else self.groups.to_pylist()
        of_input = np.empty(len(keys), np.int64)
        for number, (key, group) in enumerate(zip(keys, groups, strict=True)):
            unit: Unit = ("id", key) if group is None else ("group", group)
            of_input[number] = places.setdefault(unit, len(places))
        return list(places), of_input

    @property
    def all(self) -> list[Unit]:
        """The units, in the order of their first inputs."""
        return self._listed[0]

    @property
    def of_input(self) -> NDArray[np.int64]:
        """The unit of each input, by its place in `all`."""
        return self._listed[1]

    def members(self, unit: Unit) -> tuple[Unit, ...]:
        """The units that were joined in this one; itself where none were."""
        kind, name = unit
        names = self.united.get(name, (name,)) if kind == "group" else (name,)
        return tuple((kind, each) for each in names)


def drawn(
    units: Units, rule: SplitRule, key: bytes, strata: Sequence[Hashable] | None
) -> tuple[pa.Array, int]:
    """The split of each input, and how many units have it from the dataset that is known.

    `strata`, a value for each input, are the classes that exact dealing keeps in their shares.
    Raises UsageError where the dataset has one unit in two splits.
    """
    known = {} if rule.known is None else known_sides(units, rule.known, key)
    if rule.exact:
        sides = _dealt(units, rule.fractions, strata, known)
    else:
        sides = splits.split_by_number(_numbers(units, key), rule.fractions)
    for place, side in known.items():
        sides[place] = side
    names = pa.array(sides, pa.string())
    return names.take(pa.array(units.of_input)), len(known)


def _numbers(units: Units, key: bytes) -> NDArray[np.float64]:
    """A number in [0, 1) for each unit; groups that were joined have that of the smallest."""
    called = _Called(units, lambda kind, names: pseudonyms(key, kind, names))
    smallest = [min(called(member) for member in units.members(unit)) for unit in units.all]
    return split_numbers(key, smallest)


class _Called:
    """What units and their members are called, each kind named in one go."""

    def __init__(self, units: Units, naming: Naming) -> None:
        names: defaultdict[Kind, dict[str, None]] = defaultdict(dict)
        for unit in units.all:
            for kind, name in units.members(unit):
                names[kind][name] = None
        self._called: dict[Unit, str] = {}
        for kind, wanted in names.items():
            called = naming(kind, list(wanted))
            for name, other in zip(wanted, called, strict=True):
                self._called[kind, name] = other

    def __call__(self, unit: Unit) -> str:
        return self._called[unit]


def _dealt(
    units: Units,
    fractions: Mapping[str, float],
    strata: Sequence[Hashable] | None,
    known: Mapping[int, str],
) -> list[str]:
    """The split of each unit: those not known dealt so that shares are met as closely as can be."""
    sides = [""] * len(units.all)
    rows = np.flatnonzero(~np.isin(units.of_input, list(known))).tolist()
    names = [_text(units.all[place]) for place in units.of_input[rows].tolist()]
    values = None if strata is None else [strata[row] for row in rows]
    dealt = splits.split_by_fraction(names, fractions, stratify=values)
    for row, side in zip(rows, dealt, strict=True):
        sides[units.of_input[row]] = side
    return sides


def _text(unit: Unit) -> str:
    return unit[1]


# As a dataset has them


def known_sides(units: Units, dataset: Dataset, key: bytes) -> dict[int, str]:
    """The split of each unit, by its place, that a dataset knows, by its groups or its inputs.

    Raises UsageError where the dataset has no splits, or one unit's rows in two of them.
    """
    of_group, of_id = _sides_of(dataset)
    found: defaultdict[int, set[str]] = defaultdict(set)
    naming = _naming(dataset, key)
    called = _Called(units, naming)
    for place, unit in enumerate(units.all):
        for member in units.members(unit):
            if member[0] == "group":
                found[place] |= of_group.get(called(member), set())
    keys = naming("id", units.keys.to_pylist())
    for place, name in zip(units.of_input.tolist(), keys, strict=True):
        found[place] |= of_id.get(name, set())
    parted = sum(len(sides) > 1 for sides in found.values())
    if parted:
        raise UsageError(
            "the dataset whose splits are taken over parts a group",
            str(dataset.path),
            "all rows of a group in one split",
            f"{parted:,} groups, or groups joined here by a picture, in several",
            "Extract it anew, with --group, or take the splits from another dataset.",
        )
    return {place: next(iter(sides)) for place, sides in found.items() if sides}


def check_sides(units: Units, given: Sequence[str | None], dataset: Dataset, key: bytes) -> None:
    """Raise UsageError where given splits, one an input, are not those that a dataset has."""
    known = known_sides(units, dataset, key)
    others = set()
    for place, side in zip(units.of_input.tolist(), given, strict=True):
        if side is not None and known.get(place, side) != side:
            others.add(place)
    if others:
        raise UsageError(
            "the given splits part groups that are there already",
            str(dataset.path),
            "each group or input in the split that it is in there",
            f"{len(others):,} in another",
            "Correct the split column, or leave it out and use --split train=0.8,test=0.2: then "
            "they stay where they are.",
        )


def _naming(dataset: Dataset, key: bytes) -> Naming:
    known = dataset.metadata.pseudonyms
    if known is not None:
        check_key(key, known.key, str(dataset.path))
        return lambda kind, names: pseudonyms(key, kind, names)
    return lambda kind, names: names


Sides = Mapping[str, set[str]]


def _sides_of(dataset: Dataset) -> tuple[Sides, Sides]:
    """The splits of each group, and of each id, that a dataset has."""
    record = dataset.metadata.record
    if record.split not in dataset.columns:
        raise UsageError(
            "no splits to take over",
            str(dataset.path),
            "a dataset with a column of splits",
            ", ".join(dataset.columns),
            "Leave --split-from out, or name a dataset that was extracted with --split.",
        )
    return _by_name(dataset, record.group), _by_name(dataset, record.id)


def _by_name(dataset: Dataset, column: str | None) -> Sides:
    found: defaultdict[str, set[str]] = defaultdict(set)
    if column not in dataset.columns:
        return found
    split = dataset.metadata.record.split
    assert column is not None and split is not None
    both = dataset.to_arrow([column, split])
    names = both[column].to_pylist()
    for name, side in zip(names, both[split].to_pylist(), strict=True):
        if name is not None and side is not None:
            found[name].add(side)
    return found


# What came of it


def shares(sides: pa.Array, fractions: Mapping[str, float]) -> list[str]:
    """A sentence on the share of each split, beside what was asked for."""
    counts = Counter(sides.to_pylist())
    total = max(len(sides), 1)
    told = []
    for name in sorted(counts.keys() | fractions.keys()):
        asked = fractions.get(name)
        wanted = "" if asked is None else f" (asked for {asked:.1%})"
        told.append(f"{name} {counts[name] / total:.1%}{wanted}")
    return [f"shares of the splits: {', '.join(told)}"]


def lacking(
    sides: pa.Array,
    fractions: Mapping[str, float],
    classes: Mapping[str, tuple[Column, Sequence[str]]],
) -> list[str]:
    """What is in no split, or not in each: splits without inputs, classes that one lacks.

    `classes` gives, by target, the code of each input and the names of all classes.
    """
    counts = Counter(sides.to_pylist())
    names = sorted(fractions)
    empty = [name for name in names if not counts[name]]
    if empty:
        return [f"no inputs in {', '.join(empty)}"]
    found = []
    for target, (codes, called) in classes.items():
        pairs = set(zip(codes.to_pylist(), sides.to_pylist(), strict=True))
        for code in sorted({code for code, _ in pairs if code is not None}):
            without = [name for name in names if (code, name) not in pairs]
            if without:
                found.append(f"{target} {called[code]} is not in {', '.join(without)}")
    return few(found, _LISTED)


def refuse_lacking(found: Sequence[str], count: int) -> None:
    """Raise UsageError where there are splits without inputs, or without a class."""
    if found:
        raise UsageError(
            "by the keyed hash of who is in them, splits lack what they should have",
            "--split",
            "inputs of every class in each split",
            f"{'; '.join(found)}, of {count:,} inputs",
            f"Add {EXACT}: shares and classes are then met as closely as can be, but who is in "
            "which split changes with the data. Or give splits other shares, or leave rare "
            "classes out with --map.",
        )
