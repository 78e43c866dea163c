"""What is installed, and what to install."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dof_arrow.cli import doctor
from tests.support.making import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [
    f"{requirement}; extra == '{extra}'"
    for extra, requirements in PROJECT["optional-dependencies"].items()
    for requirement in requirements
]


def test_what_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    report = doctor.examine()
    base = {requirement.split(">=")[0] for requirement in PROJECT["dependencies"]}
    assert (
        base | {"dof-arrow", "python"} == set(report["versions"])
        and "missing" not in report["versions"].values()
    )
    assert "CPUExecutionProvider" in report["providers"] and report["threads"] >= 1
    assert report["id_key"] == {"path": str(tmp_path / "dof-arrow" / "id.key"), "exists": False}


def test_every_extra_that_a_user_may_want() -> None:
    assert set(doctor.extras(DECLARED)) == set(PROJECT["optional-dependencies"]) - {"dev", "bench"}
    assert doctor.extras(DECLARED)["train"] == ["scikit-learn"]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_required", lambda: DECLARED)
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "scikit-learn" else "1")
    extras = doctor.examine()["extras"]
    assert extras["train"] == ["scikit-learn"] and extras["torch"] == []
