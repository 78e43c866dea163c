"""Columns computed by a function, row by row or batch by batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dof_arrow.errors import UsageError, whole_number
from dof_arrow.format.batch import arrow_array

if TYPE_CHECKING:
    from dof_arrow.dataset.dataset import Dataset

Function = Callable[[Any], Mapping[str, Any]]


def by_row(rows: Dataset, function: Function) -> dict[str, list[Any]]:
    """The columns that a function gives for each row, which it gets as a dict.

    What it gives back untouched of the row itself is no new column.
    """
    found: defaultdict[str, list[Any]] = defaultdict(list)
    new: set[str] = set()
    for number, row in enumerate(rows):
        before = dict(row)
        given = _checked(function(row), f"row {number}")
        _check_same(found, given, f"row {number}", number)
        for name, value in given.items():
            found[name].append(value)
            if name not in before or value is not before[name]:
                new.add(name)
    return {name: values for name, values in found.items() if name in new}


def by_batch(rows: Dataset, function: Function, size: int) -> dict[str, Any]:
    """The columns that a function gives for each batch, which it gets as a dataset of its rows."""
    if whole_number("batch_size", size) < 1:
        raise UsageError("batches need rows", "map", "batch_size of 1 or more", str(size))
    parts: defaultdict[str, list[pa.Array]] = defaultdict(list)
    for number, start in enumerate(range(0, len(rows), size)):
        batch = rows[start : start + size]
        where = f"rows {start} to {start + len(batch) - 1}"
        given = _checked(function(batch), where)
        _check_same(parts, given, where, number)
        for name, values in given.items():
            parts[name].append(_one_a_row(name, values, len(batch), where))
    return {name: _joined(name, arrays) for name, arrays in parts.items()}


def _checked(given: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping) or not given:
        raise UsageError(
            "the function gives no columns",
            where,
            "a dict of names and values",
            repr(given)[:80],
            'For example: ds.map(lambda row: {"long": row["time"] > 9})',
        )
    return given


def _check_same(
    found: Mapping[str, Any], given: Mapping[str, Any], where: str, number: int
) -> None:
    if number and set(given) != set(found):
        raise UsageError(
            "the function gives other columns than before",
            where,
            ", ".join(sorted(found)),
            ", ".join(map(str, sorted(given))),
        )


def _one_a_row(name: str, values: Any, count: int, where: str) -> pa.Array:
    plain = isinstance(values, (str, bytes)) or not hasattr(values, "__len__")
    if plain or len(values) != count:
        found = type(values).__name__ if plain else f"{len(values)}"
        raise UsageError(
            "a batch needs one value a row", f"column {name}, {where}", f"{count} values", found
        )
    return arrow_array(name, values)


def _joined(name: str, arrays: list[pa.Array]) -> pa.ChunkedArray:
    """The batches one after the other, in a type that holds the values of all."""
    tables = [pa.table({name: array}) for array in arrays]
    try:
        return pa.concat_tables(tables, promote_options="permissive").column(0)
    except pa.ArrowException:
        types = sorted({str(array.type) for array in arrays})
        raise UsageError(
            "values of different types", f"column {name}", "one type", ", ".join(types)
        ) from None
