"""Dark and light pictures with their features, a head, and the fused model that judges pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import dof_arrow as dof
from tests.support.making import write
from tests.support.pictures import KEY, core


@dataclass(frozen=True)
class Judged:
    """Files: pictures, their dataset, a head, the model of one picture, of several, and another dataset."""

    pictures: Path
    data: Path
    head: Path
    model: Path
    batched: Path
    other: Path


def judged(folder: Path) -> Judged:
    """Forty noisy pictures, half of them lighter."""
    pictures = folder / "pictures"
    random = np.random.default_rng(0)
    for number in range(40):
        where = pictures / ("dark", "light")[number % 2]
        where.mkdir(parents=True, exist_ok=True)
        low = 30 if number % 2 else 0
        pixels = random.integers(low, low + 190, (24, 20, 3), np.uint8)
        Image.fromarray(pixels).save(where / f"{number:02}.png")
    data = folder / "pictures.parquet"
    ds = dof.extract(pictures, core=core(), out=data, label="folder", id_key=KEY)
    head = dof.train(ds, target="label").onnx
    found = Judged(
        pictures,
        data,
        folder / "own.onnx",
        folder / "model.onnx",
        folder / "batched.onnx",
        write(folder / "x.parquet", 9),
    )
    found.head.write_bytes(head)
    found.model.write_bytes(dof.fuse(core(), {"label": head}))
    found.batched.write_bytes(dof.fuse(core(), {"label": head}, batch=True))
    return found
