"""Rows put in the order of the output: in memory or through scratch files, to the same bytes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dof_arrow.cores.core import Core
from dof_arrow.errors import OutputError
from dof_arrow.extraction import row_order, staging
from dof_arrow.extraction.block import Block
from dof_arrow.extraction.block_file import ScratchFile
from dof_arrow.extraction.extract import extract
from dof_arrow.extraction.staging import Staging
from tests.support.making import run
from tests.support.pictures import KEY, contents, core, folder_of

TINY = 6000  # bytes of rows, about 30
VIEWS = {"views": 3, "augment": "photo"}


def fine() -> Core:
    from dof_arrow.cores import builtin

    made = builtin.load(pool="2x2")
    made.name = "fine"
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of which some are none."""
    folder = folder_of(tmp_path_factory.mktemp("order") / "p", 150, ("a", "b"), side=4)
    for number in range(0, 150, 20):
        (folder / "a" / f"{number:04d}.png").write_bytes(b"broken")
    return folder


def made(folder: Path, out: Path, **options: Any) -> bytes:
    given = {"core": core(), "id_key": KEY, "workers": 1, "label": "folder", **options}
    return extract(folder, out=out, **given).path.read_bytes()


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> list[ScratchFile]:
    """Little memory, blocks that are not joined, and the scratch files that this makes."""
    monkeypatch.setattr(row_order, "HELD_BYTES", TINY)
    monkeypatch.setattr(row_order, "JOINED_BYTES", 1000)
    monkeypatch.setattr(staging, "JOINED_BYTES", 1000)
    real, files = Staging.scratch, []

    def noted(self: Staging, pieces: Iterator[Block]) -> ScratchFile:
        files.append(real(self, pieces))
        return files[-1]

    monkeypatch.setattr(Staging, "scratch", noted)
    return files


def in_memory(folder: Path, out: Path, **options: Any) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_order, "HELD_BYTES", 1 << 30)
        return made(folder, out, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"workers": 3}, VIEWS, {"core": [core(), fine()]}, {"layout": "compact"}],
    ids=["one", "workers", "views", "cores", "compact"],
)
def test_scratch_files_give_the_bytes_of_memory(
    options: dict[str, Any], folder: Path, tmp_path: Path, scratch: list[ScratchFile]
) -> None:
    whole = in_memory(folder, tmp_path / "m.parquet", **options)
    assert not scratch
    assert made(folder, tmp_path / "s.parquet", **options) == whole
    assert len(scratch) >= 4 and len(scratch[0]._pieces) > 8
    assert contents(tmp_path) == ["m.parquet", "s.parquet"]


def test_many_rows_are_held_for_few_files(
    folder: Path, tmp_path: Path, scratch: list[ScratchFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All scratch files are open at a time: there are never more than a system allows."""
    monkeypatch.setattr(row_order, "HELD_BYTES", 1)
    monkeypatch.setattr(row_order, "_SHARE", 1)
    monkeypatch.setattr(row_order, "_RUNS", 3)
    found = made(folder, tmp_path / "s.parquet")
    assert 2 <= len(scratch) <= 4 and found == in_memory(folder, tmp_path / "m.parquet")


def damaging(monkeypatch: pytest.MonkeyPatch, files: list[int]) -> None:
    """A disk that damages these scratch files, by number, behind the back of whoever wrote them."""
    real, made_so_far = Staging.scratch, []

    def damaged(self: Staging, pieces: Iterator[Block]) -> ScratchFile:
        file = real(self, pieces)
        if len(made_so_far) in files:
            os.pwrite(file._file, b"another", os.fstat(file._file).st_size // 2)
        made_so_far.append(file)
        return file

    monkeypatch.setattr(Staging, "scratch", damaged)


def test_a_damaged_scratch_file_is_noticed_and_made_anew(
    folder: Path, tmp_path: Path, scratch: list[ScratchFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made(folder, tmp_path / "m.parquet")
    once = len(scratch)
    damaging(monkeypatch, [1])
    assert made(folder, tmp_path / "s.parquet") == whole and len(scratch) == 3 * once
    damaging(monkeypatch, [*range(99)])
    with pytest.raises(OutputError, match="not what was written: found other bytes in"):
        made(folder, tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


def test_a_scratch_file_that_is_cut_off_is_noticed(
    folder: Path, tmp_path: Path, scratch: list[ScratchFile]
) -> None:
    with Staging(tmp_path / "x").held({"run": 1}) as held:
        table = _block(range(9))
        file = held.scratch(iter([table, table]))
        assert file.piece(1).inputs.tolist() == [*range(9)]
        os.ftruncate(file._file, os.fstat(file._file).st_size - 1)
        assert file.piece(0).inputs.tolist() == [*range(9)]
        with pytest.raises(OutputError, match="another length"):
            file.piece(1)
    assert contents(tmp_path) == []


def _block(inputs: range) -> Block:
    import pyarrow as pa

    table = pa.table({"input": [*inputs]})
    return Block(table.replace_schema_metadata({"failed": "[]"}))


KILLED = """
import os, signal, sys
from pathlib import Path
from dof_arrow.extraction import row_order, staging
from dof_arrow.extraction.output_table import OutputTable
from tests.extraction.test_row_order import TINY, made
row_order.HELD_BYTES, row_order.JOINED_BYTES, staging.JOINED_BYTES = TINY, 1000, 1000
real, count = OutputTable.vectors_of, []
def vectors_of(self, block):
    count.append(1)
    if len(count) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, block)
OutputTable.vectors_of = vectors_of
made(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_kill_leaves_no_scratch_file_and_the_same_command_ends_in_the_same_bytes(
    folder: Path, tmp_path: Path, scratch: list[ScratchFile]
) -> None:
    out = tmp_path / "x.parquet"
    assert run(KILLED, folder, out).returncode == -signal.SIGKILL
    left = contents(tmp_path / ".x.parquet.staging")
    assert left == [*(f"{number:06d}.arrow" for number in range(5)), "lock", "run.json"]
    assert made(folder, out) == in_memory(folder, tmp_path / "m.parquet")
    assert contents(tmp_path) == ["m.parquet", "x.parquet"] and len(scratch) >= 4
