"""Blocks of features: threads decode, prepare and run batches; the calling thread puts blocks together and stages them.

Decoding and inference both let go of the interpreter lock, so threads suffice and nothing is copied between processes.
Sessions run on one thread each, and a batch is done by one thread from file to features: threads wait for nobody, not
for the disk that a finished block goes to either, and share out the last batches as evenly as all others.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from dof_arrow.cores.core import Core, wanted
from dof_arrow.errors import CoreError, DofError, SourceError, UsageError
from dof_arrow.extraction import clip_features
from dof_arrow.extraction.block import vector_name
from dof_arrow.extraction.job import Array, Job
from dof_arrow.extraction.raw_facts import staged
from dof_arrow.extraction.staging import Staging, blocks
from dof_arrow.format.spec.arrow import vector_array, vector_field
from dof_arrow.format.spec.json_model import Json
from dof_arrow.media import augment, decode, facts, image
from dof_arrow.sources.sample import Sample

_LAST = 2  # blocks that are shared out batch by batch, so that all threads end at the same time

Progress = Callable[[int, int, int], None]  # inputs done, inputs in all, inputs that failed
Item = TypeVar("Item")
Made = TypeVar("Made")


def compute(job: Job, staging: Staging, progress: Progress) -> None:
    """Compute the blocks of a run that are not staged yet; `progress` is first told what was there already.

    Raises SourceError when more inputs fail than `job.max_errors`, and whatever a batch raises: the others then stop.
    An interrupt leaves whole blocks behind.
    """
    _Engine(job, staging, progress).run()


class _Engine:
    """Has threads compute the blocks that are missing, a few batches ahead of what is taken from them."""

    def __init__(self, job: Job, staging: Staging, progress: Progress) -> None:
        self._job, self._staging, self._progress = job, staging, progress
        self._stop = threading.Event()
        self._done = self._failed = 0
        self._rows = blocks(len(job.source), job.block)
        self._kept: set[int] = set()

    def run(self) -> None:
        self._each(
            (n for n in self._staging.numbers() if n < len(self._rows)),
            self._recalled,
            self._recall,
        )
        self._count(0, 0)
        missing = (n for n in range(len(self._rows)) if n not in self._kept)
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
        """Do the work for every item, by threads, and take what comes of it, in this one; the first error stops all."""
        pool = ThreadPoolExecutor(self._job.workers)
        waiting: dict[Future[Made], tuple[int, Item]] = {}
        try:
            for number, item in enumerate(items):
                waiting[pool.submit(work, item)] = number, item
                if len(waiting) >= 2 * self._job.workers:
                    _collect(waiting, take)
            while waiting:
                _collect(waiting, take)
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _recalled(self, number: int) -> int | None:
        """How many inputs failed in a staged block, if the files that it was made of are still the same."""
        if self._stop.is_set():
            return None
        samples = [self._job.source[i] for i in self._rows[number]]
        return self._staging.found(number, _stamp(samples))

    def _recall(self, number: int, failed: int | None) -> None:
        if failed is not None:
            self._kept.add(number)
            self._done, self._failed = self._done + len(self._rows[number]), self._failed + failed

    def _batches(self, missing: Iterable[int]) -> Iterator[tuple[_Block, range]]:
        for number in missing:
            samples = [self._job.source[i] for i in self._rows[number]]
            block = _Block(
                number, samples, _stamp(samples)
            )  # before reading: a file that changes meanwhile is redone
            last = number >= len(self._rows) - _LAST
            yield from ((block, places) for places in self._job.shares(len(samples), last=last))

    def _computed(self, batch: tuple[_Block, range]) -> _Batch | None:
        block, places = batch
        if self._stop.is_set():
            return None
        first = self._rows[block.number].start
        return _Batch(self._job, [(first + place, block.samples[place]) for place in places])

    def _take(self, batch: tuple[_Block, range], part: _Batch | None) -> None:
        """Count a batch; the last one of a block has it staged."""
        block, places = batch
        if part is None:
            return
        block.parts[places.start] = part
        if sum(p.inputs for p in block.parts.values()) == len(block.samples):
            self._staging.put(block.number, _table(self._job, block.in_order()), block.stamp)
        self._count(part.inputs, len(part.failed))

    def _clip(self, number: int) -> int:
        """Stage a block of one clip, in pieces, and say how many failed; of a clip that fails none are left."""
        sample = self._job.source[number]
        stamp = _stamp([sample])
        try:
            self._staging.put_pieces(
                number, clip_features.pieces(number, sample, self._job, self._stop.is_set), stamp
            )
        except clip_features.Stopped:
            return 0
        except (SourceError, UsageError, CoreError) as error:
            self._staging.put(
                number, _table(self._job, [_Batch.of_failure(self._job, number, error)]), stamp
            )
            return 1
        return 0

    def _count(self, done: int, failed: int) -> None:
        self._done, self._failed = self._done + done, self._failed + failed
        self._progress(self._done, len(self._job.source), self._failed)
        most = self._job.max_errors
        if most is not None and self._failed > most:
            raise SourceError(
                "too many inputs failed",
                expected=f"at most {most}",
                found=str(self._failed),
                hint="Raise --max-errors, or leave it out to list failures and go on.",
            )


@dataclass(frozen=True, slots=True)
class _Block:
    """A block that is being made: its inputs, what they were like before any was read, and what is done of them."""

    number: int
    samples: Sequence[Sample]
    stamp: str
    parts: dict[int, _Batch] = field(default_factory=dict)

    def in_order(self) -> list[_Batch]:
        return [self.parts[start] for start in sorted(self.parts)]


class _Batch:
    """Features and facts of the inputs of a batch, by number, all views of an input one behind the other.

    An input that fails is listed and stops nothing.
    """

    def __init__(self, job: Job, samples: Sequence[tuple[int, Sample]]) -> None:
        self.inputs, self.rows, self.failed = len(samples), list[_PictureRow](), list[Json]()
        ready = {
            name: _Ready(core.room(len(samples) * job.views.count))
            for name, core in job.cores.items()
        }
        for number, sample in samples:
            try:
                self.rows += _prepared(number, sample, job, ready, len(self.rows))
            except DofError as error:
                self._fail(number, getattr(error, "rule", "unfit"), str(error))
        self.features = {
            name: job.features(name, each.until(len(self.rows))) for name, each in ready.items()
        }
        self._keep_finite(job)

    @classmethod
    def of_failure(cls, job: Job, number: int, error: DofError) -> _Batch:
        """An input of which there is nothing but the reason why."""
        part = cls(job, [])
        part._fail(number, getattr(error, "rule", "unfit"), str(error))
        return part

    def _keep_finite(self, job: Job) -> None:
        """Keep the inputs all of whose features are finite; list the others."""
        sound, views = np.ones(len(self.rows), bool), job.views.count
        for values in self.features.values():
            sound &= np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if sound.all():
            return
        sound = sound.reshape(-1, views).all(axis=1).repeat(views)
        for row in [row for row, fine in zip(self.rows, sound, strict=True) if not fine][::views]:
            self._fail(
                row.input, "not-finite", f"the core's features are no finite {job.dtype} numbers"
            )
        self.rows = [row for row, fine in zip(self.rows, sound, strict=True) if fine]
        self.features = {name: values[sound] for name, values in self.features.items()}

    def _fail(self, number: int, rule: str, reason: str) -> None:
        self.failed.append({"input": number, "rule": rule, "reason": reason})


def _table(job: Job, parts: Sequence[_Batch]) -> pa.Table:
    """A block, to be staged."""
    rows = [row for part in parts for row in part.rows]
    columns = {
        "input": pa.array([row.input for row in rows], pa.int64()),
        "facts": staged([row.facts for row in rows]),
        **job.views.columns([row.draw for row in rows]),
    }
    for name, core in job.cores.items():
        values = np.concatenate([part.features[name] for part in parts])
        field = vector_field(name, core.output_shape, job.dtype)
        columns[vector_name(name)] = vector_array(
            values.reshape(len(values), field.type.list_size), field
        )
    failed = [failure for part in parts for failure in part.failed]
    return pa.table(columns).replace_schema_metadata({"failed": json.dumps(failed)})


class _PictureRow(NamedTuple):
    """One view of one input."""

    input: int
    facts: facts.PictureFacts
    draw: Mapping[str, float]


class _Ready:
    """A core's inputs that are ready: in one buffer where they are of one size, so that no batch is copied together."""

    def __init__(self, room: Array | None) -> None:
        self._room, self._values = room, list[Array]()

    def add(self, core: Core, pixels: image.Pixels, place: int) -> None:
        """Prepare a picture; what an input that failed had put in this place or behind it is overwritten."""
        del self._values[place:]
        self._values.append(core.prepare(pixels, None if self._room is None else self._room[place]))

    def until(self, place: int) -> Array | list[Array]:
        return self._values[:place] if self._room is None else self._room[:place]


def _prepared(
    number: int, sample: Sample, job: Job, ready: Mapping[str, _Ready], place: int
) -> list[_PictureRow]:
    """Ready the inputs of all cores for each view of a sample, decoded once for cores that want the same pixels."""
    data = sample.load()
    decoded = {
        how: decode.decode(data, mode=how[0], orientation=how[1], draft=how[2], reading=job.reading)
        for how in dict.fromkeys(map(wanted, job.cores.values()))
    }
    facts, draws = next(iter(decoded.values()))[1], job.views.draws(number)
    for view, draw in enumerate(draws):
        seen = {
            how: augment.apply(pixels, draw) if draw else pixels
            for how, (pixels, _) in decoded.items()
        }
        for name, core in job.cores.items():
            ready[name].add(core, seen[wanted(core)], place + view)
    return [_PictureRow(number, facts, draw) for draw in draws]


def _stamp(samples: Sequence[Sample]) -> str:
    """What changes when an input of a block does, so that one changed between two starts is read again."""
    return hashlib.sha256(repr([sample.stamp() for sample in samples]).encode()).hexdigest()


def _collect(
    waiting: dict[Future[Made], tuple[int, Item]], take: Callable[[Item, Made], None]
) -> None:
    """Wait, and take what ended, or raise the error of the earliest among it."""
    finished = wait(waiting, return_when=FIRST_COMPLETED).done
    for future in sorted(finished, key=lambda f: waiting[f][0]):
        _, item = waiting.pop(future)
        take(item, future.result())
