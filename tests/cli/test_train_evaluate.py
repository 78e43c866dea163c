"""The commands that train and judge heads: what they write, and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.cli.main import main


def dof(*arguments: Any) -> int:
    return main([*map(str, arguments), "--quiet"])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two hundred rows of features with a suggested head, a sex column, clips of four rows."""
    from dof_arrow.format.writer import Writer
    from tests.support.memory import blobs

    x, y = blobs(200)
    about = {
        "targets": {"label": {"kind": "category", "classes": ["a", "b", "c"]}},
        "record": {"split": "split"},
        "head": {
            "layers": [{"kind": "dense", "units": 12}, {"kind": "activation", "function": "tanh"}]
        },
    }
    with Writer(tmp_path / "x.dof.parquet", about) as writer:
        split = ["train" if i < 140 else "test" for i in range(200)]
        writer.write(
            ids=[f"r{i:03}" for i in range(200)],
            vectors={"feature": x},
            columns={"label": y, "split": split, "sex": ["f", "m"] * 100},
        )
    return tmp_path / "x.dof.parquet"


def test_a_suggested_head_is_trained_and_evaluated(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the author suggests is trained, and judged, by a command each (rows D10, D11, D25)."""
    pytest.importorskip("torch")
    head, metrics, report = tmp_path / "head.onnx", tmp_path / "m.jsonl", tmp_path / "report.json"
    assert (
        dof(
            "train",
            made,
            "-o",
            head,
            "--head",
            "suggested",
            "--epochs",
            8,
            "--rate",
            0.02,
            "--by",
            "sex",
            "--metrics",
            metrics,
            "--report",
            report,
            "--json",
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert (
        told["architecture"]["layers"][0] == {"kind": "dense", "units": 12} and told["epochs"] == 8
    )
    assert set(told["by"]["sex"]) == {"f", "m"} and set(told["by_class"]) == {"a", "b", "c"}
    assert np.array(told["confusion"]).sum() == 60 == sum(b["n"] for b in told["reliability"])
    assert json.loads(report.read_text())["score"] == told["score"] > 0.8
    assert len(metrics.read_text().splitlines()) == 8 and metrics.with_suffix(".svg").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".head")]
    assert dof("evaluate", head, made, "--split", "test", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["scores"] == told["scores"]["test"]
    no_core, no_groups = again["warnings"]
    assert no_core == (
        "the head names no core: whether these features are of the same one was not checked"
    )
    assert "no column says which are of the same person" in no_groups
    assert dof("evaluate", head, made) == 0
    assert "accuracy" in capsys.readouterr().out
    assert dof("train", made, "-o", head) == 2
    assert "exists already" in capsys.readouterr().err


def test_recurrent_heads_need_clips(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    assert dof("train", made, "-o", tmp_path / "h.onnx", "--head", "rnn") == 2
    assert "no clips" in capsys.readouterr().err
    assert not (tmp_path / "h.onnx").exists()
