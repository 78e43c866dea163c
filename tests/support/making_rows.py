"""Small datasets for tests of the loader: rows that know their own number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.writer import Writer

TARGETS = {
    "label": {"kind": "category", "classes": ["sick", "well", "unsure"]},
    "ill": {"kind": "category", "classes": ["no", "yes"]},
    "signs": {"kind": "multilabel", "classes": ["edema", "mass", "nodule"]},
    "age": {"kind": "regression", "unit": "years"},
}


def features(rows: int, width: int = 4) -> np.ndarray:
    """float32 [rows, width]: row i holds i + 0, i + 0.25, ... so that its first number is its own."""
    return (np.arange(rows)[:, None] + np.arange(width) / 4).astype(np.float32)


def columns(rows: int) -> dict[str, Any]:
    number = np.arange(rows)
    return {
        "label": (number % 3).astype(np.int64),
        "ill": (number % 10 == 0).astype(np.int32),
        "age": (20 + (number * 7 % 60)).astype(np.float32),
        "signs": pa.array(
            [[c for c in range(3) if (i >> c) & 1] for i in range(rows)], pa.list_(pa.int32())
        ),
        "sex": [("f", "m")[i % 2] for i in range(rows)],
        "group": [f"patient-{i // 5:04d}" for i in range(rows)],
        "split": [("train", "train", "train", "valid")[i * 4 // rows] for i in range(rows)],
    }


def made(
    path: Path,
    rows: int = 200,
    width: int = 4,
    *,
    layout: Any = "mapped",
    group_rows: int = 0,
    **extra: Any,
) -> Dataset:
    """A dataset of such rows; `extra` columns replace or join the usual ones, `None` leaves one out."""
    found = {k: v for k, v in {**columns(rows), **extra}.items() if v is not None}
    about = {"targets": {k: v for k, v in TARGETS.items() if k in found}}
    geometry = Geometry(group_rows, 4096) if group_rows else None
    with Writer(path, about, layout=layout, geometry=geometry) as writer:
        writer.write(
            ids=[f"r{i:05d}" for i in range(rows)],
            vectors={"feature": features(rows, width)},
            columns=found,
        )
    return dataset.open(path)


def numbers(batches: Any) -> list[int]:
    """The rows of an epoch, in order, from their first numbers."""
    return [
        int(v) for batch in batches for v in (batch[0] if isinstance(batch, tuple) else batch)[:, 0]
    ]
