"""A run: inputs computed in blocks, the blocks staged, and the output written from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

import pyarrow as pa

from dof_arrow.cores.core import Core
from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import SourceError, UsageError
from dof_arrow.extraction import clip_rows, local_engine
from dof_arrow.extraction.block import Block
from dof_arrow.extraction.block_file import Damaged
from dof_arrow.extraction.destination import Destination
from dof_arrow.extraction.engine import Compute, Progress
from dof_arrow.extraction.job import Job
from dof_arrow.extraction.output_table import OutputTable
from dof_arrow.extraction.raw_facts import RawFacts
from dof_arrow.extraction.row_order import Rows, RowSorter, StagedRows, inverse
from dof_arrow.extraction.sides import refuse_lacking
from dof_arrow.extraction.staging import Staging
from dof_arrow.extraction.standing import Standing
from dof_arrow.extraction.views import ViewPlan
from dof_arrow.format.parquet.layout import check_rows
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.writer import Writer
from dof_arrow.media.frames import Sampling
from dof_arrow.progress import unheard
from dof_arrow.sources import input_table
from dof_arrow.sources.sample import Source
from dof_arrow.storage import upload
from dof_arrow.storage.addresses import Location
from dof_arrow.system import processors

_TRIES = 3  # to write the output from blocks that a bad disk damages


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A planned run: the table to be made, and where it goes. Nothing is done before `run`.

    Equal tables give equal bytes whatever `workers`, and whichever engine's `compute` it is;
    `max_errors` is how many inputs may fail. `standing` counts inputs that the output has already:
    they are not in the table.
    """

    table: OutputTable
    destination: Destination
    workers: int = field(default_factory=processors)
    max_errors: int | None = None
    standing: Standing = field(default_factory=Standing)
    compute: Compute = local_engine.compute

    # What is planned

    @property
    def out(self) -> Location:
        """The output as the user named it."""
        return self.destination.out

    @property
    def source(self) -> Source:
        """The inputs."""
        return self.table.source

    @property
    def cores(self) -> Mapping[str, Core]:
        """The core of each feature column."""
        return self.table.cores

    @property
    def views(self) -> ViewPlan:
        """How many rows each input has, and what was drawn for them."""
        return self.table.views

    @property
    def clips(self) -> Sampling | None:
        """Which frames are taken, or None where inputs are pictures."""
        return self.table.clips

    @property
    def kind(self) -> str:
        """What the inputs are: `pictures`, `clips` or `segments` of clips."""
        if self.clips is None:
            return "pictures"
        return "segments" if self.table.segments else "clips"

    @property
    def schema(self) -> pa.Schema:
        """The columns that the file will have, but for `processing`."""
        return self.table.schema

    @property
    def splits(self) -> pa.Array | None:
        """The split of each input, or None."""
        return self.table.splits

    @property
    def identity(self) -> dict[str, Json]:
        """What makes this run what it is; two runs with equal identity give equal bytes."""
        return self.table.identity

    @property
    def run_digest(self) -> str:
        """A digest of what makes this run what it is; only the owner of the key can make it."""
        return self.table.run_digest

    def metadata(self) -> dict[str, Json]:
        """What the file will say of itself, as far as it is known beforehand."""
        return self.table.metadata()

    def facts(self) -> RawFacts:
        """An empty account of what the pictures are like."""
        return RawFacts(self.views.drawn, self.destination.own_facts(self.table.facts))

    @property
    def job(self) -> Job:
        """What workers need to know of this run."""
        return Job(
            source=self.source,
            cores=self.cores,
            dtype=self.table.dtype,
            batch_size=self.table.batch_size,
            workers=self.workers,
            max_errors=self.max_errors,
            reading=self.table.reading,
            views=self.views,
            clips=self.clips,
            id_key=self.table.id_key,
            numbers=self.table.own_blocks,
            site=self.table.site,
        )

    # The run

    def run(self, progress: Progress = unheard) -> Dataset:
        """Extract what is missing, write the output, open it.

        A KeyboardInterrupt leaves the blocks that are done; the same call goes on from there. An
        input that changes while others are read is read again. Raises OutputError if the output
        exists and is another's, SourceError if more than `max_errors` inputs fail or all do,
        UsageError if the output is a directory that the rows do not fit.
        """
        if self.nothing_new:
            self.destination.sweep()
            self.destination.prepare(self.table)  # which refuses other cores, say
        elif self.is_done():
            self.destination.sweep()
        else:
            self.destination.prepare(self.table)
            self._make_file(progress)
            self.destination.complete()
        Staging(self.destination.file).sweep()
        return dataset.open(self.out)

    @property
    def nothing_new(self) -> bool:
        """Whether the output has all inputs already."""
        return bool(self.standing) and not len(self.source)

    def is_done(self) -> bool:
        """Whether the output is there, came from this very run, and no input has changed since."""
        return self._is_fresh(self.destination.made_by(self.run_digest))

    def _is_file_made(self) -> bool:
        return self._is_fresh(self.destination.file_made_by(self.run_digest))

    def _is_fresh(self, made: Dataset | None) -> bool:
        return made is not None and not self._changed_since(made)

    def _changed_since(self, made: Dataset) -> bool:
        """Whether an input changed: by times, as `make` tells it, or by a digest of all sizes."""
        written = upload.written(made.path)
        if any(status.st_mtime_ns > written for status in input_table.files(self.source)):
            return True
        about = made.metadata.provenance
        return about is not None and self.table.digest_of_sizes(self.table.inputs) != about.size

    def _make_file(self, progress: Progress) -> None:
        if self._is_file_made():
            return
        self._check()
        target = self.destination.file
        fresh = self.destination.overwrite
        with Staging(target).held(self.table.identity, fresh=fresh) as staging:
            if not self._is_file_made():  # another process may have ended while this one planned
                self.compute(self.job, staging, progress)
                self._finish(staging)
            staging.drop()

    def _finish(self, staging: Staging) -> None:
        """Compute once more what changed while others were read; write the output.

        Blocks that the disk has damaged since they were staged are made again.
        """
        for tries_left in reversed(range(_TRIES)):
            self.compute(self.job, staging, unheard)
            try:
                return self._write(staging)
            except Damaged:
                if not tries_left:
                    raise
                staging.drop_damaged()

    # Whether it can be done

    def _check(self) -> None:
        """Raise now what else would stop the run after hours."""
        self._check_windows()
        # Asked for only because they raise what is wrong with the columns, or with a given split.
        _ = self.schema
        if self.source.has_split:
            _ = self.splits
        self._check_splits()
        self._check_rows()
        self.destination.refuse_standing(self.run_digest)

    def _check_splits(self) -> None:
        """Raise UsageError where a split lacks inputs or a class, and exact dealing may help.

        What is added to a dataset, or takes its sides over, need not fill all splits by itself.
        """
        rule = self.table.split
        if rule is not None and not rule.exact and rule.known is None:
            refuse_lacking(self.table.split_lacks(), len(self.source))

    def _check_windows(self) -> None:
        if self.clips is not None:
            clip_rows.window_of(self.cores, self.clips.window)
            return
        timed = [name for name, core in self.cores.items() if core.time_axis is not None]
        if timed:
            raise UsageError(
                "the core sees clips, not pictures",
                found=", ".join(timed),
                hint="Give a folder of clips, and say how many frames it sees at once: "
                "--window 16.",
            )

    def _check_rows(self) -> None:
        rows = len(self.table.inputs) * self.views.count  # a partition's file has its own alone
        if self.clips is None:
            check_rows(self.schema, rows, str(self.out))

    # The output, written from the blocks

    def _write(self, staging: Staging) -> None:
        staging.drop_scratch()  # of a try before this one
        rows = self._rows(staging)
        facts = self._gathered(staging, rows)
        self._write_file(facts, rows.blocks())

    def _rows(self, staging: Staging) -> Rows:
        """What gives the rows in the order of the output, once they have all been read."""
        order = self.table.in_order()
        if order is not None and self.clips is None:
            return RowSorter(staging, inverse(order))
        own = self.table.own_blocks
        # Of clips each block is one input, so that blocks and inputs have the same numbers.
        numbers = own if order is None else [number for number in order.tolist() if number in own]
        return StagedRows(staging, numbers)

    def _write_file(self, facts: RawFacts, rows: Iterator[Block]) -> None:
        with Writer(
            self.destination.file,
            self.table.metadata(facts),
            schema=self.table.schema_with(facts),
            overwrite=self.destination.overwrite,
            layout=self.table.layout,
            part=self.destination.part,
            mode=self.destination.mode,
        ) as writer:
            self._write_failures(writer, facts)
            for block in rows:
                self._write_block(writer, block, facts)

    def _gathered(self, staging: Staging, rows: Rows) -> RawFacts:
        """What the pictures are like: which columns there are depends on all of them.

        A piece of a block has one digest, so to trust its facts all of it is read.
        """
        facts = self.facts()
        for block in staging.read(self.table.own_blocks):
            facts.add(block)
            rows.add(block)
        if self.table.segments:  # the bytes of a clip count once, not for each of its segments
            facts.bytes = self.table.bytes_of_files()
        if not facts.rows and self.table.partition is None:
            staging.clear()  # else the next try would find these failures, and read nothing anew
            first = facts.failures[0].reason if facts.failures else "no inputs"
            raise SourceError(
                "no input gave features",
                found=f"{len(facts.failures)} failures, the first: {first}",
                hint="Look at one of the files with an image viewer.",
            )
        return facts

    def _write_failures(self, writer: Writer, facts: RawFacts) -> None:
        inputs = [failure.input for failure in facts.failures]
        names, groups = self.table.names(inputs), self.table.groups_of(inputs)
        named = list(zip(names, groups, facts.failures, strict=True))
        if self.table.order == "pseudonym":
            named.sort(key=itemgetter(0))
        for name, group, failure in named:
            writer.fail(name, failure.rule, failure.reason, group)

    def _write_block(self, writer: Writer, block: Block, facts: RawFacts) -> None:
        if len(block):
            columns = self.table.columns_of(block, facts)
            ids = columns.pop("id")
            writer.write(ids=ids, vectors=self.table.vectors_of(block), columns=columns)
