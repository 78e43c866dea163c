"""Pictures in a column of Parquet or Arrow files, as Hugging Face `datasets` stores them.

The column holds bytes, or structs of `bytes` and `path`. Names are the paths where all differ, else
row numbers. Files called `train…`, `validation…`, `test…`, or in folders called so, make a column
`split` if there is none. Class names are taken from what `datasets` writes into the schema.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dof_arrow.errors import PictureError, SourceError
from dof_arrow.format.spec.json_model import parsed
from dof_arrow.format.spec.split_names import SPELLINGS, standard_or_own
from dof_arrow.sources import column_files
from dof_arrow.sources.columns import place as column_place
from dof_arrow.sources.columns import places, texts
from dof_arrow.sources.listing import Listing, numbered
from dof_arrow.sources.sample import MAX_FILE_BYTES, Column, file_stamp

# The longest first, or "val" would be found in "valid".
_NAMES = "|".join(sorted(SPELLINGS, key=len, reverse=True))
_SPLIT = re.compile(rf"(?:^|/)({_NAMES})(?![a-z])", re.IGNORECASE)
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture in a row of a file."""

    path: Path
    column: str
    group: int
    row: int

    def read(self) -> bytes:
        """Its bytes; PictureError where there are none, or too many."""
        with _lock:  # so that one thread unpacks a group and the others find it
            stamp = file_stamp(self.path)
            group = column_files.group(self.path, stamp, self.column, self.group)
            value = group[self.row]
        value = _of_dictionary(value)
        if pa.types.is_struct(value.type) and value.is_valid:
            value = _of_dictionary(value["bytes"])
        if not value.is_valid:
            raise PictureError("no bytes in the row", rule="missing")
        if len(value.as_buffer()) > MAX_FILE_BYTES:
            raise PictureError(
                "the picture is too large", "", f"at most {MAX_FILE_BYTES} bytes", rule="too-large"
            )
        data: bytes = value.as_py()
        return data

    def stamp(self) -> tuple[int, ...]:
        """Its place, and the file's size and time."""
        return self.group, self.row, *file_stamp(self.path)


class RowGroup(NamedTuple):
    """A row group: which of the files it lies in, its number there, and how many rows it has."""

    file: int
    number: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells(Listing):
    """Pictures in a column, in the order of files and rows.

    `starts` has the place of each row group's first picture. `shown` are the names of the files,
    below the folder that was given.
    """

    paths: tuple[Path, ...]
    shown: tuple[str, ...]
    column: str
    groups_of: tuple[RowGroup, ...]
    starts: Any

    def stored(self, key: str, place: int) -> Cell:
        """One of the pictures."""
        index = int(np.searchsorted(self.starts, place, "right")) - 1
        group = self.groups_of[index]
        row = place - int(self.starts[index])
        return Cell(self.paths[group.file], self.column, group.number, row)

    def files(self) -> Iterator[Path]:
        """The files."""
        yield from self.paths

    def cells(self, names: Sequence[str]) -> dict[str, Column]:
        """Columns beside the pictures; lists as lists of texts."""
        splits = self._splits_by_file()
        header = list(column_files.schema(self.paths[0]).names)
        if splits is not None:
            header.append("split")
        places(names, header, self.paths[0])
        found: dict[str, Column] = {}
        for name in names:
            if splits is None or name != "split":
                found[name] = self._texts(name)
        if splits is not None and "split" in names:
            found["split"] = self._by_row(splits)
        return found

    def classes(self, name: str) -> tuple[str, ...]:
        """Class names as `datasets` writes them into the schema."""
        return class_names(column_files.schema(self.paths[0]), name)

    def _splits_by_file(self) -> list[str] | None:
        """The split of each file, by its name; None where there is a column of that name."""
        if "split" in column_files.schema(self.paths[0]).names:
            return None
        told = [_SPLIT.search(name) for name in self.shown]
        splits = [standard_or_own(match[1]) for match in told if match]
        return splits if len(splits) == len(told) else None

    def _by_row(self, values: Sequence[str]) -> Column:
        """Texts of files as texts of their rows."""
        of_group = [values[group.file] for group in self.groups_of]
        rows = [group.rows for group in self.groups_of]
        return pa.array(np.repeat(of_group, rows), pa.string())

    def _texts(self, name: str) -> Column:
        columns = [column_files.column(path, name) for path in self.paths]
        return texts(_chained(columns, columns[0].type), self.paths[0], name)


def class_names(schema: Any, name: str) -> tuple[str, ...]:
    """The class names of a column as `datasets` writes them into a schema; none if it does not."""
    metadata = schema.metadata or {}
    try:
        features = parsed(metadata[b"huggingface"])["info"]["features"]
        about = features[name]
        about = about.get("feature", about)
        if about.get("_type") == "ClassLabel":
            return tuple(map(str, about["names"]))
    except (KeyError, ValueError, TypeError, AttributeError):
        pass  # a stranger's metadata: whatever is not as `datasets` writes it names no classes
    return ()


def open_columns(root: Path, names: Sequence[str], pictures: str | None = None) -> Cells:
    """The pictures in a column of Parquet or Arrow files `names` under `root`, in that order.

    `pictures` names the column where several could be meant. Raises SourceError for files that are
    damaged, differ in their columns or hold no pictures, UsageError for a column that is not there.
    """
    paths = [root / name for name in names]
    with _explained(root):
        schema = column_files.schema(paths[0])
        column = _chosen(schema, pictures, paths[0])
        _check_alike(paths, schema)
        groups = []
        for file, path in enumerate(paths):
            for number, rows in column_files.groups(path):
                groups.append(RowGroup(file, number, rows))
        starts = np.cumsum([0, *(group.rows for group in groups)])
        return Cells(
            names=_names(paths, column, schema, int(starts[-1])),
            paths=tuple(paths),
            shown=tuple(names),
            column=column,
            groups_of=tuple(groups),
            starts=starts[:-1],
            counts={"ignored": 0},
        )


@contextmanager
def _explained(root: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError):
        raise SourceError(
            "the file cannot be read as Parquet or Arrow", str(root), hint="Write it again."
        ) from None


def _check_alike(paths: Sequence[Path], schema: Any) -> None:
    for path in paths[1:]:
        names = column_files.schema(path).names
        if names != schema.names:
            raise SourceError(
                "files of different columns",
                str(path),
                ", ".join(schema.names),
                ", ".join(names),
                "Give one of the files.",
            )


def _chosen(schema: Any, asked: str | None, path: Path) -> str:
    likely = [str(field.name) for field in schema if _holds_pictures(field.type)]
    if asked is not None:
        return likely[column_place(asked, likely, path)]
    if len(likely) == 1:
        return likely[0]
    if likely:
        what = "several columns could be the pictures"
        hint = f"Choose with --pictures {likely[0]}"
    else:
        what = "no column of pictures"
        hint = "As a table beside pictures, give it with --table."
    raise SourceError(
        what,
        str(path),
        "a column of bytes, or of structs of bytes and path",
        ", ".join(likely or schema.names),
        hint,
    )


def _of_dictionary(value: Any) -> Any:
    """The value that a dictionary-encoded one stands for."""
    return value.value if pa.types.is_dictionary(value.type) else value


def _holds_pictures(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_pictures(kind.value_type)
    if pa.types.is_struct(kind):
        return _has_field(kind, "bytes") and _holds_pictures(kind.field("bytes").type)
    binaries = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(is_kind(kind) for is_kind in binaries)


def _has_field(kind: Any, name: str) -> bool:
    return any(field.name == name for field in kind)


def _names(paths: Sequence[Path], column: str, schema: Any, rows: int) -> Column:
    """The paths beside the pictures where all differ, else row numbers."""
    kind = schema.field(column).type
    if pa.types.is_struct(kind) and _has_field(kind, "path"):
        parts = [column_files.field(path, column, "path") for path in paths]
        names = _chained(parts, pa.large_string()).combine_chunks()
        # Paths may be missing or stand twice, as where each split has an image `0.png`.
        if not names.null_count and len(names.unique()) == rows:
            return names
    return numbered(rows)


def _chained(columns: Sequence[Any], kind: Any) -> Any:
    """The chunks of some columns as one column."""
    chunks = [chunk for column in columns for chunk in column.chunks]
    return pa.chunked_array(chunks, kind)
