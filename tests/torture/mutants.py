"""Faults put into the package, one at a time: its tests must notice nearly all of them, or they prove little.

`python -m tests.torture.mutants` tries the checks of the validator against the corpus (the test that makes the corpus
anew left out: the files alone must do it) and all that writes against the quick fault tests, each fault in a copy of
the package and a process of its own, and keeps a report of each in `results/`.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tests.torture import faults_seeded, faults_seeded_commit
from tests.torture.faults_seeded import Fault

ROOT = Path(__file__).parents[2]
LIMIT = 900  # seconds for one fault; what hangs is noticed
AT_ONCE = 2


class Suite(NamedTuple):
    """Faults, and the tests that are to notice each: those for its module, quick ones first, then those for all."""

    faults: Sequence[Fault]
    own: Mapping[str, Sequence[str]]
    common: Sequence[str]

    def tests(self, fault: Fault | None) -> list[str]:
        """The tests for a fault, or for the package as it is."""
        own = self.own[fault[0]] if fault else chain(*self.own.values())
        return list(dict.fromkeys([*own, *self.common]))


VALIDATOR = {fault[0]: ["tests/conformance/test_conformance.py"] for fault in faults_seeded.FAULTS}
_STAGING = ["tests/extraction/test_staging.py"]
_APPEND = [
    "tests/rewrite/test_repair.py",
    "tests/format/test_directory.py",
    "tests/extraction/test_append.py",
]
_EDIT = ["tests/rewrite/test_edit_file.py", "tests/rewrite/test_edit_whole.py"]
WRITING = {
    "storage/atomic.py": [*_STAGING, "tests/storage/test_atomic.py", "tests/rewrite/test_edit.py"],
    "storage/copy.py": ["tests/storage/test_atomic.py", "tests/rewrite/test_edit.py"],
    "storage/owned.py": ["tests/storage/test_owned.py", "tests/storage/test_atomic.py"],
    "extraction/staging.py": _STAGING,
    "extraction/block_file.py": ["tests/extraction/test_block_file.py", *_STAGING],
    "extraction/destination.py": ["tests/extraction/test_extract.py"],
    "extraction/failures.py": ["tests/extraction/test_failures.py"],
    "extraction/engine.py": ["tests/extraction/test_local_engine.py"],
    "extraction/local_engine.py": ["tests/extraction/test_local_engine.py"],
    "extraction/extract.py": ["tests/extraction/test_extract.py"],
    "extraction/run.py": ["tests/extraction/test_extract.py"],
    "heads/checkpoint.py": ["tests/heads/test_training.py"],
    "format/writer.py": ["tests/format/test_writer.py"],
    "extraction/append.py": ["tests/extraction/test_append.py"],
    "format/append.py": _APPEND,
    "rewrite/repair.py": ["tests/rewrite/test_repair.py"],
    "rewrite/edit.py": _EDIT,
    "rewrite/edit_check.py": _EDIT,
    "rewrite/reassemble.py": _EDIT,
}
SUITES = {
    "mutants": Suite(faults_seeded.FAULTS, VALIDATOR, ["-k", "not made_again"]),
    "mutants_commit": Suite(
        faults_seeded_commit.FAULTS, WRITING, ["tests/integration/test_faults.py"]
    ),
}


def caught(suite: Suite, faults: Iterable[Fault | None]) -> Iterator[tuple[Fault | None, bool]]:
    """Each fault (None: the package as it is), and whether the tests notice it; some at once, in any order."""
    running: dict[int, tuple[Fault | None, str]] = {}
    for fault in faults:
        if len(running) == AT_ONCE:
            yield _ended(running)
        folder = tempfile.mkdtemp()
        running[_started(suite, fault, Path(folder))] = fault, folder
    while running:
        yield _ended(running)


def _started(suite: Suite, fault: Fault | None, folder: Path) -> int:
    """A child that runs the tests in a copy; the libraries that they need are loaded already."""
    for name in ("dof_arrow", "tests", "schemas"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    if fault:
        put(folder / "dof_arrow" / fault[0], fault)
    if child := os.fork():
        return child
    try:
        signal.alarm(LIMIT)
        os._exit(_tested(suite.tests(fault), folder))
    finally:
        os._exit(99)


def _tested(tests: Sequence[str], folder: Path) -> int:
    import pytest

    with Path(folder, "report.txt").open("w") as report:
        for stream in (1, 2):
            os.dup2(report.fileno(), stream)
    for name in [n for n in sys.modules if n.partition(".")[0] in ("tests", "dof_arrow")]:
        del sys.modules[name]
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.path.insert(0, str(folder))
    options = ["-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "--rootdir", str(folder)]
    return int(pytest.main([*options, "--basetemp", str(folder / "tmp"), *tests]))


def _ended(running: dict[int, tuple[Fault | None, str]]) -> tuple[Fault | None, bool]:
    child, status = os.wait()
    fault, folder = running.pop(child)
    shutil.rmtree(folder, ignore_errors=True)
    print(
        "noticed" if status else "not noticed",
        *(fault or ["nothing"]),
        sep=" | ",
        file=sys.stderr,
        flush=True,
    )
    return fault, status != 0


def put(path: Path, fault: Fault) -> None:
    """Put a fault into a copy of the file that it is for."""
    text = plain(path)
    if text.count(fault[1]) != 1:
        raise ValueError(f"{fault[0]} has {text.count(fault[1])} times: {fault[1]}")
    path.write_text(text.replace(fault[1], fault[2]), "utf-8")


def plain(path: Path) -> str:
    """A module in one plain form, whatever its layout: faults are given in this form."""
    return ast.unparse(ast.parse(path.read_text("utf-8")))


def run(name: str) -> dict[str, Any]:
    """Try every fault of a suite and keep the report."""
    suite = SUITES[name]
    if any(noticed for _, noticed in caught(suite, [None])):
        raise SystemExit(f"{name}: the tests fail without any fault")
    left = {fault for fault, noticed in caught(suite, suite.faults) if fault and not noticed}
    report = {
        "faults": len(suite.faults),
        "caught": len(suite.faults) - len(left),
        "survived": [" | ".join(fault) for fault in suite.faults if fault in left],
    }
    Path(__file__).parent.joinpath("results", f"{name}.json").write_text(
        json.dumps(report, indent=1) + "\n", "utf-8"
    )
    print(name, json.dumps(report, indent=1), flush=True)
    return report


def load() -> None:
    """Load what the tests need once, before any child begins."""
    for name in (
        "click.testing",
        "hypothesis",
        "onnx",
        "onnxruntime",
        "PIL.Image",
        "pyarrow.parquet",
    ):
        importlib.import_module(name)


def main() -> None:
    """Both suites."""
    load()
    for name in SUITES:
        run(name)


if __name__ == "__main__":
    main()
