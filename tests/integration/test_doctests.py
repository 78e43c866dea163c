"""The examples in docstrings are right."""

from __future__ import annotations

import doctest
import importlib

import pytest

from tests.support.import_table import modules

MODULES = [name.replace("/", ".") for name in modules() if name != "__main__"]


@pytest.mark.parametrize("name", ["", *MODULES])
def test_examples_give_what_they_say(name: str) -> None:
    module = importlib.import_module(f"dof_arrow.{name}".rstrip("."))
    outcome = doctest.testmod(module)
    assert outcome.failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    loaded = [importlib.import_module(f"dof_arrow.{name}") for name in MODULES]
    found = [case for module in loaded for case in finder.find(module) if case.examples]
    assert len(found) > 150
