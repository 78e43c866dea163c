"""What a run is: blocks by number alone, staged whole or not at all, one process at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dof_arrow.errors import OutputError
from dof_arrow.extraction import staging as work
from dof_arrow.extraction.block import Block, Failure
from dof_arrow.extraction.staging import Staging, block_rows, blocks, differences
from dof_arrow.storage.atomic import lock
from tests.support.faults import PowerCut, restore, watched
from tests.support.making import run
from tests.support.pictures import contents

TABLE = pa.table({"input": [1, 2]}).replace_schema_metadata({"failed": "[]"})
BLOCK = Block(TABLE)


def whole(staging: Staging, block: int) -> pa.Table:
    return pa.concat_tables(piece.table for piece in staging.pieces(block))


@pytest.mark.parametrize("inputs", [0, 1, 31, 32, 33, 4000, 1_000_003, 50_000_000])
def test_blocks_tile_the_inputs(inputs: int) -> None:
    found = blocks(inputs)
    assert [i for rows in found[:3] for i in rows] == list(range(sum(map(len, found[:3]))))
    assert sum(map(len, found)) == inputs and all(
        len(rows) == block_rows(inputs) for rows in found[:-1]
    )


def test_a_block_comes_back_with_its_stamp(tmp_path: Path) -> None:
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(4, BLOCK, "stamp")
        assert staging.numbers() == [4]
        assert staging.found(4, "stamp") == 0 and whole(staging, 4) == TABLE
        assert staging.found(4, "other") is None and staging.found(5, "stamp") is None
        staging.path(4).write_bytes(b"damaged")
        assert staging.found(4, "stamp") is None


def test_what_is_staged_stays_for_the_same_run_only(tmp_path: Path) -> None:
    identity = {"core": {"feature": "a"}, "dtype": "float32"}
    with Staging(tmp_path / "x").held(identity) as staging:
        staging.put(0, BLOCK, "s")
    with Staging(tmp_path / "x").held(identity, fresh=True) as staging:
        assert staging.numbers() == [0]
    other = {"core": {"feature": "b"}, "dtype": "float16"}
    with (
        pytest.raises(
            OutputError,
            match=r"difference in core, dtype. Repeat the earlier command .* --overwrite",
        ),
        Staging(tmp_path / "x").held(other),
    ):
        pass
    assert contents(tmp_path) == [".x.staging"]
    with Staging(tmp_path / "x").held(other, fresh=True) as staging:
        assert staging.numbers() == []
    assert contents(tmp_path) == []


def test_one_process_at_a_time(tmp_path: Path) -> None:
    again = (
        "import sys; from pathlib import Path; from dof_arrow.extraction.staging import Staging\n"
        "with Staging(Path(sys.argv[1])).held({'run': 1}): pass"
    )
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(0, BLOCK, "s")
        second = run(again, tmp_path / "x")
        assert "another process is working on this output" in second.stderr
        Staging(tmp_path / "x").sweep()
        assert staging.numbers() == [0]
    assert run(again, tmp_path / "x").returncode == 0


def test_dropping_another_runs_blocks_keeps_the_lock(tmp_path: Path) -> None:
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(0, BLOCK, "s")
    with (
        Staging(tmp_path / "x").held({"run": 2}, fresh=True),
        pytest.raises(OutputError, match="another process"),
        Staging(tmp_path / "x").held({"run": 2}),
    ):
        pytest.fail("two at once")


def test_a_folder_is_dropped_while_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be another's blocks that are removed; the lock goes last."""
    real, gone = os.unlink, []

    def unlinking(path: str, *, dir_fd: int | None = None) -> None:
        folder = Path(os.readlink(f"/proc/self/fd/{dir_fd}"))
        if folder.name == ".x.staging":
            with pytest.raises(OutputError, match="another process"):
                lock(folder / "lock", folder)
            gone.append(path)
        real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlinking)
    with Staging(tmp_path / "x").held({"run": 1}):
        pass
    assert gone == ["run.json", "lock"] and contents(tmp_path) == []
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(0, BLOCK, "s")
        gone.clear()
        staging.drop()
    assert (
        sorted(gone) == ["000000.arrow", "lock", "run.json"]
        and gone[-1] == "lock"
        and contents(tmp_path) == []
    )


def test_a_folder_that_another_run_drops_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def locking(path: Path, target: Path, folder: int) -> int:
        tries.append(path)
        if len(tries) == 1:
            path.parent.rmdir()
        return lock(path, target, folder=folder)

    monkeypatch.setattr(work, "lock", locking)
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        assert staging.folder.is_dir()
    assert len(tries) == 2


def recorded(folder: Path, act: Callable[[], object]) -> PowerCut:
    """What a power cut may leave of an action."""
    cuts = PowerCut(folder, [])
    with watched(root=folder) as trace:
        act()
    cuts.operations = trace.operations
    return cuts


def test_a_staged_block_survives_a_power_cut(tmp_path: Path) -> None:
    """Once `put` has returned: also in a folder that was made for it a moment ago."""
    (tmp_path / "a").mkdir()
    with ExitStack() as stack:
        cuts = recorded(
            tmp_path / "a",
            lambda: stack.enter_context(Staging(tmp_path / "a" / "x").held({"run": 1})).put(
                7, BLOCK, "s"
            ),
        )
    states = list(cuts.states(seed=1, count=5, at=len(cuts.operations)))
    assert states
    for state in states:
        restore(state, tmp_path / "b")
        with Staging(tmp_path / "b" / "x").held({"run": 1}) as staging:
            assert staging.found(7, "s") == 0 and whole(staging, 7) == TABLE


def test_a_power_cut_mixes_no_runs(tmp_path: Path) -> None:
    """Another run's blocks are gone for good before the folder is this one's."""
    other = Block(TABLE.set_column(0, "input", pa.array([8, 9])))

    def run(identity: int, made: Block, folder: Path) -> pa.Table:
        with Staging(folder / "x").held({"run": identity}, fresh=True) as staging:
            for block in range(3):
                if staging.found(block, "s") is None:
                    staging.put(block, made, "s")
            return pa.concat_tables(whole(staging, block) for block in range(3))

    (tmp_path / "a").mkdir()
    run(1, other, tmp_path / "a")
    for state in recorded(tmp_path / "a", lambda: run(2, BLOCK, tmp_path / "a")).states(
        seed=1, count=200
    ):
        restore(state, tmp_path / "b")
        assert run(2, BLOCK, tmp_path / "b").equals(pa.concat_tables([TABLE] * 3))


def test_small_neighbours_are_read_as_one_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, bounded in size, with all failures; a block without rows may be of another kind."""

    def made(columns: dict[str, Any], *failed: int) -> Block:
        told = [{"input": each, "rule": "empty", "reason": "none"} for each in failed]
        return Block(pa.table(columns).replace_schema_metadata({"failed": json.dumps(told)}))

    made_of = [made({"input": [n] * n}, n) for n in (1, 2, 40, 3, 4)]
    made_of.insert(1, made({"other": pa.array([], pa.string())}, 99))
    pieces = [made({"input": [n] * n}) for n in (1, 40)]
    monkeypatch.setattr(work, "JOINED_BYTES", 100)
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        for number, block in enumerate(made_of):
            staging.put(number, block, "s")
        staging.put_pieces(6, iter(pieces), "s")
        found = list(staging.read(range(7)))
    assert [block.inputs.tolist() for block in found] == [
        [1, 2, 2],
        [40] * 40,
        [3] * 3 + [4] * 4 + [1],
        [40] * 40,
    ]
    failed = [[failure.input for failure in block.failures] for block in found]
    assert failed == [[1, 99, 2], [40], [3, 4], []]
    assert found[0].failures[1] == Failure(99, "empty", "none")


def test_sweep_drops_what_is_left(tmp_path: Path) -> None:
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(0, BLOCK, "s")
    Staging(tmp_path / "x").sweep()
    Staging(tmp_path / "x").sweep()
    assert contents(tmp_path) == []


def test_differences_name_entries() -> None:
    assert differences({"a": 1, "b": 2}, {"b": 3, "c": 4}) == ["a", "b", "c"]
