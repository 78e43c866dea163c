"""Footers written in other ways, thousands of them: none may give other data than pyarrow finds.

`python -m tests.torture.footers` writes the footers of some files of the corpus anew, with all that `tests.support.odd` knows,
in two processes, and keeps a report in `results/footers.json`.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.support.odd import LIES, compared, rewritten

HERE = Path(__file__).parent
FILES = (
    "several-groups",
    "compact-several-groups",
    "kept",
    "clips",
    "two-cores",
    "dictionary-split",
)
KINDS = ("same", "moved", *LIES)
EACH = 5000

Tried = tuple[
    list[str], dict[str, Counter[str]]
]  # files that gave other data; how often each kind was read or refused


def tried(name: str, seeds: range) -> Tried:
    """Write a file's footer anew with each of these seeds, and compare."""
    data = (HERE.parent / "conformance" / "valid" / f"{name}.parquet").read_bytes()
    wrong, told = list[str](), {kind: Counter[str]() for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.parquet")
        for seed in seeds:
            kind = KINDS[seed % len(KINDS)]
            path.write_bytes(rewritten(data, seed, kind))
            try:
                told[kind][compared(path)] += 1
            except Exception as error:
                wrong.append(f"{name} {kind} {seed}: {type(error).__name__}: {str(error)[:200]}")
    return wrong, told


def try_all(each: int = EACH, processes: int = 2) -> dict[str, Any]:
    """Try so many footers of every file; returns the report."""
    jobs = [
        (name, range(first, first + each // 4))
        for name in FILES
        for first in range(0, each, each // 4)
    ]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        results = list(pool.map(tried, *zip(*jobs, strict=True)))
    counts = {kind: sum((told[kind] for _, told in results), Counter[str]()) for kind in KINDS}
    wrong = sorted(line for lines, _ in results for line in lines)
    return {
        "footers": sum(len(seeds) for _, seeds in jobs),
        "wrong": wrong,
        "kinds": {kind: dict(sorted(count.items())) for kind, count in counts.items()},
    }


def main() -> None:
    """Try them all and keep the report."""
    start = time.perf_counter()
    report = {"files": FILES, **try_all(), "seconds": round(time.perf_counter() - start)}
    Path(HERE, "results", "footers.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
