"""What ONNX Runtime's settings do for cores on processors: rates with one setting changed, against ours.

`python -m benchmarks.bench_settings CORE.onnx … [--rounds 9]`. As in an extraction, a thread of each processor runs
batches of its own, each on one thread. Rates are medians over the rounds, in which all ways take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.measure import in_turn, keep
from dof_arrow.cores.core import BATCH, Core
from dof_arrow.system import processors

ROWS = 16  # of each processor, in one round
OURS = "as it is"


def _no_arena(options: Any) -> None:
    options.enable_cpu_mem_arena = False


def _no_pattern(options: Any) -> None:
    options.enable_mem_pattern = False


def _no_denormals(options: Any) -> None:
    options.add_session_config_entry("session.set_denormal_as_zero", "1")


def _no_prepacking(options: Any) -> None:
    options.add_session_config_entry("session.disable_prepacking", "1")


def _basic(options: Any) -> None:
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC


SETTINGS: dict[str, Callable[[Any], None]] = {
    "no arena": _no_arena,
    "no memory pattern": _no_pattern,
    "denormals are zero": _no_denormals,
    "no prepacking": _no_prepacking,
    "basic optimisation": _basic,
}


def session(core: Core, change: Callable[[Any], None] | None = None) -> Any:
    """A session of one thread with one setting changed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if change is not None:
        change(options)
    return onnxruntime.InferenceSession(core.data, options, providers=["CPUExecutionProvider"])


def work(runner: Any, row: np.ndarray, batch: int) -> Callable[[], None]:
    """Runs the rows of one round in batches, on all processors."""
    (name,) = [value.name for value in runner.get_inputs()]
    feeds = {name: np.repeat(row, batch, axis=0)}

    def run(_: int) -> None:
        runner.run(None, feeds)

    def rounds() -> None:
        with ThreadPoolExecutor(processors()) as pool:
            list(pool.map(run, range(ROWS * processors() // batch)))

    return rounds


def measured(core: Core, rounds: int) -> dict[str, float]:
    """The rate of each way over ours, which is given in milliseconds a row of each processor."""
    noise = np.random.default_rng(0).standard_normal(core.blank(1).shape)
    row = noise.astype(core.blank(1).dtype)
    plain = session(core)
    ways = {OURS: work(plain, row, BATCH)}
    for name, change in SETTINGS.items():
        ways[name] = work(session(core, change), row, BATCH)
    for batch in (1, 4, 8):
        ways[f"batches of {batch}"] = work(plain, row, batch)
    seconds = in_turn(ways, runs=rounds, warm=2)
    best = seconds[OURS]["median"]
    found = {"milliseconds": best / ROWS * 1000}
    for name in ways:
        if name != OURS:
            found[name] = best / seconds[name]["median"]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cores", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args(arguments)
    found: dict[str, Any] = {}
    for path in given.cores:
        core = Core.load(path)
        found[core.name] = measured(core, given.rounds)
        print(core.name, found[core.name], flush=True)
    keep("settings", found, "onnxruntime")


if __name__ == "__main__":
    main()
