"""What workers need to know of a run, and the two things they all do: ask a core what it wants, and run it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from dof_arrow.cores.core import Core
from dof_arrow.extraction.views import ONE, ViewPlan
from dof_arrow.media import decode
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import Sampling
from dof_arrow.sources.sample import Source

Array = np.ndarray[Any, Any]
T = TypeVar("T")

_TAKEN = (
    8  # inputs that a thread takes at a time: enough to outweigh the handling of small pictures
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Inputs, cores by column, type of the features, inputs a batch, threads, failures allowed, what may be read,
    views of each input; `clips` says which frames are taken where inputs are clips."""

    source: Source
    cores: Mapping[str, Core]
    dtype: str
    batch_size: int
    workers: int
    max_errors: int | None = None
    reading: ReadingOptions = decode.DEFAULT
    views: ViewPlan = ONE
    clips: Sampling | None = None

    @property
    def block(self) -> int | None:
        """Inputs in a block: a clip each, so that many can be computed at once, else as `work` says."""
        return None if self.clips is None else 1

    @property
    def rows(self) -> int:
        """Rows run at a time: whole batches of a core whose batch is fixed, so that none runs part-filled."""
        fixed = max((core.fixed_batch or 1 for core in self.cores.values()), default=1)
        return -(-self.batch_size // fixed) * fixed

    @property
    def together(self) -> int:
        """Rows that are made ready at a time: some whole batches."""
        return _some(self.rows)

    def shares(self, inputs: int, *, last: bool) -> Iterator[range]:
        """A block's inputs as threads take them: some batches at a time, one where little is left to share out.

        It depends on nothing else, so that batches are the same whoever computes them.
        """
        batch = max(self.rows // self.views.count, 1)
        step = batch if last else _some(batch)
        return (range(start, min(start + step, inputs)) for start in range(0, inputs, step))

    @cached_property
    def runners(self) -> Runners:
        """What runs the batches of all clips."""
        return Runners(self.workers)

    def features(self, name: str, values: Array | list[Array]) -> Array:
        """Features [n, *output_shape] that a core gives for prepared inputs: in one array, or such as differ in shape."""
        core = self.cores[name]
        parts = [core.run(batch) for batch in _batches(values, self.rows)]
        with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, and is listed
            return np.concatenate([np.empty((0, *core.output_shape), np.float32), *parts]).astype(
                self.dtype
            )


class Runners:
    """Threads that run what others have made ready: who makes it ready waits for a free one, so little lies about."""

    def __init__(self, count: int) -> None:
        self._alone, self._free = count == 1, threading.Semaphore(count)
        self._pool = ThreadPoolExecutor(count)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """The result of some work, to come; one runner is no second thread: the caller waits for it."""
        self._free.acquire()
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._free.release())
        if self._alone:
            future.exception()
        return future


def _some(batch: int) -> int:
    """Rows or inputs of as many whole batches as are worth the handling."""
    return -(-_TAKEN // batch) * batch


def _batches(values: Array | list[Array], size: int) -> Iterator[Array]:
    """Batches of at most `size` neighbours of one shape."""
    if isinstance(values, np.ndarray):
        yield from (values[start : start + size] for start in range(0, len(values), size))
        return
    start = 0
    for stop in range(1, len(values) + 1):
        if stop in (len(values), start + size) or values[stop].shape != values[start].shape:
            yield np.stack(values[start:stop])
            start = stop
