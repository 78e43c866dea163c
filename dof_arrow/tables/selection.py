"""Row selections of a table: of a file, of a directory of files, of a join or of a concatenation.

A selection is a slice (views, nothing is copied) or the places of its rows (gathered).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import FormatError
from dof_arrow.format.columns import Columns, Places
from dof_arrow.format.directory import MANY, Directory, is_directory
from dof_arrow.format.file import File, State
from dof_arrow.format.parquet.layout import fixed
from dof_arrow.format.remote_directory import RemoteDirectory
from dof_arrow.format.remote_file import RemoteFile
from dof_arrow.format.spec.arrow import (
    element_type,
    numpy_values,
    vector_array,
)
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.spec.names import code_type, codes_or_missing, is_names
from dof_arrow.sampling.permutation import Rows
from dof_arrow.storage.addresses import Address, Location
from dof_arrow.storage.remote import together
from dof_arrow.tables import small_pieces
from dof_arrow.tables.gather import Chain, Gather, Memory, Placed, of_columns
from dof_arrow.tables.group_statistics import matching_groups

Array = NDArray[Any]
_FEW = 16  # rows of one part that are read, and not mapped
_AHEAD = 64  # parts of which a column is decoded together where single rows are read in order
_SPARSE = 16  # of fewer rows than one in so many, each part is asked for its own

# The chain of each open directory's parts, as long as somebody has the directory.
_CHAINS: WeakKeyDictionary[Directory, Chained] = WeakKeyDictionary()


class Table(Protocol):
    """Columns of equal length with metadata: a file, a directory of files, or several combined."""

    @property
    def path(self) -> Location: ...
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


class Combined(Protocol):
    """A table made of selections of other tables."""

    @property
    def inner(self) -> Sequence[Selection]: ...

    def values(self, name: str, rows: Places, *, writable: bool = False) -> Array: ...
    def array(self, name: str, rows: Places) -> pa.Array | pa.ChunkedArray: ...
    def gather(self, name: str) -> Gather: ...


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Some rows of a table."""

    table: Table
    places: Places

    def __len__(self) -> int:
        if isinstance(self.places, slice):
            return len(range(self.places.start, self.places.stop))
        return len(self.places)

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows of the table, known to stand in its order."""
        return isinstance(self.places, slice) and self.places == slice(0, self.table.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self.table, Columns):
            return _reopened, (self.table.path, self.table.seal, self.places)
        return Selection, (self.table, self.places)

    def at(self, rows: Places) -> Selection:
        """A selection of these rows; a slice of a slice is a slice again."""
        if not isinstance(self.places, slice):
            return Selection(self.table, self.places[rows])
        first = self.places.start
        if isinstance(rows, slice):
            return Selection(self.table, slice(first + rows.start, first + rows.stop))
        return Selection(self.table, rows + first)

    def values(self, name: str, *, writable: bool = False) -> Array:
        """A column as an array, [n, D] for vectors; a category as codes, -1 where it is missing.

        Where the column is mapped and the selection is a slice, it is a view of the file's memory.
        """
        table = _split_up(self.table, name)
        if isinstance(table, Columns):
            return table.taken(name, self.places, writable=writable)
        if isinstance(table, Chained):
            only = table.in_one_part(self.places)
            if only is not None:
                return only.values(name, writable=writable)
        return _combined(table).values(name, self.places, writable=writable)

    def array(self, name: str) -> pa.Array | pa.ChunkedArray:
        """A column as Arrow has it; a slice of a mapped column lies over the file's memory."""
        table = _split_up(self.table, name)
        if isinstance(table, Columns):
            return table.array(name, self.places)
        if isinstance(table, Chained):
            only = table.in_one_part(self.places)
            if only is not None:
                few = only.few(name)
                if few is None and len(only) <= _FEW:
                    table.read_ahead(name, only.table)
                return only.array(name) if few is None else few
        return _combined(table).array(name, self.places)

    def few(self, name: str) -> pa.Array | None:
        """A few rows of a flat column of one file, read and not mapped; else None."""
        if not isinstance(self.table, File) or not 0 < len(self) <= _FEW:
            return None
        pieces = _pieces([self])
        return small_pieces.joined(pieces, self.table.schema.field(name), self.table.meaning)

    def gather(self, name: str) -> Gather:
        """Where a loader gets rows of a feature column from."""
        if isinstance(self.table, Columns):
            whole = of_columns(self.table, name)
        else:
            whole = _combined(self.table).gather(name)
        if not isinstance(self.places, slice):
            return Placed(whole, self.places, len(self))
        if len(self) == self.table.rows:
            return whole
        if isinstance(whole, Memory):
            return whole.part(self.places)
        return Placed(whole, self.places.start, len(self))

    def may_match(self, condition: Any, columns: Sequence[str]) -> list[slice]:
        """Runs of rows in which a condition on some columns may be true, by what row groups say."""
        if not isinstance(self.table, Columns) or not isinstance(self.places, slice):
            return [slice(0, len(self))]
        first = self.places.start
        runs = []
        for found in matching_groups(self.table, condition, columns):
            start = max(found.start, first)
            stop = min(found.stop, self.places.stop)
            if start < stop:
                runs.append(slice(start - first, stop - first))
        return runs


@dataclass(frozen=True, kw_only=True, eq=False)
class JoinedRows:
    """Two selections of equal length, side by side.

    `names` says for each column whether it is of the left side, and its name there.
    """

    left: Selection
    right: Selection
    names: Mapping[str, tuple[bool, str]]
    schema: pa.Schema
    metadata: Metadata

    @property
    def inner(self) -> Sequence[Selection]:
        """Both sides."""
        return [self.left, self.right]

    @property
    def path(self) -> Location:
        """The file of the left side."""
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
        """Bytes attached to the left side."""
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
class _InARow:
    """Several selections, one after the other."""

    parts: Sequence[Selection]
    schema: pa.Schema
    metadata: Metadata

    @property
    def inner(self) -> Sequence[Selection]:
        """The parts."""
        return self.parts

    @property
    def path(self) -> Location:
        """The file of the first part."""
        return self.parts[0].table.path

    @cached_property
    def starts(self) -> Rows:
        """The first row of each part, and the end, int64 [parts + 1]."""
        starts = np.zeros(len(self.parts) + 1, np.int64)
        sizes = [len(part) for part in self.parts]
        np.cumsum(sizes, out=starts[1:])
        return starts

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return int(self.starts[-1])

    @property
    def state(self) -> State:
        """The worst of them."""
        return _worst([part.table for part in self.parts])

    @property
    def seal(self) -> None:
        """None: each part has its own."""

    def attachment(self, offset: int, length: int) -> bytes:
        """Raise FormatError: the metadata of several files names no attachment."""
        raise FormatError("several files have no attachment in common", str(self.path))


class Chained(_InARow):
    """Several selections with the same columns, one after the other."""

    def values(self, name: str, rows: Places, *, writable: bool = False) -> Array:
        """Rows of a column: as their part gives them if they lie in one, else a copy."""
        found = self._each(rows, lambda part: part.values(name, writable=writable))
        if isinstance(rows, slice):
            return found[0] if len(found) == 1 else np.concatenate(found)
        return np.asarray(np.concatenate(found)[self._back(rows)])

    def array(self, name: str, rows: Places) -> pa.ChunkedArray:
        """Rows of a column, one or more chunks for each part; small ones are joined."""
        joined = self._joined(name, rows)
        if joined is not None:
            return pa.chunked_array([joined])
        found = self._each(rows, lambda part: part.array(name))
        chunks: list[pa.Array] = []
        for array in found:
            chunks += array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        kind = self.schema.field(name).type
        chained = pa.chunked_array(chunks, kind)
        if is_names(kind):
            chained = chained.unify_dictionaries()  # parts may have splits of their own
        return chained if isinstance(rows, slice) else chained.take(pa.array(self._back(rows)))

    def in_one_part(self, rows: Places) -> Selection | None:
        """These rows as rows of the one part that has them all; None where several have some."""
        if not isinstance(rows, slice) or rows.start >= rows.stop:
            return None
        number = bisect_right(self._starts, rows.start) - 1
        first = self._starts[number]
        if rows.stop > self._starts[number + 1]:
            return None
        return self.parts[number].at(slice(rows.start - first, rows.stop - first))

    def read_ahead(self, name: str, part: Table) -> None:
        """Decode a column of this part and the next ones where the one before is decoded.

        Whoever reads row after row will ask for them.
        """
        number = self._numbers.get(id(part), 0)
        around = [each.table for each in self.parts[max(number - 1, 0) : number + _AHEAD]]
        files = [file for file in around if isinstance(file, File)]
        if len(files) < len(around) or any(isinstance(file, RemoteFile) for file in files):
            return
        if number and files[0].is_decoded(name) and not files[1].is_decoded(name):
            small_pieces.decode_together(files[1:], self.schema.field(name))

    @cached_property
    def _numbers(self) -> dict[int, int]:
        """The number of each part, by its identity."""
        return {id(part.table): number for number, part in enumerate(self.parts)}

    @cached_property
    def _starts(self) -> list[int]:
        """`starts` as Python has numbers, for single rows."""
        found: list[int] = self.starts.tolist()
        return found

    def _joined(self, name: str, rows: Places) -> pa.Array | None:
        """Rows of a column as one array; None where they are to be taken part by part."""
        field = self.schema.field(name)
        if isinstance(rows, slice):
            pieces = _pieces(self._cut_slice(rows))
            return _together(pieces, field, self.metadata) if len(pieces) > 1 else None
        numbers, part = np.unique(self._part_of(rows), return_inverse=True)
        pieces = _pieces(self.parts[number] for number in numbers.tolist())
        ends = np.cumsum([len(self.parts[number]) for number in numbers.tolist()])
        if len(pieces) < 2 or ends[-1] > _SPARSE * len(rows):
            return None
        whole = _together(pieces, field, self.metadata)
        if whole is None:
            return None
        firsts = np.concatenate([[0], ends[:-1]])
        return whole.take(pa.array(rows - self.starts[numbers][part] + firsts[part]))

    def gather(self, name: str) -> Gather:
        """The gathers of the parts, one after the other."""
        return Chain([part.gather(name) for part in self.parts], [len(part) for part in self.parts])

    def _each(self, rows: Places, read: Callable[[Selection], Any]) -> list[Any]:
        """What is read of each part that has any of these rows; of no rows where none has."""
        parts = list(self._cut(rows))
        if any(isinstance(part.table, RemoteFile) for part in parts):
            found = list(together(read, parts))
        else:
            found = [read(part) for part in parts]
        return found or [read(self.parts[0].at(slice(0, 0)))]

    def _cut(self, rows: Places) -> Iterator[Selection]:
        """These rows, part by part, without parts that have none of them."""
        if isinstance(rows, slice):
            yield from self._cut_slice(rows)
            return
        part = self._part_of(rows)
        order = np.argsort(part, kind="stable")
        numbers, firsts = np.unique(part[order], return_index=True)
        pieces = np.split(rows[order], firsts[1:])
        for number, piece in zip(numbers.tolist(), pieces, strict=False):
            yield self.parts[number].at(piece - self.starts[number])

    def _cut_slice(self, rows: slice) -> Iterator[Selection]:
        # Only parts that may have some are looked at: there may be thousands.
        bounds = np.array([rows.start, rows.stop])
        low, high = np.searchsorted(self.starts, bounds, side="right").tolist()
        for number in range(max(low - 1, 0), min(high, len(self.parts))):
            first, end = self.starts[number : number + 2].tolist()
            start = max(rows.start, first)
            stop = min(rows.stop, end)
            if start < stop:
                yield self.parts[number].at(slice(start - first, stop - first))

    def _part_of(self, rows: Rows) -> Rows:
        """The part in which each row lies."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def _back(self, rows: Rows) -> Rows:
        """Where to find each row among those that were read part by part."""
        order = np.argsort(self._part_of(rows), kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return back


def _together(
    pieces: Sequence[small_pieces.Piece], field: pa.Field, about: Metadata
) -> pa.Array | None:
    """Rows of a column in one array; None where each file has its own, perhaps decoded by now."""
    found = small_pieces.joined(pieces, field, about)
    if found is None:
        small_pieces.decode_together([file for file, _ in pieces], field)
    return found


def _pieces(parts: Iterable[Selection]) -> list[small_pieces.Piece]:
    """Rows of files on this machine; none where some lie elsewhere, or do not stand together."""
    found = []
    for part in parts:
        file = part.table
        if not isinstance(file, File) or isinstance(file, RemoteFile):
            return []
        if not isinstance(part.places, slice):
            return []
        found.append((file, part.places))
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class United(_InARow):
    """Several selections with different columns, one after the other, in one form.

    `flat` holds the columns but vectors, in memory; vectors are read where they lie.
    """

    flat: Mapping[str, pa.ChunkedArray]

    @property
    def chained(self) -> Chained:
        """The parts, of which only vectors are asked for."""
        return Chained(parts=self.parts, schema=self.schema, metadata=self.metadata)

    def values(self, name: str, rows: Places, *, writable: bool = False) -> Array:
        """Rows of a column; a category that is stored as names is given as codes."""
        if name in self.flat:
            return _numbers(self.array(name, rows), self.schema.field(name), self.metadata)
        values = self.chained.values(name, rows, writable=writable)
        return values.astype(element_type(self.schema.field(name)), copy=False)

    def array(self, name: str, rows: Places) -> pa.Array | pa.ChunkedArray:
        """Rows of a column."""
        if name in self.flat:
            column = self.flat[name]
            if isinstance(rows, slice):
                return column.slice(rows.start, rows.stop - rows.start)
            return column.take(pa.array(rows))
        values = np.ascontiguousarray(self.values(name, rows))
        return vector_array(values, self.schema.field(name))

    def gather(self, name: str) -> Gather:
        """The gathers of the parts, one after the other."""
        return self.chained.gather(name)


def _numbers(column: pa.ChunkedArray, field: pa.Field, about: Metadata) -> Array:
    """A flat column as numpy has it."""
    target = about.targets.get(field.name)
    if target is None or not pa.types.is_dictionary(field.type):
        return numpy_values(column, field)
    codes = pa.chunked_array([chunk.indices for chunk in column.chunks], field.type.index_type)
    kind = code_type(len(target.classes), nullable=field.nullable)
    return codes_or_missing(codes.combine_chunks()).astype(kind, copy=False)


def chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """An array as a chunked array."""
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _worst(tables: Sequence[Table]) -> State:
    states = {table.state for table in tables}
    if "broken" in states:
        return "broken"
    return "unsealed" if "unsealed" in states else "sealed"


def _split_up(table: Table, name: str) -> Table:
    """A directory as a chain of its parts if a column of it does not map as one array.

    Each part's column can then be mapped alone. Any other table is returned as it is.
    """
    if not isinstance(table, Directory) or not table.rows:
        return table
    column = fixed(table.schema.field(name))
    if column is not None and table.stitched(column) is not None:
        return table
    return _chained(table)


def _chained(directory: Directory) -> Chained:
    """The parts of a directory that have rows; made once, for a directory may have thousands."""
    known = _CHAINS.get(directory)
    if known is None:
        filled = [part for part in directory.parts if part.rows]
        parts = [Selection(part, slice(0, part.rows)) for part in filled]
        known = Chained(parts=parts, schema=directory.schema, metadata=directory.metadata)
        _CHAINS[directory] = known
    return known


def files(table: Table) -> Iterator[File]:
    """The files that a table is made of, each once."""
    if isinstance(table, File):
        yield table
    elif isinstance(table, Directory):
        yield table.manifest
        yield from table.parts
    else:
        yield from _inner_files(_combined(table))


def _inner_files(table: Combined) -> Iterator[File]:
    seen = set()
    for selection in table.inner:
        for file in files(selection.table):
            if id(file) not in seen:
                seen.add(id(file))
                yield file


def _combined(table: Table) -> Combined:
    return cast(Combined, table)  # to look for its methods takes longer than to read a row


def opened(path: Location) -> File | Directory:
    """A file, or a directory of files, ready to be read."""
    if isinstance(path, Address):
        return RemoteDirectory(path) if is_directory(path) else RemoteFile(path)
    if not path.is_dir():
        return File(path)
    directory = Directory(path)
    if len(directory.metadata.parts) <= MANY:
        _ = directory.parts  # what is wrong with one is said at once
    return directory


def _reopened(path: Location, seal: str | None, places: Places) -> Selection:
    """Open a selection again in another process, if the file is still the same."""
    table = opened(path)
    if table.seal != seal:
        raise FormatError(
            "the file was replaced since it was opened", str(path), hint="Open it again."
        )
    return Selection(table, places)
