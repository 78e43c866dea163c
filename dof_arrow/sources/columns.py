"""Columns of text cells, and the types that their cells have in common.

int64     whole numbers that fit, without leading zeros (`007` is a name)
float64   numbers; `NA`, `N/A`, `NaN`, `nan` and `null` are missing among numbers, and text
          elsewhere
bool      true and false, in any case
string    everything else
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.sources.sample import Column

_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_NUMBER = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_TRUTH = "(?i)^(true|false)$"
_NO_NUMBER = ["NA", "N/A", "NaN", "nan", "null"]
_FIRST = 1024  # cells that mostly tell of a whole column what it is not
_SHOWN = 40  # names of columns that a message lists


def texts(column: Any, path: Path, name: str) -> Column:
    """A flat column as trimmed strings, null where empty; UsageError for a column of anything else.

    >>> texts(pa.array([1.5, None]), Path("t"), "x").to_pylist()
    ['1.5', None]
    """
    import pyarrow.compute as pc

    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    try:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UsageError(
            "a column of neither numbers nor texts", str(path), found=f"{name}: {column.type}"
        ) from None
    return nulled(trimmed, pc.equal(trimmed, ""))


def nulled(cells: Column, where: Column) -> Column:
    """Cells, null where `where` is true.

    >>> nulled(pa.array([1, 2]), pa.array([True, False])).to_pylist()
    [None, 2]
    """
    import pyarrow.compute as pc

    return pc.if_else(where, pa.scalar(None, cells.type), cells)


def typed(cells: Column) -> Column:
    """A string array as int64, float64, bool or string, by the rules above.

    >>> typed(pa.array(["1", None, "20"])).type, typed(pa.array(["1", "NA", "2.5"])).to_pylist()
    (DataType(int64), [1.0, None, 2.5])
    """
    import pyarrow.compute as pc

    numbers = nulled(cells, pc.is_in(cells, value_set=pa.array(_NO_NUMBER)))
    if numbers.null_count < len(numbers):
        if _all(numbers, _WHOLE):
            return _whole(numbers, cells)
        if _all(numbers, _NUMBER):
            return numbers.cast(pa.float64())
    if cells.null_count < len(cells) and _all(cells, _TRUTH):
        return pc.utf8_lower(cells).cast(pa.bool_())
    return cells


def place(name: str, header: Sequence[str], path: Path) -> int:
    """Where a column stands in a header; UsageError where it does not, naming those that are near.

    >>> place("b", ["a", "b"], Path("t.csv"))
    1
    """
    columns = list(header)
    if name and columns.count(name) == 1:  # an empty name names no column, even if one is empty
        return columns.index(name)
    if name and name in columns:
        raise UsageError(
            "the column stands twice in the table",
            str(path),
            found=name,
            hint="Rename one of them.",
        )
    names = [column for column in columns if column]
    near = difflib.get_close_matches(name, names, 3, 0.6)
    shown = ", ".join(names[:_SHOWN])
    if len(names) > _SHOWN:
        shown += " …"
    hint = f"Did you mean {' or '.join(near)}?" if near else "Name one of these columns."
    raise UsageError("no such column in the table", str(path), shown or "a header line", name, hint)


def _all(cells: Column, pattern: str) -> bool:
    """Whether every cell that is not null fits; most that do not are told by their first cells."""
    return _fit(cells[:_FIRST], pattern) and _fit(cells, pattern)


def _fit(cells: Column, pattern: str) -> bool:
    import pyarrow.compute as pc

    fitting = pc.match_substring_regex(cells, pattern)
    return bool(pc.all(fitting, min_count=0).as_py())


def _whole(numbers: Column, cells: Column) -> Column:
    try:
        return numbers.cast(pa.int64())
    except pa.ArrowInvalid:  # more digits than int64 holds: a name, and float64 would round it
        return cells
