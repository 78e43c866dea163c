"""Proof that a column of names has its codes in the file as one array a row group (SPEC 6.7)."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet.compact import Struct, get
from dof_arrow.format.parquet.footer import (
    DATA_PAGE,
    DICTIONARY_PAGE,
    MAGIC,
    PLAIN,
    RLE,
    RLE_DICTIONARY,
    UNCOMPRESSED,
    ColumnMeta,
    Page,
    chunk_range,
)
from dof_arrow.format.parquet.names_chunk import BYTE_ARRAY
from dof_arrow.format.parquet.pages import MAX_PAGE, page_header
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.spec.names import MAX_CODED, code_type
from dof_arrow.storage.memory_map import Region

_EIGHT = 8
_MAX_VARINT = 5  # bytes of the number that says how many eights there are
_MOST_KINDS = 64
Memory = bytes | memoryview
_WIDTHS: dict[int, np.dtype[np.integer]] = {8: np.dtype("<u1"), 16: np.dtype("<u2")}


@dataclass(frozen=True, slots=True)
class NamesRegion:
    """One row group of a column of names: its names, and where the codes of its rows lie.

    `filled` counts the codes that are stored: those of the rows, and up to seven more.
    """

    names: tuple[str, ...]
    region: Region
    dtype: np.dtype[np.integer]
    filled: int

    def codes(self, memory: Memory, *, filled: bool = False) -> NDArray[np.integer]:
        """The codes in the file's `memory`, over it; with `filled` all that are stored."""
        count = self.filled if filled else self.region.length // self.dtype.itemsize
        return np.frombuffer(memory, self.dtype, count, self.region.offset)


def prove_names(
    file: int, end: int, chunks: Sequence[Struct], rows: Sequence[int], where: str
) -> list[NamesRegion]:
    """Where the codes of a column lie in each row group, once it is proved that the layout holds.

    `chunks` is what the footer says of them, `rows` counts the rows of each group, in the file open
    as `file` whose footer begins at byte `end`. Proved is all but that each code has a name, which
    only the codes tell. Raises Unproved otherwise.
    """
    proof = _Proof(file, end)
    found = []
    for number, (chunk, count) in enumerate(zip(chunks, rows, strict=True)):
        found.append(proof.region(chunk, count, f"row group {number}, column {where}"))
    return found


# By rows, bytes and size of the dictionary: the bytes before the codes, and what they say, of the
# chunks that were read last, of whatever file.
_KNOWN: OrderedDict[tuple[int, int, int], tuple[bytes, NamesRegion]] = OrderedDict()


class _Proof:
    """The proof for one column; what was read of a chunk is only compared with the others."""

    def __init__(self, file: int, end: int) -> None:
        self._file = file
        self._end = end

    def _bytes(self, start: int, stop: int) -> bytes:
        return os.pread(self._file, stop - start, start)

    def region(self, chunk: Struct, rows: int, where: str) -> NamesRegion:
        """The region of a chunk; raises Unproved."""
        start, stop = chunk_range(chunk)
        data = get(chunk, ColumnMeta.DATA_PAGE)
        _check_footer(chunk, rows, where)
        inside = len(MAGIC) <= start < data < stop <= self._end
        if not inside or get(chunk, ColumnMeta.DICTIONARY_PAGE) != start:
            raise Unproved(f"{where}: no dictionary in front, or not in the file")
        kind = (rows, stop - start, data - start)
        before, known = _KNOWN.get(kind, (b"", None))
        if known and self._bytes(start, start + len(before)) == before:
            first = start + len(before)
            return NamesRegion(
                known.names, Region(first, known.region.length), known.dtype, known.filled
            )
        found = self._walked(start, data, stop, rows, where)
        _KNOWN[kind] = (self._bytes(start, found.region.offset), found)
        while len(_KNOWN) > _MOST_KINDS:
            _KNOWN.popitem(last=False)
        return found

    def _walked(self, start: int, data: int, stop: int, rows: int, where: str) -> NamesRegion:
        try:
            names = self._names(start, data, where)
            first = self._codes_page(data, stop, rows, where)
        except FormatError:
            raise Unproved(f"{where}: no page header where there should be one") from None
        width, *ahead = self._bytes(first, min(first + 1 + _MAX_VARINT, stop))
        dtype = _WIDTHS.get(width)
        if dtype is None or dtype != code_type(len(names)):
            raise Unproved(f"{where}: codes of {width} bits for {len(names)} names")
        run, at = _varint(bytes(ahead), where)
        at += first + 1
        filled = (run >> 1) * _EIGHT
        wanted = -(-rows // _EIGHT) * _EIGHT
        if not run & 1 or filled != wanted or at + filled * dtype.itemsize != stop:
            raise Unproved(f"{where}: the codes are not one run of packed bits")
        return NamesRegion(names, Region(at, rows * dtype.itemsize), dtype, filled)

    def _names(self, start: int, stop: int, where: str) -> tuple[str, ...]:
        """The names in the dictionary page that fills [start, stop)."""
        header, length = page_header(self._file, start, stop, where)
        about = get(header, Page.DICTIONARY, {})
        kinds = (get(header, Page.TYPE), get(about, Page.ENCODING))
        count = get(about, Page.VALUES, 0)
        if kinds != (DICTIONARY_PAGE, PLAIN) or not 0 <= count <= MAX_CODED:
            raise Unproved(f"{where}: no plain dictionary of at most {MAX_CODED} names")
        _check_filled(header, stop - start - length, where)
        names = tuple(_texts(self._bytes(start + length, stop), count, where))
        if len(set(names)) != count:
            raise Unproved(f"{where}: a name stands twice in the dictionary")
        return names

    def _codes_page(self, start: int, stop: int, rows: int, where: str) -> int:
        """Where the data page that fills [start, stop) has its codes."""
        header, length = page_header(self._file, start, stop, where)
        about = get(header, Page.DATA, {})
        kinds = (get(header, Page.TYPE), get(about, Page.ENCODING))
        levels = (get(about, Page.DEFINITION), get(about, Page.REPETITION))
        if kinds != (DATA_PAGE, RLE_DICTIONARY) or levels != (RLE, RLE):
            raise Unproved(f"{where}: no page of codes")
        if get(about, Page.VALUES) != rows or start + length == stop:
            raise Unproved(f"{where}: the page has not one code a row")
        _check_filled(header, stop - start - length, where)
        return start + length


def _check_footer(chunk: Struct, rows: int, where: str) -> None:
    stored = get(chunk, ColumnMeta.STORED_BYTES)
    told = (get(chunk, ColumnMeta.TYPE), get(chunk, ColumnMeta.CODEC))
    if told != (BYTE_ARRAY, UNCOMPRESSED) or get(chunk, ColumnMeta.BYTES) != stored:
        raise Unproved(f"{where}: compressed, or no texts")
    if rows < 1 or get(chunk, ColumnMeta.VALUES) != rows:
        raise Unproved(f"{where}: not one value a row")


def _check_filled(header: Struct, size: int, where: str) -> None:
    """Raise Unproved unless a page is plain bytes, `size` of them."""
    sizes = (get(header, Page.BYTES), get(header, Page.STORED_BYTES))
    if sizes != (size, size) or size > MAX_PAGE:
        raise Unproved(f"{where}: a page does not end where it should")


def _texts(data: bytes, count: int, where: str) -> Iterator[str]:
    """So many texts, each with its length before it, that fill `data`."""
    at = 0
    try:
        for _ in range(count):
            size = int.from_bytes(data[at : at + 4], "little")
            at += 4 + size
            if at > len(data):
                break
            yield data[at - size : at].decode()
    except UnicodeDecodeError:
        raise Unproved(f"{where}: a name that is not UTF-8") from None
    if at != len(data):
        raise Unproved(f"{where}: the dictionary does not fill its page")


def _varint(data: bytes, where: str) -> tuple[int, int]:
    """The number at the start of bytes, and how many it takes."""
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, place + 1
    raise Unproved(f"{where}: the codes are not one run of packed bits")
