"""Extraction to a store: a file or the next part of a directory, made here, then put there.

What is made waits in a folder of the user's own, one for each output, where an interrupted run goes
on as ever; so an upload that failed is repeated without computing anything again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import OutputError
from dof_arrow.extraction.append import DirectoryDestination, drop_damaged
from dof_arrow.extraction.destination import written_by
from dof_arrow.extraction.output_table import OutputTable
from dof_arrow.format.append import SPARE
from dof_arrow.format.directory import Directory
from dof_arrow.format.spec.metadata import COUNTED
from dof_arrow.format.store_growth import growing_on_store, standing
from dof_arrow.storage import caches, upload
from dof_arrow.storage.addresses import Address
from dof_arrow.storage.atomic import explained, sibling
from dof_arrow.storage.stores import endpoints
from dof_arrow.system import own_folder

_DIGITS = 16  # of the digest of an address


@dataclass(frozen=True, kw_only=True)
class StoreFileDestination:
    """A file of its own on a store, under a name that is new."""

    out: Address
    overwrite: bool = False  # an unfinished run of another kind alone
    part: ClassVar[bool] = False
    mode: ClassVar[int | None] = None

    @property
    def file(self) -> Path:
        """Where the file waits until it is put there."""
        return _waiting(self.out) / self.out.name

    def own_facts(self, facts: str) -> Sequence[str]:
        """All or none, as a file on this machine has them."""
        return COUNTED if facts == "exact" else ()

    def known_rows(self) -> Dataset | None:
        """Nothing."""
        return None

    def known_splits(self) -> Dataset | None:
        """Nothing: the rows stand by themselves."""
        return None

    def made_by(self, run_digest: str) -> Dataset | None:
        """The object, if this very run made it."""
        return written_by(self.out, run_digest)

    def file_made_by(self, run_digest: str) -> Dataset | None:
        """The file that waits, if this very run made it."""
        return written_by(self.file, run_digest)

    def prepare(self, table: OutputTable) -> None:
        """Drop a file that waits and is damaged; OutputError where the name is taken."""
        upload.refuse_standing(self.out)
        with explained(self.file):
            caches.make_folder(self.file.parent)
        drop_damaged(self.file)

    def refuse_standing(self, run_digest: str) -> None:
        """Raise OutputError if what another run made waits to be put there."""
        if self.file.exists() and not self.overwrite:
            raise OutputError(
                "what another run made, or made of inputs that have changed since, waits to be "
                "put there",
                str(self.out),
                hint="Repeat that run, or start anew with --overwrite.",
            )

    def complete(self) -> None:
        """Put the file on the store."""
        upload.put([(self.file, self.out)])
        _drop(self.file)

    def sweep(self) -> None:
        """Drop what a run left that was killed at its very end."""
        _drop(self.file)


@dataclass(frozen=True, kw_only=True)
class StoreDirectoryDestination(DirectoryDestination):
    """A directory on a store, made if it is not there, whose next part the rows will be."""

    out: Address  # type: ignore[assignment]

    @property
    def file(self) -> Path:
        """Where the part waits until it is added."""
        return sibling(_waiting(self.out) / self.out.name, SPARE)

    def prepare(self, table: OutputTable) -> None:
        """As for a directory on this machine."""
        with explained(self.file):
            caches.make_folder(self.file.parent)
        self._check(table)

    def complete(self) -> None:
        """Add the part to the directory."""
        with growing_on_store(self.out, beside=self.file.parent) as growth:
            growth.add(self.file, take=True)
        _drop(self.file)

    def sweep(self) -> None:
        """Drop what a run left that was killed at its very end."""
        if self._is_added():
            _drop(self.file)

    def _directory(self) -> Directory | None:
        return standing(self.out)


def _waiting(out: Address) -> Path:
    """The folder of this user in which an output for a store is made."""
    named = "\n".join([str(out).rstrip("/"), *endpoints()])
    digest = hashlib.sha256(named.encode()).hexdigest()[:_DIGITS]
    return own_folder("XDG_STATE_HOME", ".local/state") / "uploads" / digest


def _drop(file: Path) -> None:
    """Drop what waited, and its folder once nothing else is in it."""
    file.unlink(missing_ok=True)
    with suppress(OSError):
        file.parent.rmdir()
