"""2,000 random compositions of datasets and loaders against a reference in plain Python."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.support.compositions import FACES, PROCESSES, run

TRIALS = 2000
EACH = 50  # of so many, one has worker processes


def main(trials: int = TRIALS) -> None:
    """Try them and keep the report."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        wrong = run(Path(folder), trials, lambda n: FACES if n % EACH else PROCESSES)
    seconds = round(time.perf_counter() - begun)
    report = {"compositions": trials, "wrong": len(wrong), "first": list(wrong.items())[:5]}
    kept = Path(__file__).with_name("results") / "compositions.json"
    kept.write_text(json.dumps(report, indent=1) + "\n")
    print(kept.read_text(), f"in {seconds} s")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS)
