"""A linear head trained and judged by `dof_arrow.heads.train`, against scikit-learn's own fit and cross-validation.

`python -m benchmarks.bench_judge [--rows 40000] [--runs 3]` runs both in processes of their own, one after the other in
turn. Ten classes, 64 features a row. scikit-learn fits the same model once, and five times by `cross_val_predict`; ours
also chooses the strength of the prior in each fit, writes ONNX, and scores every class with intervals. What is not
timed on either side: imports, and making the rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import keep

WIDTH, CLASSES = 64, 10


def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    y = random.integers(CLASSES, size=count)
    centres = 0.5 * random.normal(size=(CLASSES, WIDTH))
    return (random.normal(size=(count, WIDTH)) + centres[y]).astype(np.float32), y


def ours(count: int) -> Callable[[], Any]:
    import sklearn.linear_model  # noqa: F401  loaded before the clock starts

    from dof_arrow.heads.train import train
    from tests.support.memory import category, memory

    x, y = rows(count)
    ds = memory(x, {"label": category(*(f"c{code}" for code in range(CLASSES)))}, label=y)
    return lambda: train(ds)


def theirs(count: int) -> Callable[[], Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = rows(count)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=10 / WIDTH, max_iter=1000))

    def run() -> None:
        model.fit(x, y)
        cross_val_predict(model, x, y, cv=5, method="predict_proba")

    return run


ROADS = {"dof": ours, "scikit-learn": theirs}


def once(road: str, count: int) -> dict[str, float]:
    """Seconds on the clock, and of processors."""
    action = ROADS[road](count)
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--road", choices=ROADS)
    given = parser.parse_args()
    if given.road:
        print(json.dumps(once(given.road, given.rows)))
        return
    taken: dict[str, list[dict[str, float]]] = {road: [] for road in ROADS}
    for _ in range(given.runs):
        for road, runs in taken.items():
            command = [sys.executable, "-m", "benchmarks.bench_judge", "--road", road]
            said = subprocess.check_output([*command, "--rows", str(given.rows)])
            runs.append(json.loads(said))
    found: dict[str, Any] = {"rows": given.rows, "width": WIDTH, "classes": CLASSES}
    for kind in ("wall", "cpu"):
        medians = {
            road: statistics.median(run[kind] for run in runs) for road, runs in taken.items()
        }
        found[f"{kind}_seconds"] = medians
        found[f"{kind}_ratio"] = medians["dof"] / medians["scikit-learn"]
    print(json.dumps(found, indent=1))
    keep(f"judge_{given.rows}", found, "scikit-learn")


if __name__ == "__main__":
    main()
