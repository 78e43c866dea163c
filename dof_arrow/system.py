"""The machine: processors, this program's own folders, and the one way to open a user's file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def own_folder(variable: str, usual: str) -> Path:
    """This program's folder among the user's own, as the XDG base directory specification has it.

    >>> own_folder("XDG_NO_SUCH_HOME", ".cache").name
    'dof-arrow'
    """
    folder = Path(os.environ.get(variable, ""))
    if not folder.is_absolute():  # the specification ignores relative ones
        folder = Path.home() / usual
    return folder / "dof-arrow"


def processors() -> int:
    """Processors that this process may use.

    >>> processors() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):  # Linux; it knows the limits of a container
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_file(path: str | Path) -> BinaryIO:
    """A file of the user's, opened for reading bytes.

    Raises OSError for what cannot be opened, and for a folder, pipe, socket or device: to open or
    to read one might never end, or do something to a machine.
    """
    _check_regular(os.stat(path).st_mode)
    # The file may have been replaced in the meantime: so as not to wait, and looked at again.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check_regular(os.fstat(handle).st_mode)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file")
