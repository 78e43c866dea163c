"""The rows that readers are measured on: seeded, made piece by piece, the same in every form."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from dof_arrow.format.writer import Writer

PIECE = 8192  # rows made at a time
KINDS = 16  # pieces before they come again: making random numbers would take most of the time that 10 GB take
CLASSES = 10


def pieces(rows: int, width: int, seed: int = 0) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """First row, features float32 [k, width] and labels int64 [k], one in twenty of class 1, the others of class 0."""
    for start in range(0, rows, PIECE):
        x, y = _piece(width, seed, start % (KINDS * PIECE))
        yield start, x[: rows - start], y[: rows - start]


@lru_cache(KINDS)
def _piece(width: int, seed: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([seed, start])
    return random.standard_normal((PIECE, width), np.float32), (random.random(PIECE) < 0.05).astype(
        np.int64
    )


def whole(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """All of it in memory."""
    _, x, y = zip(*pieces(rows, width), strict=True)
    return np.concatenate(x), np.concatenate(y)


def write_dof(path: Path, rows: int, width: int) -> Path:
    """A DoF file of the mapped layout, with ids and labels."""
    about = {"targets": {"label": {"kind": "category", "classes": ["no", "yes"]}}}
    with Writer(path, about, overwrite=True) as writer:
        for start, x, y in pieces(rows, width):
            ids = pa.array([f"{i:026d}" for i in range(start, start + len(x))])
            writer.write(ids=ids, vectors={"feature": x}, columns={"label": y})
    return path


def write_npy(path: Path, rows: int, width: int) -> Path:
    """A .npy file, written as `numpy.save` does: through a map its pages would be small, and slow to map again."""
    with path.open("wb") as file:
        about = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(file, about)
        for _, x, _ in pieces(rows, width):
            file.write(x.data)
    return path
