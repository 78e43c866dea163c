"""One bad input never stops a run: faults of every kind, each listed with its reason."""

from __future__ import annotations

from pathlib import Path

from tests.support.faulty_inputs import KINDS, check


def test_faults_of_every_kind(tmp_path: Path) -> None:
    assert len(KINDS) >= 25
    assert len(check(tmp_path, sound=30, each=2)["inputs"]) > 10
