"""The footer of a Parquet file: read from its end, taken apart within bounds (SPEC 6 and 7).

Field ids are those of parquet.thrift; `compact` reads and writes the structs themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dof_arrow.errors import FormatError, Problem
from dof_arrow.format.parquet.compact import (
    BINARY,
    BYTE,
    DOUBLE,
    FALSE,
    I16,
    I32,
    I64,
    LIST,
    MAP,
    SET,
    STRUCT,
    TRUE,
    Known,
    Malformed,
    Reader,
    Struct,
    encode,
    get,
    items,
    put,
    structs,
    varint,
)
from dof_arrow.format.parquet.thrift import FILE_META_DATA, PAGE_HEADER

# What works with a footer needs the structs in it too, and finds them here.
__all__ = (
    "BINARY",
    "BYTE",
    "DOUBLE",
    "FALSE",
    "I16",
    "I32",
    "I64",
    "LIST",
    "MAP",
    "SET",
    "STRUCT",
    "TRUE",
    "Struct",
    "encode",
    "get",
    "items",
    "put",
    "structs",
    "varint",
)

MAGIC = b"PAR1"
_ENCRYPTED = b"PARE"
_OTHER_FORMS = (
    "dof convert makes one of DoF as JSON, files of DoF 1.0 and 2.x, and vectors of other programs."
)
TAIL = 8  # bytes behind the footer: its length and the magic
# 16 MiB of metadata, the same in base64 inside ARROW:schema, and the row groups
MAX_FOOTER = 48 << 20
GUESS = 1 << 16  # most footers are shorter, so that one read is enough

PLAIN = 0
RLE = 3
RLE_DICTIONARY = 8
UNCOMPRESSED = 0
DATA_PAGE = 0
DICTIONARY_PAGE = 2
DATA_PAGE_V2 = 3


class FileMetaData:
    """Field ids of the struct at the end of every Parquet file."""

    VERSION = 1
    SCHEMA = 2
    ROWS = 3
    GROUPS = 4
    KEYS = 5
    CREATED_BY = 6
    ORDERS = 7


class SchemaElement:
    """Field ids of one element of the schema."""

    TYPE = 1
    LENGTH = 2
    REPETITION = 3
    NAME = 4
    CHILDREN = 5


class RowGroup:
    """Field ids of one row group."""

    COLUMNS = 1
    BYTES = 2
    ROWS = 3
    SORTING = 4
    OFFSET = 5
    STORED_BYTES = 6
    ORDINAL = 7


class Chunk:
    """Field ids of one column chunk: where its metadata stands."""

    FILE = 1
    OFFSET = 2
    META = 3
    OFFSET_INDEX = 4
    OFFSET_INDEX_LENGTH = 5
    COLUMN_INDEX = 6
    COLUMN_INDEX_LENGTH = 7
    CRYPTO = 8
    ENCRYPTED = 9


class ColumnMeta:
    """Field ids of a column chunk's metadata."""

    TYPE = 1
    ENCODINGS = 2
    PATH = 3
    CODEC = 4
    VALUES = 5
    BYTES = 6
    STORED_BYTES = 7
    KEYS = 8
    DATA_PAGE = 9
    INDEX_PAGE = 10
    DICTIONARY_PAGE = 11
    STATISTICS = 12
    ENCODING_STATS = 13
    BLOOM_FILTER = 14
    BLOOM_LENGTH = 15
    GEOGRAPHY = 17


class Page:
    """Field ids of a page header, and of the header of a version 1 data page inside it."""

    TYPE = 1
    BYTES = 2
    STORED_BYTES = 3
    CRC = 4
    DATA = 5
    INDEX = 6
    DICTIONARY = 7
    DATA_V2 = 8

    VALUES = 1
    ENCODING = 2
    DEFINITION = 3
    REPETITION = 4


# What must be in a footer or may be, and with which wire type: see `fits`.
_KEY_VALUE = {1: BINARY, 2: (BINARY,)}
COLUMN = {
    ColumnMeta.TYPE: I32,
    ColumnMeta.PATH: [BINARY],
    ColumnMeta.CODEC: I32,
    ColumnMeta.VALUES: I64,
    ColumnMeta.BYTES: I64,
    ColumnMeta.STORED_BYTES: I64,
    ColumnMeta.DATA_PAGE: I64,
    ColumnMeta.DICTIONARY_PAGE: (I64,),
    ColumnMeta.STATISTICS: ({},),
}
_GROUP = {
    RowGroup.ROWS: I64,
    RowGroup.COLUMNS: [{Chunk.META: COLUMN}],
}
SHAPE = {
    FileMetaData.ROWS: I64,
    FileMetaData.CREATED_BY: (BINARY,),
    FileMetaData.KEYS: ([_KEY_VALUE],),
    FileMetaData.GROUPS: [_GROUP],
}


def fits(struct: Struct, shape: dict[int, Any]) -> bool:
    """Whether a decoded struct has the fields and wire types that its readers rely on.

    `shape` gives a shape for each field: a wire type; a dict of fields for a struct; a list of one
    shape for a list; a tuple of one shape for what may be absent.

    >>> fits({1: (I64, 7)}, {1: I64, 2: (BINARY,)}), fits({1: (I32, 7)}, {1: I64})
    (True, False)
    """
    return all(_fits(struct.get(field), kind) for field, kind in shape.items())


def _fits(entry: tuple[int, Any] | None, shape: Any) -> bool:
    if isinstance(shape, tuple):
        return entry is None or _fits(entry, shape[0])
    if entry is None:
        return False
    kind, value = entry
    if isinstance(shape, dict):
        return kind == STRUCT and fits(value, shape)
    if isinstance(shape, list):
        if kind != LIST:
            return False
        inner, elements = value
        return all(_fits((inner, element), shape[0]) for element in elements)
    return bool(kind == shape)


def decode(
    data: bytes | memoryview, start: int = 0, known: Known | None = None
) -> tuple[Struct, int]:
    """The struct at a position, and the position behind it; `known` declares types of its fields.

    Raises FormatError (rule `footer-thrift`) for anything truncated, too deep or larger than its
    bytes allow, and for what readers take in two ways.

    >>> decode(encode({1: (I32, 7), 4: (BINARY, b"id")}))[0]
    {1: (5, 7), 4: (8, b'id')}
    """
    reader = Reader(data, start)
    with malformed():
        return reader.struct(known), reader.at


def decode_footer(tail: bytes) -> tuple[Struct, int]:
    """The footer in a file's last bytes, and the position behind it; raises as `decode`."""
    return decode(tail[:-TAIL], known=FILE_META_DATA)


def decode_page(data: bytes) -> tuple[Struct, int]:
    """The page header at the start of bytes, and the position behind it; raises as `decode`."""
    return decode(data, known=PAGE_HEADER)


@contextmanager
def malformed() -> Iterator[None]:
    """Turn what a Reader cannot read into a FormatError."""
    try:
        yield
    except (Malformed, IndexError) as error:
        raise unreadable(str(error) or "truncated") from None


def unreadable(found: str, rule: str = "footer-thrift", where: str = "footer") -> FormatError:
    """The error for bytes that are no Parquet footer."""
    problem = Problem(rule=rule, where=where, message="not a readable Parquet footer", found=found)
    hint = _OTHER_FORMS if rule == "file-magic" else ""
    return FormatError("this is not a Parquet file that can be read", hint=hint, problems=[problem])


def read(file: int, size: int, guess: int = GUESS) -> bytes:
    """The last bytes of the open Parquet `file` of `size` bytes: footer, length and magic.

    `guess` is how many these may be; of more, they are read a second time. Raises
    FormatError: `file-magic` if it is not Parquet, `file-encrypted` if its footer is
    encrypted, `footer-length` if the stated length cannot be.
    """
    guess = min(size, guess)
    tail = os.pread(file, guess, size - guess)
    length = footer_length(tail, size)
    if length > guess:
        tail = os.pread(file, length, size - length)
    return tail[-length:]


def footer_length(tail: bytes, size: int) -> int:
    """Bytes of footer, length and magic together; `tail` ends a file of `size` bytes.

    Raises FormatError as `read` does.
    """
    magic = tail[-4:]
    if magic == _ENCRYPTED:
        raise unreadable("magic PARE: the footer is encrypted", "file-encrypted", "end of file")
    if size < 3 * len(MAGIC) or magic != MAGIC:
        raise unreadable(f"{size} bytes ending in {magic!r}", "file-magic", "end of file")
    stated = int.from_bytes(tail[-TAIL:-4], "little")
    length = stated + TAIL
    if length > min(size - len(MAGIC), MAX_FOOTER):
        found = f"a footer of {length} bytes in a file of {size}"
        raise unreadable(found, "footer-length", "end of file")
    return length


def key_values(footer: Struct) -> Iterator[tuple[bytes, bytes]]:
    """The key-value pairs of a footer, in order; a missing value reads as empty."""
    for pair in items(footer, FileMetaData.KEYS):
        yield get(pair, 1, b""), get(pair, 2, b"")


def set_key_values(footer: Struct, pairs: list[tuple[bytes, bytes]]) -> None:
    """Replace the key-value pairs of a footer."""
    elements: list[Struct] = []
    for key, value in pairs:
        elements.append({1: (BINARY, key), 2: (BINARY, value)})
    footer[FileMetaData.KEYS] = structs(elements)


def chunks(footer: Struct) -> Iterator[tuple[int, int, Struct]]:
    """Every column chunk's metadata: (row group, column, ColumnMeta struct), in footer order."""
    for number, group in enumerate(items(footer, FileMetaData.GROUPS)):
        for column, chunk in enumerate(items(group, RowGroup.COLUMNS)):
            yield number, column, get(chunk, Chunk.META, {})


def chunk_range(meta: Struct) -> tuple[int, int]:
    """First byte and end of a column chunk in the file, its dictionary page included."""
    dictionary = get(meta, ColumnMeta.DICTIONARY_PAGE, 0)
    data = get(meta, ColumnMeta.DATA_PAGE, 0)
    start = dictionary if 0 < dictionary < data else data
    return start, start + get(meta, ColumnMeta.STORED_BYTES, 0)
