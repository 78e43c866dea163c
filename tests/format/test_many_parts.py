"""A directory of more parts than files may be open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dof_arrow.errors import FormatError
from dof_arrow.format.append import growing
from dof_arrow.format.file import File
from dof_arrow.format.writer import Writer
from tests.support.making import run

pytest.importorskip("resource")
PARTS, ROWS = 90, 3
_ALL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import os
import dof_arrow as dof
from dof_arrow.tables import gather
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


@pytest.mark.parametrize("layout", ["mapped", "compact"])
def test_more_parts_than_files_may_be_open(tmp_path: Path, layout: str) -> None:
    part_path = tmp_path / "part.parquet"
    with growing(tmp_path / "x.dof") as growth:
        for part in range(PARTS):
            number = np.arange(part * ROWS, (part + 1) * ROWS)
            with Writer(part_path, layout=layout, overwrite=True) as writer:  # type: ignore[arg-type]
                writer.write(
                    ids=[f"r{each:05d}" for each in number],
                    vectors={"feature": number[:, None].repeat(4, 1).astype(np.float32)},
                    columns={"age": number.astype(np.float32)},
                )
            growth.add(part_path, new_ids=True)
    done = run(_ALL, tmp_path / "x.dof")
    assert done.returncode == 0, done.stderr
    rows, opened = map(int, done.stdout.split())
    assert rows == PARTS * ROWS and opened < 40


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
