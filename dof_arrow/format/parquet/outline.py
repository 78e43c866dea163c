"""The outline of a footer: where its row groups and chunks stand, found by one walk from field to field (SPEC 2.2).

Bytes are never searched: what looks like a column's path may stand in a text as well. Of hundreds of row groups most
differ in nothing but numbers, though. So the walk notes which bits of an element decide how it is read: all but those
that numbers and texts are free to have. Where the same bits stand again, the element is read in the same way, since the
compact protocol is read from the front and by these bits alone; it needs no second walk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from dof_arrow.errors import FormatError, Problem
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import (
    I64,
    Chunk,
    ColumnMeta,
    FileMetaData,
    Malformed,
    Reader,
    RowGroup,
    SchemaElement,
    Struct,
    get,
)
from dof_arrow.format.parquet.thrift import FILE_META_DATA
from dof_arrow.format.spec.rules import broken, problem

ELSEWHERE = (
    Chunk.FILE,
    Chunk.CRYPTO,
    Chunk.ENCRYPTED,
)  # a chunk with one of them cannot be read from this file
_MAX_NESTED = 100  # columns in columns
_MOST = 8  # elements remembered, of one kind
_PATIENCE = 16  # bytes compared in vain, for each byte of the footer
_MAX_TOLD = 200  # bytes of a name in a message
_FEW = 8  # chunks that are walked sooner than they are compared

Path = tuple[bytes, ...]  # names from the root to a leaf
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Form:
    """Which bits of an element decide how it is read, and what they are; where its path stands, and how many values."""

    size: int
    mask: int
    bits: int
    path: int
    values: int

    def fits(self, data: bytes, at: int, path: bytes) -> bool:
        """Whether the element there has this path and is read in the same way."""
        found = data[at : at + self.size]
        if len(found) < self.size or not data.startswith(path, at + self.path):
            return False
        return int.from_bytes(found, "little") & self.mask == self.bits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Chunk:
    """How a column chunk is laid out, places counted from its first byte."""

    size: int
    offset: slice  # the chunk's own offset, which nobody reads
    place: slice  # the number that says where its data begin

    def same(self) -> int:
        """A mask of all bits but those of these two numbers."""
        mask = bytearray(b"\xff") * self.size
        for number in (self.offset, self.place):
            mask[number] = footer.DECIDING[I64][number.stop - number.start]
        return int.from_bytes(mask, "little")


_OTHER = _Chunk(
    size=0, offset=slice(0, 0), place=slice(0, 0)
)  # one that is not its column's: nobody asks for it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Group:
    """How a row group is laid out, places counted from its first byte."""

    rows: int
    chunks: list[tuple[int, _Chunk]]


class Outline:
    """A footer's row groups and chunks; `tail` is what `footer.read` gives.

    `leaves` are the paths of the schema's columns. Raises FormatError (`footer-thrift`, `footer-schema`) for what is no
    footer.
    """

    def __init__(self, tail: bytes) -> None:
        self._data = tail[: -footer.TAIL]
        walk = _Walk(self._data)
        with footer.malformed():
            walk.footer()
        self._groups, self.leaves = walk.groups, walk.leaves
        self.misplaced = list(walk.misplaced.values())
        self._keys = walk.keys

    @property
    def rows(self) -> list[int]:
        """The rows of each row group."""
        return [footer.number(self._data, start + group.rows) for start, group in self._groups]

    def index(self, path: list[str]) -> int | None:
        """The number of the leaf with this path, or None if there is none, or several."""
        wanted = tuple(part.encode() for part in path)
        return self.leaves.index(wanted) if self.leaves.count(wanted) == 1 else None

    def column(self, index: int) -> list[Struct]:
        """What is said of a leaf's chunks, a ColumnMeta struct for each row group.

        pyarrow's own view of a chunk ends the process where a stranger's file names a codec unknown to it, counts
        levels wrongly or says that it is encrypted. Raises FormatError if chunks are `misplaced`, or (`footer-thrift`)
        one does not say where its data lie.
        """
        _refuse(self.misplaced)
        return list(self._column(index))

    def check(self) -> None:
        """Raises FormatError if readers would take this footer in different ways.

        `chunk-columns`: chunks are not those of the schema, in order; `chunk-elsewhere`: in another file, or encrypted;
        `footer-keys`: a key stands twice.
        """
        _refuse([*self.misplaced, *self._repeated()])

    def _repeated(self) -> list[Problem]:
        twice = [key for key, count in Counter(self._keys).items() if count > 1]
        return [problem("footer-keys", f"key {_told((key,))}", "once") for key in twice]

    def _column(self, index: int) -> Iterator[Struct]:
        """Most chunks differ in nothing but where they lie, and are not decoded again: 10 GB have hundreds of them."""
        last, mask, before = None, 0, 0
        meta: Struct = {}
        for start, group in self._groups:
            first, chunk = group.chunks[index]
            at = start + first
            if chunk is not last:
                last, mask, before = chunk, chunk.same(), -1
            bits = int.from_bytes(self._data[at : at + chunk.size], "little") & mask
            if bits == before:
                place = footer.number(self._data, at + chunk.place.start)
                meta = meta | {ColumnMeta.DATA_PAGE: (I64, place)}
            else:
                meta, before = self._meta(at), bits
            yield meta

    def _meta(self, at: int) -> Struct:
        chunk, _ = footer.decode(self._data, at, _CHUNK)
        if not footer.fits(chunk, {Chunk.META: footer.COLUMN}):
            raise footer.unreadable("a column chunk that does not say where its data lie")
        meta: Struct = get(chunk, Chunk.META)
        return meta


def _refuse(found: list[Problem]) -> None:
    if found:
        raise FormatError("other readers would find other data in this file", problems=found)


_CHUNK = FILE_META_DATA[FileMetaData.GROUPS][1][1][RowGroup.COLUMNS][1][1]


class _Walk(Reader):
    """Reads a footer, and remembers how its row groups and chunks are read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.leaves: list[Path] = []
        self.keys: list[bytes] = []
        self.groups: list[tuple[int, _Group]] = []
        self.misplaced: dict[str, Problem] = {}
        self._written: list[bytes] = []  # how the paths of the leaves are written
        self._alike: list[tuple[_Form, _Group]] = []
        self._chunks: dict[
            tuple[int, int], list[tuple[_Form, _Chunk]]
        ] = {}  # by the parts and bytes of the path
        self._patience = _PATIENCE * len(data)
        self.bytes = data

    def footer(self) -> None:
        """Read it all."""
        met = set[int]()
        for field, kind, inside in self.fields(FILE_META_DATA):
            met.add(field)
            if field == FileMetaData.GROUPS:
                self._read_groups(inside)
                continue
            value = self.value(kind, inside)
            if field == FileMetaData.SCHEMA:
                self.leaves = leaves(value[1])
                self._written = [_written(path) for path in self.leaves]
            elif field == FileMetaData.KEYS:
                self.keys = [_key(pair) for pair in value[1]]
        if not met >= {FileMetaData.SCHEMA, FileMetaData.ROWS, FileMetaData.GROUPS}:
            raise Malformed("no schema, rows or row groups")

    def _read_groups(self, of: Any) -> None:
        _, inside, count = self.header(of)
        self.count(1)
        noting = count * len(self.leaves) > _FEW
        for _ in range(count):
            start, self.noted = self.at, [] if noting else None
            alike = self._recall(self._alike)
            self.groups.append((start, alike[1] if alike else self._new_group(inside)))
        self.noted = None
        self.end_list()

    def _new_group(self, inside: Any) -> _Group:
        start, mark = self.at, self._mark()
        self.count(1)
        rows, chunks = 0, None
        for field, kind, of in self.fields(inside):
            if field == RowGroup.COLUMNS:
                chunks = self._read_chunks(start, of)
                continue
            if field == RowGroup.ROWS:
                rows = self.at - start
            self.value(kind, of)
        if not rows or chunks is None:
            raise Malformed("a row group without chunks, or that does not count its rows")
        group = _Group(rows=rows, chunks=chunks)
        self._remember(self._alike, mark, group)
        return group

    def _read_chunks(self, start: int, of: Any) -> list[tuple[int, _Chunk]]:
        kind, inside, count = self.header(of)
        self.count(1)
        if count != len(self.leaves):
            self._tell("chunk-columns", f"{len(self.leaves)} chunks", count)
        chunks = []
        for column in range(min(count, len(self.leaves))):
            first = self.at - start
            chunks.append((first, self._chunk(column, inside)))
        for _ in range(len(self.leaves), count):
            self.element(kind, inside)
        self.end_list()
        return chunks

    def _chunk(self, column: int, inside: Any) -> _Chunk:
        start, leaf, written = self.at, self.leaves[column], self._written[column]
        mine = self._chunks.setdefault((len(leaf), len(written)), [])
        alike = self._recall(mine, written)
        if alike is None:
            return self._new_chunk(leaf, mine, inside)
        form, chunk = alike
        self._note(start, form.mask.to_bytes(form.size, "little"))
        self._note(start + form.path, b"\xff" * len(written))
        return chunk

    def _new_chunk(self, leaf: Path, mine: list[tuple[_Form, _Chunk]], inside: Any) -> _Chunk:
        start, mark, names = self.at, self._mark(), Path()
        self.count(1)
        path = offset = place = slice(0, 0)
        for field, kind, of in self.fields(inside):
            if field == Chunk.META:
                names, path, place = self._meta(start, of)
                continue
            first = self.at - start
            self.value(kind, of)
            if field == Chunk.OFFSET:
                offset = slice(first, self.at - start)
            elif field in ELSEWHERE:
                self._tell("chunk-elsewhere")
        if names != leaf:
            self._tell("chunk-columns", _told(leaf), _told(names))
            return _OTHER
        chunk = _Chunk(size=self.at - start, offset=offset, place=place)
        if self.bytes[start + path.start : start + path.stop] == _written(leaf):
            self._note(start + path.start, bytes(path.stop - path.start))
            self._remember(mine, mark, chunk, path.start)
            self._note(start + path.start, b"\xff" * (path.stop - path.start))
        return chunk

    def _meta(self, start: int, inside: Any) -> tuple[Path, slice, slice]:
        """The path of a chunk that begins at `start`, its place there, and that of the number where its data begin."""
        self.count(1)
        names, path, place = Path(), slice(0, 0), slice(0, 0)
        for field, kind, of in self.fields(inside):
            if field == ColumnMeta.PATH:
                names, first = self._names(of)
                path = slice(first - start, self.at - start)
                continue
            first = self.at - start
            self.value(kind, of)
            if field == ColumnMeta.DATA_PAGE:
                place = slice(first, self.at - start)
        return names, path, place

    def _names(self, of: Any) -> tuple[Path, int]:
        """A list of texts, and where the first of them begins."""
        kind, inside, count = self.header(of)
        self.count(1)
        first = self.at
        names = tuple(self.element(kind, inside) for _ in range(count))
        self.end_list()
        return names, first

    def _tell(self, rule: str, expected: object = "", found: object = "") -> None:
        """Note a rule broken by a row group; the first is enough."""
        self.misplaced.setdefault(
            rule, problem(rule, f"row group {len(self.groups)}", expected, found)
        )

    def _recall(self, forms: list[tuple[_Form, _T]], path: bytes = b"") -> tuple[_Form, _T] | None:
        """What was remembered of an element that is read as the one here, which is passed over then."""
        for form, what in forms:
            if self._patience < 0:
                return None  # a stranger's footer cannot make the walk compare for hours
            if form.fits(self.bytes, self.at, path):
                self.at += form.size
                self.count(form.values)
                return form, what
            self._patience -= form.size
        return None

    def _mark(self) -> tuple[int, int, int]:
        """Where an element begins: in the bytes, among the values, among what is noted."""
        return self.at, self.values, len(self.noted or ())

    def _note(self, at: int, deciding: bytes) -> None:
        if self.noted is not None:
            self.noted.append((at, deciding))

    def _remember(
        self, forms: list[tuple[_Form, _T]], mark: tuple[int, int, int], what: _T, path: int = 0
    ) -> None:
        if self.noted is None:
            return
        start, values, noted = mark
        mask = bytearray(b"\xff") * (self.at - start)
        for at, deciding in self.noted[noted:]:
            mask[at - start : at - start + len(deciding)] = deciding
        number = int.from_bytes(mask, "little")
        bits = int.from_bytes(self.bytes[start : self.at], "little") & number
        forms.insert(0, (_Form(len(mask), number, bits, path, self.values - values), what))
        del forms[_MOST:]


def _key(pair: Struct) -> bytes:
    if 1 not in pair:
        raise Malformed("a key without a name")
    return bytes(pair[1][1])


def _written(path: Path) -> bytes:
    """How the names of a path are written, one after the other."""
    return b"".join(footer.varint(len(name)) + name for name in path)


def leaves(schema: list[Struct]) -> list[Path]:
    """The paths of a schema's leaves, in order; FormatError (`footer-schema`) if its elements are no tree."""
    elements = iter(schema)
    root = next(elements, {})
    found: list[Path] = []
    for _ in range(_children(root)):
        found += _below(elements, ())
    if next(elements, None) is not None:
        raise _no_tree("elements left over")
    return found


def _below(elements: Iterator[Struct], above: Path) -> Iterator[Path]:
    element = next(elements, None)
    if element is None or len(above) == _MAX_NESTED:
        raise _no_tree("too few elements" if element is None else "columns nested too deep")
    path, children = (*above, get(element, SchemaElement.NAME, b"")), _children(element)
    if (SchemaElement.TYPE in element) == (children > 0):
        raise _no_tree("an element that is neither a group nor a column, or both")
    if not children:
        yield path
    for _ in range(children):
        yield from _below(elements, path)


def _children(element: Struct) -> int:
    return max(int(get(element, SchemaElement.CHILDREN, 0)), 0)


def _no_tree(found: str) -> FormatError:
    return broken("footer-schema", "footer", "a tree of columns", found)


def _told(path: Path) -> str:
    text = b".".join(path)[:_MAX_TOLD].decode("utf-8", "replace")
    return repr(text)[1:-1]  # a stranger's names may hold control characters
