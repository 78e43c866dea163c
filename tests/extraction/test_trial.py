"""A short trial of a run: how fast it is here, and nothing kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from dof_arrow.cli.main import main
from dof_arrow.extraction.extract import planned
from dof_arrow.extraction.trial import tried
from tests.support.pictures import core, folder_of


def test_a_trial_counts_what_it_ran(tmp_path: Path) -> None:
    pictures = folder_of(tmp_path / "pictures", 40)
    (pictures / "broken.png").write_bytes(b"no picture")
    run = planned(pictures, core=core(), out=tmp_path / "x.parquet", ids="name")
    trial = tried(run, seconds=30)
    assert (trial.total, trial.inputs, trial.failed) == (41, 41, 1)
    assert trial.remaining == pytest.approx(trial.seconds)
    short = tried(run, seconds=1e-9)
    assert short.inputs == min(41, 4 * run.workers)
    assert short.remaining == pytest.approx(short.seconds * 41 / short.inputs)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_the_command_says_time_and_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dof_arrow.extraction.trial._SECONDS", 0.2)
    pictures = folder_of(tmp_path / "pictures", 12)
    assert main(["estimate", str(pictures), "--core", "builtin"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("12 pictures at ") and "on this machine" in said[0]
    assert said[1].endswith("without a table's columns")
