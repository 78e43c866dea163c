"""Results in the order of what they were made of, a few of them made ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from dof_arrow.inference.in_order import in_order


def test_results_come_in_order_whoever_is_ready_first() -> None:
    def late(number: int) -> int:
        time.sleep(0.002 * (5 - number))
        return number

    assert list(in_order(late, range(5), workers=4)) == list(range(5))


def test_items_are_taken_by_the_caller_and_only_a_few_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            assert threading.current_thread() is threading.main_thread()
            taken.append(number)
            yield number

    results = in_order(abs, items(), workers=2)
    assert next(results) == 0
    assert len(taken) == 4
    results.close()  # type: ignore[attr-defined]
    assert len(taken) == 4


def test_threads_work_beside_one_another() -> None:
    both = threading.Barrier(2)

    def meets(number: int) -> int:
        both.wait(timeout=10)
        return number

    assert list(in_order(meets, range(4), workers=2)) == [0, 1, 2, 3]


def test_an_error_is_raised_in_its_place() -> None:
    results = in_order(lambda number: 6 // number, [3, 2, 0, 1], workers=2)
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
