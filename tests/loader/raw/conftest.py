"""Small pictures that know their own number, for tests of the loader over raw pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.loader.raw.pictures import Pictures

ROWS = 44

CHANGES: list[dict[str, Any]] = [
    {"rotate": [-20, 20]},
    {"flip_x": 0.5, "noise": [0.01, 0.05], "crop": [0.5, 1.0]},
]


def shade(i: int) -> np.ndarray:
    """A picture that says its number: red is 5 times it."""
    picture = np.random.default_rng(i).integers(0, 256, (24, 32, 3), np.uint8)
    picture[..., 0] = 5 * i
    return picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("pictures")
    lines = ["file,ill,patient,age,part"]
    for i in range(ROWS):
        Image.fromarray(shade(i)).save(where / f"{i:02d}.png")
        part = "valid" if i % 4 == 3 else "train"
        lines.append(
            f"{i:02d}.png,{'yes' if i % 11 == 0 else 'no'},{part}{i // 4},{20 + i * i / 40},{part}"
        )
    (where / "meta.csv").write_text("\n".join(lines) + "\n")
    return where


@pytest.fixture(scope="module")
def pics(folder: Path) -> Pictures:
    return dof.pictures(
        folder,
        table=folder / "meta.csv",
        key="file",
        label="ill",
        group="patient",
        split="part",
        keep=["age"],
    )


def numbers(batches: Any) -> list[int]:
    """The pictures of batches that nothing has changed."""
    found: list[int] = []
    for batch in batches:
        pictures = batch[0] if isinstance(batch, tuple) else batch
        found += (pictures[:, 0, 0, 0] // 5).tolist()
    return found
