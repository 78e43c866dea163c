"""Rows on their way into a file: values as callers give them, and as the file stores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.vector_values import native

Values: TypeAlias = Any  # numpy array of a mapped column, Arrow array of another

_RECORD_TYPES = {"id": pa.string(), "view": pa.int16(), "frame": pa.int32(), "time": pa.float64()}
# Arrow integers as wide as numbers of each kind: their bits are the same, missing values apart.
_INTEGER = {
    f"{kind}{size}": pa.type_for_alias(f"int{8 * size}") for kind in "iuf" for size in (1, 2, 4, 8)
}


@dataclass(slots=True)
class Batch:
    """Some rows: mapped columns as arrays of their stored type, the others as Arrow arrays."""

    rows: int
    values: dict[str, Values]

    def slice(self, start: int, stop: int) -> Batch:
        """The rows from `start` up to `stop`, not copied."""
        values = {name: item[start:stop] for name, item in self.values.items()}
        return Batch(stop - start, values)

    def owned(self) -> Batch:
        """A copy that does not change when the caller reuses its arrays."""
        values = dict(self.values)
        for name, item in values.items():
            if isinstance(item, np.ndarray):
                values[name] = item.copy()
        return Batch(self.rows, values)


def split_batches(batches: list[Batch], rows: int) -> tuple[list[Batch], list[Batch]]:
    """The first `rows` rows and the rest; a batch that lies across the border is cut in two."""
    first: list[Batch] = []
    rest = list(batches)
    while rows:
        batch = rest.pop(0)
        if batch.rows > rows:
            rest.insert(0, batch.slice(rows, batch.rows))
            batch = batch.slice(0, rows)
        first.append(batch)
        rows -= batch.rows
    return first, rest


def inferred_field(name: str, value: Any) -> pa.Field:
    """The field for a column that no schema declares, made of its first values.

    It is required where no value is missing and its type can be mapped.
    """
    if name in _RECORD_TYPES:
        return pa.field(name, _RECORD_TYPES[name], nullable=False)
    array = arrow_array(name, value)
    if pa.types.is_null(array.type):
        return pa.field(name, array.type)
    required = pa.field(name, array.type, nullable=False)
    if array.null_count == 0 and layouts.fixed(required):
        return required
    return required.with_nullable(True)


def arrow_array(name: str, value: Any, kind: pa.DataType | None = None) -> pa.Array:
    """The values of a column as an Arrow array, of type `kind` if it is given.

    Raises UsageError if they do not fit.
    """
    value = native(value)
    try:
        if not isinstance(value, pa.Array | pa.ChunkedArray):
            value = _as_arrow(value, kind)
        if isinstance(value, pa.ChunkedArray):
            value = value.combine_chunks()
        return value.cast(kind or without_views(value.type))
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        expected = str(kind or "values of one type, one a row")
        raise UsageError("values do not fit the column", name, expected, str(error)[:200]) from None


def _as_arrow(value: Any, kind: pa.DataType | None) -> pa.Array | pa.ChunkedArray:
    try:
        return pa.array(value, kind, from_pandas=False)
    except (pa.ArrowException, ValueError, TypeError):
        if not hasattr(value, "__arrow_c_stream__"):
            raise
        return pa.chunked_array(value)  # columns of lists of other libraries, such as Polars


def without_views(kind: pa.DataType) -> pa.DataType:
    """A type without views, which Parquet does not know: readers differ in what they make of them.

    >>> str(without_views(pa.list_(pa.string_view())))
    'list<item: string>'
    """
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = kind.value_field
        plain = item.with_type(without_views(item.type))
        return pa.list_(plain) if pa.types.is_list(kind) else pa.large_list(plain)
    return kind


def stored_array(array: pa.Array, fixed: layouts.Fixed) -> np.ndarray:
    """The values of a required Arrow array as numpy values of the type that the file stores."""
    # Arrow gives no numpy view of some types, such as timestamps; of integers it does.
    kind = _INTEGER[fixed.memory.str[1:]]
    bits = pa.Array.from_buffers(kind, len(array), array.buffers(), offset=array.offset)
    values = bits.to_numpy(zero_copy_only=True).view(fixed.memory)
    return np.ascontiguousarray(values.astype(fixed.stored, copy=False))


def joined_dims(shape: Sequence[int]) -> str:
    """A shape as messages say it.

    >>> joined_dims((7, 7, 512))
    '7, 7, 512'
    """
    return ", ".join(map(str, shape))
