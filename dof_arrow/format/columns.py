"""Columns of an open dataset, as numpy and Arrow arrays, whatever files they lie in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pyarrow as pa

from dof_arrow.format.parquet.layout import Fixed, fixed
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.spec.arrow import flat_array, is_vector, numpy_values, vector_array
from dof_arrow.storage.memory_map import OpenFile, Region, Stitched, stitchable


class Columns(ABC):
    """Columns in one file or several, mapped where their layout allows it, else decoded."""

    path: Path
    schema: pa.Schema
    rows: int

    def __init__(self) -> None:
        self._maps: dict[str, Stitched | None] = {}  # None: it cannot be mapped

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
        """A column as one array, [n, D] for vectors; not copied where the layout allows it."""
        values = self.mapped(name, writable=writable)
        if values is None:
            return numpy_values(self.arrow(name), self.schema.field(name))
        return values

    def arrow(self, name: str) -> pa.Array:
        """A column as one Arrow array, over the mapped memory where the layout allows it."""
        values = self.mapped(name)
        if values is None:
            return self.decoded(name)
        field = self.schema.field(name)
        if is_vector(field):
            return vector_array(values, field)
        return flat_array(values, field.type)
