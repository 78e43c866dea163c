"""An edit killed, failed and repeated: old or new, whole."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from functools import cache
from itertools import cycle
from pathlib import Path

import pytest

from dof_arrow.dataset import dataset
from dof_arrow.errors import OutputError
from dof_arrow.format.validation.validate import validate
from tests.support import editing, faults
from tests.support.editing import edit

KILLS = 40


@cache
def _large() -> bytes:
    """The bytes of a file of many rows."""
    with tempfile.TemporaryDirectory() as folder:
        return editing.write(Path(folder, "x.dof.parquet"), rows=20_000).read_bytes()


def _scenario() -> faults.Scenario:
    def prepare(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "x.dof.parquet").write_bytes(_large())

    def act(folder: Path) -> None:
        edit.edit(folder / "x.dof.parquet", set={"title": "new"}, attach=[__file__])

    return faults.Scenario("edit", prepare, act, ("x.dof.parquet",))


@pytest.mark.parametrize("copied", ["by the system", "by us"])
def test_every_failed_call_leaves_old_or_new(
    tmp_path: Path, copied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if copied == "by us":
        monkeypatch.delattr(os, "copy_file_range")
    scenario, folder = _scenario(), tmp_path / "f"
    before, after, _ = scenario.before_and_after(folder)
    failed = 0
    for operation in range(100):
        scenario.prepare(folder)
        code = faults.ERRORS[operation % 2]
        with faults.failing_at(operation, code):
            try:
                scenario.act(folder)
                break
            except OutputError as error:
                assert ("disk is full" in str(error)) == (code == errno.ENOSPC)
                failed += 1
        assert scenario.contents(folder) in (before, after)
        assert os.listdir(folder) == ["x.dof.parquet"]
        if scenario.contents(folder) == before:
            scenario.act(folder)
        assert scenario.contents(folder) == after
    assert failed >= (5 if copied == "by the system" else 6)


def _endless(folder: Path) -> None:
    """Edit a file to and fro, for ever."""
    path = folder / "x.dof.parquet"
    there = len(dataset.open(path).metadata.documents) > 1
    for attached in cycle([there, not there]):
        if attached:
            edit.edit(path, set={"title": "Lungs"}, detach=["test_edit_faults.py"])
        else:
            edit.edit(path, set={"title": "new"}, attach=[__file__])


def test_row_d6_killed_at_random_old_or_new_whole(tmp_path: Path) -> None:
    """Row D6: an edit may be killed at any moment."""
    scenario, folder, draw = _scenario(), tmp_path / "f", random.Random(0)
    states = scenario.before_and_after(folder)[:2]
    endless = faults.Scenario("endless", scenario.prepare, _endless, scenario.outputs)
    at_work, kills, seen = 0, 0, set()
    while kills < KILLS or (
        at_work < KILLS // 2 and kills < 10 * KILLS
    ):  # how many meet it is the machine's affair
        kills += 1
        assert faults.killed_after(endless, folder, draw.uniform(0.02, 0.1))
        assert scenario.contents(folder) in states
        seen.add(states.index(scenario.contents(folder)))
        at_work += any(folder.glob(".*"))
    assert at_work >= KILLS // 2 and len(seen) == 2, "too few kills met an edit at work"
    edit.edit(folder / "x.dof.parquet", set={"notes": "after all that"})
    assert validate(folder / "x.dof.parquet", deep=True) == []
    assert os.listdir(folder) == ["x.dof.parquet"]


def test_killed_before_each_operation(tmp_path: Path) -> None:
    scenario, folder = _scenario(), tmp_path / "f"
    before, after, operations = scenario.before_and_after(folder)
    states = []
    for operation in range(operations):
        scenario.prepare(folder)
        assert faults.killed_at(scenario, folder, operation)
        states.append(scenario.contents(folder))
        assert states[-1] in (before, after)
        if states[-1] == before:
            scenario.act(folder)
        assert scenario.contents(folder) == after
    assert before in states and after in states


def test_power_cut_leaves_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "copy_file_range")  # the harness records writes
    scenario, run, folder = _scenario(), tmp_path / "run", tmp_path / "cut"
    scenario.prepare(run)
    before, cuts = scenario.contents(run), faults.PowerCut(run, [])
    with faults.watched(root=run) as trace:
        scenario.act(run)
    after, cuts.operations = scenario.contents(run), trace.operations
    states = list(cuts.states(seed=1, count=100))
    assert len(states) == 100
    for state in states:
        faults.restore(state, folder)
        assert scenario.contents(folder) in (before, after)
