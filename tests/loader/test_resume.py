"""Taken up again where it stopped: on other threads, ranks, with other batch sizes."""

from __future__ import annotations

import pickle
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from tests.loader.conftest import ROWS, same
from tests.support.making_rows import numbers


def test_d23_resume_at_200_random_stops_with_any_threads(ds: Dataset) -> None:
    """After `load_state_dict`, the batches are those that would have come."""
    options: dict[str, Any] = {
        "batch_size": 17,
        "shuffle": True,
        "target": "ill",
        "balance": "ill",
        "augment": {"noise": 0.5},
    }
    whole = ds.loader(**options)
    epochs = [list(whole), list(whole)]
    random = np.random.default_rng(0)
    for trial in range(200):
        stop = int(random.integers(0, len(whole) + 1))
        workers = trial % 3
        first = ds.loader(**options, workers=int(random.integers(3)))
        batches = iter(first)
        for _ in range(stop):
            next(batches)
        second = ds.loader(**options, workers=workers)
        second.load_state_dict(first.state_dict())
        expected = epochs[0][stop:] or epochs[1]
        assert same(chain.from_iterable(second), chain.from_iterable(expected))


def test_resume_twice_and_then_go_on(ds: Dataset) -> None:
    loader = ds.loader(batch_size=30, shuffle=True)
    expected = [numbers(loader) for _ in range(2)]
    other = ds.loader(batch_size=30, shuffle=True)
    other.load_state_dict({"seed": 0, "epoch": 0, "consumed": 60, "length": ROWS})
    assert other.state_dict()["consumed"] == 60
    assert numbers(other) == expected[0][60:] and numbers(other) == expected[1]


def test_resume_with_another_batch_size_and_seed(ds: Dataset) -> None:
    loader = ds.loader(batch_size=30, shuffle=True, seed=9)
    batches = iter(loader)
    head = numbers([next(batches), next(batches)])
    other = ds.loader(batch_size=11, shuffle=True)
    other.load_state_dict(loader.state_dict())
    assert sorted(head + numbers(other)) == list(range(ROWS))


def test_ranks_from_two_to_three_lose_and_double_nothing(ds: Dataset) -> None:
    two = [ds.loader(batch_size=16, shuffle=True, rank=r, world_size=2) for r in range(2)]
    seen: list[int] = []
    for loader in two:
        seen += numbers(islice(loader, 3))
    states = [loader.state_dict() for loader in two]
    assert states[0] == states[1]
    three = [ds.loader(batch_size=16, shuffle=True, rank=r, world_size=3) for r in range(3)]
    for loader in three:
        loader.load_state_dict(states[0])
    assert len({len(loader) for loader in three}) == 1
    for loader in three:
        seen += numbers(loader)
    assert sorted(seen) == list(range(ROWS))


def test_a_state_of_another_loader_is_refused(ds: Dataset) -> None:
    with pytest.raises(UsageError, match="another loader"):
        ds.loader().load_state_dict(ds[:50].loader().state_dict())
    with pytest.raises(UsageError, match="another loader"):
        ds.loader().load_state_dict({"epoch": 1})


def test_a_loader_goes_to_another_process(ds: Dataset) -> None:
    loader = ds.split("train").loader(batch_size=20, shuffle=True, target="label")
    batches = iter(loader)
    next(batches)
    again = pickle.loads(pickle.dumps(loader))
    assert numbers(again) == numbers(batches)
