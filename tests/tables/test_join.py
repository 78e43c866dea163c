"""Rows side by side, their splits; what is computed over all rows of a selection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.errors import DofWarning, UsageError
from dof_arrow.tables import join
from dof_arrow.tables.gather import Memory
from tests.support.making_rows import made


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 30])
def test_statistics_in_pieces_are_those_of_all_rows(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "_CHUNK", 8)
    values = np.random.default_rng(0).normal(50, 3, (rows, 4)).astype(np.float32)
    mean, deviation = join.statistics(Memory(values), rows, 4)
    assert mean.dtype == deviation.dtype == np.float64
    np.testing.assert_allclose(mean, values.mean(0, np.float64), rtol=1e-9)
    np.testing.assert_allclose(deviation, values.std(0, np.float64), rtol=1e-7)


def _sizes(ds: dof.Dataset) -> dict[str, tuple[int, int]]:
    return {name: (size.rows, size.records) for name, size in ds.metadata.splits.items()}


def test_joined_rows_keep_the_splits_of_the_left(tmp_path: Path) -> None:
    left = made(tmp_path / "a.parquet", 40)
    right = made(tmp_path / "b.parquet", 40, width=8)
    both = left.join(right)
    assert _sizes(both) == {"train": (30, 30), "valid": (10, 10)}
    assert both.split("Training").to_numpy()[:, 0].tolist() == list(range(30))
    some = left[20:].join(right.take(range(35)))
    assert _sizes(some) == {"train": (10, 10), "valid": (5, 5)} and len(some.split("valid")) == 5
    path = dof.save(some, tmp_path / "c.parquet")
    assert _sizes(dof.open(path)) == _sizes(some) and dof.validate(path, deep=True) == []


def test_where_the_left_has_none_splits_and_groups_are_the_rights(tmp_path: Path) -> None:
    plain = made(tmp_path / "a.parquet", 40, split=None, group=None)
    both = plain.join(made(tmp_path / "b.parquet", 40))
    assert both.metadata.record.split == "split" and both.metadata.record.group == "group"
    assert both.metadata.columns["split"].role == "split" and len(both.split("valid")) == 10
    parted = made(tmp_path / "c.parquet", 40, group=None, split=["train", "test"] * 20)
    with pytest.raises(UsageError, match="part a group"):
        parted.join(made(tmp_path / "d.parquet", 40, split=None))


def test_rows_in_two_splits_are_refused(tmp_path: Path) -> None:
    left = made(tmp_path / "a.parquet", 40)
    right = made(tmp_path / "b.parquet", 40, split=[*["Train"] * 30, None, *["test"] * 9])
    with pytest.raises(UsageError, match=r"9 rows, the first valid here and test there.*drop_col"):
        left.join(right)
    assert _sizes(left.join(right.drop_columns("split")))["valid"] == (10, 10)
    assert left[:31].join(right).split("valid").to_numpy()[:, 0].tolist() == [30]


def test_records_of_several_views_are_counted_once_in_any_order(tmp_path: Path) -> None:
    with dof.Writer(tmp_path / "a.parquet") as writer:
        writer.write(
            ids=["a", "a", "b", "b"],
            vectors={"feature": np.eye(4, dtype=np.float32)},
            columns={"view": [0, 1, 0, 1], "split": ["train"] * 4},
        )
    ds = dof.open(tmp_path / "a.parquet")
    table = pa.table({"id": ["b", "a"], "sex": ["f", "m"]})
    both = ds.take([0, 2, 1]).join(table, targets="sex")
    assert both.to_arrow()["sex"].to_pylist() == ["m", "f", "m"]
    assert _sizes(both) == {"train": (3, 2)}


def test_rows_that_never_meet_are_told(tmp_path: Path) -> None:
    ds = made(tmp_path / "a.parquet", 4)
    with pytest.warns(DofWarning, match=r"no row meets one of the table: 'r00000' here, '7' there"):
        assert len(ds.join(pa.table({"id": [7]}))) == 0
