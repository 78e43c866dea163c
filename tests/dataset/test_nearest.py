"""The nearest rows are those of a comparison of every pair, to the row, in every layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dof_arrow as dof
from dof_arrow.dataset import nearest as module
from dof_arrow.errors import FormatError, UsageError
from tests.support.making import vectors, write

METRICS = ("cosine", "l2", "dot")


def brute(rows: np.ndarray, queries: np.ndarray, k: int, metric: str) -> tuple[Any, Any]:
    """Places and scores of the nearest rows, one pair after the other in float64."""
    places, scores = [], []
    for query in np.atleast_2d(queries).astype(np.float64):
        found = np.array([score(row, query, metric) for row in rows.astype(np.float64)])
        order = np.lexsort((np.arange(len(rows)), found if metric == "l2" else -found))[:k]
        places.append(order)
        scores.append(found[order])
    return np.array(places), np.array(scores)


def score(row: np.ndarray, query: np.ndarray, metric: str) -> float:
    if metric == "l2":
        return float(np.sqrt(np.square(query - row).sum()))
    dot = (query * row).sum()
    if metric == "dot":
        return float(dot)
    ours, theirs = np.square(query).sum(), np.square(row).sum()
    if ours == 0 or theirs == 0:
        return float(ours == theirs)
    return float(np.clip(dot / np.sqrt(ours * theirs), -1, 1))


def check(ds: Any, queries: Any, k: int, metric: str, rows: np.ndarray) -> None:
    found = ds.nearest(queries, k, metric)
    places, scores = brute(rows, np.asarray(queries), k, metric)
    assert np.array_equal(found.rows, places)
    assert np.array_equal(found.scores, scores)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, and few queries at a time, so that little data has many of each."""
    monkeypatch.setattr(module, "_step", lambda queries, width: 7)
    monkeypatch.setattr(module, "_MOST_QUERIES", 3)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", ["mapped", "compact"])
def test_every_layout_gives_the_answer_of_every_pair(
    metric: str, dtype: str, layout: str, tmp_path: Path, small_blocks: None
) -> None:
    rows = vectors(100, 12, dtype=dtype, seed=1)
    write(tmp_path / "x.parquet", 100, rows, layout=layout, group=64, cuts=[40])
    ds = dof.open(tmp_path / "x.parquet")
    queries = vectors(8, 12, seed=2)
    check(ds, queries, 5, metric, rows)
    check(ds[10:60], queries, 5, metric, rows[10:60])
    chosen = [70, 3, 3, 99, 12, 50, 31]
    check(ds.take(chosen), queries, 5, metric, rows[chosen])


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_hard_numbers(metric: str, data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Rows that are nearly or quite alike, of all lengths, some of zeros; ties go by row."""
    seed = data.draw(st.integers(0, 10**6))
    random = np.random.default_rng(seed)
    rows = random.integers(-2, 3, size=(60, 3)).astype(np.float32)
    rows *= 10.0 ** random.choice([0, 0, 0, -3, 6, -20, 18], size=(60, 1)).astype(np.float32)
    rows[random.integers(60, size=10)] += np.float32(1e-6)
    path = tmp_path_factory.mktemp("hard") / "x.parquet"
    write(path, 60, rows)
    queries = np.concatenate([rows[random.integers(60, size=3)], random.normal(size=(2, 3))])
    k = data.draw(st.integers(1, 60))
    check(dof.open(path), queries, k, metric, rows)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_float32_cannot_tell_apart(metric: str, tmp_path: Path) -> None:
    """A thousand rows whose scores differ by less than the rounding of a float32 product."""
    random = np.random.default_rng(3)
    rows = np.repeat(random.normal(size=(1, 64)), 1000, axis=0).astype(np.float32)
    rows += random.normal(size=rows.shape).astype(np.float32) * np.float32(1e-6)
    rows[500:] = rows[:500][::-1]  # each twice: the lower row comes first
    write(tmp_path / "x.parquet", 1000, rows)
    check(dof.open(tmp_path / "x.parquet"), rows[:3], 20, metric, rows)


def test_a_directory_a_chain_and_the_rows_of_another_dataset(
    tmp_path: Path, small_blocks: None
) -> None:
    rows = vectors(90, 6, seed=4)
    path = write(tmp_path / "x.parquet", 90, rows, group=32, cuts=[50])
    dof.convert(path, tmp_path / "x.dof")
    ds, parts = dof.open(path), dof.open(tmp_path / "x.dof")
    others = vectors(20, 6, seed=5)
    queries = dof.open(write(tmp_path / "q.parquet", 20, others))
    for table in (ds, parts, dof.concat([ds[:30], ds[30:]])):
        found = table.nearest(queries, 4)
        assert np.array_equal(found.rows, brute(rows, others, 4, "cosine")[0])
    some = queries.take([7, 1])
    assert np.array_equal(ds.nearest(some, 4).rows, found.rows[[7, 1]])


def test_blocks_do_not_change_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.abs(vectors(2000, 33, seed=6))
    ds = dof.open(write(tmp_path / "x.parquet", 2000, rows))
    wanted = ds.nearest(rows[:9], 15, "l2")
    for step in (1, 11, 500, 4000):
        monkeypatch.setattr(module, "_step", lambda queries, width, step=step: step)
        found = ds.nearest(rows[:9], 15, "l2")
        assert np.array_equal(found.rows, wanted.rows)
        assert np.array_equal(found.scores, wanted.scores)


def test_one_vector_maps_and_whole_numbers(tmp_path: Path) -> None:
    rows = vectors(30, 2, 3, seed=7)
    ds = dof.open(write(tmp_path / "x.parquet", 30, rows))
    for query in (rows[4], rows[4].reshape(-1), rows[4].astype(np.float64)):
        found = ds.nearest(query, k=1)
        assert found.rows.tolist() == [4] and found.scores.tolist() == [1.0]
    assert ds.nearest(rows[:5], 1).rows.tolist() == [[0], [1], [2], [3], [4]]
    assert ds.nearest(np.arange(6), 2).rows.shape == (2,)


def test_what_cannot_be_found_is_refused(tmp_path: Path) -> None:
    ds = dof.open(write(tmp_path / "x.parquet", 10, vectors(10, 4)))
    for wrong in (np.ones(5), np.ones((2, 5)), [["a"] * 4], np.ones((2, 2, 2)), 3.0):
        with pytest.raises(UsageError, match="no vectors to look for"):
            ds.nearest(wrong)
    with pytest.raises(UsageError, match="not finite: expected numbers, found vector 1, 2"):
        ds.nearest([[1, 2, 3, 4], [np.nan] * 4, [np.inf] * 4], 1)
    for k in (0, 11):
        with pytest.raises(UsageError, match="k of 1 to 10"):
            ds.nearest(np.ones(4), k)
    with pytest.raises(UsageError, match="rows to search"):
        ds[:0].nearest(np.ones(4), 1)
    with pytest.raises(UsageError, match="cosine or l2 or dot"):
        ds.nearest(np.ones(4), 1, "euclid")  # type: ignore[arg-type]
    other = dof.open(write(tmp_path / "y.parquet", 3, vectors(3, 5)))
    with pytest.raises(UsageError, match=r"5 numbers in the shape .* instead of 4"):
        ds.nearest(other, 1)


def test_rows_that_are_not_finite_are_refused_all_at_once(tmp_path: Path) -> None:
    rows = vectors(50, 4)
    path = write(tmp_path / "x.parquet", 50, rows)
    at = path.read_bytes().index(rows[7].tobytes())
    with path.open("r+b") as file:
        for row in (7, 30):
            file.seek(at + (row - 7) * 16)
            file.write(np.float32([np.nan, 1, 2, 3]).tobytes())
    ds = dof.open(path)
    with pytest.raises(FormatError, match="NaN or infinity in rows 7, 30"):
        ds.nearest(np.ones(4), 3)
    assert len(ds[:7].nearest(np.ones(4), 3).rows) == 3
