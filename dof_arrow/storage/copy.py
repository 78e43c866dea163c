"""Bytes of one file copied into another: shared, by the system, or read and written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress

from dof_arrow.errors import OutputError
from dof_arrow.storage.atomic import Output

_CLONE = 0x40049409  # the ioctl FICLONE of linux/fs.h


_STEP = 8 << 20  # bytes a call copies


_BLOCK = 1 << 20


def copy(old: int, output: Output, size: int) -> None:
    """Begin an output with the first `size` bytes of an open file: shared if the filesystem can, copied by the system,
    or read and written. Raises OutputError if the file is shorter."""
    done = size if _cloned(old, output.file, size) else _copied(old, output.file, size)
    os.lseek(output.file, done, os.SEEK_SET)
    output.size = done
    for block in blocks(old, done, size):
        output.write(block)
    if output.size != size:
        raise OutputError("the file became shorter while it was copied", str(output.path))


def _cloned(old: int, new: int, size: int) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(new, _CLONE, old)
        os.ftruncate(new, size)
    except OSError:  # another filesystem, or one that shares nothing
        return False
    return True


def _copied(old: int, new: int, size: int) -> int:
    """Bytes that the system copied by itself; where it cannot, or fails, reading and writing goes on behind them."""
    done = 0
    with suppress(OSError, AttributeError):
        while done < size and (
            count := os.copy_file_range(old, new, min(size - done, _STEP), done, done)
        ):
            done += count
            # Starts writing these bytes now, beside the copying of the next: else the fsync waits for all of them.
            os.posix_fadvise(new, done - count, count, os.POSIX_FADV_DONTNEED)
    return done


def blocks(file: int, start: int, end: int) -> Iterator[bytes]:
    """The bytes [start, end) of an open file, piece by piece; fewer if it is shorter."""
    while start < end and (block := os.pread(file, min(_BLOCK, end - start), start)):
        yield block
        start += len(block)
