"""One bad input never stops a run: faults of every kind, each listed with its reason."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from dof_arrow.cli import main
from tests.support.faulty_inputs import KINDS, folder_with_faults


def extracted(folder: Path, sound: int, each: int, capsys: pytest.CaptureFixture[str]) -> None:
    pictures, table, faults = folder_with_faults(folder / "in", sound, each)
    command = ["extract", str(pictures), "--core", "builtin", "--pool", "1x1", "--table"]
    command += [str(table), "--key", "file", "--label", "label", "--group", "who", "--json"]
    outputs = [folder / "1.parquet", folder / "2.parquet"]
    for out in outputs:
        assert main.main([*command, "-o", str(out)]) == 3
        said = capsys.readouterr()
        assert "Traceback" not in said.err and "our own mistake" not in said.err
        value = json.loads(said.out)
        assert value["rows"] == sound and value["failed"] == faults
        kinds = [line for line in value["report"]["inputs"] if line["what"].startswith("failed")]
        assert sum(line["count"] for line in kinds) == faults
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    (kept,) = (folder / "home").rglob("failed-*.csv")
    with kept.open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_kind = Counter(row["input"].removeprefix("'../").rpartition("-")[0] for row in rows)
    assert by_kind == dict.fromkeys(KINDS, each)
    reasons = {row["input"].rpartition("-")[0]: row["reason"] for row in rows}
    assert all(reasons.values()) and not any("Errno" in reason for reason in reasons.values())


def test_faults_of_every_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    assert len(KINDS) >= 25
    extracted(tmp_path, 30, 2, capsys)
