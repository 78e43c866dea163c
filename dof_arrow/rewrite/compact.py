"""The many small parts of a directory made few; its rows and their order stay.

The new parts stand beside the old ones until the manifest that lists them replaces the old one, so
whoever kills it at any point leaves one whole dataset.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.format.append import growing
from dof_arrow.format.directory import Directory
from dof_arrow.format.file import File
from dof_arrow.rewrite.merge import check_whole, join_parts, spare_of

USUAL = 256 << 20  # bytes of a part, where nothing is asked for


def compact(
    folder: str | os.PathLike[str], *, rows: int | None = None, bytes: int | None = None
) -> Dataset:
    """Join neighbouring parts of a directory while they hold at most so many rows or bytes.

    By default at most 256 MiB. Vectors are copied as bytes where their row groups fill whole pages,
    else written anew; every byte read is checked against its digest.

    Raises UsageError for a size that cannot be, or what is no directory; FormatError for a damaged
    part; OutputError if another process writes the directory.

    >>> import numpy, tempfile
    >>> from dof_arrow.format.append import append
    >>> from dof_arrow.format.writer import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in "ab":
    ...         with Writer(Path(folder, f"{name}.parquet")) as w:
    ...             w.write(ids=[name], vectors={"feature": numpy.eye(1, dtype="f4")})
    ...         _ = append(Path(folder, "set.dof"), Path(folder, f"{name}.parquet"))
    ...     len(compact(Path(folder, "set.dof")).metadata.parts)
    1
    """
    if rows is not None and bytes is not None:
        raise UsageError("two sizes of a part", str(folder), "rows or bytes", "both")
    most = rows if rows is not None else bytes if bytes is not None else USUAL
    if most < 1:
        raise UsageError("no size of a part", str(folder), "1 or more", str(most))
    path = Path(folder)
    manifest = Directory(path).manifest
    with growing(path, overwrite=True, speaker=manifest) as growth:
        known = Directory(path)  # as it is now that nobody else writes it
        groups = list(_groups(known.parts, most, by_rows=rows is not None))
        for group in groups:
            if len(group) == 1:
                growth.keep(group[0])
                continue
            for part in group:
                check_whole(part)
            with spare_of(growth) as spare:
                join_parts(group, spare)
                growth.add(spare, new_ids=True)
        if len(groups) == len(known.parts):
            growth.leave()
    return dataset.open(path)


def _groups(parts: Sequence[File], most: int, *, by_rows: bool) -> Iterator[list[File]]:
    """Neighbours that together hold no more than is allowed."""
    group: list[File] = []
    held = 0
    for part in parts:
        size = part.rows if by_rows else part.size
        if group and held + size > most:
            yield group
            group = []
            held = 0
        group.append(part)
        held += size
    if group:
        yield group
