"""What a dataset is over: some rows of a file, of a directory, of two tables side by side or of several in a chain.

Rows are chosen by a slice (views, nothing is copied) or by their places (gathered).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import FormatError
from dof_arrow.format.directory import Directory
from dof_arrow.format.file import Columns, File, State
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import ColumnMeta, get
from dof_arrow.format.parquet.layout import Fixed, fixed
from dof_arrow.format.spec.arrow import flat_array, is_vector, vector_array
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.sampling.permutation import Rows
from dof_arrow.tables.gather import Chain, Gather, Memory, Placed, of_columns

Array = NDArray[Any]
Places = slice | Rows


class Table(Protocol):
    """Columns of equally many rows, with metadata: a file, a directory of files, or what is made of several."""

    @property
    def path(self) -> Path: ...
    @property
    def metadata(self) -> Metadata: ...
    @property
    def schema(self) -> pa.Schema: ...
    @property
    def rows(self) -> int: ...
    @property
    def state(self) -> State: ...
    @property
    def seal(self) -> str | None: ...

    def attachment(self, offset: int, length: int) -> bytes: ...


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Some rows of a table."""

    table: Table
    places: Places

    def __len__(self) -> int:
        at = self.places
        return at.stop - at.start if isinstance(at, slice) else len(at)

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self.table, Columns):
            return _reopened, (str(self.table.path), self.table.seal, self.places)
        return Selection, (self.table, self.places)

    def at(self, rows: Places) -> Selection:
        """Rows of these rows; slices of slices stay slices."""
        if not isinstance(self.places, slice):
            return Selection(self.table, self.places[rows])
        first = self.places.start
        moved = (
            slice(first + rows.start, first + rows.stop)
            if isinstance(rows, slice)
            else rows + first
        )
        return Selection(self.table, moved)

    def values(self, name: str, *, writable: bool = False) -> Array:
        """A column of them as an array, [n, D] for vectors; a slice of a mapped one is a view of the file's memory."""
        table = _apart(self.table, name)
        if isinstance(table, Columns):
            return table.numpy(name, writable=writable)[self.places]
        return _made(table).values(name, self.places, writable=writable)

    def array(self, name: str) -> pa.Array | pa.ChunkedArray:
        """A column of them as Arrow has it; a slice of a mapped one lies over the file's memory."""
        table = _apart(self.table, name)
        if not isinstance(table, Columns):
            return _made(table).array(name, self.places)
        return (
            table.arrow(name)[self.places]
            if isinstance(self.places, slice)
            else self._taken(table, name)
        )

    def gather(self, name: str) -> Gather:
        """Where a loader gets them from."""
        whole = (
            of_columns(self.table, name)
            if isinstance(self.table, Columns)
            else _made(self.table).gather(name)
        )
        if not isinstance(self.places, slice):
            return Placed(whole, self.places, len(self))
        if len(self) == self.table.rows:
            return whole
        return (
            whole.part(self.places)
            if isinstance(whole, Memory)
            else Placed(whole, self.places.start, len(self))
        )

    def may_match(self, condition: Any) -> list[slice]:
        """Runs of them in which a condition may be true, by the statistics of row groups."""
        if not isinstance(self.table, Columns) or not isinstance(self.places, slice):
            return [slice(0, len(self))]
        first, end = self.places.start, self.places.stop
        runs = [
            slice(max(r.start, first) - first, min(r.stop, end) - first)
            for r in _matching(self.table, condition)
        ]
        return [r for r in runs if r.start < r.stop]

    def _taken(self, table: Columns, name: str) -> pa.Array:
        field, values = table.schema.field(name), table.mapped(name)
        if is_vector(field):
            return vector_array(np.ascontiguousarray(table.numpy(name)[self.places]), field)
        if values is None:
            return table.arrow(name).take(pa.array(self.places))
        return flat_array(values[self.places], field.type)


def _matching(table: Columns, condition: Any) -> list[slice]:
    """Row groups whose smallest and largest values do not exclude a condition, in rows of the table."""
    files, runs, first = table.parts if isinstance(table, Directory) else [table], [], 0
    for file in files:
        assert isinstance(file, File)
        groups = file.parquet.num_row_groups
        ends = first + np.cumsum(
            [file.parquet.row_group(g).num_rows for g in range(groups)], dtype=np.int64
        )
        starts = [first, *ends.tolist()]
        ranges = {f.name: r for f in file.schema if (r := _ranges(file, f))}
        runs += [
            slice(starts[g], starts[g + 1])
            for g in _not_excluded(condition, file.schema, ranges, groups)
        ]
        first += file.rows
    return runs


def _ranges(file: File, field: pa.Field) -> list[tuple[Any, Any] | None] | None:
    """Smallest and largest value of a column in each row group, None where a group does not say."""
    column = fixed(field)
    if column is None or column.nested:
        return None
    leaf = file.outline.index(column.path)
    if leaf is None:
        return None
    chunks = file.outline.column(leaf)
    return [_range(get(chunk, ColumnMeta.STATISTICS, {}), column, field.type) for chunk in chunks]


def _range(statistics: footer.Struct, column: Fixed, kind: pa.DataType) -> tuple[Any, Any] | None:
    found = get(statistics, 6), get(statistics, 5)
    if any(not isinstance(value, bytes) or len(value) != column.stored.itemsize for value in found):
        return None
    values = np.frombuffer(b"".join(found), column.stored).astype(column.memory)
    low, high = flat_array(values, kind)
    return low, high


def _not_excluded(
    condition: Any,
    schema: pa.Schema,
    ranges: Mapping[str, Sequence[tuple[Any, Any] | None]],
    groups: int,
) -> list[int]:
    """Numbers of the row groups that remain; Arrow simplifies the condition under what is known of each group."""
    import pyarrow.compute as pc
    import pyarrow.dataset as arrow
    from pyarrow.fs import LocalFileSystem

    def known(group: int) -> Any:
        bounds = [(pc.field(name), found[group]) for name, found in ranges.items()]
        true = [(field >= r[0]) & (field <= r[1]) for field, r in bounds if r is not None]
        return _all(true) if true else None

    # These fragments name no file and none is opened: they only carry what is known of their group.
    kind, disk = arrow.ParquetFileFormat(), LocalFileSystem()
    fragments = [kind.make_fragment(str(g), disk, known(g)) for g in range(groups)]
    found = arrow.FileSystemDataset(fragments, schema, kind, disk).get_fragments(filter=condition)
    return sorted(int(fragment.path) for fragment in found)


def _all(conditions: Sequence[Any]) -> Any:
    whole = conditions[0]
    for condition in conditions[1:]:
        whole = whole & condition
    return whole


@dataclass(frozen=True, kw_only=True, eq=False)
class JoinedRows:
    """Two choices of equally many rows, side by side; `names` says which side has a column, and its name there."""

    left: Selection
    right: Selection
    names: Mapping[str, tuple[bool, str]]
    schema: pa.Schema
    metadata: Metadata

    @property
    def path(self) -> Path:
        """The left side's file."""
        return self.left.table.path

    @property
    def rows(self) -> int:
        """Rows of each side."""
        return len(self.left)

    @property
    def state(self) -> State:
        """The worse of the two."""
        return _worst([self.left.table, self.right.table])

    @property
    def seal(self) -> None:
        """None: each side has its own."""

    def attachment(self, offset: int, length: int) -> bytes:
        """Of the left side."""
        return self.left.table.attachment(offset, length)

    def values(self, name: str, rows: Places, *, writable: bool = False) -> Array:
        """Rows of a column of the side that has it."""
        side, own = self._side(name)
        return side.at(rows).values(own, writable=writable)

    def array(self, name: str, rows: Places) -> pa.Array | pa.ChunkedArray:
        """Rows of a column of the side that has it."""
        side, own = self._side(name)
        return side.at(rows).array(own)

    def gather(self, name: str) -> Gather:
        """That of the side that has the column."""
        side, own = self._side(name)
        return side.gather(own)

    def _side(self, name: str) -> tuple[Selection, str]:
        left, own = self.names[name]
        return (self.left if left else self.right), own


@dataclass(frozen=True, kw_only=True, eq=False)
class Chained:
    """Several choices of rows with the same columns, one after the other."""

    parts: Sequence[Selection]
    schema: pa.Schema
    metadata: Metadata

    @property
    def path(self) -> Path:
        """The first part's file."""
        return self.parts[0].table.path

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(map(len, self.parts))

    @property
    def state(self) -> State:
        """The worst of them."""
        return _worst([part.table for part in self.parts])

    @property
    def seal(self) -> None:
        """None: each part has its own."""

    def attachment(self, offset: int, length: int) -> bytes:
        """None: the metadata of a chain names none."""
        raise FormatError("several files have no attachment in common", str(self.path))

    def values(self, name: str, rows: Places, *, writable: bool = False) -> Array:
        """Rows of a column; those of one part as that part gives them, else a copy."""
        found = self._each(rows, lambda part: part.values(name, writable=writable))
        if isinstance(rows, slice):
            return found[0] if len(found) == 1 else np.concatenate(found)
        return np.asarray(np.concatenate(found)[self._back(rows)])

    def array(self, name: str, rows: Places) -> pa.ChunkedArray:
        """Rows of a column, a chunk or more a part."""
        found = self._each(rows, lambda part: part.array(name))
        chunks = [
            c
            for array in found
            for c in (array.chunks if isinstance(array, pa.ChunkedArray) else [array])
        ]
        chained = pa.chunked_array(chunks, self.schema.field(name).type)
        return chained if isinstance(rows, slice) else chained.take(pa.array(self._back(rows)))

    def gather(self, name: str) -> Gather:
        """Those of the parts."""
        return Chain([part.gather(name) for part in self.parts], [len(part) for part in self.parts])

    def _starts(self) -> Rows:
        return np.concatenate([[0], np.cumsum([len(part) for part in self.parts])]).astype(np.int64)

    def _each(self, rows: Places, read: Callable[[Selection], Any]) -> list[Any]:
        """What is read of each part that has any of these rows; of the first where none has."""
        return [read(part) for part in self._cut(rows)] or [read(self.parts[0].at(slice(0, 0)))]

    def _cut(self, rows: Places) -> Iterator[Selection]:
        starts = self._starts()
        for part, first, end in zip(self.parts, starts.tolist(), starts[1:].tolist(), strict=False):
            if isinstance(rows, slice):
                low, high = max(rows.start, first), min(rows.stop, end)
                own: Places | None = slice(low - first, high - first) if low < high else None
            else:
                inside = rows[(rows >= first) & (rows < end)]
                own = inside - first if len(inside) else None
            if own is not None:
                yield part.at(own)

    def _back(self, rows: Rows) -> Rows:
        """From rows read part by part to the order they were asked for."""
        order = np.argsort(np.searchsorted(self._starts(), rows, side="right"), kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return back


def chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """An array in chunks, whatever it was in."""
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _worst(tables: Sequence[Table]) -> State:
    states = {table.state for table in tables}
    return "broken" if "broken" in states else "unsealed" if "unsealed" in states else "sealed"


def _apart(table: Table, name: str) -> Table:
    """A directory as its parts one after the other, where a column of it does not map as one array: each maps alone."""
    if not isinstance(table, Directory) or not table.rows:
        return table
    column = fixed(table.schema.field(name))
    if column is not None and table.stitched(column) is not None:
        return table
    parts = [Selection(part, slice(0, part.rows)) for part in table.parts if part.rows]
    return Chained(parts=parts, schema=table.schema, metadata=table.metadata)


def files(table: Table) -> Iterator[File]:
    """The files that a table is made of, each once."""
    if isinstance(table, File):
        yield table
    elif isinstance(table, Directory):
        yield from (table.manifest, *table.parts)
    else:
        inner = (
            [table.left, table.right] if isinstance(table, JoinedRows) else _chained(table).parts
        )
        yield from {id(file): file for chosen in inner for file in files(chosen.table)}.values()


def _chained(table: Table) -> Chained:
    assert isinstance(table, Chained)
    return table


def _made(table: Table) -> JoinedRows | Chained:
    assert isinstance(table, JoinedRows | Chained)
    return table


def opened(path: Path) -> File | Directory:
    """The columns of a file, or of a directory of files."""
    return Directory(path) if path.is_dir() else File(path)


def _reopened(path: str, seal: str | None, places: Places) -> Selection:
    """Rows of a file again, in another process, if it is still the same file."""
    table = opened(Path(path))
    if table.seal != seal:
        raise FormatError("the file was replaced since it was opened", path, hint="Open it again.")
    return Selection(table, places)
