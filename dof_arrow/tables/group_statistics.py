"""Row groups in which a condition may be true, by the statistics that each of them carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from dof_arrow.format.columns import Columns
from dof_arrow.format.directory import Directory
from dof_arrow.format.file import File
from dof_arrow.format.parquet.footer import ColumnMeta, Struct, get
from dof_arrow.format.parquet.layout import fixed
from dof_arrow.format.spec.arrow import flat_array
from dof_arrow.format.spec.names import holds_names

_MIN_VALUE = 6  # fields of a Statistics struct in parquet.thrift
_MAX_VALUE = 5
_NULLS = 3


class Bounds(NamedTuple):
    """The smallest and the largest value of a row group, as its footer has them.

    `whole`: no value is missing.
    """

    low: bytes
    high: bytes
    whole: bool


Stated = Sequence[Bounds | None]  # of each row group; None where it does not say them

# By file and column: what a footer says is decoded once, however often it is asked for.
_KNOWN: WeakKeyDictionary[File, dict[str, Stated]] = WeakKeyDictionary()


def matching_groups(table: Columns, condition: Any, columns: Sequence[str]) -> list[slice]:
    """Row groups, as runs of rows of the table, whose statistics do not exclude a condition.

    `columns` are those that it names. Neighbours are one run.
    """
    files = table.parts if isinstance(table, Directory) else [table]
    rows: list[int] = []
    stated: list[tuple[Bounds | None, ...]] = []
    for file in files:
        assert isinstance(file, File)
        rows += file.outline.rows
        stated += zip(*(_stated(file, name) for name in columns), strict=True)
    if not columns:
        return _runs(rows, range(len(rows)))
    remaining = _remaining(condition, table.schema, columns, stated)
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


def _stated(file: File, name: str) -> Stated:
    """What each row group of a file says of a column."""
    known = _KNOWN.setdefault(file, {})
    if name not in known:
        known[name] = _bounds(file, file.schema.field(name))
    return known[name]


def _bounds(file: File, field: pa.Field) -> Stated:
    nothing = [None] * len(file.outline.rows)
    column = fixed(field)
    if column is None and not holds_names(field.type):
        return nothing
    if column is not None and column.nested:
        return nothing
    leaf = file.outline.index([field.name])
    if leaf is None or _may_hide_nan(file, field):
        return nothing
    chunks = file.outline.column(leaf)
    statistics = [get(chunk, ColumnMeta.STATISTICS, {}) for chunk in chunks]
    size = None if column is None else column.stored.itemsize
    return [_bounds_of_group(each, size, field.nullable) for each in statistics]


def _may_hide_nan(file: File, field: pa.Field) -> bool:
    """Whether values may lie outside of the statistics: those of encoded floats pass over NaN."""
    if not pa.types.is_floating(field.type):
        return False
    about = (file.speaker or file).json.get("columns", {}).get(field.name, {})
    return bool(about.get("layout") != "mapped")


def _bounds_of_group(statistics: Struct, size: int | None, nullable: bool) -> Bounds | None:
    """What a chunk says; `size` is that of a number in bytes, None for texts."""
    low = get(statistics, _MIN_VALUE)
    high = get(statistics, _MAX_VALUE)
    if not isinstance(low, bytes) or not isinstance(high, bytes):
        return None
    if size is not None:
        return Bounds(low, high, whole=True) if len(low) == len(high) == size else None
    return Bounds(low, high, whole=not nullable or get(statistics, _NULLS) == 0)


def _remaining(
    condition: Any,
    schema: pa.Schema,
    columns: Sequence[str],
    stated: Sequence[tuple[Bounds | None, ...]],
) -> list[int]:
    """Numbers of the row groups that remain, in order; what many say alike is looked at once."""
    alike: dict[tuple[Bounds | None, ...], list[int]] = {}
    for group, each in enumerate(stated):
        alike.setdefault(each, []).append(group)
    told: list[Any] = [None] * len(alike)
    for place, name in enumerate(columns):
        ranges = [each[place] for each in alike]
        for number, inside in enumerate(_insides(ranges, schema.field(name))):
            if inside is not None:
                told[number] = inside if told[number] is None else told[number] & inside
    kept = _not_excluded(condition, schema, told)
    groups = list(alike.values())
    return sorted(chain.from_iterable(groups[number] for number in kept))


def _insides(ranges: Sequence[Bounds | None], field: pa.Field) -> Iterator[Any]:
    """For each range of a column an Arrow expression that holds inside of it; None if unknown."""
    import pyarrow.compute as pc

    name = pc.field(field.name)
    bounds = zip(ranges, _values(ranges, field), strict=True)
    for stated, (low, high) in bounds:
        if stated is None or low is None or high is None:
            yield None
            continue
        above = name >= low
        below = name <= high
        if not stated.whole:  # Arrow understands it in this form alone
            missing = name.is_null()
            above = above | missing
            below = below | missing
        yield above & below


def _values(ranges: Sequence[Bounds | None], field: pa.Field) -> Iterator[tuple[Any, Any]]:
    """The bounds as Arrow scalars; None for those that are unknown."""
    column = fixed(field)
    if column is None:
        for each in ranges:
            yield (None, None) if each is None else (_text(each.low), _text(each.high))
        return
    zeros = bytes(column.stored.itemsize)
    both = [(zeros, zeros) if each is None else each[:2] for each in ranges]
    stored = np.frombuffer(b"".join(chain.from_iterable(both)), column.stored)
    values = flat_array(stored.astype(column.memory), field.type)
    if pa.types.is_float16(field.type):  # which Arrow does not compare
        values = values.cast(pa.float32())
    for place in range(0, len(values), 2):
        yield values[place], values[place + 1]


def _text(value: bytes) -> Any:
    """A text as an Arrow scalar; texts are in the order of their bytes, which is also Arrow's."""
    try:
        return pa.scalar(value.decode(), pa.string())
    except UnicodeDecodeError:  # it was cut within a letter
        return None


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
