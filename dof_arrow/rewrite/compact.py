"""The many small parts of a directory made few.

Rows that came with one part tell that they came together. Where parts have their rows in the order
of pseudonyms, all are sorted again, so that the new parts are ranges of pseudonyms; else the order
stays.

The new parts stand beside the old ones until the manifest that lists them replaces the old one, so
whoever kills it at any point leaves one whole dataset.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.format.append import Growth, growing
from dof_arrow.format.file import File
from dof_arrow.format.remote_directory import directory_at
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.carry import write_rows
from dof_arrow.rewrite.merge import (
    about_parts,
    attach_all,
    check_whole,
    errors_of,
    join_parts,
    layout_of,
    pseudonym_order,
    spare_of,
)
from dof_arrow.storage.addresses import Address, location
from dof_arrow.tables.selection import files

USUAL = 256 << 20  # bytes of a part, where nothing is asked for


def compact(
    folder: str | os.PathLike[str] | Address,
    *,
    rows: int | None = None,
    bytes: int | None = None,
) -> Dataset:
    """Join neighbouring parts of a directory while they hold at most so many rows or bytes.

    By default at most 256 MiB. Rows in the order of pseudonyms are sorted again over all parts, and
    written anew. Of others vectors are copied as bytes where their row groups fill whole pages.
    Every byte read is checked against its digest.

    Raises UsageError for a size that cannot be, or what is no directory; FormatError for a damaged
    part; OutputError if another process writes the directory.

    >>> import numpy, tempfile
    >>> from pathlib import Path
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
    path = location(folder)
    manifest = directory_at(path).manifest
    by_rows = rows is not None
    with growing(path, overwrite=True, speaker=manifest) as growth:
        known = directory_at(path)  # as it is now that nobody else writes it
        opened = [Dataset(part, slice(0, part.rows)) for part in known.parts]
        whole, _ = dataset.union(opened, once=False)
        order = pseudonym_order(opened, whole)
        if order is None:
            _join(known.parts, list(_groups(known.parts, most, by_rows=by_rows)), growth)
        else:
            size = sum(part.size for part in known.parts)
            step = most if by_rows else max(most * len(whole) // size, 1)
            _sort(opened, whole.take(order), step, growth)
    return dataset.open(path)


def _sort(opened: Sequence[Dataset], rows: Dataset, step: int, growth: Growth) -> None:
    """Write sorted rows as parts of so many rows; errors and documents stand in the first."""
    for part in opened:
        for file in files(part.table):
            check_whole(file)
    about, errors = about_parts(opened), errors_of(opened)
    schema = rows.schema.remove_metadata()
    layout = layout_of(opened[0].metadata)
    for start in range(0, len(rows), step):
        with spare_of(growth) as spare:
            with Writer(spare, about, schema=schema, layout=layout, part=True) as writer:
                if start == 0:
                    attach_all(writer, errors, opened)
                write_rows(writer, rows[start : start + step], schema)
            growth.add(spare, new_ids=True)


def _join(parts: Sequence[File], groups: Sequence[Sequence[File]], growth: Growth) -> None:
    for group in groups:
        if len(group) == 1:
            growth.keep(group[0])
            continue
        for part in group:
            check_whole(part)
        with spare_of(growth) as spare:
            join_parts(group, spare)
            growth.add(spare, new_ids=True)
    if len(groups) == len(parts):
        growth.leave()


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
