"""A label column added to a file of 100,000 x 1,024 float32, against a copy of the same file that is as durable.

Each round is a process of its own, in which a copy, `with_columns` and `dof label` follow one another. On a busy machine
the least of the rounds, and the processor's seconds, say more than the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import dof_arrow as dof
from benchmarks import data
from benchmarks.measure import keep
from dof_arrow.storage import copy
from dof_arrow.storage.atomic import replacing

WIDTH = 1024
COPY = "copy"


def prepared(folder: Path, rows: int) -> None:
    """The file, and a table of labels by id."""
    import pyarrow.csv as pc

    data.write_dof(folder / "x.dof.parquet", rows, WIDTH)
    ids = [f"{i:026d}" for i in range(rows)]
    pc.write_csv(pa.table({"id": ids, "animal": _names(rows)}), folder / "labels.csv")


def once(folder: Path, rows: int) -> dict[str, dict[str, float]]:
    """Seconds, and those of the processor, of each way."""
    source = folder / "x.dof.parquet"
    out = folder / "y.dof.parquet"
    names = _names(rows)

    def copied() -> None:
        with source.open("rb") as old, replacing(out, overwrite=True) as output:
            copy.copy(old.fileno(), output, source.stat().st_size)

    def columns() -> None:
        made = dof.open(source).with_columns({"animal": names}, targets="animal")
        dof.save(made, out, overwrite=True)

    def labelled() -> None:
        table = folder / "labels.csv"
        dof.label(source, table=table, key="id", label="animal", out=out, overwrite=True)

    ways = {COPY: copied, "with_columns": columns, "dof label": labelled}
    for way in ways.values():
        way()
    return {name: _timed(way) for name, way in ways.items()}


def _timed(way: Callable[[], None]) -> dict[str, float]:
    start = time.perf_counter()
    busy = time.process_time()
    way()
    return {"seconds": time.perf_counter() - start, "processor": time.process_time() - busy}


def _names(rows: int) -> pa.Array:
    codes = np.random.default_rng(0).integers(0, 3, rows)
    return pa.array(["cat", "dog", "owl"], pa.string()).take(pa.array(codes))


def run(rows: int, processes: int) -> dict[str, Any]:
    """Medians and least over processes, and how much each way takes beyond the copy."""
    with tempfile.TemporaryDirectory() as name:
        prepared(Path(name), rows)
        command = [sys.executable, "-m", "benchmarks.bench_label", "--one", name]
        command += ["--rows", str(rows)]
        rounds = []
        for _ in range(processes):
            done = subprocess.run(command, check=True, capture_output=True)
            rounds.append(json.loads(done.stdout.splitlines()[-1]))
    ways: dict[str, Any] = {}
    for way in rounds[0]:
        ways[way] = {}
        for figure in ("seconds", "processor"):
            every = [each[way][figure] for each in rounds]
            beyond = [each[way][figure] - each[COPY][figure] for each in rounds]
            ways[way][figure] = {
                "median": statistics.median(every),
                "least": min(every),
                "median beyond the copy": statistics.median(beyond),
                "least beyond the copy": min(beyond),
            }
    return {"rows": rows, "width": WIDTH, "processes": processes, "ways": ways}


def main() -> None:
    """Measure, and keep the result; in a child, measure once and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=7)
    parser.add_argument("--one", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(once(asked.one, asked.rows)))
        return
    keep("label", run(asked.rows, asked.processes))


if __name__ == "__main__":
    main()
