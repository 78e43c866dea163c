"""Where pictures come from: files, tar shards, arrays, Parquet and Arrow tables.

A source is anything with a length, samples by index, and a few words on its columns
(`sample.Source`). Those made here keep a million names as Arrow arrays and build a `Sample` only
when it is asked for. What stands at a path is told by its content; the columns that are asked for
come from a table beside it, or from the container itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.sources import archive, arrays, clip_files, columnar, folder, zip_archive
from dof_arrow.sources import table as tables
from dof_arrow.sources.array_files import HDF5_MAGIC, is_hdf5
from dof_arrow.sources.asked import FOLDER, Asked, Kind, TableOptions, named, parted, rules_of
from dof_arrow.sources.class_folders import by_folder
from dof_arrow.sources.described import joined, with_own
from dof_arrow.sources.folder import Files
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import read_start
from dof_arrow.sources.table_keys import READINGS

_TELLING = 512  # bytes of a file that tell what it is
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_ARRAYS = (b"\x93NUMPY", HDF5_MAGIC)
_COLUMNS = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")  # the last begins an Arrow stream
_CACHE = re.compile(r"(^|/)cache-[^/]*$")  # what `datasets` leaves beside a saved data set


def open_source(
    path: str | Path,
    *,
    table: str | Path | None = None,
    key: str | None = None,
    start: str | None = None,
    end: str | None = None,
    label: str | Sequence[str] | None = None,
    group: str | None = None,
    split: str | None = None,
    keep: str | Sequence[str] = (),
    match: str | Sequence[str] = (),
    kind: Kind | Mapping[str, Kind] | None = None,
    classes: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
    map: str | Mapping[str, str | None] | Mapping[str, Mapping[str, str | None]] | None = None,
    missing: str | Sequence[str] | Mapping[str, str | Sequence[str]] = (),
    separator: str | Mapping[str, str] = "|",
    encoding: str | None = None,
    pictures: str | None = None,
    clips: bool = False,
) -> Listing:
    """The pictures at `path`, with those columns that are named here and no others.

    `path` is a picture, a folder (read to any depth, links followed; hidden files are left out, and
    without a table what bears no picture's suffix too, unless it is DICOM without one: `folder`), a
    tar or zip archive or a folder of them (`archive`), an .npy, .npz or HDF5 file (`arrays`), a
    Parquet or Arrow file or a folder of them (`columnar`). `pictures` chooses among several in such
    a container. With `clips`, each file is a clip, and so is each folder of pictures where there
    are no other clips (`clip_files`). What was left out, and why, says `Listing.counts`.

    Columns are those of the `table`, else the container's own, or attributes of DICOM files. `key`
    names the column that holds each picture's relative name, file name, or file name without
    suffix; `match` adds readings of it (`table_keys`). With `start` or `end`, each row is a segment
    of its clip (`segments`). A `label` names a column, or is `folder`:
    the first folder of each name is its class, and the target is called `label`. `split` names a
    column, or is `folder`: the first folder is the split, and the class is the one below
    (`class_folders`). The other options are those of `asked.TableOptions`.

    Raises UsageError for a wrong call, SourceError for what cannot be read; table keys that lead
    out of the folder are refused.
    """
    given = TableOptions(
        table=Path(table) if table is not None else None,
        key=key,
        start=start,
        end=end,
        label=label,
        group=group,
        keep=keep,
        match=match,
        kind=kind,
        classes=classes,
        map=map,
        missing=missing,
        separator=separator,
        encoding=encoding,
    )
    asked = _asked(given, split)
    check_key(given)
    if asked.segments:
        _check_segments(given, clips=clips)
    found = clip_files.clips_at(Path(path)) if clips else None
    if found is None:
        found = _find(Path(path), pictures, named=table is not None)
    if table is not None:
        found = joined(found, Path(table), asked)
    elif asked.columns:
        found = with_own(found, path, asked)
    rule = asked.rule(FOLDER) if FOLDER in asked.labels else None
    return by_folder(found, path, label=rule, split=split == FOLDER)


def _check_segments(given: TableOptions, *, clips: bool) -> None:
    names = {"start": given.start, "end": given.end}
    found = " ".join(f"--{option} {name}" for option, name in names.items() if name is not None)
    if not clips:
        raise UsageError(
            "segments are parts of clips, and the inputs are pictures",
            found=found,
            hint="Say --clips if each file, or each folder of pictures, is a clip.",
        )
    if given.table is None:
        raise UsageError(
            "segments are the rows of a table",
            found=found,
            hint="Add --table FILE.csv --key COLUMN: the column that names each row's clip.",
        )


def with_table(found: Listing, given: TableOptions, split: str | None = None) -> Listing:
    """A listing with those columns of a table that are asked for; raises as `open_source` does."""
    check_key(given)
    assert given.table is not None
    return joined(found, Path(given.table), _asked(given, split))


def with_columns_of(
    found: Listing, given: TableOptions, path: Path, split: str | None = None
) -> Listing:
    """A listing with those of its own columns that are asked for; raises as `open_source` does."""
    return with_own(found, path, _asked(given, split))


def check_key(given: TableOptions) -> None:
    """Raise UsageError for a table without a column of names."""
    if given.table is not None and given.key is None:
        hint = "Add --key COLUMN: the column with file names."
        raise UsageError("a table needs the column that names the pictures", hint=hint)


def _readings(given: str | Sequence[str]) -> tuple[str, ...]:
    readings = parted(given)
    unknown = sorted(set(readings) - set(READINGS))
    if unknown:
        raise UsageError(
            "no such reading of keys", expected=" or ".join(READINGS), found=", ".join(unknown)
        )
    return tuple(readings)


def _asked(given: TableOptions, split: str | None) -> Asked:
    """The columns that are asked for, each with its rule."""
    asked = Asked(
        key=given.key,
        start=given.start,
        end=given.end,
        labels=named(given.label),
        group=given.group,
        split=split,
        keep=_kept(given),
        match=_readings(given.match),
        encoding=given.encoding,
    )
    return replace(asked, rules=rules_of(asked, given))


def _kept(given: TableOptions) -> tuple[str, ...]:
    """The columns to keep: a text with commas is several, unless the table has one of that name."""
    texts = [given.keep] if isinstance(given.keep, str) else list(given.keep)
    known: list[str] = []
    if given.table is not None and any("," in text for text in texts):
        known = tables.header(Path(given.table), given.encoding)
    names: list[str] = []
    for text in texts:
        names += [text] if text in known else parted(text)
    return named(names)


def _find(path: Path, pictures: str | None, *, named: bool) -> Listing:
    """The one place that chooses how to read a source, by what it is and not by its name."""
    if path.is_dir():
        return _in_folder(path, pictures, named=named)
    start = _start(path)
    # A compressed archive goes the same way, to be refused with what to do about it.
    if start[257:262] == b"ustar" or start.startswith(_COMPRESSED):
        return archive.open_shards([path], pictures)
    if start.startswith(archive.ZIPPED):
        return _in_zip(path, pictures)
    if start.startswith(_ARRAYS):
        return arrays.open_arrays(path, pictures)
    if start.startswith(_COLUMNS):
        return columnar.open_columns(path.parent, [path.name], pictures)
    if is_hdf5(path):  # behind a block of the user's own
        return arrays.open_arrays(path, pictures)
    return folder.single(path)


def _in_zip(path: Path, pictures: str | None) -> Listing:
    """The pictures in a zip archive; one of .npy files alone is an .npz."""
    if zip_archive.holds_arrays(path):
        return arrays.open_arrays(path, pictures)
    return archive.open_shards([path], pictures)


def _start(path: Path) -> bytes:
    """As many bytes of a file as tell what it is."""
    try:
        return read_start(path, _TELLING)
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(
            "no such folder or file", str(path), hint="Give the folder that holds the pictures."
        ) from None
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
    shards = _ending(found, r"(?i)\.(tar|zip)$")
    if shards:
        return archive.open_shards([path / name for name in shards], pictures)
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
