"""A dataset of several files, read as one: a directory of parts and a manifest (SPEC section 8).

The manifest lists the parts. It is the commit point: parts are whole on the disk before it names
them. It is a Parquet file without rows that sorts last, so that ordinary readers of the directory
see the parts' rows and nothing else. `append` writes it.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.columns import Columns
from dof_arrow.format.file import File, State
from dof_arrow.format.parquet.layout import Fixed
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.part import Kin, Part, compare
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.once import once
from dof_arrow.storage.addresses import Address, Location, on_disk
from dof_arrow.storage.memory_map import OpenFile, Region, Stitched, fills_pages

MANIFEST = "manifest.parquet"
SUFFIX = ".dof"
MANY = 256  # parts: of more, each is opened when it is first used


class Directory(Columns):
    """The parts of a directory as one table.

    A column is one mapped array where no part but the last ends within a page.

    `manifest` is that of the directory, if it is open. Raises UsageError if the manifest is
    missing. Parts are opened when they are asked for.
    """

    def __init__(self, path: Path, manifest: File | None = None) -> None:
        super().__init__()
        self.path = path
        if not (path / MANIFEST).is_file():
            raise UsageError(
                "not a file, and no dataset: a folder without a manifest",
                str(path),
                MANIFEST,
                "none",
            )
        self._take(manifest or File(path / MANIFEST))

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
        folder = on_disk(self.path)
        kin = Kin(self.manifest)
        parts: list[File] = []
        for about in listed:
            part = Part(folder / about.name, about, kin)
            if len(listed) <= MANY:
                part.open()
            parts.append(part)
        return parts

    def check_sizes(self) -> None:
        """Raise UsageError if a part is missing, FormatError if one has another size.

        None is opened.
        """
        folder = on_disk(self.path)
        for about in self.metadata.parts:
            path = os.path.join(folder, about.name)
            try:
                found = os.stat(path).st_size
            except OSError as error:
                raise UsageError(f"cannot be read: {error.strerror}", path) from None
            if found != about.bytes:
                compare(path, (("size", about.bytes, found),))

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
