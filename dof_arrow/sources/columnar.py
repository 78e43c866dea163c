"""Pictures in a column of Parquet or Arrow files, as Hugging Face `datasets` stores them, beside their labels.

The column holds bytes, or structs of `bytes` and `path`. Names are the paths where all differ, else row numbers. Files
called `train…`, `validation…`, `test…`, or in folders called so, make a column `split` if there is none. Class names
are taken from what `datasets` writes into the schema.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import PictureError, SourceError
from dof_arrow.sources.listing import SPLITS, Listing, numbered
from dof_arrow.sources.sample import MAX_FILE_BYTES, Column, file_stamp
from dof_arrow.sources.table import place as column_place
from dof_arrow.sources.table import texts

MAX_GROUP_BYTES = 2 << 30
_CACHED = 4  # row groups of pictures held in memory: neighbours are asked for together
_SPLIT = re.compile(rf"(?:^|/)({'|'.join(sorted(SPLITS, key=len, reverse=True))})(?![a-z])")
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture in a row of a file."""

    path: Path
    column: str
    group: int
    row: int

    def read(self) -> bytes:
        """Its bytes; PictureError where there are none."""
        with _lock:  # so that one thread unpacks a group and the others find it
            value = _group(self.path, file_stamp(self.path), self.column, self.group)[self.row]
        value = value["bytes"] if pa.types.is_struct(value.type) and value.is_valid else value
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells(Listing):
    """Pictures in a column, in the order of files and rows; `groups_of` lists each row group's file, number and rows."""

    paths: tuple[Path, ...]
    shown: tuple[str, ...]
    column: str
    groups_of: tuple[tuple[int, int, int], ...]
    starts: Any

    def stored(self, key: str, place: int) -> Cell:
        """One of the pictures."""
        number = int(np.searchsorted(self.starts, place, "right")) - 1
        file, group, _ = self.groups_of[number]
        return Cell(self.paths[file], self.column, group, place - int(self.starts[number]))

    def files(self) -> Iterator[Path]:
        """The files."""
        yield from self.paths

    def cells(self, names: Sequence[str]) -> dict[str, Column]:
        """Columns beside the pictures; lists as lists of texts."""
        told = [_SPLIT.search(name) for name in self.shown]
        own = _schema(self.paths[0]).names
        virtual = ["split"] if "split" not in own and all(told) else []
        for name in names:
            column_place(name, [*own, *virtual], self.paths[0])
        found = {name: self._texts(name) for name in names if name not in virtual}
        if "split" in names and virtual:
            rows = [
                SPLITS[match[1]] if match else ""
                for match in (told[file] for file, _, _ in self.groups_of)
            ]
            found["split"] = pa.array(
                np.repeat(rows, [count for _, _, count in self.groups_of]), pa.string()
            )
        return found

    def classes(self, name: str) -> tuple[str, ...]:
        """Class names as `datasets` writes them into the schema."""
        try:
            about = json.loads((_schema(self.paths[0]).metadata or {})[b"huggingface"])["info"][
                "features"
            ][name]
            about = about.get("feature", about)
            return tuple(map(str, about["names"])) if about.get("_type") == "ClassLabel" else ()
        except (KeyError, ValueError, TypeError, AttributeError):
            return ()

    def _texts(self, name: str) -> Column:
        columns = [_column(path, name) for path in self.paths]
        joined = pa.chunked_array(
            [chunk for column in columns for chunk in column.chunks], columns[0].type
        )
        if pa.types.is_list(joined.type) or pa.types.is_large_list(joined.type):
            return joined.combine_chunks().cast(pa.list_(pa.string()))
        return texts(joined, self.paths[0], name)


def open_columns(root: Path, names: Sequence[str], pictures: str | None = None) -> Cells:
    """The pictures in a column of Parquet or Arrow files `names` under `root`, in that order.

    `pictures` names the column where several could be meant. Raises SourceError for files that are damaged, differ in
    their columns or hold no pictures.
    """
    paths = [root / name for name in names]
    with _explained(root):
        schema = _schema(paths[0])
        column = _chosen(schema, pictures, paths[0])
        for path in paths[1:]:
            if _schema(path).names != schema.names:
                raise SourceError(
                    "files of different columns",
                    str(path),
                    ", ".join(schema.names),
                    ", ".join(_schema(path).names),
                    "Give one of the files.",
                )
        groups = tuple(
            (file, group, rows) for file, path in enumerate(paths) for group, rows in _groups(path)
        )
        starts = np.cumsum([0, *(rows for _, _, rows in groups)])
        return Cells(
            names=_names(paths, column, schema, int(starts[-1])),
            paths=tuple(paths),
            shown=tuple(names),
            column=column,
            groups_of=groups,
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


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


@lru_cache(64)
def _schema_at(path: Path, stamp: tuple[int, int]) -> Any:
    if _is_parquet(path):
        import pyarrow.parquet as pq

        return pq.read_schema(path)
    return _arrow(path).schema


def _schema(path: Path) -> Any:
    return _schema_at(path, file_stamp(path))


def _arrow(path: Path) -> Any:
    """An Arrow file or stream, mapped."""
    source = pa.memory_map(str(path))
    magic = source.read(6)
    source.seek(0)
    return (pa.ipc.open_file if magic == b"ARROW1" else pa.ipc.open_stream)(source).read_all()


def _chosen(schema: Any, asked: str | None, path: Path) -> str:
    likely = [f.name for f in schema if _holds_pictures(f.type)]
    if asked is not None:
        return str(likely[column_place(asked, likely, path)])
    if len(likely) != 1:
        what = "several columns could be the pictures" if likely else "no column of pictures"
        hint = (
            f"Choose with --pictures {likely[0]}"
            if likely
            else "As a table beside pictures, give it with --table."
        )
        raise SourceError(
            what,
            str(path),
            "a column of bytes, or of structs of bytes and path",
            ", ".join(likely or schema.names),
            hint,
        )
    return str(likely[0])


def _holds_pictures(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return "bytes" in (f.name for f in kind) and _holds_pictures(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _groups(path: Path) -> Iterator[tuple[int, int]]:
    """The rows of each group of a file."""
    if not _is_parquet(path):
        yield 0, len(_arrow(path))
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            if group.total_byte_size > MAX_GROUP_BYTES:
                raise SourceError(
                    "a row group is too large to hold in memory",
                    str(path),
                    f"{MAX_GROUP_BYTES} bytes",
                    str(group.total_byte_size),
                    "Write it again with smaller row groups.",
                )
            yield number, group.num_rows


@lru_cache(_CACHED)
def _group(path: Path, stamp: tuple[int, int], column: str, group: int) -> Any:
    """The pictures of one row group."""
    if not _is_parquet(path):
        return _arrow(path)[column]
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, [column], use_threads=False)[column]


def _column(path: Path, name: str) -> Any:
    if not _is_parquet(path):
        return _arrow(path)[name]
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read([name])[name]


def _names(paths: Sequence[Path], column: str, schema: Any, rows: int) -> Column:
    kind = schema.field(column).type
    if pa.types.is_struct(kind) and "path" in (f.name for f in kind):
        inner = f"{column}.path"
        parts = [chunk for path in paths for chunk in _path_column(path, column, inner).chunks]
        names = pa.chunked_array(parts, pa.large_string()).combine_chunks()
        if not names.null_count and len(names.unique()) == rows:
            return names
    return numbered(rows)


def _path_column(path: Path, column: str, inner: str) -> Any:
    import pyarrow.compute as pc

    if _is_parquet(path):
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            values = file.read([inner])[column]
    else:
        values = _arrow(path)[column]
    return pc.struct_field(values, "path").cast(pa.large_string())
