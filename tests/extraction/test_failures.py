"""Which inputs failed stays with the owner."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from dof_arrow.extraction import failures
from dof_arrow.extraction.extract import planned
from tests.support.pictures import KEY, core, folder_of


def test_failures_by_their_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = folder_of(tmp_path / "p", 3)
    (folder / "bad, worse.png").write_bytes(b"")
    run = planned(folder, core=core(), out=tmp_path / "x.parquet", id_key=KEY)
    errors = run.run().errors
    for _ in range(2):
        path = failures.keep(run, errors)
    assert path.parent == tmp_path / "state" / "dof-arrow" and path.stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert rows == [
        {
            "id": errors[0]["id"],
            "input": "bad, worse.png",
            "rule": "empty",
            "reason": "the file holds 0 bytes",
        }
    ]
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert failures.keep(run, errors).is_relative_to(tmp_path / ".local" / "state")


def test_names_that_look_like_formulas_stay_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = folder_of(tmp_path / "p", 3)
    names = ["=HYPERLINK(a).png", "+1.png", "-1.png", "@x.png", "\tx.png"]
    for name in names:
        (folder / name).write_bytes(b"")
    run = planned(folder, core=core(), out=tmp_path / "x.parquet", id_key=KEY)
    path = failures.keep(run, run.run().errors)
    with path.open(newline="") as file:
        found = [row["input"] for row in csv.DictReader(file)]
    assert sorted(found) == sorted(f"'{name}" for name in names)
