"""Clips to one model: encodings, a recurrent head that remembers, and frames in, prediction out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.cores import builtin
from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, SourceError, UsageError
from dof_arrow.extraction.extract import extract
from dof_arrow.heads import network, train, training
from dof_arrow.heads.architecture import Architecture, Dense, Pool, Recurrent
from dof_arrow.heads.graph_writer import NEXT
from dof_arrow.heads.layers import Function, to_model
from dof_arrow.inference.fuse import fuse
from dof_arrow.inference.predict import PART, Predictor
from dof_arrow.inference.predict_files import predict_files
from dof_arrow.media.frames import Sampling, Watched
from dof_arrow.media.video import Video
from tests.cores.test_core import with_fixed_batch
from tests.extraction.test_clip_features import in_time
from tests.support import clips
from tests.support.pictures import KEY, core

torch = pytest.importorskip("torch")

WIDTH = 12
LAYERS = {
    "gru": (Recurrent(cell="gru", units=7), Pool(by="last")),
    "two lstms": (
        Recurrent(cell="lstm", units=5),
        Dense(units=6),
        Recurrent(cell="lstm", units=4),
        Pool(by="last"),
    ),
    "mean": (Pool(by="mean"),),
    "statistics": (Pool(by="statistics"),),
    "statistics of lstm": (Dense(units=5), Recurrent(cell="lstm", units=4), Pool(by="statistics")),
    "max of gru": (Recurrent(cell="gru", units=7), Pool(by="max")),
}


def head(layers: tuple[Any, ...], width: int = WIDTH, **about: Any) -> bytes:
    """A head with random weights, as ONNX."""
    torch.manual_seed(0)
    steps = network.Network(Architecture(layers), width, 3).steps()
    said = {"dof.head": json.dumps(about)} if about else {}
    return graph.to_bytes(to_model([*steps, Function("softmax")], "category", width, 3, said))


def in_parts(session: Any, clip: np.ndarray, size: int) -> np.ndarray:
    """The answer to the last part of a clip [T, D]."""
    kept: dict[str, np.ndarray] = {}
    for start in range(0, len(clip), size):
        found = dict(
            zip(
                [o.name for o in session.get_outputs()],
                graph.run(session, {"feature": clip[None, start : start + size], **kept}),
                strict=True,
            )
        )
        kept = {n.replace("next_", ""): value for n, value in found.items() if n.startswith(NEXT)}
    return found["probabilities"]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("length", [1, 5, 16, 33])
def test_a_clip_in_parts_is_the_clip(name: str, length: int) -> None:
    session = graph.session(head(LAYERS[name]))
    clip = np.random.default_rng(length).normal(size=(length, WIDTH)).astype(np.float32)
    whole = in_parts(session, clip, length)
    for size in (1, 4, 16):
        np.testing.assert_allclose(in_parts(session, clip, size), whole, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_clips_of_different_lengths_in_one_batch(name: str) -> None:
    session = graph.session(head(LAYERS[name]))
    random, lengths = np.random.default_rng(0), [9, 1, 4, 9]
    padded = random.normal(size=(4, 9, WIDTH)).astype(np.float32)
    together = graph.run(session, {"feature": padded, "lengths": np.array(lengths, np.int32)})[0]
    alone = [
        graph.run(session, {"feature": padded[i : i + 1, :n]})[0][0] for i, n in enumerate(lengths)
    ]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_head_that_looks_back_remembers_nothing() -> None:
    session = graph.session(
        head((Recurrent(cell="gru", units=7, bidirectional=True), Pool(by="mean")))
    )
    assert [o.name for o in session.get_outputs()] == ["probabilities"]
    assert [i.name for i in session.get_overridable_initializers()] == ["lengths"]


def fused(seen: Core, layers: tuple[Any, ...] = LAYERS["gru"], **about: Any) -> tuple[bytes, bytes]:
    """A head on this core's features, and the model of both."""
    said = {
        "target": "way",
        "kind": "category",
        "classes": ["a", "b", "c"],
        "unit": None,
        "feature": "feature",
        "core_sha256": seen.sha256,
        "dataset_uuid": "00000000-0000-4000-8000-000000000000",
        "clips": True,
        "report": {},
        **about,
    }
    top = head(layers, int(np.prod(seen.output_shape)), **said)
    return top, fuse(seen, {"way": top})


@pytest.mark.parametrize("layers", ["gru", "statistics"])
@pytest.mark.parametrize("frames", [1, 7, PART, 40])
def test_frames_in_prediction_out_row_g13(frames: int, layers: str, tmp_path: Path) -> None:
    """G13: one model, in parts of frames, says what extraction and head say step by step, for every length."""
    (tmp_path / "clip.mp4").write_bytes(
        clips.encode(clips.scene(frames, frames, height=32, width=48))
    )
    top, model = fused(core(), LAYERS[layers])
    features = core()([frame.pixels for frame in Watched(Video(tmp_path / "clip.mp4"))])
    expected = graph.run(graph.session(top), {"feature": features[None]})[0][0]
    ((name, said),) = predict_files(Predictor(model), [tmp_path / "clip.mp4"])
    assert isinstance(said, dict) and name == str(tmp_path / "clip.mp4")
    np.testing.assert_allclose([*said["way"].probabilities.values()], expected, atol=1e-4)


def step_by_step(
    seen: Core, top: bytes, frames: list[np.ndarray], window: int, stride: int
) -> np.ndarray:
    """What a head says of the windows of a clip: of each, or of all of them in turn."""
    starts = range(0, len(frames) - window + 1, stride)
    features = seen([frames[i : i + window] for i in starts]).reshape(len(starts), -1)  # type: ignore[arg-type]
    session = graph.session(top)
    clips_too = len(session.get_inputs()[0].shape) == 3
    return graph.run(session, {"feature": features[None] if clips_too else features})[0]


@pytest.mark.parametrize(
    ("layout", "window", "stride"),
    [
        ("NCTHW", 4, 4),
        ("NTCHW", 4, 1),
        ("NTHWC", 4, 3),
        ("NCTHW", 4, 6),
        ("NCTHW", 4, 19),
    ],
)
@pytest.mark.parametrize("kind", ["gru", "mean", "back", "each"])
def test_windows_in_prediction_out_row_g14(
    layout: str, window: int, stride: int, kind: str
) -> None:
    """G14: a 3D core and a head in one model, in parts of whole windows, say what they say step by step."""
    seen = in_time(layout)
    layers = {
        **LAYERS,
        "back": (Recurrent(cell="gru", units=4, bidirectional=True), Pool(by="last")),
        "each": (),
    }[kind]
    top, model = fused(
        seen, layers, clips=kind != "each", sampling={"window": window, "stride": stride}
    )
    predictor, session = Predictor(model), graph.session(model)
    for length in (4, 5, PART + 3, 67):
        clip = clips.scene(length, length, height=24, width=32)
        expected = step_by_step(seen, top, [*clip], window, stride)
        np.testing.assert_allclose(graph.run(session, {"clip": clip})[0], expected, atol=1e-4)
        said = [*predictor(clip)["way"].probabilities.values()]
        np.testing.assert_allclose(said, expected.mean(axis=0), atol=1e-4)
    with pytest.raises(SourceError, match="shorter than a window"):
        predictor(clip[:3])


def test_windows_of_a_fixed_batch_and_of_a_free_length() -> None:
    free = in_time(frames="T")
    clip = clips.scene(0, 20, height=24, width=32)
    top, model = fused(free, sampling={"window": 3, "stride": 2})
    said = [*Predictor(model)(clip)["way"].probabilities.values()]
    np.testing.assert_allclose(said, step_by_step(free, top, [*clip], 3, 2)[0], atol=1e-4)
    with pytest.raises(CoreError, match="how many frames"):
        fused(free)
    batched = Core(with_fixed_batch(in_time().data, 3))
    top, model = fused(batched)
    said = [*Predictor(model)(clip)["way"].probabilities.values()]
    np.testing.assert_allclose(said, step_by_step(batched, top, [*clip], 4, 4)[0], atol=1e-4)


def test_two_cores_that_see_windows() -> None:
    one, two = in_time(), in_time("NTCHW")
    clip = clips.scene(0, 21, height=24, width=32)
    (a, _), (b, _) = (fused(each, sampling={"window": 4, "stride": 2}) for each in (one, two))
    said = Predictor(fuse([one, two], {"a": a, "b": b}))(clip)
    for name, seen, top in (("a", one, a), ("b", two, b)):
        np.testing.assert_allclose(
            [*said[name].probabilities.values()],
            step_by_step(seen, top, [*clip], 4, 2)[0],
            atol=1e-4,
        )
    with pytest.raises(UsageError, match="of single pictures and of windows"):
        fuse([one, core()], {"a": a, "b": fused(core())[0]})


def test_heads_on_different_windows_do_not_make_one_model() -> None:
    seen = in_time()
    ones, twos = (fused(seen, sampling={"window": 4, "stride": stride})[0] for stride in (1, 2))
    with pytest.raises(UsageError, match="different windows"):
        fuse(seen, {"a": ones, "b": twos})


def test_parts_are_bit_equal_to_the_whole() -> None:
    """For what a recurrent cell remembers there is no rounding between parts."""
    _, model = fused(core())
    clip = clips.scene(0, 40, height=32, width=48)
    session = graph.session(model)
    whole = graph.run(session, {"clip": clip})[0]
    assert np.array_equal(
        whole, np.float32([*Predictor(model)(clip)["way"].probabilities.values()])[None]
    )


def test_a_head_knows_which_frames_it_was_trained_on(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(clips.encode(clips.scene(0, 30, height=32, width=48)))
    _, model = fused(core(), sampling={"fps": 5})
    predictor = Predictor(model)
    assert predictor.sampling == Sampling(fps=5)
    frames = [frame.pixels for frame in Watched(Video(tmp_path / "clip.mp4"), Sampling(fps=5))]
    ((_, said),) = predict_files(predictor, [tmp_path / "clip.mp4"])
    assert isinstance(said, dict) and said == predictor(np.stack(frames)) and len(frames) == 6


def test_clips_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no clip")
    (tmp_path / "good.mp4").write_bytes(clips.encode(clips.scene(0, 3, height=32, width=48)))
    found = dict(predict_files(Predictor(fused(core())[1]), [tmp_path]))
    assert "no video" in str(found[str(tmp_path / "bad.mp4")])
    assert isinstance(found[str(tmp_path / "good.mp4")], dict)


def test_direction_is_in_the_order_not_in_the_mean_row_g13(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G13: a GRU on encodings tells left from right, their mean over time cannot; an epoch encodes nothing again."""
    folder = clips.pairs(
        tmp_path / "c",
        40,
        codecs=(("libx264", "mp4"), ("libvpx-vp9", "webm")),
        lengths=(8, 12),
        lossless=True,
    )
    ds = extract(
        folder,
        core=builtin.load(pool="2x2"),
        out=tmp_path / "x.parquet",
        id_key=KEY,
        split="split",
        table=folder / "clips.csv",
        key="file",
        label="direction",
        group="pair",
    )
    monkeypatch.delattr(Core, "run")
    asked = training.TrainingOptions(epochs=60, batch=16, rate=3e-3)
    report = train.train(ds, head="rnn", options=asked).report
    mean = train.train(ds, head="mean", options=asked).report
    assert report["score"] > 0.75
    low, high = mean["interval"]
    assert low <= 0.5 <= high


def test_the_whole_job_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips in, one model out, a clip predicted: five commands."""
    from dof_arrow.cli import main

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    clips.pairs(tmp_path / "c", 16, lengths=(6,), lossless=True, height=32, width=48)

    def dof(*arguments: str) -> str:
        code = main.main([*arguments])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    source = (
        "c",
        "--core",
        "builtin",
        "--pool",
        "2x2",
        "--table",
        "c/clips.csv",
        "--key",
        "file",
        "--label",
        "direction",
        "--group",
        "pair",
        "--split",
        "split",
        "--fps",
        "25",
        "-o",
        "x.parquet",
    )
    assert (
        "32 clips" in dof("extract", *source, "--dry-run") and not (tmp_path / "x.parquet").exists()
    )
    assert "192 rows" in dof("extract", *source)
    dof("train", "x.parquet", "--head", "rnn", "--epochs", "2", "-o", "head.onnx")
    dof("fuse", "--core", "builtin", "--pool", "2x2", "--head", "head.onnx", "-o", "model.onnx")
    said = json.loads(dof("predict", "model.onnx", "c/0000a.mp4", "--json"))
    assert "left" in json.dumps(said) and "right" in json.dumps(said)


def test_frames_and_labels_are_normalised_by_what_is_declared_row_g15(tmp_path: Path) -> None:
    """G15: frames by the core's preprocessing, labels by a scale kept with the head; what comes out has the unit."""
    folder = clips.pairs(tmp_path / "c", 24, lengths=(4,), height=32, width=48)
    lines = (folder / "clips.csv").read_text().splitlines()
    speeds = [
        "file,speed",
        *(f"{line.split(',')[0]},{1000.5 + 10 * i}" for i, line in enumerate(lines[1:])),
    ]
    (folder / "speeds.csv").write_text("\n".join(speeds))
    ds = extract(
        folder,
        core=core(),
        out=tmp_path / "x.parquet",
        id_key=KEY,
        table=folder / "speeds.csv",
        key="file",
        label="speed",
    )
    assert ds.metadata.cores["feature"].preprocessing.scale
    trained = train.train(ds, head="rnn", cv=2, options=training.TrainingOptions(epochs=3))
    assert trained.report["kind"] == "regression"
    assert trained.report["scaling"]["mean"] == pytest.approx(1235.5, rel=0.02)
    (answer,) = Predictor(fuse(core(), {"speed": trained.onnx}))(
        clips.scene(0, 4, height=32, width=48)
    ).values()
    assert answer.value is not None and 900 < answer.value < 1700
