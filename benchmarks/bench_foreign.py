"""Files of TRIDENT, CLAM and STAMP made one: the rate against reading, hashing and writing, and a bag's reading.

`python -m benchmarks.bench_foreign --files 1000 --rows 200 --width 768`. The files are synthetic, made by the programs'
published descriptions (`tests/support/foreign_bags.py`). The page cache is warm for both sides, which is kind to HDF5.
Each side begins by removing what it wrote the last time: memory that was free for long costs a virtual machine more than
memory that was freed just now, and a script that writes over its file gets the latter.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import dof_arrow as dof
from benchmarks.measure import in_turn, keep, ratio
from tests.support import foreign_bags

KEY = bytes(32)
_BAGS = 100  # that are read, drawn by a seed
_NAMES = ("features", "feats")


def run(files: int, rows: int, width: int, runs: int, layouts: Sequence[str]) -> dict[str, Any]:
    """Seconds and ratios of each layout."""
    return {layout: _one(layout, files, rows, width, runs) for layout in layouts}


def _one(layout: str, files: int, rows: int, width: int, runs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source = foreign_bags.folder(layout, Path(folder, "in"), files, rows, width)
        paths = sorted(source.glob("*.h5"))
        size = sum(path.stat().st_size for path in paths)
        out = Path(folder, "x.parquet")
        copying = in_turn(
            {
                "h5py, SHA-256, write": lambda: _copied(paths, Path(folder, "copy.bin")),
                "dof convert": lambda: _converted(source, out),
            },
            runs,
            warm=0,
        )
        reading = _reading(paths, out)
    return {
        "files": files,
        "bytes": size,
        "convert_seconds": copying,
        "convert_rate_over_h5py": ratio(copying, "dof convert", "h5py, SHA-256, write"),
        "read_seconds_of_bags": reading,
        "bags_read": _BAGS,
        "read_over_h5py": ratio(reading, "dof, at hand", "h5py, at hand"),
        "read_and_summed_over_h5py": ratio(reading, "dof, summed", "h5py, summed"),
    }


def _copied(paths: Sequence[Path], out: Path) -> None:
    import h5py

    out.unlink(missing_ok=True)
    digest = hashlib.sha256()
    with out.open("wb") as sink:
        for path in paths:
            with h5py.File(path, "r") as file:
                for name in file:
                    values = np.ascontiguousarray(file[name][...])
                    digest.update(values)
                    sink.write(memoryview(values).cast("B"))
        sink.flush()
        os.fsync(sink.fileno())


def _converted(source: Path, out: Path) -> None:
    out.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dof.convert(source, out, id_key=KEY)


def _reading(paths: Sequence[Path], out: Path) -> dict[str, dict[str, float]]:
    import h5py

    drawn = random.Random(0).sample(list(paths), min(_BAGS, len(paths)))
    bags = dof.open(out).bags()
    names = random.Random(1).sample(list(bags), len(drawn))

    def by_h5py(use: Any) -> None:
        for path in drawn:
            with h5py.File(path, "r") as file:
                name = next(name for name in _NAMES if name in file)
                use(file[name][...])

    def by_dof(use: Any) -> None:
        for name in names:
            use(bags[name].to_numpy())

    return in_turn(
        {
            "h5py, at hand": lambda: by_h5py(len),
            "dof, at hand": lambda: by_dof(len),
            "h5py, summed": lambda: by_h5py(np.sum),
            "dof, summed": lambda: by_dof(np.sum),
        },
        runs=3,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--layouts", nargs="*", default=foreign_bags.LAYOUTS)
    given = vars(parser.parse_args())
    keep("foreign", run(**given), "h5py")
