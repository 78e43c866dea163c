"""A text that disturbs a terminal, and a dataset that is full of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dof_arrow.format.writer import Writer

# Moves the cursor, begins lines of its own, turns the direction of writing, rings the bell.
HOSTILE = "\x1b[2J\nlicence  CC0-1.0\r\x9b2K\u202etxt\u2066\u200f\u2028\u2029\x85\x07\x7f\t"
SHOWN = r"\x1b[2J\nlicence  CC0-1.0\r\x9b2K\u202etxt\u2066\u200f\u2028\u2029\x85\x07\x7f\t"


def described(path: Path, text: str, **info: str) -> Path:
    """A dataset with this text in its title, licence, classes, splits, columns and ids."""
    about = {
        "info": {"title": text, "license": text, **info},
        "targets": {"label": {"kind": "category", "classes": ["cat", f"dog{text}"]}},
        "record": {"split": "split"},
    }
    rows = 60
    numbers = np.arange(rows)
    columns = {
        "label": numbers % 2,
        "split": ["train"] * 40 + [f"mine{text}"] * 5 + ["test"] * 15,
        f"sex{text}": [f"f{text}", "m"] * 30,
    }
    features = np.random.default_rng(0).random((rows, 8), np.float32)
    with Writer(path, about) as writer:
        writer.write(
            ids=[f"{row}{text}" for row in range(rows)],
            vectors={"feature": features},
            columns=columns,
        )
    return path
