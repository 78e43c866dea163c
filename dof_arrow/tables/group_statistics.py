"""Row groups in which a condition may be true, by the statistics that each of them carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from dof_arrow.format.columns import Columns
from dof_arrow.format.directory import Directory
from dof_arrow.format.file import File
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import ColumnMeta, get
from dof_arrow.format.parquet.layout import Fixed, fixed
from dof_arrow.format.spec.arrow import flat_array
from dof_arrow.format.spec.names import holds_names

_MIN_VALUE = 6  # fields of a Statistics struct in parquet.thrift
_MAX_VALUE = 5
_NULLS = 3


class Range(NamedTuple):
    """The smallest and the largest value of a row group, as Arrow scalars.

    `whole`: no value is missing.
    """

    low: Any
    high: Any
    whole: bool


Ranges = Sequence[Range | None]  # of each row group; None where it does not say them

# By file and column: what a footer says is decoded once, however often it is asked for.
_KNOWN: WeakKeyDictionary[File, dict[str, Ranges | None]] = WeakKeyDictionary()


def matching_groups(table: Columns, condition: Any, columns: Sequence[str]) -> list[slice]:
    """Row groups, as runs of rows of the table, whose statistics do not exclude a condition.

    `columns` are those that it names. Neighbours are one run.
    """
    files = table.parts if isinstance(table, Directory) else [table]
    rows: list[int] = []
    known: list[Any] = []
    for file in files:
        assert isinstance(file, File)
        footer_of_file = file.parquet
        for group in range(footer_of_file.num_row_groups):
            rows.append(footer_of_file.row_group(group).num_rows)
        known += _of_file(file, columns)
    remaining = _not_excluded(condition, table.schema, known)
    return _runs(rows, remaining)


def _runs(rows: Sequence[int], groups: Sequence[int]) -> list[slice]:
    """The rows of some groups, given the rows of each group."""
    starts = list(accumulate(rows, initial=0))
    runs: list[slice] = []
    for group in groups:
        start, stop = starts[group], starts[group + 1]
        if runs and runs[-1].stop == start:
            start = runs.pop().start
        runs.append(slice(start, stop))
    return runs


def _of_file(file: File, columns: Sequence[str]) -> list[Any]:
    """What each row group says of some columns, as an Arrow expression; None if nothing."""
    known = _KNOWN.setdefault(file, {})
    ranges = {}
    for name in columns:
        if name not in known:
            known[name] = _ranges(file, file.schema.field(name))
        found = known[name]
        if found:
            ranges[name] = found
    return [_known(ranges, group) for group in range(file.parquet.num_row_groups)]


def _ranges(file: File, field: pa.Field) -> Ranges | None:
    """The range of a column in each row group."""
    column = fixed(field)
    if column is None and not holds_names(field.type):
        return None
    if column is not None and column.nested:
        return None
    leaf = file.outline.index([field.name])
    if leaf is None or _may_hide_nan(file, field):
        return None
    chunks = file.outline.column(leaf)
    statistics = [get(chunk, ColumnMeta.STATISTICS, {}) for chunk in chunks]
    if column is None:
        return [_range_of_texts(each, field.nullable) for each in statistics]
    return [_range(each, column, field.type) for each in statistics]


def _may_hide_nan(file: File, field: pa.Field) -> bool:
    """Whether values may lie outside of the statistics: those of encoded floats pass over NaN."""
    about = file.json.get("columns", {}).get(field.name, {})
    return bool(pa.types.is_floating(field.type) and about.get("layout") != "mapped")


def _range(statistics: footer.Struct, column: Fixed, kind: pa.DataType) -> Range | None:
    found = [get(statistics, _MIN_VALUE), get(statistics, _MAX_VALUE)]
    for value in found:
        if not isinstance(value, bytes) or len(value) != column.stored.itemsize:
            return None
    stored = np.frombuffer(b"".join(found), column.stored)
    ends = flat_array(stored.astype(column.memory), kind)
    low, high = ends.cast(pa.float32()) if pa.types.is_float16(kind) else ends
    return Range(low, high, whole=True)


def _range_of_texts(statistics: footer.Struct, nullable: bool) -> Range | None:
    """The first and the last text, in the order of their bytes, which is also Arrow's."""
    found = []
    for field in (_MIN_VALUE, _MAX_VALUE):
        value = get(statistics, field)
        try:
            found.append(pa.scalar(value.decode(), pa.string()))
        except (AttributeError, UnicodeDecodeError):  # it says none, or one cut within a letter
            return None
    low, high = found
    nulls = get(statistics, _NULLS)
    return Range(low, high, whole=not nullable or nulls == 0)


def _not_excluded(condition: Any, schema: pa.Schema, known: Sequence[Any]) -> list[int]:
    """Numbers of the row groups that remain, in order.

    Arrow simplifies the condition under what is known of each group. Its fragments here name no
    file, and none is opened: they only carry that knowledge.
    """
    import pyarrow.dataset as arrow
    from pyarrow.fs import LocalFileSystem

    kind = arrow.ParquetFileFormat()
    disk = LocalFileSystem()
    fragments = []
    for group, told in enumerate(known):
        fragments.append(kind.make_fragment(str(group), disk, told))
    whole = arrow.FileSystemDataset(fragments, _by_name(schema), kind, disk)
    remaining = whole.get_fragments(filter=condition)
    return sorted(int(fragment.path) for fragment in remaining)


def _by_name(schema: pa.Schema) -> pa.Schema:
    """The schema as conditions see it: no dictionaries, and float32 in place of float16."""
    fields = []
    for field in schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            field = field.with_type(kind.value_type)
        elif pa.types.is_float16(kind):
            field = field.with_type(pa.float32())
        fields.append(field)
    return pa.schema(fields)


def _known(ranges: Mapping[str, Ranges], group: int) -> Any:
    """What the ranges of a group's columns say, as one Arrow expression; None if nothing."""
    import pyarrow.compute as pc

    known = None
    for name, found in ranges.items():
        told = found[group]
        if told is None:
            continue
        field = pc.field(name)
        above = field >= told.low
        below = field <= told.high
        if not told.whole:  # Arrow understands it in this form alone
            missing = field.is_null()
            above = above | missing
            below = below | missing
        inside = above & below
        known = inside if known is None else known & inside
    return known
