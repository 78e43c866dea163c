"""A directory of files and its manifest: one table, one commit point (rows D15, D16)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format import append
from dof_arrow.format.file import File
from dof_arrow.format.parquet.layout import Geometry, fixed
from dof_arrow.format.writer import Writer


def part(
    path: Path, first: int, rows: int, geometry: Geometry | None = None, width: int = 64
) -> np.ndarray:
    values = np.arange(first * width, (first + rows) * width, dtype="f4").reshape(rows, width)
    with Writer(
        path, {"targets": {"label": {"kind": "category", "classes": ["a", "b"]}}}, geometry=geometry
    ) as writer:
        writer.write(
            ids=[f"{i:026d}" for i in range(first, first + rows)],
            vectors={"feature": values},
            columns={"label": np.arange(rows) % 2, "split": ["train"] * rows},
        )
        writer.fail(f"failed {first}", "undecodable", "not a picture")
    return values


def made(
    tmp_path: Path, sizes: list[int], geometry: Geometry | None = None
) -> tuple[Path, np.ndarray]:
    folder, parts, first = tmp_path / "set.dof", [], 0
    for rows in sizes:
        parts.append(part(tmp_path / "part.parquet", first, rows, geometry))
        append.append(folder, tmp_path / "part.parquet")
        (tmp_path / "part.parquet").unlink()
        first += rows
    return folder, np.concatenate(parts)


def test_append_grows_the_table(tmp_path: Path) -> None:
    """D15: records are appended; splits, errors and counts speak for the whole."""
    folder, values = made(tmp_path, [10, 7, 1])
    ds = dof.open(folder)
    assert len(ds) == 18 and np.array_equal(ds.to_numpy(), values)
    assert ds.metadata.splits["train"].rows == 18
    assert [e["id"] for e in ds.errors] == ["failed 0", "failed 10", "failed 17"]
    assert ds[17]["id"] == f"{17:026d}" and ds.to_arrow().num_rows == 18
    names = [f"data-{number:06d}.parquet" for number in range(3)]
    assert sorted(p.name for p in folder.iterdir()) == [*names, "manifest.parquet"]
    assert [p.name for p in tmp_path.iterdir()] == ["set.dof"]


def test_what_is_replaced_or_fails_leaves_no_parts(tmp_path: Path) -> None:
    folder, _ = made(tmp_path, [10, 7])
    with pytest.raises(UsageError), append.growing(folder) as growing:
        part(tmp_path / "new.parquet", 100, 3)
        growing.add(tmp_path / "new.parquet")
        growing.add(tmp_path / "new.parquet")  # the same rows again
    names = ["data-000000.parquet", "data-000001.parquet", "manifest.parquet"]
    assert sorted(p.name for p in folder.iterdir()) == names
    append.append(folder, tmp_path / "new.parquet", overwrite=True)
    assert sorted(p.name for p in folder.iterdir()) == ["data-000002.parquet", "manifest.parquet"]
    assert len(dof.open(folder)) == 3


def test_the_beginning_of_a_directory_that_a_crash_left_is_not_taken_up(tmp_path: Path) -> None:
    (tmp_path / ".x.new").mkdir()
    part(tmp_path / ".x.new" / "data-000003.parquet", 0, 3)
    part(tmp_path / "a.parquet", 3, 5)
    append.append(tmp_path / "x", tmp_path / "a.parquet")
    assert len(dof.open(tmp_path / "x")) == 5
    assert {p.name for p in (tmp_path / "x").iterdir()} == {
        "data-000000.parquet",
        "manifest.parquet",
    }


def test_parts_that_end_at_pages_map_as_one_array(tmp_path: Path) -> None:
    """Several files, one address: no copy where no part but the last ends within a page."""
    folder, values = made(tmp_path, [4096, 2048, 1030], Geometry(1024, 4096))
    ds = dof.open(folder)
    x = ds.to_numpy()
    assert np.array_equal(x, values) and not x.flags.owndata and x.flags.c_contiguous
    before = pa.total_allocated_bytes()
    assert (
        ds.to_arrow(["feature"]).column(0).chunk(0).flatten().buffers()[1].address == x.ctypes.data
    )
    assert pa.total_allocated_bytes() == before


def test_row_d18_any_row_is_one_range_of_bytes_of_one_part(tmp_path: Path) -> None:
    """What a server of byte ranges must give is known from footers alone."""
    folder, values = made(tmp_path, [10, 7])
    table, first = dof.open(folder).table, 0
    column = fixed(table.schema.field("feature"))
    for file, region in table.places(column):
        for row in range(region.length // column.width):
            data = os.pread(file.file, column.width, region.offset + row * column.width)
            assert np.array_equal(np.frombuffer(data, "<f4"), values[first + row])
        first += region.length // column.width
    assert first == 17


def test_parts_that_end_within_pages_map_each_alone(tmp_path: Path) -> None:
    """A slice of one part is a view of its file; only what spans several is copied."""
    folder, values = made(tmp_path, [100, 50])
    ds = dof.open(folder)
    inner = ds[10:90].to_numpy()
    assert np.array_equal(inner, values[10:90]) and not inner.flags.owndata
    assert np.array_equal(ds[90:110].to_numpy(), values[90:110]) and np.array_equal(
        ds.to_numpy(), values
    )
    assert (
        np.array_equal(ds.take([120, 3]).to_numpy(), values[[120, 3]])
        and ds[120]["id"] == f"{120:026d}"
    )


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
    """A part that is doubled, of another kind, unsealed, changed or missing is refused.

    The set stays as it was.
    """
    folder, _ = made(tmp_path, [10, 7])
    part(tmp_path / "again.parquet", 12, 3)
    with pytest.raises(UsageError, match="holds already"):
        append.append(folder, tmp_path / "again.parquet")
    part(tmp_path / "wide.parquet", 100, 3, width=8)
    with pytest.raises(UsageError, match="another kind"):
        append.append(folder, tmp_path / "wide.parquet")
    pq.write_table(pq.read_table(tmp_path / "again.parquet"), tmp_path / "copy.parquet")
    with pytest.raises(FormatError, match="sealed"):
        append.append(folder, tmp_path / "copy.parquet")
    assert len(dof.open(folder)) == 17
    shutil.copyfile(tmp_path / "again.parquet", folder / "data-000001.parquet")
    with pytest.raises(FormatError, match="another"):
        dof.open(folder)
    (folder / "data-000001.parquet").unlink()
    with pytest.raises(UsageError, match="no such file"):
        dof.open(folder)
    with pytest.raises(UsageError, match="manifest"):
        dof.open(tmp_path)


def test_an_addition_reads_the_manifest_before_and_after_and_no_part(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many parts there are: the time of an addition is not that of all others."""
    folder, _ = made(tmp_path, [3] * 5)
    part(tmp_path / "new.parquet", 15, 3)
    opened = []
    usual = File._opened

    def noted(file: File) -> tuple[int, bytes]:
        opened.append(file.path.name)
        return usual(file)

    monkeypatch.setattr(File, "_opened", noted)
    assert append.append(folder, tmp_path / "new.parquet").rows == 18
    assert opened == ["manifest.parquet", "new.parquet", "data-000005.parquet", "manifest.parquet"]
    assert len(dof.open(folder)) == 18
