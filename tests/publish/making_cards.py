"""Small datasets whose cards tests look at: three classes, splits, groups, a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dof_arrow.format.writer import Writer

CLASSES = ("cat", "dog", "owl")
WIDTH = 12


def vectors(rows: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Three clusters; dimension 3 is dead."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(len(CLASSES), WIDTH)) * 4
    made = centres[np.arange(rows) % len(CLASSES)] + random.normal(size=(rows, WIDTH))
    made[:, 3] = 0.5
    return made.astype(np.float32)


def dataset(
    path: Path,
    rows: int = 60,
    *,
    ids: str = "pseudonym",
    classes: tuple[str, ...] = CLASSES,
    **about: Any,
) -> Path:
    """A file of these vectors; ids are called `ids`."""
    numbers = np.arange(rows)
    declared = {
        "targets": {
            "label": {"kind": "category", "classes": list(classes)},
            "age": {"kind": "regression", "unit": "years"},
        },
        "record": {"split": "split", "group": "group"},
        "privacy": {"ids": ids},
        **about,
    }
    columns = {
        "label": numbers % len(classes),
        "age": (numbers * 1.5).astype(np.float32),
        "split": ["test" if number // 2 % 5 == 4 else "train" for number in numbers.tolist()],
        "group": [f"somebody{number // 2:020d}" for number in numbers.tolist()],
    }
    with Writer(path, declared) as writer:
        writer.write(
            ids=[f"{number:08d}whichisapseudonym" for number in numbers.tolist()],
            vectors={"feature": vectors(rows)},
            columns=columns,
        )
    return path
