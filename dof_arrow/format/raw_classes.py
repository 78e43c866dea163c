"""How many raw inputs are in each class (`provenance.raw`), never told of fewer than five.

What is told of fewer might be known to be of a certain one: a width that only one scanner has, a
size that is found again among a person's own files.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from operator import itemgetter

LEAST = 5  # inputs of a class
OTHER = "other"  # small classes together, and inputs of which nothing is told
NONE = "none"  # inputs that have no such fact

_LISTED = 8  # different numbers that are counted one by one; more are put into octaves
_TO = " to "


def classes(seen: Mapping[str, int]) -> dict[str, int] | None:
    """The inputs of each class, by how many there are of each value; None if all are too small.

    Many different numbers are put into classes between two powers of two.

    >>> classes({"RGB": 20, "L": 7, "P": 1})
    {'RGB': 20, 'other': 8}
    """
    named: Counter[str] = Counter()
    numbers = [name for name in seen if _number(name) is not None]
    in_octaves = len(numbers) > _LISTED or any(_TO in name for name in seen)
    for name in sorted(seen, key=_place):
        number = _number(name)
        if number is not None and in_octaves:
            named[octave(number)] += seen[name]
        else:
            named[name] += seen[name]
    return _pooled(named)


def octave(number: float) -> str:
    """The class of a number: between two powers of two, the smaller in magnitude included.

    >>> octave(1000), octave(-1), octave(0)
    ('512 to 1024', '-1 to -2', '0')
    """
    if not number:
        return "0"
    low = 2.0 ** math.floor(math.log2(abs(number)))
    sign = "-" if number < 0 else ""
    return f"{sign}{low:.15g}{_TO}{sign}{2 * low:.15g}"


def rounded(size: int) -> int:
    """A size to two digits: an exact one would tell what was added since another was told.

    >>> rounded(123_456)
    120000
    """
    return int(float(f"{size:.1e}"))


def _number(name: str) -> float | None:
    """The finite number that a value is, or None."""
    with suppress(ValueError):
        value = float(name)
        return value if math.isfinite(value) else None
    return None


def _place(name: str) -> tuple[int, float, str]:
    """Numbers by size, then texts, then what no value is known of: never the order of inputs."""
    if name in (NONE, OTHER):
        return 2, 0.0, name
    number = _number(name.partition(_TO)[0])
    return (1, 0.0, name) if number is None else (0, number, name)


def _pooled(named: Mapping[str, int]) -> dict[str, int] | None:
    """Counts with the small classes together as one; None if nothing else is left."""
    counts = dict(named)
    pooled = counts.pop(OTHER, 0)
    for name, count in sorted(counts.items(), key=itemgetter(1)):
        if count < LEAST or 0 < pooled < LEAST:
            pooled += counts.pop(name)
    if not counts.keys() - {NONE}:
        return None
    return counts | ({OTHER: pooled} if pooled else {})
