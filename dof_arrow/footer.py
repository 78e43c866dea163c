"""A Parquet footer taken apart and put together again, within bounds (SPEC sections 6 and 7).

Parquet describes itself in Thrift's compact protocol. `decode` and `encode` are a generic round trip: a struct becomes
a `Struct`, field id -> (wire type, value), and fields unknown to us survive. Field ids are those of parquet.thrift.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from dof_arrow.errors import FormatError, Problem

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
MAGIC = b"PAR1"
MAX_FOOTER = 48 << 20  # 16 MiB of metadata, the same in base64 inside ARROW:schema, and the row groups
TAIL = 8
_MAX_DEPTH = 16
_MAX_VALUES = 1_000_000  # some 40,000 column chunks; they take 200 MB at most

Struct = dict[int, tuple[int, Any]]


class FileMetaData:
    """Field ids of the struct at the end of every Parquet file."""

    VERSION, SCHEMA, ROWS, GROUPS, KEYS, CREATED_BY, ORDERS = range(1, 8)


class RowGroup:
    """Field ids of one row group."""

    COLUMNS, BYTES, ROWS, SORTING, OFFSET, STORED_BYTES, ORDINAL = range(1, 8)


class Chunk:
    """Field ids of one column chunk: where its metadata stands."""

    FILE, OFFSET, META, OFFSET_INDEX, OFFSET_INDEX_LENGTH, COLUMN_INDEX, COLUMN_INDEX_LENGTH = range(1, 8)


class ColumnMeta:
    """Field ids of a column chunk's metadata."""

    (TYPE, ENCODINGS, PATH, CODEC, VALUES, BYTES, STORED_BYTES, KEYS,
     DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, STATISTICS, ENCODING_STATS, BLOOM_FILTER) = range(1, 15)


class Page:
    """Field ids of a page header and of the header of a version 1 data page inside it."""

    TYPE, BYTES, STORED_BYTES, CRC, DATA, INDEX, DICTIONARY, DATA_V2 = range(1, 9)
    VALUES, ENCODING, DEFINITION, REPETITION = range(1, 5)


PLAIN, RLE = 0, 3
UNCOMPRESSED = 0
DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3


_COLUMN = {
    ColumnMeta.PATH: [BINARY], ColumnMeta.CODEC: I32, ColumnMeta.VALUES: I64, ColumnMeta.BYTES: I64,
    ColumnMeta.STORED_BYTES: I64, ColumnMeta.DATA_PAGE: I64, ColumnMeta.DICTIONARY_PAGE: (I64,),
    ColumnMeta.STATISTICS: ({},),
}
_AFTER_PATH = {k: v for k, v in _COLUMN.items() if k > ColumnMeta.PATH}
SHAPE = {
    FileMetaData.ROWS: I64, FileMetaData.CREATED_BY: (BINARY,), FileMetaData.KEYS: ([{1: BINARY, 2: (BINARY,)}],),
    FileMetaData.GROUPS: [{RowGroup.ROWS: I64, RowGroup.COLUMNS: [{Chunk.META: _COLUMN}]}],
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


def decode(data: bytes | memoryview, start: int = 0, last: int = 0) -> tuple[Struct, int]:
    """One struct of the compact protocol, and the position behind it; `last` is the field before `start`, if any.

    Raises FormatError (rule `footer-thrift`) for anything truncated, too deep or larger than its bytes allow.

    >>> decode(encode({1: (I32, 7), 4: (BINARY, b"id")}))[0]
    {1: (5, 7), 4: (8, b'id')}
    """
    reader = _Reader(data, start)
    try:
        return reader.struct(last), reader.at
    except (_Malformed, IndexError) as error:
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
        raise unreadable(f"a footer of {length} bytes in a file of {size}", "footer-length", "end of file")
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


def column_chunks(tail: bytes, path: list[str], groups: int) -> list[Struct]:
    """What a footer says of one column's chunks from the codec on, a ColumnMeta struct for each of its row groups.

    `tail` is what `read` gives. pyarrow's own view of a chunk ends the process where a stranger's file names a codec
    unknown to it, counts levels wrongly or says that it is encrypted. Writers put a chunk's path before its codec, so
    that usually only what follows the path is decoded, and nothing of the other columns; else the whole footer is.
    Raises FormatError (`footer-thrift`) unless the path stands there once a row group.
    """
    named = [part.encode() for part in path]
    mark = encode({ColumnMeta.ENCODINGS: (FALSE, False), ColumnMeta.PATH: (LIST, (BINARY, named))})
    _, *after = tail.split(mark[1:-1])
    if len(after) == groups:
        return list(_after_path(after))
    struct = decode(tail)[0]
    found = [m for _, _, m in chunks(struct) if items(m, ColumnMeta.PATH) == named] if fits(struct, SHAPE) else []
    if len(found) != groups:
        raise unreadable(f"{len(found)} chunks of {'.'.join(path)} in {groups} row groups")
    return found


def _after_path(rests: list[bytes]) -> Iterator[Struct]:
    """The structs that go on here, behind the path. Most differ in nothing but the place of their page, and equal bytes
    around that one number are not decoded again: a file of 10 GB has hundreds of them."""
    before, behind = b"", b""
    meta: Struct = {}
    for rest in rests:
        place, end = _number(rest, len(before)) if before and rest.startswith(before) else (0, 0)
        if end and rest.startswith(behind, end):
            yield meta | {ColumnMeta.DATA_PAGE: (I64, place)}
            continue
        meta, end = decode(rest, last=ColumnMeta.PATH)
        if not fits(meta, _AFTER_PATH):
            raise unreadable("a column chunk that does not say where its data lie")
        before, behind = _around_place(meta, rest[:end])
        yield meta


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The number that stands there, and the position behind it; 0 and 0 if none does."""
    reader = _Reader(data, at)
    try:
        return reader.zigzag(), reader.at
    except (_Malformed, IndexError):
        return 0, 0


def _around_place(meta: Struct, data: bytes) -> tuple[bytes, bytes]:
    """The bytes of such a struct before and behind the place of its page; none where others than we wrote them so."""
    until = {ColumnMeta.PATH: (FALSE, False)} | {k: v for k, v in meta.items() if k <= ColumnMeta.DATA_PAGE}
    head, size = encode(until)[1:-1], len(varint(_zigzag(get(meta, ColumnMeta.DATA_PAGE))))
    return (head[:-size], data[len(head) :]) if data.startswith(head) else (b"", b"")


def chunk_range(meta: Struct) -> tuple[int, int]:
    """First byte and end of a column chunk in the file, its dictionary page included."""
    dictionary, data = get(meta, ColumnMeta.DICTIONARY_PAGE, 0), get(meta, ColumnMeta.DATA_PAGE, 0)
    start = dictionary if 0 < dictionary < data else data
    return start, start + get(meta, ColumnMeta.STORED_BYTES, 0)


class _Malformed(Exception):
    pass


class _Reader:
    """Reads the compact protocol; no claim of the input makes it allocate more than the input is long."""

    def __init__(self, data: bytes | memoryview, at: int) -> None:
        self.data, self.at, self.end = data, at, len(data)
        self.depth, self.values = 0, 0

    def struct(self, field: int = 0) -> Struct:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _Malformed("nested too deep")
        fields: Struct = {}
        while head := self.data[self.at]:
            self.at += 1
            field = field + (head >> 4) if head >> 4 else self.zigzag()
            if field in fields:
                raise _Malformed(f"field {field} stands twice")
            fields[field] = (head & 15, self.value(head & 15))
        self.at += 1
        self.depth -= 1
        return fields

    def value(self, kind: int, element: bool = False) -> Any:
        self.values += 1
        if self.values > _MAX_VALUES:
            raise _Malformed("too many values")
        if I16 <= kind <= I64:
            return self.zigzag()
        if kind == BINARY:
            return self.take(self.varint())
        if kind == STRUCT:
            return self.struct()
        if kind in (LIST, SET):
            return self.list()
        if kind in (TRUE, FALSE):
            return self.take(1) == b"\x01" if element else kind == TRUE
        if kind in (BYTE, DOUBLE):
            return self.take(1 if kind == BYTE else 8)
        raise _Malformed(f"wire type {kind}")

    def list(self) -> tuple[int, list[Any]]:
        head = self.take(1)[0]
        count = head >> 4 if head >> 4 != 15 else self.varint()
        if count > self.end - self.at:
            raise _Malformed("a list longer than the bytes left")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _Malformed("nested too deep")
        elements = [self.value(head & 15, element=True) for _ in range(count)]
        self.depth -= 1
        return head & 15, elements

    def take(self, count: int) -> bytes:
        if count > self.end - self.at:
            raise _Malformed("truncated")
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise _Malformed("a number longer than 64 bits")


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
