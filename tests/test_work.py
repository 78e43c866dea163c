"""What a run is: blocks by number alone, staged whole or not at all, one process at a time."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from dof_arrow.errors import OutputError
from dof_arrow.work import Staging, block_rows, blocks, differences
from tests.making import run
from tests.pictures import contents

TABLE = pa.table({"input": [1, 2]}).replace_schema_metadata({"failed": "[]"})


@pytest.mark.parametrize("inputs", [0, 1, 31, 32, 33, 4000, 1_000_003, 50_000_000])
def test_blocks_tile_the_inputs(inputs: int) -> None:
    found = blocks(inputs)
    assert [i for rows in found[:3] for i in rows] == list(range(sum(map(len, found[:3]))))
    assert sum(map(len, found)) == inputs and all(len(rows) == block_rows(inputs) for rows in found[:-1])


def test_a_block_comes_back_with_its_stamp(tmp_path: Path) -> None:
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(4, TABLE, "stamp")
        assert staging.numbers() == [4]
        assert staging.done(4, "stamp") and not staging.done(4, "other") and not staging.done(5, "stamp")
        staging.path(4).write_bytes(b"damaged")
        assert not staging.done(4, "stamp")


def test_what_is_staged_stays_for_the_same_run_only(tmp_path: Path) -> None:
    identity = {"core": {"feature": "a"}, "dtype": "float32"}
    with Staging(tmp_path / "x").held(identity) as staging:
        staging.put(0, TABLE, "s")
    with Staging(tmp_path / "x").held(identity, fresh=True) as staging:
        assert staging.numbers() == [0]
    other = {"core": {"feature": "b"}, "dtype": "float16"}
    with pytest.raises(OutputError, match=r"difference in core, dtype. Repeat the earlier command .* --overwrite"), \
            Staging(tmp_path / "x").held(other):
        pass
    assert contents(tmp_path) == [".x.staging"]
    with Staging(tmp_path / "x").held(other, fresh=True) as staging:
        assert staging.numbers() == []
    assert contents(tmp_path) == []


def test_one_process_at_a_time(tmp_path: Path) -> None:
    again = "import sys; from pathlib import Path; from dof_arrow.work import Staging\n" \
            "with Staging(Path(sys.argv[1])).held({'run': 1}): pass"
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(0, TABLE, "s")
        second = run(again, tmp_path / "x")
        assert "another process is working on this output" in second.stderr
        Staging(tmp_path / "x").sweep()
        assert staging.numbers() == [0]
    assert run(again, tmp_path / "x").returncode == 0


def test_sweep_drops_what_is_left(tmp_path: Path) -> None:
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(0, TABLE, "s")
    Staging(tmp_path / "x").sweep()
    Staging(tmp_path / "x").sweep()
    assert contents(tmp_path) == []


def test_differences_name_entries() -> None:
    assert differences({"a": 1, "b": 2}, {"b": 3, "c": 4}) == ["a", "b", "c"]
