"""`validate`: strange files, bombs, flipped bits; test_conformance.py judges the corpus."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.rules import RULES
from dof_arrow.format.validation import validate
from dof_arrow.format.writer import Writer
from tests.support.shared import shared_data
from tests.support.speed import slowness
from tests.torture import flips
from tests.torture.bombs import BOMBS

ROOT = Path(__file__).parents[3]
SECONDS, MIB = 2.0, 512


def measured(*folders: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.torture.hostile", *map(str, folders)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def held(line: dict[str, Any]) -> bool:
    if line["signal"] or "fault" in line:
        return False
    return bool(line["seconds"] <= SECONDS * slowness() and line["mib"] <= MIB)


def test_row_d17_a_sound_file_has_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with Writer(path) as writer:
        writer.write(ids=["a", "b"], vectors={"feature": np.eye(2, dtype="f4")})
    assert validate.validate(path) == validate.validate(path, deep=True) == []


def test_a_problem_says_rule_place_expected_and_found(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with Writer(path) as writer:
        writer.write(ids=["a", "b"], vectors={"feature": np.eye(2, dtype="f4")})
    data = path.read_bytes()
    path.write_bytes(b"PAR2" + data[4:])
    (problem,) = validate.validate(path)
    assert (problem.rule, problem.where) == ("file-magic", "start of file")
    assert problem.expected and problem.found and problem.message == RULES["file-magic"].meaning


def test_no_file_is_wrong_use(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError):
            validate.validate(path)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"PAR1" * 3, bytes(100)], ids=len)
def test_what_is_hardly_a_file_has_problems(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(data)
    assert validate.validate(path) and validate.validate(path, deep=True)


def test_problems_can_be_printed_whatever_the_file_says(tmp_path: Path) -> None:
    from tests.conformance.breaks import plain
    from tests.conformance.spoil import spoiled

    path = tmp_path / "x.parquet"
    target = b',"targets":{"\\ud800":{"kind":"regression"}}}'  # half of a surrogate pair

    def with_target(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        values = dict(pairs)
        values[b"dof"] = values[b"dof"][:-1] + target
        return list(values.items())

    path.write_bytes(spoiled(plain(), keys=with_target))
    found = validate.validate(path)
    assert "target-column" in {problem.rule for problem in found}
    assert "\n".join(map(str, found)).encode()


def test_public_bad_files_end_in_problems() -> None:
    corpora = shared_data() / "corpora"
    results = measured(corpora / "parquet-bad", corpora / "arrow-fuzz")
    assert len(results) >= 100
    assert [r for r in results if not held(r)] == []
    assert all(r["result"] for r in results)


def test_bombs_are_refused_within_bounds(tmp_path: Path) -> None:
    for name, build in BOMBS.items():
        (tmp_path / name).write_bytes(build())
    results = measured(tmp_path)
    assert len(results) >= len(BOMBS)
    assert [r for r in results if not held(r)] == []


def test_no_flipped_bit_is_silent() -> None:
    report = flips.turn_all(flips.sample(5_000))  # torture turns all
    assert report["flips"] == 5_000
    assert report["silent"] == {} and report["faults"] == []
