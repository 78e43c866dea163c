"""Arrays and labels as other libraries give them: taken as meant, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import dof_arrow as dof
from dof_arrow.errors import UsageError

ROWS = 6
X = np.eye(ROWS, 3, dtype=np.float32)


def test_an_ordered_categorical_keeps_its_order(tmp_path: Path) -> None:
    order = ["mild", "grave", "fatal"]
    grades = pd.Categorical(["grave", "mild"] * 3, categories=order, ordered=True)
    ds = dof.from_arrays(X, grades, out=tmp_path / "x.parquet")
    assert ds.classes("label") == ("mild", "grave", "fatal")
    assert ds.to_numpy("label").tolist() == [1, 0] * 3
    again = ds.with_columns({"grade": grades}, targets="grade")
    assert again.classes("grade") == ("mild", "grave", "fatal")
    free = pd.Categorical(["grave", "mild"] * 3, categories=order)
    plain = ds.with_columns({"grade": free}, targets="grade")
    assert plain.classes("grade") == ("grave", "mild")


def test_tensors_are_arrays(tmp_path: Path) -> None:
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    ds = dof.from_arrays(torch.tensor(X), labels, out=tmp_path / "x.parquet")
    assert ds["label"].tolist() == ["0", "1"] * 3
    again = ds.with_columns({"age": labels})
    assert again["age"].tolist() == labels.tolist()


@pytest.mark.parametrize(
    "given",
    [
        {"x": None},
        {"y": "abcdef"},
        {"ids": "abcdef"},
        {"y": np.array([[0], [1]] * 3)},
        {"y": ["a", "b"] * 3, "columns": {"label": [1] * ROWS}},
        {"columns": {"age": "abcdef"}},
    ],
)
def test_what_has_no_value_a_row_is_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        dof.from_arrays(**{"x": X, "out": tmp_path / "x.parquet", **given})


@pytest.mark.parametrize("path", [None, 5, ["x.parquet"]])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(UsageError, match="no path"):
        dof.open(path)
