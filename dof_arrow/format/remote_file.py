"""A DoF file on a store: opened by its footer, its columns fetched when they are asked for.

Single rows come by exact ranges, proved from the footer alone (SPEC 6.5). All else comes by whole
segments, each compared with its digest, into a sparse copy of the file; there it is read as a file
on the disk is. Who asks for the open file itself, as commands do that copy its bytes, gets the
whole of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError
from dof_arrow.format.columns import Places
from dof_arrow.format.fetched import Fetched, object_of
from dof_arrow.format.file import File, proved_by_footer
from dof_arrow.format.named import Named
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.layout import Fixed, fixed
from dof_arrow.format.parquet.names_proof import NamesRegion
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.spec.arrow import is_vector, vector_array
from dof_arrow.once import once
from dof_arrow.storage.addresses import Address, Location
from dof_arrow.storage.memory_map import OpenFile, Region, Stitched
from dof_arrow.storage.remote import Span

_MOST = 0.5  # of a row group's rows: of more, the whole segment is fetched


class RemoteFile(File):
    """A file at an address; it must stay as it is, and is refused once it does not.

    Raises UsageError, SourceError or MissingExtra if the store does not give it, FormatError as
    `File` does.
    """

    path: Address

    def _opened(self) -> tuple[int, bytes]:
        self._source, tail = object_of(self.path)
        return self._source.size, tail

    @property
    def version(self) -> str:
        """What the store calls the object as it was opened: its tag, if it has one."""
        return self._source.version

    @once
    def fetched(self) -> Fetched:
        """The segments of the file, as far as they were asked for."""
        self.outline.check()
        seal = self.seal if self.state == "sealed" else None
        return Fetched(self._source, self.tail, seal)

    @once
    def _copy(self) -> _Copy:
        return _Copy(self)

    @property
    def file(self) -> int:
        """The descriptor of a copy on this machine, all of which is fetched now."""
        self.fetched.fetch(range(len(self.fetched.segments)))
        return self._copy.file

    @property
    def memory(self) -> memoryview:
        """The whole file, fetched now and mapped to be read."""
        self.fetched.fetch(range(len(self.fetched.segments)))
        return self._copy.memory

    def regions(self, column: Fixed) -> list[Region]:
        """Where the column's values lie; of a sealed file nothing but the footer is looked at."""
        if self.state == "sealed":
            return proved_by_footer(self.footer_start, self.outline, column, self.rows)
        return self.copy_with(column.name).regions(column)

    def places(self, column: Fixed) -> list[tuple[OpenFile, Region]]:
        return self.copy_with(column.name).places(column)

    def views(self, column: Fixed) -> list[np.ndarray]:
        return self.copy_with(column.name).views(column)

    def stitched(self, column: Fixed) -> Stitched | None:
        return self.copy_with(column.name).stitched(column)

    def _stitch(self, column: Fixed) -> Stitched | None:
        return self.copy_with(column.name)._stitch(column)

    def mapped_names(self, field: pa.Field, classes: Sequence[str] | None) -> Named:
        return self.copy_with(field.name).mapped_names(field, classes)

    def names_regions(self, name: str) -> list[NamesRegion]:
        return self.copy_with(name).names_regions(name)

    def decoded(self, name: str) -> pa.Array:
        return self.copy_with(name).decoded(name)

    def some_rows(self, name: str, rows: Places) -> pa.Array | None:
        return self.copy_with(name).some_rows(name, rows)

    def check(self) -> None:
        """Fetch every byte of a sealed file, and compare it with its digest."""
        if self.state == "sealed":
            self.fetched.fetch(range(len(self.fetched.segments)))

    def attachment(self, offset: int, length: int) -> bytes:
        """The bytes of an attachment: the errors table, a document."""
        if offset + length > self.footer_start:
            raise FormatError("an attachment does not lie in the file", str(self.path))
        return bytes(self.fetched.read([(offset, offset + length)])[0]) if length else b""

    def taken(self, name: str, rows: Places, *, writable: bool = False) -> np.ndarray:
        """Some rows of a column; of vectors no others are fetched, where these are few."""
        column = fixed(self.schema.field(name))
        is_whole = isinstance(rows, slice) and rows.stop - rows.start == self.rows
        if column is None or not column.nested or is_whole:
            return super().taken(name, rows, writable=writable)
        try:
            regions = self.regions(column)
        except Unproved:
            return super().taken(name, rows, writable=writable)
        places = rows
        if isinstance(places, slice):
            places = np.arange(places.start, places.stop)
        return self._rows(column, regions, places)

    def array(self, name: str, rows: Places) -> pa.Array | pa.ChunkedArray:
        """Some rows of a column as Arrow has it."""
        field = self.schema.field(name)
        if not is_vector(field):
            return super().array(name, rows)
        return vector_array(np.ascontiguousarray(self.taken(name, rows)), field)

    def group(self, column: Fixed, region: Region, room: Callable[..., Any]) -> np.ndarray:
        """The values [n, D] of a column in one row group, its segment fetched and checked.

        `room` gives the memory for it, as `dof_arrow.tables.buffers.Room.take` does.
        """
        (number,) = self.fetched.holding([(region.offset, region.offset + region.length)])
        start, stop = self.fetched.segments[number]
        before = region.offset - start
        data = self.fetched.segment(number, room(stop - start, before).data)
        count = region.length // column.stored.itemsize
        values = np.frombuffer(data, column.stored, count, before)
        return values.reshape(-1, column.items)

    def _rows(self, column: Fixed, regions: Sequence[Region], rows: np.ndarray) -> np.ndarray:
        """Rows [k, D] of a column of vectors, by exact ranges where they are few."""
        sizes = [region.length // column.width for region in regions]
        starts = np.cumsum([0, *sizes])
        wanted, back = np.unique(rows, return_inverse=True)
        group = np.searchsorted(starts, wanted, side="right") - 1
        offsets = np.array([region.offset for region in regions], np.int64)
        first = offsets[group] + (wanted - starts[group]) * column.width
        counts = np.bincount(group, minlength=len(sizes))
        many = [place for place, size in enumerate(sizes) if counts[place] > _MOST * size]
        chosen = [regions[place] for place in many]
        self.fetched.fetch(self.fetched.holding(_spans(chosen)))
        spans = list(zip(first.tolist(), (first + column.width).tolist(), strict=True))
        found = np.empty((len(wanted), column.items), column.stored)
        for row, data in enumerate(self._read(spans)):
            found[row] = np.frombuffer(data, column.stored)
        return found[back]

    def _read(self, spans: list[Span]) -> list[memoryview]:
        """Exact ranges, each from its segment if that is here, else from the store."""
        here = [self.fetched.are_here(self.fetched.holding([span])) for span in spans]
        afar = iter(
            self.fetched.read([s for s, is_here in zip(spans, here, strict=True) if not is_here])
        )
        found = []
        for span, is_here in zip(spans, here, strict=True):
            found.append(self.fetched.read([span])[0] if is_here else next(afar))
        return found

    def remote_files(self) -> list[RemoteFile]:
        """Itself, as a directory has its parts."""
        return [self]

    def copy_with(self, name: str) -> File:
        """The copy on this machine, once it has all segments of a column."""
        self.fetch_column(name)
        return self._copy

    def fetch_column(self, name: str) -> None:
        """Have all segments of a column on this machine."""
        spans = []
        for number, path in enumerate(self.outline.leaves):
            if path[0].decode("utf-8", "replace") == name:
                spans += [footer.chunk_range(chunk) for chunk in self.outline.column(number)]
        self.fetched.fetch(self.fetched.holding(spans))


def file_at(place: Location) -> File:
    """A file on this machine or on a store; raises as these do."""
    return RemoteFile(place) if isinstance(place, Address) else File(place)


class _Copy(File):
    """The sparse copy of a remote file; whoever asks it for a column has fetched that column."""

    def __init__(self, of: RemoteFile) -> None:
        for name in ("path", "size", "tail", "footer_start", "parquet", "json", "seal", "state"):
            setattr(self, name, getattr(of, name))
        for name in ("schema", "rows", "outline", "speaker"):
            setattr(self, name, getattr(of, name))
        super(File, self).__init__()
        self._decoded = {}
        self._blocks = of.fetched.blocks

    @property
    def file(self) -> int:
        """The descriptor of the copy."""
        return self._blocks.file


def _spans(regions: Sequence[Region]) -> list[Span]:
    return [(region.offset, region.offset + region.length) for region in regions]
