"""What is installed, and what to install."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dof_arrow import doctor
from tests.making import ROOT


def test_every_extra_and_base_library_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    report = doctor.examine()
    assert set(report["extras"]) == set(project["optional-dependencies"]) - {"dev"}
    base = {requirement.split(">=")[0] for requirement in project["dependencies"]}
    assert base | {"dof-arrow", "python"} == set(report["versions"]) and "missing" not in report["versions"].values()
    assert "CPUExecutionProvider" in report["providers"] and report["threads"] >= 1
    assert report["id_key"] == {"path": str(tmp_path / "dof-arrow" / "id.key"), "exists": False}


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "scikit-learn" else "1")
    assert doctor.examine()["extras"]["train"] == ["scikit-learn"] and doctor.examine()["extras"]["torch"] == []
