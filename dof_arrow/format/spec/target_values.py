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
    if target.kind == "survival":
        yield from _survival(name, column)
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


def _survival(name: str, column: pa.Array) -> Iterator[Problem]:
    """A survival target with a time below 0 or infinite, or with one of its two parts missing."""
    known = column.drop_null()
    times, events = known.field("time"), known.field("event")
    if times.null_count or events.null_count:
        found = "a part that is null"
        yield problem("target-value", f"column {name}", "a time and an event, or null", found)
    numbers = times.drop_null().to_numpy(zero_copy_only=False)
    wrong = numbers[~np.isfinite(numbers) | (numbers < 0)]
    if len(wrong):
        yield problem("target-value", f"column {name}", "finite times from 0", wrong[0])


def _names(name: str, target: Target, column: pa.Array) -> Iterator[Problem]:
    """A category whose values are not all names of its classes."""
    known = set(target.classes)
    for found in column.unique().drop_null().to_pylist():
        if found not in known:
            expected = ", ".join(target.classes[:_LISTED])
            yield problem("target-value", f"column {name}", expected, found)
            return
