"""Columns of Parquet and Arrow files, read a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow.errors import SourceError
from dof_arrow.sources.sample import file_stamp

MAX_GROUP_BYTES = 2 << 30
_CACHED = 4  # row groups of pictures held in memory: neighbours are asked for together


def schema(path: Path) -> Any:
    """The Arrow schema of a file; read anew when the file has changed."""
    return _schema_at(path, file_stamp(path))


def groups(path: Path) -> Iterator[tuple[int, int]]:
    """The number and the rows of each row group; an Arrow file is one group.

    Raises SourceError for a group that is too large to hold in memory.
    """
    if not _is_parquet(path):
        yield 0, len(_arrow(path))
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            about = file.metadata.row_group(number)
            if about.total_byte_size > MAX_GROUP_BYTES:
                raise SourceError(
                    "a row group is too large to hold in memory",
                    str(path),
                    f"{MAX_GROUP_BYTES} bytes",
                    str(about.total_byte_size),
                    "Write it again with smaller row groups.",
                )
            yield number, about.num_rows


@lru_cache(_CACHED)
def group(path: Path, stamp: tuple[int, int], column: str, number: int) -> Any:
    """A column of one row group; `stamp` is the file's, so that a change is noticed."""
    if not _is_parquet(path):
        return _arrow(path)[column]
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(number, [column], use_threads=False)[column]


def column(path: Path, name: str) -> Any:
    """A whole column."""
    if not _is_parquet(path):
        return _arrow(path)[name]
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read([name])[name]


def field(path: Path, column: str, name: str) -> Any:
    """One field of a column of structs, as large strings; the other fields are left unread."""
    import pyarrow.compute as pc

    if _is_parquet(path):
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            values = file.read([f"{column}.{name}"])[column]
    else:
        values = _arrow(path)[column]
    return pc.struct_field(values, name).cast(pa.large_string())


@lru_cache(64)
def _schema_at(path: Path, stamp: tuple[int, int]) -> Any:
    if not _is_parquet(path):
        return _arrow(path).schema
    import pyarrow.parquet as pq

    return pq.read_schema(path)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _arrow(path: Path) -> Any:
    """An Arrow file or stream, mapped."""
    source = pa.memory_map(str(path))
    magic = source.read(6)
    source.seek(0)
    if magic == b"ARROW1":
        return pa.ipc.open_file(source).read_all()
    return pa.ipc.open_stream(source).read_all()
