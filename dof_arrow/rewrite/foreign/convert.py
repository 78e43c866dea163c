"""Vectors of other programs as a DoF file: which of the ways in is meant, by what lies there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.rewrite.foreign import bag_files
from dof_arrow.rewrite.foreign.found import embedding_reader, holds_bags
from dof_arrow.rewrite.foreign.import_file import import_file


class ForeignOptions(TypedDict, total=False):
    """Options of vectors that another program wrote."""

    ids: Literal["pseudonym", "name"]
    id_key: str | os.PathLike[str] | bytes | None
    core: str | None


def may_be_foreign(path: Path) -> bool:
    """Whether what lies at a path looks like vectors of another program, by the names of files."""
    if not path.exists():
        return False
    return holds_bags(path) or embedding_reader(path) is not None


def convert(
    path: Path,
    out: Path,
    *,
    layout: Literal["mapped", "compact"] = "mapped",
    overwrite: bool = False,
    **options: Unpack[ForeignOptions],
) -> Dataset:
    """Write vectors of another program as a DoF file; returns it, opened.

    Raises what `bag_files.convert` and `import_file` raise.
    """
    if holds_bags(path):
        return bag_files.convert(path, out, layout=layout, overwrite=overwrite, **options)
    pair = embedding_reader(path)
    if pair is None or layout != "mapped" or options.get("ids") or options.get("id_key"):
        raise UsageError(
            "arrays without names are written mapped, with numbers as ids",
            str(path),
            "neither layout, ids nor id_key",
            "one of them",
            "Name the column of ids: dof import --table TABLE --key COLUMN",
        )
    vectors, table = pair
    return import_file(vectors, out=out, table=table, core=options.get("core"), overwrite=overwrite)
