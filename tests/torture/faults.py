"""The long fault run: 500 kills and 10,000 power-cut states and every call failed once, with counts and a report."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from dof_arrow.errors import OutputError
from tests.support.faults import (
    ERRORS,
    FAILING,
    PowerCut,
    Scenario,
    failing_at,
    holds_work,
    kills,
    litter,
    restore,
    watched,
)
from tests.support.scenarios import SCENARIOS

KILLS, CUTS = 500, 10_000
REPEATED = 25  # every so many power-cut states the command is repeated
RETURNED = 100  # states of a power cut just after the command


def run(killed: int = KILLS, cuts: int = CUTS) -> dict[str, Any]:
    """All faults on all scenarios; the report counts them; an assertion fails on the first that loses anything."""
    start, report = time.time(), {}
    extracting = [s for s in SCENARIOS if s.name.startswith("extract")]
    for scenario in SCENARIOS:
        share = -(-killed // len(extracting)) if scenario in extracting else 50
        with tempfile.TemporaryDirectory() as folder:
            report[scenario.name] = {
                **_killed(scenario, Path(folder), share),
                **_failed(scenario, Path(folder)),
                **_cut(
                    scenario,
                    Path(folder),
                    -(-cuts // len(extracting)) if scenario in extracting else 1000,
                ),
            }
    staged = sum(r["kills after a staged block"] for r in report.values())
    total = sum(report[s.name]["kills"] for s in extracting)
    states = sum(report[s.name]["power-cut states"] for s in extracting)
    assert killed < KILLS or (staged >= KILLS // 2 and total >= KILLS and states >= CUTS), (
        total,
        staged,
        states,
    )
    return {
        "scenarios": report,
        "kills of extractions": total,
        "after a staged block": staged,
        "power-cut states of extractions": states,
        "seconds": round(time.time() - start),
    }


def _killed(scenario: Scenario, root: Path, count: int) -> dict[str, int]:
    before, after, _ = scenario.before_and_after(root / "whole")
    staged = []
    for folder, after_a_block in kills(scenario, root, count):
        there = holds_work(folder)
        assert there or not after_a_block or scenario.contents(folder) == after, scenario.name
        staged.append(there or after_a_block)
        _check(scenario, folder, before, after, repeat=True)
    return {"kills": len(staged), "kills after a staged block": sum(staged)}


def _failed(scenario: Scenario, root: Path) -> dict[str, int]:
    before, after, _ = scenario.before_and_after(root / "whole2")
    operation = 0
    while True:
        folder = root / "fail"
        shutil.rmtree(folder, ignore_errors=True)
        scenario.prepare(folder)
        try:
            with failing_at(operation // 2, ERRORS[operation % 2]):
                scenario.act(folder)
            return {"failed calls": operation, "kinds of call": len(FAILING)}
        except OutputError:
            operation += 1
        _check(scenario, folder, before, after, repeat=True)


def _cut(scenario: Scenario, root: Path, cuts: int) -> dict[str, int]:
    folder = root / "run"
    scenario.prepare(folder)
    before = scenario.contents(folder)
    recording = PowerCut(folder, [])
    with watched(root=folder) as trace:
        scenario.act(folder)
    after = scenario.contents(folder)
    recording.operations = trace.operations
    states = 0
    for state in recording.states(seed=1, count=cuts):
        restore(state, root / "cut")
        _check(scenario, root / "cut", before, after, repeat=states % REPEATED == 0)
        states += 1
    for state in recording.states(
        seed=2, count=RETURNED, at=len(trace)
    ):  # what has returned is there to stay
        restore(state, root / "cut")
        assert scenario.contents(root / "cut") == after, scenario.name
    return {"power-cut states": states}


def _check(
    scenario: Scenario, folder: Path, before: object, after: object, *, repeat: bool
) -> None:
    assert scenario.contents(folder) in (before, after), scenario.name
    if repeat:
        scenario.act(folder)
        assert scenario.contents(folder) == after, scenario.name
        assert not litter(folder, scenario), scenario.name
