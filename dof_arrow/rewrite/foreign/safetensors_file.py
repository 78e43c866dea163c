"""Arrays of a safetensors file, read without its library, which has no bfloat16 for numpy.

Source: the format's own description, github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec.json_model import parsed
from dof_arrow.system import open_file

_BFLOAT16 = "BF16"  # the upper half of a float32
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    _BFLOAT16: "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
_ABOUT = "__metadata__"
_LENGTH = 8  # bytes that say how long the head is
_MOST_HEAD = 100_000_000  # bytes, as the library has it


@dataclass(frozen=True, slots=True)
class SafeArray:
    """An array of a file: what its numbers are, and where they lie."""

    path: Path
    kind: str
    shape: tuple[int, ...]
    start: int

    def values(self) -> NDArray[Any]:
        """The array, mapped; bfloat16 as float32. UsageError for types that numpy does not have."""
        dtype = _TYPES.get(self.kind)
        if dtype is None:
            raise UsageError(
                "numbers of a type that is not read", str(self.path), ", ".join(_TYPES), self.kind
            )
        if not math.prod(self.shape):
            return np.empty(self.shape, dtype)
        lying = np.memmap(self.path, dtype, "r", self.start, self.shape)
        if self.kind == _BFLOAT16:
            return (lying.astype("<u4") << 16).view("<f4")
        return lying


def safe_arrays(path: Path) -> dict[str, SafeArray]:
    """The arrays of a file by name; SourceError where it is not sound, OSError as `open_file`."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(_LENGTH), "little")
        if not 0 < length <= min(size - _LENGTH, _MOST_HEAD):
            raise _unsound(path, "a head that reaches beyond it")
        head = file.read(length)
    try:
        told = parsed(head)
    except ValueError:
        raise _unsound(path, "a head that is no JSON") from None
    if not isinstance(told, dict):
        raise _unsound(path, "a head that is no object")
    arrays = {name: about for name, about in told.items() if name != _ABOUT}
    return _placed(path, arrays, _LENGTH + length, size)


def _placed(path: Path, arrays: Mapping[str, Any], first: int, end: int) -> dict[str, SafeArray]:
    """The arrays, if they lie one behind the other up to the end of the file."""
    found = {}
    spans = []
    for name, about in arrays.items():
        try:
            kind, shape, (start, stop) = about["dtype"], about["shape"], about["data_offsets"]
            is_sound = all(type(each) is int and each >= 0 for each in (*shape, start, stop))
        except (KeyError, TypeError, ValueError):
            is_sound = False
        if not is_sound or not isinstance(kind, str):
            raise _unsound(path, "an array that is not described")
        if kind in _TYPES and stop - start != math.prod(shape) * np.dtype(_TYPES[kind]).itemsize:
            raise _unsound(path, "an array of another size than its shape has")
        spans.append((start, stop))
        found[name] = SafeArray(path, kind, tuple(shape), first + start)
    reached = 0
    for start, stop in sorted(spans):
        if start != reached or stop < start:
            raise _unsound(path, "arrays that do not lie one behind the other")
        reached = stop
    if first + reached != end:
        raise _unsound(path, "more or fewer bytes than its arrays have")
    return found


def _unsound(path: Path, found: str) -> SourceError:
    return SourceError("not a sound safetensors file", str(path), found=found)
