"""Descriptions written by `dof card`: the same as those that are pushed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.cli.main import main
from dof_arrow.publish import croissant, hub_readme


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "x.dof.parquet"
    dof.from_arrays(np.eye(4, dtype=np.float32), ["a", "b", "a", "b"], out=path)
    return path


def test_both_without_a_page(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {"croissant": tmp_path / "c.json", "readme": tmp_path / "README.md"}
    options = [str(part) for name, path in wanted.items() for part in (f"--{name}", path)]
    assert main(["card", str(data), *options, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {name: str(path) for name, path in wanted.items()}
    ds = dof.open(data)
    assert json.loads(wanted["croissant"].read_text()) == croissant.described(ds)
    assert wanted["readme"].read_text() == hub_readme.text(ds)


def test_nothing_is_written_where_one_exists(data: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    options = ["--croissant", str(tmp_path / "c.json"), "--readme", str(tmp_path / "README.md")]
    assert main(["card", str(data), *options]) == 2
    assert not (tmp_path / "c.json").exists()
    assert (tmp_path / "README.md").read_text() == "mine"
    assert main(["card", str(data), *options, "--overwrite"]) == 0


def test_something_must_be_asked_for(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(data)]) == 2
    assert "nothing to write" in capsys.readouterr().err
