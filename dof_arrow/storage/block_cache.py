"""What was fetched of files afar, kept on this machine up to a limit: a sparse file for each.

A file is named by its seal, which covers each of its bytes: so copies at several addresses are one
here, and none of them goes stale. Whoever reads a block compares it with its digest. What was used
longest ago makes way first; one that is in use stays readable for those who have it open.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from dof_arrow.errors import UsageError
from dof_arrow.storage import caches
from dof_arrow.storage.atomic import explained
from dof_arrow.storage.open_files import Descriptor

LIMIT = "DOF_CACHE_BYTES"  # the variable of the environment that sets it
_USUAL = 32 << 30  # bytes
_SPARE = 2  # the cache takes at most this part of what is free on its disk, as 1 in so many
_DISK_BLOCK = 512  # what `st_blocks` counts in, whatever the filesystem
_KIND = "blocks"


class Blocks:
    """The bytes of a file of `size` bytes as far as they were fetched, at their own places.

    Kept as `name` if it has one and the limit allows, else for this process alone. `is_kept` tells.
    """

    def __init__(self, name: str, size: int) -> None:
        self.size = size
        self._path = caches.path_of(name, _KIND)
        self.is_kept = bool(name) and _has_room(self._path, size)
        self.file = Descriptor(self._opened())
        with explained(self._path):
            if os.fstat(self.file).st_size != size:
                os.ftruncate(self.file, size)  # reserves nothing
            os.utime(self.file)

    def holds_bytes(self, start: int, stop: int) -> bool:
        """Whether anything was written there, as far as the system knows; what, a digest tells."""
        if not hasattr(os, "SEEK_DATA"):
            return True
        try:
            return os.lseek(self.file, start, os.SEEK_DATA) < stop
        except OSError:  # nothing but a hole up to the end
            return False

    def write(self, start: int, data: memoryview) -> None:
        """Put bytes in their place."""
        if self.is_kept:
            _make_room(self._path, len(data))
        with explained(self._path):
            while data:
                done = os.pwrite(self.file, data, start)
                start += done
                data = data[done:]

    def _opened(self) -> int:
        if self.is_kept:
            return caches.to_be_filled(self._path)
        with explained(Path(tempfile.gettempdir())):
            file, path = tempfile.mkstemp(prefix="dof-blocks-")
            os.unlink(path)
        return file


def limit() -> int:
    """Bytes that the cache may take: DOF_CACHE_BYTES, by default 32 GiB; 0 keeps nothing.

    Raises UsageError where that is no number.
    """
    told = os.environ.get(LIMIT, "")
    if not told:
        return _USUAL
    if not told.isascii() or not told.isdigit():
        raise UsageError("no number of bytes", LIMIT, "such as 10000000000", told)
    return int(told)


def _has_room(path: Path, size: int) -> bool:
    """Whether the cache may hold a file of this size, once all others have made way.

    Not where it would fill the disk, nor where the user has no folder that can be written.
    """
    if size > limit():
        return False
    try:
        caches.make_folder(path.parent)
        free = shutil.disk_usage(path.parent).free
    except OSError:
        return False
    return size <= (free + _taken(path)) // _SPARE


def _make_room(path: Path, size: int) -> None:
    """Remove what was used longest ago, but not `path`, until `size` bytes more are allowed."""
    most = limit()
    others = [each for each in path.parent.iterdir() if each != path]
    taken = {each: _taken(each) for each in [path, *others]}
    total = sum(taken.values()) + size
    for each in sorted(others, key=_used):
        if total <= most:
            return
        with suppress(OSError):
            each.unlink()
        total -= taken[each]


def _taken(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_blocks * _DISK_BLOCK
    return 0


def _used(path: Path) -> float:
    with suppress(OSError):
        return path.lstat().st_mtime
    return 0.0
