"""Tables without vectors beside a dataset: of Arrow, pandas, Polars, of a file of labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from dof_arrow.errors import UsageError
from tests.support.making_rows import made

FRAMES: list[Callable[[dict[str, Any]], Any]] = [pa.table, pd.DataFrame, pl.DataFrame, dict]


@pytest.mark.parametrize("frame", FRAMES)
def test_labels_of_any_frame_meet_by_id(tmp_path: Path, frame: Any) -> None:
    ds = made(tmp_path / "a.parquet", 20)
    columns = {
        "id": ["r00007", "none", "r00003"],
        "sign": ["mass", "mass", "edema"],
        "n": [1, 2, 3],
    }
    both = ds.join(frame(columns), targets="sign")
    assert both.to_numpy()[:, 0].tolist() == [3, 7]
    assert both.metadata.targets["sign"].classes == ("edema", "mass")
    assert both.to_numpy("sign").tolist() == [0, 1] and both.to_numpy("n").tolist() == [3, 1]
    assert both.metadata.columns["n"].role == "kept" and len(both.split("train")) == 2


def test_a_file_of_labels_alone_says_what_they_are(tmp_path: Path) -> None:
    ds = made(tmp_path / "a.parquet", 40)
    pq.write_table(ds.to_arrow(["id", "label", "age", "split"]), tmp_path / "labels.parquet")
    bare = ds.drop_columns("label", "age", "split", "signs", "ill")
    again = bare.join(tmp_path / "labels.parquet")
    for name in ("label", "age"):
        assert again.metadata.targets[name] == ds.metadata.targets[name]
        assert np.array_equal(again.to_numpy(name), ds.to_numpy(name))
    assert again.metadata.splits == ds.metadata.splits
    assert np.shares_memory(again.to_numpy(), ds.to_numpy())
    assert again.to_arrow(["label"])["label"].to_pylist() == ds.to_arrow()["label"].to_pylist()
    path = dof.save(again, tmp_path / "b.parquet")
    assert dof.validate(path, deep=True) == []
    loader = dof.open(path).loader(target="label", batch_size=40)
    assert next(iter(loader))[1].tolist() == ds.to_numpy("label").tolist()


def test_a_column_that_is_there_keeps_its_name_and_the_other_gets_the_suffix(
    tmp_path: Path,
) -> None:
    ds = made(tmp_path / "a.parquet", 20)
    table = ds.to_arrow(["id", "label", "split"])
    both = ds.join(table, suffix="_b")
    assert both.columns == [*ds.columns, "label_b", "split_b"]
    assert both.metadata.targets["label_b"] == ds.metadata.targets["label"]
    assert both.metadata.record.split == "split" and both.metadata.splits == ds.metadata.splits


def test_ids_may_be_numbers_or_have_another_name(tmp_path: Path) -> None:
    with dof.Writer(tmp_path / "a.parquet") as writer:
        writer.write(ids=["7", "12"], vectors={"feature": np.eye(2, dtype=np.float32)})
    ds = dof.open(tmp_path / "a.parquet")
    both = ds.join(pd.DataFrame({"record": [12, 7], "dose": [1.5, None]}), on="record")
    assert both.to_arrow(["dose"])["dose"].to_pylist() == [None, 1.5]
    # an index of pandas that is called so is the column
    indexed = pd.DataFrame({"dose": [1.5, 2.5]}, index=pd.Index([12, 7], name="id"))
    assert ds.join(indexed).to_numpy("dose").tolist() == [2.5, 1.5]


WRONG = {
    "several rows of one id": {"id": ["r00001", "r00001"]},
    "1 missing": {"id": ["r00001", None]},
    "a column id, or on=NAME": {"name": ["r00001"]},
    "texts or whole numbers": {"id": [1.5]},
    "1 rows, the first train here and test there": {"id": ["r00001"], "split": ["test"]},
    "expected what speaks Arrow": [1, 2],
}


@pytest.mark.parametrize("said", WRONG)
def test_tables_that_cannot_be_joined(tmp_path: Path, said: str) -> None:
    ds = made(tmp_path / "a.parquet", 20)
    with pytest.raises(UsageError, match=said):
        ds.join(WRONG[said])


def test_files_and_columns_that_cannot_be_joined(tmp_path: Path) -> None:
    ds = made(tmp_path / "a.parquet", 20)
    with pytest.raises(UsageError, match=r"vectors in a table.*ds.join\(dof.open\(path\)\)"):
        ds.join(tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("id,label\nr00001,x\n")
    with pytest.raises(UsageError, match="expected a Parquet file"):
        ds.join(tmp_path / "a.csv")
    with pytest.raises(UsageError, match="no such column"):
        ds.join({"id": ["r00001"], "sex": ["f"]}, targets="sec")
    with pytest.raises(UsageError, match="two columns of one name"):
        ds.join(pa.table([["r00001"], ["a"], ["b"]], ["id", "x", "x"]))
