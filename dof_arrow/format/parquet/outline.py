"""The outline of a footer: where its row groups and chunks stand (SPEC 2.2).

Bytes are never searched for: what looks like a column's path may stand in a text as well. One walk
from field to field finds everything (`footer_walk`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dof_arrow.errors import FormatError, Problem
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.compact import I64, Struct, get, number_at
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
        self.leaves = walk.leaves
        self.misplaced = list(walk.misplaced.values())
        self._groups = walk.groups
        self._keys = walk.keys
        self._known: dict[int, list[Struct]] = {}

    @property
    def rows(self) -> list[int]:
        """The number of rows of each row group."""
        return [number_at(self._data, start + places.rows) for start, places in self._groups]

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
        for key, count in Counter(self._keys).items():
            if count > 1:
                yield problem("footer-keys", f"key {shown((key,))}", "once")

    def _column(self, index: int) -> Iterator[Struct]:
        """Decode a chunk only if it differs from the last one in more than where it lies.

        Few do: a file of 10 GB has hundreds of row groups.
        """
        last: ChunkPlaces | None = None
        mask = 0
        known = -1  # the last chunk's bits under the mask; no bits are negative
        meta: Struct = {}
        for start, group in self._groups:
            first, places = group.chunks[index]
            at = start + first
            if places is not last:
                last = places
                mask = places.mask()
                known = -1
            bits = int.from_bytes(self._data[at : at + places.size], "little") & mask
            if bits == known:
                data_page = number_at(self._data, at + places.data_page.start)
                meta = meta | {ColumnMeta.DATA_PAGE: (I64, data_page)}
            else:
                meta = self._meta(at)
                known = bits
            yield meta

    def _meta(self, at: int) -> Struct:
        chunk, _ = footer.decode(self._data, at, COLUMN_CHUNK)
        if not footer.fits(chunk, {Chunk.META: footer.COLUMN}):
            raise footer.unreadable("a column chunk that does not say where its data lie")
        meta: Struct = get(chunk, Chunk.META)
        return meta


def _refuse(found: list[Problem]) -> None:
    if found:
        raise FormatError("other readers would find other data in this file", problems=found)
