"""Datasets of files with vectors: Parquet, .npy, .npz, .safetensors, alone or beside a table."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.cores.core import Core
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import PictureError, SourceError, UsageError
from dof_arrow.rewrite.foreign.arrays import write
from dof_arrow.rewrite.foreign.frames import OwnColumns, Survival, read
from dof_arrow.rewrite.foreign.safetensors_file import safe_arrays
from dof_arrow.rewrite.foreign.vector_chunks import Array, of_array, of_lists
from dof_arrow.sources import table as tables
from dof_arrow.sources.array_files import read_arrays
from dof_arrow.sources.asked import named, parted
from dof_arrow.sources.columns import places

PathLike = str | os.PathLike[str]

_ARRAYS = (".npy", ".npz", ".safetensors")
# What libraries raise at damaged files.
_UNREADABLE = (
    ValueError,
    EOFError,
    OSError,
    KeyError,
    RuntimeError,
    MemoryError,
    TokenError,  # of the header of an .npy file, which is Python's
    zipfile.BadZipFile,
    zlib.error,
)
_TABLES = (".parquet", ".arrow", ".feather")


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """The vectors of some files: how many, and they themselves, some rows at a time."""

    rows: int
    chunks: Iterable[Array]


def import_file(
    source: PathLike,
    *,
    out: PathLike,
    vector: str | None = None,
    table: PathLike | None = None,
    key: str | None = None,
    split: str | None = None,
    core: str | Core | None = None,
    overwrite: bool = False,
    record: Mapping[str, str] | None = None,
    survival: Survival | None = None,
    **options: Any,
) -> Dataset:
    """Write vectors that stand in files as a DoF file; returns it, opened.

    - `source`: a Parquet or Arrow file with a column of lists, an .npy, .npz or .safetensors file,
      or a folder of files of one of these kinds, which are taken in the order of the numbers in
      their names.
    - `vector`: the column or the array, where several could be meant.
    - `table`: a table, or a folder of Parquet files, whose rows stand in the order of the vectors;
      by default the columns beside them.
    - `key`: the column of ids, each once; by default rows are numbered.
    - `split`, `record`, `survival`, `options`: columns of the table, as `from_pandas` takes them.
    - `core`: what made the vectors: a name that is noted, or a `Core`.

    Raises SourceError for files that cannot be read and rows that cannot be stored, UsageError for
    columns that are not there.
    """
    files = _files(Path(source), (*_ARRAYS, *_TABLES))
    suffix = files[0].suffix.lower()
    if suffix in _TABLES:
        name = _vector_column(files, vector)
        vectors = _of_tables(files, name)
        beside = files if table is None else _files(Path(table), _TABLES, any_file=True)
    else:
        vectors = _of_arrays(files, vector)
        beside = [] if table is None else _files(Path(table), _TABLES, any_file=True)
        name = ""
    own = OwnColumns(record=record or {}, survival=survival or {})
    wanted = _wanted(key, split, options, own)
    columns = _columns(beside, wanted, options.get("encoding"), vectors.rows)
    left_out = [each for each in _header(beside) if each not in (*wanted, name)]
    where = Path(beside[0] if beside else source)
    known = read(columns, where, key, split, options, left_out, own)
    return write(
        vectors.chunks, known, Path(out), where=str(source), core=core, overwrite=overwrite
    )


def from_parquet(path: PathLike, *, vector: str, **options: Any) -> Dataset:
    """Write a Parquet file, or a folder of them, with a column of lists as a DoF file.

    The options are those of `import_file`. Source of the usual layouts: `img2dataset` and
    `clip-retrieval`, which write .npy files beside Parquet files.
    """
    return import_file(path, vector=vector, **options)


def _files(path: Path, suffixes: Sequence[str], *, any_file: bool = False) -> list[Path]:
    """The files that are meant, those of a folder in the order of the numbers in their names."""
    if not path.exists():
        raise SourceError("no such file or folder", str(path))
    if path.is_file():
        if path.suffix.lower() not in suffixes and not any_file:
            raise SourceError(
                "not a file of vectors",
                str(path),
                ", ".join(suffixes),
                path.suffix,
                "HDF5, .pt and .tar of bags: dof convert SOURCE OUT.parquet",
            )
        return [path]
    found = [file for file in path.rglob("*") if file.suffix.lower() in suffixes]
    kinds = sorted({file.suffix.lower() for file in found})
    if len(kinds) != 1:
        raise SourceError(
            "a folder of files of one kind is needed",
            str(path),
            " or ".join(suffixes),
            " and ".join(kinds) or "none",
            "Give the folder of the vectors, and that of the tables with --table.",
        )
    return sorted(found, key=lambda file: _counted(file.relative_to(path).as_posix()))


def _counted(name: str) -> list[tuple[int, int | str]]:
    """A name such that `emb_10` comes after `emb_9`."""
    parts = re.split("([0-9]+)", name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


# Arrays


def _of_arrays(files: Sequence[Path], wanted: str | None) -> Vectors:
    arrays = [_array(file, wanted) for file in files]
    for file, array in zip(files, arrays, strict=True):
        if array.ndim < 2:
            shape = ", ".join(map(str, array.shape))
            raise SourceError("no vectors", str(file), "an array [n, D]", f"[{shape}]")
    return Vectors(rows=sum(map(len, arrays)), chunks=_chained(arrays))


def _chained(arrays: Sequence[Array]) -> Iterator[Array]:
    """All arrays, some rows at a time; narrow and wide floats meet in the wider type."""
    is_narrow = [array.dtype.kind == "f" and array.dtype.itemsize == 2 for array in arrays]
    widen = any(is_narrow) and not all(is_narrow)
    for array in arrays:
        for chunk in of_array("feature", array):
            yield chunk.astype(np.float32) if widen and chunk.dtype.itemsize == 2 else chunk


def _array(file: Path, wanted: str | None) -> Array:
    try:
        if file.suffix.lower() == ".npy":
            return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
        if file.suffix.lower() == ".npz":
            arrays = read_arrays(file)  # within bounds: an archive may unpack to anything
            chosen = arrays[_chosen(file, list(arrays), wanted)]
            return chosen.rows(0, chosen.shape[0] if chosen.shape else 0)
        held = safe_arrays(file)
        return held[_chosen(file, list(held), wanted)].values()
    except (PictureError, *_UNREADABLE) as error:
        raise SourceError("the file cannot be read", str(file), found=str(error)[:200]) from None


def _chosen(file: Path, names: Sequence[str], wanted: str | None) -> str:
    if wanted is not None:
        return names[places([wanted], list(names), file)[wanted]]
    if not names:
        raise SourceError("no array in the file", str(file), "an array [n, D]", "none")
    if len(names) > 1:
        raise UsageError(
            "several arrays could be the vectors",
            str(file),
            "--vector NAME",
            ", ".join(names),
            f"Name it: dof import {file} --vector {names[0]}",
        )
    return names[0]


# Tables


def _vector_column(files: Sequence[Path], wanted: str | None) -> str:
    from dof_arrow.sources import column_files

    schema = column_files.schema(files[0])
    likely = [field.name for field in schema if _is_list(field.type)]
    if wanted is not None:
        places([wanted], schema.names, files[0])
        return wanted
    if len(likely) != 1:
        raise UsageError(
            "which column has the vectors is not clear",
            str(files[0]),
            "--vector COLUMN",
            ", ".join(likely or schema.names),
        )
    return str(likely[0])


def _is_list(kind: Any) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(
        (is_list or pa.types.is_fixed_size_list(kind)) and pa.types.is_floating(kind.value_type)
    )


def _of_tables(files: Sequence[Path], name: str) -> Vectors:
    return Vectors(rows=_table_rows(files), chunks=of_lists(name, _groups(files, name)))


def _table_rows(files: Sequence[Path]) -> int:
    """The rows of Parquet and Arrow files."""
    from dof_arrow.sources import column_files

    rows = 0
    for file in files:
        rows += sum(count for _, count in column_files.groups(file))
    return rows


def _groups(files: Sequence[Path], name: str) -> Iterator[pa.ChunkedArray]:
    """A column, a row group of the files at a time."""
    from dof_arrow.sources import column_files
    from dof_arrow.sources.sample import file_stamp

    for file in files:
        for number, _ in column_files.groups(file):
            yield column_files.group(file, file_stamp(file), name, number)


def _wanted(
    key: str | None, split: str | None, options: Mapping[str, Any], own: OwnColumns
) -> list[str]:
    keep = parted(options.get("keep", ()))
    labels = named(options.get("label"))
    several = [key, split, options.get("group"), *labels, *keep, *own.names]
    return list(dict.fromkeys(name for name in several if name is not None))


def _header(files: Sequence[Path]) -> list[str]:
    return tables.header(files[0]) if files else []


def _columns(
    files: Sequence[Path], names: Sequence[str], encoding: str | None, rows: int
) -> pa.Table:
    """The columns that are asked for, of tables one after the other."""
    if names and not files:
        raise UsageError("columns need a table", found=", ".join(names), hint="Add --table FILE.")
    if not names:
        if files and all(file.suffix.lower() in _TABLES for file in files):
            _check_rows(files, _table_rows(files), rows)
        return pa.table({"": pa.nulls(rows)})
    found = pa.concat_tables([_table(file, names, encoding) for file in files])
    _check_rows(files, len(found), rows)
    return found


def _check_rows(files: Sequence[Path], found: int, rows: int) -> None:
    if found != rows:
        raise SourceError(
            "the table has not as many rows as there are vectors",
            str(files[0]),
            f"{rows:,}",
            f"{found:,}",
        )


def _table(file: Path, names: Sequence[str], encoding: str | None) -> pa.Table:
    """Columns of a Parquet or Arrow file with their types, of any other table as texts."""
    from dof_arrow.sources import column_files

    if file.suffix.lower() in _TABLES:
        schema = column_files.schema(file)
        places(names, schema.names, file)
        columns = [column_files.column(file, name) for name in names]
        return pa.table(columns, names=list(names)).replace_schema_metadata(schema.metadata)
    read_columns = tables.read(file, names, encoding).cells
    return pa.table({name: read_columns[name] for name in names})
