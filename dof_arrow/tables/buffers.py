"""Memory that is used again: a new array costs the system as much time as to fill it twice."""

from __future__ import annotations

import ctypes
import threading
import weakref
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    def take(self, size: int) -> NDArray[np.uint8]:
        """An array uint8 [size] of any content."""
        with self._lock:
            if size > self._longest:
                self._longest = size
                self._buffers = Buffers(1, size, np.uint8)
            buffers = self._buffers
        return buffers.take()[0, :size]
