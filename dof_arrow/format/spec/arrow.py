"""The Arrow side of the specification: the metadata key and the types of columns (SPEC 3, 4)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Metadata, encode

KEY = b"dof"
VECTOR_TYPES = ("float32", "float16")
_FLOATS = {"float": "float32", "halffloat": "float16", "double": "float64"}  # Arrow's own names


def vector_field(name: str, shape: Sequence[int], dtype: str = "float32") -> pa.Field:
    """The Arrow field of a feature column: a required fixed-size list, tensors flattened row-major.

    Raises UsageError for another element type than float32 and float16, or an empty tensor.

    >>> vector_field("feature", (7, 7, 512)).type
    FixedSizeListType(fixed_size_list<element: float not null>[25088])
    """
    if dtype not in VECTOR_TYPES:
        raise UsageError(
            "features of this type cannot be stored", name, " or ".join(VECTOR_TYPES), dtype
        )
    if prod(shape) < 1:
        raise UsageError(
            "features without elements cannot be stored",
            name,
            "axes of at least 1",
            str(tuple(shape)),
        )
    element = pa.field("element", pa.type_for_alias(dtype), nullable=False)
    return pa.field(name, pa.list_(element, prod(shape)), nullable=False)


def is_vector(field: pa.Field) -> bool:
    """Whether a field is of the kind that feature columns are."""
    return bool(
        pa.types.is_fixed_size_list(field.type) and pa.types.is_floating(field.type.value_type)
    )


def holds_texts(kind: pa.DataType) -> bool:
    """Whether values are texts, of whichever length."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists, of any kind."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return True
    return bool(pa.types.is_fixed_size_list(kind))


def element_type(field: pa.Field) -> str:
    """The name of a column's element type, as the metadata has it.

    >>> element_type(vector_field("feature", (4,)))
    'float32'
    """
    kind = str(field.type.value_type if is_vector(field) else field.type)
    return _FLOATS.get(kind, kind)


def storable(field: pa.Field) -> pa.Field:
    """The field as Parquet gives it back.

    Seconds become milliseconds, for example, and elements of lists are called `element`. Raises
    UsageError for a type that Parquet cannot store.

    >>> storable(pa.field("when", pa.timestamp("s"))).type
    TimestampType(timestamp[ms])
    """
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    try:
        pq.write_metadata(pa.schema([field]), sink)
    except pa.ArrowException as error:
        raise UsageError(
            "Parquet cannot store this type", field.name, found=f"{field.type}: {error}"[:200]
        ) from None
    return pq.read_schema(pa.BufferReader(sink.getvalue())).field(0)


def with_metadata(schema: pa.Schema, metadata: Metadata) -> pa.Schema:
    """The schema carrying the metadata under the key `dof`, and nothing else."""
    return schema.with_metadata({KEY: encode(metadata)})


def vector_array(values: np.ndarray, field: pa.Field) -> pa.FixedSizeListArray:
    """An Arrow array over the memory of a C-contiguous float [n, D] array, without a copy."""
    data = pa.py_buffer(values.reshape(-1))
    flat = pa.Array.from_buffers(field.type.value_type, values.size, [None, data])
    return pa.FixedSizeListArray.from_buffers(field.type, len(values), [None], children=[flat])


def flat_array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """An Arrow array over the memory of the array [n] of a required column, without a copy."""
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None, data])


def numpy_values(array: pa.Array | pa.ChunkedArray, field: pa.Field) -> np.ndarray[Any, Any]:
    """A decoded column as one numpy array, [n, D] for vectors.

    It is not copied where Arrow's memory allows that.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    if pa.types.is_nested(array.type) and not is_vector(field):
        return _cells(array)
    if not is_vector(field):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    flat = np.asarray(array.flatten().to_numpy(zero_copy_only=False))
    return flat.reshape(len(array), field.type.list_size)


def _cells(array: pa.Array) -> np.ndarray[Any, Any]:
    """Nested values, object [n]: lists as arrays, what else as Python has it, None where missing.

    Whole numbers beside missing ones stay whole; Arrow would give floats, which are rounded.
    """
    import pyarrow.compute as pc

    cells = np.empty(len(array), object)
    if not is_list(array.type):
        cells[:] = array.to_pylist()
        return cells
    items = array.flatten()
    whole = pa.types.is_integer(items.type) and items.null_count
    if whole or pa.types.is_nested(items.type):
        values = np.empty(len(items), object)
        values[:] = items.to_pylist() if whole else list(_cells(items))
    else:
        values = np.asarray(items.to_numpy(zero_copy_only=False))
    ends = np.cumsum(pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False))
    starts = [0, *ends[:-1].tolist()]
    for row, is_there in enumerate(array.is_valid().to_pylist()):
        cells[row] = values[starts[row] : int(ends[row])] if is_there else None
    return cells


def finite(values: np.ndarray) -> bool:
    """Whether all numbers are finite, in one pass and without an array of booleans.

    >>> finite(np.array([1.0, np.inf], "f4"))
    False
    """
    if not values.size:
        return True
    if values.dtype == np.float16:
        # numpy compares these slowly, one by one. All exponent bits are set in NaN and infinities.
        exponents = values.view(np.uint16) & 0x7C00
        return not bool((exponents == 0x7C00).any())
    return bool(np.isfinite(values.min()) and np.isfinite(values.max()))
