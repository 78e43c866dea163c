"""Row groups in which a condition may be true, by the statistics that each of them carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.format.columns import Columns
from dof_arrow.format.directory import Directory
from dof_arrow.format.file import File
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import ColumnMeta, get
from dof_arrow.format.parquet.layout import Fixed, fixed
from dof_arrow.format.spec.arrow import flat_array

Range = tuple[Any, Any]  # the smallest and the largest value, as Arrow scalars

_MIN_VALUE = 6  # fields of a Statistics struct in parquet.thrift
_MAX_VALUE = 5


def matching_groups(table: Columns, condition: Any) -> list[slice]:
    """Row groups, as rows of the table, whose statistics do not exclude a condition."""
    files = table.parts if isinstance(table, Directory) else [table]
    runs = []
    first = 0
    for file in files:
        assert isinstance(file, File)
        runs += _of_file(file, condition, first)
        first += file.rows
    return runs


def _of_file(file: File, condition: Any, first: int) -> list[slice]:
    """The same for one file, whose first row is row `first` of the table."""
    bounds = []
    for group in range(file.parquet.num_row_groups):
        stop = first + file.parquet.row_group(group).num_rows
        bounds.append(slice(first, stop))
        first = stop
    ranges = {}
    for field in file.schema:
        found = _ranges(file, field)
        if found:
            ranges[field.name] = found
    remaining = _not_excluded(condition, file.schema, ranges, len(bounds))
    return [bounds[group] for group in remaining]


def _ranges(file: File, field: pa.Field) -> list[Range | None] | None:
    """The range of a column in each row group, None where a group does not say it."""
    column = fixed(field)
    if column is None or column.nested:
        return None
    leaf = file.outline.index(column.path)
    if leaf is None:
        return None
    chunks = file.outline.column(leaf)
    statistics = [get(chunk, ColumnMeta.STATISTICS, {}) for chunk in chunks]
    return [_range(each, column, field.type) for each in statistics]


def _range(statistics: footer.Struct, column: Fixed, kind: pa.DataType) -> Range | None:
    found = [get(statistics, _MIN_VALUE), get(statistics, _MAX_VALUE)]
    for value in found:
        if not isinstance(value, bytes) or len(value) != column.stored.itemsize:
            return None
    stored = np.frombuffer(b"".join(found), column.stored)
    low, high = flat_array(stored.astype(column.memory), kind)
    return low, high


def _not_excluded(
    condition: Any, schema: pa.Schema, ranges: Mapping[str, Sequence[Range | None]], groups: int
) -> list[int]:
    """Numbers of the row groups that remain.

    Arrow simplifies the condition under what is known of each group. Its fragments here name no
    file, and none is opened: they only carry that knowledge.
    """
    import pyarrow.dataset as arrow
    from pyarrow.fs import LocalFileSystem

    kind = arrow.ParquetFileFormat()
    disk = LocalFileSystem()
    fragments = []
    for group in range(groups):
        known = _known(ranges, group)
        fragments.append(kind.make_fragment(str(group), disk, known))
    whole = arrow.FileSystemDataset(fragments, _by_name(schema), kind, disk)
    remaining = whole.get_fragments(filter=condition)
    return sorted(int(fragment.path) for fragment in remaining)


def _by_name(schema: pa.Schema) -> pa.Schema:
    """The schema with plain columns in place of dictionaries, as conditions see them."""
    fields = []
    for field in schema:
        kind = field.type
        fields.append(field.with_type(kind.value_type) if pa.types.is_dictionary(kind) else field)
    return pa.schema(fields)


def _known(ranges: Mapping[str, Sequence[Range | None]], group: int) -> Any:
    """What the ranges of a group's columns say, as one Arrow expression; None if nothing."""
    import pyarrow.compute as pc

    known = None
    for name, found in ranges.items():
        bounds = found[group]
        if bounds is None:
            continue
        field = pc.field(name)
        inside = (field >= bounds[0]) & (field <= bounds[1])
        known = inside if known is None else known & inside
    return known
