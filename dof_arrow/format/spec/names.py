"""Columns of names, which people read, and their codes, which machines use (SPEC 3.3 and 6.7).

A category target and a split are dictionaries of strings. A name's code is its place in the
target's `classes`, or in the order of splits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.format.spec.arrow import holds_texts
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.spec.split_names import TEST, TRAIN, VALID

NAMES = pa.dictionary(pa.int32(), pa.string())
MAX_CODED = 1 << 16  # names that codes of two bytes can tell apart
SPLITS = (TRAIN, VALID, TEST)
_MISSING = -1


class UnknownName(ValueError):
    """A value that is none of the names, or a code of none of them."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


def is_names(kind: pa.DataType) -> bool:
    """Whether a column is a dictionary of texts."""
    return bool(pa.types.is_dictionary(kind) and holds_texts(kind.value_type))


def holds_names(kind: pa.DataType) -> bool:
    """Whether a column's values are texts, in a dictionary or not."""
    return is_names(kind) or holds_texts(kind)


def categories(metadata: Metadata) -> dict[str, tuple[str, ...]]:
    """The class names of each category target."""
    found = {}
    for name, target in metadata.targets.items():
        if target.kind == "category":
            found[name] = target.classes
    return found


def split_order(names: Iterable[str]) -> tuple[str, ...]:
    """The order of splits: `train`, `valid`, `test`, then the owner's own by their UTF-8 bytes.

    >>> split_order(["test", "holdout"])
    ('train', 'valid', 'test', 'holdout')
    """
    own = sorted(set(names) - {*SPLITS}, key=str.encode)
    return (*SPLITS, *own)


def splits_there(names: Iterable[str]) -> list[str]:
    """Those of the splits that are there, in their order.

    >>> splits_there(["holdout", "test"])
    ['test', 'holdout']
    """
    there = set(names)
    return [name for name in split_order(there) if name in there]


def code_type(count: int, *, nullable: bool = False) -> np.dtype[np.integer]:
    """The numpy type of the codes of so many names; int32 where -1 stands for a missing one.

    >>> code_type(256), code_type(257), code_type(2, nullable=True)
    (dtype('uint8'), dtype('uint16'), dtype('int32'))
    """
    if nullable:
        return np.dtype(np.int32)
    if count <= 1 << 8:
        return np.dtype(np.uint8)
    return np.dtype(np.uint16 if count <= MAX_CODED else np.uint32)


def code_array(array: pa.Array, names: Sequence[str]) -> pa.Int32Array:
    """The code of each value, which is a name, or the code of one; null where it is missing.

    Raises UnknownName for a value that is no name or code, TypeError or ArrowInvalid for values of
    another type.

    >>> code_array(pa.array(["b", None, "a"]), ["a", "b"]).to_pylist()
    [1, None, 0]
    """
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), pa.int32())
    if pa.types.is_dictionary(array.type):
        if array.type == NAMES and array.dictionary.equals(text_array(names)):
            return array.indices
        return _recoded(array, names)
    if pa.types.is_floating(array.type):
        array = array.cast(pa.int64())  # pandas makes floats of integers with missing ones
    if pa.types.is_integer(array.type):
        return _checked(array, len(names))
    if not _is_text(array.type):
        raise TypeError(str(array.type))
    return _looked_up(array.cast(pa.large_string()), names)


def text_array(texts: Sequence[str]) -> pa.StringArray:
    """Texts as Arrow has them; `pa.array` would import pandas.

    >>> text_array(["a", "", "ä"]).to_pylist()
    ['a', '', 'ä']
    """
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    data = pa.py_buffer(b"".join(encoded))
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), data)


def codes_or_missing(array: pa.Int32Array) -> NDArray[np.int32]:
    """Codes as numpy has them, int32 [n], -1 where one is missing."""
    return _numpy(array.fill_null(_MISSING) if array.null_count else array)


def names_array(codes: NDArray[np.integer], names: pa.Array, kind: pa.DataType) -> pa.Array:
    """Codes [n] and their names as an Arrow dictionary of this type; negative codes are missing."""
    indices = _indices(codes.astype(np.int32, copy=False))
    if kind != NAMES:  # a cast would load more of Arrow
        indices = indices.cast(kind.index_type)
        names = names.cast(kind.value_type)
    return pa.DictionaryArray.from_arrays(indices, names, ordered=kind.ordered)


def _indices(codes: NDArray[np.int32]) -> pa.Int32Array:
    """Codes as Arrow has them, null where one is negative."""
    valid = None
    if len(codes) and codes.min() < 0:
        valid = pa.py_buffer(np.packbits(codes >= 0, bitorder="little"))
    data = pa.py_buffer(np.ascontiguousarray(codes))
    return pa.Array.from_buffers(pa.int32(), len(codes), [valid, data])


def _numpy(array: pa.Array) -> NDArray[Any]:
    """Integers without missing ones, over the same memory; `to_numpy` would import pandas."""
    if not len(array):
        return np.empty(0, array.type.to_pandas_dtype())
    return np.from_dlpack(array)


def _recoded(array: pa.DictionaryArray, names: Sequence[str]) -> pa.Int32Array:
    """Codes of a dictionary's values; what no row uses need not be a name."""
    used = array.indices.drop_null().unique()
    codes = code_array(array.dictionary.take(used), names)
    table = np.full(len(array.dictionary) + 1, _MISSING, np.int32)  # the last: of missing indices
    table[_numpy(used)] = codes_or_missing(codes)
    places = _numpy(array.indices.cast(pa.int64()).fill_null(_MISSING))
    return _indices(table[places])


def _checked(codes: pa.Array, count: int) -> pa.Int32Array:
    import pyarrow.compute as pc

    wrong = pc.or_(pc.less(codes, 0), pc.greater_equal(codes, count))
    found = codes.filter(wrong)
    if len(found):
        raise UnknownName(str(found[0]))
    return codes.cast(pa.int32())


def _looked_up(texts: pa.Array, names: Sequence[str]) -> pa.Int32Array:
    import pyarrow.compute as pc

    codes = pc.index_in(texts, value_set=pa.array(names, texts.type), skip_nulls=True)
    unknown = texts.filter(pc.and_(codes.is_null(), texts.is_valid()))
    if len(unknown):
        raise UnknownName(repr(unknown[0].as_py()))
    return codes


def _is_text(kind: pa.DataType) -> bool:
    return holds_texts(kind) or bool(pa.types.is_string_view(kind))
