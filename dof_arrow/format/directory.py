"""A dataset of several files, read as one: a directory of parts and a manifest (SPEC section 8).

The manifest lists the parts. It is the commit point: parts are whole on the disk before it names
them. It is a Parquet file without rows that sorts last, so that ordinary readers of the directory
see the parts' rows and nothing else. `append` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.columns import Columns
from dof_arrow.format.file import File, State
from dof_arrow.format.parquet.layout import Fixed
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.spec.metadata import Metadata, Part
from dof_arrow.once import once
from dof_arrow.storage.addresses import Address, Location, on_disk
from dof_arrow.storage.memory_map import OpenFile, Region, Stitched, fills_pages

MANIFEST = "manifest.parquet"
SUFFIX = ".dof"
MANY = 256  # parts: of more, each is opened when it is first used
_KNOWN_LATE = ("tail", "footer_start", "parquet", "json", "_kept")  # by the opened file alone


class Directory(Columns):
    """The parts of a directory as one table.

    A column is one mapped array where no part but the last ends within a page.

    Raises UsageError if the manifest is missing. Parts are opened when they are asked for.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        if not (path / MANIFEST).is_file():
            raise UsageError(
                "not a file, and no dataset: a folder without a manifest",
                str(path),
                MANIFEST,
                "none",
            )
        self._take(File(path / MANIFEST))

    @once
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.metadata.parts)

    @once
    def parts(self) -> list[File]:
        """The parts, opened, or of very many to be opened when they are first used.

        Raises FormatError if one is changed or of another kind.
        """
        listed = self.metadata.parts
        made = LatePart if len(listed) > MANY else _part
        return [made(on_disk(self.path), about, self.manifest) for about in listed]

    def check_sizes(self) -> None:
        """Raise UsageError if a part is missing, FormatError if one has another size.

        None is opened.
        """
        for about in self.metadata.parts:
            path = on_disk(self.path) / about.name
            try:
                found = path.stat().st_size
            except OSError as error:
                raise UsageError(f"cannot be read: {error.strerror}", str(path)) from None
            _compare(path, (("size", about.bytes, found),))

    def _take(self, manifest: File) -> None:
        self.manifest = manifest
        self.schema: pa.Schema = manifest.schema

    @property
    def metadata(self) -> Metadata:
        """The manifest's metadata, which speaks for the whole."""
        return self.manifest.metadata

    @property
    def state(self) -> State:
        """`sealed` only where the manifest is; the parts' seals are those that it lists."""
        return self.manifest.state

    @property
    def seal(self) -> str | None:
        """The manifest's seal, which covers the parts' seals."""
        return self.manifest.seal

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.manifest.size + sum(part.bytes for part in self.metadata.parts)

    def places(self, column: Fixed) -> list[tuple[OpenFile, Region]]:
        places: list[tuple[OpenFile, Region]] = []
        for part in self._filled:
            places += part.places(column)
        return places

    def _stitch(self, column: Fixed) -> Stitched | None:
        # Most directories end here: to prove thousands of parts for nothing takes long.
        if len(self._filled) > 1 and not _fills_pages(self._filled[0], column):
            return None
        return super()._stitch(column)

    @property
    def _filled(self) -> list[File]:
        """The parts that have rows."""
        return [part for part in self.parts if part.rows]

    def views(self, column: Fixed) -> list[np.ndarray]:
        return [view for part in self._filled for view in part.views(column)]

    def decoded(self, name: str) -> pa.Array:
        chunks: list[pa.Array] = [pa.array([], self.schema.field(name).type)]
        for part in self.parts:
            found = part.arrow(name)
            chunks += found.chunks if isinstance(found, pa.ChunkedArray) else [found]
        return pa.concat_arrays(chunks)

    def attachment(self, offset: int, length: int) -> bytes:
        """The bytes of an attachment of the manifest."""
        return self.manifest.attachment(offset, length)


def is_directory(path: Location) -> bool:
    """Whether a path names a dataset of several files: by its ending, or because it is one.

    An address does by its ending, `.dof` or a slash.

    >>> is_directory(Path("lungs.dof")), is_directory(Path("lungs.dof.parquet"))
    (True, False)
    >>> is_directory(Address("s3://bucket/lungs/"))
    True
    """
    if isinstance(path, Address):
        return path.suffix == SUFFIX or str(path).endswith("/")
    return (path / MANIFEST).is_file() or (path.suffix == SUFFIX and not path.is_file())


def _fills_pages(part: File, column: Fixed) -> bool:
    """Whether a column of another part can be mapped behind that of this one."""
    try:
        return all(map(fills_pages, part.regions(column)))
    except Unproved:
        return False


def _part(folder: Path, about: Part, manifest: File) -> File:
    """A part, opened; FormatError unless it is what the manifest says."""
    part = File(folder / about.name)
    check_part(part, about, manifest)
    part.speaker = manifest
    return part


class LatePart(File):
    """A part of a directory; until something else is asked of it, it is what the manifest says."""

    def __init__(self, folder: Path, about: Part, manifest: File) -> None:
        Columns.__init__(self)
        self.path = folder / about.name
        self._folder = folder
        self._about = about
        self.size = about.bytes
        self.rows = about.rows
        self.seal = about.seal
        self.state = "sealed"
        self.schema = manifest.schema
        self.speaker = manifest
        self._decoded = {}
        self._opening = Lock()

    def __getattr__(self, name: str) -> Any:
        """What only the opened file knows. Raises FormatError unless it is what was said."""
        if name not in _KNOWN_LATE:
            raise AttributeError(name)
        with self._opening:
            if name not in self.__dict__:
                assert self.speaker is not None
                opened = _part(self._folder, self._about, self.speaker)
                self.__dict__.update({each: getattr(opened, each) for each in _KNOWN_LATE})
        return self.__dict__[name]


def check_part(part: File, about: Part, manifest: File) -> None:
    """Raise FormatError unless a part is what the manifest says."""
    compared = (
        ("size", about.bytes, part.size),
        ("seal", about.seal, part.seal),
        ("rows", about.rows, part.rows),
    )
    _compare(part.path, compared)
    if part.state != "sealed" or not part.schema.equals(manifest.schema):
        raise FormatError(
            "a part does not belong to this dataset",
            str(part.path),
            "its seal and columns",
            "others",
            f"See what is wrong: dof validate {manifest.path.parent}",
        )


def _compare(path: Location, compared: Iterable[tuple[str, object, object]]) -> None:
    """Raise FormatError where the manifest says of a part what was not found."""
    for what, expected, found in compared:
        if expected != found:
            raise FormatError(
                f"a part has another {what} than the manifest says",
                str(path),
                str(expected),
                str(found),
                "Restore the part from a backup.",
            )
