"""A linear head of features that do not fit into memory: time, and memory that no file backs.

`python -m benchmarks.bench_linear [--gb 10] [--width 1280] [--work FOLDER]` writes a file of that size, trains a head
with `dof train` in a process of its own, looks at that process's memory ten times a second, and removes the file.
Ten classes, 90% of the rows to learn from and 10% to be judged on. The pages of the file that are mapped count apart:
the system takes them back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.measure import keep
from dof_arrow.format.writer import Writer

PIECE = 8192  # rows made at a time
KINDS = 32  # pieces before they come again, shifted
CLASSES = 10


def pieces(rows: int, width: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """First row, features float32 [k, width] and labels int64 [k]: clouds that overlap."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CLASSES, width), np.float32) * np.float32(1.5 / width**0.5)
    scale = random.uniform(0.2, 5, width).astype(np.float32)
    noise = [random.standard_normal((PIECE, width), np.float32) for _ in range(KINDS)]
    for start in range(0, rows, PIECE):
        y = random.integers(CLASSES, size=PIECE)
        kind = noise[start // PIECE % KINDS]
        x = (np.roll(kind, start // PIECE, axis=1) + centres[y]) * scale
        yield start, x[: rows - start], y[: rows - start]


def write(path: Path, rows: int, width: int) -> None:
    names = [f"c{number}" for number in range(CLASSES)]
    about = {
        "targets": {"label": {"kind": "category", "classes": names}},
        "record": {"split": "split"},
    }
    with Writer(path, about, overwrite=True) as writer:
        for start, x, y in pieces(rows, width):
            ids = [f"{number:012d}" for number in range(start, start + len(x))]
            split = ["test" if number % 10 == 0 else "train" for number in range(len(x))]
            columns = {"label": y, "split": pa.array(split).dictionary_encode()}
            writer.write(ids=ids, vectors={"feature": x}, columns=columns)


def watched(command: list[str]) -> dict[str, Any]:
    """Run a command; its seconds, and the most of its memory, in MB, by kind."""
    start = time.perf_counter()
    most = {"RssAnon": 0, "RssFile": 0}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        while running.poll() is None:
            for kind, found in _memory(running.pid):
                most[kind] = max(most[kind], found)
            time.sleep(0.1)
        assert running.stdout is not None
        said = json.loads(running.stdout.read())
    assert running.returncode == 0
    return {
        "seconds": time.perf_counter() - start,
        "own_memory_mb": most["RssAnon"] / 1e6,
        "mapped_mb": most["RssFile"] / 1e6,
        "score": said["score"],
        "warnings": said["warnings"],
    }


def _memory(process: int) -> Iterator[tuple[str, int]]:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        kind, _, rest = line.partition(":")
        if kind in ("RssAnon", "RssFile"):
            yield kind, int(rest.split()[0]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=10)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    rows = int(given.gb * 1e9 / 4 / given.width)
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        path = Path(work) / "large.dof.parquet"
        write(path, rows, given.width)
        head = str(Path(work) / "head.onnx")
        train = ["train", str(path), "-o", head, "--json", "--quiet"]
        found = watched([sys.executable, "-m", "dof_arrow", *train])
    found |= {"rows": rows, "width": given.width, "gb": given.gb}
    print(found)
    keep("linear", found, "scipy", "scikit-learn")


if __name__ == "__main__":
    main()
