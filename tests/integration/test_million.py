"""A million inputs: planned at once, in bounded memory (`benchmarks/bench_million.py` has the figures)."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import bench_million
from dof_arrow.cores.core import Core
from dof_arrow.extraction.extract import planned
from dof_arrow.extraction.run import Extraction
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources.folder import Files
from tests.support.pictures import KEY, core
from tests.support.speed import slowness


def test_a_long_list_is_planned_at_once(tmp_path: Path) -> None:
    """Start-up is a matter of the names' bytes: 200,000 of them in a fraction of a second."""
    count = 200_000
    source = Files(
        root=tmp_path,
        names=pa.array([f"folder/{i:07d}.png" for i in range(count)], pa.large_string()),
        targets={"label": Target(kind="category", classes=("a", "b"))},
        labels={"label": pa.array(np.arange(count) % 2, pa.int32())},
        groups=pa.array([f"p{i // 5}" for i in range(count)]),
        columns={"age": pa.array(np.arange(count) % 90)},
    )
    start = time.process_time()
    run = planned(source, core=core(), out=tmp_path / "x.parquet", id_key=KEY)
    assert not run.is_done() and run.schema.names == ["id", "group", "label", "age", "feature"]
    assert time.process_time() - start < 1.0 * slowness()
    assert isinstance(run, Extraction) and isinstance(run.cores["feature"], Core)


@pytest.mark.parametrize("kind", bench_million.KINDS)
def test_the_benchmark_meets_every_kind_of_list(kind: str, tmp_path: Path) -> None:
    """The first batch of 20,000 inputs within a fiftieth of what a million may take, and no object for each."""
    asked = bench_million.KINDS[kind](tmp_path, 20_000)
    found = bench_million.first_batch(asked, tmp_path)
    assert 0 < found["processor seconds"] < 2 and found["peak MB above"] < 100
    assert any(tmp_path.glob(".*.staging/*.arrow")) and not (tmp_path / "x.dof.parquet").exists()
