"""Where clips lie, and that their rows stand together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.errors import UsageError
from dof_arrow.tables.clip_bounds import bounds, in_pieces


def texts(*chunks: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array(list(chunks), pa.string())


def numbers(*values: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.int32())])


def test_a_clip_is_a_run_of_one_id_and_view() -> None:
    starts, stops = bounds([texts(["a", "a"], ["a", "b"]), numbers(0, 0, 1, 0)])
    assert starts.tolist() == [0, 2, 3]
    assert stops.tolist() == [2, 3, 4]
    assert starts.dtype == stops.dtype == np.int64


@pytest.mark.parametrize("columns", [[texts()], [texts([])], [texts([]), numbers()]])
def test_no_rows_hold_no_clips(columns: list[pa.ChunkedArray]) -> None:
    starts, stops = bounds(columns)
    assert len(starts) == len(stops) == 0
    assert starts.dtype == stops.dtype == np.int64
    begins, ends = in_pieces(starts, stops, 3)
    assert len(begins) == len(ends) == 0


def test_a_clip_in_pieces_is_refused() -> None:
    with pytest.raises(UsageError, match=r"x\.parquet.*2 clips in pieces"):
        bounds([texts(["a", "b", "a", "b"])], "x.parquet")


@pytest.mark.parametrize("longest", [1, 2, 3, 100])
def test_pieces_cover_each_clip_in_order(longest: int) -> None:
    starts = np.array([0, 1, 8])
    stops = np.array([1, 8, 12])
    found = []
    for begin, end in zip(*in_pieces(starts, stops, longest), strict=True):
        assert 0 < end - begin <= longest
        found += range(begin, end)
    assert found == list(range(12))
