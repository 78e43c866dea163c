"""A directory dataset on a store: its manifest is read at once, a part when it is first used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from dof_arrow.format import directory
from dof_arrow.format.columns import Columns
from dof_arrow.format.directory import MANIFEST, Directory
from dof_arrow.format.file import File
from dof_arrow.format.parquet.layout import Fixed
from dof_arrow.format.part import check_part
from dof_arrow.format.remote_file import RemoteFile
from dof_arrow.format.spec.metadata import Part
from dof_arrow.once import once
from dof_arrow.storage.addresses import Address, Location
from dof_arrow.storage.memory_map import Stitched
from dof_arrow.storage.open_files import allow_files
from dof_arrow.storage.remote import together


class RemoteDirectory(Directory):
    """The parts of a directory at an address as one table; errors as `RemoteFile` has them."""

    path: Address
    parts: Sequence[RemotePart]  # type: ignore[assignment]

    def __init__(self, path: Address) -> None:
        Columns.__init__(self)
        self.path = path
        self._take(RemoteFile(path / MANIFEST))
        listed = self.manifest.metadata.parts
        self.parts = [RemotePart(path, about, self.manifest) for about in listed]
        self.rows = sum(part.rows for part in self.parts)
        if len(listed) > directory.MANY:
            allow_files(len(listed))  # each that is used has a copy on this machine, which is open

    @property
    def version(self) -> str:
        """What the store calls the manifest as it was read: its tag."""
        manifest: RemoteFile = self.manifest  # type: ignore[assignment]
        return manifest.version

    @property
    def filled(self) -> list[RemotePart]:
        """The parts that have rows."""
        return [part for part in self.parts if part.rows]

    def remote_files(self) -> list[RemoteFile]:
        """The parts that have rows, opened, many at the same time."""
        filled = self.filled
        list(together(RemotePart.open, filled))
        return list(filled)

    def fetch_column(self, name: str) -> None:
        """Have all segments of a column on this machine, fetched of many parts at the same time."""
        list(together(lambda part: part.fetch_column(name), self.filled))

    def decoded(self, name: str) -> pa.Array:
        """A column of all parts."""
        self.fetch_column(name)
        return super().decoded(name)

    def stitched(self, column: Fixed) -> Stitched | None:
        """None: the parts are fetched one by one."""
        return None


def directory_at(place: Location) -> Directory:
    """A directory on this machine or on a store; raises as these do."""
    return RemoteDirectory(place) if isinstance(place, Address) else Directory(place)


class RemotePart(RemoteFile):
    """A part of a directory on a store; until it is opened it is what the manifest says."""

    def __init__(self, folder: Address, about: Part, manifest: File) -> None:
        Columns.__init__(self)
        self.path = folder / about.name
        self._about = about
        self._manifest = manifest
        self.size = about.bytes
        self.rows = about.rows
        self.seal = about.seal
        self.state = "sealed"
        self.schema = manifest.schema
        self.speaker = manifest
        self._decoded = {}

    def open(self) -> None:
        """Read its footer, if that was not done; FormatError unless it is what was said."""
        _ = self._file

    @once
    def _file(self) -> RemoteFile:
        opened = RemoteFile(self.path)
        check_part(opened, self._about, self._manifest)
        return opened

    def __getattr__(self, name: str) -> Any:
        """What only the opened file knows: its footer and all that stands there."""
        if name.startswith("__") or name == "_file":
            raise AttributeError(name)
        return getattr(self._file, name)
