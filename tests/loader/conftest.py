"""A small dataset for tests of loaders."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from dof_arrow.dataset.dataset import Dataset
from tests.support.making_rows import made

ROWS = 200


def same(found: Iterable[np.ndarray], expected: Iterable[np.ndarray]) -> bool:
    """Whether these are equally many arrays, each equal to the other at its place."""
    return all(map(np.array_equal, *_lists(found, expected)))


def _lists(*several: Iterable[np.ndarray]) -> list[list[np.ndarray]]:
    lists = [list(each) for each in several]
    assert len({len(each) for each in lists}) == 1, "not equally many"
    return lists


@pytest.fixture(scope="session")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Rows that know their own number."""
    return made(tmp_path_factory.mktemp("loader") / "x.dof.parquet", ROWS)
