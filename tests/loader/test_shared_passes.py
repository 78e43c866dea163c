"""Workers agree on which pass is which, however late they come."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.loader.shared_passes import PLACES, SharedPasses


def passes(lock: str = "", shared: Any = None) -> SharedPasses:
    memory = np.zeros(PLACES, np.int64) if shared is None else shared
    return SharedPasses(memory, lambda: False, lock)


def test_workers_of_one_seed_are_in_one_pass_and_each_pass_is_an_epoch() -> None:
    found = passes()
    found.restart(3, 40)
    assert [found.join(worker, seed=9) for worker in range(3)] == [(3, 40)] * 3
    assert [found.join(worker, seed=5) for worker in range(3)] == [(4, 0)] * 3
    assert found.count() == 2 and found.place(3) == (5, 0)


def test_the_same_seed_again_is_the_next_pass() -> None:
    found = passes()
    epochs = [[found.join(worker, seed=1)[0] for worker in (0, 1)] for _ in range(3)]
    assert epochs == [[0, 0], [1, 1], [2, 2]]


def test_a_worker_of_a_pass_that_was_broken_off_may_come_late() -> None:
    """It takes no number of its own, and hides none from the workers of the pass that runs."""
    found = passes()
    assert found.join(0, seed=7) == (0, 0)
    assert found.join(0, seed=8) == (1, 0)
    assert found.join(1, seed=7) == (0, 0)
    assert found.join(0, seed=7) == (2, 0)  # the same seed in a worker that had it: a new pass
    assert found.join(1, seed=8) == (1, 0)


def test_more_passes_than_are_remembered() -> None:
    found = passes()
    for number in range(3000):
        assert found.join(0, seed=number) == found.join(1, seed=number) == (number, 0)


def _claim(lock: str, shared: Any, seed: int, start: Any) -> None:
    memory = np.frombuffer(shared.get_obj(), np.int64)
    start.wait()
    for turn in range(50):
        passes(lock, memory).join(seed, seed * 1000 + turn)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_that_begin_passes_at_once_take_each_a_number() -> None:
    context = multiprocessing.get_context("spawn")
    shared = context.Array("q", PLACES)
    start = context.Event()
    owner = passes(shared=np.frombuffer(shared.get_obj(), np.int64))
    workers = []
    for seed in range(1, 4):
        work = context.Process(target=_claim, args=(owner.lock, shared, seed, start))
        workers.append(work)
        work.start()
    start.set()
    for work in workers:
        work.join()
        assert work.exitcode == 0
    assert owner.count() == 150


def test_the_lock_file_goes_with_its_owner() -> None:
    found = passes()
    lock = Path(found.lock)
    assert lock.exists()
    del found
    assert not lock.exists()
