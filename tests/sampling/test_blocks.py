"""Epochs in windows of blocks: each row once, uniform, from any position, over a billion rows too."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dof_arrow.sampling.blocks import Listed, Runs, Windows, joined
from dof_arrow.sampling.plan import Plan, shares
from dof_arrow.sampling.samplers import Every

BILLION = 10**9
SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any)


@given(SIZES, st.integers(1, 5), st.integers(0, 9))
def test_each_row_once_and_each_block_in_one_window(
    sizes: list[int], window: int, seed: int
) -> None:
    runs = Runs.of_sizes(sizes)
    epoch = Windows(runs, window, seed, epoch=1)
    rows = epoch.rows(np.arange(sum(sizes)))
    assert sorted(rows.tolist()) == list(range(sum(sizes)))
    seen = list(dict.fromkeys(runs.of(rows).tolist()))
    assert sorted(seen) == sorted(epoch.numbers.tolist()) == [n for n, s in enumerate(sizes) if s]
    part = np.arange(sum(sizes))[::-2]
    assert epoch.rows(part).tolist() == rows[part].tolist()


@given(SIZES, st.data())
def test_parts_and_chains_know_their_blocks(sizes: list[int], data: st.DataObject) -> None:
    runs = Runs.of_sizes(sizes)
    start = data.draw(st.integers(0, sum(sizes) - 1))
    stop = data.draw(st.integers(start + 1, sum(sizes)))
    part, rows = runs.part(start, stop), np.arange(stop - start)
    assert part.of(rows).tolist() == runs.of(rows + start).tolist()
    for other in (part, Listed(part.of(rows))):
        whole = joined([runs, other], [sum(sizes), len(rows)], [0, len(sizes)])
        found = whole.of(np.arange(sum(sizes) + len(rows)))
        expected = [*runs.of(np.arange(sum(sizes))), *(part.of(rows) + len(sizes))]
        assert found.tolist() == expected


def chi_square(counts: np.ndarray) -> float:
    """The probability that uniform counts are as uneven as these."""
    stats = pytest.importorskip("scipy.stats")
    return float(stats.chisquare(counts).pvalue)


def test_the_row_at_a_position_is_any_row_over_many_epochs() -> None:
    runs = Runs.of_sizes([1000] * 50)
    rows = [Windows(runs, 4, 0, epoch).rows(np.array([0, 12_345])) for epoch in range(1500)]
    for column in np.array(rows).T:
        assert chi_square(np.bincount(column // 500, minlength=100)) > 1e-4


def test_rows_of_a_window_are_in_any_order() -> None:
    runs, first = Runs.of_sizes([1000] * 50), []
    for epoch in range(50):
        windows = Windows(runs, 4, 0, epoch)
        order = dict(zip(windows.numbers.tolist(), range(50), strict=True))
        rows = windows.rows(np.arange(400))  # the first tenth of the first window
        first += [order[row // 1000] * 1000 + row % 1000 for row in rows.tolist()]
    assert chi_square(np.bincount(np.array(first) // 40, minlength=100)) > 1e-4


def test_row_d16_a_billion_rows_in_ten_thousand_parts() -> None:
    """Row D16: the plan costs what its runs cost, and goes on from anywhere."""
    runs = Runs.of_sizes([32_768] * 30_517 + [BILLION - 32_768 * 30_517])
    tracemalloc.start()
    begun = time.perf_counter()
    plan = Plan(draw=Every(BILLION), shuffle=True, blocks=runs, window=2)
    batch = plan.rows(0, np.arange(4096))
    taken, most = time.perf_counter() - begun, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 5 and most < 50e6
    assert len(set(batch.tolist())) == 4096 and len(set(runs.of(batch).tolist())) == 2
    assert len(plan.block_order(0)) == len(runs.numbers)
    dealt = shares(BILLION, 700_000_000, batch_size=4096)
    share = next(dealt)
    again = Plan(draw=Every(BILLION), shuffle=True, blocks=runs, window=2)
    positions = np.arange(share.start, share.stop)
    assert again.rows(0, positions).tolist() == plan.rows(0, positions).tolist()
    some = np.random.default_rng(0).integers(0, BILLION, 100_000)
    assert chi_square(np.bincount(plan.rows(0, some) // 10**7, minlength=100)) > 1e-4
