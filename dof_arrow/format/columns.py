"""Columns of an open dataset, as numpy and Arrow arrays, whatever files they lie in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pyarrow as pa

from dof_arrow.format.parquet.layout import Fixed, fixed
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.spec.arrow import flat_array, is_vector, numpy_values, vector_array
from dof_arrow.storage.memory_map import Region, Stitched, stitchable


class Columns(ABC):
    """Columns in one file or several, mapped where their layout allows it, else decoded."""

    path: Path
    schema: pa.Schema
    rows: int

    def __init__(self) -> None:
        self._maps: dict[str, Stitched] = {}

    @abstractmethod
    def places(self, column: Fixed) -> list[tuple[int, Region]]:
        """Where the column's values lie, each region with its open file.

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
            try:
                places = self.places(column)
            except Unproved:
                return None
            if not stitchable([region for _, region in places]):
                return None
            self._maps[column.name] = Stitched(places)
        return self._maps[column.name]

    def mapped(self, name: str, *, writable: bool = False) -> np.ndarray | None:
        """A column as a numpy view of mapped memory, or None if it has to be decoded."""
        column = fixed(self.schema.field(name))
        if column is None or not self.rows:
            return None
        memory = self.stitched(column)
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
