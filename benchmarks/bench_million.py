"""Extraction from a million listed inputs: seconds from the call to the first batch, and the memory it takes.

Each kind of list in a process of its own, the core loaded before, the run stopped after its first blocks. Pictures are
tiny, 4 x 4, so that a million of them can be made; of the table's only the first are there, for the others are not
come to. Left out: the time to walk a folder of a million files, which is the filesystem's affair.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks.measure import anonymous_memory, keep

ROWS, STOP, THERE = 1_000_000, 4096, 8192
HEAD = b"P6 4 4 255 "


def parquet(folder: Path, rows: int) -> dict[str, Any]:
    """A Parquet file with the pictures, their labels and patients in it."""
    path = folder / "pictures.parquet"
    bodies = np.random.default_rng(0).integers(0, 256, (rows, 48), np.uint8)
    files = np.concatenate(
        [np.broadcast_to(np.frombuffer(HEAD, np.uint8), (rows, len(HEAD))), bodies], axis=1
    )
    binary = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(files.shape[1]), rows, [None, pa.py_buffer(files.copy())]
    )
    pq.write_table(
        pa.table({**_columns(rows), "image": binary.cast(pa.binary())}), path, row_group_size=10_000
    )
    return {"source": path, "pictures": "image", "label": "finding", "group": "patient"}


def table(folder: Path, rows: int) -> dict[str, Any]:
    """A CSV table of names beside a folder."""
    pyarrow.csv.write_csv(pa.table(_columns(rows)), folder / "table.csv")
    (folder / "pictures").mkdir()
    for number in range(min(rows, THERE)):
        (folder / "pictures" / f"{number:07d}.ppm").write_bytes(HEAD + bytes(48))
    return {
        "source": folder / "pictures",
        "table": folder / "table.csv",
        "key": "file",
        "label": "finding",
        "group": "patient",
    }


def array(folder: Path, rows: int) -> dict[str, Any]:
    """One .npy array of pictures."""
    np.save(
        folder / "pictures.npy",
        np.random.default_rng(0).integers(0, 256, (rows, 4, 4, 3), np.uint8),
    )
    return {"source": folder / "pictures.npy"}


KINDS = {"Parquet file": parquet, "CSV beside a folder": table, "array": array}


def _columns(rows: int) -> dict[str, Any]:
    numbers = range(rows)
    return {
        "file": [f"{i:07d}.ppm" for i in numbers],
        "finding": ["flu" if i % 3 else "cold" for i in numbers],
        "patient": [f"p{i // 5}" for i in numbers],
    }


class Peak(threading.Thread):
    """The most private memory that this process has while the block runs, looked at every few milliseconds."""

    def __enter__(self) -> Peak:
        self.bytes, self._end = 0, threading.Event()
        self.start()
        return self

    def run(self) -> None:
        while not self._end.wait(0.005):
            self.bytes = max(self.bytes, anonymous_memory())

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()


def first_batch(asked: dict[str, Any], folder: Path) -> dict[str, float]:
    """Seconds of the clock and of the processor to the first batch; MB at the peak, above those before the call."""
    from dof_arrow.cores import builtin
    from dof_arrow.extraction.extract import extract

    pa.array([0])  # pyarrow loads pandas where it is installed, once a process
    core, found = builtin.load(), dict[str, float]()
    before, start, used = anonymous_memory(), time.perf_counter(), time.process_time()

    def progress(done: int, total: int, failed: int) -> None:
        if done and not found:
            found.update(
                {
                    "seconds": time.perf_counter() - start,
                    "processor seconds": time.process_time() - used,
                }
            )
        if done >= min(STOP, total):
            raise KeyboardInterrupt

    with Peak() as peak, suppress(KeyboardInterrupt):
        extract(
            **asked, core=core, out=folder / "x.dof.parquet", id_key=bytes(32), progress=progress
        )
    return {**found, "peak MB above": (peak.bytes - before) / 1e6}


def run(rows: int) -> dict[str, Any]:
    """All kinds, each in a process of its own."""
    found = {}
    for kind, make in KINDS.items():
        with tempfile.TemporaryDirectory() as name:
            asked = {key: str(value) for key, value in make(Path(name), rows).items()}
            command = [
                sys.executable,
                "-m",
                "benchmarks.bench_million",
                "--asked",
                json.dumps(asked),
                "--folder",
                name,
            ]
            found[kind] = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout
            )
        print(f"{kind}, {rows:,} inputs: {found[kind]}", flush=True)
    return {"inputs": rows, "kinds": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--asked", type=json.loads)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.asked:
        print(json.dumps(first_batch(given.asked, given.folder)))
    else:
        keep("million", run(given.rows), "onnxruntime")


if __name__ == "__main__":
    main()
