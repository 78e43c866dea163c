"""Which rows of two Arrow arrays hold other values, whatever their types: no Python for a row (used by `compare`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[Any]
Words = tuple[Sequence[str], Sequence[str]]


def differing(ours: Any, theirs: Any, words: Words | None = None) -> Mask:
    """Which rows differ, bool [n]; NaN equals NaN, a missing value only a missing one.

    Numbers of other types, and texts, are equal if their values are; lists and structs if all in them are. `words`:
    integers are codes of these names on either side, and the names are compared.

    >>> differing(pa.array([1, 2, None]), pa.array([1.0, 2.5, 3.0])).tolist()
    [False, True, True]
    >>> differing(pa.array([[1], [1, 2]]), pa.array([[1], [1, 3]])).tolist()
    [False, True]
    >>> differing(pa.array([0, 1]), pa.array([1, 1]), (["cat", "dog"], ["ant", "cat"])).tolist()
    [False, True]
    """
    ours, theirs = _plain(ours), _plain(theirs)
    mask: Mask = _numpy(ours.is_valid()) != _numpy(theirs.is_valid())
    if _is_list(ours.type) and _is_list(theirs.type):
        return mask | _lists(ours, theirs, words)
    if pa.types.is_struct(ours.type) and pa.types.is_struct(theirs.type):
        return mask | _structs(ours, theirs, words)
    if words:
        ours, theirs = _named(ours, words[0]), _named(theirs, words[1])
    return mask | _leaves(ours, theirs)


def _lists(ours: pa.Array, theirs: pa.Array, words: Words | None) -> Mask:
    import pyarrow.compute as pc

    lengths, others = (_numpy(pc.list_value_length(side).fill_null(0)) for side in (ours, theirs))
    mask: Mask = lengths != others
    alike = ~mask & (lengths > 0) & _numpy(ours.is_valid()) & _numpy(theirs.is_valid())
    inner = differing(ours.filter(pa.array(alike)).flatten(), theirs.filter(pa.array(alike)).flatten(), words)
    mask[np.repeat(np.flatnonzero(alike), lengths[alike])[inner]] = True
    return mask


def _structs(ours: pa.Array, theirs: pa.Array, words: Words | None) -> Mask:
    left, right = (dict(zip((f.name for f in side.type), side.flatten(), strict=True)) for side in (ours, theirs))
    mask, none = np.zeros(len(ours), bool), pa.nulls(len(ours))
    for name in {**left, **right}:
        mask |= differing(left.get(name, none), right.get(name, none), words)
    return mask


def _leaves(ours: pa.Array, theirs: pa.Array) -> Mask:
    """Rows that both have, and that differ."""
    import pyarrow.compute as pc

    if ours.type != theirs.type:
        try:
            ours, theirs = (side.cast(_common(ours.type, theirs.type)) for side in (ours, theirs))
        except (pa.ArrowException, NotImplementedError):
            return _numpy(ours.is_valid()) & _numpy(theirs.is_valid())
    if pa.types.is_null(ours.type):
        return np.zeros(len(ours), bool)
    mask: Mask = _numpy(pc.not_equal(ours, theirs).fill_null(False))
    if pa.types.is_floating(ours.type):
        mask &= ~(_numpy(pc.is_nan(ours).fill_null(False)) & _numpy(pc.is_nan(theirs).fill_null(False)))
    return mask


def _common(ours: pa.DataType, theirs: pa.DataType) -> pa.DataType:
    """A type that holds the values of both."""
    if pa.types.is_null(ours) or pa.types.is_null(theirs):
        return theirs if pa.types.is_null(ours) else ours
    if all(map(_is_text, (ours, theirs))):
        return pa.large_string()
    return pa.from_numpy_dtype(np.result_type(ours.to_pandas_dtype(), theirs.to_pandas_dtype()))


def _named(codes: pa.Array, names: Sequence[str]) -> pa.Array:
    """Codes as the names that they stand for; what stands for none is missing."""
    import pyarrow.compute as pc

    if not names or not pa.types.is_integer(codes.type):
        return codes
    known = pc.and_(pc.greater_equal(codes, 0), pc.less(codes, len(names)))
    return pa.array(names, pa.string()).take(pc.if_else(known, codes, pa.scalar(None, codes.type)))


def _plain(array: pa.Array) -> pa.Array:
    """Without dictionary; maps as the lists of pairs that they are."""
    kind = array.type
    if pa.types.is_map(kind):
        return array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    return array.dictionary_decode() if pa.types.is_dictionary(kind) else array


def _is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _numpy(array: Any) -> Mask:
    return np.asarray(array.to_numpy(zero_copy_only=False))
