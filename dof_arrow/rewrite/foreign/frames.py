"""Datasets of tables in memory: pandas, Polars, Arrow, Hugging Face `datasets`.

Labels, groups and splits are read by the rules by which `extract` reads a table.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.cores.core import Core
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.rewrite.foreign.arrays import Known, as_column, in_roles, named_rows, write
from dof_arrow.rewrite.foreign.vector_chunks import Array, of_array, of_lists
from dof_arrow.sources.asked import TableOptions, named, parted
from dof_arrow.sources.columns import places, texts
from dof_arrow.sources.input_table import target_type
from dof_arrow.sources.listing import Listing, numbered
from dof_arrow.sources.open import with_columns_of
from dof_arrow.sources.sample import Column, Data
from dof_arrow.tables.declared_targets import as_target
from dof_arrow.tables.named_columns import as_table

PathLike = str | os.PathLike[str]
Vector = str | Sequence[str]
Survival = Mapping[str, tuple[str, str]]

_OF_INPUTS = ("table", "key", "match", "start", "end")  # of `TableOptions`


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnColumns:
    """Columns that are asked for by role, and pairs of columns that are survival targets."""

    record: Mapping[str, str] = field(default_factory=dict)
    survival: Survival = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All these columns."""
        return [*self.record.values(), *chain(*self.survival.values())]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableRows(Listing):
    """The rows of an Arrow table, of which columns are asked."""

    table: pa.Table
    where: Path

    def stored(self, key: str, place: int) -> Data:
        """Nothing: there are no pictures."""
        return None

    def files(self) -> Iterator[str | Path]:
        """No file."""
        return iter(())

    def cells(self, names: Sequence[str]) -> dict[str, Column]:
        """Columns as texts, those of dictionaries and lists as they are."""
        places(names, self.table.column_names, self.where)
        return {name: texts(self.table.column(name), self.where, name) for name in names}

    def classes(self, name: str) -> tuple[str, ...]:
        """The names of classes that Hugging Face `datasets` writes into the schema."""
        from dof_arrow.sources.columnar import class_names

        return class_names(self.table.schema, name)


def from_pandas(
    frame: Any,
    *,
    out: PathLike,
    vector: Vector,
    id: str | None = None,
    split: str | None = None,
    core: str | Core | None = None,
    overwrite: bool = False,
    record: Mapping[str, str] | None = None,
    survival: Survival | None = None,
    **options: Any,
) -> Dataset:
    """Write a pandas DataFrame with a column of vectors as a DoF file; returns it, opened.

    - `vector`: the column of vectors (arrays or lists), or the columns of their numbers.
    - `id`: the column of ids, texts or integers, each once; by default rows are numbered.
    - `split`: the column of splits. `options`: `label`, `group`, `keep`, `kind`, `classes`, `map`,
      `missing` and `separator` of `sources.asked.TableOptions`, as `extract` takes them. No other
      column is copied.
    - `record`: columns by their role, as `from_arrays` takes them.
    - `survival`: survival targets by name, each the columns of its time and of its event.
    - `core`: what made the vectors: a name that is noted, or a `Core`.

    Raises SourceError for rows that cannot be stored, with their numbers; UsageError for columns
    that are not there or do not fit.
    """
    names = list(map(str, frame.columns))
    own = OwnColumns(record=record or {}, survival=survival or {})
    wanted = _wanted(vector, id, split, options, own)
    _check_there(wanted, names)
    columns = {name: frame.iloc[:, names.index(name)] for name in wanted}
    flat = {name: values for name, values in columns.items() if name not in named(vector)}
    arrays = {name: as_column(name, values, len(frame)) for name, values in flat.items()}
    table = pa.table(arrays) if arrays else _no_columns(len(frame))
    if isinstance(vector, str):
        chunks = _cells_of(vector, columns[vector])
    else:
        chunks = of_array("vectors", frame[list(vector)].to_numpy())
    known = read(table, Path("the data frame"), id, split, options, _rest(names, wanted), own)
    return write(chunks, known, Path(out), core=core, overwrite=overwrite)


def from_polars(frame: Any, **options: Any) -> Dataset:
    """Write a Polars DataFrame as a DoF file; the options are those of `from_pandas`."""
    return from_arrow(frame, **options)


def from_arrow(
    table: Any,
    *,
    out: PathLike,
    vector: Vector,
    id: str | None = None,
    split: str | None = None,
    core: str | Core | None = None,
    overwrite: bool = False,
    record: Mapping[str, str] | None = None,
    survival: Survival | None = None,
    **options: Any,
) -> Dataset:
    """Write what speaks Arrow (a table, a Polars frame) as a DoF file.

    A `Dataset` of Hugging Face is taken too. The options are those of `from_pandas`.
    """
    whole = as_table(table)
    own = OwnColumns(record=record or {}, survival=survival or {})
    wanted = _wanted(vector, id, split, options, own)
    _check_there(wanted, whole.column_names)
    if isinstance(vector, str):
        chunks: Iterable[Array] = of_lists(vector, [whole.column(vector)])
    else:
        chunks = of_array("vectors", np.column_stack([whole.column(name) for name in vector]))
    flat = [name for name in whole.column_names if name in wanted and name not in named(vector)]
    rest = _rest(whole.column_names, wanted)
    beside = whole.select(flat) if flat else _no_columns(len(whole))
    known = read(beside, Path("the table"), id, split, options, rest, own)
    return write(chunks, known, Path(out), core=core, overwrite=overwrite)


def read(
    table: pa.Table,
    where: Path,
    id: str | None,
    split: str | None,
    options: Mapping[str, Any],
    left_out: Sequence[str] = (),
    own: OwnColumns = OwnColumns(),
) -> Known:
    """What the columns of a table say of its rows; what was decided is said as DofWarning."""
    from dof_arrow.loader.options import from_keywords

    given = from_keywords(TableOptions, {**options, "keep": ()}, "from a table")
    _refuse_of_inputs(options, where)
    rows = len(table)
    listed = with_columns_of(
        TableRows(names=numbered(rows), table=table, where=where), given, where, split
    )
    ids = None if id is None else table.column(id)
    known = Known(ids=named_rows(ids, rows), groups=listed.groups, splits=listed.splits)
    for name in dict.fromkeys([*parted(options.get("keep", ())), *own.record.values()]):
        known.columns[name] = as_column(name, table.column(name), rows)
    known.record = in_roles(known.columns, own.record)
    for name, pair in own.survival.items():
        values = pa.StructArray.from_arrays(
            [as_column(each, table.column(each), rows) for each in pair], ["time", "event"]
        )
        known.targets[name], known.columns[name] = as_target(name, values, "survival")
    for name, values in listed.labels.items():
        target: Target = listed.targets[name]
        known.targets[name] = target
        known.columns[name] = values.cast(target_type(target))
    remarks = list(listed.remarks)
    if left_out:
        remarks.append(f"columns left out: {', '.join(left_out)}; keep copies them")
    for remark in remarks:
        warnings.warn(remark, DofWarning, stacklevel=3)
    return known


def _refuse_of_inputs(options: Mapping[str, Any], where: Path) -> None:
    """Raise UsageError for options of inputs that are looked up: here a row is a row."""
    wrong = [name for name in _OF_INPUTS if options.get(name) not in (None, ())]
    if wrong:
        raise UsageError(
            "rows stand in the order of the vectors, and are not looked up",
            str(where),
            found=", ".join(wrong),
            hint="Leave it out; name the column of ids, if there is one.",
        )


def _cells_of(name: str, series: Any) -> Iterator[Array]:
    """The vectors of a pandas column, of arrays or of Arrow's lists."""
    if hasattr(series.dtype, "pyarrow_dtype"):
        return of_lists(name, [pa.array(series.array)])
    return of_array(name, series.to_numpy())


def _wanted(
    vector: Vector, id: str | None, split: str | None, options: Mapping[str, Any], own: OwnColumns
) -> list[str]:
    labels = named(options.get("label"))
    keep = parted(options.get("keep", ()))
    several = [*named(vector), id, split, options.get("group"), *labels, *keep, *own.names]
    return list(dict.fromkeys(name for name in several if name is not None))


def _check_there(wanted: Sequence[str], names: Sequence[str]) -> None:
    places(wanted, list(names), Path("the table"))


def _rest(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    return [name for name in names if name not in wanted]


def _no_columns(rows: int) -> pa.Table:
    """A table without columns that are asked for, of so many rows."""
    return pa.table({"": pa.nulls(rows)})
