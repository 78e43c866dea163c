"""A plain table put beside rows by id: labels that are kept, or were sent, without vectors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.batch import without_views
from dof_arrow.format.spec.arrow import KEY, holds_texts, is_vector
from dof_arrow.format.spec.metadata import Metadata, Record, Target, from_json, parse
from dof_arrow.system import open_file
from dof_arrow.tables.declared_targets import Declared, by_name
from dof_arrow.tables.join import column_name, places_that_meet
from dof_arrow.tables.named_columns import as_table
from dof_arrow.tables.selection import Selection
from dof_arrow.tables.split_sizes import check_sides

_BESIDE = ("view", "frame")  # what tells rows of one id apart
_HINT = "Leave that column out of the table: the dataset's own splits stay."


@dataclass(frozen=True, kw_only=True, eq=False)
class JoinedTable:
    """The rows of a selection that a table has too, and the table's other columns for them."""

    rows: Selection
    columns: Mapping[str, pa.ChunkedArray]
    targets: Mapping[str, Target | str | None]


def join_table(left: Selection, given: Any, on: str, targets: Declared, suffix: str) -> JoinedTable:
    """A table beside a selection; see `Dataset.join`."""
    table, where = read_table(given)
    record = left.table.metadata.record
    keys = _keys(table, where, on, record)
    declared = _declared(table, where, targets)
    theirs = [table.column(name) for _, name in keys]
    ours = [left.array(name) for name, _ in keys]
    here, there = places_that_meet(ours, theirs, where)
    names = _names(left.table.schema.names, table, keys, suffix)
    if here is not None:
        left = left.at(here)
    if there is not None:
        table = table.take(pa.array(there))
    if record.split is not None and record.split in table.column_names:
        check_sides(left.array(record.split), table.column(record.split), where, _HINT)
    return JoinedTable(
        rows=left,
        columns={name: table.column(own) for own, name in names.items()},
        targets={names[own]: target for own, target in declared.items()},
    )


def read_table(given: Any) -> tuple[pa.Table, str]:
    """A table of whatever library, or of a Parquet file, and what messages call it.

    Raises UsageError for what is no table, and for a file that is not read as one.
    """
    if isinstance(given, str | os.PathLike):
        return _without_views(_of_file(Path(given))), str(given)
    return _without_views(as_table(given)), "the table"


def _without_views(table: pa.Table) -> pa.Table:
    fields = [field.with_type(without_views(field.type)) for field in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))


def _of_file(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    try:
        with open_file(path) as file:
            data = file.read()
        # Not `read_table`, nor from the Python file: threads of Arrow's scanner may still run when
        # the interpreter ends, which then ends with a signal.
        with pq.ParquetFile(pa.BufferReader(data)) as parquet:
            return parquet.read()
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            "no table to join with",
            str(path),
            "a Parquet file",
            str(error).splitlines()[0][:200],
            "Read other files with pandas or Polars, and join what they give; or: dof label.",
        ) from None


def _keys(table: pa.Table, where: str, on: str, record: Record) -> list[tuple[str, str]]:
    """The columns by which rows meet: as the dataset calls them, and as the table does."""
    names = table.column_names
    vectors = [field.name for field in table.schema if is_vector(field)]
    problem = None
    if len(set(names)) < len(names):
        problem = ("two columns of one name", "each name once", ", ".join(names))
    elif vectors:
        problem = ("vectors in a table", "labels and other columns", ", ".join(vectors))
    elif on not in names:
        problem = ("no column of ids", f"a column {on}, or on=NAME", ", ".join(names))
    elif not _holds_ids(table.schema.field(on).type) or table.column(on).null_count:
        found = f"{table.schema.field(on).type}, {table.column(on).null_count:,} missing"
        problem = ("no ids", "texts or whole numbers, none missing", found)
    if problem:
        hint = "Join the dataset: ds.join(dof.open(path))." if vectors else ""
        raise UsageError(problem[0], where, problem[1], problem[2], hint)
    keys = [(record.id, on)]
    for role in _BESIDE:
        own = getattr(record, role)
        if own is not None and own in names:
            keys.append((own, own))
    return keys


def _holds_ids(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(holds_texts(kind) or pa.types.is_integer(kind))


def _declared(table: pa.Table, where: str, targets: Declared) -> dict[str, Target | str | None]:
    """The targets among the columns: those that are named, and what a dataset's own table says."""
    wanted = by_name(targets)
    unknown = [name for name in wanted if name not in table.column_names]
    if unknown:
        known = ", ".join(table.column_names)
        raise UsageError("no such column", where, known, ", ".join(unknown))
    written = (table.schema.metadata or {}).get(KEY)
    found: dict[str, Target | str | None] = {}
    if written:
        about: Metadata = from_json(parse(written))
        for name, target in about.targets.items():
            if name in table.column_names:
                found[name] = target
    for name, kind in wanted.items():
        found[name] = kind or found.get(name)
    return found


def _names(
    ours: Sequence[str], table: pa.Table, keys: Sequence[tuple[str, str]], suffix: str
) -> dict[str, str]:
    """What the table's columns are called beside ours, by their own names; without the keys."""
    taken = {name for _, name in keys}
    names: dict[str, str] = {}
    for own in table.column_names:
        if own not in taken:
            names[own] = column_name(own, [*ours, *names.values()], suffix)
    return names
