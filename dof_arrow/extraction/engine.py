"""What every engine does: staged blocks kept, missing ones dealt out, put together, counted.

An engine has others compute; the thread that calls it puts blocks together and stages them. Which
inputs are computed together depends on the run alone, so that all engines give the same bytes.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dof_arrow.errors import SourceError
from dof_arrow.extraction import picture_features
from dof_arrow.extraction.job import Job
from dof_arrow.extraction.picture_features import PictureBatch
from dof_arrow.extraction.staging import Staging, blocks
from dof_arrow.extraction.thread_pool import ThreadPool
from dof_arrow.progress import listening
from dof_arrow.sources.sample import Sample

_LAST = 2  # blocks that are shared out batch by batch, so that all workers end at the same time

Progress = Callable[[int, int, int], None]  # inputs done, inputs in all, inputs that failed
Compute = Callable[[Job, Staging, Progress], None]  # what each engine offers


@dataclass(frozen=True, slots=True)
class BegunBlock:
    """A block that is being made: its inputs, their stamps before any was read, what is done."""

    number: int
    inputs: range
    samples: Sequence[Sample]
    stamps: Sequence[object]
    parts: dict[int, PictureBatch] = field(default_factory=dict)

    @property
    def stamp(self) -> str:
        """What changes when one of its inputs does."""
        return _digest(self.stamps)

    def is_whole(self) -> bool:
        """Whether all its inputs are done."""
        done = sum(part.inputs for part in self.parts.values())
        return done == len(self.samples)

    def in_order(self) -> list[PictureBatch]:
        """What is done, in the order of the inputs."""
        return [self.parts[start] for start in sorted(self.parts)]


@dataclass(frozen=True, slots=True)
class Share:
    """Some inputs of a block, by their places in it, which one worker computes at a time."""

    block: BegunBlock
    places: range

    @property
    def inputs(self) -> range:
        """The numbers of the inputs."""
        return self.block.inputs[self.places.start : self.places.stop]

    @property
    def samples(self) -> Sequence[Sample]:
        """The inputs."""
        return self.block.samples[self.places.start : self.places.stop]

    @property
    def stamp(self) -> str:
        """What changes when one of the inputs does, as it was before any was read."""
        return _digest(self.block.stamps[self.places.start : self.places.stop])


class Engine(ABC):
    """Has others compute the blocks that are missing; `progress` is first told what was there.

    `run` raises SourceError when more inputs fail than `job.max_errors`.
    """

    def __init__(self, job: Job, staging: Staging, progress: Progress) -> None:
        self.job = job
        self.staging = staging
        self.threads = ThreadPool(job.workers)
        self._progress = progress
        self._done = 0
        self._failed = 0
        self._rows = blocks(len(job.source), job.block)
        self._numbers = range(len(self._rows)) if job.numbers is None else job.numbers
        self._kept: set[int] = set()

    @abstractmethod
    def pictures(self, shares: Iterator[Share]) -> None:
        """Have shares of pictures computed, and take what comes of each by `take`."""

    @abstractmethod
    def clips(self, shares: Iterator[Share]) -> None:
        """Have clips computed and staged, each a block and a share of its own, and count them."""

    def run(self) -> None:
        """Compute what is missing. An interrupt leaves whole blocks behind."""
        staged = [number for number in self.staging.numbers() if number in self._numbers]
        self.threads.each(staged, self._recalled, self._recall)
        self._tell_damaged()
        self.count(0, 0)
        missing = [number for number in self._numbers if number not in self._kept]
        if not missing:
            return
        compute = self.pictures if self.job.clips is None else self.clips
        compute(self._shares(missing))

    def take(self, share: Share, part: PictureBatch) -> None:
        """Count what was computed of a share; the last one of a block has it staged."""
        block = share.block
        block.parts[share.places.start] = part
        if block.is_whole():
            made = picture_features.block_of(self.job, block.in_order())
            self.staging.put(block.number, made, block.stamp)
        self.count(part.inputs, len(part.failures))

    def count(self, done: int, failed: int) -> None:
        """Tell how many more inputs are done, and how many of them failed."""
        self._done += done
        self._failed += failed
        self._progress(self._done, self._inputs, self._failed)
        most = self.job.max_errors
        if most is not None and self._failed > most:
            raise SourceError(
                "too many inputs failed",
                expected=f"at most {most}",
                found=str(self._failed),
                hint="Raise --max-errors, or leave it out to list failures and go on.",
            )

    @cached_property
    def _inputs(self) -> int:
        """How many inputs there are to be computed."""
        return sum(len(self._rows[number]) for number in self._numbers)

    def _samples(self, number: int) -> list[Sample]:
        """The inputs of a block."""
        return [self.job.source[index] for index in self._rows[number]]

    def _shares(self, missing: Iterable[int]) -> Iterator[Share]:
        for number in missing:
            samples = self._samples(number)
            # Stamped before it is read: a file that changes meanwhile is read again.
            stamps = [sample.stamp() for sample in samples]
            block = BegunBlock(number, self._rows[number], samples, stamps)
            last = number >= len(self._rows) - _LAST
            for places in self.job.shares(len(samples), last=last):
                yield Share(block, places)

    # What is staged already

    def _recalled(self, number: int) -> int | None:
        """How many inputs failed in a staged block, if its files are still the same; else None."""
        if self.threads.is_stopped():
            return None
        return self.staging.found(number, stamp_of(self._samples(number)))

    def _recall(self, number: int, failed: int | None) -> None:
        if failed is not None:
            self._kept.add(number)
            self._done += len(self._rows[number])
            self._failed += failed

    def _tell_damaged(self) -> None:
        damaged = self.staging.take_damaged()
        if damaged:
            names = ", ".join(self.staging.path(number).name for number in damaged)
            listening().say(
                "The disk has damaged staged blocks, which are made again: "
                f"{names} in {self.staging.folder}. Check the disk."
            )


def stamp_of(samples: Iterable[Sample]) -> str:
    """What changes when one of some inputs does: one changed between two starts is read again."""
    return _digest([sample.stamp() for sample in samples])


def _digest(stamps: Sequence[object]) -> str:
    return hashlib.sha256(repr(list(stamps)).encode()).hexdigest()
