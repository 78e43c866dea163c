"""Values read as bytes: wherever they lie, and however little the system gives at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.rewrite.foreign.hdf5_extents import Extent, runs


def test_runs_are_read_one_behind_the_other_in_small_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system gives less than asked for: at most two gigabytes at a time."""
    values = np.arange(100, dtype="<f4").reshape(25, 4)
    path = tmp_path / "x.bin"
    path.write_bytes(values[20:].tobytes() + b"between" + values[:20].tobytes())
    whole = os.preadv

    def few(file: int, parts: Sequence[Any], start: int) -> int:
        return whole(file, [parts[0][:13]], start)

    monkeypatch.setattr(os, "preadv", few)
    extent = Extent((25, 4), np.dtype("<f4"), [(87, 320), (0, 80)])
    with path.open("rb") as file:
        assert np.array_equal(extent.read(file), values)
        with pytest.raises(EOFError):
            Extent((25, 4), np.dtype("<f4"), [(88, 400)]).read(file)


def test_chunks_one_behind_the_other_are_one_run() -> None:
    starts = np.array([500, 600, 700, 100, 200, 900])
    assert runs(starts, 100) == [(500, 300), (100, 200), (900, 100)]
    assert runs(starts[:1], 7) == [(500, 7)]
