"""One walk through a footer, field by field: where its row groups and chunks stand (SPEC 2.2)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from dof_arrow.errors import Problem
from dof_arrow.format.parquet.compact import DECIDING, I64, Malformed, Struct
from dof_arrow.format.parquet.footer import Chunk, ColumnMeta, FileMetaData, RowGroup
from dof_arrow.format.parquet.forms import Mark, Remembered, RememberingReader
from dof_arrow.format.parquet.schema_tree import LeafPath, leaf_paths, shown, written
from dof_arrow.format.parquet.thrift import FILE_META_DATA
from dof_arrow.format.spec.rules import problem

# A chunk with one of these fields cannot be read from this file.
ELSEWHERE = (Chunk.FILE, Chunk.CRYPTO, Chunk.ENCRYPTED)
_REQUIRED = {FileMetaData.SCHEMA, FileMetaData.ROWS, FileMetaData.GROUPS}
_MOST_SCHEMAS = 8  # whose forms are kept for the next footer
_NOWHERE = slice(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChunkPlaces:
    """The size of a chunk's description, and where in it two numbers stand."""

    size: int
    offset: slice  # the chunk's own offset, which no reader uses
    data_page: slice  # the number that says where the chunk's data begin

    def mask(self) -> int:
        """All bits but those of the two numbers, as one number, low byte first."""
        mask = bytearray(b"\xff") * self.size
        for place in (self.offset, self.data_page):
            size = place.stop - place.start
            mask[place] = DECIDING[I64][size]
        return int.from_bytes(mask, "little")


# A chunk that is not its column's: it is a problem, and nobody asks for its places.
_NOT_ITS_COLUMNS = ChunkPlaces(size=0, offset=_NOWHERE, data_page=_NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupPlaces:
    """Where in a row group's description its row count and its chunks stand."""

    rows: int
    chunks: list[tuple[int, ChunkPlaces]]


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


class FooterWalk(RememberingReader):
    """Reads a whole footer with `walk`; then tells what it found.

    Elements read just as one before, of this footer or of another with the same columns, are
    passed over. `groups` has the position and the places of each row group, `leaves` the paths of
    the schema's columns, `keys` the keys of the key-value pairs, `misplaced` the first problem of
    each rule that the row groups break.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.leaves: list[LeafPath] = []
        self.keys: list[bytes] = []
        self.groups: list[tuple[int, GroupPlaces]] = []
        self.misplaced: dict[str, Problem] = {}
        self._written: list[bytes] = []  # the paths of the leaves, as a footer has them
        self._forms = _Forms()

    def walk(self) -> None:
        """Read it all.

        Raises Malformed or IndexError, and FormatError (`footer-schema`) for elements that are no
        tree.
        """
        met = set[int]()
        for number, kind, inside in self.fields(FILE_META_DATA):
            met.add(number)
            if number == FileMetaData.GROUPS:
                self._read_groups(inside)
                continue
            if number == FileMetaData.SCHEMA:
                self._read_schema(kind, inside)
                continue
            value = self.value(kind, inside)
            if number == FileMetaData.KEYS:
                self.keys = [_key(pair) for pair in value[1]]
        if not met >= _REQUIRED:
            raise Malformed("no schema, rows or row groups")
        if not self.misplaced:  # else a form would hide the same problem in the next footer
            self._keep_forms()

    def _read_schema(self, kind: int, inside: Any) -> None:
        """The paths of the columns; where the same bytes stood in a footer before, as there."""
        start = self.at
        for leaves, known in list(_KNOWN.items()):
            if self.bytes.startswith(known.schema, start):
                self.at += len(known.schema)
                self.count(known.values)
                self.leaves, self._forms = list(leaves), known.copy()
                break
        else:
            before = self.values
            self.leaves = leaf_paths(self.value(kind, inside)[1])
            self._forms = _KNOWN.get(tuple(self.leaves), _Forms()).copy()
            self._forms.schema = self.bytes[start : self.at]
            self._forms.values = self.values - before
        self._written = [written(path) for path in self.leaves]

    def _keep_forms(self) -> None:
        columns = tuple(self.leaves)
        _KNOWN[columns] = self._forms
        _KNOWN.move_to_end(columns)
        while len(_KNOWN) > _MOST_SCHEMAS:
            _KNOWN.popitem(last=False)

    def _read_groups(self, of: Any) -> None:
        _, inside, count = self.header(of)
        self.count(1)
        for _ in range(count):
            start = self.at
            self.noted = []
            known = self.recall(self._forms.groups)
            places = known[1] if known else self._walk_group(inside)
            self.groups.append((start, places))
        self.noted = None
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
        expected = len(self.leaves)
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
        leaf = self.leaves[column]
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
        path = offset = data_page = _NOWHERE
        for number, kind, of in self.fields(inside):
            if number == Chunk.META:
                names, path, data_page = self._walk_meta(start, of)
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
        places = ChunkPlaces(size=self.at - start, offset=offset, data_page=data_page)
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

    def _walk_meta(self, chunk_start: int, inside: Any) -> tuple[LeafPath, slice, slice]:
        """The path of a chunk, and where in the chunk the path and the data page's number stand."""
        self.count(1)
        names: LeafPath = ()
        path = data_page = _NOWHERE
        for number, kind, of in self.fields(inside):
            if number == ColumnMeta.PATH:
                names, first = self._names(of)
                path = slice(first - chunk_start, self.at - chunk_start)
                continue
            first = self.at - chunk_start
            self.value(kind, of)
            if number == ColumnMeta.DATA_PAGE:
                data_page = slice(first, self.at - chunk_start)
        return names, path, data_page

    def _names(self, of: Any) -> tuple[LeafPath, int]:
        """A list of texts, and where the first of them begins."""
        kind, inside, count = self.header(of)
        self.count(1)
        first = self.at
        names = tuple(self.element(kind, inside) for _ in range(count))
        self.end_list()
        return names, first

    def _misplaced(self, rule: str, expected: object = "", found: object = "") -> None:
        where = f"row group {len(self.groups)}"
        self.misplaced.setdefault(rule, problem(rule, where, expected, found))


def _key(pair: Struct) -> bytes:
    if 1 not in pair:
        raise Malformed("a key without a name")
    return bytes(pair[1][1])
