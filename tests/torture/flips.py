"""Every single bit of small files turned, one at a time: none may be silent under `validate(deep=True)`.

`python -m tests.torture.flips` turns them all, in two processes, and keeps a report in `results/flips.json`.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dof_arrow.format.validation.validate import validate

HERE = Path(__file__).parent
FILES = ("width-008", "errors-documents", "compact", "names")
PARTS = 8

Turned = tuple[
    list[int], Counter[str]
]  # bits whose turning went unnoticed; how often each rule noticed one


def turned(name: str, bits: Iterable[int]) -> Turned:
    """Turn these bits of a valid file of the corpus, one after the other."""
    data = (HERE.parent / "conformance" / "valid" / f"{name}.parquet").read_bytes()
    silent, rules = list[int](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.parquet")
        path.write_bytes(data)
        file = os.open(path, os.O_RDWR)
        for bit in bits:
            at, mask = bit >> 3, 1 << (bit & 7)
            os.pwrite(file, bytes([data[at] ^ mask]), at)
            found = _rules(path)
            os.pwrite(file, data[at : at + 1], at)
            rules.update(found)
            silent += [] if found else [bit]
        os.close(file)
    return silent, rules


def _rules(path: Path) -> set[str]:
    try:
        return {p.rule for p in validate(path, deep=True)}
    except Exception as error:
        return {f"FAULT {type(error).__name__}: {error}"}


def bits_of(name: str) -> range:
    """All bits of a file."""
    return range(8 * (HERE.parent / "conformance" / "valid" / f"{name}.parquet").stat().st_size)


def sample(count: int, seed: int = 0) -> dict[str, list[int]]:
    """So many bits over the files, at random, none twice."""
    every = [(name, bit) for name in FILES for bit in bits_of(name)]
    chosen: dict[str, list[int]] = {name: [] for name in FILES}
    for name, bit in random.Random(seed).sample(every, count):
        chosen[name].append(bit)
    return chosen


def turn_all(bits: dict[str, Any], processes: int = 2) -> dict[str, Any]:
    """Turn these bits of each file, in several processes; returns the report."""
    jobs = [(name, chosen[part::PARTS]) for name, chosen in bits.items() for part in range(PARTS)]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        results = list(pool.map(turned, *zip(*jobs, strict=True)))
    return {
        "flips": sum(len(part) for _, part in jobs),
        "silent": {name: bits for (name, _), (bits, _) in zip(jobs, results, strict=True) if bits},
        "faults": sorted(
            {rule for _, rules in results for rule in rules if rule.startswith("FAULT")}
        ),
        "noticed_by": dict(sum((rules for _, rules in results), Counter[str]()).most_common()),
    }


def main() -> None:
    """Turn every bit and keep the report."""
    start = time.perf_counter()
    report = turn_all({name: bits_of(name) for name in FILES})
    report = {"files": FILES, **report, "seconds": round(time.perf_counter() - start)}
    Path(HERE, "results", "flips.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
