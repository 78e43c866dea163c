"""The labelled rows of one target of a dataset, with their groups and splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Record, Target
from dof_arrow.format.spec.split_names import TEST, TRAIN, VALID, standardised
from dof_arrow.tables import targets

Array = NDArray[Any]

PARTS = (TRAIN, VALID, TEST)
_LARGEST = 1e37  # of numbers to learn: answers are float32, which ends at 3.4e38


class Labelled(targets.Tabular, Protocol):
    """What heads need from a dataset; `dof_arrow.dataset.dataset.Dataset` is one."""

    def __len__(self) -> int: ...

    def to_numpy(self, name: str | None = None) -> Array: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The n labelled rows of one target.

    `rows` int64 [n] are their places in the dataset. `values` are class codes int64 [n], flags bool
    [n, C] or numbers float64 [n]. `groups` int64 [n] are equal for rows that must stay together,
    `splits` str [n] are empty where there is none. `missing` rows have no label.
    """

    name: str
    target: Target
    rows: Array
    values: Array
    groups: Array
    splits: Array
    missing: int

    def parts(self) -> dict[str, Array]:
        """The labelled rows of each split of PARTS; where rows are in none of them, all train.

        Raises UsageError if a group is in several parts: its patients would have been seen before.
        And if rows are meant for validation or testing, and none for training.
        """
        found = {}
        for name in PARTS:
            rows = np.flatnonzero(self.splits == name)
            if rows.size:
                found[name] = rows
        if TRAIN not in found:
            if found:
                raise self._untrained()
            return {TRAIN: np.arange(len(self.rows))}
        self._refuse_crossing(found)
        return found

    def _untrained(self) -> UsageError:
        """What is wrong where rows of `valid` or `test` are there, and none of `train`."""
        known = sorted(set(self.splits.tolist()) - {""})
        return UsageError(
            "no labelled row is in the split train",
            where="split column",
            expected="train, and valid or test beside it",
            found=", ".join(known),
            hint="Name it when extracting: dof extract … --map 'COLUMN:NAME=train'",
        )

    def _refuse_crossing(self, parts: Mapping[str, Array]) -> None:
        # Each part names a group once: a group that is counted twice is in two parts.
        groups = [np.unique(self.groups[rows]) for rows in parts.values()]
        counts = np.bincount(np.concatenate(groups))
        crossing = int((counts > 1).sum())
        if crossing:
            raise UsageError(
                "the split parts what belongs together",
                where="split column",
                expected="every group on one side",
                found=f"{crossing} groups in more than one of {', '.join(parts)}",
                hint="Let the group decide: "
                "dof extract … --group COLUMN --split train=0.8,test=0.2",
            )


def check_dataset(dataset: object) -> None:
    """Raise UsageError for what is no dataset, such as the path of one."""
    if not hasattr(dataset, "metadata") or not hasattr(dataset, "to_arrow"):
        raise UsageError(
            "not a dataset",
            expected="what dof.open gives",
            found=type(dataset).__name__,
            hint="Open it first: dof.open(PATH)",
        )


def read(dataset: Labelled, target: str | None = None) -> Labels:
    """Read the labelled rows of a target, by default the only one.

    Raises UsageError for an unknown target, for several without a choice, and if no row has a
    label; FormatError for labels that are not what the metadata says.
    """
    metadata = dataset.metadata
    name = choose(metadata.targets, target)
    record = metadata.record
    wanted = (record.group, record.bag, record.id, record.split)
    columns = [column for column in wanted if column and column in metadata.columns]
    table = dataset.to_arrow(columns)
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
        target=metadata.targets[name],
        rows=np.flatnonzero(known),
        values=_values(found, int(known.sum())),
        missing=int((~known).sum()),
        groups=_groups(table, record)[known],
        splits=_splits(table, record)[known],
    )


def values_of(dataset: Labelled, column: str, rows: Array) -> Array:
    """A column's values at these rows as text [n], `none` for null; classes by name.

    Raises UsageError for an unknown column.
    """
    metadata = dataset.metadata
    columns = metadata.columns
    known = [name for name in columns if columns[name].role != "feature"]
    if column not in known:
        raise UsageError(
            "no such column to judge by",
            expected=f"one of {', '.join(known)}",
            found=column,
            hint=f"Use --by {known[0]}",
        )
    target = metadata.targets.get(column)
    classes = target.classes if target else ()
    values = dataset.to_arrow([column])[column]
    found = values.take(pa.array(rows)).to_pylist()
    texts = [_text(value, classes) for value in found]
    return np.array(texts, dtype=object)


def _text(value: Any, classes: tuple[str, ...]) -> str:
    if value is None:
        return "none"
    if classes and isinstance(value, int):
        return classes[value]
    return str(value)


def choose(declared: Mapping[str, Target], name: str | None) -> str:
    """The target that `name` asks for, by default the only one; UsageError if it is not clear.

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
    chosen = name or next(iter(declared))
    targets.learned_kind(chosen, declared[chosen])
    return chosen


def _values(found: targets.TargetValues, count: int) -> Array:
    """All labels: codes int64 [n], flags bool [n, classes] or numbers float64 [n]."""
    rows = np.arange(count)
    if isinstance(found, targets.NumberTarget):
        values = found.stored(rows).astype(np.float64)
        largest = float(np.abs(values).max(initial=0))
        if largest > _LARGEST:
            raise UsageError(
                "numbers that a head cannot answer",
                f"target {found.name}",
                f"up to {_LARGEST:.0e}, as float32 holds them",
                f"{largest:g}",
                "Choose another unit.",
            )
        return values
    values = found.take(rows)
    return values.astype(bool) if isinstance(found, targets.Flags) else values


def _groups(table: pa.Table, record: Record) -> Array:
    """A code int64 [n] for each row: of its group, else of its bag or record, else its own.

    With the record's code, views and frames of one record stay together.
    """
    import pyarrow.compute as pc

    wanted = (record.group, record.bag, record.id)
    names = [name for name in wanted if name in table.column_names]
    if not names:
        return np.arange(len(table))
    columns = [table[name].cast(pa.string()) for name in names]
    named = pc.coalesce(*columns).combine_chunks()
    # Rows without any name are one group: they may belong together.
    codes = named.dictionary_encode(null_encoding="encode").indices
    return np.asarray(codes.to_numpy()).astype(np.int64)


def _splits(table: pa.Table, record: Record) -> Array:
    """The split of each row, empty where there is none."""
    if record.split not in table.column_names:
        return np.full(len(table), "", object)
    texts = table[record.split].cast(pa.string()).combine_chunks()
    return np.asarray(standardised(texts).fill_null("").to_numpy(zero_copy_only=False))
