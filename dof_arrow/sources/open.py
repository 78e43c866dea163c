"""Where pictures come from: files, tar shards, arrays, Parquet and Arrow tables.

A source is anything with a length, samples by index, and a few words on its columns
(`sample.Source`). Those made here keep a million names as Arrow arrays and build a `Sample` only
when it is asked for. What stands at a path is told by its content; the columns that are asked for
come from a table beside it, or from the container itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.sources import arrays, clip_files, columnar, folder, tar
from dof_arrow.sources.array_files import HDF5_MAGIC, is_hdf5
from dof_arrow.sources.described import FOLDER, Asked, joined, labelled_by_folder, with_own
from dof_arrow.sources.folder import Files
from dof_arrow.sources.labels import Kind
from dof_arrow.sources.listing import Listing

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_ARRAYS = (b"PK\3\4", b"\x93NUMPY", HDF5_MAGIC)
_COLUMNS = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")  # the last begins an Arrow stream
_CACHE = re.compile(r"(^|/)cache-[^/]*$")  # what `datasets` leaves beside a saved data set


def open_source(
    path: str | Path,
    *,
    table: str | Path | None = None,
    key: str | None = None,
    label: str | None = None,
    group: str | None = None,
    split: str | None = None,
    keep: Sequence[str] = (),
    kind: Kind | None = None,
    separator: str = "|",
    pictures: str | None = None,
    clips: bool = False,
) -> Listing:
    """The pictures at `path`, with those columns that are named here and no others.

    `path` is a picture, a folder (read to any depth; hidden files are left out, and without a table
    what bears no picture's suffix too), a tar archive or a folder of them (`tar`), an .npy, .npz or
    HDF5 file (`arrays`), a Parquet or Arrow file or a folder of them (`columnar`). `pictures`
    chooses among several in such a container. With `clips`, each file is a clip, and so is each
    folder of pictures where there are no other clips (`clip_files`).

    Columns are those of the CSV or Parquet `table`, else the container's own, or attributes of
    DICOM files. `key` names the column that holds each picture's relative name, file name, or file
    name without suffix. `label` names a column, or is `folder`: the first folder of each name is
    its class, and the target is called `label`. `kind` and `separator` are those of `labels.label`.

    Raises UsageError for a wrong call, SourceError for what cannot be read; links and table keys
    that lead out of the folder are refused.
    """
    asked = Asked(
        key=key,
        label=label,
        group=group,
        split=split,
        keep=tuple(keep),
        kind=kind,
        separator=separator,
    )
    if table is not None and key is None:
        hint = "Add --key COLUMN: the column with file names."
        raise UsageError("a table needs the column that names the pictures", hint=hint)
    found = clip_files.clips_at(Path(path)) if clips else None
    if found is None:
        found = _find(Path(path), pictures, named=table is not None)
    if table is not None:
        found = joined(found, Path(table), asked)
    elif asked.columns:
        found = with_own(found, path, asked)
    return labelled_by_folder(found, path) if label == FOLDER else found


def _find(path: Path, pictures: str | None, *, named: bool) -> Listing:
    """The one place that chooses how to read a source, by what it is and not by its name."""
    if path.is_dir():
        return _in_folder(path, pictures, named=named)
    start = _start(path)
    # A compressed archive goes the same way, to be refused with what to do about it.
    if start[257:262] == b"ustar" or start.startswith(_COMPRESSED):
        return tar.open_shards([path], pictures)
    if start.startswith(_ARRAYS):
        return arrays.open_arrays(path, pictures)
    if start.startswith(_COLUMNS):
        return columnar.open_columns(path.parent, [path.name], pictures)
    if is_hdf5(path):  # behind a block of the user's own
        return arrays.open_arrays(path, pictures)
    return folder.single(path)


def _start(path: Path) -> bytes:
    """As many bytes of a file as tell what it is."""
    if not path.is_file():
        raise SourceError(
            "no such folder or file", str(path), hint="Give the folder that holds the pictures."
        )
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise SourceError(
            "the file cannot be read", str(path), found=error.strerror or ""
        ) from None


def _in_folder(path: Path, pictures: str | None, *, named: bool) -> Listing:
    """The pictures in a folder, or those in the archives, tables or arrays there.

    A folder that holds a picture file is a folder of pictures, whatever else lies in it.
    """
    import pyarrow.compute as pc

    found = folder.in_folder(path)
    if not pc.any(folder.are_pictures(found.names)).as_py():
        container = _containers(found, path, pictures)
        if container is not None:
            return container
    return found if named else folder.pictures_only(found)


def _containers(found: Files, path: Path, pictures: str | None) -> Listing | None:
    shards = _ending(found, r"\.tar$")
    if shards:
        return tar.open_shards([path / name for name in shards], pictures)
    tables = _ending(found, r"\.(parquet|arrow)$")
    tables = [name for name in tables if not _CACHE.search(name)]
    if tables:
        return columnar.open_columns(path, tables, pictures)
    if _ending(found, r"^[^/]*\.npy$"):
        return arrays.open_arrays(path, pictures)
    return None


def _ending(found: Files, pattern: str) -> list[str]:
    import pyarrow.compute as pc

    names = found.names.filter(pc.match_substring_regex(found.names, pattern))
    return list(names.to_pylist())
