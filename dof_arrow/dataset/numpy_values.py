"""Arrow columns as numpy arrays whose type follows from the column's, whatever the values are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def has_own_form(field: pa.Field) -> bool:
    """Whether `as_numpy` is for a column: numpy's usual form of it depends on its values."""
    kind = field.type
    may_miss = field.nullable and (pa.types.is_integer(kind) or pa.types.is_boolean(kind))
    is_time = pa.types.is_date32(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind)
    return bool(may_miss or is_time)


def as_numpy(array: pa.Array | pa.ChunkedArray, field: pa.Field) -> np.ndarray[Any, Any]:
    """The values of dates and times, and of integers and booleans that may be missing.

    Dates and timestamps are datetime64 (of UTC where they have a zone), times timedelta64, NaT
    where missing. Integers and booleans of a nullable column are a masked array: as floats they
    would be rounded.

    >>> as_numpy(pa.array([2**53 + 1, None]), pa.field("n", pa.int64())).tolist()
    [9007199254740993, None]
    """
    kind = field.type
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_date32(kind):
        return _times(array, pa.int32(), "datetime64[D]")
    if pa.types.is_timestamp(kind):
        return _times(array, pa.int64(), f"datetime64[{kind.unit}]")
    if pa.types.is_time(kind):
        width = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        return _times(array, width, f"timedelta64[{kind.unit}]")
    mask = array.is_null().to_numpy(zero_copy_only=False)
    masked: np.ndarray[Any, Any] = np.ma.MaskedArray(_filled(array), mask)
    return masked


def as_named(array: pa.Array | pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """The names in a dictionary of texts as Python strings, object [n], None where one is missing.

    >>> as_named(pa.array(["cat", None]).dictionary_encode()).tolist()
    ['cat', None]
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.unify_dictionaries().combine_chunks()
    names = np.array([*array.dictionary.to_pylist(), None], object)
    codes = array.indices.cast(pa.int64()).fill_null(len(names) - 1)
    return np.asarray(names[codes.to_numpy(zero_copy_only=False)])


def _times(array: pa.Array, width: pa.DataType, kind: str) -> np.ndarray[Any, Any]:
    numbers = pa.Array.from_buffers(width, len(array), array.buffers(), offset=array.offset)
    values = _filled(numbers).astype(np.int64).view(kind)
    if array.null_count:
        values[array.is_null().to_numpy(zero_copy_only=False)] = "NaT"
    return values


def _filled(array: pa.Array) -> np.ndarray[Any, Any]:
    """The values, zeros where they are missing."""
    zero = False if pa.types.is_boolean(array.type) else 0
    filled = array.fill_null(pa.scalar(zero, array.type))
    return np.asarray(filled.to_numpy(zero_copy_only=False))
