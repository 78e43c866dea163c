"""The interop matrix: each tool reads the file, filters it by a column, and rewrites it (rows C3, C4, C5).

What a rewritten copy is to us stands in `REWRITTEN`: `derived` where the tool kept our key, so that the copy opens with
a warning; `plain` where it dropped it. README's table says the same.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from dof_arrow.errors import DofWarning, FormatError
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.writer import Writer

ROWS, WIDTH = 3000, 40
X = np.random.default_rng(3).standard_normal((ROWS, WIDTH), dtype="f4")
LABELS = np.arange(ROWS) % 7
REWRITTEN = {
    "pyarrow": "derived",
    "pandas": "plain",
    "polars": "plain",
    "duckdb": "plain",
    "datasets": "plain",
    "fastparquet": "derived",
    "spark": "plain",
    "ray": "plain",
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("matrix") / "x.parquet"
    with Writer(path, geometry=Geometry(1024, 4096)) as writer:
        writer.write(
            ids=[f"{i:026d}" for i in range(ROWS)],
            vectors={"feature": X},
            columns={"label": LABELS},
        )
    return path


@pytest.fixture(scope="module", autouse=True)
def _put_back() -> Iterator[None]:
    """Clusters and sessions end with these tests, and so does what they found in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        if "pyspark.sql" in sys.modules:
            session = sys.modules["pyspark.sql"].SparkSession.getActiveSession()
            if session:
                session.stop()


class Tool:
    """One tool: rows as numpy (ids, labels, vectors) of all rows or of those with one label, and a rewritten copy."""

    def read(self, path: Path) -> Any: ...
    def where(self, path: Path, label: int) -> Any: ...
    def rewrite(self, path: Path, out: Path) -> None: ...


def _numpy(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    vectors = table["feature"].combine_chunks()
    flat = vectors.flatten() if hasattr(vectors, "flatten") else vectors
    return table["label"].to_numpy(), flat.to_numpy(zero_copy_only=False).reshape(len(table), -1)


class Pyarrow(Tool):
    def read(self, path: Path) -> Any:
        return _numpy(pq.read_table(path))

    def where(self, path: Path, label: int) -> Any:
        return _numpy(pq.read_table(path, filters=[("label", "=", label)]))

    def rewrite(self, path: Path, out: Path) -> None:
        pq.write_table(pq.read_table(path), out)


class Pandas(Tool):
    def read(self, path: Path, **options: Any) -> Any:
        import pandas

        frame = pandas.read_parquet(path, **options)
        return frame["label"].to_numpy(), np.stack(frame["feature"].to_list())

    def where(self, path: Path, label: int) -> Any:
        return self.read(path, filters=[("label", "=", label)])

    def rewrite(self, path: Path, out: Path) -> None:
        import pandas

        pandas.read_parquet(path, dtype_backend="pyarrow").to_parquet(out)


class Polars(Tool):
    def read(self, path: Path) -> Any:
        import polars

        return _numpy(polars.read_parquet(path).to_arrow())

    def where(self, path: Path, label: int) -> Any:
        import polars

        return _numpy(
            polars.scan_parquet(path).filter(polars.col("label") == label).collect().to_arrow()
        )

    def rewrite(self, path: Path, out: Path) -> None:
        import polars

        polars.read_parquet(path).write_parquet(out)


class Duckdb(Tool):
    def read(self, path: Path, condition: str = "true") -> Any:
        import duckdb

        with duckdb.connect() as connection:
            table = connection.sql(
                f"select label, feature from '{path}' where {condition}"
            ).to_arrow_table()
            return _numpy(table)

    def where(self, path: Path, label: int) -> Any:
        return self.read(path, f"label = {label}")

    def rewrite(self, path: Path, out: Path) -> None:
        import duckdb

        with duckdb.connect() as connection:
            connection.execute(f"copy (from '{path}') to '{out}' (format parquet)")


class HuggingFace(Tool):
    def _load(self, path: Path, **options: Any) -> Any:
        import datasets

        cache = path.parent / "hf"
        return datasets.load_dataset(
            "parquet", data_files=str(path), split="train", cache_dir=cache, **options
        )

    def read(self, path: Path) -> Any:
        return _numpy(self._load(path).data.table)

    def where(self, path: Path, label: int) -> Any:
        rows = [r for r in self._load(path, streaming=True) if r["label"] == label]
        return np.array([r["label"] for r in rows]), np.array([r["feature"] for r in rows], "f4")

    def rewrite(self, path: Path, out: Path) -> None:
        self._load(path).to_parquet(out)


class Fastparquet(Tool):
    def read(self, path: Path, **options: Any) -> Any:
        import fastparquet

        frame = fastparquet.ParquetFile(path).to_pandas(columns=["label", "feature"], **options)
        return frame["label"].to_numpy(), np.stack(frame["feature"].to_list())

    def where(self, path: Path, label: int) -> Any:
        labels, vectors = self.read(path, filters=[("label", "==", label)])  # skips row groups only
        return labels[labels == label], vectors[labels == label]

    def rewrite(self, path: Path, out: Path) -> None:
        import fastparquet

        file = fastparquet.ParquetFile(path)
        frame = file.to_pandas(columns=["id", "label"])
        fastparquet.write(out, frame, custom_metadata={"dof": file.key_value_metadata["dof"]})


class Spark(Tool):
    def __init__(self) -> None:
        if shutil.which("java") is None:
            pytest.skip("java is not installed")
        sql = pytest.importorskip("pyspark.sql")
        builder = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
        self.spark = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()

    def _numpy(self, frame: Any) -> Any:
        rows = frame.select("label", "feature").collect()
        return np.array([r.label for r in rows]), np.array([r.feature for r in rows], "f4")

    def read(self, path: Path) -> Any:
        return self._numpy(self.spark.read.parquet(str(path)))

    def where(self, path: Path, label: int) -> Any:
        return self._numpy(self.spark.read.parquet(str(path)).where(f"label = {label}"))

    def rewrite(self, path: Path, out: Path) -> None:
        folder = out.with_suffix(".spark")
        self.spark.read.parquet(str(path)).coalesce(1).write.parquet(str(folder))
        next(folder.glob("*.parquet")).rename(out)


class Ray(Tool):
    def __init__(self) -> None:
        ray = pytest.importorskip("ray")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(
                address="local",  # not the cluster of another test
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                ignore_reinit_error=True,
            )
            import ray.data
        self.data = ray.data
        self.data.DataContext.get_current().execution_options.preserve_order = True
        self.data.DataContext.get_current().enable_progress_bars = False

    def _table(self, dataset: Any) -> pa.Table:
        import ray

        return pa.concat_tables([ray.get(ref) for ref in dataset.to_arrow_refs()])

    def read(self, path: Path) -> Any:
        return _numpy(self._table(self.data.read_parquet(str(path))))

    def where(self, path: Path, label: int) -> Any:
        rows = self.data.read_parquet(str(path)).filter(fn=lambda row: row["label"] == label)
        return _numpy(self._table(rows))

    def rewrite(self, path: Path, out: Path) -> None:
        folder = out.with_suffix(".ray")
        self.data.read_parquet(str(path)).repartition(1).write_parquet(str(folder))
        next(folder.glob("*.parquet")).rename(out)


TOOLS: dict[str, Callable[[], Tool]] = {
    "pyarrow": Pyarrow,
    "pandas": Pandas,
    "polars": Polars,
    "duckdb": Duckdb,
    "datasets": HuggingFace,
    "fastparquet": Fastparquet,
    "spark": Spark,
    "ray": Ray,
}


@pytest.fixture(scope="module", params=list(TOOLS))
def named(request: pytest.FixtureRequest) -> Iterator[tuple[str, Tool]]:
    yield request.param, TOOLS[request.param]()


pytestmark = pytest.mark.filterwarnings("ignore")  # the tools' own


def test_reads(named: tuple[str, Tool], path: Path) -> None:
    """C4, C5: the whole table, equal numbers, no DoF code."""
    labels, vectors = named[1].read(path)
    order = np.argsort(vectors[:, 0], kind="stable")
    expected = np.argsort(X[:, 0], kind="stable")
    assert np.array_equal(vectors[order], X[expected]) and np.array_equal(
        labels[order], LABELS[expected]
    )


def test_filters(named: tuple[str, Tool], path: Path) -> None:
    """C5: the rows of one label."""
    labels, vectors = named[1].where(path, 3)
    assert (labels == 3).all()
    assert np.array_equal(np.sort(vectors[:, 0]), np.sort(X[LABELS == 3, 0]))


def test_rewrites(named: tuple[str, Tool], path: Path, tmp_path: Path) -> None:
    """C4: a copy made by the tool; what it kept of our metadata is noticed as stale."""
    name, tool = named
    out = tmp_path / "copy.parquet"
    tool.rewrite(path, out)
    if REWRITTEN[name] == "plain":
        with pytest.raises(FormatError, match="not a DoF file"):
            dof.open(out)
        return
    with pytest.warns(DofWarning, match="rewritten|seal"):
        copy = dof.open(out)
    assert copy.derived and len(copy) == ROWS
    assert [p.rule for p in dof.validate(out)][:1] == ["derived-copy"]
    if "feature" in copy.columns:
        assert np.array_equal(np.sort(copy.to_numpy("feature")[:, 0]), np.sort(X[:, 0]))


def test_ray_takes_a_dataset_from_memory(path: Path) -> None:
    """C3: tensors, not lists of numbers. Ray copies each block once, into memory that its workers share: they get views
    of that."""
    tool, ds = Ray(), dof.open(path)
    rows = tool.data.from_arrow(ds.to_arrow(["feature", "label"], tensors=True))
    batches = list(rows.iter_batches(batch_size=None, batch_format="numpy"))
    assert not any(
        batch["feature"].flags.owndata or batch["feature"].flags.writeable for batch in batches
    )
    assert np.array_equal(np.concatenate([batch["feature"] for batch in batches]), X)
    assert np.array_equal(np.concatenate([batch["label"] for batch in batches]), LABELS)
