"""What a dataset can be over: one file, two files joined row by row, several files one after the other.

Rows are chosen by a slice (views, nothing is copied) or by places; both are known only here and in `Chosen`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow import footer
from dof_arrow.errors import FormatError
from dof_arrow.footer import ColumnMeta, get
from dof_arrow.gather import Chain, Gather, Memory, Placed, of_file
from dof_arrow.layout import Fixed, fixed
from dof_arrow.metadata import Metadata
from dof_arrow.order import Rows
from dof_arrow.reading import File, State
from dof_arrow.schema import flat_array, is_vector, vector_array

Array = NDArray[Any]
Places = slice | Rows


class Table(Protocol):
    """Columns of equally many rows, with metadata."""

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

    def attachment(self, offset: int, length: int) -> bytes:
        """The bytes of an attachment: the errors table, a document."""

    def values(self, name: str, rows: Places, *, writable: bool = False) -> Array:
        """Rows of a column as an array, [n, D] for vectors."""

    def array(self, name: str, rows: Places) -> pa.Array | pa.ChunkedArray:
        """Rows of a column as Arrow has them."""

    def gather(self, name: str) -> Gather:
        """Where the rows of a feature column come from."""

    def may_match(self, condition: Any) -> list[slice]:
        """Runs of rows that the statistics do not exclude from a condition."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Some rows of a table."""

    table: Table
    places: Places

    def __len__(self) -> int:
        at = self.places
        return at.stop - at.start if isinstance(at, slice) else len(at)

    def at(self, rows: Places) -> Chosen:
        """Rows of these rows; slices of slices stay slices."""
        if isinstance(self.places, slice):
            first = self.places.start
            rows = slice(first + rows.start, first + rows.stop) if isinstance(rows, slice) else rows + first
            return Chosen(self.table, rows)
        return Chosen(self.table, self.places[rows])

    def values(self, name: str, *, writable: bool = False) -> Array:
        """A column of them as an array."""
        return self.table.values(name, self.places, writable=writable)

    def array(self, name: str) -> pa.Array | pa.ChunkedArray:
        """A column of them as Arrow has it."""
        return self.table.array(name, self.places)

    def gather(self, name: str) -> Gather:
        """Where their features come from."""
        inner = self.table.gather(name)
        if not isinstance(self.places, slice):
            return Placed(inner, self.places, len(self))
        if isinstance(inner, Memory):
            return Memory(inner.values[self.places])
        return Placed(inner, self.places.start, len(self))


class OneFile(File):
    """A file as a table."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (str(self.path), self.seal)

    def values(self, name: str, rows: Places, *, writable: bool = False) -> Array:
        """Rows of a column; a slice of a mapped one is a view of the file's memory."""
        return self.numpy(name, writable=writable)[rows]

    def array(self, name: str, rows: Places) -> pa.Array | pa.ChunkedArray:
        """Rows of a column; a slice of a mapped one lies over the file's memory."""
        if isinstance(rows, slice):
            return self.arrow(name)[rows]
        field, values = self.schema.field(name), self.mapped(name)
        if is_vector(field):
            return vector_array(np.ascontiguousarray(self.numpy(name)[rows]), field)
        return self.arrow(name).take(pa.array(rows)) if values is None else flat_array(values[rows], field.type)

    def gather(self, name: str) -> Gather:
        """Mapped, or decoded."""
        return of_file(self, name)

    def may_match(self, condition: Any) -> list[slice]:
        """Row groups whose smallest and largest values do not exclude the condition."""
        ranges = {f.name: r for f in self.schema if (r := self._ranges(f))}
        numbers = _not_excluded(condition, self.schema, ranges, self.parquet.num_row_groups)
        sizes = [self.parquet.row_group(g).num_rows for g in range(self.parquet.num_row_groups)]
        ends = np.cumsum(sizes, dtype=np.int64).tolist()
        return [slice(ends[g] - sizes[g], ends[g]) for g in numbers]

    def _ranges(self, field: pa.Field) -> list[tuple[Any, Any] | None] | None:
        """Smallest and largest value of a column in each row group, None where a group does not say."""
        column = fixed(field)
        if column is None or column.nested:
            return None
        try:
            chunks = footer.column_chunks(self.parquet, column.path)
        except FormatError:
            return None
        return [_range(get(chunk, ColumnMeta.STATISTICS, {}), column, field.type) for chunk in chunks]


def _range(statistics: footer.Struct, column: Fixed, kind: pa.DataType) -> tuple[Any, Any] | None:
    found = get(statistics, 6), get(statistics, 5)
    if any(not isinstance(value, bytes) or len(value) != column.stored.itemsize for value in found):
        return None
    values = np.frombuffer(b"".join(found), column.stored).astype(column.memory)
    low, high = flat_array(values, kind)
    return low, high


def _not_excluded(
    condition: Any, schema: pa.Schema, ranges: Mapping[str, Sequence[tuple[Any, Any] | None]], groups: int,
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
class Joined:
    """Two choices of equally many rows, side by side; `names` says which side has a column, and its name there."""

    left: Chosen
    right: Chosen
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

    def may_match(self, condition: Any) -> list[slice]:
        """All rows: sides are cut into row groups each in its way."""
        return [slice(0, self.rows)]

    def _side(self, name: str) -> tuple[Chosen, str]:
        left, own = self.names[name]
        return (self.left if left else self.right), own


@dataclass(frozen=True, kw_only=True, eq=False)
class Chained:
    """Several choices of rows with the same columns, one after the other."""

    parts: Sequence[Chosen]
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
        chunks = [c for array in found for c in (array.chunks if isinstance(array, pa.ChunkedArray) else [array])]
        chained = pa.chunked_array(chunks, self.schema.field(name).type)
        return chained if isinstance(rows, slice) else chained.take(pa.array(self._back(rows)))

    def gather(self, name: str) -> Gather:
        """Those of the parts."""
        return Chain([part.gather(name) for part in self.parts], [len(part) for part in self.parts])

    def may_match(self, condition: Any) -> list[slice]:
        """All rows."""
        return [slice(0, self.rows)]

    def _starts(self) -> Rows:
        return np.concatenate([[0], np.cumsum([len(part) for part in self.parts])]).astype(np.int64)

    def _each(self, rows: Places, read: Callable[[Chosen], Any]) -> list[Any]:
        """What is read of each part that has any of these rows; of the first where none has."""
        return [read(part) for part in self._cut(rows)] or [read(self.parts[0].at(slice(0, 0)))]

    def _cut(self, rows: Places) -> Iterator[Chosen]:
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


def _worst(tables: Sequence[Table]) -> State:
    states = {table.state for table in tables}
    return "broken" if "broken" in states else "unsealed" if "unsealed" in states else "sealed"


def _reopened(path: str, seal: str | None) -> OneFile:
    """A file again in another process, if it is still the same one."""
    file = OneFile(Path(path))
    if file.seal != seal:
        raise FormatError("the file was replaced since it was opened", path, hint="Open it again.")
    return file
