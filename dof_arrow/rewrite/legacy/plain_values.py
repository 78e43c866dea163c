"""Values of any kind as JSON from which they can be told again, and as scalars of Python.

Arrays are `{"array": dtype, "shape", "base64"}`, bytes `{"base64"}`, numbers that are not finite
`{"number"}`, dictionaries with other keys than texts `{"pairs"}`, and objects of the old package
`{"class", …}`. All else is JSON's own.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np

from dof_arrow.format.spec.json_model import Json
from dof_arrow.storage.pickled_values import Name, Record


def plain(value: Any) -> Json:
    """A value as JSON.

    >>> plain({"a": (1, float("nan")), "b": np.float32(0.5)})
    {'a': [1, {'number': 'nan'}], 'b': 0.5}
    """
    value = scalar(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"number": str(value)}
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return _dictionary(value)
    if isinstance(value, Record):
        return _record(value)
    assert isinstance(value, Name), type(value)
    return {"class": value.text}


def text(value: Any) -> str:
    """A text as it is, any other value as JSON.

    >>> text("a"), text([1, 2.5])
    ('a', '[1, 2.5]')
    """
    return value if isinstance(value, str) else json_text(value)


def json_text(value: Any) -> str:
    """Any value as a JSON text.

    >>> json_text("1"), json_text(1)
    ('"1"', '1')
    """
    return json.dumps(plain(value), ensure_ascii=False)


def scalar(value: Any) -> Any:
    """A scalar of numpy, or an array of no axes, as one of Python; other values as they are.

    >>> scalar(np.int64(3)), scalar(np.array("a")), scalar([1])
    (3, 'a', [1])
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        found = value.item()
        return {"complex": [found.real, found.imag]} if isinstance(found, complex) else found
    return value


def depth(value: Json) -> int:
    """How many lists and objects of a JSON value lie within one another.

    >>> depth({"a": [1]}), depth(1)
    (2, 0)
    """
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0)


def _array(value: np.ndarray[Any, Any]) -> Json:
    data = np.ascontiguousarray(value).tobytes()
    return {
        "array": value.dtype.str,
        "shape": list(value.shape),
        "base64": base64.b64encode(data).decode(),
    }


def _dictionary(value: dict[Any, Any]) -> Json:
    if all(isinstance(key, str) for key in value):
        return {key: plain(item) for key, item in value.items()}
    return {"pairs": [[plain(key), plain(item)] for key, item in value.items()]}


def _record(value: Record) -> Json:
    parts = {
        "arguments": value.arguments,
        "state": value.state,
        "items": value.items,
        "entries": value.entries,
    }
    return {"class": value.name, **{name: plain(part) for name, part in parts.items() if part}}
