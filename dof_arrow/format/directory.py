"""A dataset of several files, read as one: a directory of parts and a manifest (SPEC section 8).

The manifest lists the parts. It is the commit point: parts are whole on the disk before it names
them. It is a Parquet file without rows that sorts last, so that ordinary readers of the directory
see the parts' rows and nothing else. `append` writes it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.columns import Columns
from dof_arrow.format.file import File, State
from dof_arrow.format.parquet.layout import Fixed
from dof_arrow.format.spec.metadata import Metadata, Part
from dof_arrow.storage.memory_map import OpenFile, Region

MANIFEST = "manifest.parquet"
SUFFIX = ".dof"


class Directory(Columns):
    """The parts of a directory as one table.

    A column is one mapped array where no part but the last ends within a page.

    Raises UsageError if the manifest is missing, FormatError if a part is missing, changed or of
    another kind.
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
        self.parts = [_part(path, about, self.manifest) for about in self.manifest.metadata.parts]
        self.rows = sum(part.rows for part in self.parts)

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
        return self.manifest.size + sum(part.size for part in self.parts)

    def places(self, column: Fixed) -> list[tuple[OpenFile, Region]]:
        places: list[tuple[OpenFile, Region]] = []
        for part in self.parts:
            if part.rows:
                places += part.places(column)
        return places

    def views(self, column: Fixed) -> list[np.ndarray]:
        return [view for part in self.parts if part.rows for view in part.views(column)]

    def decoded(self, name: str) -> pa.Array:
        chunks: list[pa.Array] = [pa.array([], self.schema.field(name).type)]
        for part in self.parts:
            found = part.arrow(name)
            chunks += found.chunks if isinstance(found, pa.ChunkedArray) else [found]
        return pa.concat_arrays(chunks)

    def attachment(self, offset: int, length: int) -> bytes:
        """The bytes of an attachment of the manifest."""
        return self.manifest.attachment(offset, length)


def is_directory(path: Path) -> bool:
    """Whether a path names a dataset of several files: by its ending, or because it is one.

    >>> is_directory(Path("lungs.dof")), is_directory(Path("lungs.dof.parquet"))
    (True, False)
    """
    return (path / MANIFEST).is_file() or (path.suffix == SUFFIX and not path.is_file())


def _part(folder: Path, about: Part, manifest: File) -> File:
    """A part, opened; FormatError unless it is what the manifest says."""
    part = File(folder / about.name)
    check_part(part, about, manifest)
    return part


def check_part(part: File, about: Part, manifest: File) -> None:
    """Raise FormatError unless a part is what the manifest says."""
    compared = (
        ("size", about.bytes, part.size),
        ("seal", about.seal, part.seal),
        ("rows", about.rows, part.rows),
    )
    for what, expected, found in compared:
        if expected != found:
            raise FormatError(
                f"a part has another {what} than the manifest says",
                str(part.path),
                str(expected),
                str(found),
                "Restore the part from a backup.",
            )
    if part.state != "sealed" or not part.schema.equals(manifest.schema):
        raise FormatError(
            "a part does not belong to this dataset",
            str(part.path),
            "its seal and columns",
            "others",
            f"See what is wrong: dof validate {manifest.path.parent}",
        )
