"""Vectors of any kind of array: the right values, or a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.dataset.dataset import open as open_dataset
from dof_arrow.errors import UsageError
from dof_arrow.format.writer import Writer

X = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
IDS = [f"r{number}" for number in range(6)]


def written(path: Path, vectors: Any, **columns: Any) -> Any:
    with Writer(path / "x.dof.parquet", overwrite=True) as writer:
        writer.write(ids=IDS, vectors={"feature": vectors}, columns=columns)
    return open_dataset(path / "x.dof.parquet")


def test_arrays_of_many_kinds(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    flat = np.concatenate([X[:2] * 0, X]).ravel()
    for vectors in (
        X.astype(">f4"),
        np.ma.masked_array(X, mask=False),
        torch.tensor(X, requires_grad=True),
        pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 4),
        pa.FixedSizeListArray.from_arrays(pa.array(flat), 4)[2:],
        pa.chunked_array([pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 4)]),
    ):
        np.testing.assert_array_equal(written(tmp_path, vectors).to_numpy(), X)


def test_what_no_vector_can_hold(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    lists = pa.array([[1.0, None]] * 6, pa.list_(pa.float32(), 2))
    for vectors, found in (
        (np.ma.masked_array(X, mask=X > 1), r"found \d+ masked values"),
        (torch.tensor(X).bfloat16(), "found bfloat16. Give values.float()"),
        (lists, "found 6 missing values"),
        (pa.array([[1.0], [2.0, 3.0]] * 3), "found list<item: double>"),
    ):
        with pytest.raises(UsageError, match=f"feature: vectors that cannot be stored.*{found}"):
            written(tmp_path, vectors)


def test_columns_of_the_other_byte_order_and_of_nothing(tmp_path: Path) -> None:
    dataset = written(tmp_path, X, big=np.arange(6).astype(">i4"), none=pa.nulls(6))
    assert dataset.to_arrow(["big"]).column(0).to_pylist() == [0, 1, 2, 3, 4, 5]
    assert dataset.to_arrow(["none"]).column(0).to_pylist() == [None] * 6
