from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dof_arrow.errors import UsageError
from dof_arrow.sampling.samplers import Every, balanced, bins, by_code, views, weighted

CODES = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(np.array)


@given(CODES, st.integers(0, 9), st.integers(0, 100))
def test_every_row_of_every_class_is_drawn_and_classes_equally_often(
    codes: np.ndarray, seed: int, epoch: int
) -> None:
    """G6: over-sampling there used fewer than half of the positives."""
    draw = balanced(codes, None, seed)
    units = draw.units(np.arange(draw.length), epoch)
    assert set(units.tolist()) == set(range(len(codes)))
    drawn = np.bincount(codes[units])
    assert len(set(drawn[drawn > 0].tolist())) == 1
    times = np.bincount(units)
    assert all(np.ptp(times[codes == code]) <= 1 for code in np.unique(codes))


def test_a_chosen_share_of_positives() -> None:
    codes = (np.arange(1000) % 20 == 0).astype(int)  # 5% positive
    draw = balanced(codes, {0: 0.7, 1: 0.3}, seed=0)
    units = draw.units(np.arange(draw.length), epoch=3)
    assert codes[units].mean() == pytest.approx(0.3, abs=0.001)
    assert set(units.tolist()) == set(range(1000))


def test_a_share_below_the_natural_one_draws_the_others_more_often() -> None:
    codes = np.repeat([0, 1], [100, 300])
    units = (draw := balanced(codes, {0: 0.5, 1: 0.5}, seed=0)).units(np.arange(draw.length), 0)
    assert np.bincount(codes[units]).tolist() == [300, 300] and len(set(units.tolist())) == 400


def test_extra_draws_go_round() -> None:
    draw = balanced(np.repeat([0, 1], [10, 3]), None, seed=0)
    times = sum(np.bincount(draw.units(np.arange(draw.length), e), minlength=13) for e in range(30))
    assert times[10:].tolist() == [100, 100, 100] and times[:10].tolist() == [30] * 10


def test_shares_without_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="share without rows"):
        balanced(np.zeros(5, int), {0: 0.5, 1: 0.5}, seed=0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=100).map(np.array), st.integers(1, 30))
def test_bins_hold_every_value_in_order(values: np.ndarray, count: int) -> None:
    found = bins(values, count)
    assert ((found >= 0) & (found < count)).all()
    assert (np.diff(found[np.argsort(values)]) >= 0).all()


def test_bins_need_a_count() -> None:
    with pytest.raises(UsageError, match="20"):
        bins(np.ones(3), 0)


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=50).filter(any).map(np.array),
    st.integers(0, 20),
)
def test_weights_are_met_within_one_draw(weights: np.ndarray, epoch: int) -> None:
    draw = weighted(weights, seed=1)
    times = np.bincount(draw.units(np.arange(draw.length), epoch), minlength=len(weights))
    share = weights / weights.sum() * len(weights)
    assert times.sum() == len(weights) and (np.abs(times - share) < 1 + 1e-6).all()


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_weights_that_cannot_be(weights: list[float]) -> None:
    with pytest.raises(UsageError, match="weights"):
        weighted(np.array(weights), seed=0)


def test_first_and_random_views() -> None:
    records, number = np.array([7, 7, 7, 3, 3, 9]), np.array([2, 0, 1, 0, 1, 0])
    first = views(records, number, random=False, seed=0)
    assert first.rows(np.arange(3), 0).tolist() == first.plain.tolist() == [1, 3, 5]
    drawn = views(records, number, random=True, seed=0)
    seen = [drawn.rows(np.arange(3), epoch).tolist() for epoch in range(100)]
    assert {rows[0] for rows in seen} == {0, 1, 2} and {rows[1] for rows in seen} == {3, 4}
    assert {rows[2] for rows in seen} == {5}
    assert seen == [
        views(records, number, random=True, seed=0).rows(np.arange(3), e).tolist()
        for e in range(100)
    ]


def test_every_is_the_slots_themselves() -> None:
    assert Every(4).units(np.array([3, 1]), epoch=9).tolist() == [3, 1]


def test_codes_sorted_with_a_second_order() -> None:
    order, starts = by_code(np.array([1, 0, 1]), 3, then=np.array([5, 0, 4]))
    assert order.tolist() == [1, 2, 0] and starts.tolist() == [0, 1, 3, 3]
