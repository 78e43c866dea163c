"""Joins of selections by record, chains of them, and statistics of all rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias
from uuid import UUID, uuid5

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import DofWarning, UsageError
from dof_arrow.format.spec.arrow import with_metadata
from dof_arrow.format.spec.metadata import Metadata, Parent, Provenance, Record, Split
from dof_arrow.tables import union, unique
from dof_arrow.tables.gather import Gather
from dof_arrow.tables.selection import Chained, JoinedRows, Selection, Table, United, chunked
from dof_arrow.tables.split_sizes import check_groups, check_sides, split_sizes

Array = NDArray[Any]
Column: TypeAlias = pa.Array | pa.ChunkedArray

_CHUNK = 1 << 12  # rows read at a time

# For each column of a join: whether it is of the left side, and its name there.
Sides = Mapping[str, tuple[bool, str]]


def join(left: Selection, right: Selection, suffix: str) -> JoinedRows:
    """The rows of the left that the right has too, with the columns of both; see `Dataset.join`."""
    ours = left.table
    theirs = right.table
    keys = record_keys(ours.metadata.record, theirs.metadata.record)
    here, there = places_that_meet(
        [left.array(name) for name, _ in keys],
        [right.array(name) for _, name in keys],
        str(theirs.path),
    )
    if here is not None:
        left = left.at(here)
    if there is not None:
        right = right.at(there)
    names = _names(ours.schema.names, theirs.schema.names, keys, suffix)
    about = _beside(ours.metadata, theirs.metadata, names)
    fields = []
    for name, (is_left, own) in names.items():
        side = ours if is_left else theirs
        field = side.schema.field(own)
        fields.append(field.with_name(name))
    made = JoinedRows(left=left, right=right, names=names, schema=pa.schema(fields), metadata=about)
    about = replace(about, splits=_joined_splits(made))
    return replace(made, schema=with_metadata(made.schema, about), metadata=about)


def _joined_splits(made: JoinedRows) -> dict[str, Split]:
    """The splits of joined rows; UsageError where the two sides do not agree on them."""
    ours = made.left.table.metadata.record
    theirs = made.right.table.metadata.record
    if ours.split and theirs.split:
        check_sides(
            made.left.array(ours.split),
            made.right.array(theirs.split),
            str(made.right.table.path),
            f'Take those of the first: ds.join(other.drop_columns("{theirs.split}")).',
        )
    record = made.metadata.record
    rows = Selection(made, slice(0, made.rows))
    if (record.group, record.split) != (ours.group, ours.split):
        check_groups(rows, record)
    return split_sizes(rows, record)


def chain(parts: Sequence[Selection], once: bool = False) -> tuple[Table, list[str]]:
    """Several selections, one after the other, and what was done to unite them.

    See `dataset.concat`.
    """
    if not parts:
        raise UsageError("nothing to put together", "concat", "one dataset or more", "none")
    alike = union.are_alike(parts)
    notes: list[str] = []
    table: Chained | United
    if alike and not (once and len(parts) > 1):
        schema = parts[0].table.schema.remove_metadata()
        table = Chained(parts=parts, schema=schema, metadata=parts[0].table.metadata)
    else:
        table, notes = union.united(parts)
    if once and isinstance(table, United):
        table, doubled = unique.unique(parts, table)
        notes += doubled
        if alike and not doubled:
            schema = parts[0].table.schema.remove_metadata()
            table = Chained(parts=table.parts, schema=schema, metadata=parts[0].table.metadata)
    return _named(table, [part.table.metadata for part in parts]), notes


def _named(table: Any, sources: Sequence[Metadata]) -> Table:
    """A chain of several tables with metadata of its own."""
    about = replace(
        table.metadata,
        uuid=_derived(sources),
        splits=_splits(sources),
        errors=None,
        documents=(),
        parts=(),
        provenance=_made_from(sources),
    )
    schema = with_metadata(table.schema.remove_metadata(), about)
    made: Table = replace(table, schema=schema, metadata=about)
    return made


def record_keys(left: Record, right: Record) -> list[tuple[str, str]]:
    """The columns by which rows meet, as named on either side."""
    keys = []
    for name in ("id", "view", "frame"):
        own = getattr(left, name)
        other = getattr(right, name)
        if own is not None and other is not None:
            keys.append((own, other))
    return keys


def row_names(columns: Sequence[pa.ChunkedArray]) -> pa.Array:
    """One text a row from all key columns.

    >>> row_names([pa.chunked_array([["a", "b"]]), pa.chunked_array([[0, 7]])]).to_pylist()
    ['a/0', 'b/7']
    """
    import pyarrow.compute as pc

    kind = pa.large_string()
    texts = [column.combine_chunks().cast(kind) for column in columns]
    if len(texts) == 1:
        return texts[0]
    separator = pa.scalar("/", kind)
    joined = pc.binary_join_element_wise(*texts, separator)
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def statistics(gather: Gather, rows: int, width: int) -> tuple[Array, Array]:
    """Mean and standard deviation, float64 [width] each, in one pass and bounded memory.

    Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances, 1979.
    """
    mean = np.zeros(width)
    squares = np.zeros(width)  # sum of squared distances from the mean
    before = 0
    buffer = np.empty((min(_CHUNK, rows), width), np.float32)
    while before < rows:
        seen = min(before + _CHUNK, rows)
        count = seen - before
        values = buffer[:count]
        gather.fill(np.arange(before, seen), values)
        own_mean = values.mean(axis=0, dtype=np.float64)
        own_squares = np.square(values - own_mean).sum(axis=0)
        step = own_mean - mean
        squares += own_squares + step * step * (count * before / seen)
        mean += step * (count / seen)
        before = seen
    return mean, np.sqrt(squares / rows)


def places_that_meet(
    left: Sequence[Column], right: Sequence[Column], where: str
) -> tuple[Array | None, Array | None]:
    """Places of the rows whose key columns are equal, on either side; None where a side stays.

    Raises UsageError for a right side, called `where`, that has a key twice. Warns where no row
    meets another: such ids were made with two keys, say.
    """
    import pyarrow.compute as pc

    ours = row_names([chunked(column) for column in left])
    theirs = row_names([chunked(column) for column in right])
    if pc.count_distinct(theirs).as_py() != len(theirs):
        raise UsageError(
            "rows to join with are not unique",
            where,
            "each id once",
            "several rows of one id",
            "Take one of them: other.filter(pc.field('view') == 0)",
        )
    if ours.equals(theirs):
        return None, None
    place = pc.index_in(ours, theirs)
    met = np.flatnonzero(place.is_valid().to_numpy(zero_copy_only=False))
    if len(ours) and len(theirs) and not len(met):
        shown = f"{ours[0].as_py()!r} here, {theirs[0].as_py()!r} there"
        warnings.warn(f"no row meets one of {where}: {shown}", DofWarning, stacklevel=4)
    there = place.drop_null().to_numpy()
    return met, there.astype(np.int64)


def column_name(own: str, taken: Sequence[str], suffix: str) -> str:
    """What a column of the right is called: its own name, with the suffix where that is taken."""
    name = own + suffix if own in taken else own
    if name in taken:
        raise UsageError(
            "two columns of one name", "join", "another suffix", name, 'Write suffix="_b", say.'
        )
    return name


def _names(
    left: Sequence[str], right: Sequence[str], keys: Sequence[tuple[str, str]], suffix: str
) -> dict[str, tuple[bool, str]]:
    """The columns of a join, as `Sides` are; the right's keys are left out."""
    names = {name: (True, name) for name in left}
    skipped = {name for _, name in keys}
    for own in right:
        if own not in skipped:
            names[column_name(own, list(names), suffix)] = (False, own)
    return names


def _beside(left: Metadata, right: Metadata, names: Sides) -> Metadata:
    """The metadata of joined rows: the left's, with what the right's columns bring along."""
    theirs = {own: name for name, (is_left, own) in names.items() if not is_left}
    core_names = _core_names(left, right)
    record = _taken_up(left.record, right.record, theirs)
    taken = {name for name in (record.group, record.split) if name in theirs.values()}
    columns = dict(left.columns)
    learned = dict(left.targets)
    for own, name in theirs.items():
        column = right.columns[own]
        core = core_names.get(column.core or "")
        role = column.role if name in taken else _role(column.role)
        columns[name] = replace(column, role=role, core=core)
        if own in right.targets:
            learned[name] = right.targets[own]
    cores = dict(left.cores)
    for own, brought in right.cores.items():
        cores[core_names[own]] = brought
    claimed = dict(left.claimed_cores)
    for own, named in right.claimed_cores.items():
        claimed[core_names[own]] = named
    return replace(
        left,
        uuid=_derived([left, right]),
        columns=columns,
        targets=learned,
        cores=cores,
        claimed_cores=claimed,
        record=record,
        splits={},
        errors=None,
        documents=(),
        provenance=_made_from([left, right]),
    )


def _taken_up(left: Record, right: Record, names: Mapping[str, str]) -> Record:
    """The left's record, with the right's group and split where the left has none."""
    group = left.group or names.get(right.group or "")
    split = left.split or names.get(right.split or "")
    return replace(left, group=group, split=split)


def _core_names(left: Metadata, right: Metadata) -> dict[str, str]:
    """New names of the right's cores: their own, unless the left has another core of that name."""
    names = {}
    ours = {**left.cores, **left.claimed_cores}
    for name, core in right.cores.items():
        same = ours.get(name, core) == core
        names[name] = name if same else f"{name}_{core.sha256[:8]}"
    for name, claimed in right.claimed_cores.items():
        own = name
        number = 2
        while ours.get(own, claimed) != claimed or own in names.values():
            own = f"{name}_{number}"
            number += 1
        names[name] = own
    return names


def _role(role: Any) -> Any:
    """The role of a column of the right side, whose record is the left's."""
    return role if role in ("feature", "target") else "kept"


def _derived(sources: Sequence[Metadata]) -> str:
    """A UUID that follows from those of the sources."""
    names = " ".join(source.uuid for source in sources)
    return str(uuid5(UUID(sources[0].uuid), names))


def _made_from(sources: Sequence[Metadata]) -> Provenance:
    parents = tuple(Parent(uuid=source.uuid) for source in sources)
    return Provenance(generator="dof_arrow", parents=parents)


def _splits(sources: Sequence[Metadata]) -> Any:
    """The splits of all sources, with their declared sizes added up."""
    found: dict[str, Any] = {}
    for source in sources:
        for name, split in source.splits.items():
            old = found.get(name)
            if old is not None:
                rows = old.rows + split.rows
                records = old.records + split.records
                split = replace(old, rows=rows, records=records)
            found[name] = split
    return found
