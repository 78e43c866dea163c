"""Bytes of one object on a store: ranges that lie near are read as one, many at the same time.

An object is pinned when it is opened: by its tag, or whatever its store has for a version. One that
changed meanwhile is refused, and so is an answer of another length, place or size.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from dof_arrow.errors import FormatError, SourceError
from dof_arrow.storage.addresses import Address
from dof_arrow.storage.stores import Answer, Changed, NoRanges, Passing, Reader, reader, room

Span = tuple[int, int]  # first byte and end
Piece = tuple[int, memoryview]  # first byte, and where it and those after it go
T = TypeVar("T")
R = TypeVar("R")

_NEAR = 4096  # bytes between two ranges that cost less than another request
_PIECE = 8 << 20  # bytes of one request: longer ranges come in several at once
_TRIES = 4  # of one range
_WAIT = 0.2  # seconds before it is asked for again, twice as long each time
_IN_FLIGHT = 32
_LEVELS = {"dof-stores": 1, "dof-ranges": 2}  # names of threads, and where more of them begin


class RemoteObject:
    """An object as it is when it is opened; `end` holds its last bytes, at most `length`.

    `version` is empty where the store has no name for the very bytes of an object.
    """

    def __init__(self, address: Address, length: int) -> None:
        self.address = address
        self._reader: Reader = reader(address)
        self.size = 0
        self.version = ""
        self.end = bytes(self._asked(lambda: self._pinned(length)).data)

    def read(self, spans: Sequence[Span]) -> list[memoryview]:
        """The bytes of each span, in their order.

        Raises FormatError if the object has changed since it was opened, SourceError if its store
        does not give it.
        """
        wanted = sorted(set(spans))
        bodies = {run: room(run[1] - run[0]) for run in _runs(wanted)}
        pieces = [piece for run, body in bodies.items() for piece in _pieces(run[0], body)]
        for _ in together(self._piece, pieces):
            pass
        found: dict[Span, memoryview] = {}
        places = iter(bodies)
        start, stop = next(places, (0, 0))
        for first, end in wanted:
            while end > stop:
                start, stop = next(places)
            found[first, end] = bodies[start, stop][first - start : end - start]
        return [found[span] for span in spans]

    def read_into(self, start: int, out: memoryview) -> Iterator[memoryview]:
        """The bytes from `start` on put into `out`, piece by piece in order, as they arrive.

        Raises as `read` does.
        """
        return together(self._piece, list(_pieces(start, out)))

    def _pinned(self, length: int) -> Answer:
        """The last bytes; what they are the end of is what this object is from now on."""
        found = self._reader.end(length)
        self.size = found.size
        self.version = found.version
        start = max(found.size - length, 0)
        self._check(found, start, found.size - start)
        return found

    def _piece(self, piece: Piece) -> memoryview:
        start, out = piece

        def ask() -> Answer:
            found = self._reader.part(start, self.version, out)
            self._check(found, start, len(out))
            return found

        self._asked(ask)
        return out

    def _check(self, found: Answer, start: int, length: int) -> None:
        """Raise Changed, or Passing, for an answer that is not what was asked for."""
        if (found.size, found.version) != (self.size, self.version):
            raise Changed()
        if found.start != start or len(found.data) != length:
            raise Passing(f"{len(found.data)} bytes in place of {length}")

    def _asked(self, ask: Callable[[], T]) -> T:
        """What a question brings, asked again while a failure may pass."""
        where = str(self.address)
        said = ""
        for number in range(_TRIES):
            if number:
                time.sleep(_WAIT * 2 ** (number - 1))
            try:
                return ask()
            except Passing as failure:
                said = str(failure)
            except Changed:
                raise FormatError(
                    "the object changed since it was opened", where, hint="Open it again."
                ) from None
            except NoRanges:
                raise SourceError(
                    "the server does not give parts of a file",
                    where,
                    "an answer to a range of bytes",
                    hint="Download it whole, and open the copy.",
                ) from None
        raise SourceError(
            "the object cannot be read",
            where,
            found=f"{said}, {_TRIES} times",
            hint="Try again later.",
        )


def together(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """The results of `work` for each item, in their order, many at the same time.

    What is done so may do more of the same: files, and ranges of each. What these do is done one by
    one.
    """
    level = _LEVELS.get(threading.current_thread().name.rpartition("_")[0], 0)
    # Threads that waited for one another would fill all places, and wait for ever.
    if len(items) < 2 or level == len(_LEVELS):
        return map(work, items)
    return _threads(os.getpid(), level).map(work, items)


@cache
def _threads(process: int, level: int) -> ThreadPoolExecutor:
    """Threads of this process: those of another one did not survive the fork."""
    return ThreadPoolExecutor(_IN_FLIGHT, list(_LEVELS)[level])


def _runs(spans: Sequence[Span]) -> Iterator[Span]:
    """Spans in order as runs: those that touch, overlap or lie near are one."""
    if not spans:
        return
    start, stop = spans[0]
    for first, end in spans[1:]:
        if first > stop + _NEAR:
            yield start, stop
            start = first
            stop = end
        stop = max(stop, end)
    yield start, stop


def _pieces(start: int, out: memoryview) -> Iterator[Piece]:
    """What one request each fills of `out`, whose first byte is that at `start`."""
    for place in range(0, len(out), _PIECE):
        yield start + place, out[place : place + _PIECE]
