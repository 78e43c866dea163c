"""How fast this machine is at present, so that bounds in processor seconds are of work, not of machines."""

from __future__ import annotations

import time
from functools import cache

_KEYS = 100_000
_USUAL = 0.04  # processor seconds that the work below takes where the bounds were set
_TRIES = 5


@cache
def slowness() -> float:
    """How many times as long as usual work in Python takes here; at least 1.

    Two processors that are one core to the machine below, or a clock that is throttled, make it
    two.
    """
    return max(min(_taken() for _ in range(_TRIES)) / _USUAL, 1.0)


def _taken() -> float:
    start = time.process_time()
    lengths = {}
    for number in range(_KEYS):
        key = f"{number:06d}"
        lengths[key] = isinstance(number, int) and len(key)
    assert sum(lengths.values()) == 6 * _KEYS
    return time.process_time() - start
