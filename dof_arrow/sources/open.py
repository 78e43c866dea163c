"""Where pictures come from: files, tar shards, arrays, Parquet and Arrow tables, with what is known of each picture.

A source is anything with a length, samples by index, and a few words on its columns (`sample.Source`). Those made here
keep a million names as Arrow arrays and build a `Sample` only when it is asked for. What stands at a path is told by
its content; the columns that are asked for come from a table beside it, or from the container itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources import arrays, columnar, folder, tar
from dof_arrow.sources.folder import Files
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Column
from dof_arrow.sources.table import Kind, match, read, typed
from dof_arrow.sources.table import label as read_label

FOLDER = "folder"
_UNIT = "\x1f"  # the ASCII unit separator, which no class name holds

L = TypeVar("L", bound=Listing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The table and the columns of it, or of the source itself, that are asked for."""

    table: Path | None
    key: str | None
    label: str | None
    group: str | None
    split: str | None
    keep: tuple[str, ...]
    kind: Kind | None
    separator: str

    @property
    def columns(self) -> list[str]:
        label = None if self.label == FOLDER else self.label
        return [
            name
            for name in (self.key, label, self.group, self.split, *self.keep)
            if name is not None
        ]


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

    `path` is a picture, a folder (read to any depth; hidden files are left out, and without a table what bears no
    picture's suffix too), a tar archive or a folder of them (`archives`), an .npy, .npz or HDF5 file (`arrays`), a
    Parquet or Arrow file or a folder of them (`columnar`). `pictures` chooses among several in such a container.
    With `clips`, each file is a clip, and so is each folder of pictures where there are no other clips (`reels`).
    Columns are those of the CSV or Parquet `table`, else the container's own, or attributes of DICOM files.
    `key` names the column that holds each picture's relative name, file name, or file name without suffix. `label`
    names a column, or is `folder`: the first folder of each name is its class, and the target is called `label`.
    `kind` and `separator` are those of `table.label`. Raises UsageError for a wrong call, SourceError for what cannot
    be read; links and table keys that lead out of the folder are refused.
    """
    asked = _Asked(
        table=Path(table) if table is not None else None,
        key=key,
        label=label,
        group=group,
        split=split,
        keep=tuple(keep),
        kind=kind,
        separator=separator,
    )
    if asked.table is not None and asked.key is None:
        hint = "Add --key COLUMN: the column with file names."
        raise UsageError("a table needs the column that names the pictures", hint=hint)
    found = folder.clips_at(Path(path)) if clips else None
    found = found or _find(Path(path), pictures, named=asked.table is not None)
    found = (
        _with_own(found, path, asked) if asked.table is None else _joined(found, asked.table, asked)
    )
    return _labelled_by_folder(found, path) if label == FOLDER else found


def _find(path: Path, pictures: str | None, *, named: bool) -> Listing:
    """The one place that chooses how to read a source, by what it is and not by its name."""
    if path.is_dir():
        return _in_folder(path, pictures, named=named)
    if not path.is_file():
        raise SourceError(
            "no such folder or file", str(path), hint="Give the folder that holds the pictures."
        )
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise SourceError(
            "the file cannot be read", str(path), found=error.strerror or ""
        ) from None
    if start[257:262] == b"ustar" or start.startswith(
        (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
    ):
        return tar.open_shards([path], pictures)
    if start.startswith((b"PK\3\4", b"\x93NUMPY", b"\x89HDF\r\n\x1a\n")):
        return arrays.open_arrays(path, pictures)
    if start.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        return columnar.open_columns(path.parent, [path.name], pictures)
    return folder.single(path)


def _in_folder(path: Path, pictures: str | None, *, named: bool) -> Listing:
    """The pictures in a folder, or those in the archives, tables or arrays there if it holds no picture file."""
    import pyarrow.compute as pc

    found = folder.in_folder(path)
    if not pc.any(folder.are_pictures(found.names)).as_py():
        if shards := _ending(found, r"\.tar$"):
            return tar.open_shards([path / name for name in shards], pictures)
        tables = [
            name
            for name in _ending(found, r"\.(parquet|arrow)$")
            if not re.search(r"(^|/)cache-[^/]*$", name)
        ]
        if tables:
            return columnar.open_columns(path, tables, pictures)
        if _ending(found, r"^[^/]*\.npy$"):
            return arrays.open_arrays(path, pictures)
    return found if named else folder.pictures_only(found)


def _ending(found: Files, pattern: str) -> list[str]:
    import pyarrow.compute as pc

    return list(found.names.filter(pc.match_substring_regex(found.names, pattern)).to_pylist())


def _with_own(found: L, path: str | Path, asked: _Asked) -> L:
    """A source with columns of its own."""
    if not asked.columns:
        return found
    cells = found.cells(list(dict.fromkeys(asked.columns)))
    if asked.key is not None:
        found = replace(found, names=_names(_flat(asked.key, cells), path))
    return _described(found, cells, asked)


def _names(cells: Column, path: str | Path) -> Column:
    if cells.null_count or len(cells.unique()) < len(cells):
        what = "is empty" if cells.null_count else "stands twice"
        raise SourceError(
            f"a name {what} in the column of names", str(path), hint="Choose another --key."
        )
    return cells.cast(pa.large_string())


def _joined(found: Listing, path: Path, asked: _Asked) -> Listing:
    """A source with a table's columns: the table's rows, sorted by name."""
    import pyarrow.compute as pc

    cells = read(path, asked.columns)
    names, place = match(cells[asked.key or ""], found.names, path)
    order = pc.sort_indices(names)
    cells = {name: column.take(order) for name, column in cells.items()}
    joined = replace(
        found, names=names.take(order), place=place.take(order), counts=_counts(found, place)
    )
    return _described(joined, cells, asked)


def _described(found: L, cells: dict[str, Column], asked: _Asked) -> L:
    """A source with what cells, one a sample, say of it."""
    found = replace(
        found,
        groups=_flat(asked.group, cells) if asked.group else None,
        splits=_flat(asked.split, cells) if asked.split else None,
        columns={
            name: typed(column)
            for each in asked.keep
            for name, column in _flattened(each, cells[each]).items()
        },
    )
    if asked.label is None or asked.label == FOLDER:
        return found
    target, values = _label(found, asked.label, cells[asked.label], asked)
    return replace(found, targets={asked.label: target}, labels={asked.label: values})


def _flat(name: str, cells: dict[str, Column]) -> Column:
    if pa.types.is_nested(cells[name].type):
        raise UsageError(
            "a column of several values a row", found=name, hint="Choose one with one value a row."
        )
    return cells[name]


def _flattened(name: str, cells: Column) -> dict[str, Column]:
    """A column of structs as a column for each of their entries."""
    if pa.types.is_struct(cells.type):
        return {
            f"{name}_{field.name}": column
            for field, column in zip(cells.type, cells.flatten(), strict=True)
        }
    return {name: _flat(name, {name: cells})}


def _label(found: Listing, name: str, cells: Column, asked: _Asked) -> tuple[Target, Column]:
    import pyarrow.compute as pc

    if classes := found.classes(name):
        return _coded(cells, classes)
    if pa.types.is_struct(cells.type):
        fields = [field.name for field in cells.type]
        hot = zip(
            *(
                pc.is_in(c, value_set=pa.array(["1", "1.0", "true"])).to_pylist()
                for c in cells.flatten()
            ),
            strict=True,
        )
        cells = pa.array(
            [[field for field, on in zip(fields, row, strict=True) if on] for row in hot],
            pa.list_(pa.string()),
        )
    if pa.types.is_list(cells.type):
        return read_label(name, pc.binary_join(cells, _UNIT), "multilabel", _UNIT)
    return read_label(name, cells, asked.kind, asked.separator)


def _coded(cells: Column, classes: tuple[str, ...]) -> tuple[Target, Column]:
    """Values that are codes already; a negative one is missing."""
    import pyarrow.compute as pc

    several = pa.types.is_list(cells.type)
    values = cells.cast(pa.list_(pa.int32()) if several else pa.int32())
    flat = values.flatten() if several else values.drop_null()
    if pc.any(pc.greater_equal(flat, len(classes))).as_py():
        raise SourceError(
            "a label is none of the classes",
            expected=f"0 to {len(classes) - 1}",
            found=str(pc.max(flat).as_py()),
            hint="Mend the file's class names.",
        )
    if several:
        return Target(kind="multilabel", classes=classes), values
    return Target(kind="category", classes=classes), pc.if_else(
        pc.less(values, 0), pa.scalar(None, pa.int32()), values
    )


def _labelled_by_folder(found: L, path: str | Path) -> L:
    import pyarrow.compute as pc

    loose = pc.sum(pc.invert(pc.match_substring(found.names, "/"))).as_py()
    if loose:
        hint = "Move each into its class's folder, or leave out --label folder."
        raise SourceError(
            "pictures lie in no class folder", str(path), found=f"{loose} at the top", hint=hint
        )
    folders = pc.replace_substring_regex(found.names, "(?s)/.*$", "")
    target, codes = read_label("label", folders.cast(pa.string()), "category")
    return replace(found, targets={"label": target}, labels={"label": codes})


def _counts(found: Listing, place: Any) -> dict[str, int]:
    import numpy as np

    named = np.zeros(len(found), bool)
    named[place.drop_null().to_numpy()] = True
    all_are = not isinstance(found, Files) or isinstance(found, folder.Reels)
    pictures = folder.are_pictures(found.names).to_numpy(zero_copy_only=False) | all_are
    ignored = found.counts.get("ignored", 0) + int((~named & ~pictures).sum())
    return {
        "ignored": ignored,
        "without_row": int((~named & pictures).sum()),
        "without_file": place.null_count,
    }
