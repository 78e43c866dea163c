"""A file whose statistics are false, with true ones: only its footer is written anew (SPEC 6.8).

Data are copied as bytes. Only columns with statistics are decoded, which vectors do not have.
"""

from __future__ import annotations

import os
from pathlib import Path

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.format.directory import is_directory
from dof_arrow.format.file import File
from dof_arrow.format.parquet.footer import (
    STRUCT,
    Chunk,
    ColumnMeta,
    FileMetaData,
    RowGroup,
    Struct,
    get,
    items,
)
from dof_arrow.format.parquet.statistics import of_values
from dof_arrow.format.spec.json_diff import Change
from dof_arrow.format.statistics_anew import Stated, stated_chunks
from dof_arrow.rewrite.edit import EditPlan, carry_out
from dof_arrow.rewrite.edit_check import editable_footer

PathLike = str | os.PathLike[str]


def mend_statistics(path: PathLike, *, drop_signature: bool = False) -> Dataset:
    """Put true statistics in the place of false ones; returns the file, opened.

    Those of nested columns are left out. A file whose statistics are true is left as it is. Raises
    as `planned` does, and OutputError if the new file cannot be written.

    >>> import numpy, tempfile
    >>> from dof_arrow.format.writer import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.dof.parquet")) as w:
    ...         w.write(ids=["a"], vectors={"feature": numpy.eye(1, dtype="f4")})
    ...     len(mend_statistics(Path(folder, "x.dof.parquet")))
    1
    """
    return carry_out(planned(path, drop_signature=drop_signature))


def planned(path: PathLike, *, drop_signature: bool = False) -> EditPlan:
    """What would be mended, in `changes`; nothing is written.

    Raises UsageError for a directory, FormatError for a file that is not whole or cannot be
    decoded, OutputError if it is signed and `drop_signature` is not given.
    """
    given = Path(os.path.realpath(path))
    if is_directory(given) or given.is_dir():
        raise UsageError(
            "the statistics of a file are mended, not those of a directory",
            str(path),
            "FILE.parquet",
            "a directory",
            f"Write it anew: dof convert {path} -o NEW.dof",
        )
    source = File(given)
    struct = editable_footer(source, drop_signature=drop_signature)
    changes = []
    for column in source.schema.names:
        for stated in stated_chunks(source.outline, source.decoded_groups, column):
            found = list(stated.problems())
            for told in found:
                changes.append(Change(where=told.where, old=told.found, new=told.expected))
            if found:
                _mend(struct, stated)
    documents = source.json.get("documents", [])
    return EditPlan(
        source=source, footer=struct, value=source.json, documents=documents, changes=changes
    )


def _mend(struct: Struct, stated: Stated) -> None:
    """Replace the statistics of a chunk by those that its values have; nested ones go."""
    group = items(struct, FileMetaData.GROUPS)[stated.group]
    meta = get(items(group, RowGroup.COLUMNS)[stated.leaf], Chunk.META)
    made = of_values(stated.values)
    if made is None:
        del meta[ColumnMeta.STATISTICS]
    else:
        meta[ColumnMeta.STATISTICS] = (STRUCT, made)
