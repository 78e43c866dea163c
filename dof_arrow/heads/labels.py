"""What a dataset offers to learn from: one target's labelled rows, which of them belong together, and their splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Record, Target
from dof_arrow.tables import targets

Array = NDArray[Any]

PARTS = ("train", "valid", "test")


class Labelled(targets.Tabular, Protocol):
    """What is asked of a dataset; `dof_arrow.dataset.dataset.Dataset` is one."""

    def __len__(self) -> int: ...

    def to_numpy(self, name: str | None = None) -> Array: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The n labelled rows of one target.

    `rows` int64 [n] are their places in the dataset; `values` class codes int64 [n], flags bool [n, C] or numbers
    float64 [n]; `groups` int64 [n] equal where rows must not be parted; `splits` str [n], empty where there is none;
    `missing` how many rows have no label.
    """

    name: str
    target: Target
    rows: Array
    values: Array
    groups: Array
    splits: Array
    missing: int

    def parts(self) -> dict[str, Array]:
        """Which of the n are for training and which for judging; all of them for training where no split says so.

        Raises UsageError where a group is in more than one part: the score would be of pictures seen before.
        """
        found = {name: np.flatnonzero(self.splits == name) for name in PARTS}
        found = {name: rows for name, rows in found.items() if rows.size}
        if "train" not in found:
            return {"train": np.arange(len(self.rows))}
        self._refuse_crossing(found)
        return found

    def _refuse_crossing(self, parts: Mapping[str, Array]) -> None:
        met = np.concatenate([np.unique(self.groups[rows]) for rows in parts.values()])
        crossing = int((np.bincount(met) > 1).sum())
        if crossing:
            raise UsageError(
                "the split parts what belongs together",
                where="split column",
                expected="every group on one side",
                found=f"{crossing} groups in more than one of {', '.join(parts)}",
                hint="Let the group decide: dof extract … --group COLUMN --split train=0.8,test=0.2",
            )


def read(dataset: Labelled, target: str | None = None) -> Labels:
    """The labelled rows of a target, by default the only one.

    Raises UsageError for an unknown or undecided target, or where no row has a label; FormatError for labels that are
    not what the metadata says.
    """
    metadata = dataset.metadata
    name = choose(metadata.targets, target)
    record, about = metadata.record, metadata.targets[name]
    known_by = [c for c in (record.group, record.id, record.split) if c and c in metadata.columns]
    table = dataset.to_arrow(known_by)
    known, found = targets.labelled(dataset, name)
    if not known.any():
        raise UsageError(
            "no row has a label",
            where=f"target {name}",
            expected="labels",
            found=f"{len(known)} nulls",
            hint="Give labels when extracting: dof extract … --label COLUMN",
        )
    return Labels(
        name=name,
        target=about,
        rows=np.flatnonzero(known),
        values=_values(found, int(known.sum())),
        missing=int((~known).sum()),
        groups=_groups(table, record)[known],
        splits=_splits(table, record)[known],
    )


def values_of(dataset: Labelled, column: str, rows: Array) -> Array:
    """A column's values at these rows as text, `none` where there is none; UsageError for an unknown column."""
    known = [name for name, about in dataset.metadata.columns.items() if about.role != "feature"]
    if column not in known:
        raise UsageError(
            "no such column to judge by",
            expected=f"one of {', '.join(known)}",
            found=column,
            hint=f"Use --by {known[0]}",
        )
    classes = dataset.metadata.targets[column].classes if column in dataset.metadata.targets else ()
    found = dataset.to_arrow([column])[column].take(pa.array(rows)).to_pylist()
    return np.array(
        [
            "none" if v is None else classes[v] if classes and isinstance(v, int) else str(v)
            for v in found
        ],
        dtype=object,
    )


def choose(declared: Mapping[str, Target], name: str | None) -> str:
    """The target that is meant.

    >>> choose({"age": Target(kind="regression")}, None)
    'age'
    """
    if not declared:
        raise UsageError(
            "the dataset has no target",
            expected="a labelled column",
            hint="Name one when extracting: dof extract … --label COLUMN",
        )
    if name is None and len(declared) > 1:
        raise UsageError(
            "several targets, and none chosen",
            expected=f"one of {', '.join(declared)}",
            hint=f"Add --target {next(iter(declared))}",
        )
    if name is not None and name not in declared:
        raise UsageError(
            "unknown target",
            expected=f"one of {', '.join(declared)}",
            found=name,
            hint=f"Use --target {next(iter(declared))}",
        )
    return name or next(iter(declared))


def _values(found: targets.TargetValues, count: int) -> Array:
    """All labels: codes int64 [n], flags bool [n, classes] or numbers float64 [n]."""
    rows = np.arange(count)
    if isinstance(found, targets.NumberTarget):
        return found.stored(rows).astype(np.float64)
    values = found.take(rows)
    return values.astype(bool) if isinstance(found, targets.Flags) else values


def _groups(table: pa.Table, record: Record) -> Array:
    """A code for each row: its group's, else its record's (so that views and frames stay together), else its own."""
    import pyarrow.compute as pc

    names = [name for name in (record.group, record.id) if name in table.column_names]
    if not names:
        return np.arange(len(table))
    columns = [table[name].cast(pa.string()) for name in names]
    named = pc.coalesce(*columns).combine_chunks()
    return np.asarray(named.dictionary_encode(null_encoding="encode").indices.to_numpy()).astype(
        np.int64
    )


def _splits(table: pa.Table, record: Record) -> Array:
    if record.split not in table.column_names:
        return np.full(len(table), "", object)
    return np.asarray(table[record.split].cast(pa.string()).fill_null("").to_numpy())
