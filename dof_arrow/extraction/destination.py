"""Where the rows of a run go: here a file of their own, in `append` a part of a directory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofError, DofWarning, OutputError, SourceError
from dof_arrow.extraction.output_table import OutputTable
from dof_arrow.format.spec.metadata import COUNTED
from dof_arrow.storage.addresses import Location
from dof_arrow.storage.atomic import refuse_existing


class Destination(Protocol):
    """What a run must know of its output: which file it writes, and what becomes of that file."""

    @property
    def out(self) -> Location:
        """The output as the user named it."""

    @property
    def file(self) -> Path:
        """The file that the run writes."""

    @property
    def part(self) -> bool:
        """Whether the file is to be a part of a directory."""

    @property
    def overwrite(self) -> bool:
        """Whether an output that is there, or an unfinished run of another kind, is replaced."""

    @property
    def mode(self) -> int | None:
        """The mode of the file; None for that of any new file."""

    def own_facts(self, facts: str) -> Sequence[str]:
        """The facts that stand in each row, if `facts` is asked for (`summary` or `exact`)."""

    def known_rows(self) -> Dataset | None:
        """What the rows are added to, if anything: inputs that it has are passed over."""

    def known_splits(self) -> Dataset | None:
        """What the rows are added to, where it has splits already."""

    def made_by(self, run_digest: str) -> Dataset | None:
        """What this very run has put here, if it has."""

    def file_made_by(self, run_digest: str) -> Dataset | None:
        """The file that this very run has written, if it has."""

    def prepare(self, table: OutputTable) -> None:
        """Raise UsageError if the table does not fit, before anything is computed."""

    def refuse_standing(self, run_digest: str) -> None:
        """Raise OutputError if another file stands where the run would write."""

    def complete(self) -> None:
        """Make the file that is written part of the output."""

    def sweep(self) -> None:
        """Drop what a run left that was killed after its output was complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDestination:
    """A file of its own: nothing is to be done before the run or after it."""

    out: Path
    overwrite: bool = False
    part: ClassVar[bool] = False
    mode: ClassVar[int | None] = None

    def own_facts(self, facts: str) -> Sequence[str]:
        """All or none, whether inputs differ in them or not: so every file has the same columns."""
        return COUNTED if facts == "exact" else ()

    @property
    def file(self) -> Path:
        """The output itself."""
        return self.out

    def known_rows(self) -> Dataset | None:
        """Nothing."""
        return None

    def known_splits(self) -> Dataset | None:
        """Nothing: the rows stand by themselves."""
        return None

    def made_by(self, run_digest: str) -> Dataset | None:
        """The output, if this very run made it and it is not to be replaced."""
        return None if self.overwrite else written_by(self.out, run_digest)

    def file_made_by(self, run_digest: str) -> Dataset | None:
        """The same."""
        return self.made_by(run_digest)

    def prepare(self, table: OutputTable) -> None:
        """Any table fits."""

    def refuse_standing(self, run_digest: str) -> None:
        """Raise OutputError if a folder stands there, or a file that is not to be replaced."""
        refuse_existing(self.out, overwrite=True)
        if self.overwrite or not self.out.exists():
            return
        what = "the output is of another run"
        if written_by(self.out, run_digest) is not None:
            what = "pictures have changed since the output was made"
        hint = "Give another name with -o, or replace it with --overwrite."
        raise OutputError(what, str(self.out), hint=hint)

    def complete(self) -> None:
        """The file is the output."""

    def sweep(self) -> None:
        """Nothing is left beside the output."""


def written_by(path: Location, run_digest: str) -> Dataset | None:
    """The file at this path, if it is one that this very run wrote.

    Raises SourceError where a store does not answer.
    """
    if isinstance(path, Path) and not path.exists():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DofWarning)
            found = dataset.open(path)
    except SourceError:
        raise
    except DofError:
        return None
    about = found.metadata.provenance
    return found if about is not None and about.run == run_digest else None
