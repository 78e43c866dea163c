"""The four commands from pictures to predictions, on real models and pictures: both roads say the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dof_arrow import dataset, graph
from dof_arrow.cli import main
from tests.shared import shared_data

DIGITS, PICTURES = "digits", 60


def dof(*arguments: Any) -> int:
    return main([*map(str, arguments), "--quiet"])


def folders(name: str, to: Path) -> Path:
    """Pictures in class folders: scikit-learn's digits, or some of the shared ones."""
    if name == "cifar10":
        for file in sorted((shared_data() / "images" / "cifar10").glob("*/*"))[::7]:
            (to / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to / file.parent.name / file.name)
        return to
    if name == DIGITS:
        from sklearn.datasets import load_digits

        pixels, labels = (load_digits().images[:PICTURES] * 15.9).astype(np.uint8), load_digits().target
    else:
        found = np.load(shared_data() / "images" / "pneumoniamnist.npz")
        some = slice(None, None, len(found["train_images"]) // PICTURES)
        pixels, labels = found["train_images"][some], found["train_labels"].ravel()[some]
    for i, picture in enumerate(pixels):
        (to / f"class {labels[i]}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(to / f"class {labels[i]}" / f"{i:03}.png")
    return to


@pytest.mark.parametrize(("core", "options", "pictures"), [
    ("mobilenetv2-12-fp32-from-int8.onnx", ["--preprocess", "imagenet"], "cifar10"),
    ("mobilenetv2-12-int8.onnx", ["--preprocess", "imagenet"], DIGITS),
    ("squeezenet_fp16.onnx", ["--preprocess", "caffe", "--pool", "1x1"], "pneumoniamnist"),
])
def test_extract_train_fuse_predict_equals_the_dataset_road_d2_d25(
    core: str, options: list[str], pictures: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    source, made = folders(pictures, tmp_path / "in"), tmp_path / "x.dof.parquet"
    model = shared_data() / "models" / core
    assert dof("extract", source, "--core", model, *options, "--label", "folder", "--ids", "name", "-o", made) == 0
    assert dof("train", made, "-o", tmp_path / "label.onnx") == 0
    assert dof("fuse", "--core", model, *options, "--head", tmp_path / "label.onnx", "-o", tmp_path / "m.onnx") == 0
    capsys.readouterr()
    assert dof("predict", tmp_path / "m.onnx", source, "--json") == 0
    answers = {Path(a["input"]).relative_to(source).as_posix(): a["label"] for a in json.loads(capsys.readouterr().out)}
    ds = dataset.open(made)
    head = graph.session((tmp_path / "label.onnx").read_bytes())
    road = graph.run(head, {"feature": ds.to_numpy().reshape(len(ds), -1)})[0]
    assert len(answers) == len(ds)
    classes = ds.metadata.targets["label"].classes
    for name, expected in zip(ds.to_numpy("id").tolist(), road, strict=True):
        found = answers[name]
        assert found["label"] == classes[expected.argmax()]
        assert list(found["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two hundred rows of features with a suggested head, a sex column, clips of four rows."""
    from dof_arrow.writer import Writer
    from tests.memory import blobs

    x, y = blobs(200)
    about = {"targets": {"label": {"kind": "category", "classes": ["a", "b", "c"]}},
             "record": {"split": "split"},
             "head": {"layers": [{"kind": "dense", "units": 12}, {"kind": "activation", "function": "tanh"}]}}
    with Writer(tmp_path / "x.dof.parquet", about) as writer:
        split = ["train" if i < 140 else "test" for i in range(200)]
        writer.write(ids=[f"r{i:03}" for i in range(200)], vectors={"feature": x},
                     columns={"label": y, "split": split, "sex": ["f", "m"] * 100})
    return tmp_path / "x.dof.parquet"


def test_a_suggested_head_is_trained_and_evaluated_d10_d11_d25(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    head, metrics, report = tmp_path / "head.onnx", tmp_path / "m.jsonl", tmp_path / "report.json"
    assert dof("train", made, "-o", head, "--head", "suggested", "--epochs", 8, "--rate", 0.02, "--by", "sex",
               "--metrics", metrics, "--report", report, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["architecture"]["layers"][0] == {"kind": "dense", "units": 12} and told["epochs"] == 8
    assert set(told["by"]["sex"]) == {"f", "m"} and set(told["by_class"]) == {"a", "b", "c"}
    assert np.array(told["confusion"]).sum() == 60 == sum(b["n"] for b in told["reliability"])
    assert json.loads(report.read_text())["score"] == told["score"] > 0.8
    assert len(metrics.read_text().splitlines()) == 8 and metrics.with_suffix(".svg").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".head")]
    assert dof("evaluate", head, made, "--split", "test", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["scores"] == told["scores"]["test"] and again["warnings"] == [
        "the head names no core: whether these features are of the same one was not checked"]
    assert dof("evaluate", head, made) == 0
    assert "accuracy" in capsys.readouterr().out
    assert dof("train", made, "-o", head) == 2
    assert "exists already" in capsys.readouterr().err


def test_recurrent_heads_need_clips(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert dof("train", made, "-o", tmp_path / "h.onnx", "--head", "rnn") == 2
    assert "no clips" in capsys.readouterr().err
    assert not (tmp_path / "h.onnx").exists()
