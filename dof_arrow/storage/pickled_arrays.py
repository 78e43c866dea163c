"""Arrays of numpy as pickles hold them, made of their bytes without numpy's own way of unpickling.

numpy 1 and 2, protocols 0 to 5. An array of objects would be a pickle again, and is refused.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from dof_arrow.storage.pickled_values import Name, Ordered, Refused, Unbuilt

_KINDS = re.compile(r"([<>|=]?)(b1|i[1248]|u[1248]|f[248]|c8|c16|[SU]\d{1,6}|\?)")
_ORDERS = ("<", ">", "=", "|")
_MOST_AXES = 32


class _Type(Unbuilt):
    """A type of numbers or texts; its order of bytes comes with its state."""

    def __init__(self, code: str) -> None:
        found = _KINDS.fullmatch(code)
        if found is None:
            raise Refused(f"arrays of type {code}"[:100])
        self._type = np.dtype(_order(found[1]) + found[2])

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in _ORDERS:
            raise Refused("a type of arrays with another state")
        if any(part is not None for part in state[2:5]):
            raise Refused("arrays with fields")
        self._type = np.dtype(_order(state[1]) + self._type.str[1:])

    def value(self) -> np.dtype[Any]:
        return self._type


def _order(order: str) -> str:
    """The order of bytes; what is said to be a machine's own is taken for a usual machine's."""
    return "<" if order in ("", "=") else order


class _Array(Unbuilt):
    """An array whose shape and numbers come with its state."""

    def __init__(self) -> None:
        self._values: np.ndarray[Any, Any] | None = None

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array with another state")
        _, shape, kind, is_fortran, data = state
        self._values = _made(data, kind, shape, "F" if is_fortran is True else "C")

    def value(self) -> np.ndarray[Any, Any]:
        if self._values is None:
            raise Refused("an array without its numbers")
        return self._values


def _type(code: Any, *_: Any) -> _Type:
    if not isinstance(code, str):
        raise Refused("arrays of a type that is no text")
    return _Type(code)


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind != Name("numpy.ndarray"):
        raise Refused("an array of another kind")
    return _Array()


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any, *axes: Any) -> Any:
    if order not in ("C", "F") or any(axis is not None for axis in axes):
        raise Refused("an array in another order")
    return _made(data, kind, shape, order)


def _scalar(kind: Any, data: Any = b"") -> Any:
    return _made(data, kind, (), "C")[()]


def _made(data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    """An array over the bytes that the pickle has, which cannot be written to."""
    if not isinstance(kind, _Type):
        raise Refused("an array of another type")
    if isinstance(data, str):  # as Python 2 has bytes
        data = data.encode("latin-1")
    if not isinstance(data, bytes):
        raise Refused("an array of objects")
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if len(sizes) > _MOST_AXES or not all(type(size) is int and size >= 0 for size in sizes):
        raise Refused("an array of another shape")
    dtype = kind.value()
    if sizes == () and not data and dtype.kind in "SU":
        return np.array(dtype.type())  # an empty text, whose type has no length
    if not dtype.itemsize or math.prod(sizes) * dtype.itemsize != len(data):
        raise Refused(f"an array of {sizes} {dtype} in {len(data):,} bytes"[:200])
    flat = np.frombuffer(data, dtype) if data else np.empty(0, dtype)
    return flat.reshape(sizes, order=order)


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes as Python 3 writes them for readers of Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("a text in another encoding")
    return text.encode("latin-1")


def _bytes(data: Any = b"", *encoding: Any) -> bytes:
    if isinstance(data, str) and encoding:
        return _encoded(data, *encoding)
    if not isinstance(data, bytes):
        raise Refused("bytes of something else")
    return data


def _ordered(pairs: Any = ()) -> Ordered:
    made = Ordered()
    for pair in pairs:
        if len(pair) != 2 or not isinstance(pair[0], str):
            raise Refused("an ordered dictionary of something else")
        made[pair[0]] = pair[1]
    return made


def _named_only(*_: Any) -> Any:
    raise Refused("a call of a class that is only named")


# What any pickle may name.
MAKERS: dict[str, Any] = {
    "_codecs.encode": _encoded,
    "collections.OrderedDict": _ordered,
    "numpy.dtype": _type,
    "numpy.ndarray": _named_only,
}
for _python in ("builtins", "__builtin__"):
    for _name in ("object", "dict", "list"):
        MAKERS[f"{_python}.{_name}"] = _named_only
    for _name in ("bytes", "bytearray"):
        MAKERS[f"{_python}.{_name}"] = _bytes
for _core in ("numpy.core", "numpy._core"):
    MAKERS[f"{_core}.multiarray._reconstruct"] = _reconstruct
    MAKERS[f"{_core}.multiarray.scalar"] = _scalar
    MAKERS[f"{_core}.numeric._frombuffer"] = _from_buffer
