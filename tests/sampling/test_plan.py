from __future__ import annotations

from collections import Counter
from itertools import groupby
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dof_arrow.errors import UsageError
from dof_arrow.sampling.plan import Groups, Plan, shares, steps
from dof_arrow.sampling.samplers import Every, balanced, by_code, views
from dof_arrow.sampling.splits import check_groups, parse_fractions, split_by_fraction

THREE = {"train": 0.8, "valid": 0.1, "test": 0.1}
GROUPS = st.lists(st.text("abcdef", min_size=1, max_size=2), max_size=200)
SEEDS = st.integers(0, 2**63)


@given(GROUPS, SEEDS)
def test_no_group_is_parted(groups: list[str], seed: int) -> None:
    splits = split_by_fraction(groups, THREE, seed=seed)
    assert len(splits) == len(groups) and set(splits) <= set(THREE)
    check_groups(groups, splits)


@given(GROUPS, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(groups: list[str], seed: int, random: Random) -> None:
    before = dict(zip(groups, split_by_fraction(groups, THREE, seed=seed), strict=True))
    random.shuffle(groups)
    assert dict(zip(groups, split_by_fraction(groups, THREE, seed=seed), strict=True)) == before


@given(GROUPS, SEEDS)
def test_fractions_are_met_within_the_largest_group(groups: list[str], seed: int) -> None:
    rows = Counter(split_by_fraction(groups, THREE, seed=seed))
    largest = max(Counter(groups).values(), default=1)
    for name, fraction in THREE.items():
        assert abs(rows[name] - fraction * len(groups)) < largest + 1e-3


@given(st.integers(0, 500), SEEDS)
def test_single_rows_meet_fractions_within_one(count: int, seed: int) -> None:
    rows = Counter(split_by_fraction([str(i) for i in range(count)], THREE, seed=seed))
    assert all(abs(rows[name] - fraction * count) < 1 + 1e-3 for name, fraction in THREE.items())


def test_strata_meet_fractions_too() -> None:
    labels = ["rare"] * 50 + ["common"] * 950
    splits = split_by_fraction([str(i) for i in range(1000)], THREE, stratify=labels)
    rows = Counter(zip(labels, splits, strict=True))
    assert rows["rare", "train"] == 40 and rows["rare", "test"] == 5 and rows["rare", "valid"] == 5
    assert rows["common", "train"] == 760


def test_many_small_strata_do_not_add_up_to_a_wrong_whole() -> None:
    labels = [str(i // 2) for i in range(400)]
    rows = Counter(split_by_fraction([str(i) for i in range(400)], THREE, stratify=labels))
    assert abs(rows["train"] - 320) <= 2 and abs(rows["test"] - 40) <= 2


def test_strata_keep_groups_whole() -> None:
    groups = [str(i // 3) for i in range(300)]
    splits = split_by_fraction(groups, THREE, stratify=[i % 2 for i in range(300)])
    check_groups(groups, splits)


def test_seeds_differ_and_large_groups_are_not_always_in_train() -> None:
    groups = ["big"] * 10 + [str(i) for i in range(190)]
    half = {"train": 0.5, "test": 0.5}
    seen = Counter(split_by_fraction(groups, half, seed=seed)[0] for seed in range(200))
    assert 70 < seen["train"] < 130


def test_every_row_is_as_likely_to_be_tested() -> None:
    names = [str(i) for i in range(20)]
    tested = Counter(
        name
        for seed in range(1000)
        for name, split in zip(
            names, split_by_fraction(names, {"train": 0.8, "test": 0.2}, seed=seed), strict=True
        )
        if split == "test"
    )
    chi_square = sum((tested[name] - 200) ** 2 / 200 for name in names)
    assert chi_square < 50  # 19 degrees of freedom: p = 1.3e-4


def test_equal_on_every_machine() -> None:
    assert split_by_fraction(list("abcdefghij"), {"x": 0.5, "y": 0.5}, seed=3) == list("yxxyyxxyyx")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train",
        "train=",
        "train=x",
        "=1",
        "train=0.5,train=0.5",
        "train=0.5,test=0.4",
        "train=1.5,test=-0.5",
        "train=nan,test=1",
        "train=1,test=0",
        "train=inf",
    ],
)
def test_wrong_fractions_say_how_to_write_them(text: str) -> None:
    with pytest.raises(UsageError, match=r"train=0\.8,valid=0\.1,test=0\.1"):
        parse_fractions(text)


def test_fractions_in_the_order_they_are_typed() -> None:
    assert list(parse_fractions(" train=0.7, valid=0.2,test=0.1").items()) == [
        ("train", 0.7),
        ("valid", 0.2),
        ("test", 0.1),
    ]


def test_wrong_calls() -> None:
    with pytest.raises(UsageError, match="add up"):
        split_by_fraction(["a"], {"train": 0.5})
    with pytest.raises(UsageError, match="value a row"):
        split_by_fraction(["a"], {"train": 1}, stratify=[])


def test_a_parted_group_is_refused_without_naming_it() -> None:
    with pytest.raises(UsageError, match=r"rows 0 \(train\) and 2 \(test\)") as caught:
        check_groups(["Erika Mustermann", None, "Erika Mustermann"], ["train", "test", "test"])
    assert "Erika" not in str(caught.value)


def test_rows_without_group_or_split_part_nothing() -> None:
    check_groups([None, None, "a", "a"], ["train", "test", "train", None])


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


def test_blocks_are_read_once_each_in_a_new_order() -> None:
    blocks = np.repeat(np.arange(10), 100)
    plan = Plan(draw=Every(1000), shuffle=True, blocks=blocks, window=2)
    order = plan.rows(0, np.arange(1000))
    assert sorted(order.tolist()) == list(range(1000))
    windows = [set(blocks[order[i : i + 200]].tolist()) for i in range(0, 1000, 200)]
    assert all(len(window) == 2 for window in windows) and len(set().union(*windows)) == 10
    assert plan.rows(1, np.arange(1000)).tolist() != order.tolist()
    assert len(set(blocks[order[:20]].tolist())) == 2  # rows of a window are mixed


def test_balance_and_blocks_together() -> None:
    blocks, codes = np.repeat(np.arange(5), 40), (np.arange(200) % 10 == 0).astype(int)
    plan = Plan(draw=balanced(codes, None, 0), shuffle=True, blocks=blocks)
    order = plan.rows(0, np.arange(plan.length))
    assert codes[order].mean() == 0.5 and len([b for b, _ in groupby(blocks[order].tolist())]) == 5


def test_drawn_rows_of_a_random_view() -> None:
    records = np.repeat(np.arange(50), 4)
    seen = views(records, np.tile(np.arange(4), 50), random=True, seed=0)
    plan = Plan(draw=Every(50), shuffle=True, views=seen)
    epochs = [plan.rows(epoch, np.arange(50)) for epoch in range(3)]
    assert all(sorted(records[rows].tolist()) == list(range(50)) for rows in epochs)
    assert len({tuple(sorted(rows.tolist())) for rows in epochs}) == 3
