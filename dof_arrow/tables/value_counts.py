"""How often each value of a column occurs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.arrow import is_list


def value_counts(column: pa.ChunkedArray, classes: Sequence[str] | None = None) -> dict[Any, int]:
    """How many rows have each value; rows without one are not counted.

    With `classes` the keys are these names, in their order and also of no rows; the column holds
    names or their codes. In a column of lists a row counts for each value of its list. Raises
    UsageError for values that cannot be counted, such as pairs.

    >>> value_counts(pa.chunked_array([["b", "a", "b", None]]))
    {'b': 2, 'a': 1}
    >>> value_counts(pa.chunked_array([[[0], [0, 1]]]), ["x", "y", "z"])
    {'x': 2, 'y': 1, 'z': 0}
    """
    values = column.drop_null()
    try:
        if is_list(values.type):
            values = _once_a_row(values)
        pairs = values.value_counts().to_pylist()
    except pa.ArrowException:
        raise UsageError(
            "values that cannot be counted",
            "value_counts",
            "texts, numbers, times, truth values, or lists of them",
            str(column.type),
        ) from None
    counts = {pair["values"]: pair["counts"] for pair in pairs}
    if classes is None:
        return counts
    return {name: counts.get(name, counts.get(code, 0)) for code, name in enumerate(classes)}


def _once_a_row(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of all lists, those that stand in a list several times once."""
    import pyarrow.compute as pc

    rows = pc.list_parent_indices(lists)
    pairs = pa.table({"row": rows, "value": pc.list_flatten(lists)})
    # Without threads, as in `conditions.rows_where`.
    different = pairs.group_by(["row", "value"], use_threads=False).aggregate([])
    return different.column("value").drop_null()
