"""What a dataset offers to learn from: one target's labelled rows, which of them belong together, and their splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec.metadata import Metadata, Record, Target

Array = NDArray[Any]

PARTS = ("train", "valid", "test")


class Labelled(Protocol):
    """What is asked of a dataset; `dof_arrow.dataset.dataset.Dataset` is one."""

    @property
    def metadata(self) -> Metadata: ...

    def to_numpy(self, name: str | None = None) -> Array: ...

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table: ...


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
                "the split parts what belongs together", where="split column",
                expected="every group on one side", found=f"{crossing} groups in more than one of {', '.join(parts)}",
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
    table = dataset.to_arrow(list(dict.fromkeys([name, *known_by])))
    known, values = _READERS[about.kind](table[name].combine_chunks(), name, about)
    if not len(values):
        raise UsageError("no row has a label", where=f"target {name}", expected="labels", found=f"{len(table)} nulls",
                         hint="Give labels when extracting: dof extract … --label COLUMN")
    return Labels(
        name=name, target=about, rows=np.flatnonzero(known), values=values, missing=int((~known).sum()),
        groups=_groups(table, record)[known], splits=_splits(table, record)[known],
    )


def values_of(dataset: Labelled, column: str, rows: Array) -> Array:
    """A column's values at these rows as text, `none` where there is none; UsageError for an unknown column."""
    known = [name for name, about in dataset.metadata.columns.items() if about.role != "feature"]
    if column not in known:
        raise UsageError("no such column to judge by", expected=f"one of {', '.join(known)}", found=column,
                         hint=f"Use --by {known[0]}")
    classes = dataset.metadata.targets[column].classes if column in dataset.metadata.targets else ()
    found = dataset.to_arrow([column])[column].take(pa.array(rows)).to_pylist()
    return np.array(["none" if v is None else classes[v] if classes and isinstance(v, int) else str(v) for v in found],
                    dtype=object)


def choose(targets: Mapping[str, Target], name: str | None) -> str:
    """The target that is meant.

    >>> choose({"age": Target(kind="regression")}, None)
    'age'
    """
    if not targets:
        raise UsageError("the dataset has no target", expected="a labelled column",
                         hint="Name one when extracting: dof extract … --label COLUMN")
    if name is None and len(targets) > 1:
        raise UsageError("several targets, and none chosen", expected=f"one of {', '.join(targets)}",
                         hint=f"Add --target {next(iter(targets))}")
    if name is not None and name not in targets:
        raise UsageError("unknown target", expected=f"one of {', '.join(targets)}", found=name,
                         hint=f"Use --target {next(iter(targets))}")
    return name or next(iter(targets))


def _codes(column: pa.Array, name: str, target: Target) -> tuple[Array, Array]:
    if not pa.types.is_integer(column.type):
        raise _unfit(name, "integers, a class's place in `classes`", str(column.type))
    return _known(column), _checked(column.drop_null(), name, target)


def _flags(column: pa.Array, name: str, target: Target) -> tuple[Array, Array]:
    if not (pa.types.is_list(column.type) and pa.types.is_integer(column.type.value_type)):
        raise _unfit(name, "lists of integers, the places of a row's classes in `classes`", str(column.type))
    labelled = column.drop_null()
    classes = _checked(labelled.flatten(), name, target)
    flags = np.zeros((len(labelled), len(target.classes)), bool)
    flags[np.repeat(np.arange(len(labelled)), np.diff(labelled.offsets)), classes] = True
    return _known(column), flags


def _numbers(column: pa.Array, name: str, _: Target) -> tuple[Array, Array]:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise _unfit(name, "numbers", str(column.type))
    numbers = column.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
    strange = int((~np.isfinite(numbers)).sum())
    if strange:
        raise _unfit(name, "numbers, null where unknown", f"{strange} of {len(numbers)} NaN or infinite")
    return _known(column), numbers


_READERS: Mapping[str, Callable[[pa.Array, str, Target], tuple[Array, Array]]] = {
    "category": _codes, "multilabel": _flags, "regression": _numbers,
}


def _checked(codes: pa.Array, name: str, target: Target) -> Array:
    """Class codes as int64 [n], each of them a class."""
    numbers: Array = codes.cast(pa.int64(), safe=False).fill_null(-1).to_numpy(zero_copy_only=False)
    wrong = numbers[(numbers < 0) | (numbers >= len(target.classes))]
    if wrong.size:
        raise _unfit(name, f"0 to {len(target.classes) - 1}, one for each class", str(wrong[0]))
    return numbers


def _known(column: pa.Array) -> Array:
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False))


def _groups(table: pa.Table, record: Record) -> Array:
    """A code for each row: its group's, else its record's (so that views and frames stay together), else its own."""
    import pyarrow.compute as pc

    names = [name for name in (record.group, record.id) if name in table.column_names]
    if not names:
        return np.arange(len(table))
    columns = [table[name].cast(pa.string()) for name in names]
    named = pc.coalesce(*columns).combine_chunks()
    return np.asarray(named.dictionary_encode(null_encoding="encode").indices.to_numpy()).astype(np.int64)


def _splits(table: pa.Table, record: Record) -> Array:
    if record.split not in table.column_names:
        return np.full(len(table), "", object)
    return np.asarray(table[record.split].cast(pa.string()).fill_null("").to_numpy())


def _unfit(name: str, expected: str, found: str) -> FormatError:
    return FormatError("labels are not what the metadata says", where=f"target {name}", expected=expected, found=found,
                       hint="Correct the table and extract again, or choose another --target.")
