"""Tensors out of files of torch, without torch and without running what the files hold.

`torch.save` has written two forms: since 1.6 a zip of a pickle and the numbers of each storage,
before that five pickles with the numbers behind them. A tensor in an ordinary pickle has its
storage as a file of the older form within it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dof_arrow.errors import SourceError
from dof_arrow.storage.bounded_zip import Archive
from dof_arrow.storage.pickled_values import Name, Refused
from dof_arrow.storage.restricted_pickle import load, load_at

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_COUNT = 8  # bytes of the count before a storage's numbers
_BFLOAT16 = "torch.BFloat16Storage"

_TYPES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    _BFLOAT16: "<u2",  # the upper half of a float32
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1",
    "torch.BoolStorage": "?",
}


@dataclass(frozen=True, slots=True)
class Storage:
    """The numbers that tensors share."""

    values: np.ndarray[Any, Any]


def _named_only(*_: Any) -> Any:
    raise Refused("a call of a class that is only named")


def _tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    _learns: Any = None,
    _hooks: Any = None,
    about: Any = None,
) -> Any:
    """A tensor as an array of its own; `about` says whether its numbers are negated as seen."""
    if about not in (None, {}, {"neg": True}):
        raise Refused("a tensor that is seen in another way")
    if about and isinstance(storage, Storage) and storage.values.dtype.kind != "f":
        raise Refused("a tensor that is seen in another way")
    if not isinstance(storage, Storage):
        raise Refused("a tensor of another kind")
    if not isinstance(shape, tuple) or not isinstance(stride, tuple) or len(shape) != len(stride):
        raise Refused("a tensor of another shape")
    numbers = (offset, *shape, *stride)
    if not all(type(each) is int and each >= 0 for each in numbers):
        raise Refused("a tensor that lies before its storage")
    stored = storage.values
    count = math.prod(shape)
    last = offset + _reach(shape, stride)
    if count > len(stored) or (count and last >= len(stored)):
        raise Refused("a tensor that reaches beyond its storage")
    if not count:
        return np.empty(shape, stored.dtype)
    steps = [stored.itemsize * step for step in stride]
    lying = np.lib.stride_tricks.as_strided(stored[offset:], shape, steps, writeable=False)
    return np.negative(lying, order="C") if about else lying.copy(order="C")


def _reach(shape: Sequence[int], stride: Sequence[int]) -> int:
    """How many numbers lie from the first to the last.

    >>> _reach((32, 3), (1, 32))
    95
    """
    steps = [(length - 1) * step for length, step in zip(shape, stride, strict=True)]
    return sum(steps)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _inner_storage(data: Any) -> Storage:
    if not isinstance(data, bytes):
        raise Refused("a storage of another kind")
    found = read_old(data, "a tensor")
    if not isinstance(found, Storage):
        raise Refused("a file of torch that is no storage")
    return found


# What a file of torch may name.
TENSORS: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    **dict.fromkeys(_TYPES, _named_only),
}
# What any other pickle may name, to hold tensors.
TORCH: dict[str, Any] = {**TENSORS, "torch.storage._load_from_bytes": _inner_storage}


def read_old(data: bytes, where: str, allowed: Mapping[str, Any] = TENSORS) -> Any:
    """What a file of torch in its older form holds: tensors as arrays, in plain values.

    Raises SourceError where it is not sound, or names anything that `allowed` does not.
    """
    start = 0
    heads = []
    for _ in range(3):
        head, start = load_at(data, start, where=where, allowed={})
        heads.append(head)
    magic, version, system = heads
    is_little = isinstance(system, dict) and system.get("little_endian") is True
    if (magic, version) != (_MAGIC, _VERSION) or not is_little:
        raise _unsound(where, "another beginning")
    wanted: dict[str, tuple[str, int]] = {}

    def noted(reference: Any) -> Storage:
        kind, key, count = _reference(reference)
        wanted[key] = (kind, count)
        return Storage(np.broadcast_to(np.zeros(1, _TYPES[kind]), count))

    # Read once for the storages, whose numbers lie behind it, and once with them.
    _, end = load_at(data, start, where=where, allowed=_Lazy(allowed), persistent=noted)
    keys, place = load_at(data, end, where=where, allowed={})
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(wanted):
        raise _unsound(where, "other storages than its tensors have")
    found = _storages(data, place, [(key, *wanted[key]) for key in keys], where)
    return load_at(data, start, where=where, allowed=allowed, persistent=_giver(found.get))[0]


def read_zip(archive: Archive, where: str, allowed: Mapping[str, Any] = TENSORS) -> Any:
    """What a file of torch in its newer form holds, a zip that is open; else as `read_old`."""
    pickles = [name for name in archive.names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _unsound(where, f"{len(pickles)} pickles")
    root = pickles[0].removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in archive and archive.read(order) != b"little":
        raise _unsound(where, "another order of bytes")
    found: dict[str, Storage] = {}

    def storage(reference: Any) -> Storage:
        kind, key, count = _reference(reference)
        if key not in found:
            found[key] = _storage(archive.read(f"{root}data/{key}"), kind, count)
        return found[key]

    data = archive.read(pickles[0])
    return load(data, where=where, allowed=allowed, persistent=storage)


class _Lazy(dict[str, Any]):
    """The same names, but tensors are not made yet."""

    def __init__(self, allowed: Mapping[str, Any]) -> None:
        super().__init__(allowed)
        for name, make in allowed.items():
            if make in (_tensor, _parameter):
                self[name] = _nothing


def _nothing(*_: Any) -> Any:
    return None


def _reference(reference: Any) -> tuple[str, str, int]:
    """What stands for a storage: its type, its key, how many numbers it has."""
    if not isinstance(reference, tuple) or len(reference) not in (5, 6):
        raise Refused("a reference of another kind")
    word, kind, key, _, count, *view = reference
    is_known = isinstance(kind, Name) and kind.text in _TYPES
    if word != "storage" or not is_known or any(part is not None for part in view):
        raise Refused("a storage of another kind")
    if type(count) is not int or count < 0 or not isinstance(key, str):
        raise Refused("a storage of another size")
    return kind.text, key, count


def _storage(data: bytes | memoryview, kind: str, count: int) -> Storage:
    values = np.frombuffer(data, _TYPES[kind]) if len(data) else np.empty(0, _TYPES[kind])
    if len(values) != count:
        raise Refused("a storage of another size")
    if kind == _BFLOAT16:
        values = (values.astype("<u4") << 16).view("<f4")
    return Storage(values)


def _storages(
    data: bytes, place: int, wanted: Sequence[tuple[str, str, int]], where: str
) -> dict[str, Storage]:
    """The storages by key, in the order in which they lie."""
    found = {}
    view = memoryview(data)
    for key, kind, count in wanted:
        size = count * np.dtype(_TYPES[kind]).itemsize
        counted = int.from_bytes(view[place : place + _COUNT], "little")
        numbers = view[place + _COUNT : place + _COUNT + size]
        if counted != count or len(numbers) != size:
            raise _unsound(where, "a storage of another size")
        found[key] = _storage(numbers, kind, count)
        place += _COUNT + size
    if place != len(data):
        raise _unsound(where, "bytes behind its end")
    return found


def _giver(found: Callable[[str], Storage | None]) -> Callable[[Any], Storage]:
    def give(reference: Any) -> Storage:
        storage = found(_reference(reference)[1])
        if storage is None:
            raise Refused("a storage that is missing")
        return storage

    return give


def _unsound(where: str, found: str) -> SourceError:
    return SourceError("not a sound file of torch", where, found=found)
