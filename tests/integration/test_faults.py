"""Nothing is lost: kills, failed calls and power cuts on everything that writes (the long runs: `make torture`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dof_arrow.errors import OutputError
from tests.support.faults import (
    ERRORS,
    FAILING,
    PowerCut,
    Scenario,
    failing_at,
    holds_work,
    killed_at,
    kills,
    litter,
    restore,
    watched,
)
from tests.support.scenarios import SCENARIOS

KILLS, CUTS = 48, 400
# Extractions make the same calls and are slow: of several, each tries some of them (first, every); torture tries all.
SHARED_OUT = {
    "extract": (0, 2),
    "extract over an old file": (1, 2),
    "extract into a directory": (0, 4),
}
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)


@every_scenario
def test_kill_and_repeat(scenario: Scenario, tmp_path: Path) -> None:
    """kill -9 at a random moment, then the same command: the bytes of a run never killed, and no litter."""
    before, after, _ = scenario.before_and_after(tmp_path / "whole")
    met, staged = 0, 0
    for folder, after_a_block in kills(scenario, tmp_path, KILLS // len(SCENARIOS)):
        assert scenario.contents(folder) in (before, after)
        if after_a_block:
            assert holds_work(folder) or scenario.contents(folder) == after
        met, staged = met + 1, staged + after_a_block
        scenario.act(folder)
        assert scenario.contents(folder) == after
        assert not litter(folder, scenario)
    assert met * len(SCENARIOS) >= KILLS
    assert staged * 2 >= met or not scenario.name.startswith("extract")


@every_scenario
def test_killed_at_the_very_end(scenario: Scenario, tmp_path: Path) -> None:
    """Where the output is there already, the same command still clears away what is left beside it."""
    _, after, count = scenario.before_and_after(tmp_path / "whole")
    for back in range(1, 5):
        folder = tmp_path / str(back)
        scenario.prepare(folder)
        killed_at(scenario, folder, count - back)
        scenario.act(folder)
        assert scenario.contents(folder) == after and not litter(folder, scenario)


@every_scenario
def test_each_call_fails_once(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write, fsync and rename fails once, disk full or I/O error: a clear error, old or new, whole, no litter."""
    # What cannot be kept in a cache is no error: here nothing can.
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    before, after, _ = scenario.before_and_after(tmp_path / "whole")
    folder = tmp_path / "again"
    scenario.prepare(folder)
    names: list[str] = []
    with watched(lambda number, name: names.append(name)):
        scenario.act(folder)
    first, every = SHARED_OUT.get(scenario.name, (0, 1))
    for operation in range(first, sum(name in FAILING for name in names), every):
        folder = tmp_path / f"{operation}"
        scenario.prepare(folder)
        with pytest.raises(OutputError), failing_at(operation, ERRORS[operation // every % 2]):
            scenario.act(folder)
        assert scenario.contents(folder) in (before, after)
        scenario.act(folder)
        assert scenario.contents(folder) == after
        assert not litter(folder, scenario)


@every_scenario
def test_power_cut(scenario: Scenario, tmp_path: Path) -> None:
    """What a power cut may leave: the output is old or new, whole; the same command ends in the same bytes.

    Once the command has returned, the output is new and stays.
    """
    scenario.prepare(tmp_path / "run")
    before = scenario.contents(tmp_path / "run")
    start = PowerCut(tmp_path / "run", [])
    with watched(root=tmp_path / "run") as trace:
        scenario.act(tmp_path / "run")
    after = scenario.contents(tmp_path / "run")
    start.operations = trace.operations
    for number, state in enumerate(start.states(seed=1, count=CUTS)):
        folder = tmp_path / "cut"
        restore(state, folder)
        assert scenario.contents(folder) in (before, after)
        if number % 20 == 0:
            scenario.act(folder)
            assert scenario.contents(folder) == after
            assert not litter(folder, scenario)
    for state in start.states(seed=2, count=20, at=len(trace)):
        restore(state, tmp_path / "cut")
        assert scenario.contents(tmp_path / "cut") == after
