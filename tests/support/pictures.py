"""Small seeded pictures on disk and in memory, a fast core, and the command line run in this process."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dof_arrow.cores.core import Core
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources.sample import Sample

KEY = bytes(range(32))


def pixels(seed: int, side: int = 8) -> np.ndarray[Any, Any]:
    """A noisy picture whose mean grey depends on the seed."""
    random = np.random.default_rng(seed)
    return random.integers(0, 128 + 8 * (seed % 16), (side, side, 3), np.uint8)


def png(seed: int, side: int = 8) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(seed, side)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def folder_of(folder: Path, count: int, classes: tuple[str, ...] = (), side: int = 8) -> Path:
    """A folder of `count` PNG files, in class folders if there are classes."""
    for i in range(count):
        where = folder / classes[i % len(classes)] if classes else folder
        where.mkdir(parents=True, exist_ok=True)
        (where / f"{i:04d}.png").write_bytes(png(i, side))
    return folder


@cache
def core() -> Core:
    """43 numbers a picture."""
    from dof_arrow.cores import builtin

    return builtin.load(pool="1x1")


class Memory:
    """A source of pictures in memory: `columns` gives any fields of its samples."""

    def __init__(
        self,
        count: int,
        *,
        targets: dict[str, Target] | None = None,
        kept: dict[str, str] | None = None,
        **columns: Any,
    ) -> None:
        self.count, self.columns = count, columns
        self.targets, self.kept = targets or {}, kept or {}
        self.has_group, self.has_split = "group" in columns, "split" in columns
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return Sample(
            key=f"{index:04d}",
            data=self.data(index),
            **{n: c(index) for n, c in self.columns.items()},
        )

    def data(self, index: int) -> bytes:
        return b"P6 4 4 255 " + pixels(index, 4).tobytes()


def contents(folder: Path) -> list[str]:
    """Names of everything in a folder, hidden or not."""
    return sorted(p.name for p in folder.iterdir())
