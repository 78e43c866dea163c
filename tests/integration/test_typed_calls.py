"""Calls with options: type checkers refuse what the call refuses, and nothing else.

The TypedDicts that checkers and editors read are written from the dataclasses that check a call.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.dataset.dataset import Dataset
from tests.support import typed_options
from tests.support.making import ROOT
from tests.support.making_rows import made
from tests.support.typed_options import PACKAGE, TYPED, Typed, stale, texts

_CALLS = """
import dof_arrow as dof

ds = dof.open("x.dof.parquet")
loader = ds.loader(batch_size=8, shuffle=True, balance={"label": {"ill": 0.3}}, views="first")
loader.set_epoch(loader.epoch + 1)
ds.loader(augment=[{"noise": 0.1}], normalize="train", columns=["age"], target=None)
ds.loader(batchsize=8)  # wrong
ds.loader(batch_size="8")  # wrong
ds.loader(views="some")  # wrong
ds.loader(chunk=8)  # wrong
ds.clip_loader(batch_size=8, bucket=4, chunk=None)
ds.clip_loader(buckets=4)  # wrong
ds.clip_loader(chunk=[4])  # wrong
ds.clip_loader(views="all")  # wrong
pics = dof.pictures("folder", label="folder", size=(32, 32), split={"train": 0.8, "valid": 0.2})
dof.pictures("folder", table="x.csv", key="file", frames=16, on_error="skip")
dof.pictures("folder", siz=32)  # wrong
dof.pictures("folder", mode="CMYK")  # wrong
dof.pictures("folder", keep=3)  # wrong
pics.loader(augment="photo", workers=2).set_epoch(1)
pics.loader(augment=[{"flip_x": 0.5}], target="label")
pics.loader(augment=0.5)  # wrong
pics.loader(batchsize=8)  # wrong
"""
_EXTRACTION = """
dof.extract("folder", core="builtin", out="x.dof.parquet", label="folder")
dof.extract("folder", core="builtin", out="x.dof.parquet", labl="folder")  # wrong
dof.extract("folder", core="builtin", out="x.dof.parquet", label=3)  # wrong
"""


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A file of calls, right ones and wrong ones."""
    path = tmp_path / "calls.py"
    typed = (PACKAGE / "extraction/typed.py").exists()
    path.write_text(_CALLS + (_EXTRACTION if typed else ""))
    return path


def _wrong_lines(path: Path) -> set[int]:
    lines = path.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def test_mypy_refuses_each_wrong_call_and_no_right_one(calls: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    cache = calls.parent / "cache"
    with suppress(FileNotFoundError):  # what mypy knows of the package already, if it does
        shutil.copytree(ROOT / ".mypy_cache", cache)
    command += ["--cache-dir", str(cache), "--no-error-summary", str(calls)]
    done = _run(command, MYPYPATH=str(ROOT))
    refused = re.findall(r"calls\.py:(\d+): error", done.stdout)
    assert {int(line) for line in refused} == _wrong_lines(calls), done.stdout + done.stderr


def test_pyright_refuses_each_wrong_call_and_no_right_one(calls: Path) -> None:
    pytest.importorskip("pyright")
    settings = {"include": [calls.name], "extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}
    (calls.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--project", str(calls.parent)]
    done = _run([*command, "--pythonpath", sys.executable])
    found = json.loads(done.stdout)["generalDiagnostics"]
    refused = {each["range"]["start"]["line"] + 1 for each in found}
    assert refused == _wrong_lines(calls), done.stdout + done.stderr


def _run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}
    )


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_typed_options_are_fresh() -> None:
    done = _run([sys.executable, "-m", "tests.support.typed_options", "--check"])
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("typed", TYPED, ids=lambda typed: typed.typed_name)
def test_typed_options_are_those_of_the_dataclass(typed: Typed) -> None:
    def found(module: str, name: str) -> Any:
        path = module.removesuffix(".py").replace("/", ".")
        return getattr(import_module(f"dof_arrow.{path}"), name)

    declared = [field.name for field in fields(found(typed.source, typed.name))]
    assert list(found(typed.target, typed.typed_name).__annotations__) == declared


_SOURCE = '''
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Names = Sequence[str]

@dataclass
class Base:
    """Base."""
    path: os.PathLike[str]
    """Where it lies."""

@dataclass
class Asked(Base):
    """What is asked."""
    names: Names = ()
    """Names,
    several."""
    values: np.ndarray | None = None
    """Values."""
'''
_EXPECTED = '''
from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import os

    import numpy as np

    from dof_arrow.asked import Names


class AskedOptions(TypedDict, total=False):
    """What is asked."""

    path: os.PathLike[str]
    """Where it lies."""

    names: Names
    """Names,
    several."""

    values: np.ndarray | None
    """Values."""
'''


def test_types_bases_and_documentation_are_taken_over(tmp_path: Path) -> None:
    package = tmp_path / "dof_arrow"
    package.mkdir()
    (package / "asked.py").write_text(_SOURCE)
    typed = [Typed("asked.py", "Asked", "typed.py", "AskedOptions")]
    (text,) = texts(package, typed).values()
    assert text.partition('"""\n')[2] == _EXPECTED
    assert stale(package, typed) == [package / "typed.py"]
    (package / "typed.py").write_text(text)
    assert stale(package, typed) == []
    (package / "asked.py").write_text(_SOURCE.replace("Values.", "Other values."))
    assert stale(package, typed) == [package / "typed.py"]
    (package / "asked.py").write_text(_SOURCE.replace('    """Values."""\n', ""))
    with pytest.raises(SystemExit, match=r"Asked\.values has no docstring"):
        texts(package, typed)


def test_check_names_what_is_stale_and_writing_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "dof_arrow" / "typed.py"
    target.parent.mkdir()
    monkeypatch.setattr(typed_options, "PACKAGE", target.parent)
    monkeypatch.setattr(typed_options, "texts", lambda *_: {target: "new\n"})
    assert typed_options.main(["--check"]) == 1 and not target.exists()
    assert capsys.readouterr().out == "dof_arrow/typed.py is not what its dataclasses say\n"
    assert typed_options.main([]) == 0 and target.read_text() == "new\n"
    assert typed_options.main(["--check"]) == 0


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made(tmp_path_factory.mktemp("typed") / "x.dof.parquet", 10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path / "x.png")
    return path


def test_a_wrong_name_is_refused_with_the_nearest_right_one(ds: Dataset, folder: Path) -> None:
    def refused(call: Callable[..., Any], **options: Any) -> str:
        with pytest.raises(dof.UsageError, match="no such option") as caught:
            call(**options)
        return f"{caught.value.found}. {caught.value.hint}"

    assert refused(ds.loader, batchsize=8) == "batchsize. Did you mean batch_size?"
    assert refused(ds.clip_loader, buckets=8) == "buckets. Did you mean bucket?"
    assert refused(ds.clip_loader, views="all") == "views. "
    pics = dof.pictures(folder)
    assert refused(pics.loader, augmnt="photo") == "augmnt. Did you mean augment?"
    both = refused(lambda **options: dof.pictures(folder, **options), lable="x", siz=8)
    assert both == "lable, siz. Did you mean label for lable, size for siz?"
