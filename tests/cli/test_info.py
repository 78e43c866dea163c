"""What `dof info` prints on its one screen."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.cli import summary
from dof_arrow.cli.main import main

ROWS = 40


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Forty rows with an uneven class, a number and findings, and three rows of no class."""
    generator = np.random.default_rng(0)
    animals: list[str | None] = ["cat"] * 20 + ["dog"] * 12 + ["owl"] * 5 + [None] * 3
    columns: dict[str, Any] = {
        "animal": animals,
        "age": generator.normal(size=ROWS).astype(np.float32),
        "finding": [["a", "b"], ["a"]] * 20,
    }
    features = generator.normal(size=(ROWS, 6)).astype(np.float32)
    data = dof.from_arrays(features, out=tmp_path / "plain.parquet")
    dof.save(data.with_columns(columns, targets=list(columns)), tmp_path / "x.parquet")
    return tmp_path / "x.parquet"


def told(capsys: pytest.CaptureFixture[str], path: Path) -> tuple[list[str], str]:
    assert main(["info", str(path)]) == 0
    said = capsys.readouterr()
    return said.out.splitlines(), said.err


def test_one_screen_of_80_columns(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = told(capsys, labelled)
    assert len(out) + len(err.splitlines()) <= 30
    assert max(len(line) for line in out[1:]) <= 80
    assert out[1].startswith("40 rows of 6 numbers, ")
    text = "\n".join(out)
    assert "category, 3 classes █▅▂▂" in text  # the last bar: rows without a class
    assert "cat 20, dog 12, owl 5, none 3" in text
    assert "a 40, b 20" in text
    assert "dof train" in err and "dof audit" in err


def test_a_terminal_that_has_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert summary.bars([3, 1]) == ""


def test_bars_of_odd_counts() -> None:
    assert summary.bars([0, 0]) == "▁▁"
    assert summary.bars([10**9, 1, 0]) == "█▁▁"
    assert summary.bars([]) == ""


def test_equal_beginnings_of_class_names_stay_apart(tmp_path: Path) -> None:
    names = [f"{'x' * 20}{i}" for i in range(3)]
    data = dof.from_arrays(np.eye(3, dtype=np.float32), names, out=tmp_path / "x.parquet")
    counts = summary.counted(data)
    text = "\n".join(summary.lines(data, counts))
    assert text.count("xxxxx… 1") == 3


def test_values_afar_are_not_read(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dof.open(labelled)
    assert summary.counted(data)["animal"] == {"cat": 20, "dog": 12, "owl": 5, "none": 3}
    monkeypatch.setattr(summary, "_MOST_PARTS", -1)
    assert summary.counted(data) == {}
    assert not any("cat 20" in line for line in summary.lines(data, {}))


def test_what_to_do_next_fits_what_is_there(tmp_path: Path) -> None:
    bare = dof.from_arrays(np.eye(3, dtype=np.float32), out=tmp_path / "x.parquet")
    steps = list(summary.next_steps(bare))
    assert steps[0].startswith("dof label ") and any("title" in step for step in steps)


def test_bags_afar_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.eye(4, dtype=np.float32)
    columns = {"slide": ["a", "a", "b", "b"]}
    data = dof.from_arrays(
        features, columns=columns, record={"bag": "slide"}, out=tmp_path / "x.parquet"
    )
    assert any("2, by the column slide" in line for line in summary.lines(data, {}))
    monkeypatch.setattr(summary, "_MOST_PARTS", -1)
    assert any(line.endswith("  by the column slide") for line in summary.lines(data, {}))


def test_a_class_that_is_called_none_keeps_its_rows(tmp_path: Path) -> None:
    data = dof.from_arrays(np.eye(4, dtype=np.float32), out=tmp_path / "x.parquet")
    labelled = data.with_columns({"y": ["none", "none", None, "flu"]}, targets=["y"])
    assert summary.counted(labelled)["y"] == {"none": 2, "flu": 1, "no value": 1}


def test_what_to_do_next_can_be_done(tmp_path: Path) -> None:
    times = np.array([(1, 2.5), (0, 3.0)], [("event", "?"), ("time", "f8")])
    features = np.eye(2, dtype="f4")
    asked: Any = {"kind": "survival", "out": tmp_path / "x.parquet"}
    data = dof.from_arrays(features, {"os": times}, **asked)
    assert not any("dof train" in line for line in summary.next_steps(data))
    both = data.with_columns({"a b": ["u", "v"]}, targets=["a b"])
    assert any("dof train" in each and "'a b'" in each for each in summary.next_steps(both))
