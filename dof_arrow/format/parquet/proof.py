"""Proof that a column lies in the file as one array a row group (SPEC section 6)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import repeat

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet.footer import (
    DATA_PAGE,
    PLAIN,
    RLE,
    UNCOMPRESSED,
    ColumnMeta,
    Page,
    Struct,
    decode_page,
    fits,
    get,
)
from dof_arrow.format.parquet.layout import Fixed
from dof_arrow.storage.memory_map import Region

_MAX_HEADER = 64  # a version 1 page header without statistics takes at most this


Marks = list[
    tuple[int, bytes]
]  # bytes of a chunk that tell how it is laid out, and where in it they stand


class Unproved(Exception):
    """A column chunk does not keep to the mapped layout; the reason says where."""


def prove(file: int, size: int, chunks: Sequence[Struct], column: Fixed) -> list[Region]:
    """Where the values of a column lie, group by group, once it is proved that they lie as the layout says.

    `chunks` is what the footer of the file of `size` bytes open as `file` says of them (`Outline.column`). What is
    proved: each chunk is one PLAIN uncompressed page without dictionary, its parts add up to the byte, and it lies
    inside the file. Raises Unproved otherwise; then the column is decoded, with the same values.
    """
    known: dict[
        tuple[int, int], Marks
    ] = {}  # by values and bytes of a chunk: those of equal ones are the same
    physical = column.physical
    for number, chunk in enumerate(chunks):
        if get(chunk, ColumnMeta.TYPE) != physical:
            raise Unproved(f"row group {number}, column {column.name}: values of another type")
    return [
        _prove_chunk(file, size, chunk, column, f"row group {g}, column {column.name}", known)
        for g, chunk in enumerate(chunks)
    ]


def _prove_chunk(
    file: int,
    size: int,
    chunk: Struct,
    column: Fixed,
    where: str,
    known: dict[tuple[int, int], Marks],
) -> Region:
    count, stored = get(chunk, ColumnMeta.VALUES), get(chunk, ColumnMeta.STORED_BYTES)
    start, values = get(chunk, ColumnMeta.DATA_PAGE), count * column.stored.itemsize
    if (
        get(chunk, ColumnMeta.CODEC) != UNCOMPRESSED
        or ColumnMeta.DICTIONARY_PAGE in chunk
        or count % column.items
    ):
        raise Unproved(f"{where}: compressed, with a dictionary, or no whole number of rows")
    if get(chunk, ColumnMeta.BYTES) != stored:
        raise Unproved(f"{where}: its size is another once it is decoded")
    if start < 4 or not 0 <= values <= stored or start + stored > size:
        raise Unproved(f"{where}: the chunk does not lie in the file")
    marks = known.get((count, stored))
    if marks is None or any(os.pread(file, len(data), start + at) != data for at, data in marks):
        known[count, stored] = _marks(file, start, stored, count, column, where)
    return Region(start + stored - values, values)


def _marks(file: int, start: int, stored: int, count: int, column: Fixed, where: str) -> Marks:
    """What says how a chunk is laid out: its page header, and the lengths of its levels."""
    head = _page_header(file, start, stored, count, where)
    marks, at = [(0, head)], len(head)
    for _ in repeat(None, 2 if column.nested else 0):
        length = os.pread(file, 4, start + at)
        marks.append((at, length))
        at += 4 + int.from_bytes(length, "little")
    if at + count * column.stored.itemsize != stored:
        raise Unproved(f"{where}: levels and values do not add up")
    return [
        (0, b"".join(data for _, data in marks[:2])),
        *marks[2:],
    ]  # the first two stand together: one read less


def _page_header(file: int, start: int, stored: int, count: int, where: str) -> bytes:
    data = os.pread(file, min(_MAX_HEADER, stored), start)
    try:
        header, end = decode_page(data)
    except FormatError:
        raise Unproved(f"{where}: no page header to begin with") from None
    page = get(header, Page.DATA, {}) if fits(header, {Page.DATA: {}}) else {}
    plain = get(header, Page.TYPE) == DATA_PAGE and get(page, Page.ENCODING) == PLAIN
    plain &= get(page, Page.DEFINITION) == get(page, Page.REPETITION) == RLE
    sizes = get(header, Page.BYTES) == get(header, Page.STORED_BYTES) == stored - end
    if not (plain and sizes and get(page, Page.VALUES) == count):
        raise Unproved(f"{where}: the page is not all of the chunk, or not plain")
    return data[:end]
