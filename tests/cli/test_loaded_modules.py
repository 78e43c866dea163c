"""What each command loads before its first picture: counted, since each module is a wait."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from dof_arrow.cores.core import Core
from dof_arrow.inference.fuse import fuse
from tests.cores.test_core import SQUASHED, small_model
from tests.inference.test_fuse import small_head
from tests.support import making, models, pictures

# Runs a command in a process of its own, as the entry point does, and tells what was loaded.
_COMMAND = """
import sys
sys.argv = ["dof", *sys.argv[1:]]
from dof_arrow.__main__ import run
try:
    run()
except SystemExit as end:
    assert end.code == 0, end.code
print("LOADED", *sys.modules)
"""
_FRAMEWORKS = ("torch", "sklearn", "scipy", "polars", "duckdb", "datasets", "ray", "timm", "rich")
_NEVER = (*_FRAMEWORKS, "pandas", "av", "pydicom", "http.client")
_NO_MODELS = ("onnx", "google.protobuf", "onnxruntime", "PIL")


def loaded(*arguments: object) -> set[str]:
    done = making.run(_COMMAND, *arguments)
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith("LOADED ")
    return set(line.split()[1:])


def without(found: set[str], unwanted: tuple[str, ...]) -> None:
    assert not [name for name in found for each in unwanted if f"{name}.".startswith(f"{each}.")]


@pytest.fixture(autouse=True)
def _keys(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_help_loads_next_to_nothing() -> None:
    found = loaded("--help")
    without(found, (*_NEVER, *_NO_MODELS, "click", "numpy", "pyarrow"))
    assert len(found) < 120


def test_info_loads_no_models_and_no_pictures(tmp_path: Path) -> None:
    path = making.write(tmp_path / "x", 3)
    found = loaded("info", path)
    without(found, (*_NEVER, *_NO_MODELS, "pyarrow.compute", "pyarrow.dataset"))
    assert len(found) < 480


def test_extract_loads_no_onnx_for_a_core_that_it_has_cut_before(tmp_path: Path) -> None:
    folder = pictures.folder_of(tmp_path / "pictures", 2)
    model = tmp_path / "model.onnx"
    model.write_bytes(models.gemm().SerializeToString())
    asked = ("--core", model, "--preprocess", "unit", "--id-key", tmp_path / "key")
    first = loaded("extract", folder, *asked, "-o", tmp_path / "a.parquet")
    again = loaded("extract", folder, *asked, "-o", tmp_path / "b.parquet")
    without(first, _NEVER)
    without(again, (*_NEVER, "onnx", "google.protobuf"))
    assert "onnx" in first
    assert len(again) < 680
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_predict_loads_no_dataset(tmp_path: Path) -> None:
    folder = pictures.folder_of(tmp_path / "pictures", 2)
    core = Core.from_bytes(small_model(), preprocess=SQUASHED)
    model = tmp_path / "model.onnx"
    about = {"kind": "category", "feature": "feature", "report": {}, "unit": None}
    head = small_head(core, **about, dataset_uuid=str(uuid.UUID(int=1)))
    model.write_bytes(fuse(core, {"finding": head}))
    found = loaded("predict", model, folder)
    without(found, (*_NEVER, "dof_arrow.dataset", "dof_arrow.loader", "dof_arrow.extraction"))
    assert len(found) < 640


def test_what_needs_pandas_has_it_all_the_same() -> None:
    code = """
import sys
from dof_arrow.cli.pandas_unasked import keep_pandas_out
keep_pandas_out()
import pyarrow as pa
table = pa.table({"a": [1, 2]})
assert "pandas" not in sys.modules
assert table.to_pandas()["a"].tolist() == [1, 2]
import pandas
"""
    pytest.importorskip("pandas")
    done = making.run(code)
    assert done.returncode == 0, done.stderr
