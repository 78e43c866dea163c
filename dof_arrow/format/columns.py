"""Columns of an open dataset, as numpy and Arrow arrays, whatever files they lie in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.format.named import Named, from_array
from dof_arrow.format.parquet.layout import Fixed, fixed
from dof_arrow.format.parquet.names_proof import NamesRegion
from dof_arrow.format.parquet.page_rows import PageRows
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.spec.arrow import flat_array, is_vector, numpy_values, vector_array
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.spec.names import categories, holds_names, is_names
from dof_arrow.storage.addresses import Location
from dof_arrow.storage.memory_map import OpenFile, Region, Stitched, stitchable

Places = slice | NDArray[np.int64]


class Columns(ABC):
    """Columns in one file or several, mapped where their layout allows it, else decoded."""

    path: Location
    schema: pa.Schema
    rows: int

    def __init__(self) -> None:
        self._maps: dict[str, Stitched | None] = {}  # None: it cannot be mapped
        self._pieces: dict[str, pa.ChunkedArray | None] = {}
        self._named: dict[str, Named | None] = {}
        self._whole: dict[str, np.ndarray] = {}
        self._proved: dict[str, list[Region]] = {}
        self._proved_names: dict[str, list[NamesRegion]] = {}
        self._alone = set[str]()  # columns that cannot be decoded with those of other files
        self._paged: dict[str, PageRows | None] = {}  # None: not to be read by pages

    @property
    @abstractmethod
    def metadata(self) -> Metadata:
        """What the table says about itself."""

    @property
    def meaning(self) -> Metadata:
        """What says which names its columns may have; of a part, its directory's manifest."""
        return self.metadata

    @abstractmethod
    def views(self, column: Fixed) -> list[np.ndarray]:
        """The column's stored values, over each row group's own memory; raises Unproved."""

    def named(self, name: str) -> Named | None:
        """A category or a split as codes and names; None for any other column."""
        if name not in self._named:
            self._named[name] = self._names_of(name)
        return self._named[name]

    @abstractmethod
    def places(self, column: Fixed) -> list[tuple[OpenFile, Region]]:
        """Where the column's values lie, each region with its file.

        Raises Unproved if the values must be decoded.
        """

    @abstractmethod
    def decoded(self, name: str) -> pa.Array:
        """A column as one Arrow array in memory of its own."""

    def stitched(self, column: Fixed) -> Stitched | None:
        """The column's values as one run of mapped memory.

        None if the layout or the system does not allow it.
        """
        if column.name not in self._maps:
            self._maps[column.name] = self._stitch(column)
        return self._maps[column.name]

    def _stitch(self, column: Fixed) -> Stitched | None:
        try:
            places = self.places(column)
            regions = [region for _, region in places]
            return Stitched(places) if stitchable(regions) else None
        except (Unproved, OSError):  # the system maps no more, say
            return None

    def mapped(self, name: str, *, writable: bool = False) -> np.ndarray | None:
        """A column as a numpy view of mapped memory, or None if it has to be decoded.

        `writable`: a view of memory of its own, so that nothing written to it is seen elsewhere.
        """
        column = fixed(self.schema.field(name))
        if column is None or not self.rows:
            return None
        memory = self.stitched(column)
        if writable and memory is not None:
            memory = self._stitch(column)
        if memory is None:
            return None
        shape = (self.rows, column.items) if column.nested else (self.rows,)
        values = memory.array(column.stored, shape, writable=writable)
        if column.stored == column.memory:
            return values
        return values.astype(column.memory)

    def numpy(self, name: str, *, writable: bool = False) -> np.ndarray:
        """A column as one array, [n, D] for vectors; not copied where the layout allows it.

        A category is an array of codes.
        """
        values = self.mapped(name, writable=writable)
        if values is not None:
            return values
        named = self.named(name) if name in categories(self.meaning) else None
        if named is not None:
            return named.checked(f"{self.path}, target {name}")
        pieces = self._mapped_pieces(self.schema.field(name))
        if pieces is None:
            return numpy_values(self.arrow(name), self.schema.field(name))
        return self._joined(name, pieces)

    def taken(self, name: str, rows: Places, *, writable: bool = False) -> np.ndarray:
        """Some rows of a column, as `numpy` gives it; a slice of a mapped one is not copied."""
        some = self.some_rows(name, rows)
        if some is not None:
            return numpy_values(some, self.schema.field(name))
        return self.numpy(name, writable=writable)[rows]

    def some_rows(self, name: str, rows: Places) -> pa.Array | None:
        """Rows of an encoded column without the others; None where all of it is as quickly had."""
        return None

    def array(self, name: str, rows: Places) -> pa.Array | pa.ChunkedArray:
        """Some rows of a column as Arrow has it; a slice of a mapped one lies over its memory."""
        field = self.schema.field(name)
        named = self.named(name) if is_names(field.type) else None
        if named is not None:
            return named.array(rows, field.type)
        if isinstance(rows, slice):
            some = self.some_rows(name, rows)
            return self.arrow(name)[rows] if some is None else some
        if is_vector(field):
            return vector_array(np.ascontiguousarray(self.taken(name, rows)), field)
        values = self.mapped(name)
        if values is None:
            some = self.some_rows(name, rows)
            return self.arrow(name).take(pa.array(rows)) if some is None else some
        return flat_array(values[rows], field.type)

    def arrow(self, name: str) -> pa.Array | pa.ChunkedArray:
        """A column as Arrow has it, over the mapped memory where the layout allows it."""
        field = self.schema.field(name)
        values = self.mapped(name)
        if values is not None:
            return (
                vector_array(values, field) if is_vector(field) else flat_array(values, field.type)
            )
        if is_names(field.type):
            named = self.named(name)
            if named is not None:
                return named.array(slice(None), field.type)
        pieces = self._mapped_pieces(field)
        return self.decoded(name) if pieces is None else pieces

    def _mapped_pieces(self, field: pa.Field) -> pa.ChunkedArray | None:
        """A mapped column of numbers, a chunk each row group; None if it has to be decoded."""
        if field.name not in self._pieces:
            self._pieces[field.name] = self._chunks(field)
        return self._pieces[field.name]

    def _joined(self, name: str, pieces: pa.ChunkedArray) -> np.ndarray:
        """The pieces of a mapped column as one array, made once and read-only."""
        if name not in self._whole:
            whole = numpy_values(pieces, self.schema.field(name))
            whole.flags.writeable = False
            self._whole[name] = whole
        return self._whole[name]

    def _chunks(self, field: pa.Field) -> pa.ChunkedArray | None:
        column = fixed(field)
        if column is None or column.nested or not self.rows:
            return None
        try:
            views = self.views(column)
        except Unproved:
            return None
        chunks = [flat_array(view.astype(column.memory, copy=False), field.type) for view in views]
        return pa.chunked_array(chunks, field.type)

    def _names_of(self, name: str) -> Named | None:
        field = self.schema.field(name)
        classes = categories(self.meaning).get(name)
        is_split = name == self.meaning.record.split
        if not holds_names(field.type) or (classes is None and not is_split):
            return None
        try:
            return self.mapped_names(field, classes)
        except Unproved:
            return from_array(self.decoded(name), classes, nullable=field.nullable)

    def mapped_names(self, field: pa.Field, classes: Sequence[str] | None) -> Named:
        """A column of names whose codes are mapped; raises Unproved where it has to be decoded."""
        raise Unproved(f"column {field.name}: in several files")
