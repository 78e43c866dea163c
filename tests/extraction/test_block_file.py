"""Staged work that a disk damages is made again: never a wrong row, never a crash."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.errors import OutputError
from dof_arrow.extraction import block_file, local_engine
from dof_arrow.extraction.block import Block
from dof_arrow.extraction.block_file import BlockFile, Damaged
from dof_arrow.extraction.row_order import StagedRows
from dof_arrow.extraction.run import Extraction
from dof_arrow.extraction.staging import Staging
from dof_arrow.progress import Nobody, heard_by
from dof_arrow.storage.atomic import replacing
from tests.support import scenarios
from tests.support.faults import Scenario, killed_at, litter, watched

FLIPS = 24  # of each staged file of a run


def piece(first: int, rows: int) -> Block:
    numbers = pa.array(np.arange(rows * 3, dtype="f4") + first)
    vectors = pa.FixedSizeListArray.from_arrays(numbers, 3)
    names = pa.array([f"{n}" for n in range(rows)], pa.string()).dictionary_encode()
    inputs = pa.array(range(first, first + rows), pa.int64())
    table = pa.table({"input": inputs, "name": names, "vector feature": vectors})
    failed = '[{"input": 7, "rule": "empty", "reason": "no bytes"}]'
    return Block(table.replace_schema_metadata({"failed": failed}))


PIECES = (piece(0, 4), piece(4, 1), piece(5, 0), piece(5, 3))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    with replacing(tmp_path / "b") as out:
        block_file.write(out, iter(PIECES), "stamp", b"whose")
    return tmp_path / "b"


def found(path: Path, whose: bytes = b"whose") -> tuple[str, int, list[pa.Table]]:
    with path.open("rb") as file:
        known = BlockFile(path, file.fileno(), whose)
        return known.stamp, known.failed, [each.table for each in known.pieces()]


def flip(path: Path, place: int, length: int = 1) -> None:
    data = bytearray(path.read_bytes())
    for at in range(place, min(place + length, len(data))):
        data[at] = (data[at] + 1 + at % 60) % 256  # whoever damages it twice does not mend it
    with path.open("r+b") as file:
        file.write(data)


def test_a_block_comes_back(written: Path) -> None:
    stamp, failed, pieces = found(written)
    assert (stamp, failed) == ("stamp", 1) and pieces == [each.table for each in PIECES]
    assert all(p.schema.metadata == PIECES[0].table.schema.metadata for p in pieces)


def test_every_byte_counts(written: Path) -> None:
    """Of the pieces, their schemas, the stamp, the digests and the lengths."""
    data = written.read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        written.write_bytes(flipped)
        with pytest.raises(Damaged, match=r"not what was written.*The same command makes"):
            found(written)


def test_every_length_counts(written: Path) -> None:
    data = written.read_bytes()
    for length in range(0, len(data), 7):
        written.write_bytes(data[:length])
        with pytest.raises(Damaged):
            found(written)
    for more in (data + b"\0", b"\0" * 8 + data, data[:8] + data, data + data):
        written.write_bytes(more)
        with pytest.raises(Damaged):
            found(written)


def test_a_length_is_not_believed(written: Path) -> None:
    """No memory is asked for that the file could not fill."""
    data = written.read_bytes()
    for length in (2**64 - 1, 2**62, len(data)):
        written.write_bytes(data[:-40] + length.to_bytes(8, "little") + data[-32:])
        with pytest.raises(Damaged):
            found(written)


def test_a_block_of_another_run_or_place_is_none(written: Path, tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        found(written, b"another's")
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(0, PIECES[0], "s")
        shutil.copy(staging.path(0), staging.path(1))
        assert staging.found(0, "s") == 1 and staging.found(1, "s") is None
        with Staging(tmp_path / "y").held({"run": 2}) as other:
            shutil.copy(staging.path(0), other.path(0))
            assert other.found(0, "s") is None


def test_a_damaged_block_is_dropped_when_it_is_read(tmp_path: Path) -> None:
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        for number in range(3):
            staging.put(number, PIECES[0], "s")
        flip(staging.path(1), 40)
        with pytest.raises(Damaged, match="other bytes in 0 to "):
            list(staging.read(range(3)))
        assert staging.numbers() == [0, 2]
        with pytest.raises(Damaged, match="No such file"):
            list(staging.read(range(3)))
        flip(staging.path(0), 40)
        flip(staging.path(2), staging.path(2).stat().st_size - 1)
        staging.drop_damaged()
        assert staging.numbers() == []


def test_what_the_disk_cannot_read_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped then; where the system refuses for another reason, the block stays."""

    def refuse(*_: object) -> int:
        raise OSError(reasons[0], os.strerror(reasons[0]))

    reasons = [errno.ENOMEM]
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(0, PIECES[0], "s")
        with monkeypatch.context() as patch:
            patch.setattr(os, "preadv", refuse)
            assert staging.found(0, "s") is None
            with pytest.raises(OSError, match="allocate memory"):
                list(staging.read([0]))
            assert staging.numbers() == [0]
            reasons[0] = errno.EIO
            with pytest.raises(Damaged, match="Input/output error"):
                list(staging.read([0]))
        assert staging.numbers() == []


# A run that goes on


class Heard(Nobody):
    """A listener that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str = "") -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A folder where an extraction was killed with all blocks there; what it would have written."""
    root = tmp_path_factory.mktemp("killed")
    scenarios._extract(root)
    whole = (root / "x.dof.parquet").read_bytes()
    (root / "x.dof.parquet").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Extraction, "_finish", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            scenarios._extract(root)
    assert len(list(root.glob(".*.staging/*.arrow"))) == 4
    return root, whole


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def places(path: Path, seed: int) -> Iterator[tuple[int, int]]:
    """Seeded places in a file, its first and last byte among them, and how many bytes to flip."""
    draw, size = random.Random(seed), path.stat().st_size
    yield from ((0, 1), (size - 1, 1), (size - 33, 1), (size - 40, 8), (size // 2, 64))
    yield from ((draw.randrange(size), draw.choice((1, 1, 64))) for _ in range(FLIPS - 5))


@pytest.mark.parametrize("name", ["000000.arrow", "000003.arrow", "run.json"])
def test_whatever_is_flipped_it_ends_in_the_same_bytes(
    name: str, killed: tuple[Path, bytes], tmp_path: Path
) -> None:
    root, whole = killed
    staged = root / ".x.dof.parquet.staging" / name
    for number, (place, length) in enumerate(places(staged, seed=len(name))):
        folder = tmp_path / str(number)
        shutil.copytree(root, folder)
        flip(folder / ".x.dof.parquet.staging" / name, place, length)
        scenarios._extract(folder)
        assert (folder / "x.dof.parquet").read_bytes() == whole
        assert [p.name for p in folder.iterdir()] == ["x.dof.parquet"]


def test_a_record_that_is_flipped_into_another_runs(tmp_path: Path) -> None:
    """A flipped bit makes 33 of 32: its blocks are not taken for those of the run with 33."""
    with Staging(tmp_path / "x").held({"batch": 33}) as staging:
        staging.put(0, PIECES[0], "s")
    record = tmp_path / ".x.staging" / "run.json"
    assert json.loads(record.read_bytes())["identity"] == {"batch": 33}
    record.write_bytes(record.read_bytes().replace(b'"batch": 33', b'"batch": 32'))
    for batch in (32, 33):
        with Staging(tmp_path / "x").held({"batch": batch}) as staging:
            assert staging.numbers() == []


def damaging(times: int, names: list[str]) -> Callable[..., None]:
    """A disk that damages blocks after they are written, so many times."""
    real, left = local_engine.compute, [times]

    def compute(job: Any, staging: Staging, progress: Any) -> None:
        real(job, staging, progress)
        if staging.numbers() and left[0]:
            left[0] -= 1
            for name in names:
                flip(staging.folder / name, 200, 64)

    return compute


def test_what_a_disk_damages_while_the_run_lasts_is_made_again(
    killed: tuple[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_engine, "compute", damaging(3, ["000001.arrow", "000002.arrow"]))
    heard = Heard()
    with heard_by(heard):
        scenarios._extract(tmp_path)
    assert (tmp_path / "x.dof.parquet").read_bytes() == killed[1]
    assert len(heard.said) == 2
    for text in heard.said:
        assert "damaged staged blocks, which are made again: 000001.arrow, 000002.arrow" in text
        assert ".x.dof.parquet.staging. Check the disk." in text


def test_what_a_disk_damaged_before_the_run_went_on_is_told(
    killed: tuple[Path, bytes], tmp_path: Path
) -> None:
    """Damage to a trailer is found when blocks are counted, damage to a piece when it is read."""
    shutil.copytree(killed[0], tmp_path / "x")
    staged = tmp_path / "x" / ".x.dof.parquet.staging"
    flip(staged / "000000.arrow", (staged / "000000.arrow").stat().st_size - 1)
    flip(staged / "000003.arrow", 200)
    heard = Heard()
    with heard_by(heard):
        scenarios._extract(tmp_path / "x")
    assert (tmp_path / "x" / "x.dof.parquet").read_bytes() == killed[1]
    told = [text.partition(": ")[2].partition(" in ")[0] for text in heard.said]
    assert told == ["000000.arrow", "000003.arrow"]


def test_nothing_is_told_of_blocks_that_are_sound_or_made_of_other_inputs(
    killed: tuple[Path, bytes], tmp_path: Path
) -> None:
    heard = Heard()
    shutil.copytree(killed[0], tmp_path / "x")
    with heard_by(heard):
        scenarios._extract(tmp_path / "x")
    with Staging(tmp_path / "y").held({"run": 1}) as staging:
        staging.put(0, PIECES[0], "s")
        assert staging.found(0, "other") is staging.found(1, "s") is None
        assert staging.take_damaged() == []
    assert heard.said == []


def test_a_disk_that_damages_all_that_is_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = r"000001\.arrow: a staged block is not what was written.*Check the disk"
    with monkeypatch.context() as patch:
        patch.setattr(local_engine, "compute", damaging(99, ["000001.arrow"]))
        with pytest.raises(OutputError, match=told):
            scenarios._extract(tmp_path)
    assert not (tmp_path / "x.dof.parquet").exists()
    scenarios._extract(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.dof.parquet"]


def test_damage_between_the_two_readings_of_a_block_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was checked is what is used: facts are gathered first, features are read again later."""
    real, times = StagedRows.blocks, []

    def blocks(rows: StagedRows) -> Iterator[Block]:
        times.append(1)
        if len(times) == 2:
            flip(rows._staging.path(3), 300, 64)
        return real(rows)

    def extracted(name: str) -> bytes:
        given = {"core": scenarios.core(), "id_key": bytes(32), "order": "source"}
        out = tmp_path / name
        return dof.extract(scenarios.Noise(), out=out, **given).path.read_bytes()

    monkeypatch.setattr(StagedRows, "blocks", blocks)
    assert extracted("a") == extracted("b") and len(times) == 3


# A part that waits to be added


def _part(folder: Path) -> Path:
    return folder / ".x.dof.part.parquet"


def _directory() -> Scenario:
    return next(s for s in scenarios.SCENARIOS if s.name == "extract into a directory")


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder where an extraction was killed before its part was added; the whole result."""
    root, scenario = tmp_path_factory.mktemp("waiting"), _directory()
    for name in ("whole", "killed"):
        scenario.prepare(root / name)
    scenario.act(root / "whole")
    with pytest.raises(RuntimeError), watched(_stop_before_linking):
        scenario.act(root / "killed")
    assert [p.name for p in (root / "killed").iterdir()] == [_part(root).name]
    return root / "killed", scenario.contents(root / "whole")


def _stop_before_linking(number: int, name: str) -> None:
    if name == "link":
        raise RuntimeError


def test_a_damaged_part_is_not_added_but_made_again(
    waiting: tuple[Path, Any], tmp_path: Path
) -> None:
    root, whole = waiting
    for number, (place, length) in enumerate(places(_part(root), seed=1)):
        folder = tmp_path / str(number)
        shutil.copytree(root, folder)
        flip(_part(folder), place, length)
        _directory().act(folder)
        assert _directory().contents(folder) == whole and not litter(folder, _directory())


def test_a_sound_part_is_added_as_it_is(
    waiting: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(waiting[0], tmp_path / "x")
    monkeypatch.setattr(local_engine, "compute", lambda *_: pytest.fail("computed"))
    _directory().act(tmp_path / "x")
    assert _directory().contents(tmp_path / "x") == waiting[1]


def test_killed_by_a_signal_and_flipped(tmp_path: Path) -> None:
    """As above, after kill -9 at random moments behind the first block."""
    (scenario,) = [s for s in scenarios.SCENARIOS if s.name == "extract"]
    _, after, _ = scenario.before_and_after(tmp_path / "whole")
    draw = random.Random(3)
    for number in range(6):
        folder = tmp_path / str(number)
        scenario.prepare(folder)
        killed_at(scenario, folder, draw.randrange(20), staged=True)
        for path in sorted(folder.glob(".*.staging/*.arrow")):
            flip(path, draw.randrange(path.stat().st_size), 64)
        scenario.act(folder)
        assert scenario.contents(folder) == after and not litter(folder, scenario)
