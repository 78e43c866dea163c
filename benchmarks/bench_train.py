"""Training: an epoch of a head from a DoF file against the same through the frozen core, pictures decoded each time.

Both train the same network with the same seeds on the same pictures; only where a batch's features come from differs.
What favours us: the core runs on the processor, pictures are small JPEGs or PNGs, one process decodes. What does not:
few pictures, so the fixed cost of an epoch (shuffling, judging) weighs more on our side than on theirs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import dof_arrow as dof
from benchmarks.measure import keep
from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.dataset import dataset
from dof_arrow.heads import layers, named, network, scoring, training
from dof_arrow.heads.features import RowFeatures
from dof_arrow.heads.scoring import Predictions
from dof_arrow.heads.training import Data, TrainingOptions
from dof_arrow.media import image
from dof_arrow.sampling import splits


class Pictures:
    """Examples whose features are computed whenever they are asked for."""

    def __init__(self, files: list[Path], core: Core) -> None:
        self.files, self.core, self.width = files, core, int(np.prod(core.output_shape))

    def __len__(self) -> int:
        return len(self.files)

    def take(self, places: np.ndarray) -> np.ndarray:
        seen = self.core.preprocessing
        found = [image.decode(self.files[i].read_bytes(), mode=seen.mode)[0] for i in places]
        return self.core(found).reshape(len(found), -1)

    def rows(self, places: np.ndarray) -> Iterator[np.ndarray]:
        return (self.take(places[i : i + 32]) for i in range(0, len(places), 32))


def run(data: Path, model: str, every: int, epochs: int) -> dict[str, Any]:
    """Seconds an epoch by both roads, their ratio, and the validation scores that they end with."""
    files = sorted((data / "images" / "cifar10").glob("*/*"))[::every]
    names = sorted({file.parent.name for file in files})
    y = np.array([names.index(file.parent.name) for file in files])
    core = Core.load(data / "models" / model, preprocess="imagenet", threads=2)
    with tempfile.TemporaryDirectory() as folder:
        ds = _dataset(files, y, names, core, Path(folder, "x.dof.parquet"))
        valid = splits.folds(np.arange(len(y)), 4, strata=y) == 0
        roads = {
            "dof": _timed(RowFeatures(ds.to_numpy()), y, valid, len(names), epochs),
            "frozen core": _timed(Pictures(files, core), y, valid, len(names), epochs),
        }
    seconds = {name: found["epoch"] for name, found in roads.items()}
    return {
        "model": model,
        "pictures": len(files),
        "epochs": epochs,
        "seconds_an_epoch": seconds,
        "ratio": seconds["frozen core"] / seconds["dof"],
        "validation_f1": {name: found["score"] for name, found in roads.items()},
        "validation_f1_interval": {name: found["interval"] for name, found in roads.items()},
        "write_onnx_seconds": _writing(),
    }


def _dataset(
    files: list[Path], y: np.ndarray, names: list[str], core: Core, out: Path
) -> dataset.Dataset:
    target = {"label": {"kind": "category", "classes": names}}
    with dof.Writer(out, {"targets": target}) as writer:
        features = np.concatenate(list(Pictures(files, core).rows(np.arange(len(files)))))
        writer.write(
            ids=[f"{i:06}" for i in range(len(files))],
            vectors={"feature": features},
            columns={"label": y},
        )
    return dataset.open(out)


def _timed(
    examples: Any, y: np.ndarray, valid: np.ndarray, classes: int, epochs: int
) -> dict[str, Any]:
    """The median time of an epoch, its validation included, and the best epoch's score with its interval."""
    marks: list[float] = []
    places = np.flatnonzero(valid)
    found = training.fit(
        named.MLP,
        Data("category", classes, examples, y),
        np.flatnonzero(~valid),
        places,
        TrainingOptions(epochs=epochs),
        told=lambda epoch: marks.append(time.perf_counter()),
    )
    said = (
        found.network(network.pack(examples.take(places), found.mean, found.factor))
        .argmax(dim=1)
        .numpy()
    )
    score = scoring.judge(
        "category", y[places], Predictions(said), Predictions(np.zeros_like(said)), places
    )["f1"]
    return {
        "epoch": float(np.median(np.diff(marks))),
        "score": score.score,
        "interval": score.interval,
    }


def _writing() -> float:
    """Seconds to write the MLP on 1,280 features as ONNX."""
    made = network.Network(named.MLP, 1280, 10)
    start = time.perf_counter()
    for _ in range(10):
        graph.to_bytes(layers.to_model(made.steps(), "category", 1280, 10))
    return (time.perf_counter() - start) / 10


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder with models/ and images/cifar10/"
    )
    parser.add_argument("--model", default="mobilenetv2-12-fp32-from-int8.onnx")
    parser.add_argument("--every", type=int, default=1, help="take every so many-th picture")
    parser.add_argument("--epochs", type=int, default=4)
    options = vars(parser.parse_args())
    result = run(**options)
    keep("train", result, "torch", "onnxruntime")
    print(json.dumps(result, indent=1))
