"""Every check of a file, every problem at once (SPEC appendix A): structure, integrity, metadata, layout, data.

A file is looked at from the outside in. Where something cannot be read, what lies behind it is not looked at; all
else is. Nothing that a file claims makes this take more memory than a small multiple of the file, or 512 MiB.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow import contents, crossfield, footer, integrity, metadata
from dof_arrow.errors import FormatError, Problem
from dof_arrow.footer import ColumnMeta, FileMetaData, RowGroup, Struct, get, items
from dof_arrow.layout import (
    ALIGNMENTS,
    MAX_GROUP_ROWS,
    MAX_GROUPS,
    SMALL_ALIGNMENT,
    Fixed,
    Region,
    Unproved,
    fixed,
    geometry,
    prove,
)
from dof_arrow.metadata import VERSION, Attachment, Json, Metadata
from dof_arrow.place import content_uuid
from dof_arrow.reading import arrow_schema, open_file, parquet_metadata
from dof_arrow.rules import problem
from dof_arrow.schema import KEY

_ARROW = b"ARROW:schema"
_MOST = 1000  # problems told of one file


@dataclass(frozen=True, slots=True)
class _Parts:
    """A file taken apart: its last bytes, the footer in them, where it starts, its keys, and pyarrow's reading."""

    file: int
    size: int
    tail: bytes
    footer: Struct
    keys: dict[bytes, bytes]
    parquet: Any

    @property
    def start(self) -> int:
        """The footer's first byte."""
        return self.size - len(self.tail)


def validate(path: str | os.PathLike[str], deep: bool = False) -> list[Problem]:
    """Every problem of a DoF file, none if it is valid; `deep` also reads every byte.

    A copy that another program rewrote is no valid DoF file: it gets the one problem `derived-copy`, and those of what
    it still says about itself. Raises UsageError if there is no such file.

    >>> validate("no-such.parquet")
    Traceback (most recent call last):
    dof_arrow.errors.UsageError: no-such.parquet: no such file
    """
    found: list[Problem] = []
    with _opened(Path(path)) as file:
        try:
            found.extend(islice(_problems(file, os.fstat(file).st_size, deep, found), _MOST))
        except FormatError as error:
            found.extend(error.problems)
    return [_printable(p) for p in found]


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = open_file(path)
    try:
        yield file
    finally:
        os.close(file)


def _printable(told: Problem) -> Problem:
    texts = {name: getattr(told, name) for name in ("where", "expected", "found")}
    return replace(told, **{k: v[:400].encode("utf-8", "backslashreplace").decode() for k, v in texts.items()})
