"""A directory of files and its manifest: one table, one commit point (rows D15, D16)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from dof_arrow import directory
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.layout import Geometry
from dof_arrow.writer import Writer


def part(path: Path, first: int, rows: int, geometry: Geometry | None = None, width: int = 64) -> np.ndarray:
    values = np.arange(first * width, (first + rows) * width, dtype="f4").reshape(rows, width)
    with Writer(path, {"targets": {"label": {"kind": "category", "classes": ["a", "b"]}}}, geometry=geometry) as writer:
        writer.write(ids=[f"{i:026d}" for i in range(first, first + rows)], vectors={"feature": values},
                     columns={"label": np.arange(rows) % 2, "split": ["train"] * rows})
        writer.fail(f"failed {first}", "undecodable", "not a picture")
    return values


def made(tmp_path: Path, sizes: list[int], geometry: Geometry | None = None) -> tuple[Path, np.ndarray]:
    folder, parts, first = tmp_path / "set.dof", [], 0
    for rows in sizes:
        parts.append(part(tmp_path / "part.parquet", first, rows, geometry))
        directory.append(folder, tmp_path / "part.parquet")
        (tmp_path / "part.parquet").unlink()
        first += rows
    return folder, np.concatenate(parts)


def test_append_grows_the_table(tmp_path: Path) -> None:
    """D15: records are appended; splits, errors and counts speak for the whole."""
    folder, values = made(tmp_path, [10, 7, 1])
    ds = dof.open(folder)
    assert len(ds) == 18 and np.array_equal(ds.to_numpy(), values)
    assert ds.metadata.splits["train"].rows == 18 and [e["id"] for e in ds.errors] == ["failed 0", "failed 10", "failed 17"]
    assert ds[17]["id"] == f"{17:026d}" and ds.to_arrow().num_rows == 18
    assert sorted(p.name for p in folder.iterdir()) == [*(f"data-{n:06d}.parquet" for n in range(3)), "manifest.parquet"]
    assert [p.name for p in tmp_path.iterdir()] == ["set.dof"]


def test_parts_that_end_at_pages_map_as_one_array(tmp_path: Path) -> None:
    """Several files, one address: nothing is copied where no part but the last ends within a page."""
    folder, values = made(tmp_path, [4096, 2048, 1030], Geometry(1024, 4096))
    ds = dof.open(folder)
    x = ds.to_numpy()
    assert np.array_equal(x, values) and not x.flags.owndata and x.flags.c_contiguous
    before = pa.total_allocated_bytes()
    assert ds.to_arrow(["feature"]).column(0).chunk(0).flatten().buffers()[1].address == x.ctypes.data
    assert pa.total_allocated_bytes() == before


def test_ordinary_readers_see_the_rows(tmp_path: Path) -> None:
    """C4: readers of folders pass over the manifest."""
    import duckdb
    import polars

    folder, values = made(tmp_path, [10, 7])
    assert pq.read_table(folder).num_rows == 17
    assert len(polars.read_parquet(folder)) == 17
    assert duckdb.sql(f"select count(*) from '{folder}/*.parquet'").fetchall() == [(17,)]
    assert np.array_equal(np.stack(polars.read_parquet(folder)["feature"].to_list()), values)


def test_refusals(tmp_path: Path) -> None:
    """A part that is doubled, of another kind, unsealed, changed or missing is refused, and the set stays as it was."""
    folder, _ = made(tmp_path, [10, 7])
    part(tmp_path / "again.parquet", 12, 3)
    with pytest.raises(UsageError, match="holds already"):
        directory.append(folder, tmp_path / "again.parquet")
    part(tmp_path / "wide.parquet", 100, 3, width=8)
    with pytest.raises(UsageError, match="another kind"):
        directory.append(folder, tmp_path / "wide.parquet")
    pq.write_table(pq.read_table(tmp_path / "again.parquet"), tmp_path / "copy.parquet")
    with pytest.raises(FormatError, match="sealed"):
        directory.append(folder, tmp_path / "copy.parquet")
    assert len(dof.open(folder)) == 17
    shutil.copyfile(tmp_path / "again.parquet", folder / "data-000001.parquet")
    with pytest.raises(FormatError, match="another"):
        dof.open(folder)
    (folder / "data-000001.parquet").unlink()
    with pytest.raises(UsageError, match="no such file"):
        dof.open(folder)
    with pytest.raises(UsageError, match="manifest"):
        dof.open(tmp_path)
