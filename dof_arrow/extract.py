"""Pictures in, a DoF file out: source -> media -> core -> writer, in parallel, interruptible, equal bytes each time.

A run is planned first (`Extraction`): what it reads, computes and lets out is known before anything is written. Then
worker threads compute blocks of inputs, each staged in a file of its own, and the output is written from them in order.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dof_arrow import dataset, plan
from dof_arrow.core import Core
from dof_arrow.dataset import Dataset
from dof_arrow.declare import Json, to_json
from dof_arrow.errors import DofError, OutputError, SourceError, UsageError
from dof_arrow.facts import RawFacts
from dof_arrow.metadata import Preprocessing
from dof_arrow.presets import Fit
from dof_arrow.privacy import pseudonym
from dof_arrow.schema import vector_field
from dof_arrow.source import Sample, Source, load_or_make_key, open_source
from dof_arrow.work import Staging, blocks
from dof_arrow.workers import Job, Progress, compute
from dof_arrow.writer import Writer

CoreLike = str | os.PathLike[str] | Core
BATCH = 8  # inputs a session run: larger batches gain nothing on one thread and cost memory


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
            Staging(self.out).sweep()
            return dataset.open(self.out)
        if self.out.exists() and not self.overwrite:
            raise OutputError("the output exists and was made by another run", str(self.out),
                              hint="Give another name, or --overwrite.")
        with Staging(self.out).held(self.identity, fresh=self.overwrite) as staging:
            compute(self._job, staging, progress)
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

    @property
    def _job(self) -> Job:
        return Job(source=self.source, cores=self.cores, batch_size=self.batch_size, workers=self.workers,
                   max_errors=self.max_errors)

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
            kinds = [str(s.target.get(label)) for s in samples] if label and self._is_category(label) else None
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

    def _is_category(self, label: str) -> bool:
        return self.source.targets[label].kind == "category"

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
        columns = self.columns(table["input"].to_pylist())
        if facts.type is not None:
            columns["processing"] = facts.own(table)
        vectors = {n: _tensor(table, n).reshape(len(table), *c.output_shape).astype(self.dtype)
                   for n, c in self.cores.items()}
        writer.write(ids=columns.pop("id"), vectors=vectors, columns=columns)

    def columns(self, inputs: Sequence[int]) -> dict[str, list[Any]]:
        """The values of all columns but the features, for some inputs by number."""
        samples = [self.source[i] for i in inputs]
        columns: dict[str, list[Any]] = {"id": [self.name(s) for s in samples]}
        if "group" in self._named:
            columns["group"] = [self.group(s) for s in samples]
        if "split" in self._named and self.splits:
            columns["split"] = [self.splits[i] for i in inputs]
        columns |= {n: [s.target.get(n) for s in samples] for n in self.source.targets}
        return columns | {n: [s.kept.get(n) for s in samples] for n in self.source.kept}


def planned(
    source: str | os.PathLike[str] | Source, *, core: CoreLike | Sequence[CoreLike], out: str | os.PathLike[str],
    preprocess: str | Preprocessing | None = None, fit: Fit | None = None, at: str | None = None,
    pool: str | None = None, id_key: str | Path | None = None, split: str | Mapping[str, float] | None = None,
    table: str | os.PathLike[str] | None = None, key: str | None = None, label: str | None = None,
    group: str | None = None, keep: Sequence[str] = (), **options: Any,
) -> Extraction:
    """The run that `extract` would do, not yet done: its `schema`, `metadata()`, `splits`, `source` can be looked at.

    `split` is a column of `table`, or fractions as "train=0.8,test=0.2" or a mapping. Raises what `extract` raises.
    """
    fractions = plan.parse_fractions(split) if isinstance(split, str) and "=" in split else split
    column = fractions if isinstance(fractions, str) else None
    inputs = source if not isinstance(source, (str, os.PathLike)) else open_source(
        Path(source), table=Path(table) if table else None, key=key, label=label, group=group, split=column, keep=keep)
    making = {"preprocess": preprocess, "fit": fit, "at": at, "pool": pool}
    asked = [core] if isinstance(core, (str, os.PathLike, Core)) else list(core)
    secret, _, _ = load_or_make_key(id_key)
    return Extraction(source=inputs, cores=_named_cores([_core(c, making) for c in asked]), out=Path(out),
                      id_key=secret, fractions=None if isinstance(fractions, str) else fractions, **options)


def extract(source: str | os.PathLike[str] | Source, *, progress: Progress | None = None, **options: Any) -> Dataset:
    """Run every picture of a source once through one or several cores and write the features as one DoF file.

    `source`: a folder, a picture, or any `Source`. Options: `core` (a path, `builtin`, a `Core`, or a list: a feature
    column each), `out`, `preprocess`, `fit`, `at`, `pool`, `table`, `key`, `label`, `group`, `split`, `keep`, `ids`
    ("pseudonym" or "name"), `id_key`, `dtype`, `layout`, `batch_size`, `workers`, `overwrite`, `max_errors`.
    `progress` is called with inputs done, inputs in all, inputs that failed. Inputs that fail are listed in
    `Dataset.errors`. Killed at any point, the same call goes on where it was and ends in the same bytes.
    Raises UsageError, SourceError, CoreError, OutputError.
    """
    run = planned(source, **options)
    return run.run(progress) if progress else run.run()


def _core(core: CoreLike, making: Mapping[str, Any]) -> Core:
    from dof_arrow import builtin

    if isinstance(core, Core):
        return core
    return builtin.resolve(core, **{name: value for name, value in making.items() if value is not None})


def _named_cores(cores: Sequence[Core]) -> dict[str, Core]:
    names = ["feature"] if len(cores) == 1 else [core.name for core in cores]
    if len(set(names)) != len(cores):
        raise UsageError("two cores of one name", found=", ".join(names), hint="Name them: dof headless … -o NAME.onnx")
    return dict(zip(names, cores, strict=True))


def _tensor(table: pa.Table, name: str) -> np.ndarray[Any, Any]:
    column = table.column(name).combine_chunks()
    return np.asarray(column.flatten().to_numpy()).reshape(len(table), -1)


def _version(module: str) -> str:
    import importlib

    return str(importlib.import_module(module).__version__)
