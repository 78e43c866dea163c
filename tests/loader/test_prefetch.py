"""Work done ahead by threads, in order (rows G1, G2)."""

from __future__ import annotations

import threading
import time

import pytest

from dof_arrow.loader.prefetch import beside, ordered


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_results_come_in_order_whoever_is_quick(threads: int, ahead: int) -> None:
    def work(n: int) -> int:
        time.sleep(0.001 * (n * 7 % 3))
        return n * n

    assert list(ordered(range(30), work, threads, ahead)) == [n * n for n in range(30)]


def test_no_more_is_begun_than_asked_for() -> None:
    begun: list[int] = []
    results = ordered(range(100), begun.append, 2, 4)
    next(results), next(results)
    time.sleep(0.02)
    assert set(begun) == set(range(len(begun))) and len(begun) <= 1 + 4 + 1
    results.close()
    assert len(begun) < 100


def test_who_would_wait_works() -> None:
    """One thread, which cannot end one item before the next is done: the caller does that one."""
    done = threading.Event()

    def work(n: int) -> bool:
        if n == 2:
            done.set()
        return n != 1 or done.wait(timeout=30)

    assert all(ordered(range(4), work, threads=1, ahead=3))


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_an_error_comes_in_its_place_and_threads_end(threads: int) -> None:
    def work(n: int) -> int:
        return 10 // (5 - n)

    before = threading.active_count()
    results, seen = ordered(range(10), work, threads, 3), list[int]()
    with pytest.raises(ZeroDivisionError):
        for n in results:
            seen.append(n)
    assert seen == [2, 2, 3, 5, 10] and threading.active_count() == before


def test_an_interrupt_of_the_caller_comes_at_once() -> None:
    main, busy = threading.current_thread(), threading.Event()

    def work(n: int) -> int:
        if n and threading.current_thread() is main:
            busy.set()
            raise KeyboardInterrupt
        return n if n == 0 or busy.wait(timeout=30) else -1

    with pytest.raises(KeyboardInterrupt):
        list(ordered(range(9), work, threads=1, ahead=4))


def test_items_beside_which_a_thread_works() -> None:
    seen, before = list[int](), threading.active_count()
    assert list(beside(range(50), seen.append)) == list(range(50))
    assert set(seen) <= set(range(1, 50)) and threading.active_count() == before
