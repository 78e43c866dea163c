"""Arguments and values as other libraries give them: read as meant, or refused, never guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import dof_arrow as dof
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError

ROWS = 6
AGES = [1, None, 30, 4, None, 60]
LARGE = 2**53 + 1
ABOUT = {
    "targets": {
        "sex": {"kind": "category", "classes": ["m", "f"]},
        "signs": {"kind": "multilabel", "classes": ["a", "b"]},
    },
    "record": {"id": "id", "group": "patient", "split": "part"},
}


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("odd") / "x.parquet"
    columns = {
        "sex": ["m", "f", None, "m", "m", "f"],
        "signs": [[0], [0, 0, 1], [], None, [1], [1]],
        "patient": ["p", "p", "q", "q", "r", "s"],
        "part": ["train", "train", "test", "test", "train", "valid"],
        "age": AGES,
        "dof_row": list(range(ROWS)),
        "half": np.arange(ROWS, 0, -1, dtype=np.float16),
        "large": [LARGE, None, 1, 2, 3, 4],
        "wide": np.arange(LARGE, LARGE + ROWS),
        "day": np.arange(ROWS).astype("datetime64[D]"),
        "flag": [True, None, False, True, True, False],
        "note": list("abcdef"),
        "lists": [[LARGE, None], [1], None, [], [2, 3], [4]],
        "pairs": [{"n": LARGE}, None, *[{"n": 1}] * 4],
        "": [1, 1, 2, 2, 3, 3],
    }
    with dof.Writer(path, ABOUT) as writer:
        vectors = {"feature": np.eye(ROWS, dtype=np.float32)}
        writer.write(ids=[f"r{row}" for row in range(ROWS)], vectors=vectors, columns=columns)
    return dof.open(path)


def _rows(part: Dataset) -> list[int]:
    return [int(name[1:]) for name in part["id"]]


def test_a_row_whose_condition_is_missing_is_not_taken(ds: Dataset) -> None:
    assert _rows(ds[ds["age"] < 50]) == [0, 2, 3]
    assert _rows(ds[~(ds["age"] < 50)]) == [5]
    assert _rows(ds[ds["age"] != 4]) == [0, 2, 5]
    assert _rows(ds[ds["flag"]]) == [0, 3, 4]
    assert ds.classes("sex").names(np.ma.array([0, 1], mask=[False, True])) == ["m", None]


@pytest.mark.parametrize(
    "asked",
    [
        lambda ds: ds[1.0],
        lambda ds: ds[None],
        lambda ds: ds.select(None),
        lambda ds: ds.take([[1], [2, 3]]),
        lambda ds: ds.take(np.ma.array([1, 2], mask=[True, False])),
        lambda ds: ds.sort([]),
        lambda ds: ds.sort(None),
        lambda ds: ds.sort(["age", "half"], descending=[True, False]),
        lambda ds: ds.sort("age", descending="no"),
        lambda ds: ds.filter(pc.field(1) > 5),
        lambda ds: ds.folds("3"),
        lambda ds: ds.folds(2.5),
        lambda ds: ds.map(lambda batch: {"n": batch["age"]}, batched=True, batch_size=2.5),
        lambda ds: ds.value_counts("pairs"),
        lambda ds: ds.classes("sex").codes("mf"),
        lambda ds: ds.with_columns({"new": "abcdef"}),
        lambda ds: ds.with_columns({"new": {row: row for row in range(ROWS)}}),
        lambda ds: ds.with_columns({"new": set(range(ROWS))}),
        lambda ds: ds.with_columns({1: range(ROWS)}),
        lambda ds: ds.with_columns(None),
        lambda ds: ds.with_columns({"new": [["a", None]] * ROWS}, targets="new"),
        lambda ds: ds.with_columns({"patient": [1.0, np.nan, 2, 3, 4, 5]}),
        lambda ds: ds.with_columns({}, targets="patient"),
        lambda ds: ds.with_columns({}, targets="part"),
        lambda ds: ds.rename({"age": 1}),
        lambda ds: ds.rename(["age"]),
        lambda ds: ds.drop_columns(1),
        lambda ds: dof.concat(ds),
        lambda ds: dof.concat([ds, str(ds.path)]),
        lambda ds: ds.to_torch("note"),
        lambda ds: ds.to_torch("flag"),
        lambda ds: ds.to_torch("day"),
        lambda ds: ds.to_torch("lists"),
        lambda ds: ds.to_torch("large"),
        lambda ds: ds.to_jax("wide"),
        lambda ds: next(iter(ds.loader(columns=["wide"]).to_jax())),
        lambda ds: ds.loader(columns=["large"]),
    ],
)
def test_what_cannot_be_meant_is_refused(ds: Dataset, asked: Callable[[Any], Any]) -> None:
    with pytest.raises(UsageError):
        asked(ds)


def test_halves_are_sorted_and_compared(ds: Dataset, tmp_path: Path) -> None:
    assert _rows(ds.sort("half")) == [5, 4, 3, 2, 1, 0]
    assert _rows(ds.filter(pc.field("half") > 3)) == [0, 1, 2]
    dof.save(ds[:3], tmp_path / "first.parquet")
    dof.save(ds[3:], tmp_path / "second.parquet")
    parts = [str(tmp_path / "first.parquet"), str(tmp_path / "second.parquet")]
    dof.merge(parts, tmp_path / "both.dof")
    both = dof.open(tmp_path / "both.dof")
    assert _rows(both.filter(pc.field("half") <= 2)) == [4, 5]


def test_a_column_may_have_any_name(ds: Dataset) -> None:
    assert _rows(ds.filter(pc.field("dof_row") >= 4)) == [4, 5]
    assert _rows(ds.filter(pc.scalar(True))) == [0, 1, 2, 3, 4, 5]
    assert ds.value_counts("") == {1: 2, 2: 2, 3: 2}
    assert ds.rename({"sex": "x", "": "sex"}).columns.count("sex") == 1


def test_numbers_of_numpy_are_numbers(ds: Dataset) -> None:
    whole = ds.drop_columns(["patient"])
    sizes: list[Any] = [np.float32(0.5), np.float64(0.5), np.int8(3)]
    for size in sizes:
        assert len(whole.train_test_split(size)[1]) == 3
    count: Any = np.int64(2)
    assert len(ds.folds(count)) == 2


def test_nothing_is_rounded(ds: Dataset) -> None:
    assert ds["lists"][0].tolist() == [LARGE, None]
    assert ds["lists"][1].dtype == object and ds["lists"][2] is None
    assert ds["pairs"][0] == {"n": LARGE} and ds["pairs"][1] is None
    assert ds[1:3].to_numpy("lists")[0].tolist() == [1]
    assert ds.to_torch("wide").tolist() == ds.to_numpy("wide").tolist()
    assert ds.to_torch("age").isnan().tolist() == [age is None for age in AGES]


def test_a_row_counts_once_for_each_of_its_classes(ds: Dataset) -> None:
    assert ds.value_counts("signs") == {"b": 3, "a": 2, None: 1}
    twice = ds.with_columns({"new": [["b", "a", "b"], *[["a"]] * 5]}, targets="new")
    assert twice[0]["new"] == [1, 0]


def test_columns_come_as_any_frame(ds: Dataset) -> None:
    new = {"new": list(range(ROWS))}
    for columns in (new, pd.DataFrame(new), pl.DataFrame(new), pa.table(new)):
        assert ds.with_columns(columns)["new"].tolist() == new["new"]
    assert ds.to_arrow("age").column_names == ["age"]
    groups = ds.with_columns({"patient": [1, 1, 2, 2, 3, 4]})
    assert groups["patient"].tolist() == ["1", "1", "2", "2", "3", "4"]


def test_one_name_is_a_name(ds: Dataset, tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    dof.save(ds, whole)
    dof.merge(str(whole), tmp_path / "whole.dof")  # type: ignore[arg-type]
    assert "r3" not in dof.drop(tmp_path / "whole.dof", ids="r3")["id"]
    dof.erase(whole, names="r1", out=tmp_path / "fewer.parquet")
    assert _rows(dof.open(tmp_path / "fewer.parquet")) == [0, 2, 3, 4, 5]
