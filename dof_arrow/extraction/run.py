"""A run: inputs, core and options made into blocks, and blocks into a file."""

from __future__ import annotations

import hmac
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from dof_arrow.cores.core import BATCH, Core
from dof_arrow.cores.graph.runtime import CPU
from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofError, DofWarning, OutputError, SourceError, UsageError
from dof_arrow.extraction import clip_features
from dof_arrow.extraction.block import Damaged, vector_name
from dof_arrow.extraction.job import Job
from dof_arrow.extraction.local_engine import Progress, compute
from dof_arrow.extraction.raw_facts import RawFacts
from dof_arrow.extraction.staging import Staging, blocks
from dof_arrow.extraction.views import ONE, ViewPlan
from dof_arrow.format.parquet.layout import most_rows
from dof_arrow.format.spec.arrow import vector_field
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.writer import Writer
from dof_arrow.media import decode
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import Sampling
from dof_arrow.sampling import splits
from dof_arrow.security.pseudonyms import Kind, pseudonyms
from dof_arrow.sources import input_table
from dof_arrow.sources.input_table import Roster
from dof_arrow.sources.sample import Source
from dof_arrow.storage.atomic import refuse_existing
from dof_arrow.system import processors

LIBRARIES = (
    "dof_arrow",
    "onnxruntime",
    "PIL",
    "pyarrow",
    "av",
)  # what features depend on; the last for clips


_TRIES = 3  # to write the output from blocks that a bad disk damages


_OF_ROWS = ("view", "frame", "time")  # what rows of one input differ in


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
    workers: int = field(default_factory=processors)
    overwrite: bool = False
    max_errors: int | None = None
    reading: ReadingOptions = decode.DEFAULT
    views: ViewPlan = ONE
    clips: Sampling | None = None
    part: ClassVar[bool] = False  # whether the output is to be a part of a directory

    def __post_init__(self) -> None:
        for name, known in (("ids", ("pseudonym", "name")), ("layout", ("mapped", "compact"))):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"no such choice for {name}",
                    expected=" or ".join(known),
                    found=getattr(self, name),
                )
        for name in ("batch_size", "workers"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1", found=str(getattr(self, name)))

    def run(self, progress: Progress = lambda done, total, failed: None) -> Dataset:
        """Extract what is missing, write the file, open it.

        A KeyboardInterrupt leaves the blocks that are done; the same call goes on from there. An input that changes
        while others are read is read again. Raises OutputError if the output exists and is another's, SourceError if
        more than `max_errors` inputs fail or all do.
        """
        if not self.is_done():
            self._check()
            with Staging(self.out).held(self.identity, fresh=self.overwrite) as staging:
                if not self.is_done():  # another process may have ended while this one planned
                    compute(self._job, staging, progress)
                    self._finish(staging)
                staging.drop()
        Staging(self.out).sweep()
        return dataset.open(self.out)

    def _finish(self, staging: Staging) -> None:
        """Compute once more what changed while others were read; write the output.

        Blocks that the disk has damaged since they were staged are made again.
        """
        for tries_left in reversed(range(_TRIES)):
            compute(self._job, staging, lambda *_: None)
            try:
                return self._write(staging)
            except Damaged:
                if not tries_left:
                    raise
                staging.drop_damaged()

    def _check(self) -> None:
        """Raise now what else would stop the run after hours."""
        if self.clips is not None:
            clip_features.check(self.cores, self.clips.window)
        elif timed := [name for name, core in self.cores.items() if core.time_axis is not None]:
            raise UsageError(
                "the core sees clips, not pictures",
                found=", ".join(timed),
                hint="Give a folder of clips, and say how many frames it sees at once: --window 16.",
            )
        _ = self.schema, self.source.has_split and self.splits
        most = most_rows(self.schema)
        if self.clips is None and len(self.source) * self.views.count > most:
            raise OutputError(
                "more rows than one file may have",
                str(self.out),
                f"at most {most:,}",
                f"{len(self.source) * self.views.count:,}",
                "Extract a portion of the inputs at a time into a directory: -o NAME.dof",
            )
        refuse_existing(self.out, overwrite=True)
        if self.out.exists() and not self.overwrite:
            changed = self._made_by_this_run() is not None
            what = (
                "pictures have changed since the output was made"
                if changed
                else "the output is of another run"
            )
            raise OutputError(
                what,
                str(self.out),
                hint="Give another name with -o, or replace it with --overwrite.",
            )

    def is_done(self) -> bool:
        """Whether the output is there already, came from this very run, and no input has changed since."""
        return (
            not self.overwrite
            and (made := self._made_by_this_run()) is not None
            and not self._changed_since(made)
        )

    def _made_by_this_run(self) -> Dataset | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DofWarning)
                made = dataset.open(self.out) if self.out.exists() else None
        except DofError:
            return None
        about = made.metadata.provenance if made is not None else None
        return made if about is not None and about.run == self.run_digest else None

    def _changed_since(self, made: Dataset) -> bool:
        """As `make` tells it, by times; by the sum of sizes too where every input gave a row."""
        written, about = made.path.stat().st_mtime_ns, made.metadata.provenance
        if any(status.st_mtime_ns > written for status in input_table.files(self.source)):
            return True
        return (
            about is not None
            and not about.failed
            and input_table.size(self.source) not in (None, about.raw.get("bytes"))
        )

    @property
    def _job(self) -> Job:
        return Job(
            source=self.source,
            cores=self.cores,
            dtype=self.dtype,
            batch_size=self.batch_size,
            workers=self.workers,
            max_errors=self.max_errors,
            reading=self.reading,
            views=self.views,
            clips=self.clips,
        )

    @cached_property
    def identity(self) -> dict[str, Json]:
        """What makes this run what it is, entry by entry; two runs with equal identity give equal bytes."""
        return {
            "inputs": len(self.source),
            "names and labels": self._roster.digest(self.id_key),
            "core": {name: core.sha256 for name, core in self.cores.items()},
            "provider": {name: core.provider for name, core in self.cores.items()},
            "threads": {name: core.threads for name, core in self.cores.items()},
            "batch size": self.batch_size,
            "dtype": self.dtype,
            "layout": self.layout,
            "ids": self.ids,
            "split": dict(self.fractions or {}),
            "id key": self._keyed(b"id key"),
            "views": self.views.to_json(),
            "max pixels": self.reading.max_pixels,
            "allow": sorted(self.reading.allow),
            **self._sampled,
            **self.libraries,
        }

    @cached_property
    def run_digest(self) -> str:
        """A digest of the identity that only the owner of the key can make or recognise."""
        return self._keyed(json.dumps(self.identity, sort_keys=True).encode())

    @cached_property
    def splits(self) -> pa.Array | None:
        """The split of each input, or None; a split never parts a group. UsageError where a given one does."""
        import pyarrow.compute as pc

        known = self._roster
        if self.fractions:
            names = (
                known.keys
                if known.groups is None
                else pc.coalesce(known.groups.cast(known.keys.type), known.keys)
            )
            return pa.array(
                splits.split_by_fraction(
                    names.to_pylist(), self.fractions, stratify=self._classes()
                )
            )
        if known.splits is not None and known.groups is not None:
            splits.check_groups(known.groups.to_pylist(), known.splits.to_pylist())
        return known.splits

    def _classes(self) -> list[int | None] | None:
        """What fractions are to be met in each of: the classes of the first target that has any."""
        named = next(
            (n for n, target in self.source.targets.items() if target.kind == "category"), None
        )
        return None if named is None else list(self._roster.targets[named].to_pylist())

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that the file will have, but for `processing`, which depends on what the pictures are like."""
        targets = [
            pa.field(
                n,
                input_table.target_type(t),
                self._roster.targets[n].null_count > 0 or t.kind == "multilabel",
            )
            for n, t in self.source.targets.items()
        ]
        kept = [pa.field(n, pa.type_for_alias(t)) for n, t in self.source.kept.items()]
        viewed = [pa.field("view", pa.int16(), nullable=False)] if self.views.count > 1 else []
        if self.clips is not None:
            viewed += [
                pa.field("frame", pa.int32(), nullable=False),
                pa.field("time", pa.float64(), nullable=False),
            ]
        named = [*viewed, *(pa.field(n, pa.string()) for n in self._named)]
        wide = [vector_field(n, c.output_shape, self.dtype) for n, c in self.cores.items()]
        fields = [pa.field("id", pa.string(), nullable=False), *named, *targets, *kept, *wide]
        names = [f.name for f in fields] + ["processing"]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(
                "two columns of one name",
                str(self.out),
                found=", ".join(twice),
                hint="Rename the table's column, or the core's file.",
            )
        return pa.schema(fields)

    def schema_with(self, facts: RawFacts) -> pa.Schema:
        """All columns, once it is known what the pictures are like."""
        at = len(self.schema) - len(self.cores)
        return (
            self.schema
            if facts.type is None
            else self.schema.insert(at, pa.field("processing", facts.type))
        )

    def facts(self) -> RawFacts:
        """An empty account of what the pictures are like."""
        return RawFacts(self.views.drawn)

    @property
    def _named(self) -> list[str]:
        group = ["group"] if self.source.has_group else []
        return [*group, "split"] if self.fractions or self.source.has_split else group

    @cached_property
    def _roster(self) -> Roster:
        return Roster.of(self.source)

    def _keyed(self, data: bytes) -> str:
        return hmac.new(self.id_key, data, "sha256").hexdigest()

    def known(self, column: str) -> pa.Array:
        """The values of a target or kept column for all inputs."""
        return (
            self._roster.targets[column]
            if column in self._roster.targets
            else self._roster.kept[column]
        )

    @property
    def keys(self) -> list[str]:
        """The inputs' own names."""
        return list(self._roster.keys.to_pylist())

    def names(self, inputs: Sequence[int]) -> list[str]:
        """What some inputs, by number, are called in the file."""
        return self._called("id", self._roster.keys.take(pa.array(inputs, pa.int64())).to_pylist())

    def _called(self, kind: Kind, names: list[str]) -> list[str]:
        return names if self.ids == "name" else pseudonyms(self.id_key, kind, names)

    def _groups(self, inputs: pa.Array) -> pa.Array:
        """What some inputs' groups are called in the file."""
        groups = self._roster.groups.take(inputs).dictionary_encode()
        return pa.array(self._called("group", groups.dictionary.to_pylist()), pa.string()).take(
            groups.indices
        )

    def metadata(self, raw: Mapping[str, Json] | None = None, failed: int = 0) -> dict[str, Json]:
        """What the file will say of itself, as far as it is known beforehand."""
        provenance = {
            "inputs": len(self.source),
            "failed": failed,
            "run": self.run_digest,
            "libraries": self.libraries,
            "raw": {**self._sampled, **(raw or {})},
            "providers": {n: [c.provider] for n, c in self.cores.items() if c.provider != CPU},
        }
        columns: dict[str, Json] = {
            n: {"core": n, "tensor": c.output_name, "shape": list(c.output_shape)}
            for n, c in self.cores.items()
        }
        columns |= {n: {"role": "kept"} for n in self.source.kept}
        return {
            "primary_column": next(iter(self.cores)),
            "columns": columns,
            "augmentation": self.views.to_json(),
            "cores": {n: to_json(c.describe()) for n, c in self.cores.items()},
            "targets": {n: to_json(t) for n, t in self.source.targets.items()},
            "privacy": {"ids": self.ids},
            "provenance": provenance,
        }

    def rows_of(self, number: int) -> int:
        """How many rows an input will have; of a clip, by what its container says, and 0 where it cannot be read."""
        if self.clips is None:
            return self.views.count
        with suppress(DofError):
            return clip_features.count(self.source[number], self._job) * self.views.count
        return 0

    @property
    def libraries(self) -> dict[str, str]:
        """Versions of what features depend on, by module."""
        return versions(LIBRARIES if self.clips is not None else LIBRARIES[:-1])

    @property
    def _sampled(self) -> dict[str, Json]:
        """Which frames are taken, where inputs are clips."""
        return {} if self.clips is None else {"clips": self.clips.to_json()}

    def _staged(self, staging: Staging) -> Iterator[pa.Table]:
        """All that is staged, in order."""
        return staging.tables(range(len(blocks(len(self.source), self._job.block))))

    def _write(self, staging: Staging) -> None:
        facts = self.facts()
        for table in self._staged(staging):
            facts.add(table)
        if not facts.rows:
            staging.clear()
            first = facts.failures[0]["reason"] if facts.failures else "no inputs"
            raise SourceError(
                "no input gave features",
                found=f"{len(facts.failures)} failures, the first: {first}",
                hint="Look at one of the files with an image viewer.",
            )
        schema = self.schema_with(facts)
        about = self.metadata(facts.common(), len(facts.failures))
        with Writer(
            self.out,
            about,
            schema=schema,
            overwrite=self.overwrite,
            layout=self.layout,
            part=self.part,
            mode=self._mode(),
        ) as writer:
            for name, failure in zip(
                self.names([f["input"] for f in facts.failures]), facts.failures, strict=True
            ):
                writer.fail(name, failure["rule"], failure["reason"])
            for table in self._staged(staging):
                self._write_table(writer, table, facts)

    def _mode(self) -> int | None:
        """The mode of the output, None for that of any new file."""
        return None

    def _write_table(self, writer: Writer, table: pa.Table, facts: RawFacts) -> None:
        if not len(table):
            return
        columns = self.columns(table["input"].to_pylist())
        columns |= {
            name: table[name].combine_chunks() for name in _OF_ROWS if name in table.column_names
        }
        if facts.type is not None:
            columns["processing"] = facts.own(table)
        vectors = {n: _tensor(table, n, c.output_shape) for n, c in self.cores.items()}
        writer.write(ids=columns.pop("id"), vectors=vectors, columns=columns)

    def columns(self, inputs: Sequence[int]) -> dict[str, Any]:
        """The values of all columns but the features and `processing`, for the inputs of some rows by number.

        Every view is a row: the number of each input stands there once a view.
        """
        known, at = self._roster, pa.array(inputs, pa.int64())
        columns: dict[str, Any] = {"id": self.names(inputs)}
        if self.views.count > 1 and self.clips is None:
            columns["view"] = self.views.numbers(len(inputs) // self.views.count)
        if known.groups is not None:
            columns["group"] = self._groups(at)
        if self.splits is not None:
            columns["split"] = self.splits.take(at)
        return columns | {
            n: column.take(at) for n, column in {**known.targets, **known.kept}.items()
        }


def _tensor(block: pa.Table, name: str, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    column = block.column(vector_name(name)).combine_chunks()
    return np.asarray(column.flatten().to_numpy()).reshape(len(block), *shape)


def versions(modules: Iterable[str]) -> dict[str, str]:
    """The versions of those modules that are installed.

    >>> versions(["numpy", "no_such_module"]).keys()
    dict_keys(['numpy'])
    """
    import importlib

    found = {}
    for name in modules:
        with suppress(ImportError):
            found[name] = str(importlib.import_module(name).__version__)
    return found
