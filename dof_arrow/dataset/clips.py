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
    """What is asked of a clip's rows; `dof_arrow.dataset.dataset.Dataset` is one."""

    @property
    def metadata(self) -> Metadata: ...

    def __len__(self) -> int: ...

    def to_numpy(self, name: str | None = None) -> Array: ...

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table: ...


class Clip:
    """The rows of one clip, in order, as views of the file's memory."""

    def __init__(self, rows: ClipRows) -> None:
        self.rows, self._record = rows, rows.metadata.record

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def id(self) -> str:
        """The clip's id."""
        return str(self._first(self._record.id))

    @property
    def view(self) -> int:
        """The number of its view, 0 for the plain one."""
        return int(self._first(self._record.view)) if self._record.view else 0

    @property
    def features(self) -> Array:
        """Its primary vectors [frames, D], read-only."""
        return self.rows.to_numpy()

    @property
    def time(self) -> Array | None:
        """Seconds from its start, float64 [frames]."""
        return self.rows.to_numpy(self._record.time) if self._record.time else None

    @property
    def frame(self) -> Array | None:
        """Numbers of its frames, int32 [frames]."""
        return self.rows.to_numpy(self._record.frame) if self._record.frame else None

    def _first(self, name: str) -> Any:
        return self.rows.to_arrow([name]).column(0)[0].as_py()


def as_tensors(table: pa.Table, shapes: Mapping[str, Sequence[int]]) -> pa.Table:
    """A table with its vectors as `arrow.fixed_shape_tensor` of these shapes, over the same memory."""
    for i, field in enumerate(table.schema):
        if is_vector(field):
            kind = pa.fixed_shape_tensor(field.type.value_type, shapes[field.name])
            chunks = [_tensor(chunk, kind) for chunk in table.column(i).chunks]
            table = table.set_column(
                i, pa.field(field.name, kind, nullable=False), pa.chunked_array(chunks, kind)
            )
    return table


def _tensor(chunk: pa.FixedSizeListArray, kind: pa.DataType) -> pa.Array:
    # The tensor type's elements may be null, so the list is built anew, over the same memory.
    storage = pa.FixedSizeListArray.from_arrays(chunk.flatten(), type=kind.storage_type)
    return pa.ExtensionArray.from_storage(kind, storage)
