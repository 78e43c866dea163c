"""Rows seen whole: the clips of a video dataset, and features as tensors of their shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.format.spec.arrow import is_vector
from dof_arrow.format.spec.metadata import Metadata

Array = NDArray[Any]


class ClipRows(Protocol):
    """What a clip needs of its rows; `dof_arrow.dataset.dataset.Dataset` has it."""

    @property
    def metadata(self) -> Metadata: ...

    def __len__(self) -> int: ...

    def to_numpy(self, name: str | None = None) -> Array: ...

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table: ...


class Clip:
    """The rows of one clip, in order, as views of the file's memory."""

    def __init__(self, rows: ClipRows) -> None:
        self.rows = rows
        self._record = rows.metadata.record

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def id(self) -> str:
        """The clip's id."""
        return str(self._first(self._record.id))

    @property
    def view(self) -> int:
        """The number of its view, 0 for the plain one."""
        if not self._record.view:
            return 0
        return int(self._first(self._record.view))

    @property
    def features(self) -> Array:
        """The primary vectors [frames, D], read-only."""
        return self.rows.to_numpy()

    @property
    def time(self) -> Array | None:
        """Seconds from the start of the clip, float64 [frames]."""
        return self._column(self._record.time)

    @property
    def frame(self) -> Array | None:
        """Numbers of the frames, int32 [frames]."""
        return self._column(self._record.frame)

    def _column(self, name: str | None) -> Array | None:
        return self.rows.to_numpy(name) if name else None

    def _first(self, name: str) -> Any:
        return self.rows.to_arrow([name]).column(0)[0].as_py()


def as_tensors(table: pa.Table, shapes: Mapping[str, Sequence[int]]) -> pa.Table:
    """A table with its vectors as `arrow.fixed_shape_tensor` of these shapes, not copied."""
    for place, field in enumerate(table.schema):
        if is_vector(field):
            kind = pa.fixed_shape_tensor(field.type.value_type, shapes[field.name])
            chunks = [_tensor(chunk, kind) for chunk in table.column(place).chunks]
            tensors = pa.chunked_array(chunks, kind)
            tensor_field = pa.field(field.name, kind, nullable=False)
            table = table.set_column(place, tensor_field, tensors)
    return table


def _tensor(chunk: pa.FixedSizeListArray, kind: pa.DataType) -> pa.Array:
    # The elements of a tensor type may be null, those of our lists not: so the list is made anew,
    # in the same memory.
    storage = pa.FixedSizeListArray.from_arrays(chunk.flatten(), type=kind.storage_type)
    return pa.ExtensionArray.from_storage(kind, storage)
