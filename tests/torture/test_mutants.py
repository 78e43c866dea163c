"""Faults seeded into the package: each fits it still, and a few are tried (`make torture` tries all)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.making import run
from tests.torture.mutants import SUITES, plain

PACKAGE = Path(__file__).parents[2] / "dof_arrow"

FEW = """
from tests.torture.mutants import SUITES, caught, load
load()
suite = SUITES["mutants_commit"]._replace(own={"extraction/staging.py": ["tests/extraction/test_staging.py"]}, common=[])
chosen = [fault for fault in suite.faults if fault[0] == "extraction/staging.py"][:2]
print([noticed for _, noticed in caught(suite, [None])], [noticed for _, noticed in caught(suite, chosen)])
"""


@pytest.mark.parametrize("suite", SUITES)
def test_each_fault_has_its_place(suite: str) -> None:
    for name, old, new in SUITES[suite].faults:
        text = plain(PACKAGE / name)
        assert text.count(old) == 1, f"{name}: {old}"
        assert old != new
        assert ast.parse(text.replace(old, new))


@pytest.mark.parametrize("suite", SUITES)
def test_each_fault_has_tests_that_are_to_notice_it(suite: str) -> None:
    asked = SUITES[suite]
    assert {fault[0] for fault in asked.faults} <= set(asked.own)
    paths = [path for tests in asked.own.values() for path in tests if path.endswith(".py")]
    assert [path for path in paths if not (PACKAGE.parent / path).exists()] == []


def test_there_are_enough_of_them() -> None:
    """At least 40 in all, and 20 in what writes."""
    assert len(SUITES["mutants"].faults) >= 40 and len(SUITES["mutants_commit"].faults) >= 20


def test_a_few_are_noticed() -> None:
    done = run(FEW)
    assert done.stdout == "[False] [True, True]\n", done.stderr
