"""Training judges every epoch, keeps the best, stops in time, says why, and survives a kill."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.cores.graph import model
from dof_arrow.errors import FormatError, OutputError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads import features as inputs
from dof_arrow.heads import losses, train, training
from dof_arrow.heads.architecture import Activation, Architecture, Dense, Dropout, Normalization
from dof_arrow.heads.checkpoint import Checkpoint
from dof_arrow.heads.features import RowFeatures
from dof_arrow.heads.train import TrainingMonitor
from dof_arrow.heads.training import Data, TrainingOptions
from tests.support.memory import Memory, blobs, category, memory
from tests.support.planting import Planted, for_files, looks

torch = pytest.importorskip("torch")

ABC = category("a", "b", "c")
SMALL = Architecture(
    (Dense(units=8), Normalization(over="batch"), Activation(function="gelu"), Dropout(rate=0.2))
)
QUICK = TrainingOptions(epochs=12, batch=16, rate=0.01)
TRAIN, VALID = np.arange(100), np.arange(100, 150)


def data(count: int = 150, **columns: Any) -> Memory:
    x, y = blobs(count)
    return memory(x, {"label": ABC}, **{"label": y, **columns})


def fit(
    options: TrainingOptions = QUICK, x: np.ndarray | None = None, **more: Any
) -> training.Trained:
    features, y = blobs(150)
    return training.fit(
        SMALL,
        Data("category", 3, RowFeatures(features if x is None else x), y),
        TRAIN,
        VALID,
        options,
        **more,
    )


def weights(found: training.Trained) -> list[bytes]:
    return [value.numpy().tobytes() for value in found.network.modules.state_dict().values()]


def test_each_epoch_is_judged_on_the_whole_validation_set() -> None:
    """Without shuffling or dropout, by F1, and the best weights are kept (rows G7, G11)."""
    found = fit()
    assert [entry["epoch"] for entry in found.history] == list(range(1, 13))
    best = max(found.history, key=lambda e: (e["score"], -e["valid_loss"]))
    assert found.best_epoch == best["epoch"]
    assert best["metric"] == "f1"
    x, y = blobs(150)
    with torch.no_grad():
        said = (
            found.network(torch.from_numpy((x[VALID] - found.mean) * found.factor))
            .numpy()
            .argmax(1)
        )
    from sklearn.metrics import f1_score

    assert f1_score(y[VALID], said, average="macro") == pytest.approx(
        best["score"]
    )  # the best weights are kept


def test_it_stops_when_nothing_helps_and_cools_down_before() -> None:
    """Early stop and a smaller learning rate on a plateau (row G11)."""
    noise = np.random.default_rng(0).normal(size=(150, 16)).astype(np.float32)
    found = fit(TrainingOptions(epochs=500, patience=9, cooling=4, rate=0.02), noise)
    assert found.stopped == "no better for 9 epochs"
    assert len(found.history) == found.best_epoch + 9 < 500
    rates = [entry["rate"] for entry in found.history]
    assert rates[0] == 0.02
    assert rates[-1] <= 0.005
    assert sorted(rates, reverse=True) == rates


def test_a_loss_that_is_no_number_stops_it_with_the_reason() -> None:
    """Stop on NaN or infinity (row G11)."""
    with pytest.raises(
        UsageError, match=r"came to nothing.*expected a finite loss, found the loss was (nan|inf)"
    ):
        training.fit(
            Architecture(()),
            Data(
                "regression",
                1,
                RowFeatures(np.full((150, 2), 1e30, "f4") * blobs(150, 2)[0]),
                np.linspace(0, 1, 150),
            ),
            TRAIN,
            VALID,
            TrainingOptions(rate=1e25, epochs=50),
        )


def test_a_late_divergence_keeps_the_best_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop on NaN, restore the best (row G11)."""
    honest, calls = training._TrainingRun._learn, []

    def learn(run: Any) -> float:
        calls.append(1)
        return float("nan") if len(calls) == 5 else honest(run)

    monkeypatch.setattr(training._TrainingRun, "_learn", learn)
    found = fit()
    assert found.stopped == "the loss was nan in epoch 5"
    assert 1 <= found.best_epoch <= 4
    assert found.history[-1]["train_loss"] is None
    assert weights(found) == weights(fit(TrainingOptions(epochs=4, batch=16, rate=0.01)))


def test_seeds_and_threads() -> None:
    assert (
        weights(fit())
        == weights(fit())
        != weights(fit(TrainingOptions(epochs=12, batch=16, rate=0.01, seed=1)))
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert weights(fit()) == weights(fit())
    finally:
        torch.set_num_threads(threads)


class Killed(Exception):
    pass


@pytest.mark.parametrize("epoch", [1, 5, 11])
def test_a_training_taken_up_again_ends_the_same(epoch: int, tmp_path: Path) -> None:
    """Resumed from a checkpoint at any epoch (row G11)."""

    def kill(at: int) -> None:
        if at == epoch + 1:
            raise Killed

    with pytest.raises(Killed):
        fit(checkpoint=Checkpoint(tmp_path / "c", "x", every=0), told=kill)
    again, told = Checkpoint(tmp_path / "c", "x", every=0), []
    found = fit(checkpoint=again, told=told.append)
    assert told == list(range(epoch + 1, 13))
    whole = fit()
    assert weights(found) == weights(whole)
    assert found.history == whole.history
    assert weights(fit(checkpoint=Checkpoint(tmp_path / "c", "x"))) == weights(
        whole
    )  # done: nothing to do
    again.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_other_data_or_damaged_is_not_used(tmp_path: Path) -> None:
    fit(checkpoint=Checkpoint(tmp_path / "c", "x", every=0))
    assert Checkpoint(tmp_path / "c", "x").stages
    assert not Checkpoint(tmp_path / "c", "y").stages
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:-50])
    assert not Checkpoint(tmp_path / "c", "x").stages
    (tmp_path / "c").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    assert not Checkpoint(tmp_path / "c", "x").stages
    assert not Path("owned").exists()


def test_no_flipped_byte_of_a_checkpoint_is_learned_on_from(tmp_path: Path) -> None:
    """The archive that torch writes has sums of its parts, which torch does not look at."""
    path, draw = tmp_path / "c", random.Random(0)
    fit(checkpoint=Checkpoint(path, "x", every=0))
    data = path.read_bytes()
    assert Checkpoint(path, "x").stages and path.stat().st_mode & 0o777 == 0o600
    for place in (0, 31, 32, len(data) - 1, *(draw.randrange(len(data)) for _ in range(60))):
        path.write_bytes(
            data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
        )
        assert not Checkpoint(path, "x").stages
    assert weights(fit(checkpoint=Checkpoint(path, "x"))) == weights(fit())


@for_files
def test_a_checkpoint_that_another_may_have_written_is_not_used(
    planted: Planted, tmp_path: Path
) -> None:
    """Of these data and options, and whole: whoever wrote it would say what weights come out."""
    path = tmp_path / ".head.onnx.training"
    planted(path)
    before = looks(tmp_path)
    with pytest.raises(OutputError, match=planted.told):
        train.train(
            data(), head=SMALL, cv=2, options=QUICK, monitor=TrainingMonitor(checkpoint=path)
        )
    assert looks(tmp_path) == before


_TRAIN = """
import os, signal, sys, time; from pathlib import Path
import torch, torch._dynamo  # once, not in each child: optimizers load it
from dof_arrow.heads import train as heads
from tests.heads.test_training import KILLED, MANY
out, kind = Path(sys.argv[1]), sys.argv[2]
def train():
    monitor = heads.TrainingMonitor(checkpoint=out / "checkpoint", every=0)
    made = heads.train(KILLED[kind](), head=kind, cv=2, options=MANY, monitor=monitor)
    (out / "head.onnx").write_bytes(made.onnx)
    os._exit(0)
def written():
    try:
        return (out / "checkpoint").stat().st_mtime_ns
    except FileNotFoundError:
        return None
for times in (1, 4):
    child, seen = os.fork() or train(), written()
    for _ in range(times):  # not a time to wait for: machines differ
        while written() in (seen, None):
            time.sleep(0.001)
        seen = written()
    os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
train()
"""
MANY = TrainingOptions(epochs=12, batch=8)
KILLED: dict[str, Callable[[], Memory]] = {"mlp": lambda: data(), "rnn": lambda: moving()}


@pytest.mark.parametrize("kind", KILLED)
def test_killing_the_process_and_starting_again_gives_the_same_head(
    kind: str, tmp_path: Path
) -> None:
    """Killed in two epochs, the third run gives the bytes of one never killed (row G11)."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", _TRAIN, tmp_path, kind]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert (done.returncode, done.stdout.split()[:2]) == (0, [str(-signal.SIGKILL)] * 2), (
        done.stderr
    )
    whole = train.train(KILLED[kind](), head=kind, cv=2, options=MANY)
    assert (tmp_path / "head.onnx").read_bytes() == whole.onnx
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == [
        "head.onnx"
    ]


def test_a_metrics_file_that_plots_itself(tmp_path: Path) -> None:
    """Every epoch as a line of JSON, and drawn (row G11)."""
    told: list[Sequence[int]] = []
    monitor = TrainingMonitor(metrics=tmp_path / "m.jsonl", progress=lambda *now: told.append(now))
    train.train(data(), head=SMALL, cv=2, options=QUICK, monitor=monitor)
    entries = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert len(entries) == 36
    assert {e["stage"] for e in entries} == {"fold 1", "fold 2", "all"}
    assert {"score", "train_loss", "valid_loss", "rate", "metric", "epoch"} < set(entries[0])
    drawn = ElementTree.parse(tmp_path / "m.svg").getroot()
    assert len(drawn.findall("{*}polyline")) == 9
    assert told[0] == (1, 36, 0)
    assert told[-1] == (36, 36, 0)


def run(onnx: bytes, x: np.ndarray) -> np.ndarray:
    return np.asarray(model.run(model.session(onnx), {"feature": x})[0])


def other_classes(codes: np.ndarray, classes: int = 3) -> pa.Array:
    """Flags of all classes but the row's own, as a multilabel column holds them."""
    rows = []
    for code in codes:
        rows.append([each for each in range(classes) if each != code])
    return pa.array(rows, pa.list_(pa.int32()))


def test_networks_of_each_kind_of_target_in_onnx() -> None:
    """A regression target is learned scaled, and the head gives its unit (row G15)."""
    x, y = blobs(200)
    made = train.train(memory(x, {"label": ABC}, label=y), head="mlp", cv=2, options=QUICK)
    assert made.report["score"] > 0.85 > made.report["baseline"]
    assert run(made.onnx, x).sum(1) == pytest.approx(1)
    lists = other_classes(y)
    flags = Target(kind="multilabel", classes=("a", "b", "c"))
    many = train.train(
        memory(x, {"label": flags}, label=lists), head="mlp", cv=2, options=QUICK, balance=True
    )
    assert many.report["scores"]["folds"]["f1"]["score"] > 0.85
    age = 5000.0 + 30 * x[:, 0]
    split = ["train"] * 130 + ["valid"] * 30 + ["test"] * 40
    target = {"age": Target(kind="regression", unit="days")}
    options = TrainingOptions(epochs=60, batch=16, rate=0.01)
    old = train.train(memory(x, target, age=age, split=split), head="mlp", options=options)
    assert old.report["scaling"]["mean"] == pytest.approx(age[:130].mean())
    assert old.report["scaling"]["std"] == pytest.approx(age[:130].std())
    assert np.abs(run(old.onnx, x)[:, 0] - age).mean() < 15
    assert old.report["score"] > 0.7
    assert old.report["scores"]["test"]["mae"]["score"] == pytest.approx(
        np.abs(run(old.onnx, x)[160:, 0] - age[160:]).mean(), rel=1e-4
    )


def test_balancing_finds_more_of_a_rare_class_and_uses_every_row_of_it() -> None:
    """Class weights, and every minority record used each epoch (row G6)."""
    random = np.random.default_rng(0)
    y = (random.random(600) < 0.06).astype(int)
    x = (random.normal(size=(600, 4)) + y[:, None]).astype(np.float32)
    ds = memory(x, {"label": category("well", "ill")}, label=y)
    reports = [
        train.train(ds, head="mlp", cv=2, balance=b, options=QUICK).report for b in (False, True)
    ]
    plain, fair = (report["by_class"]["ill"]["recall"]["score"] for report in reports)
    assert fair > plain + 0.1
    assert losses.class_weights(y, 2) @ np.bincount(y) == pytest.approx(600)
    met = []

    class Seen(RowFeatures):
        def take(self, places: np.ndarray) -> np.ndarray:
            met.extend(places)
            return super().take(places)

    training.fit(
        SMALL,
        Data("category", 2, Seen(x), y),
        np.arange(500),
        np.arange(500, 600),
        TrainingOptions(epochs=1),
    )
    assert (
        np.bincount(met)[:500].tolist() == [3] * 500
    )  # twice for mean and deviation, once to learn from


def test_a_class_unseen_in_train_is_told_and_does_not_steer() -> None:
    x, y = blobs(150)
    split = np.where(
        (y == 2) | (np.arange(150) >= 120), "test", np.where(np.arange(150) >= 90, "valid", "train")
    )
    split[np.flatnonzero(y == 2)[::2]] = "valid"
    made = train.train(memory(x, {"label": ABC}, label=y, split=split), head="mlp", options=QUICK)
    assert made.report["classes"] == ["a", "b"]
    assert "class c has no row to train on" in made.report["warnings"][0]
    assert made.report["by_class"]["c"]["recall"]["score"] == 0
    assert run(made.onnx, x).shape == (
        150,
        2,
    )


def moving(count: int = 60, width: int = 4) -> Memory:
    """Clips of a dot that goes left or right: no single frame tells which."""
    random, features, ids, labels = np.random.default_rng(0), [], [], []
    for clip in range(count):
        frames, right = int(random.integers(4, 9)), clip % 2
        path = np.linspace(0, 3, frames)[:: 1 if right else -1]
        features += [
            np.exp(-((np.arange(width) - at) ** 2)) + 0.05 * random.normal(size=width)
            for at in path
        ]
        ids += [f"c{clip:03}"] * frames
        labels += [right] * frames
    return memory(
        np.array(features, np.float32), {"way": category("left", "right")}, id=ids, way=labels
    )


def test_a_recurrent_head_sees_what_no_frame_tells() -> None:
    """An RNN over the encodings of frames (row G13)."""
    ds = moving()
    options = TrainingOptions(epochs=60, batch=8, rate=0.02)
    clips = train.train(ds, head="rnn", cv=2, options=options)
    frames = train.train(ds, head="mlp", cv=2, options=QUICK)
    assert clips.report["interval"][0] > 0.85 > 0.7 > frames.report["score"]
    assert clips.report["n_train"] == 60 == clips.report["groups"]
    assert frames.report["n_train"] > 240
    session = model.session(clips.onnx)
    for frames_of_one in (ds.features[:5], ds.features):
        assert model.run(session, {"feature": frames_of_one[None]})[0].shape == (1, 2)


def test_clips_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="no clips: expected several rows of one id"):
        train.train(data(), head="rnn")
    x, _ = blobs(6)
    two = {"way": category("l", "r")}
    with pytest.raises(FormatError, match="1 of 2 clips with several"):
        train.train(memory(x, two, id=list("aaabbb"), way=[0, 0, 0, 1, 1, 0]), head="rnn")
    with pytest.raises(
        UsageError, match=r"do not stand together: expected .* found 1 clips in pieces"
    ):
        train.train(memory(x, two, id=list("aabbaa"), way=[0, 0, 1, 1, 0, 0]), head="rnn")


def test_clips_and_views_are_told_apart() -> None:
    ds = memory(
        np.zeros((6, 2), "f4"),
        {"way": category("l", "r")},
        id=list("aaaabb"),
        way=[0, 0, 0, 0, 1, 1],
    )
    read = inputs.read(ds, ["feature"], timed=True)
    assert isinstance(read, inputs.Clips)
    assert (read.starts.tolist(), read.stops.tolist()) == (
        [0, 4],
        [4, 6],
    )
