"""Video: what a recurrent head on encodings learns that no single frame tells, and what encoding once is worth.

Clips: a textured thing that moves left or right over a textured ground (h264 and VP9), each beside its reversal on the
same side of the split. They are coded without loss: what a lossy codec leaves behind tells the direction to a mean over
time, so its score on (half as many) lossy clips stands beside. What favours us: clips are short and small, so decoding
is cheap beside the core. What does not: few and short clips, so an epoch over encodings is mostly fixed cost, and each
clip is staged, and synced to the disk, by itself. About three minutes on two processors.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import beside, keep
from dof_arrow.cores import builtin
from dof_arrow.cores.core import Core
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.extraction.extract import extract
from dof_arrow.heads import named, train, training
from dof_arrow.heads.features import Clips
from dof_arrow.heads.training import Data, TrainingOptions
from dof_arrow.inference.fuse import fuse
from dof_arrow.media.frames import Watched
from dof_arrow.media.video import Video
from dof_arrow.system import processors
from tests.support import clips

CODECS = (("libx264", "mp4"), ("libvpx-vp9", "webm"))
LENGTHS, RATES = (6, 8, 9, 10), (10, 24, 25, 30)
WANTED = (
    ("2x2", "gru"),
    ("2x2", "mean pooling"),
    ("1x1", "gru"),
    ("1x1", "mean pooling"),
    ("scattering-1", "gru"),
    ("scattering-1", "mean pooling"),
)
SIZE = {"height": 96, "width": 128}
ROUNDS = 3


def run(data: Path, model: str, pairs: int, epochs: int) -> dict[str, Any]:
    """Scores of the heads, the speed of extraction against its ideal, and of an epoch against encoding each time."""
    path = data / "models" / model
    wide, flat = (Core.load(path, preprocess="imagenet", pool=pool) for pool in ("2x2", "1x1"))
    wide.name, flat.name = "2x2", "1x1"
    scattering = builtin.load(pool="2x2")
    with tempfile.TemporaryDirectory() as folder:
        source, lossy = (
            clips.pairs(
                Path(folder, name),
                count,
                codecs=CODECS,
                lengths=LENGTHS,
                rates=RATES,
                lossless=name == "clips",
                **SIZE,
            )
            for name, count in (("clips", pairs), ("lossy", pairs // 2))
        )
        made = _extracted(source, [wide, flat, scattering], Path(folder, "all.parquet"))
        faded = _extracted(lossy, [scattering], Path(folder, "lossy.parquet"))
        return {
            "model": model,
            "clips": 2 * pairs,
            "frames": len(made),
            "direction": _direction(made, WANTED),
            "lossy clips": _direction(faded, [("feature", "gru"), ("feature", "mean pooling")]),
            "extraction": _speed(source, wide, Path(folder)),
            "epoch": {core.name: _epochs(source, made, core, epochs) for core in (wide, flat)},
            "long clip": _long(Path(folder), made),
        }


def _extracted(source: Path, cores: Sequence[Core], out: Path) -> Dataset:
    return extract(
        source,
        core=cores,
        out=out,
        id_key=bytes(32),
        ids="name",
        table=source / "clips.csv",
        key="file",
        label="direction",
        group="pair",
        split="split",
    )


def _direction(made: Dataset, wanted: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Accuracy and its interval on the test clips, for each head and core."""
    asked = TrainingOptions(epochs=60, batch=16, rate=2e-3)
    kinds = {"gru": named.RNN, "mean pooling": named.MEAN}
    found = {}
    for column, kind in wanted:
        report = train.train(made, head=kinds[kind], features=[column], options=asked).report
        found[f"{kind} on {column}"] = {
            key: report[key] for key in ("score", "interval", "n_train", "n_test")
        }
    return found


def _speed(source: Path, core: Core, folder: Path) -> dict[str, float]:
    """Medians of some rounds."""
    rounds = [_round(source, core, folder / f"{number}.parquet") for number in range(ROUNDS)]
    return {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}


def _round(source: Path, core: Core, out: Path) -> dict[str, float]:
    """Frames a second of extraction against the ideal: cores / (decode + preprocessing + core, each alone).

    `of_ideal_processor` compares processor time instead, which holds on a machine that others use meanwhile; `of_loops`
    is against bare loops, one a processor, that do the same steps beside one another.
    """
    files = sorted(path for path in source.iterdir() if path.suffix != ".csv")
    seen: list[Any] = []
    some = files[:: max(len(files) // 24, 1)]
    decode = _took(
        lambda: seen.extend(frame.pixels for path in some for frame in Watched(Video(path)))
    )
    prepared: list[Any] = []
    prepare = _took(lambda: prepared.extend(core.prepare(frame) for frame in seen))
    alone = _took(
        lambda: [core.run(np.stack(prepared[i : i + 8])) for i in range(0, len(prepared), 8)]
    )
    rows: list[int] = []
    taken = _took(lambda: rows.append(len(_extracted(source, [core], out))))
    loops = _took(lambda: beside(lambda _: _loop(some, core)))
    wall, processor = ((decode[i] + prepare[i] + alone[i]) / len(seen) for i in range(2))
    return {
        "decode_ms": decode[0] / len(seen) * 1e3,
        "prepare_ms": prepare[0] / len(seen) * 1e3,
        "core_ms": alone[0] / len(seen) * 1e3,
        "frames_a_second": rows[0] / taken[0],
        "of_ideal": rows[0] / taken[0] * wall / processors(),
        "of_ideal_processor": rows[0] / taken[1] * processor,
        "of_loops": rows[0] / taken[0] * loops[0] / len(seen) / processors(),
    }


def _loop(files: Sequence[Path], core: Core) -> None:
    """What people write: decode a clip, prepare it, run it."""
    for path in files:
        core.run(np.stack([core.prepare(frame.pixels) for frame in Watched(Video(path))]))


def _took(action: Any) -> tuple[float, float]:
    """Seconds by the clock, and of the processors."""
    clock, processor = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - clock, time.process_time() - processor


class Encoded:
    """Clips that are decoded and encoded whenever they are asked for."""

    def __init__(self, files: Sequence[Path], core: Core) -> None:
        self.files, self.core, self.width = files, core, int(np.prod(core.output_shape))

    def __len__(self) -> int:
        return len(self.files)

    def take(self, places: np.ndarray) -> list[np.ndarray]:
        return [
            self.core([f.pixels for f in Watched(Video(self.files[i]))]).reshape(-1, self.width)
            for i in places
        ]

    def rows(self, places: np.ndarray) -> Iterator[np.ndarray]:
        return iter(self.take(places))


def _epochs(source: Path, made: Dataset, core: Core, epochs: int) -> dict[str, float]:
    """Seconds a clip of an epoch of a GRU over all encodings, and over some clips that are encoded again."""
    files = sorted(path for path in source.iterdir() if path.suffix != ".csv")
    lengths = [len(clip.features) for clip in made.sequences()]
    ends = np.cumsum(lengths)
    y = np.array([int(made.to_numpy("direction")[end - 1]) for end in ends])
    stored = Clips(made.to_numpy(core.name).reshape(len(made), -1), ends - lengths, ends)
    every, some = np.arange(len(files)), np.arange(0, len(files), max(len(files) // 32, 1))
    encodings = _an_epoch(stored, y, every, epochs) / len(every)
    clips_again = _an_epoch(Encoded(files, core), y, some, 1) / len(some)
    return {"encodings": encodings, "clips": clips_again, "ratio": clips_again / encodings}


def _an_epoch(inputs: Any, y: np.ndarray, chosen: np.ndarray, epochs: int) -> float:
    """The median; the first, before which the moments are taken, is left out where there are more."""
    marks = [time.perf_counter()]
    training.fit(
        named.RNN,
        Data("category", 2, inputs, y),
        chosen[::2],
        chosen[1::2],
        TrainingOptions(epochs=1 + epochs, batch=16),
        told=lambda epoch: marks.append(time.perf_counter()),
    )
    return float(np.median(np.diff(marks)[1:]))


_PREDICT = """
import sys
from pathlib import Path
import numpy as np
from dof_arrow.cores.graph import model as graph; from dof_arrow.inference import predict
predictor = predict.Predictor(sys.argv[1])
before = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
clip = np.random.default_rng(0).integers(0, 256, (48, 480, 640, 3), np.uint8)
frames = (clip[k % 48] for k in range(400))
if sys.argv[2] == "whole":
    found = graph.run(predictor._session, {"clip": np.stack(list(frames))})[0]
else:
    found = np.float32([*predictor.watch(frames)["direction"].probabilities.values()])[None]
after = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
print((after - before) / 1024, found.tobytes().hex())
"""


def _long(folder: Path, made: Dataset) -> dict[str, Any]:
    """MiB that predicting 400 frames of 640 x 480 takes, as one and in parts, and whether both say the same bits."""
    core = builtin.load(pool="2x2")
    head = train.train(
        made, head="rnn", features=["scattering-1"], options=TrainingOptions(epochs=3)
    ).onnx
    (folder / "model.onnx").write_bytes(fuse(core, {"direction": head}))
    said = {}
    for how in ("whole", "parts"):
        done = subprocess.run(
            [sys.executable, "-c", _PREDICT, str(folder / "model.onnx"), how],
            check=True,
            capture_output=True,
            text=True,
        )
        said[how] = done.stdout.split()
    return {
        "whole_MiB": float(said["whole"][0]),
        "parts_MiB": float(said["parts"][0]),
        "bit_equal": said["whole"][1] == said["parts"][1],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with models/")
    parser.add_argument("--model", default="mobilenetv2-12-fp32-from-int8.onnx")
    parser.add_argument(
        "--pairs", type=int, default=160, help="pairs of clips, three in four for training"
    )
    parser.add_argument("--epochs", type=int, default=4)
    result = run(**vars(parser.parse_args()))
    keep("video", result, "torch", "onnxruntime", "av")
    print(json.dumps(result, indent=1))
