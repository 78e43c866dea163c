"""Rows of a dataset on a server that fails in every way it can: an error or the right rows, 10,000 faults long.

`python -m tests.torture.store_faults [FAULTS]` keeps a report in `results/store_faults.json`.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dof_arrow.dataset import dataset
from dof_arrow.errors import DofError
from dof_arrow.storage import remote, stores
from tests.support import making
from tests.support.range_server import FAULTS, RangeServer

ROWS, WIDTH, ASKED = 4000, 64, 12
SHARE = 0.15  # of the answers
# A row whose bytes were turned on the way is not seen, for digests are over segments; columns are.
KINDS = [each for each in FAULTS if each not in ("flipped", "slow")]


def run(faults: int, seed: int = 0) -> dict[str, Any]:
    """Ask until so many faults were made: how often the rows were right, told, or wrong."""
    remote._WAIT, stores._WAIT, stores._TRIES = 0.001, timedelta(milliseconds=1), 1
    drawn, made, outcome = random.Random(seed), Counter[str](), Counter[str]()
    vectors = making.vectors(ROWS, WIDTH)

    def fault(number: int) -> str:
        if drawn.random() >= SHARE:
            return ""
        kind = drawn.choice(KINDS)
        made[kind] += 1
        return kind

    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        path = making.write(Path(folder, "x.parquet"), ROWS, vectors, group=512)
        server = RangeServer({"/x": path.read_bytes()}, fault=fault)
        with server.serving() as address:
            while made.total() < faults:
                outcome[_asked(f"{address}/x", vectors, drawn)] += 1
    return {"faults": dict(sorted(made.items())), "outcome": dict(sorted(outcome.items()))}


def _asked(address: str, vectors: np.ndarray[Any, Any], drawn: random.Random) -> str:
    rows = [drawn.randrange(ROWS) for _ in range(ASKED)]
    try:
        found = dataset.open(address).take(rows).to_numpy()
    except DofError as error:
        return type(error).__name__
    return "right" if np.array_equal(found, vectors[rows]) else "WRONG"


def main(faults: int = 10_000) -> None:
    """Make the faults, and keep the report."""
    report = run(faults)
    kept = Path(__file__).with_name("results") / "store_faults.json"
    kept.write_text(json.dumps(report, indent=1) + "\n")
    print(kept.read_text())
    assert "WRONG" not in report["outcome"]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
