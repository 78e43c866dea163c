"""A directory of many parts: filtered, read by row, appended to (`benchmarks.tables` shows it).

`python -m benchmarks.bench_directory` makes 200, 1,500 and 5,000 small parts in a temporary folder.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars
import pyarrow.compute as pc

import dof_arrow as dof
from benchmarks.measure import keep
from dof_arrow.format.append import growing
from dof_arrow.format.writer import Writer

_COLUMNS = ("id", "age", "month", "label", "site")
_CONDITIONS = {
    "one month": (pc.field("month") == 150, polars.col("month") == 150),
    "age over 90": (pc.field("age") > 90, polars.col("age") > 90),
    "one class": (pc.field("label") == "b", polars.col("label") == "b"),
    "one site": (pc.field("site") == "site3", polars.col("site") == "site3"),
}


def _part(path: Path, number: int, rows: int, width: int = 64) -> Path:
    random = np.random.default_rng(number)
    about = {"targets": {"label": {"kind": "category", "classes": list("abcd")}}}
    first = number * rows
    with Writer(path, about, overwrite=True, part=True) as writer:
        writer.write(
            ids=[f"r{row:08d}" for row in range(first, first + rows)],
            vectors={"feature": random.normal(size=(rows, width)).astype(np.float32)},
            columns={
                "age": random.integers(0, 100, rows).astype(np.float32),
                "month": np.full(rows, number, np.int32),
                "label": ["abcd"[code] for code in random.integers(0, 4, rows)],
                "site": [f"site{number % 7}"] * rows,
            },
        )
    return path


def _directory(out: Path, parts: int, rows: int, *, alike: bool = False) -> Path:
    """Parts of so many rows; `alike`: one part many times, which is sooner made."""
    spare = out.with_suffix(".parquet")
    # What is made here is measured by nobody, and need not outlive a power cut.
    with patch("os.fsync"), growing(out) as growth:
        for number in range(parts):
            if not number or not alike:
                _part(spare, number, rows)
            growth.add(spare, new_ids=True)
    return out


def _seconds(work: Callable[[], Any], times: int = 5) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _filters(folder: Path) -> dict[str, Any]:
    path = _directory(folder / "filtered.dof", 200, 500)
    dataset = dof.open(path)
    found = {}
    for name, (ours, theirs) in _CONDITIONS.items():
        lazy = polars.scan_parquet(path / "data-*.parquet").select(_COLUMNS).filter(theirs)
        rival = _seconds(lazy.collect)
        found[name] = {
            "first": _seconds(lambda ours=ours: dof.open(path).filter(ours)) / rival,
            "kept open": _seconds(lambda ours=ours: dataset.filter(ours)) / rival,
            "with columns": _seconds(lambda ours=ours: dataset.filter(ours).to_arrow(_COLUMNS))
            / rival,
        }
    return found


def _rows(folder: Path) -> float:
    path = _directory(folder / "rows.dof", 1500, 20, alike=True)
    dataset = dof.open(path)
    return _seconds(lambda: [dataset[row] for row in range(0, len(dataset), 7)], 1)


def _many(folder: Path) -> float:
    path = _directory(folder / "many.dof", 5000, 4, alike=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    return _seconds(lambda: dof.open(path), 1)


def _appends(folder: Path) -> dict[str, float]:
    """Milliseconds of the first and the last ten of 200 additions, of wall clock and processor."""
    parts = [_part(folder / f"{number}.parquet", number, 500) for number in range(200)]
    wall = []
    busy = []
    for part in parts:
        start, spent = time.perf_counter(), time.process_time()
        dof.append(folder / "grown.dof", part)
        wall.append(1e3 * (time.perf_counter() - start))
        busy.append(1e3 * (time.process_time() - spent))
    return {
        "first ten": statistics.median(wall[:10]),
        "last ten": statistics.median(wall[-10:]),
        "first ten, processor": statistics.median(busy[:10]),
        "last ten, processor": statistics.median(busy[-10:]),
    }


def main() -> None:
    """Measure all, and keep it in `results/directory.json`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {
            "filters against Polars": _filters(folder),
            "appends, ms": _appends(folder),
            "every 7th row of 1,500 parts, s": _rows(folder),
            "5,000 parts opened, s": _many(folder),
        }
    keep("directory", found, "polars")


if __name__ == "__main__":
    main()
