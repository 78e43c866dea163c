"""The machine: processors, and this program's own folders."""

from __future__ import annotations

import os
from pathlib import Path


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
