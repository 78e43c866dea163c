"""A Parquet footer taken apart and put together again, within bounds (SPEC sections 6 and 7).

Parquet describes itself in Thrift's compact protocol. `decode` and `encode` are a generic round trip: a struct becomes
a `Struct`, field id -> (wire type, value), and fields unknown to us survive. Field ids are those of parquet.thrift.

Bytes that readers of Parquet take in two ways are refused: a field that stands twice, a number larger than its type,
elements of another type than parquet.thrift gives their list.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dof_arrow.errors import FormatError, Problem
from dof_arrow.format.parquet.thrift import FILE_META_DATA, PAGE_HEADER, Known

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
MAGIC = b"PAR1"
MAX_FOOTER = (
    48 << 20
)  # 16 MiB of metadata, the same in base64 inside ARROW:schema, and the row groups
TAIL = 8
_MAX_DEPTH = 16
_MAX_FIELD = (1 << 15) - 1
_BITS = {I16: 16, I32: 32, I64: 64}
_ANY = (0, None)  # what is known of the type of a field that is unknown: nothing
_MAX_VALUES = 1_000_000  # some 40,000 column chunks; they take 200 MB at most

Struct = dict[int, tuple[int, Any]]


def _deciding(longest: int) -> list[bytes]:
    """Of a number of 0 to 10 bytes: the bits that say whether it goes on, or make it too long for its type."""
    return [b"\x80" * min(size, longest - 1) + b"\xff" * (size - longest + 1) for size in range(11)]


DECIDING = {I16: _deciding(3), I32: _deciding(5), I64: _deciding(10)}


class FileMetaData:
    """Field ids of the struct at the end of every Parquet file."""

    VERSION, SCHEMA, ROWS, GROUPS, KEYS, CREATED_BY, ORDERS = range(1, 8)


class SchemaElement:
    """Field ids of one element of the schema."""

    TYPE, LENGTH, REPETITION, NAME, CHILDREN = range(1, 6)


class RowGroup:
    """Field ids of one row group."""

    COLUMNS, BYTES, ROWS, SORTING, OFFSET, STORED_BYTES, ORDINAL = range(1, 8)


class Chunk:
    """Field ids of one column chunk: where its metadata stands."""

    (
        FILE,
        OFFSET,
        META,
        OFFSET_INDEX,
        OFFSET_INDEX_LENGTH,
        COLUMN_INDEX,
        COLUMN_INDEX_LENGTH,
        CRYPTO,
        ENCRYPTED,
    ) = range(1, 10)


class ColumnMeta:
    """Field ids of a column chunk's metadata."""

    (
        TYPE,
        ENCODINGS,
        PATH,
        CODEC,
        VALUES,
        BYTES,
        STORED_BYTES,
        KEYS,
        DATA_PAGE,
        INDEX_PAGE,
        DICTIONARY_PAGE,
        STATISTICS,
        ENCODING_STATS,
        BLOOM_FILTER,
    ) = range(1, 15)


class Page:
    """Field ids of a page header and of the header of a version 1 data page inside it."""

    TYPE, BYTES, STORED_BYTES, CRC, DATA, INDEX, DICTIONARY, DATA_V2 = range(1, 9)
    VALUES, ENCODING, DEFINITION, REPETITION = range(1, 5)


PLAIN, RLE = 0, 3
UNCOMPRESSED = 0
DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3


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
SHAPE = {
    FileMetaData.ROWS: I64,
    FileMetaData.CREATED_BY: (BINARY,),
    FileMetaData.KEYS: ([{1: BINARY, 2: (BINARY,)}],),
    FileMetaData.GROUPS: [{RowGroup.ROWS: I64, RowGroup.COLUMNS: [{Chunk.META: COLUMN}]}],
}  # what of a footer must be there, or may be, and how it is typed: see `fits`


def get(struct: Struct, field: int, default: Any = None) -> Any:
    """The value of a field, or `default`."""
    return struct[field][1] if field in struct else default


def items(struct: Struct, field: int) -> list[Any]:
    """The elements of a list field, none if it is absent."""
    return list(get(struct, field, (STRUCT, []))[1])


def put(struct: Struct, field: int, value: Any) -> None:
    """Set a field that is there already, keeping its wire type."""
    struct[field] = (struct[field][0], value)


def structs(elements: list[Struct]) -> tuple[int, Any]:
    """A list field of structs."""
    return LIST, (STRUCT, elements)


def decode(
    data: bytes | memoryview, start: int = 0, known: Known | None = None
) -> tuple[Struct, int]:
    """One struct of the compact protocol, and the position behind it; `known` says which of its fields have which type.

    Raises FormatError (rule `footer-thrift`) for anything truncated, too deep or larger than its bytes allow, and for
    what readers take in two ways.

    >>> decode(encode({1: (I32, 7), 4: (BINARY, b"id")}))[0]
    {1: (5, 7), 4: (8, b'id')}
    """
    reader = Reader(data, start)
    with malformed():
        return reader.struct(known), reader.at


def decode_footer(tail: bytes) -> tuple[Struct, int]:
    """The footer in a file's last bytes (`read`), and the position behind it; raises as `decode` does."""
    return decode(tail[:-TAIL], known=FILE_META_DATA)


def decode_page(data: bytes) -> tuple[Struct, int]:
    """The page header at the start of some bytes, and the position behind it; raises as `decode` does."""
    return decode(data, known=PAGE_HEADER)


@contextmanager
def malformed() -> Iterator[None]:
    """Within it, what a Reader cannot read becomes a FormatError."""
    try:
        yield
    except (Malformed, IndexError) as error:
        raise unreadable(str(error) or "truncated") from None


def fits(struct: Any, shape: Any) -> bool:
    """Whether a decoded value has the wire types that readers of it rely on.

    A shape is a wire type; a dict of fields for a struct; a list of one shape for a list; a tuple of one if optional.

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
        return kind == LIST and all(_fits((value[0], element), shape[0]) for element in value[1])
    return bool(kind == shape)


def encode(struct: Struct) -> bytes:
    """The compact protocol's bytes of one struct."""
    out = bytearray()
    _write_struct(out, struct)
    return bytes(out)


def unreadable(found: str, rule: str = "footer-thrift", where: str = "footer") -> FormatError:
    """The error for bytes that are no Parquet footer."""
    problem = Problem(rule=rule, where=where, message="not a readable Parquet footer", found=found)
    return FormatError("this is not a Parquet file that can be read", problems=[problem])


def read(file: int, size: int) -> bytes:
    """Footer, length and magic of the Parquet file of `size` bytes open as `file`: the last bytes of the file.

    Raises FormatError: `file-magic` if it is not Parquet, `file-encrypted` if its footer is encrypted, `footer-length`
    if the stated length cannot be.
    """
    guess = min(size, 1 << 16)
    tail = os.pread(file, guess, size - guess)
    length = footer_length(tail, size)
    if length > guess:
        tail = os.pread(file, length, size - length)
    return tail[-length:]


def footer_length(tail: bytes, size: int) -> int:
    """Bytes of footer, length and magic together, from a file's last bytes and its size."""
    magic = tail[-4:]
    if magic == b"PARE":
        raise unreadable("magic PARE: the footer is encrypted", "file-encrypted", "end of file")
    if size < 3 * len(MAGIC) or magic != MAGIC:
        raise unreadable(f"{size} bytes ending in {magic!r}", "file-magic", "end of file")
    length = int.from_bytes(tail[-TAIL:-4], "little") + TAIL
    if length > min(size - len(MAGIC), MAX_FOOTER):
        raise unreadable(
            f"a footer of {length} bytes in a file of {size}", "footer-length", "end of file"
        )
    return length


def key_values(footer: Struct) -> Iterator[tuple[bytes, bytes]]:
    """The key-value pairs of a footer, in order; a missing value reads as empty."""
    for pair in items(footer, FileMetaData.KEYS):
        yield get(pair, 1, b""), get(pair, 2, b"")


def set_key_values(footer: Struct, pairs: list[tuple[bytes, bytes]]) -> None:
    """Replace the key-value pairs of a footer."""
    footer[FileMetaData.KEYS] = structs([{1: (BINARY, k), 2: (BINARY, v)} for k, v in pairs])


def chunks(footer: Struct) -> Iterator[tuple[int, int, Struct]]:
    """Every column chunk's metadata: (row group, column, ColumnMeta struct), in footer order."""
    for g, group in enumerate(items(footer, FileMetaData.GROUPS)):
        for c, chunk in enumerate(items(group, RowGroup.COLUMNS)):
            yield g, c, get(chunk, Chunk.META, {})


def chunk_range(meta: Struct) -> tuple[int, int]:
    """First byte and end of a column chunk in the file, its dictionary page included."""
    dictionary, data = get(meta, ColumnMeta.DICTIONARY_PAGE, 0), get(meta, ColumnMeta.DATA_PAGE, 0)
    start = dictionary if 0 < dictionary < data else data
    return start, start + get(meta, ColumnMeta.STORED_BYTES, 0)


class Malformed(Exception):
    """Bytes that are not the compact protocol, or that readers take in two ways."""


class Reader:
    """Reads the compact protocol; no claim of the input makes it allocate more than the input is long.

    `noted`, if it is a list, gets the place of each number and text, and which of their bits decide how one goes on.
    """

    def __init__(self, data: bytes | memoryview, at: int = 0) -> None:
        self.data, self.at, self.end = data, at, len(data)
        self.depth, self.values = 0, 0
        self.noted: list[tuple[int, bytes]] | None = None

    def struct(self, known: Known | None) -> Struct:
        """The struct here, field by field."""
        return {field: (kind, self.value(kind, of)) for field, kind, of in self.fields(known)}

    def fields(self, known: Known | None) -> Iterator[tuple[int, int, Any]]:
        """The fields of the struct here: id, wire type, and what is known inside. Each value is to be read."""
        self._deeper()
        last, types = 0, known or {}
        while head := self.data[self.at]:
            self.at += 1
            field = last + (head >> 4) if head >> 4 else self._long_field()
            if not last < field <= _MAX_FIELD:
                raise Malformed(f"a field {field} behind field {last}")
            last, kind = field, head & 15
            wanted, inside = types.get(field, _ANY)
            if wanted and wanted != kind:
                _check_type(kind, wanted)
            yield field, kind, inside
        self.at += 1
        self.depth -= 1

    def value(self, kind: int, inside: Any = None) -> Any:
        """The value of a field of this wire type; `inside`: what is known of a struct's fields, or of an element."""
        self.values += 1
        if self.values > _MAX_VALUES:
            raise Malformed("too many values")
        if I16 <= kind <= I64:
            return self.number(kind)
        if kind == BINARY:
            return self._text(self.varint())
        if kind == STRUCT:
            return self.struct(inside)
        if kind in (LIST, SET):
            return self.list(inside)
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind in (BYTE, DOUBLE):
            return self._text(1 if kind == BYTE else 8)
        raise Malformed(f"wire type {kind}")

    def element(self, kind: int, inside: Any) -> Any:
        """An element of a list, whose elements have this wire type."""
        if kind in (TRUE, FALSE):
            self.count(1)
            return self.take(1) == b"\x01"
        if kind == BINARY:
            self.count(1)
            return self.take(self.varint())
        return self.value(kind, inside)

    def list(self, of: Any) -> tuple[int, list[Any]]:
        """The list here: the wire type of its elements, and they."""
        kind, inside, count = self.header(of)
        elements = [self.element(kind, inside) for _ in range(count)]
        self.end_list()
        return kind, elements

    def header(self, of: Any) -> tuple[int, Any, int]:
        """How a list begins: the wire type of its elements, what is known inside them, and how many are to be read."""
        head = self.take(1)[0]
        count, kind = head >> 4, head & 15
        if count == 15:
            count = self.varint()
        if count > self.end - self.at:
            raise Malformed("a list longer than the bytes left")
        wanted, inside = of or _ANY
        if wanted and wanted != kind and count:
            _check_type(kind, wanted)
        self._deeper()
        return kind, inside, count

    def end_list(self) -> None:
        """To be called behind the last element."""
        self.depth -= 1

    def count(self, values: int) -> None:
        """Count values; there may not be too many."""
        self.values += values
        if self.values > _MAX_VALUES:
            raise Malformed("too many values")

    def take(self, count: int) -> bytes:
        """So many bytes."""
        if count > self.end - self.at:
            raise Malformed("truncated")
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def number(self, kind: int) -> int:
        """An integer of this wire type."""
        start = self.at
        value = self.data[start]
        if value < 128:
            self.at += 1
        else:
            value = self._long_number(kind)
        if self.noted is not None:
            self.noted.append((start, DECIDING[kind][self.at - start]))
        return (value >> 1) ^ -(value & 1)

    def varint(self) -> int:
        """An unsigned number of at most 10 bytes."""
        value = shift = 0
        while (byte := self.data[self.at]) > 127:
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise Malformed("a number of more than 10 bytes")
        self.at += 1
        return value | byte << shift

    def _long_number(self, kind: int) -> int:
        value = self.varint()
        if value >> _BITS[kind]:  # readers differ in what they make of the bits above
            raise Malformed(f"a number longer than {_BITS[kind]} bits")
        return value

    def _text(self, count: int) -> bytes:
        text = self.take(count)
        if self.noted is not None:
            self.noted.append((self.at - count, bytes(count)))
        return text

    def _long_field(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Malformed("nested too deep")


def number(data: bytes, at: int) -> int:
    """The signed number that stands there, read before and found sound."""
    value = shift = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
    value |= byte << shift
    return (value >> 1) ^ -(value & 1)


def _check_type(kind: int, wanted: int) -> None:
    """Raises Malformed for another type than parquet.thrift's: readers pass over such a field, or misread it."""
    if (kind, wanted) != (FALSE, TRUE):
        raise Malformed(f"wire type {kind} in place of {wanted}")


def _write_struct(out: bytearray, struct: Struct) -> None:
    last = 0
    for field, (kind, value) in sorted(struct.items()):
        wire = (TRUE if value else FALSE) if kind in (TRUE, FALSE) else kind
        if 0 < field - last <= 15:
            out.append((field - last) << 4 | wire)
        else:
            out.append(wire)
            out += varint(_zigzag(field))
        last = field
        if kind not in (TRUE, FALSE):
            _write_value(out, kind, value)
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in (I16, I32, I64):
        out += varint(_zigzag(value))
    elif kind == BINARY:
        out += varint(len(value)) + value
    elif kind == STRUCT:
        _write_struct(out, value)
    elif kind in (LIST, SET):
        _write_list(out, *value)
    elif kind in (TRUE, FALSE):
        out.append(1 if value else 2)
    else:
        out += value


def _write_list(out: bytearray, kind: int, elements: list[Any]) -> None:
    if len(elements) < 15:
        out.append(len(elements) << 4 | kind)
    else:
        out.append(0xF0 | kind)
        out += varint(len(elements))
    for element in elements:
        _write_value(out, kind, element)


def varint(value: int) -> bytes:
    """A number in base 128, low part first (unsigned LEB128), as Thrift and Parquet's levels use it.

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1
