"""Copies selected rows of a feature column into a buffer.

The rows come from mapped memory, from several files, or from row groups decoded one by one.
Everything here is safe to call from several threads at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.format.columns import Columns
from dof_arrow.format.directory import Directory
from dof_arrow.format.file import File
from dof_arrow.format.parquet.layout import Fixed, fixed
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.remote_directory import RemoteDirectory
from dof_arrow.format.remote_file import RemoteFile
from dof_arrow.sampling.blocks import Blocks, Listed, Runs, joined
from dof_arrow.sampling.permutation import Rows
from dof_arrow.storage.memory_map import Region, most_maps, whole
from dof_arrow.storage.open_files import Recent
from dof_arrow.tables.row_groups import Decoded, Stored

Array = NDArray[Any]

IN_MEMORY = 128 << 20  # bytes: a larger encoded column is decoded as it is read, not whole
_UNIT = 128  # bytes: shorter pieces cost more to find than to copy
_MAPPED_PARTS = Recent(min(1 << 14, most_maps()))
_DECODED_PARTS = Recent(16)  # each holds row groups and has a thread


@dataclass(frozen=True, slots=True)
class Moment:
    """Seed, epoch and positions of a batch: all that its random changes may depend on."""

    seed: int
    epoch: int
    positions: Rows


class Filled(NamedTuple):
    """How much of each row was written.

    `lengths` int32 [k] counts along the first axis of a row; 0 means that the row is left out.
    `padded`: rows have different lengths, and the batch says so.
    """

    lengths: Array
    padded: bool = False


class Gather(Protocol):
    """Where a loader's inputs come from: features of a dataset, or pictures.

    `blocks` says in which block each row is where rows can only be read in whole blocks, else it is
    None; `window` is how many blocks are held at a time.
    """

    @property
    def blocks(self) -> Blocks | None: ...

    @property
    def window(self) -> int: ...

    def expect(self, blocks: Sequence[int]) -> None:
        """Learn in which order blocks will be needed, so that they can be read ahead."""

    def fill(self, rows: Rows, out: Array, moment: Moment | None = None) -> Filled | None:
        """Write these rows into `out` [k, width]; live augmentation draws its numbers by `moment`.

        Returns how much was written, or None where every row was written whole.
        """


class Memory:
    """Rows of one array [n, width], mapped or not.

    >>> out = np.empty((2, 3), np.float32)
    >>> Memory(np.eye(3, dtype=np.float32)).fill(np.array([2, 0]), out)
    >>> out.tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    blocks, window = None, 1

    def __init__(self, values: Array) -> None:
        self.dtype = values.dtype
        self._values = values

    def expect(self, blocks: Sequence[int]) -> None:
        """Nothing to do: all rows are in memory."""

    def fill(self, rows: Rows, out: Array, moment: Moment | None = None) -> None:
        """Copy these rows."""
        _take(self._values, rows, out)

    def view(self, start: int, stop: int) -> Array:
        """Rows as a view [k, width]."""
        return self._values[start:stop]

    def part(self, rows: slice) -> Memory:
        """A range of the rows, without a copy."""
        return Memory(self._values[rows])


class Paged(Memory):
    """Rows of a mapped column, read through one map of the whole file.

    The operating system can place that map so that it uses large pages (2 MiB on most systems);
    it cannot where row groups are stitched together. So the first epoch has a twentieth of the
    page faults, and every epoch fewer cache misses. Row groups need not fill whole pages either.

    The file is seen as units of equal size. A row is `each` of them: row r of row group g starts at
    unit `base[g] + each * r`. `starts` is the first row of each group, `equal` the rows of each (0
    where they differ), `first` the row of the file that is row 0 here.
    """

    def __init__(
        self, units: Array, each: int, starts: Rows, base: Rows, equal: int, first: int = 0
    ) -> None:
        self.dtype = units.dtype
        self._units = units
        self._each = each
        self._first = first
        self._starts = starts
        self._base = base
        self._within = np.arange(each)
        self._equal = equal
        # `view` looks up a single group, which is faster in lists than in arrays.
        self._start_list = starts.tolist()
        self._base_list = base.tolist()

    def fill(self, rows: Rows, out: Array, moment: Moment | None = None) -> None:
        """Copy these rows."""
        if self._first:
            rows = rows + self._first
        units = self._base.take(self._group(rows))
        if self._each == 1:
            units += rows
        else:
            units += rows * self._each
            units = (units[:, None] + self._within).reshape(-1)
        width = self._units.shape[1]
        _take(self._units, units, out.reshape(-1, width))

    def _group(self, rows: Rows) -> Rows:
        """The row group of each row of the file."""
        # A thread that reads calls NumPy as seldom as it can: after each call it may have to wait
        # for the interpreter.
        if self._equal:
            return rows // self._equal
        return _part(self._starts, rows)

    def view(self, start: int, stop: int) -> Array:
        """Rows as a read-only view [k, width], or as a copy where they lie in two row groups."""
        first = self._first + start
        after = self._first + stop
        group = bisect_right(self._start_list, first)  # the number of the next group
        if group < len(self._start_list) and after > self._start_list[group]:
            return self._copied(start, stop)
        rows = stop - start
        unit = self._base_list[group - 1] + first * self._each
        units = self._units[unit : unit + rows * self._each]
        return units.reshape(rows, -1)

    def _copied(self, start: int, stop: int) -> Array:
        width = self._each * self._units.shape[1]
        out = np.empty((stop - start, width), self.dtype)
        self.fill(np.arange(start, stop), out)
        out.flags.writeable = False
        return out

    def part(self, rows: slice) -> Memory:
        """A range of the rows, without a copy."""
        first = self._first + rows.start
        return Paged(self._units, self._each, self._starts, self._base, self._equal, first)


def paged(file: File, name: str) -> Paged | None:
    """A column, read through a map of the whole file.

    None unless the column is proved to lie in units of at least `_UNIT` bytes, or of whole rows.
    """
    column = fixed(file.schema.field(name))
    if column is None or not file.rows:
        return None
    try:
        regions = file.regions(column)
    except Unproved:
        return None
    offsets = np.array([region.offset for region in regions], np.int64)
    lengths = np.array([region.length for region in regions], np.int64)
    unit = gcd(column.width, *(offsets - offsets[0]).tolist())
    if unit < min(_UNIT, column.width):
        return None
    each = column.width // unit
    rows = lengths // column.width
    starts = np.cumsum(rows) - rows
    skew = int(offsets[0]) % unit
    base = (offsets - skew) // unit - starts * each
    units = _units(file, column, unit, skew)
    return Paged(units, each, starts, base, _equal_size(rows))


def _units(file: File, column: Fixed, unit: int, skew: int) -> Array:
    """The whole file after its first `skew` bytes, mapped as rows of `unit` bytes."""
    mapped = whole(file.file)
    count = (len(mapped) - skew) // unit
    width = unit // column.stored.itemsize
    numbers = np.frombuffer(mapped, column.stored, count * width, skew)
    return numbers.reshape(count, width)


def _equal_size(rows: Rows) -> int:
    """How many rows each row group has, the last one at most so many; 0 where they differ."""
    size = int(rows[0])
    equal = (rows[:-1] == size).all() and rows[-1] <= size
    return size if equal else 0


def _part(starts: Rows, rows: Rows) -> Rows:
    """In which part each row lies, given the first row of each part."""
    return np.searchsorted(starts, rows, side="right") - 1


def _take(values: Array, rows: Rows, out: Array) -> None:
    """Copy rows [k, width] of a C-contiguous array; the caller knows that all of them exist."""
    if values.dtype != out.dtype:
        out[...] = values[rows]
        return
    # Any mode but "raise" writes straight into `out`.
    np.take(values, rows, axis=0, out=out, mode="clip")


class Placed:
    """Some rows of another gather, by their places in it: an offset, or one place for each row."""

    def __init__(self, inner: Gather, places: int | Rows, rows: int) -> None:
        self._inner = inner
        self._places = places
        self.window = inner.window
        self.blocks = inner.blocks
        if self.blocks is not None:
            self.blocks = _chosen(self.blocks, places, rows)

    def expect(self, blocks: Sequence[int]) -> None:
        """Pass it on."""
        self._inner.expect(blocks)

    def fill(self, rows: Rows, out: Array, moment: Moment | None = None) -> None:
        """Copy these rows."""
        inner = rows + self._places if isinstance(self._places, int) else self._places[rows]
        self._inner.fill(inner, out, moment)


class Chain:
    """The rows of several gathers, one after the other; so are their blocks."""

    def __init__(self, parts: Sequence[Gather], sizes: Sequence[int]) -> None:
        self._parts = parts
        self._starts = _offsets(sizes)
        self.window = min(part.window for part in parts)
        counts = [_block_count(part) for part in parts]
        # A part that is not read in blocks counts as one block.
        self._first_blocks = _offsets(np.maximum(counts, 1))
        self.blocks = self._blocks(sizes) if any(counts) else None

    def _blocks(self, sizes: Sequence[int]) -> Blocks:
        own = []
        for part, size in zip(self._parts, sizes, strict=True):
            own.append(Runs.of_sizes([size]) if part.blocks is None else part.blocks)
        return joined(own, sizes, self._first_blocks.tolist())

    def expect(self, blocks: Sequence[int]) -> None:
        """Tell each part which of its blocks will be needed."""
        asked = np.asarray(blocks)
        part = _part(self._first_blocks, asked)
        for number in np.unique(part).tolist():
            own = asked[part == number] - self._first_blocks[number]
            self._parts[number].expect(own.tolist())

    def fill(self, rows: Rows, out: Array, moment: Moment | None = None) -> None:
        """Copy these rows."""
        part = _part(self._starts, rows)
        for number in np.unique(part).tolist():
            at = np.flatnonzero(part == number)
            own = rows[at] - self._starts[number]
            piece = np.empty((len(at), *out.shape[1:]), out.dtype)
            self._parts[number].fill(own, piece, moment)
            out[at] = piece


def _block_count(part: Gather) -> int:
    return 0 if part.blocks is None else int(part.blocks.numbers.max(initial=0)) + 1


def _chosen(blocks: Blocks, places: int | Rows, rows: int) -> Blocks:
    """The blocks of some rows: of so many from a place on, or of those at any places."""
    if not isinstance(places, int):
        return Listed(blocks.of(places))
    if isinstance(blocks, Runs):
        return blocks.part(places, places + rows)
    return Listed(blocks.numbers[places : places + rows])


def _offsets(sizes: Sequence[int] | Array) -> Array:
    """Where each of these sizes starts, and the end: one number more than sizes."""
    return np.concatenate([[0], np.cumsum(sizes)])


class OfPart:
    """A part of a directory: mapped or decoded as long as its rows are asked for.

    Of very many parts those that were used last are held.
    """

    def __init__(self, part: File, name: str) -> None:
        self._part = part
        self._name = name
        self._inner: Gather | None = None
        self._expected: Sequence[int] = ()
        inner = of_columns(part, name)
        self.blocks = inner.blocks
        self.window = inner.window
        self._recent = _MAPPED_PARTS if inner.blocks is None else _DECODED_PARTS

    def let_go(self) -> None:
        """Unmap the part, or forget what was decoded of it."""
        self._inner = None

    def expect(self, blocks: Sequence[int]) -> None:
        """Pass it on, now and to what takes the place of the gather."""
        self._expected = blocks
        if self._inner is not None:
            self._inner.expect(blocks)

    def fill(self, rows: Rows, out: Array, moment: Moment | None = None) -> None:
        """Copy these rows."""
        self._recent.use(self)
        inner = self._inner
        if inner is None:
            inner = of_columns(self._part, self._name)
            if self.blocks is not None:
                inner.expect(self._expected)
            self._inner = inner
        inner.fill(rows, out, moment)


def of_columns(table: Columns, name: str) -> Gather:
    """The gather of a feature column: mapped if possible, else decoded whole or as it is read."""
    if isinstance(table, RemoteFile | RemoteDirectory):
        return _of_store(table, name)
    if isinstance(table, File):
        mapped = paged(table, name)
        if mapped is not None:
            return mapped
    values = table.mapped(name)
    if values is not None:
        return Memory(values)
    if _is_small(table, name):
        return Memory(table.numpy(name))
    if isinstance(table, Directory):
        filled = [part for part in table.parts if part.rows]
        parts = [OfPart(part, name) for part in filled]
        return Chain(parts, [part.rows for part in filled])
    assert isinstance(table, File)
    return Decoded(table, name)


def _of_store(table: RemoteFile | RemoteDirectory, name: str) -> Gather:
    """Small columns are fetched now; of a large one each row group, or small part, when needed."""
    if _is_small(table, name):
        table.fetch_column(name)
        return _of_copies(table.remote_files(), name)
    column = fixed(table.schema.field(name))
    if isinstance(table, RemoteDirectory) and Stored.takes_whole(table.filled, name):
        return Stored([(part, None) for part in table.filled], name)
    files = table.remote_files()
    places: list[tuple[RemoteFile, Region | None]] = []
    try:
        if column is None:
            raise Unproved("not of one width")
        for file in files:
            places += [(file, region) for region in file.regions(column)]
    except Unproved:
        return _of_copies(files, name)
    return Stored(places, name)


def _of_copies(files: Sequence[RemoteFile], name: str) -> Gather:
    parts = [of_columns(file.copy_with(name), name) for file in files]
    return parts[0] if len(parts) == 1 else Chain(parts, [file.rows for file in files])


def _is_small(table: Columns, name: str) -> bool:
    kind = table.schema.field(name).type
    return bool(table.rows * kind.list_size * kind.value_type.byte_width <= IN_MEMORY)
