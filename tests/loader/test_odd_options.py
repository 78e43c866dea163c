"""Options of loaders that are of another kind than declared are refused, and nothing is rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError

ROWS = 6
COUNTS = [2**24 + 1 + row for row in range(ROWS)]


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path: Path = tmp_path_factory.mktemp("loader") / "x.parquet"
    columns = {"count": COUNTS, "large": [2**53 + 1] * ROWS, "class": ["a", "b"] * 3}
    with dof.Writer(path) as writer:
        vectors = {"feature": np.eye(ROWS, dtype=np.float32)}
        writer.write(ids=list("abcdef"), vectors=vectors, columns=columns)
    return dof.open(path)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 2.5},
        {"batch_size": "8"},
        {"batch_size": None},
        {"seed": "a"},
        {"seed": None},
        {"shuffle": "no"},
        {"shuffle": None},
        {"drop_last": "no"},
        {"workers": 1.5},
        {"workers": "2"},
        {"rank": "0"},
        {"world_size": 2.0},
        {"columns": "count"},
        {"balance": ["class"], "shuffle": True},
        {"uniform": "count", "shuffle": True},
        {"uniform": {"count": 2.5}, "shuffle": True},
        {"weights": 2.0, "shuffle": True},
        {"weights": ["a"] * ROWS, "shuffle": True},
        {"weights": np.ma.array([1.0] * ROWS, mask=[True] * ROWS), "shuffle": True},
        {"normalize": (np.zeros(3), np.ones(3))},
        {"normalize": (np.full(ROWS, np.nan), np.ones(ROWS))},
        {"normalize": (np.zeros(ROWS), -np.ones(ROWS))},
        {"normalize": 1},
    ],
)
def test_options_of_another_kind_are_refused(ds: Dataset, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ds.loader(**options)


def test_flags_and_numbers_of_numpy_are_taken(ds: Dataset) -> None:
    options: Any = {"batch_size": np.int64(4), "shuffle": np.True_, "seed": np.int8(3)}
    loader = ds.loader(**options, drop_last=False)
    assert [len(batch) for batch in loader] == [4, 2]


def test_a_state_that_is_none_is_refused(ds: Dataset) -> None:
    with pytest.raises(UsageError, match="state_dict"):
        ds.loader().load_state_dict(None)  # type: ignore[arg-type]


def test_whole_numbers_to_learn_are_exact(ds: Dataset) -> None:
    ((_, labels),) = ds.loader(target="count")
    assert labels.dtype == np.float64 and labels.tolist() == COUNTS
    with pytest.raises(dof.FormatError, match="2\\*\\*53"):
        ds.loader(target="large")


def test_vectors_may_come_along(ds: Dataset) -> None:
    ((_, others),) = ds.loader(columns=["feature"])
    assert others["feature"].dtype == np.float32 and others["feature"].shape == (ROWS, ROWS)
