"""The mapped layout: which columns it takes, how rows are grouped, how a page begins (SPEC 6).

Every required fixed-width column is one PLAIN uncompressed page per row group. Its values are the
last bytes of its column chunk; those of vectors start at a multiple of the alignment. We encode
such chunks ourselves: page header and levels depend on the row count alone, the values are the
array's own bytes. So the vectors of all row groups can be mapped at consecutive addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import OutputError
from dof_arrow.format.parquet.compact import I32, MAX_VALUES, STRUCT, Struct, encode, varint
from dof_arrow.format.parquet.footer import DATA_PAGE, PLAIN, RLE, Page

ALIGNMENTS = (65_536, 16_384, 4_096)  # the page sizes of the systems in use, the coarsest first
SMALL_ALIGNMENT = 64  # a cache line; JAX and Arrow want no more
GROUP_BYTES = 64 << 20
MAX_GROUP_BYTES = 1 << 30
MAX_GROUP_ROWS = 1 << 20
MAX_GROUPS = 1024
_MAX_PAGE_BYTES = (1 << 31) - 1
# Values of a footer that describe a column chunk, or a row group, at most.
_CHUNK_VALUES = 40
_GROUP_VALUES = 8
_PACKED_ITEMS = 32  # up to here one bit a value is shorter than one run a row

# numpy kind and size -> parquet.thrift Type
_PHYSICAL = {"i4": 1, "i8": 2, "f4": 4, "f8": 5, "f2": 7}
# Parquet has no integers of less than 32 bits, and stores unsigned ones in the bits of signed ones.
_STORED = {"i1": "i4", "i2": "i4", "u1": "i4", "u2": "i4", "u4": "i4", "u8": "i8"}


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
        return _PHYSICAL[_code(self.stored)]

    @property
    def path(self) -> list[str]:
        """The column's path in the Parquet schema."""
        return [self.name, "list", "element"] if self.nested else [self.name]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Rows in each row group but the last, and the alignment of values in bytes."""

    rows: int
    alignment: int


@lru_cache(maxsize=1 << 12)
def fixed(field: pa.Field) -> Fixed | None:
    """What is mapped of a column; None if it is nullable, of varying width or boolean.

    >>> fixed(pa.field("view", pa.int16(), nullable=False)).stored
    dtype('int32')
    """
    if field.nullable:
        return None
    kind = field.type
    items = 1
    nested = pa.types.is_fixed_size_list(kind)
    if nested:
        items = kind.list_size
        inner = kind.value_field
        if items < 1 or inner.nullable:
            return None
        kind = inner.type
        if not pa.types.is_floating(kind):
            return None
    memory = _numpy_type(kind)
    if memory is None:
        return None
    code = _code(memory)
    stored = np.dtype("<" + _STORED.get(code, code))
    return Fixed(field.name, items, nested, memory, stored)


def _code(dtype: np.dtype[Any]) -> str:
    return f"{dtype.kind}{dtype.itemsize}"


def _numpy_type(kind: pa.DataType) -> np.dtype[Any] | None:
    types = pa.types
    if types.is_floating(kind):
        return np.dtype(f"<f{kind.byte_width}")
    if types.is_signed_integer(kind):
        return np.dtype(f"<i{kind.byte_width}")
    if types.is_unsigned_integer(kind):
        return np.dtype(f"<u{kind.byte_width}")
    if types.is_date32(kind):
        return np.dtype("<i4")
    if types.is_time(kind) or types.is_timestamp(kind):
        # Parquet knows no seconds: pyarrow stores milliseconds, so the bytes are not Arrow's.
        return None if kind.unit == "s" else np.dtype(f"<i{kind.byte_width}")
    return None


def geometry(widths: Iterable[int]) -> Geometry:
    """Rows per group and alignment for vectors of these widths in bytes, for more than one group.

    Groups aim at 64 MiB of the widest column; every group but the last holds a multiple of the
    alignment of each.

    >>> geometry([2048, 512])
    Geometry(rows=32768, alignment=65536)
    """
    widths = list(widths)
    for alignment in ALIGNMENTS:
        unit = max((_aligned_rows(width, alignment) for width in widths), default=1)
        if unit * sum(widths) < MAX_GROUP_BYTES:
            return Geometry(_group_rows(widths, unit), alignment)
    return Geometry(_group_rows(widths, 1), SMALL_ALIGNMENT)


def schema_geometry(schema: pa.Schema) -> Geometry:
    """The geometry of a file with these columns: that of its vectors, by far the widest.

    Other mapped columns are read row group by row group, wherever they lie.
    """
    columns = [column for column in map(fixed, schema) if column]
    return geometry([column.width for column in columns if column.nested] or [1])


def most_rows(schema: pa.Schema) -> int:
    """How many rows of these columns one file can hold in the mapped layout.

    Of very many columns a footer can describe fewer row groups (SPEC 2.2).
    """
    leaves = sum(map(_leaves, schema.types))
    groups = MAX_VALUES // (leaves * _CHUNK_VALUES + _GROUP_VALUES)
    return min(MAX_GROUPS, groups) * schema_geometry(schema).rows


def check_rows(schema: pa.Schema, rows: int, where: str) -> None:
    """Raise OutputError for more rows than one file can hold, before any is written."""
    most = most_rows(schema)
    if rows > most:
        raise OutputError(
            "more rows than one file may have",
            where,
            f"at most {most:,}",
            f"{rows:,}",
            "Write a directory of several files: NAME.dof",
        )


def _leaves(kind: pa.DataType) -> int:
    """The leaves of a column; vectors are one."""
    return sum(_leaves(kind.field(number).type) for number in range(kind.num_fields)) or 1


def _aligned_rows(width: int, alignment: int) -> int:
    """The smallest number of rows of this width that fills a multiple of the alignment."""
    power_of_two = width & -width  # the largest one that divides the width
    return alignment // min(power_of_two, alignment)


def _group_rows(widths: Sequence[int], unit: int) -> int:
    """The rows of a group: a multiple of `unit`."""
    wanted = min(GROUP_BYTES // max(widths, default=1), MAX_GROUP_ROWS)
    return max(wanted // unit, 1) * unit


def page_start(column: Fixed, rows: int) -> bytes:
    """All bytes of a column chunk before its values: the page header and, for vectors, the levels.

    Raises ValueError if the page would be larger than Parquet allows.
    """
    before = levels(rows, column.items) if column.nested else b""
    size = len(before) + rows * column.width
    if size > _MAX_PAGE_BYTES:
        raise ValueError(f"a page of {size} bytes")
    return data_page_header(rows * column.items, PLAIN, size) + before


def data_page_header(values: int, encoding: int, size: int) -> bytes:
    """The header of an uncompressed data page of `size` bytes."""
    data = {
        Page.VALUES: (I32, values),
        Page.ENCODING: (I32, encoding),
        Page.DEFINITION: (I32, RLE),
        Page.REPETITION: (I32, RLE),
    }
    header: Struct = {
        Page.TYPE: (I32, DATA_PAGE),
        Page.BYTES: (I32, size),
        Page.STORED_BYTES: (I32, size),
        Page.DATA: (STRUCT, data),
    }
    return encode(header)


def levels(rows: int, items: int) -> bytes:
    """Repetition and definition levels of `rows` full lists of `items` values, each length first.

    A list starts with repetition level 0 and goes on with 1; every value is present. Both are
    encoded in Parquet's hybrid of runs and packed bits, with one bit a value. A number that begins
    a part of it is twice the length of a run, or twice the bytes of packed bits, plus one.

    >>> levels(3, 1).hex(" ", 2)
    '0200 0000 0600 0200 0000 0601'
    """
    repetition = _repetition(rows, items)
    definition = _run(rows * items, 1)
    return _with_length(repetition) + _with_length(definition)


def _with_length(level: bytes) -> bytes:
    return len(level).to_bytes(4, "little") + level


def _run(count: int, bit: int) -> bytes:
    """A run of one bit."""
    return varint(count << 1) + bytes([bit])


def _repetition(rows: int, items: int) -> bytes:
    if items == 1:
        return _run(rows, 0)
    if items <= _PACKED_ITEMS:
        return _packed(rows, items)
    # Eight packed bits 0,1,1,1,1,1,1,1 and a run of ones, once a row.
    return (b"\x03\xfe" + _run(items - 8, 1)) * rows


def _packed(rows: int, items: int) -> bytes:
    """For each row a zero and `items` - 1 ones, packed into bytes."""
    # Eight rows fill whole bytes whatever `items` is, so the pattern of eight rows repeats.
    eight_rows = np.tile(np.arange(items) > 0, 8)
    pattern = np.packbits(eight_rows, bitorder="little").tobytes()
    bits = rows * items
    size = (bits + 7) // 8
    packed = (pattern * ((rows + 7) // 8))[:size]
    return varint(size << 1 | 1) + _clear_after(packed, bits)


def _clear_after(packed: bytes, bits: int) -> bytes:
    """Packed bits with zeros behind the first `bits`."""
    spare = -bits % 8
    if not spare:
        return packed
    last = packed[-1] & 0xFF >> spare
    return packed[:-1] + bytes([last])
