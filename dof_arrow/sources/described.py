"""A listing with what columns say of its pictures: labels, groups, splits, columns to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources import doubled_rows, folder, table, table_keys
from dof_arrow.sources.class_folders import FOLDER
from dof_arrow.sources.clip_files import ClipFiles
from dof_arrow.sources.columns import nulled, typed
from dof_arrow.sources.folder import Files
from dof_arrow.sources.labels import Kind
from dof_arrow.sources.labels import label as read_label
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Column

_UNIT = "\x1f"  # the ASCII unit separator, which no class name holds
_HOT = ("1", "1.0", "true")  # the cells of a class that a row has

L = TypeVar("L", bound=Listing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The columns of a table, or of the source itself, that are asked for."""

    key: str | None
    label: str | None
    group: str | None
    split: str | None
    keep: tuple[str, ...]
    match: tuple[str, ...]
    kind: Kind | None
    separator: str

    @property
    def columns(self) -> list[str]:
        """Their names, the key's first; one may stand there twice."""
        label = None if self.label == FOLDER else self.label
        split = None if self.split == FOLDER else self.split
        named = (self.key, label, self.group, split, *self.keep)
        return [name for name in named if name is not None]


def with_own(found: L, path: str | Path, asked: Asked) -> L:
    """A listing with columns of its own; UsageError for one that it does not have."""
    cells = found.cells(list(dict.fromkeys(asked.columns)))
    if asked.key is not None:
        keys = _flat(asked.key, cells[asked.key])
        found = replace(found, names=_names(keys, path))
    return _described(found, cells, asked)


def joined(found: Listing, path: Path, asked: Asked) -> Listing:
    """A listing with a table's columns: the table's rows, sorted by name.

    Raises SourceError for a table that cannot be read or does not fit, UsageError for a column that
    is not there.
    """
    import pyarrow.compute as pc

    cells = table.read(path, asked.columns)
    rows = table_keys.match(cells[asked.key or ""], found.names, path, asked.match)
    # Rows come in the order of names, as pictures of a folder do, whatever the table's order;
    # those without a name come last, and are left out.
    order = pc.sort_indices(rows.names)[: len(rows.names) - rows.names.null_count]
    sorted_cells = {name: column.take(order) for name, column in cells.items()}
    listed = replace(
        found,
        names=rows.names.take(order),
        place=rows.place.take(order),
        refused=rows.refused.take(order),
        offers=rows.offers,
        counts=_counts(found, rows),
    )
    listed = doubled_rows.united(_described(listed, sorted_cells, asked))
    known = None if listed.refused.null_count == len(listed) else listed.refused
    return replace(listed, refused=known)


def _names(cells: Column, path: str | Path) -> Column:
    """Cells as the names of pictures, of which each has one of its own."""
    if cells.null_count or len(cells.unique()) < len(cells):
        what = "is empty" if cells.null_count else "stands twice"
        raise SourceError(
            f"a name {what} in the column of names", str(path), hint="Choose another --key."
        )
    return cells.cast(pa.large_string())


def _described(found: L, cells: Mapping[str, Column], asked: Asked) -> L:
    """A listing with what cells, one a sample, say of it."""
    kept: dict[str, Column] = {}
    for each in asked.keep:
        for name, column in _flattened(each, cells[each]).items():
            kept[name] = typed(column)
    groups = _flat(asked.group, cells[asked.group]) if asked.group else None
    splits = None
    if asked.split is not None and asked.split != FOLDER:
        splits = _flat(asked.split, cells[asked.split])
    found = replace(found, groups=groups, splits=splits, columns=kept)
    if asked.label is None or asked.label == FOLDER:
        return found
    target, values = _label(found, asked.label, cells[asked.label], asked)
    return replace(found, targets={asked.label: target}, labels={asked.label: values})


def _flat(name: str, cells: Column) -> Column:
    if pa.types.is_nested(cells.type):
        raise UsageError(
            "a column of several values a row", found=name, hint="Choose one with one value a row."
        )
    return cells


def _flattened(name: str, cells: Column) -> dict[str, Column]:
    """A column of structs as a column for each of their entries."""
    if not pa.types.is_struct(cells.type):
        return {name: _flat(name, cells)}
    names = [f"{name}_{field.name}" for field in cells.type]
    return dict(zip(names, cells.flatten(), strict=True))


def _label(found: Listing, name: str, cells: Column, asked: Asked) -> tuple[Target, Column]:
    import pyarrow.compute as pc

    classes = found.classes(name)
    if classes:
        return _coded(cells, classes)
    if pa.types.is_struct(cells.type):  # a column for each class
        cells = _hot_entries(cells)
    if pa.types.is_list(cells.type):
        return read_label(name, pc.binary_join(cells, _UNIT), "multilabel", _UNIT)
    return read_label(name, cells, asked.kind, asked.separator)


def _hot_entries(cells: Column) -> Column:
    """Structs as lists of the names of those entries that are on."""
    import pyarrow.compute as pc

    rows: list[list[str]] = [[] for _ in range(len(cells))]
    for field, values in zip(cells.type, cells.flatten(), strict=True):
        on = pc.is_in(values, value_set=pa.array(_HOT))
        for row in pc.indices_nonzero(on).to_pylist():
            rows[row].append(field.name)
    return pa.array(rows, pa.list_(pa.string()))


def _coded(cells: Column, classes: tuple[str, ...]) -> tuple[Target, Column]:
    """Values that are codes already; a negative one is missing."""
    import pyarrow.compute as pc

    several = pa.types.is_list(cells.type)
    if several:
        values = cells.cast(pa.list_(pa.int32()))
        flat = values.flatten()
    else:
        values = cells.cast(pa.int32())
        flat = values.drop_null()
    if pc.any(pc.greater_equal(flat, len(classes))).as_py():
        raise SourceError(
            "a label is none of the classes",
            expected=f"0 to {len(classes) - 1}",
            found=str(pc.max(flat).as_py()),
            hint="Mend the file's class names.",
        )
    if several:
        return Target(kind="multilabel", classes=classes), values
    known = nulled(values, pc.less(values, 0))
    return Target(kind="category", classes=classes), known


def _counts(found: Listing, rows: table_keys.Matched) -> dict[str, int]:
    """What became of files and rows, by the names in `listing.COUNTED`."""
    named = np.zeros(len(found), bool)
    named[rows.place.drop_null().to_numpy()] = True
    without_key = rows.names.null_count
    lost = rows.place.null_count - without_key
    refused = len(rows.refused) - rows.refused.null_count
    # What has a row is a picture, whatever its suffix; of the rest the suffix tells.
    # Only in a folder of files lies what is no input.
    if isinstance(found, Files) and not isinstance(found, ClipFiles):
        pictures = folder.are_pictures(found.names).to_numpy(zero_copy_only=False)
    else:
        pictures = np.ones(len(found), bool)
    unnamed = ~named
    counts = {
        **found.counts,
        "ignored": found.counts.get("ignored", 0) + int((unnamed & ~pictures).sum()),
        "without_row": int((unnamed & pictures).sum()),
        "without_key": without_key,
        "without_file": lost - refused,
        **rows.counts,
    }
    return {name: count for name, count in counts.items() if count}
