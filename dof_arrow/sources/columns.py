"""Columns of cells as texts, and the values that the texts of a column stand for.

int64     whole numbers that fit, without leading zeros (`007` is a name): `12`, `12.0`, `+12` and
          `1.2e1` are one number
float64   numbers, where not all are whole
bool      true and false in any case, with 1 and 0 beside them
string    everything else; among texts `12.0` is the number 12 too
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.sources.sample import Column
from dof_arrow.storage.addresses import Address

_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_NUMBER = r"^[+-]?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|[iI]nf(inity)?|INF)$"
_DIGITS = r"^[+-]?[0-9]+$"
_TRUTH = "(?i)^(true|false)$"
_TRUTH_OR_BIT = r"(?i)^(true|false|[01](\.0*)?)$"
_WHOLE_OR_COMMA = r"^[+-]?[0-9]+(,[0-9]+)?([eE][+-]?[0-9]+)?$"
_THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+$"
_EXACT = 2**53  # whole numbers below it are exact as float64
_FIRST = 1024  # cells that mostly tell of a whole column what it is not
_SHOWN = 40  # names of columns that a message lists


def texts(column: Any, path: Path | Address, name: str) -> Column:
    """A column as trimmed strings, null where empty; lists as lists of them.

    A dictionary that is flagged as ordered stays one, of strings. Dates and times are ISO 8601,
    without a time at midnight. Raises UsageError for a column of anything else.

    >>> texts(pa.array([1.5, None]), Path("t"), "x").to_pylist()
    ['1.5', None]
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks()
    try:
        if pa.types.is_dictionary(column.type):
            return _of_dictionary(column)
        if is_list(column.type):
            return _of_lists(column)
        return flat_texts(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        raise UsageError(
            "a column of neither numbers nor texts", str(path), found=f"{name}: {column.type}"
        ) from None


def flat_texts(column: Column) -> Column:
    """Values, one a row, as trimmed strings, null where empty or not a number."""
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(_written(column))
    return nulled(trimmed, pc.equal(trimmed, ""))


def is_list(kind: pa.DataType) -> bool:
    """Whether each value is a list, of whichever length."""
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(kind) for is_kind in kinds)


def decoded(cells: Column) -> Column:
    """A dictionary of strings as strings; other columns as they are."""
    if pa.types.is_dictionary(cells.type):
        return cells.dictionary.take(cells.indices)
    return cells


def nulled(cells: Column, where: Column) -> Column:
    """Cells, null where `where` is true.

    >>> nulled(pa.array([1, 2]), pa.array([True, False])).to_pylist()
    [None, 2]
    """
    import pyarrow.compute as pc

    return pc.if_else(where, pa.scalar(None, cells.type), cells)


def typed(cells: Column) -> Column:
    """A string array as int64, float64, bool or string, by the rules above.

    >>> typed(pa.array(["1", None, "2.0"])).to_pylist(), typed(pa.array(["1", "2.5"])).to_pylist()
    ([1, None, 2], [1.0, 2.5])
    """
    if cells.null_count == len(cells):
        return cells
    if _all(cells, _WHOLE):
        return _whole(cells)
    if _all(cells, _NUMBER):
        return _numbers(cells)
    if _all(cells, _TRUTH_OR_BIT) and _any(cells, _TRUTH):
        return _truths(cells)
    return _mixed(cells)


def spelled(values: Column) -> Column:
    """Typed values as texts, one text a value.

    >>> spelled(pa.array([1.0, 0.5])).to_pylist(), spelled(pa.array([True])).to_pylist()
    (['1', '0.5'], ['true'])
    """
    return values.cast(pa.string())


def pointed(cells: Column) -> Column:
    """Cells whose decimal commas are points; as they are where a comma may part thousands.

    >>> pointed(pa.array(["0,5", "12"])).to_pylist(), pointed(pa.array(["1,234"])).to_pylist()
    (['0.5', '12'], ['1,234'])
    """
    import pyarrow.compute as pc

    with_comma = cells.filter(pc.match_substring(cells, ","))
    if not len(with_comma) or not _all(cells, _WHOLE_OR_COMMA) or _all(with_comma, _THOUSANDS):
        return cells
    return pc.replace_substring(cells, ",", ".")


def same_number(words: Sequence[str]) -> tuple[str, str] | None:
    """Two different texts that are one number, such as `02` and `2`; None where there are none.

    >>> same_number(["a", "02", "2"]), same_number(["007", "8"])
    (('02', '2'), None)
    """
    from decimal import Decimal, InvalidOperation

    first: dict[Decimal, str] = {}
    for word in words:
        if not word[:1].isdigit() and word[:1] not in ("+", "-", "."):
            continue
        try:
            number = Decimal(word)
        except InvalidOperation:
            continue
        other = first.setdefault(number, word)
        if other != word:
            return other, word
    return None


def few_of(names: Sequence[str], most: int = 3) -> str:
    """A few of some names, and how many more there are.

    >>> few_of(["a", "b"]), few_of(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    told = ", ".join(names[:most])
    more = len(names) - most
    return f"{told} and {more} more" if more > 0 else told


def place(name: str, header: Sequence[str], path: Path) -> int:
    """Where a column stands in a header; UsageError where it does not, naming those that are near.

    >>> place("b", ["a", "b"], Path("t.csv"))
    1
    """
    return places([name], header, path)[name]


def places(names: Sequence[str], header: Sequence[str], path: Path) -> dict[str, int]:
    """Where columns stand in a header; UsageError that names all that are not there, or twice.

    >>> places(["b", "a"], ["a", "b"], Path("t.csv"))
    {'b': 1, 'a': 0}
    """
    columns = list(header)
    # An empty name names no column, even if one is empty.
    absent = [name for name in names if not name or name not in columns]
    if absent:
        raise _no_such(list(dict.fromkeys(absent)), columns, path)
    twice = [name for name in names if columns.count(name) > 1]
    if twice:
        raise UsageError(
            "the column stands twice in the table",
            str(path),
            found=", ".join(dict.fromkeys(twice)),
            hint="Rename one of them.",
        )
    return {name: columns.index(name) for name in names}


def _no_such(absent: Sequence[str], columns: Sequence[str], path: Path) -> UsageError:
    names = [column for column in columns if column]
    near = []
    for name in absent:
        near += difflib.get_close_matches(name, names, 3, 0.6)
    shown = ", ".join(names[:_SHOWN])
    if len(names) > _SHOWN:
        shown += " …"
    what = "no such column in the table" if len(absent) == 1 else "no such columns in the table"
    hint = "Name one of these columns." if len(absent) == 1 else "Name some of these columns."
    if near:
        hint = f"Did you mean {' or '.join(dict.fromkeys(near))}?"
    return UsageError(what, str(path), shown or "a header line", ", ".join(absent), hint)


def _of_dictionary(column: Column) -> Column:
    words = flat_texts(column.dictionary)
    if not column.type.ordered:
        return words.take(column.indices)
    codes = column.indices.cast(pa.int32())
    return pa.DictionaryArray.from_arrays(codes, words, ordered=True)


def _of_lists(column: Column) -> Column:
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        column = column.cast(pa.list_(kind.value_type))
    lists = column.cast(pa.list_(column.type.value_type))
    # Lists of a slice, and those under nulls, are flattened without what lies around them.
    words = flat_texts(_decoded_values(lists.flatten()))
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    missing = pc.is_null(lists)
    return pa.ListArray.from_arrays(pa.array(offsets), words, mask=missing)


def _decoded_values(values: Column) -> Column:
    if pa.types.is_dictionary(values.type):
        return flat_texts(values.dictionary).take(values.indices)
    return values


def _written(column: Column) -> Column:
    """Values as strings, before they are trimmed."""
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_floating(kind):
        column = nulled(column, pc.is_nan(column))
    if pa.types.is_float16(kind):  # Arrow writes all digits, NumPy those that are needed
        return pa.array([None if v is None else str(np.float16(v)) for v in column.to_pylist()])
    if pa.types.is_timestamp(kind):
        return _moments(column)
    if pa.types.is_time(kind):
        return _without_zeros(column.cast(pa.string()))
    if pa.types.is_duration(kind) or pa.types.is_nested(kind):
        raise pa.ArrowNotImplementedError(str(kind))
    return column.cast(pa.string())


def _moments(column: Column) -> Column:
    """Timestamps as ISO 8601; a zone is kept, and a time of midnight without a zone left out."""
    import pyarrow.compute as pc

    zone = "%z" if column.type.tz else ""
    written = pc.strftime(column, format=f"%Y-%m-%dT%H:%M:%S{zone}")
    written = _without_zeros(written)
    if zone:
        return pc.replace_substring_regex(written, r"([+-][0-9]{2})([0-9]{2})$", r"\1:\2")
    return pc.replace_substring_regex(written, "T00:00:00$", "")


def _without_zeros(times: Column) -> Column:
    """Times without zeros at the end of their fractions."""
    import pyarrow.compute as pc

    shorter = pc.replace_substring_regex(times, r"(\.[0-9]*[1-9])0+([+-][0-9]+)?$", r"\1\2")
    return pc.replace_substring_regex(shorter, r"\.0+([+-][0-9]+)?$", r"\1")


def _all(cells: Column, pattern: str) -> bool:
    """Whether every cell that is not null fits; most that do not are told by their first cells."""
    return _fit(cells[:_FIRST], pattern) and _fit(cells, pattern)


def _fit(cells: Column, pattern: str) -> bool:
    import pyarrow.compute as pc

    fitting = pc.match_substring_regex(cells, pattern)
    return bool(pc.all(fitting, min_count=0).as_py())


def _any(cells: Column, pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring_regex(cells, pattern)).as_py())


def _whole(numbers: Column) -> Column:
    try:
        return numbers.cast(pa.int64())
    except pa.ArrowInvalid:  # more digits than int64 holds: a name, and float64 would round it
        return _mixed(numbers)


def _numbers(cells: Column) -> Column:
    """Numbers in any spelling, as int64 where all are whole, else as float64."""
    import pyarrow.compute as pc

    plain = pc.replace_substring_regex(cells, r"^\+", "")
    plain = pc.replace_substring_regex(plain, r"^(-?[0-9]+)\.0*$", r"\1")
    if _all(plain, _WHOLE):
        return _whole(plain)
    values = pc.add(plain.cast(pa.float64()), 0.0)  # which makes 0 of -0
    if not _exact(plain, values):
        return _mixed(cells)
    if _are_small_and_whole(values):
        return values.cast(pa.int64())
    return values


def _exact(cells: Column, values: Column) -> bool:
    """Whether float64 rounds none of the cells that are plain digits, and none to infinity."""
    import pyarrow.compute as pc

    overflown = pc.and_(pc.is_inf(values), pc.match_substring_regex(cells, "[0-9]"))
    if pc.any(overflown).as_py():
        return False
    large = pc.and_(
        pc.match_substring_regex(cells, _DIGITS), pc.greater_equal(pc.abs(values), _EXACT)
    )
    written = cells.filter(large).to_pylist()
    return all(int(text) == int(float(text)) for text in written)


def _are_small_and_whole(values: Column) -> bool:
    import pyarrow.compute as pc

    known = values.drop_null()
    small = pc.less(pc.abs(known), _EXACT)
    whole = pc.equal(pc.trunc(known), known)
    return bool(pc.all(pc.and_(small, whole)).as_py())


def _truths(cells: Column) -> Column:
    import pyarrow.compute as pc

    lower = pc.replace_substring_regex(pc.utf8_lower(cells), r"\.0*$", "")
    true = pc.is_in(lower, value_set=pa.array(["true", "1"]))
    return nulled(true, cells.is_null())


def _mixed(cells: Column) -> Column:
    """Texts, among which a whole number stands without a point and zeros."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(cells, r"^(-?(0|[1-9][0-9]*))\.0*$", r"\1")
