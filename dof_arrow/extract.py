"""Pictures in, a DoF file out: source -> media -> core -> writer, in parallel, interruptible, equal bytes each time.

Inputs are cut into blocks (`work`). Worker threads take blocks, decode, and run one-thread sessions on small batches:
decoding and inference both let go of the interpreter lock, so threads suffice and nothing is copied between processes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dof_arrow import dataset, media, plan
from dof_arrow.core import Core
from dof_arrow.dataset import Dataset
from dof_arrow.declare import Json, to_json
from dof_arrow.errors import DofError, OutputError, SourceError
from dof_arrow.facts import RawFacts
from dof_arrow.privacy import pseudonym
from dof_arrow.schema import vector_array, vector_field
from dof_arrow.source import Sample, Source
from dof_arrow.work import Staging, blocks
from dof_arrow.writer import Writer

BATCH = 8  # inputs a session run: larger batches gain nothing on one thread and cost memory
Progress = Callable[[int, int, int], None]  # inputs done, inputs in all, inputs that failed


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A run that is planned: what is read, what is computed, what will leave. Nothing is done before `run`.

    `cores` maps feature columns to cores; `fractions` makes splits that never part a group; `id_key` is the owner's
    key for pseudonyms. Equal plans give equal bytes whatever `workers`.
    """

    source: Source
    cores: Mapping[str, Core]
    out: Path
    id_key: bytes
    ids: Literal["pseudonym", "name"] = "pseudonym"
    fractions: Mapping[str, float] | None = None
    dtype: Literal["float32", "float16"] = "float32"
    layout: Literal["mapped", "compact"] = "mapped"
    batch_size: int = BATCH
    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    overwrite: bool = False
    max_errors: int | None = None

    def run(self, progress: Progress = lambda done, total, failed: None) -> Dataset:
        """Extract what is missing, write the file, open it.

        A KeyboardInterrupt leaves the blocks that are done; the same call goes on from there. Raises OutputError if
        the output exists and is another's, SourceError if more than `max_errors` inputs fail or all do.
        """
        if self.is_done():
            return dataset.open(self.out)
        if self.out.exists() and not self.overwrite:
            raise OutputError("the output exists and was made by another run", str(self.out),
                              hint="Give another name, or --overwrite.")
        with Staging(self.out).held(self.identity, fresh=self.overwrite) as staging:
            _Workers(self, staging, progress).run()
            self._write(staging)
            staging.remove()
        return dataset.open(self.out)

    def is_done(self) -> bool:
        """Whether the output is there already and came from this very run."""
        try:
            provenance = dataset.open(self.out).metadata.provenance if self.out.exists() else None
        except DofError:
            return False
        return provenance is not None and provenance.run == self.run_digest

    @cached_property
    def identity(self) -> dict[str, Json]:
        """What makes this run what it is, entry by entry; two runs with equal identity give equal bytes."""
        return {
            "inputs": len(self.source), "names and labels": self._source_digest,
            "core": {name: core.sha256 for name, core in self.cores.items()},
            "batch size": self.batch_size, "dtype": self.dtype, "layout": self.layout, "ids": self.ids,
            "split": dict(self.fractions or {}), "id key": self._keyed(b"id key"),
            "onnxruntime": _version("onnxruntime"), "pillow": _version("PIL"), "dof-arrow": _version("dof_arrow"),
        }

    @cached_property
    def run_digest(self) -> str:
        """A digest of the identity that only the owner of the key can make or recognise."""
        return self._keyed(json.dumps(self.identity, sort_keys=True).encode())

    @cached_property
    def splits(self) -> list[str | None] | None:
        """The split of each input, or None; a split never parts a group."""
        samples = [self.source[i] for i in range(len(self.source))] if self.fractions or self.source.has_split else []
        if self.fractions:
            label = next(iter(self.source.targets), None)
            kinds = [str(s.target.get(label)) for s in samples] if self._category(label) else None
            names = [s.group or s.key for s in samples]
            return list(plan.split_by_fraction(names, self.fractions, stratify=kinds))
        if not self.source.has_split:
            return None
        plan.check_groups([s.group for s in samples], [s.split for s in samples])
        return [s.split for s in samples]

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that the file will have, but for `processing`, which depends on what the pictures are like."""
        targets = [pa.field(n, *self._target_type(n)) for n in self.source.targets]
        kept = [pa.field(n, pa.type_for_alias(t)) for n, t in self.source.kept.items()]
        named = [pa.field(n, pa.string()) for n in self._named]
        wide = [vector_field(n, c.output_shape, self.dtype) for n, c in self.cores.items()]
        return pa.schema([pa.field("id", pa.string(), nullable=False), *named, *targets, *kept, *wide])

    @property
    def _named(self) -> list[str]:
        group = ["group"] if self.source.has_group else []
        return [*group, "split"] if self.fractions or self.source.has_split else group

    def _target_type(self, name: str) -> tuple[pa.DataType, bool]:
        kind = {"category": pa.int64(), "regression": pa.float64()}.get(self.source.targets[name].kind)
        missing = any(self.source[i].target.get(name) is None for i in range(len(self.source)))
        return (kind, missing) if kind is not None else (pa.list_(pa.int64()), True)

    def _category(self, label: str | None) -> bool:
        return label is not None and self.source.targets[label].kind == "category"

    @cached_property
    def _source_digest(self) -> str:
        state = hmac.new(self.id_key, digestmod="sha256")
        for i in range(len(self.source)):
            s = self.source[i]
            state.update(repr((s.key, dict(s.target), s.group, s.split, dict(s.kept))).encode())
        return state.hexdigest()

    def _keyed(self, data: bytes) -> str:
        return hmac.new(self.id_key, data, "sha256").hexdigest()

    def name(self, sample: Sample) -> str:
        """What a sample is called in the file."""
        return sample.key if self.ids == "name" else pseudonym(self.id_key, "id", sample.key)

    def group(self, sample: Sample) -> str | None:
        """What a sample's group is called in the file."""
        return sample.group if sample.group is None or self.ids == "name" else pseudonym(
            self.id_key, "group", sample.group)

    def metadata(self, raw: Mapping[str, Json] | None = None, failed: int = 0) -> dict[str, Json]:
        """What the file will say of itself, as far as it is known beforehand."""
        provenance = {"inputs": len(self.source), "failed": failed, "run": self.run_digest, "raw": dict(raw or {})}
        columns = {n: {"core": n, "tensor": c.output_name, "shape": list(c.output_shape)}
                   for n, c in self.cores.items()}
        return {
            "primary_column": next(iter(self.cores)), "columns": columns,
            "cores": {n: to_json(c.describe()) for n, c in self.cores.items()},
            "targets": {n: to_json(t) for n, t in self.source.targets.items()},
            "privacy": {"ids": self.ids}, "provenance": provenance,
        }

    def _write(self, staging: Staging) -> None:
        facts = RawFacts()
        for number in range(len(blocks(len(self.source)))):
            facts.add(staging.read(number))
        if not facts.rows:
            first = facts.failures[0]["reason"] if facts.failures else "no inputs"
            raise SourceError("no input gave features", found=f"{len(facts.failures)} failures, the first: {first}",
                              hint="Look at one of the files with an image viewer.")
        schema = self.schema if facts.type is None else self.schema.insert(
            len(self.schema) - len(self.cores), pa.field("processing", facts.type))
        about = self.metadata(facts.common(), len(facts.failures))
        with Writer(self.out, about, schema=schema, overwrite=self.overwrite, layout=self.layout) as writer:
            for number, rows in enumerate(blocks(len(self.source))):
                self._write_block(writer, staging.read(number), rows, facts)

    def _write_block(self, writer: Writer, table: pa.Table, rows: range, facts: RawFacts) -> None:
        for failure in json.loads(table.schema.metadata[b"failed"]):
            writer.fail(self.name(self.source[failure["input"]]), failure["rule"], failure["reason"])
        if not len(table):
            return
        samples = [self.source[i] for i in table["input"].to_pylist()]
        columns: dict[str, Any] = {}
        if "group" in self._named:
            columns["group"] = [self.group(s) for s in samples]
        if "split" in self._named and self.splits:
            columns["split"] = [self.splits[i] for i in table["input"].to_pylist()]
        columns |= {n: [s.target.get(n) for s in samples] for n in self.source.targets}
        columns |= {n: [s.kept.get(n) for s in samples] for n in self.source.kept}
        if facts.type is not None:
            columns["processing"] = facts.own(table)
        vectors = {n: _tensor(table, n).reshape(len(table), *c.output_shape).astype(self.dtype)
                   for n, c in self.cores.items()}
        writer.write(ids=[self.name(s) for s in samples], vectors=vectors, columns=columns)


class _Workers:
    """Computes the blocks that are missing, each by one thread, a few ahead of what is waited for."""

    def __init__(self, run: Extraction, staging: Staging, progress: Progress) -> None:
        self._run, self._staging, self._progress = run, staging, progress
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done = self._failed = 0

    def run(self) -> None:
        with ThreadPoolExecutor(self._run.workers) as pool:
            waiting: set[Future[None]] = set()
            try:
                for number, rows in enumerate(blocks(len(self._run.source))):
                    waiting.add(pool.submit(self._block, number, rows))
                    if len(waiting) >= 2 * self._run.workers:
                        finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                        _raise_first(finished)
                _raise_first(wait(waiting).done)
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)

    def _block(self, number: int, rows: range) -> None:
        samples = [self._run.source[i] for i in rows]
        stamp = _stamp(samples)
        if self._staging.done(number, stamp):
            failed = json.loads(self._staging.read(number).schema.metadata[b"failed"])
            self._count(len(rows), len(failed))
            return
        block = _Block(self._run.cores)
        for start in range(0, len(rows), self._run.batch_size):
            if self._stop.is_set():
                return
            failed_before = len(block.failed)
            block.add(rows[start : start + self._run.batch_size], samples[start : start + self._run.batch_size])
            self._count(len(rows[start : start + self._run.batch_size]), len(block.failed) - failed_before)
        self._staging.put(number, block.table(), stamp)

    def _count(self, done: int, failed: int) -> None:
        with self._lock:
            self._done, self._failed = self._done + done, self._failed + failed
            self._progress(self._done, len(self._run.source), self._failed)
            most = self._run.max_errors
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


def _tensor(table: pa.Table, name: str) -> np.ndarray[Any, Any]:
    column = table.column(name).combine_chunks()
    return np.asarray(column.flatten().to_numpy()).reshape(len(table), -1)


def _raise_first(finished: set[Future[None]]) -> None:
    for future in finished:
        future.result()


def _version(module: str) -> str:
    import importlib

    return str(importlib.import_module(module).__version__)
