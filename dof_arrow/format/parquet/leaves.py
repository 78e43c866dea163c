"""The values of one leaf of a column: what a chunk of Parquet holds."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyarrow import types


class NoLeaf(LookupError):
    """A struct has no member of this name, or several."""


def leaf_values(column: pa.ChunkedArray, path: Sequence[bytes]) -> pa.ChunkedArray:
    """The values of the leaf with this path, as a footer has it; null where a struct around is.

    Lists are put end to end, without those that are missing or empty. A list takes two names of the
    path, `list` and `element`, a map `key_value` and `key` or `value`. Raises NoLeaf.

    >>> rows = pa.chunked_array([[[{"a": 1}], None, [{"a": 2}, None]]])
    >>> leaf_values(rows, [b"rows", b"list", b"element", b"a"]).to_pylist()
    [1, 2, None]
    """
    pieces = [_below(chunk, path[1:]) for chunk in column.chunks]
    return pa.chunked_array(pieces) if pieces else column


def is_repeated(kind: pa.DataType) -> bool:
    """Whether a row may have several values, or none, in a column of this type or in a part of it.

    >>> is_repeated(pa.struct({"a": pa.int32()})), is_repeated(pa.list_(pa.int32()))
    (False, True)
    """
    if isinstance(kind, pa.ExtensionType):
        return is_repeated(kind.storage_type)
    if types.is_struct(kind):
        return any(is_repeated(member.type) for member in kind)
    return bool(types.is_nested(kind))


def _below(array: pa.Array, path: Sequence[bytes]) -> pa.Array:
    if isinstance(array.type, pa.ExtensionType):
        return _below(array.storage, path)
    if not path:
        return array
    if types.is_map(array.type):
        inner = array.keys if path[1:2] == [b"key"] else array.items
        return _below(inner, path[2:])
    if types.is_struct(array.type):
        return _below(_member(array, path[0]), path[1:])
    return _below(array.flatten(), path[2:])


def _member(array: pa.StructArray, name: bytes) -> pa.Array:
    import pyarrow.compute as pc

    number = array.type.get_field_index(name.decode("utf-8", "replace"))
    if number < 0:
        raise NoLeaf(name)
    return pc.struct_field(array, number)
