"""Extraction into a directory: what is extracted becomes its next part (row D15, "append from files").

The part is extracted into a hidden file beside the directory, where a run goes on as ever, then linked into it. All
that could part it from the other parts is refused before anything is computed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pyarrow as pa

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import FormatError, OutputError, UsageError
from dof_arrow.extraction.local_engine import Progress
from dof_arrow.extraction.raw_facts import RawFacts
from dof_arrow.extraction.run import Extraction
from dof_arrow.extraction.staging import Staging
from dof_arrow.format import merge_metadata
from dof_arrow.format.append import SPARE, growing, refuse_other, waiting_mode
from dof_arrow.format.directory import MANIFEST, Directory
from dof_arrow.format.file import File
from dof_arrow.format.spec.metadata import COUNTED
from dof_arrow.format.writer import Writer
from dof_arrow.storage import owned
from dof_arrow.storage.atomic import explained, sibling

_AT_ONCE = 65_536  # ids looked up at a time


class Enlargement(Extraction):
    """A planned run whose rows will be the next part of the directory `out`, which is made if it is not there."""

    part: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overwrite:
            raise UsageError(
                "rows are added to a directory, none are replaced",
                str(self.out),
                found="--overwrite",
                hint="Give another name, or remove the directory first.",
            )

    def run(self, progress: Progress = lambda done, total, failed: None) -> Dataset:
        """Extract what is missing, add it to the directory, open that. Raises as `Extraction.run` does, and UsageError,
        before it begins, where the directory's columns, cores or targets are others or it holds one of the ids."""
        spare = sibling(self.out, SPARE)
        if not self.is_done():
            self._check_fits()
            _drop_damaged(spare)
            made = _PartRun(
                **{f.name: getattr(self, f.name) for f in fields(self)} | {"out": spare},
                whole=self._known,
            )
            made.run(progress)
            with growing(self.out) as growth:
                growth.add(spare, take=True)
        else:  # what a run left that was killed at its very end goes with this
            with suppress(OutputError), growing(self.out):
                pass
        spare.unlink(missing_ok=True)
        Staging(spare).sweep()
        return dataset.open(self.out)

    def facts(self) -> RawFacts:
        """An account of the pictures whose `processing` fits the directory's."""
        return _facts(self, self._known)

    @cached_property
    def _known(self) -> Directory | None:
        return Directory(self.out) if (self.out / MANIFEST).exists() else None

    def _made_by_this_run(self) -> Dataset | None:
        """The part that this very run made, if there is one."""
        known = Directory(self.out) if (self.out / MANIFEST).exists() else None
        for part in known.parts if known else ():
            about = part.metadata.provenance
            if about is not None and about.run == self.run_digest:
                return Dataset(part, slice(0, part.rows))
        return None

    def _check_fits(self) -> None:
        refuse_other(self.out)
        if self._known is None:
            return
        like, own = self._empty(), self._known.manifest
        merge_metadata.check_alike(
            own.metadata, like.metadata, own.schema, like.schema, str(self.out), "it"
        )
        merge_metadata.check_laid_out(own.metadata, like.metadata, str(self.out))
        for start in range(0, len(self.source), _AT_ONCE):
            ids = self.names(range(start, min(start + _AT_ONCE, len(self.source))))
            known = (part.arrow(own.metadata.record.id) for part in self._known.parts)
            merge_metadata.check_new(known, pa.array(ids, pa.string()), "the inputs", str(self.out))

    def _empty(self) -> File:
        """A file of no rows such as this run would write."""
        with TemporaryDirectory() as folder:
            path = Path(folder, "empty.parquet")
            with Writer(
                path, self.metadata(), schema=self.schema_with(self.facts()), layout=self.layout
            ):
                pass
            return File(path)


@dataclass(frozen=True, kw_only=True)
class _PartRun(Extraction):
    """The run that makes the part, in a file beside the directory."""

    whole: Directory | None
    part: ClassVar[bool] = True

    def facts(self) -> RawFacts:
        return _facts(self, self.whole)

    def _mode(self) -> int | None:
        return waiting_mode(self.out)

    def _check(self) -> None:
        if self.out.exists():
            raise OutputError(
                "rows of another run, or of inputs that have changed since, wait to be added",
                str(self.out),
                hint="Repeat that run, or drop them: dof repair --discard",
            )
        super()._check()


def _drop_damaged(spare: Path) -> None:
    """Drop a part that waits to be added if it is not what was written: its rows are made again."""
    with explained(spare), suppress(FileNotFoundError):
        with owned.ours(spare, names=2):  # a kill may have left it where it is to be added, too
            sound = _is_sound(spare)
        if not sound:
            spare.unlink()


def _is_sound(path: Path) -> bool:
    try:
        file = File(path)
        file.check()
    except FormatError:
        return False
    return file.state == "sealed"


def _facts(run: Extraction, known: Directory | None) -> RawFacts:
    """What is each row's own: what the directory's rows have, or, for the first part, all that later parts may need."""
    if known is None:
        return RawFacts(run.views.drawn, COUNTED)
    kind = (
        known.schema.field("processing").type
        if "processing" in known.schema.names
        else pa.struct([])
    )
    return RawFacts(run.views.drawn, [field.name for field in kind])
