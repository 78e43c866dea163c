"""Which row comes when, and on which rank."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dof_arrow.sampling.blocks import Blocks, Listed, Runs
from dof_arrow.sampling.plan import Groups, Plan, shares, steps
from dof_arrow.sampling.samplers import Every, balanced, by_code, views


def positions_of(
    world_size: int,
    length: int,
    batch_size: int,
    consumed: int = 0,
    drop_last: bool = False,
) -> list[Any]:
    return [
        list(
            shares(
                length,
                consumed,
                batch_size=batch_size,
                rank=rank,
                world_size=world_size,
                drop_last=drop_last,
            )
        )
        for rank in range(world_size)
    ]


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 7), st.booleans())
def test_ranks_share_every_position_once_in_equally_many_batches(
    length: int,
    batch_size: int,
    world_size: int,
    drop_last: bool,
) -> None:
    assume(length >= world_size)
    ranks = positions_of(world_size, length, batch_size, drop_last=drop_last)
    seen = sorted(p for rank in ranks for share in rank for p in range(share.start, share.stop))
    count = steps(length, batch_size=batch_size, world_size=world_size, drop_last=drop_last)
    assert {len(rank) for rank in ranks} == ({count} if count else {0})
    full = batch_size * world_size
    assert seen == list(range(length - length % full if drop_last else length))
    sizes = np.array([[s.stop - s.start for s in rank] for rank in ranks])
    assert not count or (
        np.ptp(sizes, axis=0).max() <= 1 and sizes.max() <= batch_size + (batch_size == 1)
    )
    assert [s.consumed for s in ranks[0]] == [s.consumed for s in ranks[-1]]


@given(
    st.integers(1, 300),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 20),
)
def test_nothing_is_lost_or_doubled_when_ranks_change(
    length: int,
    batch_size: int,
    before: int,
    after: int,
    stop: int,
) -> None:
    assume(length >= before)
    first = positions_of(before, length, batch_size)
    done = [share for rank in first for share in rank[:stop]]
    consumed = max((share.consumed for share in done), default=0)
    rest = [share for rank in positions_of(after, length, batch_size, consumed) for share in rank]
    seen = sorted(p for share in done + rest for p in range(share.start, share.stop))
    assert seen == list(range(length))


@given(st.integers(1, 300), st.integers(1, 20), st.integers(1, 4), st.integers(0, 40))
def test_what_comes_after_a_stop_is_what_would_have_come(
    length: int, batch_size: int, world: int, stop: int
) -> None:
    assume(length >= world)
    for rank in positions_of(world, length, batch_size):
        if stop < len(rank):
            consumed = rank[stop - 1].consumed if stop else 0
            index = positions_of(world, length, batch_size).index(rank)
            assert positions_of(world, length, batch_size, consumed)[index] == rank[stop:]


@given(st.integers(1, 200), st.integers(0, 5), st.integers(0, 5))
def test_a_shuffled_epoch_is_a_permutation_of_its_own(rows: int, seed: int, epoch: int) -> None:
    plan = Plan(draw=Every(rows), seed=seed, shuffle=True)
    order = plan.rows(epoch, np.arange(rows))
    assert sorted(order.tolist()) == list(range(rows))
    assert rows < 30 or order.tolist() != plan.rows(epoch + 1, np.arange(rows)).tolist()
    part = np.arange(rows)[::3]
    assert plan.rows(epoch, part).tolist() == order[part].tolist()


def test_groups_stay_together_and_are_shuffled() -> None:
    codes = np.arange(60) % 7
    plan = Plan(draw=Every(60), shuffle=True, groups=Groups(*by_code(codes, 7)))
    epochs = [plan.rows(epoch, np.arange(60)) for epoch in range(2)]
    for order in epochs:
        assert sorted(order.tolist()) == list(range(60))
        runs = [group for group, _ in groupby(codes[order].tolist())]
        assert len(runs) == 7
        assert all((np.diff(order[codes[order] == group]) > 0).all() for group in range(7))
    assert epochs[0].tolist() != epochs[1].tolist()


def runs(numbers: np.ndarray[Any, Any]) -> Runs:
    return Runs.of_sizes(np.bincount(numbers).tolist())


@pytest.mark.parametrize("kind", [runs, Listed])
def test_blocks_are_read_once_each_in_a_new_order(kind: Callable[..., Blocks]) -> None:
    blocks = np.repeat(np.arange(10), 100)
    plan = Plan(draw=Every(1000), shuffle=True, blocks=kind(blocks), window=2)
    order = plan.rows(0, np.arange(1000))
    assert sorted(order.tolist()) == list(range(1000))
    windows = [set(blocks[order[i : i + 200]].tolist()) for i in range(0, 1000, 200)]
    assert all(len(window) == 2 for window in windows) and len(set().union(*windows)) == 10
    assert plan.rows(1, np.arange(1000)).tolist() != order.tolist()
    assert len(set(blocks[order[:20]].tolist())) == 2  # rows of a window are mixed
    first = dict.fromkeys(blocks[order].tolist())
    assert {*plan.block_order(0)[:2]} == {*list(first)[:2]} and {*plan.block_order(0)} == {*first}
    assert plan.rows(0, np.arange(990, 5, -7)).tolist() == order[990:5:-7].tolist()


def test_balance_and_blocks_together() -> None:
    blocks, codes = np.repeat(np.arange(5), 40), (np.arange(200) % 10 == 0).astype(int)
    plan = Plan(draw=balanced(codes, None, 0), shuffle=True, blocks=Listed(blocks))
    order = plan.rows(0, np.arange(plan.length))
    assert codes[order].mean() == 0.5 and len([b for b, _ in groupby(blocks[order].tolist())]) == 5


def test_drawn_rows_of_a_random_view() -> None:
    records = np.repeat(np.arange(50), 4)
    seen = views(records, np.tile(np.arange(4), 50), random=True, seed=0)
    plan = Plan(draw=Every(50), shuffle=True, views=seen)
    epochs = [plan.rows(epoch, np.arange(50)) for epoch in range(3)]
    assert all(sorted(records[rows].tolist()) == list(range(50)) for rows in epochs)
    assert len({tuple(sorted(rows.tolist())) for rows in epochs}) == 3
