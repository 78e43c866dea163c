"""How often each value of a column occurs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def value_counts(column: pa.ChunkedArray, classes: Sequence[str] | None = None) -> dict[Any, int]:
    """How many rows have each value; rows without one are not counted.

    With `classes` the keys are these names, in their order and also of no rows; the column holds
    names or their codes. In a column of lists a row counts for each value of its list.

    >>> value_counts(pa.chunked_array([["b", "a", "b", None]]))
    {'b': 2, 'a': 1}
    >>> value_counts(pa.chunked_array([[[0], [0, 1]]]), ["x", "y", "z"])
    {'x': 2, 'y': 1, 'z': 0}
    """
    values = column.drop_null()
    if pa.types.is_list(values.type):
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        values = values.flatten()
    counts = {pair["values"]: pair["counts"] for pair in values.value_counts().to_pylist()}
    if classes is None:
        return counts
    return {name: counts.get(name, counts.get(code, 0)) for code, name in enumerate(classes)}
