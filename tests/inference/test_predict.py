"""A fused model predicts for files what the head predicts for the dataset, or says why not."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import openvino_session
from dof_arrow.errors import CoreError, DofError, FormatError, SourceError, UsageError
from dof_arrow.format.spec import json_model
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads import train, training
from dof_arrow.inference.fuse import fuse
from dof_arrow.inference.predict import Predictor
from dof_arrow.inference.predict_files import predict_files
from dof_arrow.media import image
from tests.cores.test_core import SQUASHED, small_model
from tests.support.memory import Memory, category, memory
from tests.support.shared import shared_data

TARGETS = {
    "finding": category("low", "middle", "high"),
    "age": Target(kind="regression", unit="years"),
    "signs": Target(kind="multilabel", classes=("bright", "dark")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty small pictures, each brighter than the one before."""
    made, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(30):
        sides = (*random.integers(8, 40, 2), 3)
        pixels = np.clip(random.integers(0, 40, sides) + 7 * i, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(made / f"{i:02}.png")
    return made


@pytest.fixture(scope="module")
def core() -> Core:
    return Core.from_bytes(small_model(), preprocess=SQUASHED)


@pytest.fixture(scope="module")
def features(core: Core, folder: Path) -> np.ndarray:
    return core([image.decode(path.read_bytes())[0] for path in sorted(folder.iterdir())])


def dataset(core: Core, features: np.ndarray) -> Memory:
    order = np.arange(len(features))
    signs = pa.array(
        [[0] if i > 20 else [1] if i < 10 else [] for i in order], pa.list_(pa.int32())
    )
    made = memory(features, TARGETS, finding=order // 10, age=order * 2.0, signs=signs)
    return dataclasses.replace(
        made, metadata=dataclasses.replace(made.metadata, cores={"core": core.describe()})
    )


@pytest.fixture(scope="module")
def trained(core: Core, features: np.ndarray) -> dict[str, bytes]:
    ds = dataset(core, features)
    return {name: train.train(ds, target=name).onnx for name in TARGETS}


@pytest.fixture(scope="module")
def model(core: Core, trained: dict[str, bytes]) -> bytes:
    return fuse(core, trained)


@pytest.mark.skipif(not openvino_session.is_installed(), reason="openvino not installed")
def test_openvino_predicts_nearly_the_same(model: bytes, folder: Path) -> None:
    here, there = (dict(dof.predict(model, folder, provider=name)) for name in ("cpu", "openvino"))
    assert here.keys() == there.keys() and len(here) == 30
    for name, found in there.items():
        for head, prediction in found.items():
            likely = here[name][head].probabilities
            assert prediction.probabilities == pytest.approx(likely, abs=1e-4)


def test_files_and_dataset_give_the_same(
    folder: Path, features: np.ndarray, trained: dict[str, bytes], model: bytes
) -> None:
    found = [answers for _, answers in predict_files(Predictor(model), [folder])]
    assert len(found) == 30
    road = {
        name: graph.run(graph.session(head), {"feature": features})[0]
        for name, head in trained.items()
    }
    for i, answers in enumerate(found):
        assert not isinstance(answers, DofError)
        finding, age, signs = answers["finding"], answers["age"], answers["signs"]
        assert finding.label == TARGETS["finding"].classes[road["finding"][i].argmax()]
        assert list(finding.probabilities.values()) == pytest.approx(
            road["finding"][i].tolist(), abs=1e-5
        )
        assert (age.value, age.unit) == (pytest.approx(float(road["age"][i, 0]), abs=1e-3), "years")
        assert list(signs.probabilities.values()) == pytest.approx(
            road["signs"][i].tolist(), abs=1e-5
        )
        assert signs.labels == tuple(np.array(["bright", "dark"])[road["signs"][i] >= 0.5])
    first, last = found[0], found[-1]
    assert isinstance(first, dict)
    assert isinstance(last, dict)
    assert (first["finding"].label, last["finding"].label) == ("low", "high")
    assert (first["signs"].labels, last["signs"].labels) == (("dark",), ("bright",))


def batched(core: Core, trained: dict[str, bytes]) -> bytes:
    return fuse(core, trained, batch=True)


@pytest.mark.parametrize("make", [fuse, batched])
def test_a_grey_picture_is_run_as_one_channel_to_the_same_answer(
    make: Callable[..., bytes],
    core: Core,
    trained: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (30, 20), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    predictor = Predictor(make(core, trained))
    run, channels = predictor._run, []

    def watched(feeds: dict[str, Any]) -> Any:
        for value in feeds.values():
            pixels = value[0] if isinstance(value, list) else value
            channels.append(pixels.shape[2])
        return run(feeds)

    monkeypatch.setattr(predictor, "_run", watched)
    ((_, found),) = predict_files(predictor, [tmp_path])
    assert found == predictor(np.repeat(grey[..., None], 3, axis=2))
    assert channels == [1, 3]


def test_a_prediction_as_json(folder: Path, model: bytes) -> None:
    ((name, answers),) = predict_files(Predictor(model), [folder / "00.png"])
    assert name == str(folder / "00.png")
    assert isinstance(answers, dict)
    shown = json_model.to_json(answers)
    assert set(shown["finding"]) == {"kind", "label", "probabilities"}
    assert set(shown["age"]) == {"kind", "value", "unit"}
    assert json.loads(json.dumps(shown)) == shown


def test_each_input_has_an_answer_in_its_place(folder: Path, model: bytes, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    inputs = [
        folder / "00.png",
        tmp_path / "gone.png",
        tmp_path / "broken.png",
        tmp_path / "empty",
        str(folder),
    ]
    found = list(predict_files(Predictor(model), inputs))
    assert [name for name, _ in found] == [
        *map(str, inputs[:4]),
        *map(str, sorted(folder.iterdir())),
    ]
    assert [isinstance(answers, SourceError) for _, answers in found[:5]] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_path_and_bytes_are_the_same_model(folder: Path, model: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model)
    by_path, by_bytes = (
        list(predict_files(Predictor(m), [folder])) for m in (tmp_path / "model.onnx", model)
    )
    assert by_path == by_bytes


def test_one_call_predicts_with_a_model_its_bytes_or_a_predictor(
    folder: Path, model: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    expected = list(predict_files(Predictor(model), [folder]))
    for given in (str(path), path, model, Predictor(model)):
        assert list(dof.predict(given, folder)) == expected
    assert dict(dof.predict(path, [folder / "00.png"])) == dict(expected[:1])
    with pytest.raises(CoreError):  # at once, not when answers are asked for
        dof.predict(tmp_path / "gone.onnx", folder)
    with pytest.raises(UsageError, match=r"not the path of an input: .*found ndarray.*Predictor"):
        list(dof.predict(model, [np.zeros((8, 8, 3), np.uint8)]))


def test_the_model_says_what_is_in_it(core: Core, model: bytes) -> None:
    predictor = Predictor(model)
    assert [each.sha256 for each in predictor.cores] == [core.sha256]
    assert {name: head.target for name, head in predictor.heads.items()} == {
        name: name for name in TARGETS
    }
    assert predictor.heads["finding"].report["how"] == "grouped 5-fold"


def test_what_is_no_fused_model(core: Core, trained: dict[str, bytes], tmp_path: Path) -> None:
    for data in (core.data, trained["age"]):
        with pytest.raises(CoreError, match=r"not a fused model.*dof fuse --core CORE"):
            Predictor(data)
    with pytest.raises(CoreError):
        Predictor(b"no model")
    with pytest.raises(CoreError, match="no such file"):
        Predictor(tmp_path / "gone.onnx")


def changed(model: bytes, about: object) -> bytes:
    parsed = graph.from_bytes(model)
    graph.set_properties(
        parsed, {"dof.fused": about if isinstance(about, str) else json.dumps(about)}
    )
    return graph.to_bytes(parsed)


def test_a_description_that_cannot_be(model: bytes) -> None:
    about = json.loads(graph.properties(graph.from_bytes(model))["dof.fused"])
    for broken in ("{", [], {}, {**about, "heads": {"age": {}}}, {**about, "cores": None}):
        with pytest.raises(FormatError):
            Predictor(changed(model, broken))
    age, finding = about["heads"]["age"], about["heads"]["finding"]
    for heads_said in (
        {"gone": age},
        {"finding": age},
        {"finding": {**finding, "classes": ["low"]}},
        {},
    ):
        with pytest.raises(CoreError, match="not what it says"):
            Predictor(changed(model, {**about, "heads": heads_said}))


def test_pixels_that_are_no_picture(model: bytes) -> None:
    for wrong in (
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
    ):
        with pytest.raises(UsageError, match="not a picture"):
            Predictor(model)(wrong)


def test_a_sliver_does_not_fill_the_memory(features: np.ndarray) -> None:
    cropped = dataclasses.replace(
        SQUASHED, fit="crop", resize=(SQUASHED.resize[0],), crop=SQUASHED.resize
    )
    core = Core.from_bytes(small_model(), preprocess=cropped)
    predictor = Predictor(
        fuse(core, {"age": train.train(dataset(core, features), target="age").onnx})
    )
    with pytest.raises(SourceError, match="too elongated"):
        predictor(np.zeros((1, 60_000_000 // SQUASHED.resize[0], 3), np.uint8))


def test_the_base_installation_predicts(model: bytes, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model)
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['sklearn', 'scipy', 'torch', 'pandas']))\n"
        "from dof_arrow.inference.predict import Predictor\n"
        "from dof_arrow.inference.predict_files import predict_files\n"
        "print(next(predict_files(Predictor(sys.argv[1]), sys.argv[2:]))[1]['finding'].label)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model.onnx", folder / "00.png"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert (run.stdout, run.stderr) == ("low\n", "")


@pytest.mark.parametrize("name", ["mobilenetv2-12-fp32-from-int8", "mobilenetv2-12-int8"])
def test_real_photographs(name: str) -> None:
    files = sorted((shared_data() / "images" / "cifar10").glob("*/*"))[::5]
    core = Core.load(shared_data() / "models" / f"{name}.onnx", preprocess="imagenet")
    features = np.concatenate([core([image.decode(file.read_bytes())[0]]) for file in files])
    classes = sorted({file.parent.name for file in files})
    made = memory(
        features,
        {"label": category(*classes)},
        label=[classes.index(file.parent.name) for file in files],
    )
    made = dataclasses.replace(
        made, metadata=dataclasses.replace(made.metadata, cores={"core": core.describe()})
    )
    head = train.train(made)
    assert head.report["interval"][0] > 3 * head.report["baseline"]
    road = graph.run(graph.session(head.onnx), {"feature": features})[0]
    fused = Predictor(fuse(core, {"label": head.onnx}))
    for expected, (_, answers) in zip(road, predict_files(fused, files), strict=True):
        assert isinstance(answers, dict)
        assert answers["label"].label == classes[expected.argmax()]
        assert list(answers["label"].probabilities.values()) == pytest.approx(
            expected.tolist(), abs=1e-3
        )


def clip_head(core: Core, count: int = 24) -> tuple[bytes, list[np.ndarray], np.ndarray]:
    """A recurrent head on clips that grow brighter or darker; the clips; its outputs for each."""
    pytest.importorskip("torch")
    random = np.random.default_rng(0)
    clips = [
        np.clip(
            np.linspace(0, 200, frames)[:: 1 if i % 2 else -1, None, None, None]
            + random.integers(0, 30, (frames, 12, 10, 3)),
            0,
            255,
        ).astype(np.uint8)
        for i, frames in enumerate(random.integers(3, 7, count))
    ]
    features = np.concatenate([core(list(clip)) for clip in clips])
    clip = np.repeat(np.arange(count), [len(c) for c in clips])
    made = memory(
        features, {"way": category("darker", "brighter")}, id=[f"c{i}" for i in clip], way=clip % 2
    )
    made = dataclasses.replace(
        made, metadata=dataclasses.replace(made.metadata, cores={"core": core.describe()})
    )
    options = training.TrainingOptions(epochs=40, batch=4, rate=0.02)
    head = train.train(made, head="rnn", cv=2, options=options).onnx
    starts = np.cumsum([0, *map(len, clips)])
    session = graph.session(head)
    road = [
        graph.run(session, {"feature": features[a:b][None]})[0][0]
        for a, b in itertools.pairwise(starts)
    ]
    return head, clips, np.array(road)


def test_a_recurrent_head_fused_into_one_model_of_clips(core: Core, tmp_path: Path) -> None:
    """Core over frames, then a recurrent head, in one file (row G13)."""
    head, clips, road = clip_head(core)
    predictor = Predictor(fuse(core, {"way": head}))
    assert predictor.clips
    found = np.array([list(predictor(clip)["way"].probabilities.values()) for clip in clips])
    np.testing.assert_allclose(found, road, atol=1e-5)
    assert (found.argmax(1) == np.arange(len(clips)) % 2).mean() > 0.9
    for i, frame in enumerate(clips[0]):
        Image.fromarray(frame).save(tmp_path / f"{i:03}.png")
    ((_, answers),) = predict_files(predictor, [tmp_path])
    assert isinstance(answers, dict)
    assert list(answers["way"].probabilities.values()) == pytest.approx(list(found[0]))
    with pytest.raises(UsageError, match="not a clip"):
        predictor(clips[0][0])
    with pytest.raises(UsageError, match="way of clips, other of rows"):
        other = train.train(
            dataset(core, core([c[0] for c in clips] + [clips[0][0]] * 6)), target="age"
        ).onnx
        fuse(core, {"way": head, "other": other})
