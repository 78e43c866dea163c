"""Which rows are drawn, and how often: balance, bins, weights, groups, views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from tests.loader.conftest import ROWS
from tests.support.making_rows import TARGETS, features, made, numbers


def test_g5_uniform_labels_keep_floats(ds: Dataset, tmp_path: Path) -> None:
    """G5: indexes were broken there."""
    age = (100 * np.random.default_rng(0).beta(5, 2, 2000)).astype(np.float32)
    skewed = made(tmp_path / "age.parquet", 2000, age=age)
    batches = list(skewed.loader(shuffle=True, target="age", uniform={"age": 20}))
    values = np.concatenate([y for _, y in batches])
    found = np.bincount(
        ((values - age.min()) / (age.max() - age.min()) * 20).astype(int).clip(0, 19), minlength=20
    )
    filled = found[found > 0]
    assert values.dtype == np.float32 and np.ptp(filled) <= 0.01 * filled.max()
    assert set(numbers(batches)) == set(range(2000))
    assert all(np.array_equal(y, age[x[:, 0].astype(int)]) for x, y in batches)


def test_g6_balance_to_equal_and_to_a_chosen_share(ds: Dataset) -> None:
    """G6: fewer than half of the positives were used there."""
    for balance, share in (
        ("ill", 0.5),
        ({"ill": 0.3}, 0.3),
        ({"ill": {"yes": 0.2}}, 0.2),
        ({"ill": 0.05}, 0.05),
    ):
        loader = ds.loader(shuffle=True, target="ill", balance=balance)
        batches = list(loader)
        assert np.concatenate([y for _, y in batches]).mean() == pytest.approx(share, abs=0.01)
        assert (
            set(numbers(batches)) == set(range(ROWS))
            and sum(map(len, numbers_of(batches))) == loader.plan.length
        )


def numbers_of(batches: list[Any]) -> list[Any]:
    return [batch[0] for batch in batches]


def test_g6_balance_by_other_columns(ds: Dataset) -> None:
    labels = np.concatenate(
        [y for _, y in ds.loader(shuffle=True, target="label", balance="label")]
    )
    assert np.ptp(np.bincount(labels)) == 0
    young = ds.filter(pc.field("age") < 40)
    sexes = np.concatenate(
        [c["sex"] for _, c in young.loader(shuffle=True, balance="sex", columns=["sex"])]
    )
    assert (sexes == "f").mean() == 0.5
    flags = np.concatenate(
        [y for _, y in ds.loader(shuffle=True, target="signs", balance={"signs": {"mass": 0.25}})]
    )
    assert flags[:, 1].mean() == pytest.approx(0.25, abs=0.01) and flags.dtype == np.float32
    labels = np.concatenate(
        [y for _, y in ds.loader(shuffle=True, target="label", balance={"label": {"sick": 0.6}})]
    )
    assert (labels == 0).mean() == pytest.approx(0.6, abs=0.01) and abs(
        (labels == 1).sum() - (labels == 2).sum()
    ) <= 2


def test_g6_class_weights(ds: Dataset) -> None:
    assert ds.loader(target="ill").class_weights() == pytest.approx([200 / 2 / 180, 200 / 2 / 20])
    assert ds[:100].loader(target="signs").class_weights() == pytest.approx(
        [50 / 50, 50 / 50, 52 / 48]
    )
    with pytest.raises(UsageError, match="uniform"):
        ds.loader(target="age").class_weights()


def test_weights_and_groups(ds: Dataset) -> None:
    rows = numbers(ds.loader(shuffle=True, weights=np.arange(ROWS) < 10))
    assert sorted(set(rows)) == list(range(10)) and len(rows) == ROWS
    assert len(numbers(ds.loader(shuffle=True, weights="age"))) == ROWS
    order = numbers(ds.loader(shuffle=True, group="group"))
    assert sorted(order) == list(range(ROWS)) != order
    assert all(order[i : i + 5] == list(range(order[i], order[i] + 5)) for i in range(0, ROWS, 5))


def test_views_first_random_all(tmp_path: Path) -> None:
    ids, view = [f"r{i // 4}" for i in range(80)], np.tile(np.arange(4, dtype=np.int16), 20)
    path = tmp_path / "views.parquet"
    made(path, 80, view=view)
    from dof_arrow.dataset.dataset import open as open_dataset
    from dof_arrow.format.writer import Writer

    with Writer(path, {"targets": {"label": TARGETS["label"]}}, overwrite=True) as writer:
        label = np.arange(80) // 4 % 3
        writer.write(
            ids=ids, vectors={"feature": features(80)}, columns={"view": view, "label": label}
        )
    ds = open_dataset(path)
    assert numbers(ds.loader(views="first")) == list(range(0, 80, 4))
    loader = ds.loader(views="random", shuffle=True, balance="label")
    for _ in range(5):
        records = np.array(numbers(loader)) // 4
        assert len(records) == 21 and set(records) == set(range(20))
    one = ds.loader(views="random")
    orders = {tuple(numbers(one)) for _ in range(5)}
    assert len(orders) == 5
    assert len(numbers(ds.loader(views="all"))) == 80
