"""How everything here is measured: side by side in one run, in turn, medians, set-up outside; results with versions."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from dof_arrow.system import processors

RESULTS = Path(__file__).with_name("results")


def in_turn(
    actions: Mapping[str, Callable[[], Any]], runs: int = 7, warm: int = 1
) -> dict[str, dict[str, float]]:
    """Seconds of each action: A B C, A B C, …, so that a machine that drifts drifts for all. Median, least, most."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(runs + warm):
        for name, action in actions.items():
            with undisturbed():
                start = time.perf_counter()
                action()
                end = time.perf_counter()
            if number >= warm:
                taken[name].append(end - start)
    return {
        name: {"median": statistics.median(t), "min": min(t), "max": max(t)}
        for name, t in taken.items()
    }


def before_all_others() -> None:
    """Have this process run before all others of the machine; OSError where that is not allowed."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Before all other processes of the machine, threads too, where `DOF_BENCH_REALTIME` is set.

    On a busy machine the system starts a short-lived thread on the processor of its process, not on
    the other one. Linux allows this to root alone.
    """
    if not os.environ.get("DOF_BENCH_REALTIME"):
        yield
        return
    before_all_others()
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        time.sleep(0.01)  # for the others


def beside(action: Callable[[int], Any]) -> None:
    """An action on every processor at once, in threads; each is told its number."""
    with ThreadPoolExecutor(processors()) as pool:
        list(pool.map(action, range(processors())))


def ratio(seconds: Mapping[str, Mapping[str, float]], ours: str, theirs: str) -> float:
    """How many times faster ours is than theirs, by the medians."""
    return seconds[theirs]["median"] / seconds[ours]["median"]


def machine(*libraries: str) -> dict[str, Any]:
    """What the figures were taken on."""
    versions = {
        name: metadata.version(name) for name in ("dof-arrow", "pyarrow", "numpy", *libraries)
    }
    return {
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "processors": processors(),
        "versions": versions,
    }


def keep(name: str, result: Mapping[str, Any], *libraries: str) -> None:
    """Write one benchmark's result as JSON beside the others."""
    RESULTS.mkdir(exist_ok=True)
    value = {**machine(*libraries), **result}
    (RESULTS / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")


def anonymous_memory() -> int:
    """Bytes of this process's memory that no file backs (Linux: RssAnon)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
