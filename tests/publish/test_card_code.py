"""Code that a card offers runs as it stands, and names out of a file stay names."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

import pytest

import dof_arrow as dof
from dof_arrow.publish.card_code import snippets
from tests.publish.making_cards import dataset
from tests.support.hostile_texts import HOSTILE, described
from tests.support.making import write

NEEDS = {
    "NumPy": "numpy",
    "scikit-learn": "sklearn",
    "PyTorch": "torch",
    "Keras": "keras",
    "TensorFlow": "tensorflow",
    "JAX": "jax",
    "pandas": "pandas",
    "Polars": "polars",
    "DuckDB": "duckdb",
    "Arrow": "pyarrow",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with classes, and one of vectors alone."""
    made = tmp_path_factory.mktemp("code")
    dataset(made / "it's mine.parquet")
    write(made / "bare.parquet", 20)
    return made


@pytest.mark.parametrize("name", NEEDS)
@pytest.mark.parametrize("file", ["it's mine.parquet", "bare.parquet"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_code_runs(
    folder: Path,
    file: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    code = {each.name: each.code for each in snippets(dof.open(file))}[name]
    exec(compile(code, name, "exec"), {})
    assert capsys.readouterr().out or "KMeans" in code


def test_every_framework_is_there(folder: Path) -> None:
    names = [each.name for each in snippets(dof.open(folder / "bare.parquet"))]
    assert names == [*NEEDS, "Shell"]


def test_a_directory_is_opened_by_us(folder: Path) -> None:
    path = folder / "many.dof"
    dof.convert(folder / "bare.parquet", path)
    codes = {each.name: each.code for each in snippets(dof.open(path))}
    assert all("dof.open('many.dof')" in codes[name] for name in ("pandas", "Polars", "Arrow"))


def test_names_of_strangers_stay_names(tmp_path: Path) -> None:
    """A file called like code, with a target called like code, gives code that holds both as texts."""
    path = tmp_path / "x'); import os; os.abort() #\".parquet"
    described(path, HOSTILE)
    for each in snippets(dof.open(path)):
        if each.language == "sh":
            for line in each.code.split("\n")[:3]:
                assert shlex.split(line)[0] == "dof"
            assert path.name in shlex.split(each.code)
            continue
        calls = [node for node in ast.walk(ast.parse(each.code)) if isinstance(node, ast.Attribute)]
        assert "abort" not in [node.attr for node in calls]
        literals = [
            node.value for node in ast.walk(ast.parse(each.code)) if isinstance(node, ast.Constant)
        ]
        assert path.name in literals
