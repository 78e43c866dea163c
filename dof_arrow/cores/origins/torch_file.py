"""Tensors out of a file of `torch.save` in its first form (before torch 1.6), without torch.

Such a file is five pickles, then the numbers of each storage behind their count. A pickle may name
any function of any library and have it called as it is read. Here it may name four things, none of
which is a function of another library: an ordered dictionary, a tensor's description, and two types
of numbers. All else is refused.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dof_arrow.cores.graph.model import Array, first_line
from dof_arrow.errors import CoreError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_NUMBERS = ("<f4", "<i8")
_COUNT = 8  # bytes of the count before a storage's numbers


# What a pickle makes is a tuple or a dictionary: it can change no object of ours once it is made.
class _Storage(NamedTuple):
    """Numbers that stand behind the pickles under a key."""

    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    """A part of a storage: its shape, and how many numbers lie from one index to the next."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_tensors(data: bytes, where: str) -> dict[str, Array]:
    """The tensors of a state dictionary by name, float32 or int64.

    Raises CoreError for other bytes, and for a file that names anything but tensors.
    """
    file = io.BytesIO(data)
    try:
        named = _described(file)
        storages = _storages(file, data, named)
        return {name: _numbers(tensor, storages) for name, tensor in named.items()}
    except _Refused as error:
        found = str(error)
    except Exception as error:  # whatever a pickle that is damaged makes Python raise
        found = first_line(error)
    raise CoreError(
        "this is no file of tensors, or not one that can be trusted",
        where,
        "a state dictionary of torch, tensors of float32 and int64 alone",
        found,
        "Install the package again.",
    )


class _Refused(Exception):
    """Why a file is not read."""


class _Tensors(pickle.Unpickler):
    """Reads descriptions of tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may name; _Refused for anything else."""
        found = _KNOWN.get((module, name))
        if found is None:
            raise _Refused(f"{module}.{name}")
        return found

    def persistent_load(self, reference: Any) -> _Storage:
        """A storage that the pickle refers to, without its numbers."""
        kind, dtype, key, _, count, view = reference
        if kind != "storage" or view is not None or dtype not in _NUMBERS:
            raise _Refused("a storage of another kind")
        return _Storage(str(key), dtype, int(count))


class _Rebuild:
    """What stands for the function `torch._utils._rebuild_tensor_v2`."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
        if not isinstance(storage, _Storage) or len(shape) != len(stride):
            raise _Refused("a tensor of another kind")
        numbers = (offset, *shape, *stride)
        if not all(isinstance(each, int) and each >= 0 for each in numbers):
            raise _Refused("a tensor that lies before its storage")
        last = offset + _reach(shape, stride)
        if math.prod(shape) > storage.length or (math.prod(shape) and last >= storage.length):
            raise _Refused("a tensor that reaches beyond its storage")
        return _Tensor(storage, offset, tuple(shape), tuple(stride))


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(),
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


def _reach(shape: Sequence[int], stride: Sequence[int]) -> int:
    """How many numbers lie from the first to the last.

    >>> _reach((32, 3), (1, 32))
    95
    """
    steps = [(length - 1) * step for length, step in zip(shape, stride, strict=True)]
    return sum(steps)


def _described(file: io.BytesIO) -> dict[str, _Tensor]:
    """The descriptions of all tensors; the file then stands at the list of its storages."""
    start = [_Tensors(file).load() for _ in range(3)]
    if start[:2] != [_MAGIC, _VERSION] or start[2].get("little_endian") is not True:
        raise _Refused("another beginning")
    named = _Tensors(file).load()
    if not isinstance(named, OrderedDict):
        raise _Refused(f"a {type(named).__name__}")
    for name, tensor in named.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise _Refused("an entry that is no tensor")
    return dict(named)


def _storages(file: io.BytesIO, data: bytes, named: Mapping[str, _Tensor]) -> dict[str, Array]:
    """The numbers of all storages by key, where they lie in `data`."""
    known = {tensor.storage.key: tensor.storage for tensor in named.values()}
    keys = _Tensors(file).load()
    if sorted(keys) != sorted(known):
        raise _Refused("other storages than its tensors have")
    found = {}
    place = file.tell()
    for key in keys:
        storage = known[key]
        counted = int.from_bytes(data[place : place + _COUNT], "little")
        if counted != storage.length:
            raise _Refused("a storage of another size")
        place += _COUNT
        found[key] = np.frombuffer(data, storage.dtype, storage.length, place)
        place += found[key].nbytes
    if place != len(data):
        raise _Refused("bytes behind its end")
    return found


def _numbers(tensor: _Tensor, storages: Mapping[str, Array]) -> Array:
    """The numbers of a tensor, row by row; in the file its axes may be in any order."""
    stored = storages[tensor.storage.key]
    steps = [stored.itemsize * step for step in tensor.stride]
    behind = stored[tensor.offset :]
    lying = np.lib.stride_tricks.as_strided(behind, tensor.shape, steps, writeable=False)
    return lying.copy(order="C")
