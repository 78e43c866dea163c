"""Values worked out once: by one thread for each object, and by no thread for another object."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dof_arrow.once import once

AT_ONCE = 4
BARRIER = threading.Barrier(AT_ONCE)


class Slow:
    def __init__(self) -> None:
        self.times = 0

    @once
    def value(self) -> list[int]:
        """Waits for all others."""
        self.times += 1
        BARRIER.wait(20)
        return [self.times]


class Failing:
    tries = 0

    @once
    def value(self) -> int:
        self.tries += 1
        if self.tries == 1:
            raise ValueError("once")
        return self.tries


def test_no_object_waits_for_another_and_each_is_asked_once() -> None:
    """`functools.cached_property` lets them wait for one another, up to Python 3.11."""
    objects = [Slow() for _ in range(AT_ONCE)]
    with ThreadPoolExecutor(3 * AT_ONCE) as threads:
        found = list(threads.map(lambda each: each.value, objects * 3))
    assert found == [[1]] * len(found)
    assert all(one is another for one, another in zip(found, found[AT_ONCE:], strict=False))


def test_it_can_be_pickled_and_an_error_is_not_kept() -> None:
    failing = Failing()
    with pytest.raises(ValueError, match="once"):
        _ = failing.value
    assert failing.value == 2 and failing.value == 2
    assert pickle.loads(pickle.dumps(failing)).value == 2
    assert Slow.value.__doc__ == "Waits for all others."
