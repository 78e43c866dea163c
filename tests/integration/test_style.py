"""How the package reads: line lengths, how much a line says, how long functions are."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

import pytest

from tests.support.import_table import MAY, PACKAGE

COLUMNS = 100
MOST_NODES = 10.5  # syntax nodes a code line, over a wing
FILES = sorted(PACKAGE.rglob("*.py"))


def _code_lines(text: str, tree: ast.Module) -> int:
    """Lines that are neither empty, comments nor docstrings."""
    documented = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            documented += sum(1 for line in docstring.splitlines() if line.strip())
    lines = [line.strip() for line in text.splitlines()]
    code = [line for line in lines if line and not line.startswith("#")]
    return len(code) - documented


def _density(files: list[Path]) -> float:
    nodes = lines = 0
    for file in files:
        text = file.read_text("utf-8")
        tree = ast.parse(text)
        nodes += sum(1 for _ in ast.walk(tree))
        lines += _code_lines(text, tree)
    return nodes / max(lines, 1)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_no_line_is_longer_than_the_window(file: Path) -> None:
    lines = enumerate(file.read_text("utf-8").splitlines(), 1)
    assert [number for number, line in lines if len(line) > COLUMNS] == []


@pytest.mark.parametrize("wing", MAY)
def test_lines_of_a_wing_carry_one_idea(wing: str) -> None:
    assert _density(list((PACKAGE / wing).glob("*.py"))) <= MOST_NODES


def test_functions_fit_in_the_eye() -> None:
    lengths = []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths.append((node.end_lineno or node.lineno) - node.lineno + 1)
    lengths.sort()
    assert median(lengths) <= 8
    assert lengths[int(len(lengths) * 0.9)] <= 20
