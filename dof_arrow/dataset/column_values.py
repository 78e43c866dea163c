"""Which rows of two Arrow columns hold different values, however each column stores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.format.spec.arrow import holds_texts

Mask = NDArray[Any]
Words = tuple[Sequence[str], Sequence[str]]


def differing(ours: Any, theirs: Any, words: Words | None = None) -> Mask:
    """Which rows differ, bool [n]; NaN equals NaN, and a missing value only a missing one.

    Numbers of different types, and texts, are equal if their values are; lists and structs are
    equal if everything in them is. With `words`, integers are codes of these names on either side,
    and the names are compared.

    >>> differing(pa.array([1, 2, None]), pa.array([1.0, 2.5, 3.0])).tolist()
    [False, True, True]
    >>> differing(pa.array([[1], [1, 2]]), pa.array([[1], [1, 3]])).tolist()
    [False, True]
    >>> differing(pa.array([0, 1]), pa.array([1, 1]), (["cat", "dog"], ["ant", "cat"])).tolist()
    [False, True]
    """
    ours = _plain(ours)
    theirs = _plain(theirs)
    mask: Mask = _numpy(ours.is_valid()) != _numpy(theirs.is_valid())
    if _is_list(ours.type) and _is_list(theirs.type):
        return mask | _lists(ours, theirs, words)
    if pa.types.is_struct(ours.type) and pa.types.is_struct(theirs.type):
        return mask | _structs(ours, theirs, words)
    if words:
        ours = _named(ours, words[0])
        theirs = _named(theirs, words[1])
    return mask | _leaves(ours, theirs)


def _lists(ours: pa.Array, theirs: pa.Array, words: Words | None) -> Mask:
    lengths = _lengths(ours)
    mask: Mask = lengths != _lengths(theirs)
    compared = ~mask & (lengths > 0) & _both_valid(ours, theirs)
    chosen = pa.array(compared)
    left = ours.filter(chosen).flatten()
    right = theirs.filter(chosen).flatten()
    row = np.repeat(np.flatnonzero(compared), lengths[compared])  # the row of each element
    mask[row[differing(left, right, words)]] = True
    return mask


def _lengths(lists: pa.Array) -> Mask:
    """How many elements each list has; none where it is missing."""
    import pyarrow.compute as pc

    return _numpy(pc.list_value_length(lists).fill_null(0))


def _structs(ours: pa.Array, theirs: pa.Array, words: Words | None) -> Mask:
    left = _fields(ours)
    right = _fields(theirs)
    mask = np.zeros(len(ours), bool)
    none = pa.nulls(len(ours))
    for name in {**left, **right}:
        mask |= differing(left.get(name, none), right.get(name, none), words)
    return mask


def _fields(structs: pa.StructArray) -> dict[str, pa.Array]:
    names = [field.name for field in structs.type]
    return dict(zip(names, structs.flatten(), strict=True))


def _leaves(ours: pa.Array, theirs: pa.Array) -> Mask:
    """Rows that have a value on both sides, and different ones."""
    import pyarrow.compute as pc

    if ours.type != theirs.type:
        try:
            kind = _common(ours.type, theirs.type)
            ours = ours.cast(kind)
            theirs = theirs.cast(kind)
        except (pa.ArrowException, NotImplementedError):
            return _both_valid(ours, theirs)
    if pa.types.is_null(ours.type):
        return np.zeros(len(ours), bool)
    mask: Mask = _numpy(pc.not_equal(ours, theirs).fill_null(False))
    if pa.types.is_floating(ours.type):
        mask &= ~(_is_nan(ours) & _is_nan(theirs))
    return mask


def _is_nan(numbers: pa.Array) -> Mask:
    import pyarrow.compute as pc

    return _numpy(pc.is_nan(numbers).fill_null(False))


def _both_valid(ours: pa.Array, theirs: pa.Array) -> Mask:
    valid: Mask = _numpy(ours.is_valid()) & _numpy(theirs.is_valid())
    return valid


def _common(ours: pa.DataType, theirs: pa.DataType) -> pa.DataType:
    """A type that holds the values of both."""
    if pa.types.is_null(ours):
        return theirs
    if pa.types.is_null(theirs):
        return ours
    if holds_texts(ours) and holds_texts(theirs):
        return pa.large_string()
    kind = np.result_type(ours.to_pandas_dtype(), theirs.to_pandas_dtype())
    return pa.from_numpy_dtype(kind)


def _named(codes: pa.Array, names: Sequence[str]) -> pa.Array:
    """Codes as the names that they stand for; a code without a name is missing."""
    import pyarrow.compute as pc

    if not names or not pa.types.is_integer(codes.type):
        return codes
    known = pc.and_(pc.greater_equal(codes, 0), pc.less(codes, len(names)))
    places = pc.if_else(known, codes, pa.scalar(None, codes.type))
    return pa.array(names, pa.string()).take(places)


def _plain(array: pa.Array) -> pa.Array:
    """The same values without a dictionary; a map as the list of pairs that it is."""
    kind = array.type
    if pa.types.is_map(kind):
        pair = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        return array.cast(pa.list_(pair))
    return array.dictionary_decode() if pa.types.is_dictionary(kind) else array


def _is_list(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return True
    return bool(pa.types.is_fixed_size_list(kind))


def _numpy(array: Any) -> Mask:
    return np.asarray(array.to_numpy(zero_copy_only=False))
