"""Some rows of an encoded column without the others: the pages that hold them, decoded alone.

A row of a large compact file costs a page of about 1 MiB, not the whole column.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.column_encoding import decoded_footer, parquet_bytes
from dof_arrow.format.parquet.compact import I64, LIST, STRUCT, Struct, encode, get, put
from dof_arrow.format.parquet.footer import Chunk, ColumnMeta, FileMetaData, RowGroup
from dof_arrow.format.parquet.pages import walked

Rows = NDArray[np.int64]

_KEPT = 64 << 20  # bytes of decoded pages that are kept
_SMALL = 8 << 20  # bytes: a column that is decoded as soon as some pages of it
_SHARE = 4  # more than this part of a column is decoded as a whole
_OFTEN = 4  # so many times a column is read by its pages before it is decoded as a whole
_IN_MEMORY = 128 << 20  # bytes: a larger column is never decoded for single rows
_TAKEN_OVER = (
    ColumnMeta.TYPE,
    ColumnMeta.ENCODINGS,
    ColumnMeta.PATH,
    ColumnMeta.CODEC,
)


class NotByPage(LookupError):
    """These rows are to be had with the whole column only, or better."""


class _Page(NamedTuple):
    """Where a page lies in the file, and which rows it holds."""

    start: int
    end: int
    first: int
    rows: int
    bytes: int


class PageRows:
    """Rows of a column of `field` in the open `file` of `size` bytes, by the pages they lie in.

    `memory` is the file's bytes; `chunks` are the ColumnMeta of the column's only leaf, and
    `group_rows` the rows, of each row group. A row has `width` values. Raises NotByPage for what
    this cannot read; then the whole column tells what is wrong with it, if anything is. It also
    does so once very many rows of a column of moderate size were asked for one by one.
    """

    def __init__(
        self,
        file: int,
        size: int,
        memory: memoryview,
        chunks: Sequence[Struct],
        group_rows: Sequence[int],
        field: pa.Field,
        width: int,
    ) -> None:
        self._bytes = sum(get(chunk, ColumnMeta.BYTES, 0) for chunk in chunks)
        if self._bytes <= _SMALL or any(ColumnMeta.DICTIONARY_PAGE in chunk for chunk in chunks):
            # A page that names entries of a dictionary may decode to any size.
            raise NotByPage(field.name)
        self._file = file
        self._size = size
        self._memory = memory
        self._chunks = chunks
        self._starts = np.concatenate([[0], np.cumsum(group_rows)])
        self._field = field.remove_metadata()
        self._width = width
        self._footer = decoded_footer(parquet_bytes(pa.schema([self._field]).empty_table()))
        self._walked: dict[int, list[_Page]] = {}
        self._decoded: OrderedDict[int, pa.Array] = OrderedDict()
        self._kept = 0  # bytes
        self._read = 0  # bytes, of all pages that were decoded
        self._lock = threading.Lock()

    def rows(self, wanted: slice | Rows) -> pa.Array:
        """These rows, in this order."""
        if isinstance(wanted, slice):
            if (wanted.stop - wanted.start) * _SHARE > self._starts[-1]:
                raise NotByPage(self._field.name)
            pages = self._pages(np.arange(wanted.start, wanted.stop))
            first = wanted.start - pages[0].first if pages else 0
            return self._joined(pages).slice(first, wanted.stop - wanted.start)
        pages = self._pages(np.unique(wanted))
        firsts = np.array([page.first for page in pages], np.int64)
        sizes = np.array([page.rows for page in pages], np.int64)
        before = np.cumsum(sizes) - sizes
        place = np.searchsorted(firsts, wanted, side="right") - 1
        return self._joined(pages).take(pa.array(wanted - firsts[place] + before[place]))

    def _pages(self, rows: Rows) -> list[_Page]:
        """The pages that hold these rows, which ascend."""
        found: list[_Page] = []
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        for group in np.unique(groups).tolist():
            pages = self._of_group(group)
            firsts = np.array([page.first for page in pages])
            inside = rows[groups == group]
            used = np.unique(np.searchsorted(firsts, inside, side="right") - 1)
            found += [pages[number] for number in used.tolist()]
        if sum(page.bytes for page in found) * _SHARE > self._bytes:
            raise NotByPage(self._field.name)
        return found

    def _of_group(self, group: int) -> list[_Page]:
        """The pages of a row group, each with whole rows."""
        if group not in self._walked:
            self._walked[group] = self._walk(group)
        return self._walked[group]

    def _walk(self, group: int) -> list[_Page]:
        where = f"row group {group}, column {self._field.name}"
        first, end = self._starts[group : group + 2].tolist()
        pages = []
        try:
            for page in walked(self._file, self._size, self._chunks[group], where):
                rows, more = divmod(page.values, self._width)
                if more or page.is_dictionary:
                    raise NotByPage(where)
                if rows:
                    pages.append(_Page(page.start, page.end, first, rows, page.bytes))
                first += rows
        except FormatError:
            raise NotByPage(where) from None
        if first != end:
            raise NotByPage(where)
        return pages

    def _joined(self, pages: Sequence[_Page]) -> pa.Array:
        if not pages:
            return pa.array([], self._field.type)
        arrays = [self._page(page) for page in pages]
        return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)

    def _page(self, page: _Page) -> pa.Array:
        """The rows of a page; the pages that were used last are kept."""
        with self._lock:
            found = self._decoded.get(page.start)
            if found is not None:
                self._decoded.move_to_end(page.start)
                return found
        if self._read >= _OFTEN * self._bytes and self._bytes <= _IN_MEMORY:
            raise NotByPage(self._field.name)
        found = self._decode(page)
        with self._lock:
            self._read += page.bytes
            self._kept += 0 if page.start in self._decoded else found.nbytes
            self._decoded[page.start] = found
            while self._kept > _KEPT:
                _, oldest = self._decoded.popitem(last=False)
                self._kept -= oldest.nbytes
        return found

    def _decode(self, page: _Page) -> pa.Array:
        """A page decoded by pyarrow, as the only one of a file in memory."""
        import pyarrow.parquet as pq

        data = self._memory[page.start : page.end]
        tail = self._tail(page)
        length = len(tail).to_bytes(4, "little")
        alone = b"".join([footer.MAGIC, data, tail, length, footer.MAGIC])
        try:
            table = pq.ParquetFile(pa.BufferReader(alone)).read_row_group(0, use_threads=False)
            column = table.column(0).cast(self._field.type).combine_chunks()
            found: pa.Array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            found.validate(full=True)
        except (pa.ArrowException, OSError, ValueError):
            raise NotByPage(self._field.name) from None
        values = len(found)
        if pa.types.is_fixed_size_list(found.type):
            values = len(found.flatten().drop_null()) // self._width
        if not len(found) == values == page.rows:
            raise NotByPage(self._field.name)
        return found

    def _tail(self, page: _Page) -> bytes:
        """The footer of a file in which the page is all there is."""
        group = int(np.searchsorted(self._starts, page.first, side="right")) - 1
        chunk = self._chunks[group]
        size = page.end - page.start
        meta: Struct = {field: chunk[field] for field in _TAKEN_OVER}
        meta[ColumnMeta.VALUES] = (I64, page.rows * self._width)
        meta[ColumnMeta.BYTES] = (I64, size)
        meta[ColumnMeta.STORED_BYTES] = (I64, size)
        meta[ColumnMeta.DATA_PAGE] = (I64, len(footer.MAGIC))
        only: Struct = {Chunk.OFFSET: (I64, len(footer.MAGIC)), Chunk.META: (STRUCT, meta)}
        row_group: Struct = {
            RowGroup.COLUMNS: (LIST, (STRUCT, [only])),
            RowGroup.BYTES: (I64, size),
            RowGroup.ROWS: (I64, page.rows),
        }
        made = dict(self._footer)
        put(made, FileMetaData.ROWS, page.rows)
        put(made, FileMetaData.GROUPS, (STRUCT, [row_group]))
        return encode(made)


def values_of_a_row(field: pa.Field) -> int:
    """How many values each row of a column has in Parquet, 0 where that is not known beforehand."""
    kind: Any = field.type
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    is_nested = pa.types.is_nested(kind) or isinstance(kind, pa.ExtensionType)
    return 0 if is_nested or pa.types.is_dictionary(kind) else 1
