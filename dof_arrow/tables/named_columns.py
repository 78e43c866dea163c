"""Columns by name, as callers have them: a mapping, a frame of any library, an Arrow table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from dof_arrow.errors import UsageError


def named_columns(columns: Any) -> Mapping[str, Any]:
    """Columns by name; UsageError for what has no columns, and for names that are no texts.

    >>> list(named_columns(pa.table({"age": [1, 2]})))
    ['age']
    """
    if isinstance(columns, Mapping):
        check_names(columns)
        return columns
    if hasattr(columns, "items"):  # of pandas, whose missing values are not Arrow's
        pairs = [(str(name), values) for name, values in columns.items()]
    else:
        table = as_table(columns)
        pairs = list(zip(table.column_names, table.columns, strict=True))
    found = dict(pairs)
    if len(found) < len(pairs):
        names = ", ".join(name for name, _ in pairs)
        raise UsageError("two columns of one name", "columns", "each name once", names)
    return found


def check_names(names: Iterable[Any], *besides: type) -> None:
    """Refuse names of columns that are no texts, nor of these types `besides`, by UsageError."""
    wrong = [repr(name) for name in names if not isinstance(name, (str, *besides))]
    if wrong:
        raise UsageError("names of columns are texts", "columns", "str", ", ".join(wrong)[:200])


def as_table(given: Any) -> pa.Table:
    """What speaks Arrow, or a `Dataset` of Hugging Face, as an Arrow table; UsageError if neither.

    >>> as_table({"id": ["a", "b"]}).num_rows
    2
    """
    if isinstance(given, pa.Table):
        return given
    is_dataset = hasattr(given, "with_format") and hasattr(given, "data")  # Hugging Face `datasets`
    if is_dataset and isinstance(given, Mapping):
        raise UsageError(
            "several tables", "table", "one dataset", ", ".join(given), "Choose a split: data[NAME]"
        )
    if is_dataset:
        given = given.with_format("arrow")[:]
    try:
        return pa.table(given)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise UsageError(
            "no table", "table", "what speaks Arrow", f"{type(given).__name__}: {error}"[:200]
        ) from None
