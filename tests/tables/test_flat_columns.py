"""Mapped numbers beside the vectors: read row group by row group, wherever they lie (SPEC 6.4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.file import File
from dof_arrow.format.parquet.layout import Geometry, fixed
from dof_arrow.format.validation.validate import validate
from dof_arrow.format.writer import Writer

ROWS = 700  # two row groups of 256 rows, and a part of one
COLUMNS: dict[str, Any] = {
    "view": np.arange(ROWS).astype("i2"),
    "age": np.arange(ROWS) * 3,
    "time": np.arange(ROWS) / 7,
    "small": np.arange(ROWS).astype("u1"),
    "when": pa.array(np.arange(ROWS), pa.timestamp("us")),
    "day": pa.array(np.arange(ROWS).astype("i4")).cast(pa.date32()),
}


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("flat") / "x.parquet"
    with Writer(path, geometry=Geometry(rows=256, alignment=4096)) as writer:
        writer.write(
            ids=[f"r{row:04}" for row in range(ROWS)],
            vectors={"feature": np.zeros((ROWS, 8), "f4")},
            columns=COLUMNS,
        )
    return dataset.open(path)


def test_values_come_back(ds: Dataset) -> None:
    assert validate(ds.path, deep=True) == []
    table = ds.to_arrow()
    for name, values in COLUMNS.items():
        assert ds.metadata.columns[name].layout == "mapped"
        assert table[name].combine_chunks().equals(pa.array(values))
        assert ds.take([650, 3]).to_arrow([name])[name].to_pylist() == [
            pa.array(values)[650].as_py(),
            pa.array(values)[3].as_py(),
        ]
    assert ds[600]["age"] == 1800 and ds[-1]["view"] == ROWS - 1


def test_each_group_is_a_chunk_over_the_file(ds: Dataset) -> None:
    """They start at multiples of 64, not of pages: only vectors fill whole pages."""
    file = ds.table
    assert isinstance(file, File)
    start = np.frombuffer(file.memory, np.uint8).__array_interface__["data"][0]
    column = fixed(ds.schema.field("age"))
    assert column is not None
    regions = file.regions(column)
    chunks = ds.to_arrow(["age"])["age"].chunks
    assert [chunk.buffers()[1].address - start for chunk in chunks] == [
        region.offset for region in regions
    ]
    assert all(region.offset % 64 == 0 for region in regions)
    assert any(region.offset % 4096 for region in regions)


def test_one_array_is_made_once_and_cannot_be_written(ds: Dataset) -> None:
    pytest.importorskip("torch")
    whole = ds.to_numpy("age")
    assert np.shares_memory(ds[300:310].to_numpy("age"), whole) and not whole.flags.writeable
    ds.to_torch("age")[0] = 99
    assert ds.to_numpy("age")[0] == 0
