"""Blocks of features computed by threads: decode, prepare, run, stage; interruptible between batches.

Decoding and inference both let go of the interpreter lock, so threads suffice and nothing is copied between processes.
Sessions run on one thread each: threads that each do all of a picture wait for nobody.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow import media
from dof_arrow.core import Core
from dof_arrow.declare import Json
from dof_arrow.errors import DofError, SourceError
from dof_arrow.schema import vector_array, vector_field
from dof_arrow.source import Sample, Source
from dof_arrow.work import Staging, blocks

Progress = Callable[[int, int, int], None]  # inputs done, inputs in all, inputs that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What workers need to know: inputs, cores by column, inputs a batch, threads, failures allowed."""

    source: Source
    cores: Mapping[str, Core]
    batch_size: int
    workers: int
    max_errors: int | None = None


def compute(job: Job, staging: Staging, progress: Progress) -> None:
    """Compute the blocks of a run that are not staged yet.

    Raises SourceError when more inputs fail than `job.max_errors`; an interrupt leaves whole blocks behind.
    """
    _Workers(job, staging, progress).run()


class _Workers:
    """Computes the blocks that are missing, each by one thread, a few ahead of what is waited for."""

    def __init__(self, job: Job, staging: Staging, progress: Progress) -> None:
        self._job, self._staging, self._progress = job, staging, progress
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done = self._failed = 0

    def run(self) -> None:
        with ThreadPoolExecutor(self._job.workers) as pool:
            waiting: set[Future[None]] = set()
            try:
                for number, rows in enumerate(blocks(len(self._job.source))):
                    waiting.add(pool.submit(self._block, number, rows))
                    if len(waiting) >= 2 * self._job.workers:
                        finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                        _raise_first(finished)
                _raise_first(wait(waiting).done)
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)

    def _block(self, number: int, rows: range) -> None:
        samples = [self._job.source[i] for i in rows]
        stamp = _stamp(samples)
        if self._staging.done(number, stamp):
            failed = json.loads(self._staging.read(number).schema.metadata[b"failed"])
            self._count(len(rows), len(failed))
            return
        block = _Block(self._job.cores)
        for start in range(0, len(rows), self._job.batch_size):
            if self._stop.is_set():
                return
            failed_before = len(block.failed)
            block.add(rows[start : start + self._job.batch_size], samples[start : start + self._job.batch_size])
            self._count(len(rows[start : start + self._job.batch_size]), len(block.failed) - failed_before)
        self._staging.put(number, block.table(), stamp)

    def _count(self, done: int, failed: int) -> None:
        with self._lock:
            self._done, self._failed = self._done + done, self._failed + failed
            self._progress(self._done, len(self._job.source), self._failed)
            most = self._job.max_errors
            if most is not None and self._failed > most:
                self._stop.set()
                raise SourceError("too many inputs failed", expected=f"at most {most}", found=str(self._failed),
                                  hint="Raise --max-errors, or leave it out to list failures and go on.")


class _Block:
    """Features and facts of some inputs, batch by batch; an input that fails is listed and stops nothing."""

    def __init__(self, cores: Mapping[str, Core]) -> None:
        self._cores = cores
        self._inputs: list[int] = []
        self._facts: list[Json] = []
        self._features: dict[str, list[np.ndarray]] = {name: [] for name in cores}
        self.failed: list[Json] = []

    def add(self, inputs: Sequence[int], samples: Sequence[Sample]) -> None:
        ready: dict[str, list[np.ndarray]] = {name: [] for name in self._cores}
        for number, sample in zip(inputs, samples, strict=True):
            try:
                prepared, facts = _prepared(sample, self._cores)
            except DofError as error:
                self.failed.append({"input": number, "rule": getattr(error, "rule", "unfit"), "reason": str(error)})
                continue
            self._inputs.append(number)
            self._facts.append(facts)
            for name, value in prepared.items():
                ready[name].append(value)
        for name, values in ready.items():
            for batch in _stacks(values):
                self._features[name].append(self._cores[name].run(batch))

    def table(self) -> pa.Table:
        columns: dict[str, Any] = {"input": pa.array(self._inputs, pa.int64()), "facts": pa.array(
            [json.dumps(f) for f in self._facts], pa.string())}
        for name, core in self._cores.items():
            values = np.concatenate([np.empty((0, *core.output_shape), np.float32), *self._features[name]])
            columns[name] = vector_array(values.reshape(len(values), -1), vector_field(name, core.output_shape))
        return pa.table(columns).replace_schema_metadata({"failed": json.dumps(self.failed)})


def _prepared(sample: Sample, cores: Mapping[str, Core]) -> tuple[dict[str, np.ndarray], Json]:
    """The inputs of all cores for one sample, decoded once for cores that want the same pixels."""
    data = sample.load()
    decoded: dict[tuple[Any, ...], Any] = {}
    prepared, facts = {}, None
    for name, core in cores.items():
        wanted = core.preprocessing
        how = (wanted.mode, wanted.orientation, wanted.draft)
        if how not in decoded:
            decoded[how] = media.decode(data, mode=how[0], orientation=how[1], draft=how[2])
        pixels, facts = decoded[how]
        prepared[name] = core.prepare(pixels)
    return prepared, asdict(facts) if facts is not None else {}


def _stacks(values: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Batches of neighbours of one shape: all of them, where preprocessing fixes the size."""
    start = 0
    for stop in range(1, len(values) + 1):
        if stop == len(values) or values[stop].shape != values[start].shape:
            yield np.stack(values[start:stop])
            start = stop


def _stamp(samples: Sequence[Sample]) -> str:
    """Sizes and times of the files that a block reads, so that a file changed between two starts is read again."""
    return hashlib.sha256(repr([_file_stamp(s.data) for s in samples]).encode()).hexdigest()


def _file_stamp(data: Path | bytes | None) -> Any:
    if not isinstance(data, Path):
        return data and hashlib.sha256(data).hexdigest()
    try:
        status = data.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _raise_first(finished: set[Future[None]]) -> None:
    for future in finished:
        future.result()
