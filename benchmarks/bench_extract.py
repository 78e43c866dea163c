"""Extraction against the ideal (what one picture costs, each step alone on one thread) and against a plain loop.

The ideal is processors / (decode + the core's own preprocessing graph + core). Bare loops, a thread a processor, do
just these steps beside one another on pictures in memory, and keep nothing: what the machine can reach. The plain loop
is what people write: decode all of a batch, stack, `session.run`, one batch after the other, with ONNX Runtime's own
threads. Give the folder of pictures and the models on the command line; the pictures are repeated to 600.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import beside, keep
from dof_arrow.cores.core import BATCH, Core
from dof_arrow.extraction.extract import extract
from dof_arrow.media import image
from dof_arrow.system import processors

PICTURES, RUNS = 600, 5
AT_ONCE = 8  # pictures that a bare loop makes ready before it runs them


def run(folder: Path, model: Path, preset: str) -> dict[str, Any]:
    """Pictures a second of each road, medians of runs in turn."""
    stored = [p.read_bytes() for p in sorted(folder.glob("*.[jJ][pP]*[gG]"))]
    stored = [stored[i % len(stored)] for i in range(PICTURES)]
    core, many = (Core.load(model, preprocess=preset, threads=n) for n in (1, processors()))
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "pictures")
        source.mkdir()
        for number, data in enumerate(stored):
            (source / f"{number:04d}.jpg").write_bytes(data)
        rounds: list[dict[str, float]] = []
        for number in range(RUNS):
            rounds.append(
                {
                    **_alone(stored, core),
                    "ours": PICTURES
                    / _seconds(
                        lambda: extract(
                            source,
                            core=core,
                            out=Path(name, "x.dof.parquet"),
                            overwrite=True,
                            id_key=Path(name, "key"),
                        )
                    ),
                    "bare loops": PICTURES / _seconds(lambda: _bare_loops(stored, core)),
                    "plain loop": PICTURES / _seconds(lambda: _plain_loop(source, many)),
                }
            )
            print(f"{model.name}, round {number + 1}: {rounds[-1]}", flush=True)
    middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
    ratios = (
        ("ours", "ideal"),
        ("bare loops", "ideal"),
        ("ours", "bare loops"),
        ("ours", "plain loop"),
    )
    return {
        **middle,
        **{f"{a} over {b}": statistics.median(r[a] / r[b] for r in rounds) for a, b in ratios},
    }


def _alone(stored: list[bytes], core: Core) -> dict[str, float]:
    sample = stored[:120]
    decode = _seconds(lambda: [image.decode(data) for data in sample]) / len(sample)
    pixels = [image.decode(data)[0] for data in sample]
    prepare = _seconds(lambda: [core.prepare(p) for p in pixels]) / len(sample)
    batch = np.stack([core.prepare(p) for p in pixels[:BATCH]])
    core.run(batch)
    network = _seconds(lambda: [core.run(batch) for _ in range(len(sample) // BATCH)]) / len(sample)
    pillow = _seconds(lambda: [_pillow(data) for data in sample]) / len(sample)
    costs = {
        "decode ms": decode,
        "preprocessing ms": prepare,
        "core ms": network,
        "decode, Pillow ms": pillow,
    }
    return {
        "ideal": processors() / (decode + prepare + network),
        **{k: v * 1e3 for k, v in costs.items()},
    }


def _pillow(data: bytes) -> Any:
    from PIL import Image

    picture = Image.open(io.BytesIO(data)).convert("RGB")
    scale = 256 / min(picture.size)
    small = picture.resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR
    )
    return np.asarray(small.crop((0, 0, 224, 224)), np.float32)


def _bare_loops(stored: list[bytes], core: Core) -> None:
    def loop(number: int) -> None:
        share, room = stored[number :: processors()], core.room(AT_ONCE)
        for start in range(0, len(share), AT_ONCE):
            some = share[start : start + AT_ONCE]
            for place, data in enumerate(some):
                core.prepare(image.decode(data)[0], room[place])
            for first in range(0, len(some), BATCH):
                core.run(room[first : min(first + BATCH, len(some))])

    beside(loop)


def _plain_loop(source: Path, core: Core) -> None:
    paths = sorted(source.iterdir())
    features = []
    for start in range(0, len(paths), 32):
        batch = [core.prepare(image.decode(p.read_bytes())[0]) for p in paths[start : start + 32]]
        features.append(core.run(np.stack(batch)))
    np.save(source.parent / "features.npy", np.concatenate(features))


def _seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--preprocess", default="imagenet")
    given = parser.parse_args()
    keep(
        "extract",
        {m.name: run(given.pictures, m, given.preprocess) for m in given.models},
        "onnxruntime",
        "pillow",
    )


if __name__ == "__main__":
    main()
