"""The mapped layout: group sizes, pages, the proof that a file keeps to it, and the map as one array (SPEC section 6).

Every required fixed-width column is one PLAIN uncompressed page per row group, whose values are the last bytes of its
column chunk and start at a multiple of the alignment. We encode such chunks ourselves: page header and levels depend
on the row count alone, the values are the array's own bytes. What is proved to lie so is mapped, group by group, at
consecutive addresses.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError
from dof_arrow.footer import (
    BINARY,
    DATA_PAGE,
    I32,
    I64,
    LIST,
    PLAIN,
    RLE,
    STRUCT,
    TRUE,
    UNCOMPRESSED,
    ColumnMeta,
    Page,
    Struct,
    decode_page,
    encode,
    fits,
    get,
    structs,
    varint,
)

ALIGNMENTS = (65_536, 16_384, 4_096)  # the page sizes of the systems in use, the coarsest first
SMALL_ALIGNMENT = 64  # a cache line; JAX and Arrow want no more
GROUP_BYTES = 64 << 20
MAX_GROUP_BYTES = 1 << 30
MAX_GROUP_ROWS = 1 << 20
MAX_GROUPS = 1024
_MAX_PAGE_BYTES = (1 << 31) - 1
_MAX_HEADER = 64  # a version 1 page header without statistics takes at most this
_PACKED_ITEMS = 32  # up to here one bit a value is shorter than one run a row

_PHYSICAL = {"i4": 1, "i8": 2, "f4": 4, "f8": 5, "f2": 7}  # numpy kind and size -> parquet.thrift Type
_STORED = {"i1": "i4", "i2": "i4", "u1": "i4", "u2": "i4", "u4": "i4", "u8": "i8"}  # Parquet has no narrower integers
Marks = list[tuple[int, bytes]]  # bytes of a chunk that tell how it is laid out, and where in it they stand
_MAP_FIXED = 0x10  # the same on Linux, macOS and the BSDs; Python's mmap module does not name it
_FAILED = ctypes.c_void_p(-1).value
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0)
_PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | _NO_RESERVE
_RESERVED = _PRIVATE | getattr(mmap, "MAP_ANONYMOUS", 0)
_READ_WRITE = getattr(mmap, "PROT_READ", 0) | getattr(mmap, "PROT_WRITE", 0)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A required fixed-width column: what one row of it is in memory and in a page."""

    name: str
    items: int
    nested: bool
    memory: np.dtype[Any]
    stored: np.dtype[Any]

    @property
    def width(self) -> int:
        """Stored bytes of one row."""
        return self.items * self.stored.itemsize

    @property
    def physical(self) -> int:
        """The physical type, by its number in parquet.thrift."""
        return _PHYSICAL[f"{self.stored.kind}{self.stored.itemsize}"]

    @property
    def path(self) -> list[str]:
        """The column's path in the Parquet schema."""
        return [self.name, "list", "element"] if self.nested else [self.name]


@dataclass(frozen=True, slots=True)
class Region:
    """Where the values of one column in one row group lie: offset and length in bytes."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a file is cut into row groups: rows in each but the last, and the alignment of values in bytes."""

    rows: int
    alignment: int


class Unproved(Exception):
    """A column chunk does not keep to the mapped layout; the reason says where."""


def fixed(field: pa.Field) -> Fixed | None:
    """What is mapped of a column, or None if it must be decoded: nullable, of varying width, or boolean.

    >>> fixed(pa.field("view", pa.int16(), nullable=False)).stored
    dtype('int32')
    """
    kind, items, nested = field.type, 1, pa.types.is_fixed_size_list(field.type)
    if nested:
        items, inner = kind.list_size, kind.value_field
        if inner.nullable or not pa.types.is_floating(inner.type) or items < 1:
            return None
        kind = inner.type
    memory = None if field.nullable else _numpy_type(kind)
    if memory is None:
        return None
    code = f"{memory.kind}{memory.itemsize}"
    return Fixed(field.name, items, nested, memory, np.dtype("<" + _STORED.get(code, code)))


def _numpy_type(kind: pa.DataType) -> np.dtype[Any] | None:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        letter = "f" if pa.types.is_floating(kind) else "i" if pa.types.is_signed_integer(kind) else "u"
        return np.dtype(f"<{letter}{kind.byte_width}")
    # Parquet knows no seconds: pyarrow stores them as milliseconds, so their bytes are not Arrow's.
    if pa.types.is_date32(kind) or (pa.types.is_time32(kind) and kind.unit != "s"):
        return np.dtype("<i4")
    if pa.types.is_time64(kind) or (pa.types.is_timestamp(kind) and kind.unit != "s"):
        return np.dtype("<i8")
    return None


def geometry(widths: Iterable[int]) -> Geometry:
    """Rows per group and alignment for columns of these widths in bytes, when there is more than one group.

    Groups aim at 64 MiB of the widest column; every group but the last holds a multiple of the alignment of each.

    >>> geometry([2048, 8])
    Geometry(rows=32768, alignment=65536)
    """
    widths = list(widths)
    for alignment in ALIGNMENTS:
        unit = max((alignment // _power_of_two(w, alignment) for w in widths), default=1)
        if unit * sum(widths) < MAX_GROUP_BYTES:
            return Geometry(_group_rows(widths, unit), alignment)
    return Geometry(_group_rows(widths, 1), SMALL_ALIGNMENT)


def most_rows(schema: pa.Schema) -> int:
    """How many rows of these columns one file can hold in the mapped layout."""
    return MAX_GROUPS * geometry([c.width for c in map(fixed, schema) if c]).rows


def _power_of_two(width: int, limit: int) -> int:
    return min(width & -width, limit)


def _group_rows(widths: Sequence[int], unit: int) -> int:
    wanted = min(GROUP_BYTES // max(widths, default=1), MAX_GROUP_ROWS)
    return max(wanted // unit, 1) * unit


def levels(rows: int, items: int) -> bytes:
    """Repetition and definition levels of `rows` full lists of `items` values, each with its length before it.

    A list starts with repetition level 0 and goes on with 1; every value is present. Both are encoded in Parquet's
    run-length and bit-packing hybrid with one bit a value.

    >>> levels(3, 1).hex(" ", 2)
    '0200 0000 0600 0200 0000 0601'
    """
    repetition, definition = _repetition(rows, items), varint(rows * items << 1) + b"\x01"
    return b"".join(len(part).to_bytes(4, "little") + part for part in (repetition, definition))


def _repetition(rows: int, items: int) -> bytes:
    if items == 1:
        return varint(rows << 1) + b"\x00"
    if items <= _PACKED_ITEMS:
        # Eight rows fill whole bytes whatever `items` is, so the pattern of eight rows repeats.
        eight = np.packbits(np.tile(np.arange(items) > 0, 8), bitorder="little").tobytes()
        packed = (eight * -(-rows // 8))[: -(-rows * items // 8)]
        return varint(len(packed) << 1 | 1) + _clear_after(packed, rows * items)
    # Eight packed bits 0,1,1,1,1,1,1,1 and a run of ones, once a row.
    return (b"\x03\xfe" + varint(items - 8 << 1) + b"\x01") * rows


def _clear_after(packed: bytes, bits: int) -> bytes:
    spare = -bits % 8
    return packed[:-1] + bytes([packed[-1] & 0xFF >> spare]) if spare else packed


def page_start(column: Fixed, rows: int) -> bytes:
    """All bytes of a column chunk before its values: the page header and, for vectors, the levels."""
    before = levels(rows, column.items) if column.nested else b""
    size = len(before) + rows * column.width
    if size > _MAX_PAGE_BYTES:
        raise ValueError(f"a page of {size} bytes")
    data = {
        Page.VALUES: (I32, rows * column.items),
        Page.ENCODING: (I32, PLAIN),
        Page.DEFINITION: (I32, RLE),
        Page.REPETITION: (I32, RLE),
    }
    header: Struct = {
        Page.TYPE: (I32, DATA_PAGE),
        Page.BYTES: (I32, size),
        Page.STORED_BYTES: (I32, size),
        Page.DATA: (STRUCT, data),
    }
    return encode(header) + before


def chunk_meta(column: Fixed, rows: int, offset: int, size: int, statistics: Struct | None) -> Struct:
    """The footer's description of a mapped column chunk of `size` bytes at `offset`."""
    encodings = [PLAIN, RLE] if column.nested else [PLAIN]
    meta: Struct = {
        ColumnMeta.TYPE: (I32, column.physical),
        ColumnMeta.ENCODINGS: (LIST, (I32, encodings)),
        ColumnMeta.PATH: (LIST, (BINARY, [part.encode() for part in column.path])),
        ColumnMeta.CODEC: (I32, UNCOMPRESSED),
        ColumnMeta.VALUES: (I64, rows * column.items),
        ColumnMeta.BYTES: (I64, size),
        ColumnMeta.STORED_BYTES: (I64, size),
        ColumnMeta.DATA_PAGE: (I64, offset),
        ColumnMeta.ENCODING_STATS: structs([{1: (I32, DATA_PAGE), 2: (I32, PLAIN), 3: (I32, 1)}]),
    }
    if statistics:
        meta[ColumnMeta.STATISTICS] = (STRUCT, statistics)
    return meta


def statistics(column: Fixed, pieces: Sequence[np.ndarray]) -> Struct | None:
    """Smallest and largest value of a flat column, so that readers can skip groups; None where order is unclear."""
    # Unsigned numbers are stored in the bits of signed ones of their size; their order is their own.
    same = column.memory.itemsize == column.stored.itemsize
    values = [p.view(column.memory) if same else p for p in pieces if len(p)]
    if column.nested or not values or column.memory == np.float16:
        return None
    low, high = min(p.min() for p in values), max(p.max() for p in values)
    if low != low or high != high:
        return None  # NaN has no place in an order
    if column.memory.kind == "f":
        low, high = (-0.0 if low == 0 else low), (0.0 if high == 0 else high)
    return {
        3: (I64, 0),
        5: (BINARY, _plain(high, column)),
        6: (BINARY, _plain(low, column)),
        7: (TRUE, True),
        8: (TRUE, True),
    }


def _plain(value: Any, column: Fixed) -> bytes:
    return np.asarray(value, column.memory).astype(column.stored).tobytes()


def prove(file: int, size: int, chunks: Sequence[Struct], column: Fixed) -> list[Region]:
    """Where the values of a column lie, group by group, once it is proved that they lie as the layout says.

    `chunks` is what the footer of the file of `size` bytes open as `file` says of them (`Outline.column`). What is
    proved: each chunk is one PLAIN uncompressed page without dictionary, its parts add up to the byte, and it lies
    inside the file. Raises Unproved otherwise; then the column is decoded, with the same values.
    """
    known: dict[tuple[int, int], Marks] = {}  # by values and bytes of a chunk: those of equal ones are the same
    physical = column.physical
    for number, chunk in enumerate(chunks):
        if get(chunk, ColumnMeta.TYPE) != physical:
            raise Unproved(f"row group {number}, column {column.name}: values of another type")
    return [_prove_chunk(file, size, chunk, column, f"row group {g}, column {column.name}", known)
            for g, chunk in enumerate(chunks)]


def _prove_chunk(
    file: int, size: int, chunk: Struct, column: Fixed, where: str, known: dict[tuple[int, int], Marks]
) -> Region:
    count, stored = get(chunk, ColumnMeta.VALUES), get(chunk, ColumnMeta.STORED_BYTES)
    start, values = get(chunk, ColumnMeta.DATA_PAGE), count * column.stored.itemsize
    if get(chunk, ColumnMeta.CODEC) != UNCOMPRESSED or ColumnMeta.DICTIONARY_PAGE in chunk or count % column.items:
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
    return [(0, b"".join(data for _, data in marks[:2])), *marks[2:]]  # the first two stand together: one read less


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


class Stitched:
    """Regions of open files as one run of memory, private and copy-on-write: no write ever reaches a file.

    A framework that writes into the memory (torch in place) gets its own copy of the page it writes to; on a
    read-only map the same write would kill the process. The memory lives as long as any array over it.
    """

    def __init__(self, regions: Sequence[tuple[int, Region]]) -> None:
        self.nbytes = sum(r.length for _, r in regions)
        skew = regions[0][1].offset % mmap.PAGESIZE
        self._base = _reserve(_pages(skew + self.nbytes))
        unmap = weakref.finalize(self, _libc().munmap, self._base, _pages(skew + self.nbytes))
        unmap.atexit = False  # arrays may outlive the interpreter's exit handlers
        at = self._base
        for file, region in regions:
            start = region.offset - region.offset % mmap.PAGESIZE
            _map(at, region.offset + region.length - start, file, start)
            at += region.length
        self.address = self._base + skew

    def array(self, dtype: np.dtype[Any], shape: tuple[int, ...], *, writable: bool = False) -> np.ndarray:
        """The memory as one C-contiguous array; writes through a writable one stay in this process."""
        memory = (ctypes.c_ubyte * self.nbytes).from_address(self.address)
        memory.owner = self  # type: ignore[attr-defined]  # keeps the mapping alive with the array
        array: np.ndarray = np.frombuffer(memoryview(memory), np.uint8).view(dtype).reshape(shape)
        array.flags.writeable = writable
        return array


def stitchable(regions: Sequence[Region]) -> bool:
    """Whether this system can map the regions one behind the other: pages only map at page boundaries."""
    if os.name != "posix" or not regions or any(r.length == 0 for r in regions):
        return False
    inner = all(r.length % mmap.PAGESIZE == 0 for r in regions[:-1])
    return len(regions) == 1 or (inner and all(r.offset % mmap.PAGESIZE == 0 for r in regions))


def _pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


def _reserve(size: int) -> int:
    return _checked(_libc().mmap(None, size, 0, _RESERVED, -1, 0))


def _map(address: int, size: int, file: int, offset: int) -> None:
    _checked(_libc().mmap(address, size, _READ_WRITE, _PRIVATE | _MAP_FIXED, file, offset))


def _checked(address: int) -> int:
    if address == _FAILED:
        code = ctypes.get_errno() or errno.ENOMEM
        raise OSError(code, os.strerror(code))
    return address
