"""Files open in bounded numbers: those that were used last stay open, others are opened again."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from dof_arrow.errors import FormatError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_SHARE = 4
_USUAL = 1024  # what systems usually allow a process


def most_files() -> int:
    """How many files may stay open: a quarter of what a process usually has, or this one."""
    allowed = _USUAL
    if resource is not None:
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(allowed, _USUAL) // _SHARE if allowed > 0 else _USUAL // _SHARE


def allow_files(count: int) -> None:
    """Let this process have so many more files open than usual, as far as the system allows it."""
    if resource is None:
        return
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _USUAL
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class Releasable(Protocol):
    """Something that holds what it can get again."""

    def let_go(self) -> None:
        """Hold nothing any more; whoever uses it has references of his own."""


class Recent:
    """The things that were used last. Of more than `most`, the oldest are told to let go."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.RLock()
        self._used: OrderedDict[int, weakref.ref[Releasable]] = OrderedDict()

    def use(self, thing: Releasable) -> None:
        """Note that a thing is used now."""
        oldest = None
        with self._lock:
            self._used[id(thing)] = weakref.ref(thing)
            self._used.move_to_end(id(thing))
            if len(self._used) > self._most:
                _, oldest = self._used.popitem(last=False)
        forgotten = None if oldest is None else oldest()
        if forgotten is not None:
            forgotten.let_go()


class Descriptor(int):
    """The number of an open file, which is closed when nobody has this object any more.

    So a file is never closed, nor its number given to another one, under a thread that reads it.
    """

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self)


class KeptFile:
    """A file that is opened by `open_it`, and again where it was closed in the meantime.

    Raises FormatError where another file is in its place by then.
    """

    def __init__(self, open_it: Callable[[], int], where: str) -> None:
        self._open_it = open_it
        self._where = where
        self._descriptor: Descriptor | None = Descriptor(open_it())
        self._identity = _identity(self._descriptor)

    def descriptor(self) -> Descriptor:
        """The open file; hold the object as long as the number is used."""
        found = self._descriptor
        if found is None:
            found = Descriptor(self._open_it())
            if _identity(found) != self._identity:
                raise FormatError(
                    "the file was replaced since it was opened", self._where, hint="Open it again."
                )
            self._descriptor = found
        return found

    def close(self) -> None:
        """Close it as soon as nobody reads it."""
        self._descriptor = None


def _identity(file: int) -> tuple[int, int, int]:
    about = os.fstat(file)
    return about.st_dev, about.st_ino, about.st_size
