"""Memory that is used again: a new array costs the system as much time as to fill it twice."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = NDArray[np.int64]

_ALIGNMENT = 64  # JAX takes no other memory without copying it


class Buffers:
    """Arrays [rows, width] of one type; memory is used again once the last array over it is gone.

    So batches may be kept for any time, and if they are not, memory that is warm in the caches goes
    round.

    >>> buffers = Buffers(4, 8)
    >>> first = buffers.take().ctypes.data
    >>> buffers.take().ctypes.data == first
    True
    """

    def __init__(self, rows: int, width: int, dtype: Any = np.float32) -> None:
        self._rows = rows
        self._width = width
        self._dtype = np.dtype(dtype)
        self.nbytes = self._dtype.itemsize * rows * width
        self._idle: list[Any] = []

    def take(self) -> NDArray[Any]:
        """An array of any content."""
        memory = self._memory()
        # Every array over a lease keeps it alive, so its end is the end of the last of them.
        lease: Any = (ctypes.c_ubyte * memory.nbytes).from_buffer(memory)
        weakref.finalize(lease, self._idle.append, memory).atexit = False
        start = -memory.ctypes.data % _ALIGNMENT
        values: NDArray[np.uint8] = np.frombuffer(lease, np.uint8)[start : start + self.nbytes]
        made: NDArray[Any] = values.view(self._dtype).reshape(self._rows, self._width)
        return made

    def _memory(self) -> Any:
        """Memory for an array, with room to start it at a multiple of `_ALIGNMENT`."""
        with suppress(IndexError):  # another thread may have taken the last one
            return self._idle.pop()
        return np.empty(self.nbytes + _ALIGNMENT, np.uint8)


class Room:
    """Bytes of any length, in buffers as long as the longest that was asked for.

    >>> Room().take(3).shape
    (3,)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._longest = 0
        self._buffers = Buffers(1, 0, np.uint8)

    def take(self, size: int, before: int = 0, *, row: int = 1) -> NDArray[np.uint8]:
        """An array uint8 [size] of any content.

        The byte after the first `before` stands at an address that `row` divides.
        """
        with self._lock:
            if size + row > self._longest:
                self._longest = size + row
                self._buffers = Buffers(1, self._longest, np.uint8)
            buffers = self._buffers
        memory: NDArray[np.uint8] = buffers.take()[0]
        start = -(memory.ctypes.data + before) % row
        return memory[start : start + size]


def copy_rows(arrays: Sequence[Array], which: Rows, rows: Rows, out: Array) -> None:
    """Copy into `out` [k, width] row `rows[i]` of array `which[i]`, which has to be there.

    >>> out = np.empty((2, 3))
    >>> copy_rows([np.eye(3), np.ones((1, 3))], np.array([1, 0]), np.array([0, 1]), out)
    >>> out.tolist()
    [[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]
    """
    addresses = np.array([values.ctypes.data for values in arrays])
    if _stand_in_rows(arrays, addresses, out.dtype):
        # One copy out of all memory from the first array to the end of the last, of which only
        # their own rows are read: in half of the time that a copy for each of them takes.
        lowest = arrays[int(addresses.argmin())]
        firsts = (addresses - addresses.min()) // lowest.strides[0]
        ends = firsts + [len(values) for values in arrays]
        memory = as_strided(lowest, (int(ends.max()), lowest.shape[1]), writeable=False)
        np.take(memory, firsts[which] + rows, axis=0, out=out, mode="clip")
        return
    for number, values in enumerate(arrays):
        here = which == number
        out[here] = values[rows[here]]


def _stand_in_rows(arrays: Sequence[Array], addresses: Rows, dtype: np.dtype[Any]) -> bool:
    """Whether arrays of this type stand whole rows apart in memory."""
    for values in arrays:
        # NumPy would copy all of an array that is not aligned, to take a row of it.
        if values.dtype != dtype or not (values.flags.aligned and values.flags.c_contiguous):
            return False
    return not ((addresses - addresses[0]) % arrays[0].strides[0]).any()
