"""Blocks of features computed by threads: decode, prepare, run, stage; interruptible between batches.

Decoding and inference both let go of the interpreter lock, so threads suffice and nothing is copied between processes.
Sessions run on one thread each: threads that each do all of a picture wait for nobody.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dof_arrow import augment, clip_rows, media, picture
from dof_arrow.declare import Json
from dof_arrow.errors import CoreError, DofError, SourceError, UsageError
from dof_arrow.facts import staged
from dof_arrow.job import Array, Job, features, vector_name, wanted
from dof_arrow.sample import Sample
from dof_arrow.schema import vector_array, vector_field
from dof_arrow.work import Staging, blocks

__all__ = ["Job", "Progress", "compute", "vector_name"]

Progress = Callable[[int, int, int], None]  # inputs done, inputs in all, inputs that failed

def compute(job: Job, staging: Staging, progress: Progress) -> None:
    """Compute the blocks of a run that are not staged yet; `progress` is first told what was there already.

    Raises SourceError when more inputs fail than `job.max_errors`, and whatever a block raises: the others then stop.
    An interrupt leaves whole blocks behind.
    """
    _Workers(job, staging, progress).run()


class _Workers:
    """Computes the blocks that are missing, each by one thread, a few ahead of what is waited for."""

    def __init__(self, job: Job, staging: Staging, progress: Progress) -> None:
        self._job, self._staging, self._progress = job, staging, progress
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done = self._failed = 0
        self._kept: set[int] = set()

    def run(self) -> None:
        rows = blocks(len(self._job.source), self._job.block)
        self._each((n for n in self._staging.numbers() if n < len(rows)), lambda n: self._recall(n, rows[n]))
        self._count(0, 0)
        self._each((n for n in range(len(rows)) if n not in self._kept), lambda n: self._compute(n, rows[n]))

    def _each(self, numbers: Iterable[int], work: Callable[[int], None]) -> None:
        """Do the work for every number; the first error stops all and is raised."""
        pool = ThreadPoolExecutor(self._job.workers)
        waiting: dict[Future[None], int] = {}
        try:
            for number in numbers:
                waiting[pool.submit(work, number)] = number
                if len(waiting) >= 2 * self._job.workers:
                    _collect(waiting, FIRST_COMPLETED)
            _collect(waiting, FIRST_EXCEPTION)
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _recall(self, number: int, rows: range) -> None:
        """Count a staged block as done, if the files it was made of are still the same."""
        if self._stop.is_set() or not self._staging.done(number, _stamp([self._job.source[i] for i in rows])):
            return
        failed = json.loads(self._staging.read(number).schema.metadata[b"failed"])
        with self._lock:
            self._kept.add(number)
            self._done, self._failed = self._done + len(rows), self._failed + len(failed)

    def _compute(self, number: int, rows: range) -> None:
        if self._job.clips is not None:
            return self._compute_clip(number)
        samples = [self._job.source[i] for i in rows]
        stamp = _stamp(samples)  # before reading: a file that changes meanwhile is read again next time
        block = _Block(self._job)
        for start in range(0, len(rows), self._job.step):
            if self._stop.is_set():
                return
            batch, failed = samples[start : start + self._job.step], len(block.failed)
            block.add(rows[start : start + self._job.step], batch)
            self._count(len(batch), len(block.failed) - failed)
        self._staging.put(number, block.table(), stamp)

    def _compute_clip(self, number: int) -> None:
        """A block of one clip, staged in pieces; a clip that fails leaves none of them."""
        sample = self._job.source[number]
        stamp, failed = _stamp([sample]), 0
        try:
            self._staging.put_pieces(number, clip_rows.pieces(number, sample, self._job, self._stop.is_set), stamp)
        except clip_rows.Stopped:
            return
        except (SourceError, UsageError, CoreError) as error:
            block, failed = _Block(self._job), 1
            block.fail(number, getattr(error, "rule", "unfit"), str(error))
            self._staging.put(number, block.table(), stamp)
        self._count(1, failed)

    def _count(self, done: int, failed: int) -> None:
        with self._lock:
            self._done, self._failed = self._done + done, self._failed + failed
            self._progress(self._done, len(self._job.source), self._failed)
            most = self._job.max_errors
            if most is not None and self._failed > most:
                raise SourceError("too many inputs failed", expected=f"at most {most}", found=str(self._failed),
                                  hint="Raise --max-errors, or leave it out to list failures and go on.")


class _Block:
    """Features and facts of some inputs, batch by batch; an input that fails is listed and stops nothing."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._inputs: list[int] = []
        self._facts: list[media.PictureFacts] = []
        self._draws: list[Mapping[str, float]] = []
        self._features: dict[str, list[Array]] = {name: [] for name in job.cores}
        self.failed: list[Json] = []

    def add(self, inputs: Sequence[int], samples: Sequence[Sample]) -> None:
        """Compute one batch, all views of an input one behind the other."""
        rows: list[_Row] = []
        ready: dict[str, list[Array]] = {name: [] for name in self._job.cores}
        for number, sample in zip(inputs, samples, strict=True):
            try:
                made = list(_prepared(number, sample, self._job))
            except DofError as error:
                self.fail(number, getattr(error, "rule", "unfit"), str(error))
                continue
            for row, prepared in made:
                rows.append(row)
                for name, value in prepared.items():
                    ready[name].append(value)
        self._keep(rows, {name: self._run(name, values) for name, values in ready.items()})

    def table(self) -> pa.Table:
        """The block, to be staged."""
        columns = {"input": pa.array(self._inputs, pa.int64()), "facts": staged(self._facts),
                   **self._job.views.columns(self._draws)}
        for name, core in self._job.cores.items():
            values = np.concatenate([np.empty((0, *core.output_shape), self._job.dtype), *self._features[name]])
            field = vector_field(name, core.output_shape, self._job.dtype)
            columns[vector_name(name)] = vector_array(values.reshape(len(values), field.type.list_size), field)
        return pa.table(columns).replace_schema_metadata({"failed": json.dumps(self.failed)})

    def _run(self, name: str, values: Sequence[Array]) -> Array:
        return features(self._job.cores[name], values, self._job.dtype)

    def _keep(self, rows: Sequence[_Row], features: Mapping[str, Array]) -> None:
        """Take the rows of inputs all of whose features are finite; list the other inputs."""
        sound, views = np.ones(len(rows), bool), self._job.views.count
        for values in features.values():
            sound &= np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        sound = sound.reshape(-1, views).all(axis=1).repeat(views)
        for place, (row, fine) in enumerate(zip(rows, sound, strict=True)):
            if fine:
                self._inputs.append(row.input)
                self._facts.append(row.facts)
                self._draws.append(row.draw)
            elif place % views == 0:
                self.fail(row.input, "not-finite", f"the core's features are no finite {self._job.dtype} numbers")
        for name, values in features.items():
            self._features[name].append(values if sound.all() else values[sound])

    def fail(self, number: int, rule: str, reason: str) -> None:
        """List an input that gives no rows."""
        self.failed.append({"input": number, "rule": rule, "reason": reason})


class _Row(NamedTuple):
    """One view of one input."""

    input: int
    facts: media.PictureFacts
    draw: Mapping[str, float]


def _prepared(number: int, sample: Sample, job: Job) -> Iterator[tuple[_Row, dict[str, Array]]]:
    """The inputs of all cores for each view of a sample, decoded once for cores that want the same pixels."""
    data = sample.load()
    decoded = {how: picture.decode(data, mode=how[0], orientation=how[1], draft=how[2], reading=job.reading)
               for how in dict.fromkeys(map(wanted, job.cores.values()))}
    facts = next(iter(decoded.values()))[1]
    for draw in job.views.draws(number):
        seen = {how: augment.apply(pixels, draw) if draw else pixels for how, (pixels, _) in decoded.items()}
        yield _Row(number, facts, draw), {n: core.prepare(seen[wanted(core)]) for n, core in job.cores.items()}


def _stamp(samples: Sequence[Sample]) -> str:
    """What changes when an input of a block does, so that one changed between two starts is read again."""
    return hashlib.sha256(repr([sample.stamp() for sample in samples]).encode()).hexdigest()


def _collect(waiting: dict[Future[None], int], until: str) -> None:
    """Wait, and raise the error of the earliest block among those that ended."""
    finished = wait(waiting, return_when=until).done
    for future in sorted(finished, key=waiting.__getitem__):
        del waiting[future]
        future.result()
