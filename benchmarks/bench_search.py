"""Nearest rows and all pairs, against the bare matrix products that any exact search needs.

OPENBLAS_NUM_THREADS=1 makes the processor seconds those of the work alone: a thread that waits for another spins.

`python -m benchmarks.bench_search [--work FOLDER] [--share 1]` writes files of random features, 2.8 GB of them, and removes
them; `--share 0.1` takes a tenth of the rows. One query on 100,000 x 384, 256 queries on 1,000,000 x 512, and all pairs of
60,000 x 1,280. The products are those of numpy over the same map, in blocks where the whole would not fit.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import in_turn, keep
from dof_arrow.dataset import dataset
from dof_arrow.dataset.duplicates import duplicates
from dof_arrow.format.writer import Writer

PIECE = 8192  # rows made, and multiplied, at a time
K = 10


def processor(action: Callable[[], Any], runs: int) -> float:
    """The least processor seconds of all threads that an action takes; a busy machine does not count."""
    taken = []
    for _ in range(runs):
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return min(taken)


def write(path: Path, rows: int, width: int) -> dataset.Dataset:
    """Features as a ReLU leaves them, around a hundred centres."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((100, width), np.float32)
    with Writer(path, overwrite=True) as writer:
        for start in range(0, rows, PIECE):
            count = min(PIECE, rows - start)
            x = centres[random.integers(100, size=count)] + random.standard_normal(
                (count, width), np.float32
            )
            ids = [f"{number:08d}" for number in range(start, start + count)]
            writer.write(ids=ids, vectors={"feature": np.maximum(x, 0)})
    return dataset.open(path)


def products(x: np.ndarray, queries: np.ndarray) -> None:
    for start in range(0, len(x), PIECE):
        x[start : start + PIECE] @ queries


def triangle(x: np.ndarray) -> None:
    """The products of all pairs of blocks, each once."""
    step = 2048
    for start in range(0, len(x), step):
        block = x[start : start + step]
        for other in range(start, len(x), step):
            block @ x[other : other + step].T


def peak(action: Callable[[], Any]) -> float:
    """MB that an action allocates at most at a time, by Python's own count; BLAS's buffers count apart."""
    tracemalloc.start()
    action()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 1e6


def searched(path: Path, rows: int, width: int, queries: int, runs: int) -> dict[str, Any]:
    ds = write(path, rows, width)
    x = ds.to_numpy()
    random = np.random.default_rng(1)
    vectors = x[random.integers(rows, size=queries)] + random.standard_normal(
        (queries, width), np.float32
    )
    turned = np.ascontiguousarray(vectors.T)
    actions: dict[str, Callable[[], Any]] = {"product": lambda: products(x, turned)}
    for metric in ("cosine", "l2", "dot"):
        actions[metric] = lambda metric=metric: ds.nearest(vectors, K, metric)
    found: dict[str, Any] = {"rows": rows, "width": width, "queries": queries}
    found["seconds"] = in_turn(actions, runs)
    found["processor"] = {name: processor(action, runs) for name, action in actions.items()}
    found["peak MB"] = peak(actions["cosine"])
    found["recall"] = recall(x, vectors[:16], ds)
    path.unlink()
    return found


def recall(x: np.ndarray, queries: np.ndarray, ds: dataset.Dataset) -> float:
    """The share of the nearest rows by float64 that are found, for some queries."""
    wanted = []
    for query in queries.astype(np.float64):
        cosines = np.concatenate(
            [_cosines(x[s : s + PIECE], query) for s in range(0, len(x), PIECE)]
        )
        wanted.append(np.lexsort((np.arange(len(x)), -cosines))[:K])
    return float((ds.nearest(queries, K).rows == np.array(wanted)).mean())


def _cosines(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return (rows * query).sum(1) / np.sqrt(np.square(rows).sum(1) * np.square(query).sum())


def compared(path: Path, rows: int, width: int) -> dict[str, Any]:
    ds = write(path, rows, width)
    x = ds.to_numpy()
    start = time.perf_counter()
    triangle(x)
    middle = time.perf_counter()
    found = duplicates(ds)
    seconds = {"product": middle - start, "duplicates": time.perf_counter() - middle}
    most = peak(lambda: duplicates(ds[: 3 * PIECE]))  # all blocks are of one size
    path.unlink()
    return {
        "rows": rows,
        "width": width,
        "pairs alike": found.pairs,
        "seconds": seconds,
        "peak MB": most,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--share", type=float, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        path = Path(work) / "x.dof.parquet"
        found = {
            "one": searched(path, int(100_000 * given.share), 384, 1, 9),
            "many": searched(path, int(1_000_000 * given.share), 512, 256, 3),
            "pairs": compared(path, int(60_000 * given.share), 1280),
        }
    print(found)
    if given.share == 1:
        keep("search", found)


if __name__ == "__main__":
    main()
