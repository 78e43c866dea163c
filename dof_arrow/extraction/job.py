"""What workers need to know of a run, and the batches in which cores are run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from dof_arrow.cores.core import Core
from dof_arrow.extraction.staging import block_rows
from dof_arrow.extraction.views import ONE, ViewPlan
from dof_arrow.media import decode
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import Sampling
from dof_arrow.once import once
from dof_arrow.security.pseudonyms import KEY_BYTES, draw_number
from dof_arrow.sources.sample import Sample, Source

Array = np.ndarray[Any, Any]
T = TypeVar("T")

# Inputs that a thread takes at a time: enough to outweigh the handling of small pictures.
_TAKEN = 8


@dataclass(frozen=True, kw_only=True)
class Job:
    """The inputs of a run, its cores by feature column, and how they are run.

    `dtype` is that of the features, `batch_size` counts rows, `max_errors` is how many inputs may
    fail; `clips` says which frames are taken where inputs are clips. By `id_key`, the owner's, and
    the name at its `site` an input's views are drawn. `numbers` are those of the blocks to compute,
    None: all.
    """

    source: Source
    cores: Mapping[str, Core]
    dtype: str
    batch_size: int
    workers: int
    max_errors: int | None = None
    reading: ReadingOptions = decode.DEFAULT
    views: ViewPlan = ONE
    clips: Sampling | None = None
    id_key: bytes = bytes(KEY_BYTES)
    site: str | None = None
    numbers: range | None = None

    def draws(self, sample: Sample) -> list[dict[str, float]]:
        """What is drawn for each view of an input, by its name; nothing for view 0."""
        if self.views.augmentation is None:  # nothing is drawn: no number is needed
            return self.views.draws(0)
        # Not by its number: the seed is public, and numbers tried with it would tell the order.
        name = sample.key if self.site is None else f"{self.site}/{sample.key}"
        return self.views.draws(draw_number(self.id_key, name))

    @property
    def block(self) -> int:
        """Inputs in a block: one clip, so that many are computed at once, or some batches."""
        return 1 if self.clips is not None else block_rows(len(self.source), self.batch_size)

    @property
    def rows(self) -> int:
        """Rows run at a time: whole batches of a core with a fixed batch, so that all are full."""
        fixed = max((core.fixed_batch or 1 for core in self.cores.values()), default=1)
        return _whole(self.batch_size, fixed)

    @property
    def together(self) -> int:
        """Rows that are made ready at a time: some whole batches."""
        return _whole(_TAKEN, self.rows)

    def shares(self, inputs: int, *, last: bool) -> Iterator[range]:
        """A block's inputs as threads take them: some batches at a time, single ones at the end.

        It depends on nothing else, so that batches are the same whoever computes them.
        """
        batch = max(self.rows // self.views.count, 1)
        step = batch if last else _whole(_TAKEN, batch)
        for start in range(0, inputs, step):
            yield range(start, min(start + step, inputs))

    @once
    def runners(self) -> Runners:
        """What runs the batches of all clips."""
        return Runners(self.workers)

    def features(self, name: str, values: Array | list[Array]) -> Array:
        """Features [n, *output_shape] that a core gives for prepared inputs.

        The inputs are one array, or a list of arrays that may differ in shape.
        """
        core = self.cores[name]
        parts: list[Array] = [np.empty((0, *core.output_shape), np.float32)]
        for batch in _batches(values, self.rows):
            parts.append(core.run(batch))
        with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, and is listed
            return np.concatenate(parts).astype(self.dtype)


class Runners:
    """Threads that run prepared batches; whoever prepares one waits until a thread is free."""

    def __init__(self, count: int) -> None:
        self._alone = count == 1
        self._free = threading.Semaphore(count)
        self._pool = ThreadPoolExecutor(count)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Begin some work; one runner is no second thread: the caller then waits for the result."""
        self._free.acquire()
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._free.release())
        if self._alone:
            future.exception()
        return future


def _whole(least: int, batch: int) -> int:
    """The rows or inputs of as few whole batches as hold at least so many."""
    return -(-least // batch) * batch


def _batches(values: Array | list[Array], size: int) -> Iterator[Array]:
    """Batches of at most `size` neighbours of one shape."""
    if isinstance(values, np.ndarray):
        for start in range(0, len(values), size):
            yield values[start : start + size]
        return
    start = 0
    for stop in range(1, len(values) + 1):
        full = stop in (len(values), start + size)
        if full or values[stop].shape != values[start].shape:
            yield np.stack(values[start:stop])
            start = stop
