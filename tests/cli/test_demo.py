"""The main job, end to end, on real pictures."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dof_arrow.cli import demo
from dof_arrow.cores import builtin
from dof_arrow.dataset import dataset
from dof_arrow.errors import OutputError
from dof_arrow.format.validation.validate import validate
from dof_arrow.inference import predict
from tests.support.pictures import contents, folder_of
from tests.support.shared import shared_data


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


def test_digits(tmp_path: Path) -> None:
    """Under two minutes, at least 0.96 on the 597 digits; it says what it made and what is next."""
    said: list[str] = []
    start = time.monotonic()
    report = demo.run(None, tmp_path / "demo", said.append)
    assert time.monotonic() - start < 120
    assert (
        report["rows"] == 1797
        and report["report"]["score"] >= 0.96
        and report["report"]["n_test"] == 597
    )
    text = "\n".join(said)
    for words in (
        builtin.CAUTION,
        "1,797 pictures",
        "a second",
        "the pictures are",
        "linear head",
        "95% interval",
        "baseline",
        "times faster",
        "asked it: 0000.png is zero",
        "What to do next",
        "dof info",
        "dof predict",
        "polars.read_parquet",
        "dof extract YOUR_PICTURES",
    ):
        assert words in text
    assert report["times_faster"] > 100
    assert contents(tmp_path / "demo") == [
        "digits.csv",
        "head.onnx",
        "id.key",
        "model.onnx",
        "pictures",
        "pictures.dof.parquet",
    ]
    assert contents(tmp_path) == ["demo"]  # nothing in the user's own folders
    assert validate(tmp_path / "demo" / "pictures.dof.parquet") == []
    told = predict.Predictor(tmp_path / "demo" / "model.onnx")(
        np.asarray(Image.open(tmp_path / "demo" / "pictures" / "0000.png").convert("RGB"))
    )
    assert told["class"].label == "zero"


def test_ones_own_class_folders(tmp_path: Path) -> None:
    said: list[str] = []
    report = demo.run(shared_data() / "images" / "cifar10", tmp_path / "demo", said.append)
    low, high = report["report"]["interval"]
    assert (
        report["rows"] == 400
        and low < report["report"]["score"] < high
        and report["report"]["baseline"] < 0.2
    )
    assert set(dataset.open(tmp_path / "demo" / "pictures.dof.parquet").metadata.splits) == {
        "train",
        "test",
    }


def test_pictures_that_fail_stop_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "own", 40, ("cat", "dog"))
    for name in ("cat/0000.png", "dog/0039.png", "dog/0001.png"):
        (folder / name).write_bytes(b"")
    said: list[str] = []
    assert demo.run(folder, tmp_path / "demo", said.append)["rows"] == 37
    assert "3 failed and are listed in it" in "\n".join(said)


def test_half_a_demo_leaves_nothing_and_a_whole_one_is_not_overwritten(tmp_path: Path) -> None:
    def stop(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.run(None, tmp_path / "demo", stop)
    assert contents(tmp_path) == []
    (tmp_path / "demo").mkdir()
    with pytest.raises(OutputError, match="Remove it, or name another with -o"):
        demo.run(None, tmp_path / "demo", print)
    assert (tmp_path / "demo").is_dir()
