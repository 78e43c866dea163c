"""Regions of open files mapped side by side, at consecutive addresses."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

_MAP_FIXED = 0x10  # the same on Linux, macOS and the BSDs; Python's mmap module does not name it
_FAILED = ctypes.c_void_p(-1).value

# Some systems lack some of these; where nothing can be mapped, `stitchable` says so.
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0)
_PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | _NO_RESERVE
_RESERVED = _PRIVATE | getattr(mmap, "MAP_ANONYMOUS", 0)
_READ = getattr(mmap, "PROT_READ", 0)
_READ_WRITE = _READ | getattr(mmap, "PROT_WRITE", 0)

_MOST_MAPS = Path("/proc/sys/vm/max_map_count")  # of Linux; other systems have no such limit
_SHARE = 4  # one array takes at most this part of what a process may map


@dataclass(frozen=True, slots=True)
class Region:
    """Where the values of one column in one row group lie: offset and length in bytes."""

    offset: int
    length: int


class OpenFile(Protocol):
    """A file that can be opened when it is mapped."""

    @property
    def file(self) -> int:
        """Its descriptor, open as long as this object is held."""


class Stitched:
    """Regions of open files as one run of memory, private: no write ever reaches a file.

    The memory is copied on write. A framework that writes into it (torch in place) gets its own
    copy of the page; on a read-only map the same write would kill the process. The memory lives as
    long as any array over it. Raises OSError if the system refuses.
    """

    def __init__(self, regions: Sequence[tuple[OpenFile, Region]]) -> None:
        self.nbytes = sum(region.length for _, region in regions)
        _, first = regions[0]
        skew = first.offset % mmap.PAGESIZE  # a map starts at a page, the values behind its start
        size = _whole_pages(skew + self.nbytes)
        base = _reserve(size)
        unmap = weakref.finalize(self, _libc().munmap, base, size)
        unmap.atexit = False  # arrays may outlive the interpreter's exit handlers
        at = base
        for file, region in regions:
            before = region.offset % mmap.PAGESIZE
            _map(at, before + region.length, file.file, region.offset - before)
            at += region.length
        self.address = base + skew

    def array(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], *, writable: bool = False
    ) -> np.ndarray:
        """The memory as one C-contiguous array; what is written to it stays in this process."""
        flat = np.frombuffer(_owned(self, self.address, self.nbytes), np.uint8)
        array: np.ndarray = flat.view(dtype).reshape(shape)
        array.flags.writeable = writable
        return array


class _Whole:
    """A file mapped as it is, to be read."""

    def __init__(self, file: int, size: int) -> None:
        self.address = _checked(_libc().mmap(None, size, _READ, _PRIVATE, file, 0))
        unmap = weakref.finalize(self, _libc().munmap, self.address, size)
        unmap.atexit = False


def whole(file: int) -> memoryview:
    """The bytes of an open file, mapped to be read; it may be closed, unlike under Python's `mmap`.

    Raises OSError if the system refuses.
    """
    if os.name != "posix":
        return memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_READ))
    size = os.fstat(file).st_size
    mapped = _Whole(file, size)
    return _owned(mapped, mapped.address, size).toreadonly()


def is_mapped(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array is a view of memory that `Stitched` maps, and no copy of it."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    memory = array.base
    return isinstance(memory, memoryview) and hasattr(memory.obj, "owner")


def _owned(owner: object, address: int, size: int) -> memoryview:
    """Memory at an address, which keeps its owner alive."""
    memory = (ctypes.c_ubyte * size).from_address(address)
    memory.owner = owner  # type: ignore[attr-defined]
    return memoryview(memory).cast("B")


@cache
def most_maps() -> int:
    """How many maps one array may consist of."""
    try:
        return int(_MOST_MAPS.read_text()) // _SHARE
    except (OSError, ValueError):
        return 1 << 30


def stitchable(regions: Sequence[Region]) -> bool:
    """Whether this system can map the regions one behind the other: maps begin and end at pages.

    Not if they are too many for it.
    """
    if os.name != "posix" or not 0 < len(regions) <= most_maps():
        return False
    if any(region.length == 0 for region in regions):
        return False
    if len(regions) == 1:
        return True
    *others, last = regions
    return all(map(fills_pages, others)) and last.offset % mmap.PAGESIZE == 0


def fills_pages(region: Region) -> bool:
    """Whether another region can be mapped behind this one."""
    return region.offset % mmap.PAGESIZE == 0 and region.length % mmap.PAGESIZE == 0


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    flag = ctypes.c_int
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, flag, flag, flag, ctypes.c_int64]
    libc.mmap.restype = ctypes.c_void_p
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


def _reserve(size: int) -> int:
    """Addresses for `size` bytes, which nothing else gets; they hold no memory yet."""
    return _checked(_libc().mmap(None, size, 0, _RESERVED, -1, 0))


def _map(address: int, size: int, file: int, offset: int) -> None:
    """Map a part of a file at a reserved address."""
    flags = _PRIVATE | _MAP_FIXED
    _checked(_libc().mmap(address, size, _READ_WRITE, flags, file, offset))


def _checked(address: int) -> int:
    if address == _FAILED:
        code = ctypes.get_errno() or errno.ENOMEM
        raise OSError(code, os.strerror(code))
    return address
