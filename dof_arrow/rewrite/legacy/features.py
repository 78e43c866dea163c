"""The Xs of an older dataset as a column of vectors, and those that no column can hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.rewrite.legacy.content import Element

Array = np.ndarray[Any, Any]

_NUMBERS = "biuf"
# The rules under which inputs without a row are listed, each with its reason.
REASONS = {
    "missing": "its vector stands in a file elsewhere, which is not followed",
    "no-vector": "its value is no array of numbers",
    "other-shape": "its vector has another shape than most",
    "nonfinite": "NaN or infinity is among its numbers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The rows of a dataset: its Xs that have vectors of one shape, in order.

    `exact` has the numbers in their own type where `vectors` does not hold them all exactly.
    `left_out` names the rule by which an X has no row, by its number.
    """

    elements: list[Element]
    vectors: Array
    dtype: str
    exact: pa.Array | None
    left_out: dict[int, str]


def features(elements: Sequence[Element]) -> Features:
    """The Xs as vectors: float16 where all are, else float32."""
    arrays: dict[int, Array] = {}
    left_out: dict[int, str] = {}
    for element in elements:
        array = None if element.elsewhere else _numbers(element.value)
        if array is None:
            left_out[element.id] = "missing" if element.elsewhere else "no-vector"
        else:
            arrays[element.id] = array
    shape = _usual_shape(list(arrays.values()))
    kept = []
    for element in elements:
        found = arrays.get(element.id)
        if found is None:
            continue
        if found.shape != shape:
            left_out[element.id] = "other-shape"
        elif not np.isfinite(found).all():
            left_out[element.id] = "nonfinite"
        else:
            kept.append(element)
    return _stacked(kept, [arrays[element.id] for element in kept], shape, left_out)


def _numbers(value: Any) -> Array | None:
    """A value as an array of at least one axis; None where it is none, or an empty one."""
    if isinstance(value, list | tuple):
        if not _is_regular(value):
            return None
        value = np.asarray(value)
    if isinstance(value, bool | int | float | np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in _NUMBERS or not value.size:
        return None
    return value.reshape(value.shape or 1)


def _is_regular(value: Any) -> bool:
    """Whether lists within lists are all as long, down to plain numbers."""
    if not isinstance(value, list | tuple):
        return isinstance(value, bool | int | float | np.generic)
    if not value or not all(map(_is_regular, value)):
        return False
    return len({np.shape(item) for item in value}) == 1


def _usual_shape(arrays: Sequence[Array]) -> tuple[int, ...]:
    """The shape that most have, the first of several; one number where there is no array."""
    counts = Counter(array.shape for array in arrays)
    return max(counts, key=counts.__getitem__, default=(1,))


def _stacked(
    kept: list[Element], arrays: list[Array], shape: tuple[int, ...], left_out: dict[int, str]
) -> Features:
    if not arrays:
        empty = np.empty((0, *shape), np.float32)
        return Features(elements=[], vectors=empty, dtype="float32", exact=None, left_out=left_out)
    whole = np.stack(arrays)
    own = whole.astype(whole.dtype.newbyteorder("="), copy=False)
    kind = "float16" if own.dtype == np.float16 else "float32"
    with np.errstate(over="ignore"):
        vectors = own.astype(kind)
    fits = np.isfinite(vectors.reshape(len(vectors), -1)).all(axis=1)
    if not fits.all():  # numbers that only a wider type holds
        left_out.update({kept[row].id: "nonfinite" for row in np.flatnonzero(~fits).tolist()})
        own, vectors = own[fits], vectors[fits]
        kept = [element for element, fit in zip(kept, fits.tolist(), strict=True) if fit]
    return Features(
        elements=kept,
        vectors=vectors,
        dtype=str(own.dtype),
        exact=None if _is_exact(own, vectors) else _lists(own),
        left_out=left_out,
    )


def _is_exact(own: Array, vectors: Array) -> bool:
    return bool(np.array_equal(own, vectors.astype(own.dtype))) and _is_whole(own, vectors)


def _is_whole(own: Array, vectors: Array) -> bool:
    """Whether integers survive: cast back they may be equal by chance at the end of their range."""
    if own.dtype.kind not in "iu" or own.dtype.itemsize < 4:
        return True
    return bool(np.abs(vectors.astype(np.float64)).max(initial=0) <= 1 << 24)


def _lists(own: Array) -> pa.Array:
    flat = np.ascontiguousarray(own).reshape(len(own), -1)
    ends = np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1]
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(flat.reshape(-1)))
