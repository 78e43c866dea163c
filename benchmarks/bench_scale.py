"""A billion rows in 10,000 parts: opened here and 20 ms away, and an epoch planned (`docs/scale.md`).

`python -m benchmarks.bench_scale` writes the manifest alone; no part of such a dataset is there.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

import dof_arrow as dof
from benchmarks.measure import keep
from dof_arrow.format.append import _Manifest
from dof_arrow.format.directory import MANIFEST
from dof_arrow.format.file import File
from dof_arrow.format.writer import Writer
from dof_arrow.sampling.blocks import Runs
from dof_arrow.sampling.plan import Plan, shares
from dof_arrow.sampling.samplers import Every
from tests.support.range_server import RangeServer

PARTS, ROWS = 10_000, 100_000  # in each part
WIDTH, GROUP = 512, 32_768  # rows of 2 kB, row groups of 64 MiB
BATCH, WINDOW = 4096, 2
LATENCY = 0.02  # seconds
RUNS = 5


class Said:
    """A part that is not there: what a manifest says of it, and the metadata of a file like it."""

    def __init__(self, like: File, number: int) -> None:
        self.path = Path(f"data-{number:06d}.parquet")
        self.rows = ROWS
        self.size = ROWS * WIDTH * 4
        self.seal = hashlib.sha256(str(number).encode()).hexdigest()
        self.json = like.json
        self.schema = like.schema
        self.metadata = like.metadata


def manifest(folder: Path) -> Path:
    """A directory whose manifest lists all parts."""
    with Writer(folder / "like.parquet", part=True) as writer:
        writer.write(ids=["a"], vectors={"feature": np.zeros((1, WIDTH), np.float32)})
    like = File(folder / "like.parquet")
    out = folder / "billion.dof"
    out.mkdir()
    parts: Any = [Said(like, number) for number in range(PARTS)]
    uuids = [like.json["uuid"]] * PARTS
    _Manifest(None, parts, uuids, None).write(out, out)
    return out


def seconds(path: Any) -> float:
    """To open a dataset and to know its rows; the median."""
    taken = []
    for _ in range(RUNS):
        start = time.perf_counter()
        assert len(dof.open(path)) == PARTS * ROWS
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def opened(folder: Path) -> dict[str, Any]:
    """Seconds, requests and bytes of opening, on the disk and afar."""
    path = manifest(folder)
    found: dict[str, Any] = {"manifest, bytes": (path / MANIFEST).stat().st_size}
    found["on the disk, s"] = seconds(path)
    files = {f"/x.dof/{MANIFEST}": (path / MANIFEST).read_bytes()}
    server = RangeServer(files, latency=LATENCY)
    with server.serving() as address:
        found["afar, s"] = seconds(f"{address}/x.dof")
    found["requests"] = len(server.requests) / RUNS
    found["bytes fetched"] = server.given / RUNS
    return found


def planned() -> dict[str, Any]:
    """Seconds and memory of an epoch's plan, and how even it is."""
    from scipy import stats

    total = PARTS * ROWS
    groups = [min(GROUP, ROWS - start) for start in range(0, ROWS, GROUP)]
    start = time.perf_counter()
    plan = Plan(
        draw=Every(total), shuffle=True, blocks=Runs.of_sizes(groups * PARTS), window=WINDOW
    )
    order = plan.block_order(0)
    first = plan.rows(0, np.arange(BATCH))
    found = {
        "blocks": len(order),
        "first batch, s": time.perf_counter() - start,
    }
    assert len(np.unique(first)) == BATCH
    positions = np.random.default_rng(0).choice(total, 1_000_000)
    counts = np.bincount(plan.rows(0, positions) // (total // 1000), minlength=1000)
    found["chi-square, p"] = float(stats.chisquare(counts).pvalue)
    share = next(shares(total, 7 * total // 10, batch_size=BATCH))
    start = time.perf_counter()
    again = Plan(
        draw=Every(total), shuffle=True, blocks=Runs.of_sizes(groups * PARTS), window=WINDOW
    )
    rows = again.rows(0, np.arange(share.start, share.stop))
    found["resumed, s"] = time.perf_counter() - start
    assert np.array_equal(rows, plan.rows(0, np.arange(share.start, share.stop)))
    start = time.perf_counter()
    for place in range(0, 100 * BATCH, BATCH):
        plan.rows(0, np.arange(place, place + BATCH))
    found["rows planned a second"] = 100 * BATCH / (time.perf_counter() - start)
    tracemalloc.start()
    plan = Plan(
        draw=Every(total), shuffle=True, blocks=Runs.of_sizes(groups * PARTS), window=WINDOW
    )
    plan.rows(0, np.arange(BATCH))
    found["memory, MB"] = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return found


def main() -> None:
    """Measure all, and keep it in `results/scale.json`."""
    with tempfile.TemporaryDirectory() as name:
        found = {"opened": opened(Path(name)), "planned": planned()}
    print(found)
    keep("scale", found, "obstore")


if __name__ == "__main__":
    main()
