"""Faults put into the checks, one at a time: the corpus must notice nearly all of them, or it proves little.

`python -m tests.torture.mutants` runs `tests/test_conformance.py` against a copy of the package for each fault (the
test that makes the corpus anew left out: the files alone must do it), and keeps a report in `results/mutants.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.torture.faults_seeded import FAULTS, Fault

ROOT = Path(__file__).parents[2]


def caught(fault: Fault | None) -> bool:
    """Whether the corpus notices a fault; None is the package as it is."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "dof_arrow", Path(folder, "dof_arrow"), ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "tests", Path(folder, "tests"), ignore=shutil.ignore_patterns("__pycache__"))
        if fault:
            _put(Path(folder, "dof_arrow", fault[0]), fault)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/test_conformance.py",
                   "-k", "not made_again", "-o", "addopts=", "--rootdir", folder]
        environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300).returncode != 0


def _put(path: Path, fault: Fault) -> None:
    text = path.read_text("utf-8")
    if text.count(fault[1]) != 1:
        raise ValueError(f"{fault[0]} has {text.count(fault[1])} times: {fault[1]}")
    path.write_text(text.replace(fault[1], fault[2]), "utf-8")


def survivors(results: Iterator[bool]) -> list[Fault]:
    """The faults that nothing noticed."""
    return [fault for fault, noticed in zip(FAULTS, results, strict=True) if not noticed]


def main() -> dict[str, Any]:
    """Try every fault and keep the report."""
    if caught(None):
        raise SystemExit("the corpus fails without any fault")
    with ThreadPoolExecutor(2) as pool:
        left = survivors(pool.map(caught, FAULTS))
    report = {"faults": len(FAULTS), "caught": len(FAULTS) - len(left), "survived": [" | ".join(f) for f in left]}
    Path(__file__).parent.joinpath("results", "mutants.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))
    return report


if __name__ == "__main__":
    main()
