"""The outline of a footer: where its row groups and chunks stand (SPEC 2.2).

Bytes are never searched for: what looks like a column's path may stand in a text as well. One walk
from field to field finds everything (`footer_walk`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dof_arrow.errors import FormatError, Problem
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.compact import BINARY, I64, STRUCT, Struct, get, number_at
from dof_arrow.format.parquet.footer import Chunk, ColumnMeta
from dof_arrow.format.parquet.footer_walk import ChunkPlaces, FooterWalk
from dof_arrow.format.parquet.schema_tree import shown
from dof_arrow.format.parquet.thrift import COLUMN_CHUNK
from dof_arrow.format.spec.rules import problem

_FEW = 8  # chunks of a column that are kept: a directory has many parts of one row group each


class Outline:
    """The row groups and chunks of a footer; `tail` is what `footer.read` gives.

    `leaves` has the paths of the schema's columns, `misplaced` the problems of row groups whose
    chunks are not those of the schema. Raises FormatError (`footer-thrift`, `footer-schema`) for
    what is no footer.
    """

    def __init__(self, tail: bytes) -> None:
        self._data = tail[: -footer.TAIL]
        walk = FooterWalk(self._data)
        with footer.malformed():
            walk.walk()
        self.leaves = walk.found.leaves
        self.misplaced = list(walk.misplaced.values())
        self._found = walk.found
        self._known: dict[int, list[Struct]] = {}

    @property
    def rows(self) -> list[int]:
        """The number of rows of each row group."""
        return [number_at(self._data, start + places.rows) for start, places in self._found.groups]

    @property
    def all_rows(self) -> int:
        """The number of rows of the file, as the footer says it."""
        return number_at(self._data, self._found.rows)

    @property
    def schema(self) -> bytes:
        """The bytes of the schema's elements, from which all columns follow."""
        return self._data[self._found.schema]

    def text(self, key: bytes) -> bytes | None:
        """The value of a key; None if it is not there."""
        for known, place in self._found.keys:
            if known == key:
                return self._data[place]
        return None

    def index(self, path: list[str]) -> int | None:
        """The number of the leaf with this path, or None if there is none, or several."""
        wanted = tuple(part.encode() for part in path)
        if self.leaves.count(wanted) != 1:
            return None
        return self.leaves.index(wanted)

    def column(self, index: int) -> list[Struct]:
        """The ColumnMeta struct of a leaf's chunk in each row group.

        pyarrow's own view of a chunk ends the process where a stranger's file names a codec unknown
        to it, counts levels wrongly or says that it is encrypted. Raises FormatError if chunks are
        `misplaced`, or (`footer-thrift`) one does not say where its data lie.
        """
        _refuse(self.misplaced)
        if index not in self._known:
            found = list(self._column(index))
            if len(found) > _FEW:
                return found
            self._known[index] = found
        return self._known[index]

    def check(self) -> None:
        """Raise FormatError if readers would take this footer in different ways.

        `chunk-columns`: chunks are not those of the schema, in order; `chunk-elsewhere`: a chunk is
        in another file, or encrypted; `footer-keys`: a key stands twice.
        """
        _refuse([*self.misplaced, *self._repeated_keys()])

    def _repeated_keys(self) -> Iterator[Problem]:
        keys = [key for key, _ in self._found.keys]
        if len(set(keys)) == len(keys):
            return
        for key, count in Counter(keys).items():
            if count > 1:
                yield problem("footer-keys", f"key {shown((key,))}", "once")

    def _column(self, index: int) -> Iterator[Struct]:
        """Decode a chunk only if it differs from the last one in more than numbers and bounds.

        Few do: a file of 10 GB has hundreds of row groups, a directory hundreds of parts.
        """
        for start, group in self._found.groups:
            first, places = group.chunks[index]
            at = start + first
            bits = int.from_bytes(self._data[at : at + places.size], "little") & places.mask
            known = places.last
            if known is None or known[0] != bits:
                meta = self._meta(at)
                places.last = (bits, meta)
            else:
                meta = self._renewed(known[1], at, places)
            yield meta

    def _renewed(self, meta: Struct, at: int, places: ChunkPlaces) -> Struct:
        """What is said of a chunk that differs from another one in some numbers and texts alone."""
        data = self._data
        new: Struct = {}
        for number, place in places.numbers.items():
            new[number] = (I64, number_at(data, at + place.start))
        if places.said or places.texts:
            said: Struct = dict(get(meta, ColumnMeta.STATISTICS))
            for number, place in places.said.items():
                said[number] = (I64, number_at(data, at + place.start))
            for number, place in places.texts.items():
                said[number] = (BINARY, data[at + place.start : at + place.stop])
            new[ColumnMeta.STATISTICS] = (STRUCT, said)
        return meta | new

    def _meta(self, at: int) -> Struct:
        chunk, _ = footer.decode(self._data, at, COLUMN_CHUNK)
        if not footer.fits(chunk, {Chunk.META: footer.COLUMN}):
            raise footer.unreadable("a column chunk that does not say where its data lie")
        meta: Struct = get(chunk, Chunk.META)
        return meta


def _refuse(found: list[Problem]) -> None:
    if found:
        raise FormatError("other readers would find other data in this file", problems=found)
