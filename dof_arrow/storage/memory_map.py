"""Regions of a file mapped side by side at consecutive addresses."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

_MAP_FIXED = 0x10  # the same on Linux, macOS and the BSDs; Python's mmap module does not name it


_FAILED = ctypes.c_void_p(-1).value


_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0)


_PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | _NO_RESERVE


_RESERVED = _PRIVATE | getattr(mmap, "MAP_ANONYMOUS", 0)


_READ_WRITE = getattr(mmap, "PROT_READ", 0) | getattr(mmap, "PROT_WRITE", 0)


@dataclass(frozen=True, slots=True)
class Region:
    """Where the values of one column in one row group lie: offset and length in bytes."""

    offset: int
    length: int


class Stitched:
    """Regions of open files as one run of memory, private and copy-on-write: no write ever reaches a file.

    A framework that writes into the memory (torch in place) gets its own copy of the page it writes to; on a
    read-only map the same write would kill the process. The memory lives as long as any array over it.
    """

    def __init__(self, regions: Sequence[tuple[int, Region]]) -> None:
        self.nbytes = sum(r.length for _, r in regions)
        skew = regions[0][1].offset % mmap.PAGESIZE
        self._base = _reserve(_pages(skew + self.nbytes))
        unmap = weakref.finalize(self, _libc().munmap, self._base, _pages(skew + self.nbytes))
        unmap.atexit = False  # arrays may outlive the interpreter's exit handlers
        at = self._base
        for file, region in regions:
            start = region.offset - region.offset % mmap.PAGESIZE
            _map(at, region.offset + region.length - start, file, start)
            at += region.length
        self.address = self._base + skew

    def array(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], *, writable: bool = False
    ) -> np.ndarray:
        """The memory as one C-contiguous array; writes through a writable one stay in this process."""
        memory = (ctypes.c_ubyte * self.nbytes).from_address(self.address)
        memory.owner = self  # type: ignore[attr-defined]  # keeps the mapping alive with the array
        array: np.ndarray = np.frombuffer(memoryview(memory), np.uint8).view(dtype).reshape(shape)
        array.flags.writeable = writable
        return array


def stitchable(regions: Sequence[Region]) -> bool:
    """Whether this system can map the regions one behind the other: pages only map at page boundaries."""
    if os.name != "posix" or not regions or any(r.length == 0 for r in regions):
        return False
    inner = all(r.length % mmap.PAGESIZE == 0 for r in regions[:-1])
    return len(regions) == 1 or (inner and all(r.offset % mmap.PAGESIZE == 0 for r in regions))


def _pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


def _reserve(size: int) -> int:
    return _checked(_libc().mmap(None, size, 0, _RESERVED, -1, 0))


def _map(address: int, size: int, file: int, offset: int) -> None:
    _checked(_libc().mmap(address, size, _READ_WRITE, _PRIVATE | _MAP_FIXED, file, offset))


def _checked(address: int) -> int:
    if address == _FAILED:
        code = ctypes.get_errno() or errno.ENOMEM
        raise OSError(code, os.strerror(code))
    return address
