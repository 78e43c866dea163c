"""Vectors as callers give them, as one numpy array in the byte order of this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import UsageError

_EXPECTED = "float32 or float16 [n, ...]"


def vector_values(name: str, value: Any) -> np.ndarray:
    """A feature column's vectors [n, ...] as a numpy array; their types are checked elsewhere.

    Arrays of numpy, Arrow (lists of fixed size), torch and others are taken. Raises UsageError for
    masked and missing values, which no vector can hold, and for what is no array.

    >>> vector_values("feature", np.ones((2, 3), ">f4")).dtype.isnative
    True
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise _unfit(name, f"{int(np.ma.getmaskarray(value).sum())} masked values")
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return _from_arrow(name, value)
    if hasattr(value, "detach"):  # a tensor of torch
        value = _from_torch(name, value)
    try:
        array: np.ndarray = native(np.asarray(value))
    except Exception as error:  # whatever the array's own library raises
        raise _unfit(name, f"{type(value).__name__}: {error}"[:200]) from error
    return array


def native(value: Any) -> Any:
    """A numpy array in the byte order of this machine; anything else as it is."""
    if isinstance(value, np.ndarray) and not value.dtype.isnative:
        return value.astype(value.dtype.newbyteorder("="))
    return value


def _from_arrow(name: str, value: pa.Array | pa.ChunkedArray) -> np.ndarray:
    array = value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if not pa.types.is_fixed_size_list(array.type):
        raise _unfit(name, str(array.type))
    flat = array.flatten()
    if array.null_count or flat.null_count:
        raise _unfit(name, f"{array.null_count + flat.null_count} missing values")
    numbers = flat.to_numpy(zero_copy_only=False)
    return np.asarray(numbers).reshape(len(array), array.type.list_size)


def _from_torch(name: str, value: Any) -> Any:
    kind = str(value.dtype).removeprefix("torch.")
    if kind == "bfloat16":
        raise _unfit(name, kind, "Give values.float(): float32 holds every bfloat16")
    return value.detach().cpu()


def _unfit(name: str, found: str, hint: str = "") -> UsageError:
    return UsageError("vectors that cannot be stored", name, _EXPECTED, found, hint)
