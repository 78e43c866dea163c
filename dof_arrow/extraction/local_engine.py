"""The blocks of a run computed by threads of this process.

Threads decode, prepare and run batches; the calling thread puts blocks together and stages them.
Decoding and inference both let go of the interpreter lock, so threads suffice and nothing is copied
between processes. A batch is done by one thread from file to features: threads wait for nobody, not
for the disk that a finished block goes to either, and share out the last batches as evenly as all
others.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from dof_arrow.errors import CoreError, SourceError, UsageError
from dof_arrow.extraction import clip_features, picture_features
from dof_arrow.extraction.job import Job
from dof_arrow.extraction.picture_features import PictureBatch
from dof_arrow.extraction.staging import Staging, blocks
from dof_arrow.progress import listening
from dof_arrow.sources.sample import Sample

_LAST = 2  # blocks that are shared out batch by batch, so that all threads end at the same time

Progress = Callable[[int, int, int], None]  # inputs done, inputs in all, inputs that failed
Item = TypeVar("Item")
Made = TypeVar("Made")


def compute(job: Job, staging: Staging, progress: Progress) -> None:
    """Compute the blocks of a run that are not staged yet; `progress` is first told what was there.

    Raises SourceError when more inputs fail than `job.max_errors`, and whatever a batch raises: the
    others then stop. An interrupt leaves whole blocks behind.
    """
    _Engine(job, staging, progress).run()


class _Engine:
    """Has threads compute the missing blocks, a few batches ahead of what is taken from them."""

    def __init__(self, job: Job, staging: Staging, progress: Progress) -> None:
        self._job = job
        self._staging = staging
        self._progress = progress
        self._stop = threading.Event()
        self._done = 0
        self._failed = 0
        self._rows = blocks(len(job.source), job.block)
        self._numbers = range(len(self._rows)) if job.numbers is None else job.numbers
        self._kept: set[int] = set()

    def run(self) -> None:
        staged = [number for number in self._staging.numbers() if number in self._numbers]
        self._each(staged, self._recalled, self._recall)
        self._tell_damaged()
        self._count(0, 0)
        missing = (number for number in self._numbers if number not in self._kept)
        if self._job.clips is not None:
            self._each(missing, self._clip, lambda number, failed: self._count(1, failed))
        else:
            self._each(self._batches(missing), self._computed, self._take)

    def _each(
        self,
        items: Iterable[Item],
        work: Callable[[Item], Made],
        take: Callable[[Item, Made], None],
    ) -> None:
        """Have threads do the work for every item, and take the results in this one.

        The first error stops all.
        """
        pool = ThreadPoolExecutor(self._job.workers)
        waiting: dict[Future[Made], tuple[int, Item]] = {}
        try:
            for number, item in enumerate(items):
                waiting[pool.submit(work, item)] = number, item
                # Enough to keep all threads busy, and few enough to hold little in memory.
                if len(waiting) >= 2 * self._job.workers:
                    _collect(waiting, take)
            while waiting:
                _collect(waiting, take)
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _samples(self, number: int) -> list[Sample]:
        """The inputs of a block."""
        return [self._job.source[index] for index in self._rows[number]]

    @cached_property
    def _inputs(self) -> int:
        """How many inputs there are to be computed."""
        return sum(len(self._rows[number]) for number in self._numbers)

    # What is staged already

    def _recalled(self, number: int) -> int | None:
        """How many inputs failed in a staged block, if its files are still the same; else None."""
        if self._stop.is_set():
            return None
        return self._staging.found(number, _stamp(self._samples(number)))

    def _recall(self, number: int, failed: int | None) -> None:
        if failed is not None:
            self._kept.add(number)
            self._done += len(self._rows[number])
            self._failed += failed

    def _tell_damaged(self) -> None:
        damaged = self._staging.take_damaged()
        if damaged:
            names = ", ".join(self._staging.path(number).name for number in damaged)
            listening().say(
                "The disk has damaged staged blocks, which are made again: "
                f"{names} in {self._staging.folder}. Check the disk."
            )

    # Pictures, batch by batch

    def _batches(self, missing: Iterable[int]) -> Iterator[tuple[_Begun, range]]:
        for number in missing:
            samples = self._samples(number)
            # Stamped before it is read: a file that changes meanwhile is read again.
            block = _Begun(number, samples, _stamp(samples))
            last = number >= len(self._rows) - _LAST
            for places in self._job.shares(len(samples), last=last):
                yield block, places

    def _computed(self, batch: tuple[_Begun, range]) -> PictureBatch | None:
        if self._stop.is_set():
            return None
        block, places = batch
        numbers = self._rows[block.number]
        samples = [(numbers[place], block.samples[place]) for place in places]
        return PictureBatch(self._job, samples)

    def _take(self, batch: tuple[_Begun, range], part: PictureBatch | None) -> None:
        """Count a batch; the last one of a block has it staged."""
        block, places = batch
        if part is None:
            return
        block.parts[places.start] = part
        if block.is_whole():
            made = picture_features.block_of(self._job, block.in_order())
            self._staging.put(block.number, made, block.stamp)
        self._count(part.inputs, len(part.failures))

    # Clips, one a block

    def _clip(self, number: int) -> int:
        """Stage a block of one clip and say how many failed; a clip that fails leaves no rows."""
        (sample,) = self._samples(number)
        stamp = _stamp([sample])
        try:
            pieces = clip_features.pieces(number, sample, self._job, self._stop.is_set)
            self._staging.put_pieces(number, pieces, stamp)
        except clip_features.Stopped:
            return 0
        except (SourceError, UsageError, CoreError) as error:
            failed = picture_features.block_of_failure(self._job, number, error)
            self._staging.put(number, failed, stamp)
            return 1
        return 0

    def _count(self, done: int, failed: int) -> None:
        self._done += done
        self._failed += failed
        self._progress(self._done, self._inputs, self._failed)
        most = self._job.max_errors
        if most is not None and self._failed > most:
            raise SourceError(
                "too many inputs failed",
                expected=f"at most {most}",
                found=str(self._failed),
                hint="Raise --max-errors, or leave it out to list failures and go on.",
            )


@dataclass(frozen=True, slots=True)
class _Begun:
    """A block that is being made: its inputs, their stamp before any was read, and what is done."""

    number: int
    samples: Sequence[Sample]
    stamp: str
    parts: dict[int, PictureBatch] = field(default_factory=dict)

    def is_whole(self) -> bool:
        done = sum(part.inputs for part in self.parts.values())
        return done == len(self.samples)

    def in_order(self) -> list[PictureBatch]:
        return [self.parts[start] for start in sorted(self.parts)]


def _stamp(samples: Sequence[Sample]) -> str:
    """What changes when an input of a block does: one changed between two starts is read again."""
    stamps = repr([sample.stamp() for sample in samples])
    return hashlib.sha256(stamps.encode()).hexdigest()


def _collect(
    waiting: dict[Future[Made], tuple[int, Item]], take: Callable[[Item, Made], None]
) -> None:
    """Wait, and take what ended, or raise the error of the earliest among it."""
    finished = wait(waiting, return_when=FIRST_COMPLETED).done
    for future in sorted(finished, key=lambda future: waiting[future][0]):
        _, item = waiting.pop(future)
        take(item, future.result())
