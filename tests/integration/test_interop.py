"""Every reader gives the same values, with no DoF code (rows C3, C4, C5, D3, D16)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dof_arrow.dataset import dataset
from tests.support import making

Array = np.ndarray[Any, Any]
WIDTHS = (1, 2, 7, 8, 9, 16, 31, 32, 33, 64, 100, 512, 1280)
SHAPES = [
    (1, 8),
    (7, 8),
    (8, 8),
    (9, 8),
    (17, 8),
    (65, 64),
    (100, 24),
    (1000, 504),
]  # rows, rows a group


def _stacked(lists: Any, width: int) -> Array:
    return np.array([list(v) for v in lists]).reshape(-1, width)


def _pyarrow(path: Path, width: int) -> Array:
    return np.asarray(pq.read_table(path)["feature"].combine_chunks().flatten().to_numpy()).reshape(
        -1, width
    )


def _pyarrow_dataset(path: Path, width: int) -> Array:
    import pyarrow.dataset as pad

    return np.asarray(
        pad.dataset(path).to_table()["feature"].combine_chunks().flatten().to_numpy()
    ).reshape(-1, width)


def _pandas(path: Path, width: int) -> Array:
    import pandas as pd

    return _stacked(pd.read_parquet(path)["feature"], width)


def _polars(path: Path, width: int) -> Array:
    import polars as pl

    return np.asarray(pl.read_parquet(path)["feature"].to_numpy())


def _polars_lazy(path: Path, width: int) -> Array:
    import polars as pl

    rows = pl.scan_parquet(path)
    return np.vstack(
        [
            rows.slice(0, 5).collect()["feature"].to_numpy(),
            rows.slice(5).collect()["feature"].to_numpy(),
        ]
    )


def _duckdb(path: Path, width: int) -> Array:
    import duckdb

    with duckdb.connect() as base:
        rows = base.execute("select feature from read_parquet(?)", [str(path)]).fetchall()
    return _stacked([row[0] for row in rows], width)


def _fastparquet(path: Path, width: int) -> Array:
    import fastparquet

    return _stacked(
        fastparquet.ParquetFile(str(path)).to_pandas(columns=["feature"])["feature"], width
    )


READERS: list[Callable[[Path, int], Array]] = [
    _pyarrow,
    _pyarrow_dataset,
    _pandas,
    _polars,
    _polars_lazy,
    _duckdb,
]


@pytest.mark.parametrize("width", WIDTHS)
def test_every_reader_decodes_our_levels(tmp_path: Path, width: int) -> None:
    """C4: read_table works; C5: Polars and pandas; several groups, rows around multiples of eight."""
    for rows, group in SHAPES:
        for dtype in ("float32", "float16"):
            feature = making.vectors(rows, width, dtype=dtype, seed=rows)
            path = making.write(
                tmp_path / "x.parquet", rows, feature, {"label": np.arange(rows)}, group=group
            )
            for reader in READERS:
                seen = reader(path, width)
                assert np.array_equal(seen.astype(dtype), feature), (
                    reader.__name__,
                    rows,
                    group,
                    dtype,
                )


@pytest.mark.parametrize("align", [64, 16_384, 65_536])
def test_gaps_of_up_to_64_kib_disturb_no_reader(tmp_path: Path, align: int) -> None:
    feature = making.vectors(40, 33)
    path = making.write(
        tmp_path / "x.parquet", 40, feature, {"label": np.arange(40)}, group=16, align=align
    )
    for reader in READERS:
        assert np.array_equal(reader(path, 33).astype("f4"), feature), reader.__name__


def test_a_large_file_of_one_group(tmp_path: Path) -> None:
    """One page of 400,000 lists: longer than any page that these readers write."""
    feature = np.arange(400_000 * 3, dtype="float32").reshape(-1, 3)
    path = making.write(tmp_path / "x.parquet", 400_000, feature, {"label": np.arange(400_000)})
    for reader in (_pyarrow, _polars, _polars_lazy):
        assert np.array_equal(reader(path, 3), feature), reader.__name__
    import duckdb

    with duckdb.connect() as base:
        found = base.execute(
            "select sum(feature[3]), max(label) from read_parquet(?)", [str(path)]
        ).fetchone()
    assert found == (float(feature[:, 2].sum(dtype="f8")), 399_999)


# Columns of every kind

ROWS = 37
_DRAW = np.random.default_rng(3)


def _view(values: Array, kind: pa.DataType) -> pa.Array:
    return pa.array(values).view(kind)


def _whole(code: str) -> pa.Array:
    info = np.iinfo(code)
    values = _DRAW.integers(info.min, info.max, ROWS, dtype=code, endpoint=True)
    values[:2] = info.min, info.max
    return pa.array(values)


KINDS: dict[str, pa.Array] = {
    **{f"int {code}": _whole(code) for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")},
    "float32": pa.array(_DRAW.normal(size=ROWS).astype("f4")),
    "float64": pa.array(_DRAW.normal(size=ROWS)),
    "date": _view(_DRAW.integers(-20_000, 20_000, ROWS, dtype="i4"), pa.date32()),
    "time s": _view(_DRAW.integers(0, 86_400, ROWS, dtype="i4"), pa.time32("s")),
    "time ms": _view(_DRAW.integers(0, 86_400_000, ROWS, dtype="i4"), pa.time32("ms")),
    "time us": _view(_DRAW.integers(0, 86_400_000_000, ROWS), pa.time64("us")),
    "timestamp s": _view(_DRAW.integers(0, 10**9, ROWS), pa.timestamp("s")),
    "timestamp ms": _view(_DRAW.integers(0, 10**12, ROWS), pa.timestamp("ms")),
    "timestamp us": _view(_DRAW.integers(0, 10**15, ROWS), pa.timestamp("us", "UTC")),
    "timestamp ns": _view(_DRAW.integers(0, 10**15, ROWS) * 1000, pa.timestamp("ns")),
    "bool": pa.array(_DRAW.random(ROWS) > 0.5),
    "bool null": pa.array([None if i % 3 == 0 else i % 2 == 0 for i in range(ROWS)]),
    "text": pa.array([["ä", "", "日本語", "x" * 300, "\x00'\"\n"][i % 5] for i in range(ROWS)]),
    "text null": pa.array([None if i % 3 == 0 else f"v{i % 5}" for i in range(ROWS)]),
    "all null": pa.array([None] * ROWS, pa.string()),
    "int null": pa.array([None if i % 4 == 0 else i for i in range(ROWS)], pa.int32()),
    "binary": pa.array([bytes([i]) * (i % 3) for i in range(ROWS)]),
    "dictionary": pa.array([f"c{i % 3}" for i in range(ROWS)]).dictionary_encode(),
    "list": pa.array(
        [list(range(i % 4)) if i % 5 else None for i in range(ROWS)], pa.list_(pa.int64())
    ),
    "processing": pa.array(
        [{"flip": i % 2 == 0, "angle": i / 2, "crop": [1, 2, i]} for i in range(ROWS)]
    ),
    "decimal": pa.array(range(ROWS)).cast(pa.decimal128(25, 2)),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pa.Array, Path]:
    values = KINDS[request.param]
    schema = pa.schema([pa.field("v", values.type, nullable=values.null_count > 0)])
    return values, making.write(
        tmp_path_factory.mktemp("kind") / "x.parquet",
        ROWS,
        making.vectors(ROWS, 9),
        {"v": values},
        group=8,
        align=64,
        schema=schema,
    )


def test_pyarrow_and_the_dataset_read_every_kind(kind: tuple[pa.Array, Path]) -> None:
    values, path = kind
    assert pq.read_table(path)["v"].to_pylist() == values.to_pylist()
    ds = dataset.open(path)
    assert ds.to_arrow()["v"].to_pylist() == values.to_pylist()
    chosen = [5, 0, 36, 5]
    assert ds.take(chosen).to_arrow()["v"].to_pylist() == values.take(pa.array(chosen)).to_pylist()
    assert ds[4]["v"] == values[4].as_py() and len(ds.to_numpy("v")) == ROWS


def test_polars_reads_every_kind(kind: tuple[pa.Array, Path]) -> None:
    import polars as pl

    values, path = kind
    expected = pl.Series(values).to_list()
    assert pl.read_parquet(path)["v"].to_list() == expected
    assert pl.DataFrame(dataset.open(path))["v"].to_list() == expected


def test_pandas_reads_every_kind(kind: tuple[pa.Array, Path]) -> None:
    import pandas as pd

    values, path = kind
    stored = pq.read_table(path)["v"].type  # seconds come back as milliseconds: Parquet has none
    expected = pd.Series(values.cast(stored), dtype=pd.ArrowDtype(stored), name="v")
    frame = pd.read_parquet(path, dtype_backend="pyarrow")
    assert (
        frame["v"].array.__arrow_array__().to_pylist()
        == expected.array.__arrow_array__().to_pylist()
    )
    assert pa.array(dataset.open(path).to_pandas()["v"]).to_pylist() == values.to_pylist()
    assert pd.DataFrame.from_arrow(dataset.open(path).to_arrow(["v"])).shape == (ROWS, 1)


def test_duckdb_reads_every_kind(kind: tuple[pa.Array, Path]) -> None:
    import duckdb

    values, path = kind
    ds = dataset.open(path)
    with duckdb.connect() as base:
        base.execute("set timezone = 'UTC'")
        from_file = base.sql(f"select v from '{path}'").to_arrow_table()["v"].to_pylist()
        from_dataset = base.sql("select v from ds").to_arrow_table()["v"].to_pylist()
    assert from_file == from_dataset == values.to_pylist() and len(ds) == ROWS


def test_conditions_lose_no_row_by_our_statistics(kind: tuple[pa.Array, Path]) -> None:
    """Readers skip row groups by the smallest and largest value that we state."""
    import duckdb
    import polars as pl

    values, path = kind
    told = [v for v in values.to_pylist() if v is not None]
    if (
        not told
        or not isinstance(told[0], (int, float, str, dt.date))
        or pa.types.is_dictionary(values.type)
    ):
        pytest.skip("no order")
    middle = sorted(told)[len(told) // 2]
    expected = sum(v >= middle for v in told)
    assert pl.scan_parquet(path).filter(pl.col("v") >= middle).collect().height == expected
    with duckdb.connect() as base:
        base.execute("set timezone = 'UTC'")
        found = base.execute(
            "select count(*) from read_parquet(?) where v >= ?", [str(path), middle]
        ).fetchone()
    assert found == (expected,)
    scalar = pa.scalar(middle, pq.read_schema(path).field("v").type)
    assert len(pq.read_table(path, filters=[("v", ">=", scalar)])) == expected


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves files to the collector
def test_fastparquet_reads_vectors_and_columns(tmp_path: Path) -> None:
    pytest.importorskip("fastparquet")
    for rows, group, width in ((17, 8, 4), (100, 24, 33)):
        feature = making.vectors(rows, width)
        columns = {"label": np.arange(rows), "note": [f"ü{i}" for i in range(rows)]}
        path = making.write(tmp_path / "x.parquet", rows, feature, columns, group=group)
        import fastparquet

        frame = fastparquet.ParquetFile(str(path)).to_pandas()
        assert (
            frame["label"].tolist() == list(range(rows))
            and frame["note"].tolist() == columns["note"]
        )
        vector = next(c for c in frame.columns if c.startswith("feature"))
        assert np.array_equal(_stacked(frame[vector], width).astype("f4"), feature)


@pytest.mark.filterwarnings("ignore")  # the library's own
def test_hf_datasets_local_and_streaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets: Any = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    feature = making.vectors(40, 9)
    columns = {
        "label": np.arange(40),
        "note": [f"ü{i}" for i in range(40)],
        "processing": [{"angle": 1.5}] * 40,
        "age": pa.array([None if i % 3 == 0 else i for i in range(40)]),
    }
    schema = pa.schema([pa.field("age", pa.int64())])
    path = str(
        making.write(
            tmp_path / "x.parquet", 40, feature, columns, group=16, align=65_536, schema=schema
        )
    )
    for streaming in (False, True):
        loaded = datasets.load_dataset(
            "parquet",
            data_files=path,
            split="train",
            streaming=streaming,
            cache_dir=str(tmp_path / "cache"),
        )
        rows = list(loaded)
        assert np.array_equal(np.array([r["feature"] for r in rows], "f4"), feature)
        assert [r["note"] for r in rows] == columns["note"] and [r["label"] for r in rows] == list(
            range(40)
        )
        assert (
            rows[4]["processing"] == {"angle": 1.5}
            and rows[3]["age"] is None
            and rows[4]["age"] == 4
        )


def test_the_compact_layout_is_read_by_all(tmp_path: Path) -> None:
    for dtype in ("float32", "float16"):
        feature = making.vectors(50, 16, dtype=dtype)
        path = making.write(
            tmp_path / "x.parquet",
            50,
            feature,
            {"label": np.arange(50)},
            group=16,
            layout="compact",
        )
        for reader in READERS:
            assert np.array_equal(reader(path, 16).astype(dtype), feature), (reader.__name__, dtype)


def test_several_vector_columns_are_read_by_all(tmp_path: Path) -> None:
    import polars as pl

    feature = {"feature": making.vectors(20, 5), "other": making.vectors(20, 40, seed=1)}
    path = making.write(tmp_path / "x.parquet", 20, feature, group=8)
    frame = pl.read_parquet(path)
    assert all(np.array_equal(frame[n].to_numpy(), v) for n, v in feature.items())
    table = pq.read_table(path)
    assert all(
        np.array_equal(_stacked(table[n].to_pylist(), v.shape[1]).astype("f4"), v)
        for n, v in feature.items()
    )


@pytest.mark.parametrize("tool", ["pyarrow", "pandas", "polars"])
def test_a_file_rewritten_by_another_tool_keeps_its_values(tmp_path: Path, tool: str) -> None:
    """The stale key is noticed where the tool kept it."""
    from dof_arrow.errors import DofWarning, FormatError

    feature = making.vectors(20, 5)
    path = making.write(tmp_path / "x.parquet", 20, feature, group=8)
    if tool == "pyarrow":
        pq.write_table(pq.read_table(path), tmp_path / "copy")
    elif tool == "pandas":
        pytest.importorskip("pandas").read_parquet(path, dtype_backend="pyarrow").to_parquet(
            tmp_path / "copy"
        )
    else:
        pytest.importorskip("polars").read_parquet(path).write_parquet(tmp_path / "copy")
    assert np.array_equal(_pyarrow(tmp_path / "copy", 5), feature)
    if b"dof" in (pq.read_metadata(tmp_path / "copy").metadata or {}):
        with pytest.warns(DofWarning):
            assert np.array_equal(dataset.open(tmp_path / "copy").to_numpy(), feature)
    else:
        with pytest.raises(FormatError, match="not a DoF file"):
            dataset.open(tmp_path / "copy")
