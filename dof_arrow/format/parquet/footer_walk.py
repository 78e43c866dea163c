"""One walk through a footer, field by field: where its row groups and chunks stand (SPEC 2.2)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dof_arrow.errors import Problem
from dof_arrow.format.parquet.compact import BINARY, DECIDING, I64, Malformed, Struct
from dof_arrow.format.parquet.footer import Chunk, ColumnMeta, FileMetaData, RowGroup
from dof_arrow.format.parquet.forms import Mark, Remembered, RememberingReader
from dof_arrow.format.parquet.schema_tree import LeafPath, leaf_paths, shown, written
from dof_arrow.format.parquet.thrift import FILE_META_DATA
from dof_arrow.format.spec.rules import problem

# A chunk with one of these fields cannot be read from this file.
ELSEWHERE = (Chunk.FILE, Chunk.CRYPTO, Chunk.ENCRYPTED)
_REQUIRED = {FileMetaData.SCHEMA, FileMetaData.ROWS, FileMetaData.GROUPS}
_MOST_SCHEMAS = 8  # whose forms are kept for the next footer
_SHORT = 1 << 14  # bytes: footers of which the form of the whole is kept, as those of parts are
_NOWHERE = slice(0, 0)
_KEY, _VALUE = 1, 2  # fields of a key-value pair
Places = dict[int, slice]  # by field


@dataclass(kw_only=True, eq=False)
class ChunkPlaces:
    """The size of a chunk's description, and where in it stand what chunks alike differ in."""

    size: int
    offset: slice  # the chunk's own offset, which no reader uses
    numbers: Places  # the long numbers of its metadata
    said: Places  # the long numbers of its statistics
    texts: Places  # the texts of its statistics
    last: tuple[int, Struct] | None = None  # the bits and the metadata of the chunk read last

    @cached_property
    def mask(self) -> int:
        """All bits but those that these numbers and texts may have; one number, low byte first."""
        mask = bytearray(b"\xff") * self.size
        for place in (self.offset, *self.numbers.values(), *self.said.values()):
            mask[place] = DECIDING[I64][place.stop - place.start]
        for place in self.texts.values():
            mask[place] = bytes(place.stop - place.start)
        return int.from_bytes(mask, "little")


# A chunk that is not its column's: it is a problem, and nobody asks for its places.
_NOT_ITS_COLUMNS = ChunkPlaces(size=0, offset=_NOWHERE, numbers={}, said={}, texts={})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupPlaces:
    """Where in a row group's description its row count and its chunks stand."""

    rows: int
    chunks: list[tuple[int, ChunkPlaces]]


@dataclass(slots=True, kw_only=True, eq=False)
class FooterPlaces:
    """What a walk found: columns and keys, and where all else stands.

    `leaves` are the paths of the schema's columns, `schema` is where its elements stand, `rows` the
    position of the number of all rows. `groups` has the position and the places of each row group,
    `keys` each key of the key-value pairs with the place of its value.
    """

    leaves: list[LeafPath] = field(default_factory=list)
    schema: slice = field(default_factory=lambda: _NOWHERE)
    rows: int = 0
    groups: list[tuple[int, GroupPlaces]] = field(default_factory=list)
    keys: list[tuple[bytes, slice]] = field(default_factory=list)


@dataclass(slots=True)
class _MetaPlaces:
    """Places in a chunk, while they are found; see ChunkPlaces."""

    numbers: Places = field(default_factory=dict)
    said: Places = field(default_factory=dict)
    texts: Places = field(default_factory=dict)


@dataclass(slots=True)
class _Forms:
    """How row groups and chunks of one schema were read.

    Chunks by the number of names in their path, and its bytes: only the names may differ then.
    `schema` has the bytes of the schema's elements, `values` their number.
    """

    schema: bytes = b""
    values: int = 0
    groups: Remembered[GroupPlaces] = field(default_factory=list)
    chunks: dict[tuple[int, int], Remembered[ChunkPlaces]] = field(default_factory=dict)

    def copy(self) -> _Forms:
        chunks = {kind: list(forms) for kind, forms in self.chunks.items()}
        return _Forms(self.schema, self.values, list(self.groups), chunks)


# Parts of a directory differ in little but numbers: by the paths of their columns, forms of the
# footers that were read last.
_KNOWN: OrderedDict[tuple[LeafPath, ...], _Forms] = OrderedDict()
# Whole short footers that were read last: many parts differ in numbers and texts of one length.
_WHOLE: Remembered[FooterPlaces] = []


class FooterWalk(RememberingReader):
    """Reads a whole footer with `walk`; then tells what it found.

    Elements read just as one before, of this footer or of another with the same columns, are
    passed over. `found` has what a walk finds, `misplaced` the first problem of each rule that the
    row groups break.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.found = FooterPlaces()
        self.misplaced: dict[str, Problem] = {}
        self._written: list[bytes] = []  # the paths of the leaves, as a footer has them
        self._forms = _Forms()

    def walk(self) -> None:
        """Read it all.

        Raises Malformed or IndexError, and FormatError (`footer-schema`) for elements that are no
        tree.
        """
        if len(self.bytes) > _SHORT:
            self._walk()
            return
        known = self.recall(list(_WHOLE))
        if known is not None:
            self.found = known[1]
            return
        self.noted = []
        mark = self.mark()
        self._walk()
        if not self.misplaced:
            self.remember(_WHOLE, mark, self.found)

    def _walk(self) -> None:
        met = set[int]()
        for number, kind, inside in self.fields(FILE_META_DATA):
            met.add(number)
            if number == FileMetaData.GROUPS:
                self._read_groups(inside)
            elif number == FileMetaData.SCHEMA:
                self._read_schema(kind, inside)
            elif number == FileMetaData.KEYS:
                self._read_keys(inside)
            else:
                start = self.at
                self.value(kind, inside)
                if number == FileMetaData.ROWS:
                    self.found.rows = start
        if not met >= _REQUIRED:
            raise Malformed("no schema, rows or row groups")
        if not self.misplaced:  # else a form would hide the same problem in the next footer
            self._keep_forms()

    def _read_keys(self, of: Any) -> None:
        _, inside, count = self.header(of)
        self.count(1)
        for _ in range(count):
            self._read_pair(inside)
        self.end_list()

    def _read_pair(self, inside: Any) -> None:
        self.count(1)
        key = None
        place = _NOWHERE
        for number, kind, of in self.fields(inside):
            value = self.value(kind, of)
            if number == _KEY:
                key = value
                self.note(self.at - len(value), b"\xff" * len(value))  # it decides
            elif number == _VALUE:
                place = slice(self.at - len(value), self.at)
        if key is None:
            raise Malformed("a key without a name")
        self.found.keys.append((key, place))

    def _read_schema(self, kind: int, inside: Any) -> None:
        """The paths of the columns; where the same bytes stood in a footer before, as there."""
        start = self.at
        for leaves, known in list(_KNOWN.items()):
            if self.bytes.startswith(known.schema, start):
                self.at += len(known.schema)
                self.count(known.values)
                self.found.leaves, self._forms = list(leaves), known.copy()
                break
        else:
            before = self.values
            self.found.leaves = leaf_paths(self.value(kind, inside)[1])
            self._forms = _KNOWN.get(tuple(self.found.leaves), _Forms()).copy()
            self._forms.schema = self.bytes[start : self.at]
            self._forms.values = self.values - before
        self.note(start, b"\xff" * (self.at - start))  # the columns follow from all of it
        self.found.schema = slice(start, self.at)
        self._written = [written(path) for path in self.found.leaves]

    def _keep_forms(self) -> None:
        columns = tuple(self.found.leaves)
        _KNOWN[columns] = self._forms
        _KNOWN.move_to_end(columns)
        while len(_KNOWN) > _MOST_SCHEMAS:
            _KNOWN.popitem(last=False)

    def _read_groups(self, of: Any) -> None:
        _, inside, count = self.header(of)
        self.count(1)
        noted = self.noted
        for _ in range(count):
            start = self.at
            self.noted = []
            known = self.recall(self._forms.groups)
            places = known[1] if known else self._walk_group(inside)
            self.found.groups.append((start, places))
            if noted is not None:
                form = known[0] if known else self._forms.groups[0][0]
                noted.append((start, form.mask.to_bytes(form.size, "little")))
        self.noted = noted
        self.end_list()

    def _walk_group(self, inside: Any) -> GroupPlaces:
        mark = self.mark()
        self.count(1)
        rows = 0
        chunks: list[tuple[int, ChunkPlaces]] | None = None
        for number, kind, of in self.fields(inside):
            if number == RowGroup.COLUMNS:
                chunks = self._read_chunks(mark.at, of)
                continue
            if number == RowGroup.ROWS:
                rows = self.at - mark.at
            self.value(kind, of)
        if not rows or chunks is None:
            raise Malformed("a row group without chunks, or that does not count its rows")
        places = GroupPlaces(rows=rows, chunks=chunks)
        self.remember(self._forms.groups, mark, places)
        return places

    def _read_chunks(self, group_start: int, of: Any) -> list[tuple[int, ChunkPlaces]]:
        """The chunks of a row group: position, counted from the group's start, and places."""
        kind, inside, count = self.header(of)
        self.count(1)
        expected = len(self.found.leaves)
        if count != expected:
            self._misplaced("chunk-columns", f"{expected} chunks", count)
        chunks = []
        for column in range(min(count, expected)):
            first = self.at - group_start
            chunks.append((first, self._read_chunk(column, inside)))
        for _ in range(expected, count):  # of no column: passed over, nothing is kept of them
            self.element(kind, inside)
        self.end_list()
        return chunks

    def _read_chunk(self, column: int, inside: Any) -> ChunkPlaces:
        leaf = self.found.leaves[column]
        path = self._written[column]
        kind = (len(leaf), len(path))
        forms = self._forms.chunks.setdefault(kind, [])
        start = self.at
        known = self.recall(forms, path)
        if known is None:
            return self._walk_chunk(leaf, forms, inside)
        form, places = known
        # What a walk would have noted for the group's form; the path decides there.
        self.note(start, form.mask.to_bytes(form.size, "little"))
        self.note(start + form.path, b"\xff" * len(path))
        return places

    def _walk_chunk(
        self, leaf: LeafPath, forms: Remembered[ChunkPlaces], inside: Any
    ) -> ChunkPlaces:
        mark = self.mark()
        start = mark.at
        self.count(1)
        names: LeafPath = ()
        path = offset = _NOWHERE
        meta = _MetaPlaces()
        for number, kind, of in self.fields(inside):
            if number == Chunk.META:
                names, path = self._walk_meta(start, of, meta)
                continue
            first = self.at - start
            self.value(kind, of)
            if number == Chunk.OFFSET:
                offset = slice(first, self.at - start)
            elif number in ELSEWHERE:
                self._misplaced("chunk-elsewhere")
        if names != leaf:
            self._misplaced("chunk-columns", shown(leaf), shown(names))
            return _NOT_ITS_COLUMNS
        places = ChunkPlaces(
            size=self.at - start,
            offset=offset,
            numbers=meta.numbers,
            said=meta.said,
            texts=meta.texts,
        )
        self._remember_chunk(forms, mark, places, path, written(leaf))
        return places

    def _remember_chunk(
        self,
        forms: Remembered[ChunkPlaces],
        mark: Mark,
        places: ChunkPlaces,
        path: slice,
        expected: bytes,
    ) -> None:
        first = mark.at + path.start
        size = path.stop - path.start
        if self.bytes[first : first + size] != expected:
            return  # the same names, written in another way
        # The form leaves the path open, for other columns; in the group's form the path decides.
        self.note(first, bytes(size))
        self.remember(forms, mark, places, path.start)
        self.note(first, b"\xff" * size)

    def _walk_meta(
        self, chunk_start: int, inside: Any, places: _MetaPlaces
    ) -> tuple[LeafPath, slice]:
        """The path of a chunk, and where in the chunk it stands; notes other places there."""
        self.count(1)
        names: LeafPath = ()
        path = _NOWHERE
        for number, kind, of in self.fields(inside):
            if number == ColumnMeta.PATH:
                names, first = self._names(of)
                path = slice(first - chunk_start, self.at - chunk_start)
                continue
            if number == ColumnMeta.STATISTICS:
                self._walk_statistics(chunk_start, of, places)
                continue
            first = self.at - chunk_start
            self.value(kind, of)
            if kind == I64:
                places.numbers[number] = slice(first, self.at - chunk_start)
        return names, path

    def _walk_statistics(self, chunk_start: int, inside: Any, places: _MetaPlaces) -> None:
        self.count(1)
        for number, kind, of in self.fields(inside):
            first = self.at - chunk_start
            value = self.value(kind, of)
            end = self.at - chunk_start
            if kind == I64:
                places.said[number] = slice(first, end)
            elif kind == BINARY:
                places.texts[number] = slice(end - len(value), end)

    def _names(self, of: Any) -> tuple[LeafPath, int]:
        """A list of texts, and where the first of them begins."""
        kind, inside, count = self.header(of)
        self.count(1)
        first = self.at
        names = tuple(self.element(kind, inside) for _ in range(count))
        self.end_list()
        return names, first

    def _misplaced(self, rule: str, expected: object = "", found: object = "") -> None:
        where = f"row group {len(self.found.groups)}"
        self.misplaced.setdefault(rule, problem(rule, where, expected, found))
