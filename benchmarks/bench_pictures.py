"""The loader over raw pictures against torch's DataLoader over the same JPEG files, fitted and augmented alike.

Processor seconds of this process and its workers together, which a busy machine does not distort; and seconds of the
clock, which it does. What favours the rival: Pillow's own resize, faster than the graph that extraction uses and that
ours therefore uses too. What favours us: no tensor for each picture.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.measure import keep

SIDE, BATCH = 224, 32


def jpegs(folder: Path, count: int) -> list[Path]:
    """Pictures of 640 x 480 with something at each scale."""
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (30, 40, 3), np.uint8))
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(
            folder / f"{number:04d}.jpg", quality=90
        )
    return sorted(folder.iterdir())


def ours(folder: Path, workers: int | None) -> Iterable[Any]:
    """Our loader."""
    import dof_arrow as dof

    changes = {"flip_x": 0.5, "rotate": [-10, 10]}
    return dof.pictures(folder, size=SIDE).loader(
        batch_size=BATCH, shuffle=True, augment=changes, workers=workers
    )


def theirs(files: list[Path], workers: int) -> Iterable[Any]:
    """What people write with torch and Pillow."""
    import torch

    class Files(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> Any:
            picture = Image.open(files[index]).convert("RGB")
            scale = SIDE / min(picture.size)
            picture = picture.resize(
                [max(SIDE, int(n * scale)) for n in picture.size], Image.Resampling.BILINEAR
            )
            left, top = ((n - SIDE) // 2 for n in picture.size)
            picture = picture.crop((left, top, left + SIDE, top + SIDE))
            if torch.rand(()) < 0.5:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            picture = picture.rotate(float(torch.rand(())) * 20 - 10, Image.Resampling.BICUBIC)
            return torch.from_numpy(np.asarray(picture).copy())

    torch.set_num_threads(1)
    return torch.utils.data.DataLoader(
        Files(), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def processor_seconds() -> float:
    """Of this process and its children."""
    own = psutil.Process()
    return sum(
        t.user + t.system for t in (p.cpu_times() for p in (own, *own.children(recursive=True)))
    )


def measured(loaders: dict[str, Iterable[Any]], runs: int) -> dict[str, dict[str, float]]:
    """Median seconds of an epoch, in turn; the first one, in which workers start, is left out."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
    for _ in range(runs + 1):
        for name, loader in loaders.items():
            start = processor_seconds(), time.perf_counter()
            for _ in loader:
                pass
            taken[name].append((processor_seconds() - start[0], time.perf_counter() - start[1]))
    return {
        name: dict(
            zip(
                ("processor", "clock"),
                map(statistics.median, zip(*pairs[1:], strict=True)),
                strict=True,
            )
        )
        for name, pairs in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        files = jpegs(Path(name), asked.pictures)
        seconds = measured(
            {
                "dof, in the caller": ours(Path(name), 0),
                "dof, threads": ours(Path(name), None),
                "dof, 2 processes": ours(Path(name), 2),
                "torch, in the caller": theirs(files, 0),
                "torch, 2 workers": theirs(files, 2),
            },
            asked.runs,
        )
    plain = seconds["dof, in the caller"]["processor"]
    result = {
        "pictures": asked.pictures,
        "seconds": seconds,
        "work_against_caller": {name: took["processor"] / plain for name, took in seconds.items()},
    }
    keep("pictures", result, "torch", "pillow")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
