from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dof_arrow.sampling.permutation import Permutation, key, scatter


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_each_number_once(n: int, seed: int) -> None:
    assert np.array_equal(np.sort(Permutation(n, seed)(np.arange(n))), np.arange(n))


@given(
    st.integers(1, 2**40), st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**40), max_size=20)
)
def test_any_position_of_any_size_alone(n: int, seed: int, positions: list[int]) -> None:
    at = np.array(positions, np.int64) % n
    values = Permutation(n, seed)(at)
    assert ((values >= 0) & (values < n)).all()
    assert len(set(values.tolist())) == len(set(at.tolist()))
    assert [Permutation(n, seed)(at[i : i + 1])[0] for i in range(len(at))] == values.tolist()


@pytest.mark.parametrize("n", [1, 2, 50, 5000, 300_001])
def test_looked_up_or_computed_is_the_same(n: int) -> None:
    """An order that is asked for many numbers looks its steps up, one asked for few does not."""
    much_asked = Permutation(n, 7)
    order = np.concatenate([much_asked(part) for part in np.array_split(np.arange(n), 3)])
    for at in np.linspace(0, n - 1, 30).astype(np.int64):
        assert Permutation(n, 7)(np.array([at]))[0] == order[at]


def test_equal_on_every_machine() -> None:
    assert Permutation(10, 3)(np.arange(10)).tolist() == [9, 2, 5, 6, 0, 8, 3, 1, 4, 7]
    assert Permutation(10**9, 3)(np.arange(3)).tolist() == [807370426, 995650916, 470124895]
    assert key(0, 1, "shuffle") == 2_127_414_341_568_889_917


@pytest.mark.parametrize("n", [20, 1000, 20_000])
def test_rows_stand_anywhere_equally_often(n: int) -> None:
    """Chi-square of 20 rows' positions over 1,000 epochs, 20 places: p > 1e-4 for every row."""
    epochs, rows, places = 1000, 20, 20
    inverse = np.empty((epochs, rows), np.int64)
    wanted = np.linspace(0, n - 1, rows).astype(np.int64)
    for epoch in range(epochs):
        order = Permutation(n, key(0, epoch))(np.arange(n))
        place = np.empty(n, np.int64)
        place[order] = np.arange(n)
        inverse[epoch] = place[wanted] * places // n
    expected = epochs / places
    chi = [
        ((np.bincount(column, minlength=places) - expected) ** 2 / expected).sum()
        for column in inverse.T
    ]
    assert max(chi) < 51.0  # 19 degrees of freedom: p = 1e-4 / 1 row at 50.8


def test_small_orders_are_all_equally_likely() -> None:
    """All 120 orders of five rows, 6,000 epochs."""
    orders = [tuple(Permutation(5, key(1, epoch))(np.arange(5)).tolist()) for epoch in range(6_000)]
    counts = np.unique(
        [sum(v * 5**i for i, v in enumerate(order)) for order in orders], return_counts=True
    )[1]
    assert len(counts) == 120
    assert ((counts - 50) ** 2 / 50).sum() < 186  # 119 degrees of freedom: p = 1e-4


def test_the_first_batch_of_a_billion_costs_no_permutation() -> None:
    permutation, times = Permutation(10**9, 0), []
    for _ in range(20):
        start = time.perf_counter()
        permutation(np.arange(256))
        times.append(time.perf_counter() - start)
    assert (
        min(times) < 1e-3
    )  # measured: 53 us; a permutation held in memory would take 10 s and 8 GB


def test_scatter_is_even_and_within_bounds() -> None:
    drawn = scatter(np.arange(100_000), 10, seed=5)
    counts = np.bincount(drawn, minlength=10)
    assert (
        len(counts) == 10 and ((counts - 10_000) ** 2 / 10_000).sum() < 34
    )  # 9 degrees of freedom: p = 1e-4
    assert (scatter(np.arange(50), np.arange(50) + 1, seed=1) <= np.arange(50)).all()
