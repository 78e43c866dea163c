"""Columns that become tensors: what no tensor holds is refused, never rounded or cut in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import UsageError, require
from dof_arrow.format.spec.names import is_names

Array = NDArray[Any]

_EXACT = 2**53  # whole numbers up to it are exact as float64
_NARROW = {"i8": np.int32, "u8": np.uint32}


def check_tensor(column: pa.Array | pa.ChunkedArray, name: str) -> None:
    """Refuse, by UsageError, a column that no tensor holds as it is.

    Texts, times and lists are no numbers. Missing numbers become NaN, which truth values have none
    of, and beside which large whole numbers would be rounded.
    """
    kind = column.type
    is_integer = pa.types.is_integer(kind)
    if not (is_integer or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        if not is_names(kind):
            raise _no_tensor(name, str(kind), "Take it as it is: ds.to_numpy, or ds.to_arrow.")
        return
    if column.null_count and not pa.types.is_floating(kind) and not (is_integer and exact(column)):
        found = f"{column.null_count} of {len(column)} {kind} missing"
        raise _no_tensor(name, found, f"Leave such rows out: ds.labelled({name!r})")


def exact(integers: pa.Array | pa.ChunkedArray, limit: int = _EXACT) -> bool:
    """Whether float64 holds each of some whole numbers, or what is exact up to another limit.

    >>> exact(pa.array([2**53, None])), exact(pa.array([2**53 + 1]))
    (True, False)
    """
    import pyarrow.compute as pc

    ends = pc.min_max(integers)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    return low is None or (low >= -limit and high <= limit)


def as_jax(values: Array, where: str) -> Any:
    """An array of numpy as one of JAX, over the same memory where that can be.

    JAX has 32 bits unless `jax_enable_x64` is set. Raises UsageError for numbers of 64 bits that do
    not fit there: it would cut them without a word.
    """
    jax = require("jax", extra="jax")
    if values.dtype.itemsize == 8 and not jax.config.jax_enable_x64 and not _fits(values):
        raise UsageError(
            "JAX cuts numbers to 32 bits",
            where,
            "numbers that 32 bits hold",
            f"larger ones of {values.dtype}",
            'Say jax.config.update("jax_enable_x64", True) first.',
        )
    return jax.numpy.from_dlpack(values)


def _fits(values: Array) -> bool:
    """Whether numbers of 64 bits lie in the range that 32 bits have."""
    kind = values.dtype.str[1:]
    if not values.size or kind not in (*_NARROW, "f8"):
        return True
    if kind in _NARROW:
        ends = np.iinfo(_NARROW[kind])
        return bool(values.min() >= ends.min and values.max() <= ends.max)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    return bool((np.isinf(narrow) == np.isinf(values)).all())


def _no_tensor(name: str, found: str, hint: str) -> UsageError:
    return UsageError("a column that is no tensor", name, "numbers or truth values", found, hint)
