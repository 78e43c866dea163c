"""What a torch dataset and its worker processes agree on, in shared memory: which pass is which.

A DataLoader makes its workers from the dataset again and again, and the dataset sees nothing of
them. So the workers number the passes themselves: the first one of a pass takes the next number,
and notes by which seed the others know the pass.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_MOST_WORKERS = 1024
_REMEMBERED = 1024  # passes whose marks are kept: a worker may come late
_MARK = 1 << 62  # marks fit into int64
_EPOCH, _CONSUMED, _BEGUN, _MARKS = range(4)  # places in the shared memory
_WORKERS = _MARKS + _REMEMBERED

PLACES = _WORKERS + _MOST_WORKERS
"""How many int64 the shared memory holds: room for any number of workers."""


class SharedPasses:
    """The epoch to begin with, where in it, and the passes that workers have begun since.

    `shared` holds int64 [PLACES]; `in_worker` tells whether this is a worker; `lock` names a file
    by which one process at a time takes a number, by default a new one.
    """

    def __init__(self, shared: Any, in_worker: Callable[[], object], lock: str = "") -> None:
        self.shared = shared
        self.lock = lock
        self._in_worker = in_worker
        if not lock:
            file, self.lock = tempfile.mkstemp(prefix="dof-passes-")
            os.close(file)
            self._finalizer = weakref.finalize(self, _remove, self.lock, os.getpid())

    def restart(self, epoch: int, consumed: int) -> None:
        """The next pass begins here; of passes of its own a worker need not tell."""
        if self._in_worker():
            return
        self.shared[:] = 0
        self.shared[_EPOCH] = epoch
        self.shared[_CONSUMED] = consumed

    def join(self, worker: int, seed: int) -> tuple[int, int]:
        """The place at which the pass of this worker begins.

        torch draws a new seed for each pass, so workers that have one seed are in one pass. Where
        the program has it draw the same again, a worker knows that its own last pass is over.
        """
        with _alone(self.lock):
            mark = seed % _MARK + 1
            number = self._number_of(mark)
            if number <= self._last(worker):  # which is none, or that worker's own last one
                number = self.count() + 1
                self.shared[_BEGUN] = number
                self.shared[_MARKS + number % _REMEMBERED] = mark
            self.shared[_WORKERS + worker] = number
        return self.place(number)

    def move(self, worker: int, epoch: int) -> None:
        """The pass of this worker is of another epoch: a state was loaded into it."""
        self.shared[_EPOCH] = epoch - (self._last(worker) - 1)  # every worker writes the same

    def count(self) -> int:
        """How many passes workers have begun since the start."""
        return int(self.shared[_BEGUN])

    def place(self, number: int) -> tuple[int, int]:
        """The epoch of a pass, counted from 1, and the position at which it begins."""
        epoch = int(self.shared[_EPOCH]) + number - 1
        return epoch, int(self.shared[_CONSUMED]) if number == 1 else 0

    def _last(self, worker: int) -> int:
        """The number of the pass that a worker has begun last; 0 before the first."""
        return int(self.shared[_WORKERS + worker])

    def _number_of(self, mark: int) -> int:
        """The number of the last pass with a mark; 0 where none has it."""
        last = self.count()
        for number in range(last, max(last - _REMEMBERED, 0), -1):
            if int(self.shared[_MARKS + number % _REMEMBERED]) == mark:
                return number
        return 0


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """Hold a lock that no other process can hold, nor another thread of this one."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _remove(path: str, owner: int) -> None:
    """Remove a lock file in the process that made it: its children go on using it."""
    if os.getpid() == owner:
        with suppress(OSError):
            os.unlink(path)
