"""Thrift's compact protocol, in which Parquet describes itself: read within bounds, and written.

A struct becomes a `Struct`: field id -> (wire type, value). Reading and writing need no declaration
of the fields, so fields that we do not know survive.

Bytes that readers of Parquet take in two ways are refused: a field that stands twice, a number
larger than its type, list elements of another type than parquet.thrift gives them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Wire types: what the bytes of a field say of its value. A bool's type is its value.
TRUE = 1
FALSE = 2
BYTE = 3
I16 = 4
I32 = 5
I64 = 6
DOUBLE = 7
BINARY = 8
LIST = 9
SET = 10
MAP = 11
STRUCT = 12

Struct = dict[int, tuple[int, Any]]

# What is declared of a struct: field id -> its wire type, and what is declared inside it: the
# fields of a struct, or the type of a list's elements in the same form.
Known = dict[int, tuple[int, Any]]

_BITS = {I16: 16, I32: 32, I64: 64}
_BOOLS = (TRUE, FALSE)
_UNDECLARED = (0, None)  # what is declared of a field that we do not know
_MAX_DEPTH = 16
_MAX_FIELD = (1 << 15) - 1
MAX_VALUES = 1_000_000  # some 40,000 column chunks; they take 200 MB at most


class Malformed(Exception):
    """Bytes that are not the compact protocol, or that readers take in two ways."""


def get(struct: Struct, field: int, default: Any = None) -> Any:
    """The value of a field, or `default`."""
    return struct[field][1] if field in struct else default


def items(struct: Struct, field: int) -> list[Any]:
    """The elements of a list field; none if the field is absent."""
    _, elements = get(struct, field, (STRUCT, []))
    return list(elements)


def put(struct: Struct, field: int, value: Any) -> None:
    """Set a field that is there already; it keeps its wire type."""
    kind, _ = struct[field]
    struct[field] = (kind, value)


def structs(elements: list[Struct]) -> tuple[int, Any]:
    """A list field of structs."""
    return LIST, (STRUCT, elements)


def count_values(struct: Struct) -> int:
    """The values in a struct, as a Reader counts them.

    >>> count_values({1: (I32, 7), 2: structs([{1: (BINARY, b"a")}, {}])})
    5
    """
    return sum(1 + _inside(kind, value) for kind, value in struct.values())


def _inside(kind: int, value: Any) -> int:
    if kind == STRUCT:
        return count_values(value)
    if kind in (LIST, SET):
        inner, elements = value
        return sum(1 + _inside(inner, element) for element in elements)
    return 0


def _deciding(longest: int) -> list[bytes]:
    """For numbers of 0 to 10 bytes: a mask of the bits that decide how the number is read.

    The top bit of each byte says whether another byte follows. From the `longest`-th byte on, all
    bits decide: they may make the number too large for its type.
    """
    masks = []
    for size in range(11):
        free = min(size, longest - 1)
        masks.append(b"\x80" * free + b"\xff" * (size - free))
    return masks


DECIDING = {I16: _deciding(3), I32: _deciding(5), I64: _deciding(10)}


class Reader:
    """Reads the compact protocol; no claim of the input makes it allocate more than the input has.

    If `noted` is a list, each number and text that is read adds its position and a mask of those
    of its bits that decide how it is read (`_deciding`). Raises Malformed, or IndexError at the
    end of the bytes.
    """

    def __init__(self, data: bytes | memoryview, at: int = 0) -> None:
        self.data = data
        self.at = at
        self.end = len(data)
        self.depth = 0
        self.values = 0
        self.noted: list[tuple[int, bytes]] | None = None

    def struct(self, known: Known | None) -> Struct:
        """Read a struct."""
        return {field: (kind, self.value(kind, of)) for field, kind, of in self.fields(known)}

    def fields(self, known: Known | None) -> Iterator[tuple[int, int, Any]]:
        """The fields of a struct: id, wire type, and what is declared inside.

        The caller reads each value before it asks for the next field.
        """
        self._deeper()
        types = known or {}
        last = 0
        while head := self.data[self.at]:
            self.at += 1
            step = head >> 4  # from the last id to this one; 0: the id itself follows
            field = last + step if step else self._signed()
            if not last < field <= _MAX_FIELD:
                raise Malformed(f"a field {field} behind field {last}")
            last = field
            kind = head & 15
            wanted, inside = types.get(field, _UNDECLARED)
            if wanted and wanted != kind:
                _check_type(kind, wanted)
            yield field, kind, inside
        self.at += 1  # the zero that ends a struct
        self.depth -= 1

    def value(self, kind: int, inside: Any = None) -> Any:
        """Read the value of a field of this wire type; `inside` is what is declared inside it."""
        self.values += 1  # as `count` does, without the call: this runs for every value
        if self.values > MAX_VALUES:
            raise Malformed("too many values")
        if I16 <= kind <= I64:
            return self.number(kind)
        if kind == BINARY:
            return self._text(self.varint())
        if kind == STRUCT:
            return self.struct(inside)
        if kind in (LIST, SET):
            return self.list(inside)
        if kind in _BOOLS:
            return kind == TRUE  # the type of a bool field is its value
        if kind == BYTE:
            return self._text(1)
        if kind == DOUBLE:
            return self._text(8)
        raise Malformed(f"wire type {kind}")

    def element(self, kind: int, inside: Any) -> Any:
        """Read an element of a list whose elements have this wire type."""
        if kind in _BOOLS:
            self.count(1)
            return self.take(1) == b"\x01"
        if kind == BINARY:
            self.count(1)
            return self.take(self.varint())
        return self.value(kind, inside)

    def list(self, of: Any) -> tuple[int, list[Any]]:
        """Read a list: the wire type of its elements, and the elements."""
        kind, inside, count = self.header(of)
        elements = [self.element(kind, inside) for _ in range(count)]
        self.end_list()
        return kind, elements

    def header(self, of: Any) -> tuple[int, Any, int]:
        """Begin a list: the wire type of its elements, what is declared inside, and their number.

        The caller reads the elements, then calls `end_list`.
        """
        head = self.take(1)[0]
        count = head >> 4
        kind = head & 15
        if count == 15:
            count = self.varint()
        if count > self.end - self.at:
            raise Malformed("a list longer than the bytes left")
        wanted, inside = of or _UNDECLARED
        if wanted and wanted != kind and count:
            _check_type(kind, wanted)
        self._deeper()
        return kind, inside, count

    def end_list(self) -> None:
        """End a list, behind its last element."""
        self.depth -= 1

    def count(self, values: int) -> None:
        """Count values; too many are refused."""
        self.values += values
        if self.values > MAX_VALUES:
            raise Malformed("too many values")

    def take(self, count: int) -> bytes:
        """Read this many bytes."""
        if count > self.end - self.at:
            raise Malformed("truncated")
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def number(self, kind: int) -> int:
        """Read an integer of this wire type."""
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
        """Read an unsigned number of at most 10 bytes."""
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

    def _signed(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Malformed("nested too deep")


def _check_type(kind: int, wanted: int) -> None:
    """Raise Malformed for a type that is not the declared one: other readers skip or misread it."""
    if (kind, wanted) != (FALSE, TRUE):  # a bool is declared as TRUE
        raise Malformed(f"wire type {kind} in place of {wanted}")


def number_at(data: bytes, at: int) -> int:
    """The signed number at a position where a Reader has found one."""
    value = shift = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
    value |= byte << shift
    return (value >> 1) ^ -(value & 1)


def encode(struct: Struct) -> bytes:
    """The bytes of a struct."""
    out = bytearray()
    _write_struct(out, struct)
    return bytes(out)


def varint(value: int) -> bytes:
    """A number in base 128, low part first (unsigned LEB128), as in Thrift and in Parquet's levels.

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _write_struct(out: bytearray, struct: Struct) -> None:
    last = 0
    for field, (kind, value) in sorted(struct.items()):
        wire = kind
        if kind in _BOOLS:
            wire = TRUE if value else FALSE
        step = field - last
        if 0 < step <= 15:
            out.append(step << 4 | wire)
        else:
            out.append(wire)
            out += varint(_zigzag(field))
        last = field
        if kind not in _BOOLS:
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
    elif kind in _BOOLS:
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


def _zigzag(value: int) -> int:
    """A signed number as an unsigned one: 0, -1, 1, -2 become 0, 1, 2, 3."""
    if value >= 0:
        return value << 1
    return (-value << 1) - 1
