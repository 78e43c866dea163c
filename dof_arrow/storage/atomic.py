"""How every output is written: to a locked file beside it, fsynced, then renamed into place.

A reader sees the old file or the new one, never a part. The lock is the temporary file's own
(flock), so it ends with its process. What a crash of ours leaves behind makes way for the next
writer of the same output; what others left does not (see `owned`).
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dof_arrow.errors import OutputError
from dof_arrow.storage import owned
from dof_arrow.storage.addresses import Address, location

Bytes = Any  # whatever has the buffer protocol: bytes, memoryview, a C-contiguous array

_AT_ONCE = 512  # buffers a writev call; IOV_MAX is 1,024 on the systems in use

_HINTS = {
    errno.ENOSPC: "Free some space and repeat the command.",
    errno.EDQUOT: "Free some space and repeat the command.",
    errno.ENOENT: "Make the folder first.",
    errno.EACCES: "Check who may write to the folder.",
    errno.EROFS: "Choose a folder on a disk that can be written.",
}


class Output:
    """A file being written: append bytes, then leave the `replacing` block to commit them."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.file = file
        self.size = 0

    def write(self, *buffers: Bytes) -> None:
        """Append all bytes of the buffers; raises OSError if the system refuses."""
        views = [view for view in map(_bytes_view, buffers) if len(view)]
        for first in range(0, len(views), _AT_ONCE):
            _write_all(self.file, views[first : first + _AT_ONCE])
        self.size += sum(map(len, views))


class CountedOutput(Output):
    """An output that only counts its bytes: how large a file would be."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull), -1)

    def write(self, *buffers: Bytes) -> None:
        """Count the bytes."""
        self.size += sum(memoryview(buffer).nbytes for buffer in buffers)


class Sink(io.RawIOBase):
    """An output as a file object, which pyarrow needs."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def writable(self) -> bool:
        """Whether it can be written to: always."""
        return True

    def write(self, data: Any) -> int:
        """Append bytes; their number."""
        self._out.write(data)
        return memoryview(data).nbytes

    def tell(self) -> int:
        """The number of bytes written."""
        return self._out.size


@contextmanager
def replacing(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    beside: Path | None = None,
    folder: int | None = None,
    mode: int | None = None,
) -> Iterator[Output]:
    """Write a file atomically: it appears at `path` when the block ends, never if the block fails.

    While it is written it stands beside `path` under a hidden name, or beside the folder `beside`
    that it goes into, and only its owner may read it. It ends with `mode`, by default what the
    system gives any new file there. `folder` is the folder of `path`, open: nobody can exchange it.

    Raises OutputError if `path` exists and may not be overwritten, if another process writes it,
    if what stands under the hidden name is not ours, or if the system refuses (disk full, no
    permission).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "x.txt")) as out:
    ...         out.write(b"whole")
    ...     Path(folder, "x.txt").read_bytes()
    b'whole'
    """
    target = Path(path)
    with explained(target):
        refuse_existing(target, overwrite)
        part = _partial(target, beside)
        file = lock(part, target, folder=folder)
        try:
            final = owned.usual_mode(part.parent) if mode is None else mode
            yield Output(part, file)
            owned.give_mode(file, owned.closed(final))
            os.fsync(file)
            refuse_existing(target, overwrite)
            _put_in_place(part, file, target, folder)
            owned.give_mode(file, final)  # now that no kill can leave it beside, open to others
        except BaseException:
            with suppress(OSError):
                _remove_own(part, file, folder)
            raise
        finally:
            os.close(file)


def _partial(target: Path, beside: Path | None) -> Path:
    if beside is None:
        return sibling(target, "partial")
    return sibling(beside, f"{target.name}.partial")


def _put_in_place(part: Path, file: int, target: Path, folder: int | None) -> None:
    if not owned.stands(part, file, folder):
        raise OutputError(
            "the file was exchanged while it was written",
            str(part),
            hint="Find out who else writes to this folder, or choose another.",
        )
    if folder is None:
        os.rename(part, target)
        sync_folder(target.parent)
    else:
        os.rename(part.name, target.name, src_dir_fd=folder, dst_dir_fd=folder)
        _sync(folder)


def _remove_own(path: Path, file: int, folder: int | None) -> None:
    if owned.stands(path, file, folder):
        owned.remove(path, folder)


def sibling(path: Path, what: str) -> Path:
    """The hidden file or folder that stands beside an output while it is being made.

    >>> sibling(Path("a/x.parquet"), "partial").as_posix()
    'a/.x.parquet.partial'
    """
    return path.with_name(f".{path.name}.{what}")


def refuse_existing(target: Path, overwrite: bool) -> None:
    """Raise OutputError if `target` stands already and may not be overwritten, or is an address."""
    place = location(target)
    if isinstance(place, Address):
        raise OutputError(
            "this is written on this machine alone",
            str(place),
            "a path",
            hint="Write it here, and copy it there.",
        )
    if target.is_dir():
        raise OutputError("the output is a folder", str(target), "a file name")
    if not overwrite and target.exists():
        raise OutputError(
            "the output exists already", str(target), hint="Give another name, or --overwrite."
        )


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn the system's refusals about an output into OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(_reason(error), str(target), hint=_hint(error)) from error


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable."""
    file = os.open(folder, os.O_RDONLY)
    try:
        _sync(file)
    finally:
        os.close(file)


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network filesystems cannot sync a folder
            raise


def lock(path: Path, target: Path, *, folder: int | None = None) -> int:
    """Make a lock file and hold it (flock): the lock dies with its process.

    What a crash of ours left there is removed first. Raises OutputError while another process has
    it, and if what stands there is not ours. `folder`: the folder that it is in, open.
    """
    while True:
        with suppress(FileExistsError):
            file = owned.make(path, folder)
            if _taken(path, file, target, folder):
                return file
            os.close(file)  # another one has removed the file, before it was locked
        with suppress(FileNotFoundError):
            _remove_left(path, target, folder)


def _taken(path: Path, file: int, target: Path, folder: int | None) -> bool:
    """Lock an open lock file, or close it; whether it still stands at its path."""
    try:
        _flock(file, target)
        return owned.stands(path, file, folder)
    except BaseException:
        os.close(file)
        raise


def _remove_left(path: Path, target: Path, folder: int | None) -> None:
    """Remove a lock file of ours that nobody holds.

    It is not used again: it may be open elsewhere, from a time when others could open it.
    """
    file = owned.opened(path, folder, os.O_RDWR)
    try:
        found = os.fstat(file)
        there = owned.stands(path, file, folder)
        if there:
            owned.refuse_others(path, found, folder=folder)
        _flock(file, target)
        if there and owned.stands(path, file, folder):
            owned.remove(path, folder)
    finally:
        os.close(file)


def _flock(file: int, target: Path) -> None:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise OutputError(
            "another process is working on this output",
            str(target),
            hint="Wait for it to end, or give another name.",
        ) from None


@contextmanager
def locked(path: Path, target: Path) -> Iterator[None]:
    """Hold a lock file of its own while writing more than one file; it is gone afterwards."""
    with explained(target):
        file = lock(path, target)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(file)


def _write_all(file: int, views: Sequence[memoryview]) -> None:
    # A full disk may write less than all without an error; the next call then tells it.
    left = list(views)
    while left:
        written = os.writev(file, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if left:
            left[0] = left[0][written:]


def _bytes_view(buffer: Bytes) -> memoryview:
    view = memoryview(buffer)
    if not view.nbytes:  # cannot be cast
        return memoryview(b"")
    return view.cast("B")


def _reason(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full:
        return "the disk is full"
    return f"cannot be written: {error.strerror or error}"


def _hint(error: OSError) -> str:
    return _HINTS.get(error.errno or 0, "")
