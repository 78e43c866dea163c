"""What is computed over all rows of a selection."""

from __future__ import annotations

import numpy as np
import pytest

from dof_arrow.tables import join
from dof_arrow.tables.gather import Memory


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
