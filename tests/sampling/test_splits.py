"""Rows dealt into splits, with groups kept together."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dof_arrow.errors import UsageError
from dof_arrow.sampling.splits import (
    check_groups,
    parse_fractions,
    split_by_fraction,
    split_by_number,
)

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


def test_a_number_has_its_split_whatever_the_order_of_the_fractions() -> None:
    numbers = np.array([0.0, 0.499, 0.5, 0.6, 0.75, 0.9, 1 - 2**-53])
    expected = ["train", "train", "valid", "valid", "test", "mine", "mine"]
    parts = {"mine": 0.125, "test": 0.125, "valid": 0.25, "train": 0.5}
    assert split_by_number(numbers, parts) == expected
    assert split_by_number(numbers, dict(sorted(parts.items()))) == expected


def test_numbers_meet_fractions_and_other_test_rows_leave_train_as_it_is() -> None:
    numbers = np.random.default_rng(0).random(20_000)
    two = split_by_number(numbers, {"train": 0.8, "test": 0.2})
    three = split_by_number(numbers, THREE)
    assert abs(two.count("train") - 16_000) < 300  # 5 standard deviations
    assert [a == "train" for a in two] == [b == "train" for b in three]
