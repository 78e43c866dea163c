"""A directory of more parts than files may be open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format import directory
from dof_arrow.format.append import growing
from dof_arrow.format.file import File
from dof_arrow.format.writer import Writer
from tests.support import making
from tests.support.making import run
from tests.support.range_server import RangeServer

pytest.importorskip("resource")
PARTS, ROWS = 90, 3
_ALL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import os
import dof_arrow as dof
from dof_arrow.format import directory
from dof_arrow.tables import gather
directory.MANY = int(sys.argv[2])
ds = dof.open(sys.argv[1])
rows = list(range(len(ds)))
def seen():
    batches = ds.loader(batch_size=7, shuffle=True, target="age", columns=["id"])
    for _ in range(2):
        assert sorted(int(v) for x, _, _ in batches for v in x[:, 0]) == rows
    return ds.loader(batch_size=7, shuffle=True)
seen()
gather.IN_MEMORY = 100
kept = seen()
assert ds.to_numpy()[:, 0].tolist() == ds.to_arrow()["age"].to_pylist() == rows
assert [ds[row]["age"] for row in rows[::4]] == rows[::4]
print(len(rows), len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0)
"""


@pytest.fixture(scope="module", params=["mapped", "compact"])
def of_many_parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of many parts, in either layout."""
    layout: Any = request.param
    folder = tmp_path_factory.mktemp("parts")
    part_path = folder / "part.parquet"
    with growing(folder / "x.dof") as growth:
        for part in range(PARTS):
            number = np.arange(part * ROWS, (part + 1) * ROWS)
            with Writer(part_path, layout=layout, overwrite=True) as writer:
                writer.write(
                    ids=[f"r{each:05d}" for each in number],
                    vectors={"feature": number[:, None].repeat(4, 1).astype(np.float32)},
                    columns={"age": number.astype(np.float32)},
                )
            growth.add(part_path, new_ids=True)
    return folder / "x.dof"


@pytest.mark.parametrize("many", [30, 300])
def test_more_parts_than_files_may_be_open(of_many_parts: Path, many: int) -> None:
    done = run(_ALL, of_many_parts, many)
    assert done.returncode == 0, done.stderr
    rows, opened = map(int, done.stdout.split())
    assert rows == PARTS * ROWS and opened < 40


_AFAR = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
import dof_arrow as dof
from dof_arrow.format import directory
from dof_arrow.tables import gather
directory.MANY = 30
gather.IN_MEMORY = 0
ds = dof.open(sys.argv[1])
batches = ds.loader(batch_size=7, shuffle=True, columns=["row"])
seen = [row for _, columns in batches for row in columns["row"].tolist()]
assert sorted(seen) == list(range(len(ds)))
print(len(seen))
"""


def test_parts_on_a_store_have_the_files_that_they_need(tmp_path: Path, cache: Path) -> None:
    with growing(tmp_path / "x.dof") as growth:
        for part in range(PARTS):
            numbers = np.arange(part * ROWS, (part + 1) * ROWS, dtype="i4")
            vectors = making.vectors(ROWS, 4)
            making.write(tmp_path / "part.parquet", ROWS, vectors, {"row": numbers})
            growth.add(tmp_path / "part.parquet", new_ids=True)
    files = {f"/x.dof/{path.name}": path.read_bytes() for path in (tmp_path / "x.dof").iterdir()}
    with RangeServer(files).serving() as address:
        done = run(_AFAR, f"{address}/x.dof")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == PARTS * ROWS


def test_a_file_that_was_closed_and_replaced_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    for ids in (["a"], ["a", "b"]):
        with Writer(path, overwrite=True) as writer:
            writer.write(ids=ids, vectors={"feature": np.zeros((len(ids), 2), np.float32)})
        if len(ids) == 1:
            file = File(path)
    assert file.decoded("id").to_pylist() == ["a"]  # it is open still
    file.let_go()
    with pytest.raises(FormatError, match="was replaced since it was opened"):
        _ = file.file


def test_of_very_many_parts_each_is_opened_and_checked_when_it_is_first_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MANY", 2)
    with growing(tmp_path / "x.dof") as growth:
        for number in range(4):
            making.write(tmp_path / "p.parquet", 2, making.vectors(2, 4, seed=number))
            growth.add(tmp_path / "p.parquet", new_ids=True)
    os.unlink(tmp_path / "x.dof" / "data-000001.parquet")
    os.rename(tmp_path / "p.parquet", tmp_path / "x.dof" / "data-000002.parquet")
    ds = dataset.open(tmp_path / "x.dof")
    assert len(ds) == 8 and np.array_equal(ds[1]["feature"], making.vectors(2, 4, seed=0)[1])
    for _ in range(2):
        with pytest.raises(UsageError, match="no such file"):
            ds[2]
        with pytest.raises(FormatError, match="another seal"):
            ds[4]
    assert np.array_equal(ds[7]["feature"], making.vectors(2, 4, seed=3)[1])
