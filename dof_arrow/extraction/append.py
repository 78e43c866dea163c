"""Extraction into a directory: what is extracted becomes its next part.

The part is extracted into a hidden file beside the directory, where an interrupted run goes on as
ever, then linked into it. Inputs that the directory has are passed over (`standing`); all else that
could part it from the other parts is refused before anything is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import FormatError, OutputError
from dof_arrow.extraction.destination import written_by
from dof_arrow.extraction.output_table import PROCESSING, OutputTable
from dof_arrow.extraction.raw_facts import RawFacts
from dof_arrow.extraction.sides import check_sides
from dof_arrow.format import merge_metadata
from dof_arrow.format.append import SPARE, growing, refuse_other, waiting_mode
from dof_arrow.format.directory import MANIFEST, Directory
from dof_arrow.format.file import File
from dof_arrow.format.spec.metadata import COUNTED
from dof_arrow.format.writer import Writer
from dof_arrow.security.keys import check_key
from dof_arrow.storage import owned
from dof_arrow.storage.atomic import explained, sibling


@dataclass(frozen=True, kw_only=True)
class DirectoryDestination:
    """A directory, made if it is not there, whose next part the rows will be."""

    out: Path
    part: ClassVar[bool] = True
    overwrite: ClassVar[bool] = False

    @property
    def file(self) -> Path:
        """Where the part waits until it is added."""
        return sibling(self.out, SPARE)

    @property
    def mode(self) -> int | None:
        """That of a part that waits."""
        return waiting_mode(self.file)

    @cached_property
    def _known(self) -> Directory | None:
        """The directory as it was when the run was planned."""
        return self._directory()

    def _directory(self) -> Directory | None:
        return Directory(self.out) if (self.out / MANIFEST).exists() else None

    def own_facts(self, facts: str) -> Sequence[str]:
        """Those in the `processing` of the directory's rows, all or none for a first part."""
        if self._known is None or facts == "exact":
            return COUNTED if facts == "exact" else ()
        schema = self._known.schema
        if PROCESSING not in schema.names:
            return ()
        return [field.name for field in schema.field(PROCESSING).type]

    def known_rows(self) -> Dataset | None:
        """The directory, if it is there."""
        return None if self._known is None else dataset.open(self.out)

    def known_splits(self) -> Dataset | None:
        """The directory, whose groups stay in the splits that they are in."""
        if self._known is None or self._known.manifest.metadata.record.split is None:
            return None
        return dataset.open(self.out)

    def made_by(self, run_digest: str) -> Dataset | None:
        """The part that this very run made, if there is one."""
        known = self._directory()  # as it is now: another process may have added the part
        if known is None:
            return None
        for part in known.parts:
            about = part.metadata.provenance
            if about is not None and about.run == run_digest:
                return Dataset(part, slice(0, part.rows))
        return None

    def file_made_by(self, run_digest: str) -> Dataset | None:
        """The part that waits to be added, if this very run made it."""
        return written_by(self.file, run_digest)

    def prepare(self, table: OutputTable) -> None:
        """Drop a part that waits and is damaged.

        Raises UsageError, before anything is computed, where the directory's columns, cores or
        targets are others.
        """
        refuse_other(self.out)
        self._check(table)

    def refuse_standing(self, run_digest: str) -> None:
        """Raise OutputError if the part of another run waits to be added."""
        if self.file.exists():
            raise OutputError(
                "rows of another run, or of inputs that have changed since, wait to be added",
                str(self.file),
                hint=f"Repeat that run, or drop them: dof repair {self.file.parent} --discard",
            )

    def complete(self) -> None:
        """Add the part to the directory."""
        with growing(self.out) as growth:
            growth.add(self.file, take=True)
        self._drop_part()

    def sweep(self) -> None:
        """Drop what a run left that was killed at its very end."""
        with suppress(OutputError), growing(self.out):
            pass
        if self._is_added():
            self._drop_part()

    def _is_added(self) -> bool:
        """Whether the directory has what waits to be added."""
        known = self._directory()
        if known is None or not self.file.exists():
            return False
        with suppress(FormatError):
            waits = File(self.file).metadata.provenance
            runs = [part.metadata.provenance for part in known.parts]
            added = {about.run for about in runs if about is not None}
            return waits is not None and waits.run in added
        return False

    def _drop_part(self) -> None:
        """Drop the waiting part: the directory has it, under a name of its own."""
        self.file.unlink(missing_ok=True)

    def _check(self, table: OutputTable) -> None:
        if self._known is not None:
            self._check_alike(table, self._known)
            self._check_sides(table)
        drop_damaged(self.file)

    def _check_alike(self, table: OutputTable, known: Directory) -> None:
        like = self._empty(table)
        own = known.manifest
        privacy = own.metadata.privacy
        if privacy is not None and table.ids == "pseudonym":
            check_key(table.id_key, privacy.key, str(self.out))
        merge_metadata.check_alike(
            own.metadata, like.metadata, own.schema, like.schema, str(self.out), "it"
        )
        merge_metadata.check_laid_out(own.metadata, like.metadata, str(self.out))

    def _check_sides(self, table: OutputTable) -> None:
        """Raise UsageError where a given split has a person of the directory on another side."""
        known = self.known_splits()
        if known is not None and table.splits is not None:
            check_sides(table.units, table.splits.to_pylist(), known, table.id_key)

    def _empty(self, table: OutputTable) -> File:
        """A file of no rows such as the run would write."""
        schema = table.schema_with(RawFacts(table.views.drawn, self.own_facts(table.facts)))
        with TemporaryDirectory() as folder:
            path = Path(folder, "empty.parquet")
            with Writer(path, table.metadata(), schema=schema, layout=table.layout):
                pass
            return File(path)


def drop_damaged(spare: Path) -> None:
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
