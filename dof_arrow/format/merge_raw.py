"""What raw inputs were like (`provenance.raw`), of several datasets as one.

A value is one that all inputs share, or a count of inputs for each class (`raw_classes`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from dof_arrow.format.raw_classes import OTHER, classes, rounded
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import COUNTED

OF_INPUTS = (*COUNTED, "bytes", "broken")  # what counts inputs, beside how clips were sampled


def merged_raw(parts: Sequence[Mapping[str, Json]], rows: Sequence[int]) -> dict[str, Json]:
    """What the raw inputs of all parts were like; `rows` counts the inputs of each part.

    >>> merged_raw([{"width": 64, "bytes": 500}, {"width": 32, "bytes": 60}], [10, 30])
    {'width': {'32': 30, '64': 10}, 'bytes': 560}
    """
    merged = {}
    for name in dict.fromkeys(chain(*parts)):
        told = [(part.get(name), count) for part, count in zip(parts, rows, strict=True)]
        value = _merged(name, told)
        if value is not None:
            merged[name] = value
    return merged


def _merged(name: str, told: Sequence[tuple[Any, int]]) -> Json:
    """One fact of all parts: a sum, what all share, else counts; None if nothing."""
    values = [value for value, _ in told]
    if name == "broken":
        return sum(value or 0 for value in values)
    if name == "bytes":
        # A part that does not say how large its inputs are leaves no sum.
        known = all(value is not None for value, count in told if count)
        return rounded(sum(value or 0 for value in values)) if known else None
    first = values[0]
    # Equal counts of two parts are not the counts of both together.
    is_count = name in COUNTED and isinstance(first, dict)
    if not is_count and all(value == first for value in values):
        return first
    return classes(_counts(told)) if name in COUNTED else None


def _counts(told: Sequence[tuple[Any, int]]) -> Counter[str]:
    """How many inputs had which value; a part whose inputs share one says only that value."""
    seen: Counter[str] = Counter()
    for value, count in told:
        if value is None or _is_range(value):  # nothing is told of how many had which
            seen[OTHER] += count
        elif isinstance(value, dict):
            seen.update(value)
            seen[OTHER] += count - sum(value.values())
        else:
            seen[str(value)] += count
    return +seen


def _is_range(value: Any) -> bool:
    """Whether only the least and the greatest value are told, as earlier versions did."""
    return isinstance(value, dict) and "min" in value
