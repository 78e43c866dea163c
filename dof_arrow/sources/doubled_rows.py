"""Several rows of a table about one picture: one row, or a picture that cannot be used.

Segments of one clip are told apart by their times: each is an input of its own.

Rows that say the same are one. What a row leaves empty, another may say. Where they name different
groups, these groups become one: they share a picture, so they share a person. Where they differ in
anything else that was asked for, nobody can tell which is right, and the picture fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources.columns import nulled
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Column

L = TypeVar("L", bound=Listing)

CONTRADICTION = "the table's rows of this picture differ in"


class _Runs(NamedTuple):
    """Where each picture's rows begin among rows sorted by name, and how many rows it has."""

    first: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]

    def several(self) -> Iterator[tuple[int, int, int]]:
        """The number of each picture with several rows, its first row, and how many it has."""
        for number in np.flatnonzero(self.length > 1).tolist():
            yield number, int(self.first[number]), int(self.length[number])


def united(listed: L) -> L:
    """A listing, sorted by name, with one row for each name."""
    runs = _runs(listed.keys)
    if len(runs.first) == len(listed):
        return listed
    groups, united_groups = _united_groups(listed.groups, runs)
    settled = _Settled(runs)
    labels = settled.columns(listed.labels)
    columns = settled.columns(listed.columns)
    splits = None if listed.splits is None else settled.column("split", listed.splits)
    first = pa.array(runs.first)
    refused = settled.refused(listed.refused)
    targets = dict(listed.targets)
    for name, target in listed.targets.items():
        kept = nulled(labels[name], refused.is_valid())
        targets[name], labels[name] = _without_lost(target, listed.labels[name], kept)
    joined = sum(len(names) - 1 for names in united_groups.values())
    counts = {"doubled": settled.put_together(), "united_groups": joined}
    return replace(
        listed,
        names=listed.names.take(first),
        place=listed.place.take(first),
        bounds=None if listed.bounds is None else listed.bounds.take(first),
        groups=None if groups is None else settled.column("group", groups),
        splits=splits,
        targets=targets,
        labels=labels,
        columns=columns,
        refused=refused,
        counts={**listed.counts, **counts},
        united_groups=united_groups,
    )


def _runs(names: Column) -> _Runs:
    import pyarrow.compute as pc

    begins = np.ones(len(names), bool)
    if len(names):
        others = pc.not_equal(names[1:], names[:-1])
        begins[1:] = others.to_numpy(zero_copy_only=False)
    first = np.flatnonzero(begins)
    return _Runs(first, np.diff(first, append=len(names)))


class _Settled:
    """One value a picture in each column, and which columns its rows differ in."""

    def __init__(self, runs: _Runs) -> None:
        self._runs = runs
        self._differing: dict[int, list[str]] = {}

    def columns(self, columns: Mapping[str, Column]) -> dict[str, Column]:
        return {name: self.column(name, column) for name, column in columns.items()}

    def column(self, name: str, column: Column) -> Column:
        """The value of each picture: the first of its rows that says one."""
        chosen = self._runs.first.copy()
        for number, start, length in self._runs.several():
            values = column.slice(start, length).to_pylist()
            said = [value for value in values if value is not None]
            if any(value != said[0] for value in said):
                self._differing.setdefault(number, []).append(name)
            elif said:
                chosen[number] = start + values.index(said[0])
        return column.take(pa.array(chosen))

    def put_together(self) -> int:
        """How many rows went into another that says the same."""
        lengths = [length for _, _, length in self._agreeing()]
        return sum(lengths) - len(lengths)

    def _agreeing(self) -> Iterator[tuple[int, int, int]]:
        return (run for run in self._runs.several() if run[0] not in self._differing)

    def refused(self, before: Column) -> Column:
        """Why pictures cannot be used: what was known before, and rows that differ."""
        reasons = before.take(pa.array(self._runs.first)).to_pylist()
        for number, names in self._differing.items():
            reasons[number] = reasons[number] or f"{CONTRADICTION}: {', '.join(names)}"
        return pa.array(reasons, pa.string())


def _without_lost(target: Target, before: Column, after: Column) -> tuple[Target, Column]:
    """A target without the classes that only pictures had which cannot be used, and its codes."""
    lost = _codes(before) - _codes(after) if target.classes else set()
    if not lost:
        return target, after
    left = [code for code in range(len(target.classes)) if code not in lost]
    new = {code: place for place, code in enumerate(left)}
    values: list[Any] = []
    for value in after.to_pylist():
        several = isinstance(value, list)
        values.append([new[code] for code in value] if several else new.get(value))
    classes = tuple(target.classes[code] for code in left)
    return replace(target, classes=classes), pa.array(values, after.type)


def _codes(column: Column) -> set[int]:
    flat = column.flatten() if pa.types.is_list(column.type) else column
    return set(flat.drop_null().unique().to_pylist())


def _united_groups(groups: Column, runs: _Runs) -> tuple[Column, Mapping[str, tuple[str, ...]]]:
    """Groups, those that share a picture under the smallest name among them, and their names."""
    if groups is None:
        return None, {}
    shared = _Shared()
    for _, start, length in runs.several():
        shared.join(groups.slice(start, length).drop_null().to_pylist())
    renamed = shared.renamed()
    if not renamed:
        return groups, {}
    encoded = groups.dictionary_encode()
    names = [renamed.get(name, name) for name in encoded.dictionary.to_pylist()]
    return pa.array(names, groups.type).take(encoded.indices), _members(renamed)


def _members(renamed: Mapping[Any, Any]) -> dict[str, tuple[str, ...]]:
    """All names of each group that others were joined to: its own first."""
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(renamed):
        smallest = renamed[name]
        found[smallest] = (*found.get(smallest, (smallest,)), name)
    return found


class _Shared:
    """Names that belong together: each points to a smaller one, or is the smallest of its own."""

    def __init__(self) -> None:
        self._smaller: dict[Any, Any] = {}

    def join(self, names: Sequence[Any]) -> None:
        for name in names[1:]:
            one, other = sorted((self._smallest(names[0]), self._smallest(name)))
            if one != other:
                self._smaller[other] = one

    def _smallest(self, name: Any) -> Any:
        smallest = name
        while smallest in self._smaller:
            smallest = self._smaller[smallest]
        while name != smallest:  # point straight to it, so that long chains are walked once
            self._smaller[name], name = smallest, self._smaller[name]
        return smallest

    def renamed(self) -> dict[Any, Any]:
        """The smallest name of each that is not the smallest itself."""
        return {name: self._smallest(name) for name in self._smaller}
