"""What crashes leave is told and removed; what is alive is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.errors import UsageError
from dof_arrow.extraction.staging import Staging
from dof_arrow.format.append import growing
from dof_arrow.rewrite import repair
from dof_arrow.storage.atomic import replacing
from tests.support import making, scenarios
from tests.support.faults import killed_at, watched
from tests.support.planting import FOR_FILES, FOR_FOLDERS, Planted, looks


def killed_half_way(name: str, folder: Path, share: float = 0.5) -> None:
    scenario = next(s for s in scenarios.SCENARIOS if s.name == name)
    _, _, count = scenario.before_and_after(folder / "whole")
    scenario.prepare(folder / "killed")
    assert killed_at(scenario, folder / "killed", int(count * share))


def test_an_unfinished_run_says_how_far_it_came(tmp_path: Path) -> None:
    killed_half_way("extract", tmp_path)
    folder = tmp_path / "killed"
    found = repair.find(folder / "x.dof.parquet")
    assert found == repair.find(folder)
    (run,) = [f for f in found if f.path.suffix == ".staging"]
    assert run.of == "x.dof.parquet" and "of 4 blocks done" in run.what and not run.held
    assert repair.discard(found) == found and not list(folder.iterdir())
    assert repair.find(folder) == []


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("name", ["convert into a directory", "append to a directory"])
def test_a_directory_is_cleaned_and_stays_whole(tmp_path: Path, name: str, share: float) -> None:
    killed_half_way(name, tmp_path, share)
    folder = tmp_path / "killed"
    rows = scenarios.rows(folder)
    found = repair.find(folder)
    assert all(f.of == "x.dof" and not f.held for f in found)
    assert repair.discard(found) == found
    assert {p.name for p in folder.iterdir()} <= {"x.dof", "new.parquet"} and scenarios.rows(
        folder
    ) == rows
    if rows:
        assert dof.validate(folder / "x.dof", deep=True) == []


def test_rows_that_wait_to_be_added_are_told(tmp_path: Path) -> None:
    scenario = next(s for s in scenarios.SCENARIOS if s.name == "extract into a directory")
    scenario.prepare(tmp_path)
    with pytest.raises(RuntimeError), watched(_stop_before_linking):
        scenario.act(tmp_path)
    (found,) = [f for f in repair.find(tmp_path / "x.dof") if f.path.name == ".x.dof.part.parquet"]
    assert (
        found.what
        == f"{scenarios.PICTURES - 1} rows extracted and not yet added; the same command adds them"
    )
    scenario.act(tmp_path)
    assert (
        len(dof.open(tmp_path / "x.dof")) == scenarios.PICTURES - 1 and repair.find(tmp_path) == []
    )


def _stop_before_linking(number: int, name: str) -> None:
    if name == "link":
        raise RuntimeError


def test_what_a_process_holds_is_left_alone(tmp_path: Path) -> None:
    making.write(tmp_path / "a.parquet", 3)
    with (
        replacing(tmp_path / "x.parquet") as out,
        Staging(tmp_path / "y.parquet").held({"inputs": 3}),
        growing(tmp_path / "z.dof") as growth,
    ):
        growth.add(tmp_path / "a.parquet")
        found = repair.find(tmp_path)
        assert {f.path.name for f in found} == {
            ".x.parquet.partial",
            ".y.parquet.staging",
            ".z.dof.lock",
            ".z.dof.new",
        }
        assert all(f.held for f in found) and repair.discard(found) == []
        out.write(b"whole")
    assert (tmp_path / "x.parquet").read_bytes() == b"whole" and len(
        dof.open(tmp_path / "z.dof")
    ) == 3


def test_a_part_waits_while_its_run_goes_on(tmp_path: Path) -> None:
    spare = making.write(tmp_path / ".z.dof.part.parquet", 3)
    with Staging(spare).held({"inputs": 3}) as staging:
        staging.path(0).write_bytes(b"")
        assert {f.path.name: f.held for f in repair.find(tmp_path / "z.dof")} == {
            ".z.dof.part.parquet": True,
            "..z.dof.part.parquet.staging": True,
        }
        assert repair.discard(repair.find(tmp_path)) == []
    assert len(dof.open(spare)) == 3


@pytest.mark.parametrize("planted", [*FOR_FOLDERS, *FOR_FILES], ids=lambda p: p.name)
@pytest.mark.parametrize("name", [".x.parquet.staging", ".x.parquet.partial", ".x.parquet.new"])
def test_what_others_left_is_told_and_removed_if_asked(
    name: str, planted: Planted, tmp_path: Path
) -> None:
    """It is not waited for, and what a link points to stays."""
    planted(tmp_path / name)
    kept = looks(tmp_path / "elsewhere")
    found = repair.find(tmp_path / "x.parquet")
    assert [left.path.name for left in found] == [name]
    if not found[0].held:
        assert repair.discard(found) == found and repair.find(tmp_path / "x.parquet") == []
    left = looks(tmp_path / "elsewhere")
    assert [look[-1] for look in left.values()] == [look[-1] for look in kept.values()]


def test_other_files_are_nobodys_leftovers(tmp_path: Path) -> None:
    for name in (".hidden", "x.partial", ".bashrc.swp", "data-000000.parquet", ".x.training"):
        (tmp_path / name).write_bytes(b"")
    assert repair.find(tmp_path) == []
    with pytest.raises(UsageError, match="no such folder"):
        repair.find(tmp_path / "none" / "x.parquet")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".x.parquet.partial").write_bytes(b"PAR1")
    assert (
        main.main(["repair", str(tmp_path)]) == 0
        and "beginning of a file" in capsys.readouterr().out
    )
    assert main.main(["repair", str(tmp_path / "x.parquet"), "--discard", "--json"]) == 0
    assert [f["removed"] for f in json.loads(capsys.readouterr().out)] == [True] and not list(
        tmp_path.iterdir()
    )
