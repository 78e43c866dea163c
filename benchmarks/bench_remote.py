"""A shuffled epoch over a store 20 ms away, against plain downloads (`docs/scale.md`).

`python -m benchmarks.bench_remote [MB]` starts the tests' web server in a process of its own, once as
fast as it can and once paced to 1 Gbit a second, and reads a file of so many MB: by one connection,
by ranges of 8 MiB of which 32 are asked for at a time, and as shuffled batches.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import dof_arrow as dof
from benchmarks.measure import keep
from dof_arrow.format.writer import Writer
from dof_arrow.storage.addresses import Address
from dof_arrow.storage.remote import RemoteObject

WIDTH, AT_ONCE = 512, 20_000
LATENCY = 0.02  # seconds
GIGABIT = 125e6  # bytes a second
RUNS = 3


def write(path: Path, rows: int) -> Path:
    """A file of random vectors of 2 kB."""
    random = np.random.default_rng(0)
    with Writer(path) as writer:
        for start in range(0, rows, AT_ONCE):
            stop = min(start + AT_ONCE, rows)
            writer.write(
                ids=[f"r{row:09d}" for row in range(start, stop)],
                vectors={"feature": random.random((stop - start, WIDTH), np.float32)},
            )
    return path


def _serve(path: str, rate: float, told: Any) -> None:
    from tests.support.range_server import RangeServer

    server = RangeServer({"/x.parquet": Path(path).read_bytes()}, latency=LATENCY, rate=rate)
    with server.serving() as address:
        told.send(f"{address}/x.parquet")
        told.recv()


@contextmanager
def serving(path: Path, rate: float = 0.0) -> Iterator[str]:
    """The address of a file on a server of another process, whose work is not the reader's."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(str(path), rate, there)
    )
    process.start()
    yield here.recv()
    here.send("end")
    process.join()


def by_one_connection(address: str) -> int:
    """The bytes of a file, downloaded as a whole."""
    size = 0
    with urllib.request.urlopen(address) as answer:
        while piece := answer.read(1 << 20):
            size += len(piece)
    return size


def by_ranges(address: str) -> int:
    """The bytes of a file, asked for in ranges, 64 MiB at a time."""
    source = RemoteObject(Address(address), 1 << 16)
    size = 0
    for start in range(0, source.size, 64 << 20):
        (data,) = source.read([(start, min(start + (64 << 20), source.size))])
        size += len(data)
    return size


def by_epoch(address: str) -> int:
    """The bytes of all rows, as shuffled batches."""
    batches = dof.open(address).loader(batch_size=1024, shuffle=True)
    return sum(batch.nbytes for batch in batches)


def speeds(address: str) -> dict[str, float]:
    """MB a second of each way, the best of some runs in turn: others slow a machine, none speeds it."""
    ways: dict[str, Callable[[str], int]] = {
        "one connection": by_one_connection,
        "ranges": by_ranges,
        "shuffled epoch": by_epoch,
    }
    best = dict.fromkeys(ways, 0.0)
    for _ in range(RUNS):
        for name, way in ways.items():
            start, spent = time.perf_counter(), time.process_time()
            size = way(address)
            taken, busy = time.perf_counter() - start, time.process_time() - spent
            print(
                f"{name}: {size / 1e6 / taken:.0f} MB/s, processor {busy / taken:.2f}", flush=True
            )
            best[name] = max(best[name], size / 1e6 / taken)
    return best


def main(megabytes: int = 1000) -> None:
    """Measure both, and keep it in `results/remote.json`."""
    os.environ["DOF_CACHE_BYTES"] = "0"  # each epoch fetches everything
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "x.parquet"), megabytes * 10**6 // (4 * WIDTH))
        found: dict[str, Any] = {"MB": megabytes, "latency, ms": LATENCY * 1e3}
        for name, rate in (("unpaced", 0.0), ("1 Gbit/s", GIGABIT)):
            with serving(path, rate) as address:
                found[name] = speeds(address)
    keep("remote", found, "obstore")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
