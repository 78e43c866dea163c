"""The columns of a file: mapped where that is proved, else decoded within bounds."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.format.parquet.layout import Fixed, fixed
from dof_arrow.format.parquet.names_proof import NamesRegion
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.parquet.pages import Encoded
from dof_arrow.format.spec.arrow import flat_array, numpy_values
from dof_arrow.format.validation.file_parts import FileParts
from dof_arrow.format.validation.mapped import Proved, Regions
from dof_arrow.storage.memory_map import Region


class Contents:
    """The columns of a file.

    `parquet` is pyarrow's FileMetaData; `proof` says of each proved column where the values of each
    row group lie. Reading a decoded column raises FormatError as `Encoded` does.
    """

    def __init__(
        self,
        parts: FileParts,
        parquet: Any,
        schema: pa.Schema,
        outline: Outline,
        proof: Proved,
    ) -> None:
        self.parquet = parquet
        self.schema = schema
        self.outline = outline
        self.regions: Regions = proof.fixed
        self.names: Mapping[str, Sequence[NamesRegion]] = proof.names
        file = parts.file
        self.memory = memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_READ))
        self.encoded = Encoded(file, parts.size, self.memory, parquet, schema, outline)

    def vectors(self, name: str) -> Iterator[np.ndarray]:
        """A vector column, [rows, D] for each row group."""
        field = self.schema.field(name)
        column = self.proved(name)
        if column is None:
            for group in self.encoded.groups(name):
                yield numpy_values(group, field)
        else:
            for region in self.regions[name]:
                yield self.view(column, region)

    def flat(self, name: str) -> pa.Array:
        """Any other column, whole."""
        column = self.proved(name)
        if column is None:
            return self.encoded.column(name)
        pieces = [np.empty(0, column.stored)]
        for region in self.regions[name]:
            values = self.view(column, region)
            pieces.append(values[:, 0])
        whole = np.concatenate(pieces).astype(column.memory)
        field = self.schema.field(name)
        return flat_array(whole, field.type)

    def proved(self, name: str) -> Fixed | None:
        """A column that is proved to be mapped, or None."""
        if name not in self.regions:
            return None
        return fixed(self.schema.field(name))

    def view(self, column: Fixed, region: Region) -> np.ndarray:
        """The values of a proved region, [rows, items]."""
        count = region.length // column.stored.itemsize
        values = np.frombuffer(self.memory, column.stored, count, region.offset)
        return values.reshape(-1, column.items)
