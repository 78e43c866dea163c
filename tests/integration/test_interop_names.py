"""Every reader shows the names of categories and splits, with no DoF code (rows C3, C4)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.errors import DofWarning
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.convert import convert
from dof_arrow.rewrite.merge import merge
from tests.support import making

ROWS = 413  # three row groups and a part of one
CLASSES = ["covid", "no, 'finding'", "ärds", "肺🫁", ""]
SPLITS = ["train", "hold out", "test"]
CODES = np.random.default_rng(0).integers(0, len(CLASSES), ROWS)
LABELS = [CLASSES[code] for code in CODES]
SPLIT = [SPLITS[row * 3 // ROWS] for row in range(ROWS)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("names") / "x.parquet", 0, ROWS)


def written(path: Path, start: int, stop: int) -> Path:
    about = {"targets": {"label": {"kind": "category", "classes": CLASSES}}}
    with Writer(path, about, geometry=Geometry(rows=128, alignment=4096)) as writer:
        writer.write(
            ids=[f"r{row:05}" for row in range(start, stop)],
            vectors={"feature": making.vectors(stop - start, 8)},
            columns={"label": CODES[start:stop], "split": SPLIT[start:stop]},
        )
    return path


def _pyarrow(path: Path) -> list[Any]:
    table = pq.read_table(path)
    return [table[name].to_pylist() for name in ("label", "split")]


def _pyarrow_dataset(path: Path) -> list[Any]:
    import pyarrow.dataset as pad

    table = pad.dataset(path).to_table(columns=["label", "split"])
    return [column.to_pylist() for column in table.columns]


def _pandas(path: Path) -> list[Any]:
    frame = pytest.importorskip("pandas").read_parquet(path, columns=["label", "split"])
    return [frame["label"].tolist(), frame["split"].tolist()]


def _polars(path: Path) -> list[Any]:
    frame = pytest.importorskip("polars").read_parquet(path)
    return [frame["label"].to_list(), frame["split"].to_list()]


def _polars_lazy(path: Path) -> list[Any]:
    frame = pytest.importorskip("polars").scan_parquet(path).select("label", "split").collect()
    return [frame["label"].to_list(), frame["split"].to_list()]


def _duckdb(path: Path) -> list[Any]:
    with pytest.importorskip("duckdb").connect() as connection:
        rows = connection.execute(f"select label, split from '{path}'").fetchall()
    return [list(column) for column in zip(*rows, strict=True)]


def _fastparquet(path: Path) -> list[Any]:
    fastparquet = pytest.importorskip("fastparquet")
    frame = fastparquet.ParquetFile(str(path)).to_pandas(columns=["label", "split"])
    return [frame["label"].astype(str).tolist(), frame["split"].astype(str).tolist()]


def _datasets(path: Path) -> list[Any]:
    datasets: Any = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    folder = str(path.parent / "cache")
    rows = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=folder)
    return [list(rows["label"]), list(rows["split"])]


READERS = (
    _pyarrow,
    _pyarrow_dataset,
    _pandas,
    _polars,
    _polars_lazy,
    _duckdb,
    _fastparquet,
    _datasets,
)


@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize("reader", READERS)
def test_readers_show_names(
    path: Path, reader: Callable[[Path], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert reader(path) == [LABELS, SPLIT]


def test_readers_find_rows_by_name(path: Path) -> None:
    """Also where they skip row groups by the names in their statistics."""
    import pyarrow.dataset as pad

    polars = pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    for column, values in (("label", LABELS), ("split", SPLIT)):
        for name in {*values, "none of them"}:
            wanted = [f"r{row:05}" for row, value in enumerate(values) if value == name]
            by_arrow = pad.dataset(path).to_table(filter=pad.field(column) == name)
            assert by_arrow["id"].to_pylist() == wanted
            assert pq.read_table(path, filters=[(column, "==", name)])["id"].to_pylist() == wanted
            lazy = polars.scan_parquet(path).filter(polars.col(column) == name).collect()
            assert lazy["id"].to_list() == wanted
            query = f"select id from '{path}' where {column} = ? order by id"
            assert [row[0] for row in duckdb.execute(query, [name]).fetchall()] == wanted


def test_our_own_exchange_shows_names(path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    ds = dataset.open(path)
    assert ds.to_pandas()["label"].tolist() == LABELS
    assert pandas.DataFrame.from_arrow(ds)["label"].tolist() == LABELS
    assert ds.to_polars()["split"].to_list() == SPLIT
    assert polars.DataFrame(ds)["label"].to_list() == LABELS
    found = duckdb.sql("select label from ds").fetchall()
    assert [row[0] for row in found] == LABELS
    assert [row["label"] for row in ds] == LABELS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
def test_spark_shows_names(path: Path) -> None:
    sql = pytest.importorskip("pyspark.sql")
    builder = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.sql.shuffle.partitions", "1").getOrCreate()
    try:
        frame = spark.read.parquet(str(path))
        rows = frame.orderBy("id").select("label", "split").collect()
        assert [[row[0] for row in rows], [row[1] for row in rows]] == [LABELS, SPLIT]
        assert frame.filter(frame.label == "ärds").count() == LABELS.count("ärds")
    finally:
        spark.stop()


@pytest.mark.parametrize("tool", ["pyarrow", "pandas", "polars"])
def test_copies_by_other_tools_are_read_by_name(path: Path, tmp_path: Path, tool: str) -> None:
    copy = tmp_path / "copy.parquet"
    if tool == "pyarrow":
        pq.write_table(pq.read_table(path), copy, use_dictionary=False)
    elif tool == "pandas":
        pytest.importorskip("pandas").read_parquet(path, dtype_backend="pyarrow").to_parquet(copy)
    else:
        metadata = {"dof": (pq.read_metadata(path).metadata or {})[b"dof"].decode()}
        pytest.importorskip("polars").read_parquet(path).write_parquet(copy, metadata=metadata)
    if b"dof" not in (pq.read_metadata(copy).metadata or {}):
        pytest.skip("the tool drops the key")
    with pytest.warns(DofWarning):
        ds = dataset.open(copy)
    assert ds.to_arrow(["label"])["label"].to_pylist() == LABELS
    assert np.array_equal(ds.to_numpy("label"), CODES)
    batches = [labels for _, labels in ds.loader(target="label", batch_size=100)]
    assert np.concatenate(batches).tolist() == CODES.tolist()


def test_rewritten_datasets_keep_names_and_codes(path: Path, tmp_path: Path) -> None:
    parts = [written(tmp_path / "a.parquet", 0, 128), written(tmp_path / "b.parquet", 128, ROWS)]
    made = [
        convert(path, tmp_path / "mapped.parquet"),
        convert(path, tmp_path / "compact.parquet", layout="compact"),
        convert(tmp_path / "compact.parquet", tmp_path / "back.parquet"),
        convert(path, tmp_path / "directory.dof"),
        merge(parts, tmp_path / "merged.parquet").path,
        merge(parts, tmp_path / "merged.dof").path,
        convert(tmp_path / "merged.dof", tmp_path / "one.parquet"),
        convert(convert(path, tmp_path / "text.dof.json"), tmp_path / "text.parquet"),
    ]
    both = dataset.concat([dataset.open(part) for part in parts])
    for ds in (*map(dataset.open, made), both):
        assert ds.to_arrow(["label"])["label"].to_pylist() == LABELS, ds
        assert ds.to_arrow(["split"])["split"].to_pylist() == SPLIT, ds
        assert np.array_equal(ds.to_numpy("label"), CODES) and ds.to_numpy("label").dtype == "u1"
        assert len(ds.split("hold out")) == SPLIT.count("hold out")
        assert ds[200]["label"] == LABELS[200]
        assert ds.take([300, 1]).to_arrow(["label"])["label"].to_pylist() == [
            LABELS[300],
            LABELS[1],
        ]
