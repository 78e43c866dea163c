"""What is installed, and what to install."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from dof_arrow.cli import doctor, main
from dof_arrow.cores import provider_rates
from dof_arrow.cores.provider_rates import ProviderRate
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
    assert "cpu" in report["providers"] and report["threads"] >= 1
    assert report["id_key"] == {"path": str(tmp_path / "dof-arrow" / "id.key"), "exists": False}


def test_every_extra_that_a_user_may_want() -> None:
    assert set(doctor.extras(DECLARED)) == set(PROJECT["optional-dependencies"]) - {"dev", "bench"}
    assert doctor.extras(DECLARED)["train"] == ["scikit-learn"]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_required", lambda: DECLARED)
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "scikit-learn" else "1")
    extras = doctor.examine()["extras"]
    assert extras["train"] == ["scikit-learn"] and extras["torch"] == []


@pytest.mark.parametrize("gain", [1.0, 1.3])
def test_what_runs_a_core_fastest(
    gain: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu = ProviderRate(provider="cpu", per_second=100, gain=1, start_seconds=0.1, differs=0)
    other = replace(cpu, provider="openvino", gain=gain, per_second=100 * gain, differs=2e-6)
    refused = ProviderRate(provider="azure", refused="no such thing: found 3 Conv")
    rates = [cpu, replace(other, start_seconds=0.4), refused]
    monkeypatch.setattr(provider_rates, "provider_rates", lambda _: rates)
    assert main.main(["doctor", "builtin", "--pool", "1x1", "--threads", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["core"] == "builtin" and report["rates"][1]["gain"] == gain
    assert report["recommended"] == ("openvino" if gain > 1.1 else None)
    assert main.main(["doctor", "builtin", "-q"]) == 0
    *_, table, blank, advice = capsys.readouterr().out.splitlines()
    assert table == "azure cannot run it: no such thing: found 3 Conv" and not blank
    if gain > 1.1:
        assert advice == (
            "openvino: 1.3 times the default, from about 130 pictures on; features differ by at "
            "most 2e-06 of their norm; ask for it with --provider openvino"
        )
    else:
        assert advice.startswith("Nothing here is 1.1 times the default")
