"""Options of training: of another kind than declared they are refused; names may stand alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.heads.training import TrainingOptions

ROWS = 40


def _made(path: Path, values: Any, target: dict[str, Any]) -> Dataset:
    x = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
    with dof.Writer(path, {"targets": {"label": target}}) as writer:
        columns = {"label": values, "sex": ["m", "f"] * (ROWS // 2)}
        ids = [f"{row:02}" for row in range(ROWS)]
        writer.write(ids=ids, vectors={"feature": x}, columns=columns)
    return dof.open(path)


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("heads") / "x.parquet"
    classes = ["a", "b", "b", "b"] * (ROWS // 4)
    return _made(path, classes, {"kind": "category", "classes": ["a", "b"]})


@pytest.mark.parametrize(
    "options",
    [{"cv": "5"}, {"cv": 2.5}, {"seed": "a"}, {"seed": -1}, {"balance": "label"}, {"by": "nope"}],
)
def test_what_is_of_another_kind_is_refused(ds: Dataset, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        dof.train(ds, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"epochs": 2.5},
        {"batch": 0},
        {"batch": "64"},
        {"patience": 0},
        {"cooling": 0},
        {"rate": 0},
        {"rate": "fast"},
        {"rate": float("nan")},
        {"decay": -1.0},
        {"seed": None},
        {"balance": "yes"},
    ],
)
def test_networks_are_not_trained_so(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TrainingOptions(**options)


def test_one_name_is_a_name(ds: Dataset, tmp_path: Path) -> None:
    one = dof.train(ds, by="sex", features="feature")
    assert one.onnx == dof.train(ds, by=["sex"], features=["feature"]).onnx
    one.save(tmp_path / "head.onnx")
    assert "sex" in str(dof.evaluate(tmp_path / "head.onnx", ds, by="sex"))


def test_balance_and_seed_may_stand_among_the_options(ds: Dataset) -> None:
    options = TrainingOptions(balance=True, seed=3)
    assert dof.train(ds, options=options).onnx == dof.train(ds, balance=True, seed=3).onnx
    assert dof.train(ds, options=options).onnx != dof.train(ds).onnx


@pytest.mark.parametrize("largest", [1e39, 1e300])
def test_numbers_beyond_float32_are_not_learned(tmp_path: Path, largest: float) -> None:
    numbers = np.linspace(-largest, largest, ROWS)
    ds = _made(tmp_path / "x.parquet", numbers, {"kind": "regression"})
    with pytest.raises(UsageError, match="float32"):
        dof.train(ds)
