"""Proof that a column lies in the file as one array a row group (SPEC section 6)."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet.compact import STRUCT, Struct, get
from dof_arrow.format.parquet.footer import (
    DATA_PAGE,
    MAGIC,
    PLAIN,
    RLE,
    UNCOMPRESSED,
    ColumnMeta,
    Page,
    decode_page,
    fits,
)
from dof_arrow.format.parquet.layout import Fixed, page_start
from dof_arrow.format.parquet.mapped_chunk import ONE_PLAIN_PAGE
from dof_arrow.storage.memory_map import Region

_MAX_HEADER = 64  # a version 1 page header without statistics takes at most this

_MOST_KINDS = 256

# The bytes of a chunk that tell how it is laid out, each with its position in the chunk.
Marks = list[tuple[int, bytes]]
# By width of a row, values and bytes: the marks of chunks that were read last, of whatever file.
_KNOWN: OrderedDict[tuple[object, ...], Marks] = OrderedDict()


class Unproved(Exception):
    """A column chunk does not keep to the mapped layout; the reason says where."""


def prove(file: int, size: int, chunks: Sequence[Struct], column: Fixed) -> list[Region]:
    """Where the values of a column lie in each row group, once it is proved that the layout holds.

    `chunks` is what the footer says of them (`Outline.column`), in the file of `size` bytes open as
    `file`. What is proved of each chunk: it is one PLAIN uncompressed page without dictionary, its
    parts add up to the byte, and it lies inside the file. Raises Unproved otherwise; the column is
    then decoded, with the same values.
    """
    _check_type(chunks, column)
    proof = _Proof(file, size, column)
    return [proof.region(number, chunk) for number, chunk in enumerate(chunks)]


def prove_by_footer(size: int, chunks: Sequence[Struct], column: Fixed) -> list[Region]:
    """As `prove`, without a look at the pages: by what a sealed file's footer says of them.

    A chunk is as long as its values, and the header and levels that SPEC 6.2 prescribes for them.
    """
    _check_type(chunks, column)
    proof = _FooterProof(-1, size, column)
    for number, chunk in enumerate(chunks):
        if get(chunk, ColumnMeta.ENCODING_STATS) != (STRUCT, [ONE_PLAIN_PAGE]):
            raise Unproved(f"row group {number}, column {column.name}: not said to be one page")
    return [proof.region(number, chunk) for number, chunk in enumerate(chunks)]


def _check_type(chunks: Sequence[Struct], column: Fixed) -> None:
    physical = column.physical
    for number, chunk in enumerate(chunks):
        if get(chunk, ColumnMeta.TYPE) != physical:
            raise Unproved(f"row group {number}, column {column.name}: values of another type")


class _Proof:
    """The proof for one column, chunk by chunk.

    Chunks of as many values and bytes are laid out in the same way. So what was read of the first
    is only compared with the others, also of other files: two short reads each, in place of a page
    header decoded.
    """

    def __init__(self, file: int, size: int, column: Fixed) -> None:
        self._file = file
        self._size = size
        self._column = column
        self._kind = (column.nested, column.items, column.stored.itemsize)

    def region(self, number: int, chunk: Struct) -> Region:
        """Where the values of a chunk lie; raises Unproved."""
        where = f"row group {number}, column {self._column.name}"
        count = get(chunk, ColumnMeta.VALUES)
        stored = get(chunk, ColumnMeta.STORED_BYTES)
        start = get(chunk, ColumnMeta.DATA_PAGE)
        values = count * self._column.stored.itemsize
        encoded = (
            get(chunk, ColumnMeta.CODEC) != UNCOMPRESSED or ColumnMeta.DICTIONARY_PAGE in chunk
        )
        if encoded or count % self._column.items:
            raise Unproved(f"{where}: compressed, with a dictionary, or no whole number of rows")
        if get(chunk, ColumnMeta.BYTES) != stored:
            raise Unproved(f"{where}: its size is another once it is decoded")
        inside = len(MAGIC) <= start and start + stored <= self._size
        if not inside or not 0 <= values <= stored:
            raise Unproved(f"{where}: the chunk does not lie in the file")
        kind = (type(self), *self._kind, count, stored)
        marks = _KNOWN.get(kind)
        if marks is None or not self._stand(marks, start):
            _KNOWN[kind] = self._marks(start, stored, count, where)
            while len(_KNOWN) > _MOST_KINDS:
                _KNOWN.popitem(last=False)
        return Region(start + stored - values, values)

    def _stand(self, marks: Marks, start: int) -> bool:
        """Whether the chunk that starts at `start` has these marks."""
        return all(os.pread(self._file, len(data), start + at) == data for at, data in marks)

    def _marks(self, start: int, stored: int, count: int, where: str) -> Marks:
        """The page header of a chunk and the lengths of its levels; they add up with its values."""
        marks = [(0, _page_header(self._file, start, stored, count, where))]
        at = len(marks[0][1])
        levels = 2 if self._column.nested else 0  # repetition and definition, length first
        for _ in range(levels):
            length = os.pread(self._file, 4, start + at)
            marks.append((at, length))
            at += 4 + int.from_bytes(length, "little")
        if at + count * self._column.stored.itemsize != stored:
            raise Unproved(f"{where}: levels and values do not add up")
        # The first two stand side by side: compared together, they take one read less.
        first = b"".join(data for _, data in marks[:2])
        return [(0, first), *marks[2:]]


class _FooterProof(_Proof):
    """The proof of a file whose pages are not at hand."""

    def _stand(self, marks: Marks, start: int) -> bool:
        return True  # chunks of as many values and bytes are laid out in the same way

    def _marks(self, start: int, stored: int, count: int, where: str) -> Marks:
        rows = count // self._column.items
        before = len(page_start(self._column, rows))
        if before + count * self._column.stored.itemsize != stored:
            raise Unproved(f"{where}: its length is not that of its values in one plain page")
        return []


def _page_header(file: int, start: int, stored: int, count: int, where: str) -> bytes:
    """The page header at `start`, found to say that the page is all of the chunk, and plain."""
    data = os.pread(file, min(_MAX_HEADER, stored), start)
    try:
        header, end = decode_page(data)
    except FormatError:
        raise Unproved(f"{where}: no page header to begin with") from None
    page: Struct = {}
    if fits(header, {Page.DATA: {}}):
        page = get(header, Page.DATA)
    sizes = (get(header, Page.BYTES), get(header, Page.STORED_BYTES))
    fills_chunk = sizes == (stored - end, stored - end)
    has_all = get(page, Page.VALUES) == count
    if not (fills_chunk and has_all and _is_plain(header, page)):
        raise Unproved(f"{where}: the page is not all of the chunk, or not plain")
    return data[:end]


def _is_plain(header: Struct, page: Struct) -> bool:
    levels = (get(page, Page.DEFINITION), get(page, Page.REPETITION))
    kinds = (get(header, Page.TYPE), get(page, Page.ENCODING))
    return kinds == (DATA_PAGE, PLAIN) and levels == (RLE, RLE)
