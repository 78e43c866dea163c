"""Whether the values of a target are what its kind allows (SPEC 4.3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dof_arrow.errors import Problem
from dof_arrow.format.spec.metadata import Target
from dof_arrow.format.spec.names import holds_names
from dof_arrow.format.spec.rules import problem

_LISTED = 10  # classes in a message


def problems(name: str, target: Target, column: pa.Array) -> Iterator[Problem]:
    """A value of a target that is no class of it, or no finite number."""
    if holds_names(column.type):
        yield from _names(name, target, column)
        return
    if pa.types.is_list(column.type):
        column = column.flatten()
    numbers = column.drop_null().to_numpy(zero_copy_only=False)
    if target.kind == "regression":
        expected = "finite numbers, null where unknown"
        is_wrong = ~np.isfinite(numbers)
    else:
        count = len(target.classes)
        expected = f"0 to {count - 1}"
        is_wrong = (numbers < 0) | (numbers >= count)
    wrong = numbers[is_wrong]
    if len(wrong):
        yield problem("target-value", f"column {name}", expected, wrong[0])


def _names(name: str, target: Target, column: pa.Array) -> Iterator[Problem]:
    """A category whose values are not all names of its classes."""
    known = set(target.classes)
    for found in column.unique().drop_null().to_pylist():
        if found not in known:
            expected = ", ".join(target.classes[:_LISTED])
            yield problem("target-value", f"column {name}", expected, found)
            return
