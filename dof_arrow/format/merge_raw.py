"""What raw inputs were like (`provenance.raw`), of several datasets as one.

A value is one that all inputs share, or a count of inputs for each value, or a range.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import COUNTED

_ADDED = ("bytes", "broken")  # numbers that are sums
_LISTED = 8  # so many different numbers are counted one by one; of more, only the range is said


def merged_raw(parts: Sequence[Mapping[str, Json]], rows: Sequence[int]) -> dict[str, Json]:
    """What the raw inputs of all parts were like; `rows` counts the inputs of each part.

    >>> merged_raw([{"width": 64, "bytes": 5}, {"width": 32, "bytes": 6}], [1, 3])
    {'width': {'64': 1, '32': 3}, 'bytes': 11}
    """
    merged = {}
    for name in dict.fromkeys(chain(*parts)):
        value = _merged(name, [part.get(name) for part in parts], rows)
        if value is not None:
            merged[name] = value
    return merged


def _merged(name: str, values: Sequence[Any], rows: Sequence[int]) -> Json:
    """One fact of all parts: a sum, what all share, else counts or a range; None if nothing."""
    if name in _ADDED:
        return sum(value or 0 for value in values)
    first = values[0]
    # Equal counts of two parts are not the counts of both together.
    is_count = name in COUNTED and isinstance(first, dict)
    if not is_count and all(value == first for value in values):
        return first
    if name not in COUNTED:
        return None
    if any(map(_is_range, values)):
        return _range(values)
    seen = _counts(values, rows)
    if len(seen) > _LISTED and all(map(_is_number, seen)):
        return _range(values)
    return dict(seen)


def _counts(values: Sequence[Any], rows: Sequence[int]) -> Counter[str]:
    """How many inputs had which value; a part whose inputs share one says only that value."""
    seen: Counter[str] = Counter()
    for value, count in zip(values, rows, strict=True):
        if isinstance(value, dict):
            seen.update(value)
        elif value is None:
            seen.update(none=count)
        else:
            seen.update({str(value): count})
    return seen


def _range(values: Sequence[Any]) -> Json:
    """The least and the greatest number among values, counted values and ranges."""
    numbers: list[float] = []
    for value in values:
        numbers += map(float, filter(_is_number, _items(value)))
    if not numbers:
        return None
    return {"min": _whole(min(numbers)), "max": _whole(max(numbers))}


def _items(value: Any) -> list[Any]:
    """The values that a value, a range or counts speak of."""
    if _is_range(value):
        return [value["min"], value["max"]]
    if isinstance(value, dict):
        return list(value)
    return [value]


def _is_range(value: Any) -> bool:
    return isinstance(value, dict) and "min" in value


def _whole(number: float) -> int | float:
    return int(number) if number.is_integer() else number


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True
