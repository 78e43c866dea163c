"""Bytes of one file copied into another: shared, copied by the system, or read and written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress

from dof_arrow.errors import OutputError
from dof_arrow.storage.atomic import Output

_CLONE = 0x40049409  # the ioctl FICLONE of linux/fs.h
_STEP = 8 << 20  # bytes that one call of the system copies
_BLOCK = 1 << 20  # bytes that are read at once
_DISK_BLOCK = 4096  # what filesystems share, or copy without reading


def copy(old: int, output: Output, size: int) -> None:
    """Begin an output with the first `size` bytes of an open file.

    They are shared if the filesystem can do so, else copied by the system, else read and written.
    Raises OutputError if the file is shorter.
    """
    cloned = _cloned(old, output.file, size)
    done = size if cloned else _copied(old, output.file, size)
    os.lseek(output.file, done, os.SEEK_SET)
    output.size = done
    for block in blocks(old, done, size):
        output.write(block)
    if output.size != size:
        raise OutputError("the file became shorter while it was copied", str(output.path))


def copy_range(old: int, start: int, end: int, output: Output) -> None:
    """Append the bytes [start, end) of an open file to an output; the system copies most of them.

    Where both begin at the same place of a disk block, filesystems that can do so share whole
    blocks. Raises OutputError if the file is shorter.
    """
    aligned = min(start + -start % _DISK_BLOCK, end)
    for block in blocks(old, start, aligned):
        output.write(block)
    done = _copied_range(old, aligned, output.file, output.size, end - aligned)
    output.size += done
    os.lseek(output.file, output.size, os.SEEK_SET)
    before = output.size - done - (aligned - start)
    for block in blocks(old, aligned + done, end):
        output.write(block)
    if output.size - before != end - start:
        raise OutputError("the file became shorter while it was copied", str(output.path))


def blocks(file: int, start: int, end: int) -> Iterator[bytes]:
    """The bytes [start, end) of an open file, a block at a time; fewer if the file is shorter."""
    while start < end:
        block = os.pread(file, min(_BLOCK, end - start), start)
        if not block:
            return
        yield block
        start += len(block)


def _cloned(old: int, new: int, size: int) -> bool:
    """Whether the new file now shares the bytes of the old one."""
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
    """How many bytes the system copied; where it cannot or fails, the rest is read and written."""
    return _copied_range(old, 0, new, 0, size)


def _copied_range(old: int, start: int, new: int, at: int, size: int) -> int:
    """How many of the bytes from `start` on the system copied to `at`."""
    done = 0
    with suppress(OSError, AttributeError):  # not every system has these calls
        while done < size:
            step = min(size - done, _STEP)
            count = os.copy_file_range(old, new, step, start + done, at + done)
            if not count:
                break
            done += count
            # Starts writing these bytes now, beside the copying of the next: else the fsync waits
            # for all of them.
            os.posix_fadvise(new, at + done - count, count, os.POSIX_FADV_DONTNEED)
    return done
