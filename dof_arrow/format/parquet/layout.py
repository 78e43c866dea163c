"""The mapped layout: group sizes, pages, the proof that a file keeps to it, and the map as one array (SPEC section 6).

Every required fixed-width column is one PLAIN uncompressed page per row group, whose values are the last bytes of its
column chunk and start at a multiple of the alignment. We encode such chunks ourselves: page header and levels depend
on the row count alone, the values are the array's own bytes. What is proved to lie so is mapped, group by group, at
consecutive addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.format.parquet.footer import (
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
    encode,
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
_PACKED_ITEMS = 32  # up to here one bit a value is shorter than one run a row

_PHYSICAL = {
    "i4": 1,
    "i8": 2,
    "f4": 4,
    "f8": 5,
    "f2": 7,
}  # numpy kind and size -> parquet.thrift Type
_STORED = {
    "i1": "i4",
    "i2": "i4",
    "u1": "i4",
    "u2": "i4",
    "u4": "i4",
    "u8": "i8",
}  # Parquet has no narrower integers


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
class Geometry:
    """How a file is cut into row groups: rows in each but the last, and the alignment of values in bytes."""

    rows: int
    alignment: int


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
        letter = (
            "f" if pa.types.is_floating(kind) else "i" if pa.types.is_signed_integer(kind) else "u"
        )
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


def chunk_meta(
    column: Fixed, rows: int, offset: int, size: int, statistics: Struct | None
) -> Struct:
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
