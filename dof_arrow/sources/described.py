"""A listing with what columns say of its pictures: labels, groups, splits, columns to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec import split_names
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources import (
    column_values,
    doubled_rows,
    folder,
    segments,
    table,
    table_keys,
)
from dof_arrow.sources.asked import FOLDER, Asked, Rule
from dof_arrow.sources.clip_files import ClipFiles
from dof_arrow.sources.columns import decoded, is_list, nulled, typed
from dof_arrow.sources.folder import Files
from dof_arrow.sources.labels import Label
from dof_arrow.sources.labels import label as read_label
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Column

_HOT = ("1", "true")  # the cells of a class that a row has
_FLOAT = r"^-?[0-9]+\.0*$"
_FIRST = 1024
_SHOWN = 20  # names that a message lists

L = TypeVar("L", bound=Listing)


def with_own(found: L, path: str | Path, asked: Asked) -> L:
    """A listing with columns of its own; UsageError for one that it does not have."""
    cells = found.cells(list(dict.fromkeys(asked.columns)))
    if asked.key is not None:
        keys = whole_keys(_flat(asked.key, cells[asked.key]), found.names)
        found = replace(found, names=_names(keys, path))
    return _described(found, cells, asked)


def joined(found: Listing, path: Path, asked: Asked) -> Listing:
    """A listing with a table's columns: the table's rows, sorted by name; segments by their times.

    Raises SourceError for a table that cannot be read or does not fit, UsageError for a column that
    is not there.
    """
    read = table.read(path, asked.columns, asked.encoding)
    cells = read.cells
    asked = read.understood(asked)
    keys = whole_keys(_flat(asked.key or "", cells[asked.key or ""]), found.names)
    rows = table_keys.match(keys, found.names, path, asked.match)
    cut = segments.read(cells, asked, comma=read.comma) if asked.segments else None
    order = _order(rows.names, cut)
    sorted_cells = {name: column.take(order) for name, column in cells.items()}
    listed = replace(
        found,
        names=rows.names.take(order),
        place=rows.place.take(order),
        refused=_refused(found, rows, cut).take(order),
        bounds=None if cut is None else cut.bounds.take(order),
        offers=rows.offers,
        counts=_counts(found, rows),
        remarks=read.remarks if cut is None else (*read.remarks, *cut.remarks),
    )
    listed = _described(listed, sorted_cells, asked)
    if cut is not None:
        listed = segments.grouped(listed)
    listed = doubled_rows.united(listed)
    listed = replace(listed, remarks=(*listed.remarks, *segments.contradicting(listed)))
    known = None if listed.refused.null_count == len(listed) else listed.refused
    return replace(listed, refused=known)


def _order(names: Column, cut: segments.Segments | None) -> Column:
    """The numbers of rows with a name, sorted by it, whatever the table's order.

    So pictures of a folder come, too. Segments of a clip come by their times.
    """
    import pyarrow.compute as pc

    if cut is None and _is_sorted(names):
        return pa.array(np.arange(len(names)))
    columns = {"name": names}
    if cut is not None:
        columns |= {"start": cut.starts, "stop": cut.stops, "bounds": cut.bounds}
    keys = [(name, "ascending") for name in columns]
    # Rows without a name come last.
    return pc.sort_indices(pa.table(columns), keys)[: len(names) - names.null_count]


def _is_sorted(names: Column) -> bool:
    """Whether all are there and ascend."""
    import pyarrow.compute as pc

    if names.null_count:
        return False
    return bool(pc.all(pc.less_equal(names[:-1], names[1:]), min_count=0).as_py())


def _refused(found: Listing, rows: table_keys.Matched, cut: segments.Segments | None) -> Column:
    """Why rows cannot be used: for their key, their times, or what is known of their picture."""
    import pyarrow.compute as pc

    reasons = [rows.refused]
    if cut is not None:
        reasons.append(cut.refused)
    if found.refused is not None:
        reasons.append(found.refused.take(rows.place))
    return pc.coalesce(*reasons)


def whole_keys(keys: Column, names: Column) -> Column:
    """Keys without the `.0` that whole numbers have where they were kept as floats.

    They stay as they are where pictures have such names.
    """
    import pyarrow.compute as pc

    # The first ones mostly tell that they are no floats.
    for some in (keys[:_FIRST], keys):
        floats = pc.match_substring_regex(some, _FLOAT)
        if not len(keys) or not pc.all(floats, min_count=0).as_py():
            return keys
    base = table_keys.base_names(names)
    if pc.any(pc.match_substring_regex(base, r"^-?[0-9]+\.0+(\.|$)")).as_py():
        return keys
    return pc.replace_substring_regex(keys, r"\.0*$", "")


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
    remarks = list(found.remarks)
    kept: dict[str, Column] = {}
    for each in asked.keep:
        for name, column in _flattened(each, cells[each]).items():
            words = column_values.read(name, column, asked.rule(each))
            remarks += words.remarks
            kept[name] = words.cells
    groups = splits = None
    if asked.group:
        groups = _groups(asked.group, cells[asked.group], asked.rule(asked.group), remarks)
    if asked.split and asked.split != FOLDER:
        splits = _splits(asked.split, cells[asked.split], asked.rule(asked.split), remarks)
    found = replace(found, groups=groups, splits=splits, columns=kept, remarks=tuple(remarks))
    for name in asked.labels:
        if name != FOLDER:
            label = _label(found, name, cells[name], asked.rule(name))
            found = with_label(found, name, label)
    return found


def with_label(found: L, name: str, label: Label) -> L:
    """A listing with one more target."""
    return replace(
        found,
        targets={**found.targets, name: label.target},
        labels={**found.labels, name: label.values},
        remarks=(*found.remarks, *label.remarks),
    )


def _groups(name: str, cells: Column, rule: Rule, remarks: list[str]) -> Column:
    words = column_values.read(name, _flat(name, cells), rule)
    column_values.refuse_lookalikes(words, "group")
    remarks += words.remarks
    return words.texts


def _splits(name: str, cells: Column, rule: Rule, remarks: list[str]) -> Column:
    """Splits by their standard names; those that --map gives may be of the user's own."""
    words = column_values.read(name, _flat(name, cells), rule)
    found = {
        text: split_names.standard(text)
        for text in sorted(words.texts.unique().to_pylist(), key=str)
        if text
    }
    own = set(rule.map.values())
    unknown = [text for text, standard in found.items() if standard is None and text not in own]
    if unknown:
        raise SourceError(
            "not the names of splits",
            f"column {name}",
            "train, valid and test, in any of their spellings",
            ", ".join(unknown[:_SHOWN]),
            f"Say which is which: --map '{name}:{unknown[0]}=test'.",
        )
    remarks += words.remarks
    renamed = [f"{text} is {to}" for text, to in found.items() if to is not None and to != text]
    if renamed:
        remarks.append(f"{name}: {', '.join(renamed)}")
    return split_names.standardised(words.texts)


def _flat(name: str, cells: Column) -> Column:
    if pa.types.is_nested(cells.type):
        raise UsageError(
            "a column of several values a row", found=name, hint="Choose one with one value a row."
        )
    return decoded(cells)


def _flattened(name: str, cells: Column) -> dict[str, Column]:
    """A column of structs as a column for each of their entries."""
    if not pa.types.is_struct(cells.type):
        return {name: _flat(name, cells)}
    names = [f"{name}_{field.name}" for field in cells.type]
    return dict(zip(names, cells.flatten(), strict=True))


def _label(found: Listing, name: str, cells: Column, rule: Rule) -> Label:
    classes = found.classes(name)
    if classes:
        target, values = _coded(cells, classes)
        if not rule.own:
            return Label(target=target, values=values)
        cells = _class_names(values, classes)  # which are read as other cells are
    if pa.types.is_struct(cells.type):  # a column for each class
        cells = _hot_entries(cells)
    return read_label(name, cells, rule)


def _class_names(codes: Column, classes: tuple[str, ...]) -> Column:
    names = pa.array(classes, pa.string())
    if not pa.types.is_list(codes.type):
        return names.take(codes)
    values = names.take(codes.values)
    return pa.ListArray.from_arrays(codes.offsets, values, mask=codes.is_null())


def _hot_entries(cells: Column) -> Column:
    """Structs as lists of the names of those entries that are on."""
    import pyarrow.compute as pc

    rows: list[list[str]] = [[] for _ in range(len(cells))]
    for field, values in zip(cells.type, cells.flatten(), strict=True):
        on = pc.is_in(typed(values).cast(pa.string()), value_set=pa.array(_HOT))
        for row in pc.indices_nonzero(on).to_pylist():
            rows[row].append(field.name)
    return pa.array(rows, pa.list_(pa.string()))


def _coded(cells: Column, classes: tuple[str, ...]) -> tuple[Target, Column]:
    """Values that are codes already; a negative one is missing."""
    import pyarrow.compute as pc

    several = is_list(cells.type)
    if several:
        values = cells.cast(pa.list_(pa.int32()))
        flat = values.flatten()
    else:
        values = typed(decoded(cells)).cast(pa.int32())
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
