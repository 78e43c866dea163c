"""Reading: shuffled and sequential epochs, first batches, balanced tensors and memory, side by side with others.

All files are in the page cache: what is measured is the way from there to a contiguous float32 batch. What favours
us: a second thread, where `memmap[indices]` uses one (`dof, no threads` shows the rest), and a machine whose cores are
idle. What does not: rivals that only index get no labels, no balance, no resume. A rival slower than
`SECONDS` an epoch is stopped there and its rate is taken from what it read.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.measure import in_turn, keep, ratio
from benchmarks.rivals.readers import memmap, mosaic, present, sequential_memmap

SECONDS = 3.0
PAIRS = 8  # of files, each in a process of its own
_FIRST = 256  # rows of a first batch
Measure = Callable[[Path, int, int, int], dict[str, Any]]

_MEMORY = """
import sys
sys.path.insert(0, sys.argv[3])
from benchmarks.measure import anonymous_memory
import dof_arrow as dof, numpy, pyarrow, pyarrow.parquet, dof_arrow.loader.loader, dof_arrow.dataset.dataset
before, most = anonymous_memory(), 0
options = {"target": "label"} | ({"balance": "label"} if sys.argv[2] == "balanced" else {})
for number, (x, y) in enumerate(dof.open(sys.argv[1]).loader(shuffle=True, **options)):
    if number % 200 == 0:
        most = max(most, anonymous_memory())
print(max(most, anonymous_memory()) - before)
"""


def drained(batches: Iterator[Any]) -> int:
    """All batches taken, and dropped."""
    return sum(1 for _ in batches)


def anew(
    measure: Measure, folder: Path, rows: int, width: int, batch: int, runs: int
) -> dict[str, Any]:
    """Medians over several processes, each with files written anew, ours first every other time.

    Where in memory the pages of a file and of a process come to lie decides as much as how they are read, and stays as
    it is: one process tells nothing.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        rounds = [
            pool.submit(_pair, measure, number, folder, rows, width, batch, runs).result()
            for number in range(PAIRS)
        ]
    milliseconds = [
        {name: each["median"] * 1e3 for name, each in r.pop("seconds").items()} for r in rounds
    ]
    return {
        "milliseconds": _medians(milliseconds),
        **{key: _medians([r[key] for r in rounds]) for key in rounds[0]},
        "all": {
            key: {name: sorted(r[key][name] for r in rounds) for name in rounds[0][key]}
            for key in rounds[0]
        },
    }


def _pair(
    measure: Measure, number: int, folder: Path, rows: int, width: int, batch: int, runs: int
) -> dict[str, Any]:
    writers = (data.write_dof, folder / "x.dof.parquet"), (data.write_npy, folder / "x.npy")
    for write, path in writers[:: -1 if number % 2 else 1]:
        path.unlink(missing_ok=True)
        write(path, rows, width)
    return measure(folder, rows, batch, runs)


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def shuffled(folder: Path, rows: int, batch: int, runs: int) -> dict[str, Any]:
    """One shuffled epoch of contiguous batches, opening included; `kept`: of a dataset that stays open."""
    import dof_arrow as dof

    path, npy = folder / "x.dof.parquet", folder / "x.npy"
    seeds = iter(range(10**9))
    plain = dof.open(path).loader(batch_size=batch, shuffle=True)
    alone = dof.open(path).loader(batch_size=batch, shuffle=True, workers=0)
    labelled = dof.open(path).loader(batch_size=batch, shuffle=True, target="label")
    held = np.load(npy, mmap_mode="r")

    def opened(**options: Any) -> Callable[[], int]:
        return lambda: drained(
            iter(dof.open(path).loader(batch_size=batch, shuffle=True, seed=next(seeds), **options))
        )

    def indexed() -> int:
        chosen = np.random.default_rng(next(seeds)).permutation(rows)
        return drained(held[chosen[i : i + batch]] for i in range(0, rows, batch))

    seconds = in_turn(
        {
            "numpy memmap": lambda: drained(memmap(npy, rows, batch, next(seeds))),
            "numpy memmap, kept": indexed,
            "dof": opened(),
            "dof, with labels": opened(target="label"),
            "dof, no threads": opened(workers=0),
            "dof, kept": lambda: drained(iter(plain)),
            "dof, kept, with labels": lambda: drained(iter(labelled)),
            "dof, kept, no threads": lambda: drained(iter(alone)),
        },
        runs,
    )
    ours = [name for name in seconds if name.startswith("dof")]
    return {
        "seconds": seconds,
        "against_memmap": {name: ratio(seconds, name, "numpy memmap") for name in ours},
        "against_kept_memmap": {name: ratio(seconds, name, "numpy memmap, kept") for name in ours},
    }


def sequential(folder: Path, rows: int, batch: int, runs: int) -> dict[str, Any]:
    """One epoch in order, every number read once; and without reading them, where both only make views."""
    import dof_arrow as dof

    path, npy = folder / "x.dof.parquet", folder / "x.npy"
    kept = dof.open(path).loader(batch_size=batch)

    def read(batches: Iterator[np.ndarray]) -> None:
        for x in batches:
            np.add.reduce(x, axis=None)

    seconds = in_turn(
        {
            "numpy memmap": lambda: read(sequential_memmap(npy, rows, batch)),
            "dof": lambda: read(iter(dof.open(path).loader(batch_size=batch))),
            "dof, kept": lambda: read(iter(kept)),
            "numpy memmap, not read": lambda: drained(sequential_memmap(npy, rows, batch)),
            "dof, not read": lambda: drained(iter(dof.open(path).loader(batch_size=batch))),
        },
        runs,
    )
    against = {name: ratio(seconds, name, "numpy memmap") for name in ("dof", "dof, kept")}
    return {
        "seconds": seconds,
        "against_memmap": against
        | {"dof, not read": ratio(seconds, "dof, not read", "numpy memmap, not read")},
    }


def first_batch(path: Path, npy: Path, rows: int, batch: int, runs: int) -> dict[str, Any]:
    """Opening and one shuffled batch, the same one each time: of 10 GB not all stays in the page cache."""
    import dof_arrow as dof

    some = np.random.default_rng(0).integers(0, rows, batch)
    seconds = in_turn(
        {
            "numpy memmap, rows known": lambda: np.load(npy, mmap_mode="r")[some],
            "numpy memmap, permutation": lambda: next(memmap(npy, rows, batch, 0)),
            "dof": lambda: next(
                iter(dof.open(path).loader(batch_size=batch, shuffle=True, seed=0))
            ),
            "dof, with labels": lambda: next(
                iter(dof.open(path).loader(batch_size=batch, shuffle=True, seed=0, target="label"))
            ),
            "dof.open": lambda: dof.open(path),
            "dof.open, mapped": lambda: dof.open(path).to_numpy(),
        },
        runs,
    )
    return {
        "rows": rows,
        "seconds": seconds,
        "over_memmap": 1 / ratio(seconds, "dof", "numpy memmap, rows known"),
    }


def tensors(folder: Path, rows: int, width: int, batch: int, runs: int) -> dict[str, Any]:
    """Epochs of (torch tensor, label) with balancing, against indexing tensors in RAM, per row drawn."""
    import torch

    import dof_arrow as dof

    x, y = map(torch.from_numpy, data.whole(rows, width))
    loader = dof.open(folder / "x.dof.parquet").loader(
        batch_size=batch, shuffle=True, target="label", balance="label"
    )
    batches = loader.to_torch()

    def indexed() -> None:
        chosen = torch.randperm(rows)
        for i in range(0, rows, batch):
            x[chosen[i : i + batch]], y[chosen[i : i + batch]]

    seconds = in_turn(
        {"torch tensor in RAM": indexed, "dof, balanced": lambda: drained(iter(batches))}, runs
    )
    rates = {
        "torch tensor in RAM": rows / seconds["torch tensor in RAM"]["median"],
        "dof, balanced": loader.plan.length / seconds["dof, balanced"]["median"],
    }
    return {
        "seconds": seconds,
        "rows_per_second": rates,
        "against_ram": rates["dof, balanced"] / rates["torch tensor in RAM"],
    }


def rivals(folder: Path, rows: int, width: int, batch: int) -> dict[str, Any]:
    """Rows a second of a shuffled epoch, and the first batch, of each rival that is installed and of ours.

    Each file is written just before it is read: one that lies idle for a minute may partly leave the page cache, and
    what comes back into it by random reads comes in smaller pieces, which cost half as much again to map.
    """
    x, y = data.whole(rows, width)
    found: dict[str, Any] = {}
    for name, rival in present().items():
        path = rival.write(folder, x, y)
        found[name] = _rates(lambda seed, r=rival, p=path: r.batches(p, rows, batch, seed))
    for result in found.values():
        result["dof_is_faster"] = found["dof"]["rows_per_second"] / result["rows_per_second"]
    return found


def large(
    path: Path, npy: Path, rows: int, batches: tuple[int, ...], turns: int = 2
) -> dict[int, Any]:
    """Rows a second of shuffled batches from files that hardly fit into memory together, SECONDS of them at a time.

    Each file is read through before its turn, so that it is what lies in the page cache.
    """
    import dof_arrow as dof

    def ours(batch: int, seed: int) -> Iterator[Any]:
        return iter(dof.open(path).loader(batch_size=batch, shuffle=True, seed=seed))

    readers = {
        "numpy memmap": (npy, lambda batch, seed: memmap(npy, rows, batch, seed)),
        "dof": (path, ours),
    }
    rates: dict[int, dict[str, list[float]]] = {
        batch: {name: [] for name in readers} for batch in batches
    }
    for _ in range(turns):
        for name, (file, read) in readers.items():
            _read_through(file)
            for batch in batches:
                rates[batch][name].append(_rates(partial(read, batch), 1)["rows_per_second"])
    return {batch: _compared(found) for batch, found in rates.items()}


def _compared(rates: Mapping[str, list[float]]) -> dict[str, Any]:
    median = {name: float(np.median(found)) for name, found in rates.items()}
    return {"rows_per_second": median, "against_memmap": median["dof"] / median["numpy memmap"]}


def _read_through(path: Path) -> None:
    piece = bytearray(8 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass


def _rates(epoch: Callable[[int], Iterator[Any]], runs: int = 3) -> dict[str, float]:
    """The median over runs of rows a second, each at most SECONDS, and of the time to the first batch."""
    rates, firsts = [], []
    for seed in range(runs + 1):
        start, seen = time.perf_counter(), 0
        first = 0.0
        for x in epoch(seed):
            seen += len(x)
            first = first or time.perf_counter() - start
            if time.perf_counter() - start > SECONDS:
                break
        rates.append(seen / (time.perf_counter() - start))
        firsts.append(first)
    return {
        "rows_per_second": float(np.median(rates[1:])),
        "first_batch_seconds": float(np.median(firsts[1:])),
    }


def memory(path: Path) -> dict[str, int]:
    """Bytes of private memory that an epoch takes above the process after its imports."""
    root = str(Path(__file__).resolve().parents[1])

    def epoch(how: str) -> int:
        return int(
            subprocess.run(
                [sys.executable, "-c", _MEMORY, str(path), how, root],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )

    return {
        "file_bytes": path.stat().st_size,
        "plain": epoch("plain"),
        "balanced": epoch("balanced"),
    }


def run(
    rows: int, width: int, batches: tuple[int, ...], runs: int, big: int, mds: str | None
) -> dict[str, Any]:
    """All of it; `big` rows for the large file, 0 for none."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = data.write_dof(folder / "x.dof.parquet", rows, width)
        npy = data.write_npy(folder / "x.npy", rows, width)
        result: dict[str, Any] = {
            "rows": rows,
            "width": width,
            "bytes": rows * width * 4,
            "by_batch": {},
        }
        for batch in batches:
            result["by_batch"][batch] = {
                "shuffled": anew(shuffled, folder, rows, width, batch, runs),
                "sequential": anew(sequential, folder, rows, width, batch, runs),
                "tensors": tensors(folder, rows, width, batch, runs),
                "rivals": rivals(folder, rows, width, batch),
            }
            if mds:
                found = result["by_batch"][batch]["rivals"]
                found["MDS"] = mosaic(mds, rows, width, batch, SECONDS, folder / str(batch))
        result["first_batch"] = [first_batch(small, npy, rows, _FIRST, 3 * runs)]
        result["memory"] = [memory(small)]
        if big:
            small.unlink(), npy.unlink()
            path = data.write_dof(folder / "l.dof.parquet", big, width)
            npy = data.write_npy(folder / "l.npy", big, width)
            result["first_batch"].append(first_batch(path, npy, big, _FIRST, 3 * runs))
            result["large"] = large(path, npy, big, batches)
            result["memory"].append(memory(path))
    return result


def _libraries() -> Mapping[str, None]:
    return dict.fromkeys(
        r.library for r in present().values() if r.library not in ("numpy", "pyarrow")
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument(
        "--batch", type=int, nargs="*", default=[256, 4096], help="none: without epochs"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--big", type=int, default=5_000_000, help="rows of the large file; 0: none"
    )
    parser.add_argument(
        "--mds", help="a Python with mosaicml-streaming, which cannot share an environment"
    )
    parser.add_argument("--name", default="read", help="of the result's file")
    asked = parser.parse_args()
    keep(
        asked.name,
        run(asked.rows, asked.width, tuple(asked.batch), asked.runs, asked.big, asked.mds),
        *_libraries(),
        "torch",
    )
