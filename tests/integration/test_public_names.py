"""The public names: locked, documented, and doing what is promised of them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import dof_arrow as dof
from tests.support.making import run
from tests.support.pictures import folder_of

PUBLIC = [
    "Core",
    "CoreError",
    "Dataset",
    "DofError",
    "DofFeatures",
    "DofWarning",
    "FormatError",
    "HeadClassifier",
    "HeadRegressor",
    "MissingExtra",
    "OutputError",
    "Problem",
    "SourceError",
    "UsageError",
    "Writer",
    "append",
    "card",
    "compact",
    "concat",
    "convert",
    "diff",
    "drop",
    "edit",
    "erase",
    "evaluate",
    "export_head",
    "extract",
    "from_arrays",
    "from_arrow",
    "from_pandas",
    "from_parquet",
    "from_polars",
    "fuse",
    "label",
    "merge",
    "open",
    "pictures",
    "predict",
    "pull",
    "push",
    "reidentify",
    "reproduce",
    "save",
    "train",
    "validate",
]
MODULES = sorted(
    m.name.removeprefix("dof_arrow.")
    for m in pkgutil.walk_packages(dof.__path__, "dof_arrow.")
    if m.name != "dof_arrow.__main__"
)


def test_public_names_are_locked() -> None:
    """A name may be added here; one that goes, or changes, is a line in CHANGELOG.md."""
    assert dof.__all__ == PUBLIC and dof.__all__ == sorted(
        dof.__all__, key=lambda n: (n.islower(), n)
    )
    assert [name for name in dof.__all__ if not hasattr(dof, name)] == []
    assert set(dof.__all__) <= set(dir(dof))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = dof.nothing


def test_no_wing_bears_the_name_of_a_public_function() -> None:
    """Else importing the wing would put the module where the function was."""
    wings = {name for name in MODULES if "." not in name}
    assert not wings & set(dof.__all__)


def _own(module: str) -> Iterator[tuple[str, Any]]:
    """A module and its public functions and classes."""
    found = importlib.import_module(f"dof_arrow.{module}")
    yield module, found
    for name, value in vars(found).items():
        here = getattr(value, "__module__", "") == found.__name__ and not name.startswith("_")
        if here and (inspect.isfunction(value) or inspect.isclass(value)):
            yield f"{module}.{name}", value


def _bare(things: Iterable[tuple[str, Any]]) -> list[str]:
    """Names without a docstring; a dataclass makes one up of its signature, which does not count."""
    made = ((name, value, (value.__doc__ or "").strip()) for name, value in things)
    return [
        name
        for name, value, doc in made
        if not doc or doc.startswith(f"{getattr(value, '__name__', '')}(")
    ]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_function_and_class_has_a_docstring(module: str) -> None:
    assert _bare(_own(module)) == []


@pytest.mark.parametrize("name", [n for n in dof.__all__ if inspect.isclass(getattr(dof, n))])
def test_every_method_of_the_public_classes_has_a_docstring(name: str) -> None:
    members = vars(getattr(dof, name)).items()
    assert (
        _bare(
            (n, v)
            for n, v in members
            if not n.startswith("_") and isinstance(v, (property, FunctionType))
        )
        == []
    )


def test_what_the_contract_promises_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = folder_of(tmp_path / "pictures", 40, ("a", "b"))
    out = tmp_path / "pictures.dof.parquet"
    halves = {"split": "train=0.5,test=0.5", "split_exact": True}
    ds = dof.extract(folder, core="builtin", out=out, label="folder", **halves)
    assert isinstance(ds, dof.Dataset) and len(dof.open(out)) == 40
    assert ds.metadata.cores["feature"].preprocessing.mode == "RGB"
    assert ds.columns == ds.schema.names and set(ds[7]) == set(ds.columns)
    assert len(ds[10:20]) == 10 and len(ds.take([3, 1])) == 2 and len(ds.split("train")) == 20
    assert len(ds.filter(pc.field("label") == "b")) == 20
    values = ds.to_numpy()
    assert values.shape == (40, 688) and values.dtype == np.float32 and not values.flags.writeable
    assert sorted(ds.to_numpy("label").tolist()) == [0] * 20 + [1] * 20
    assert pa.table(ds).num_rows == ds.to_arrow().num_rows == 40
    pics = dof.pictures(folder, label="folder")
    assert [len(x) for x, _ in pics.loader(augment=[{"flip_x": 0.5}], target="label")] == [32, 8]
    with dof.Writer(tmp_path / "y.parquet", metadata=None) as writer:
        writer.write(ids=["a", "b"], vectors={"feature": values[:2]}, columns={"label": [0, 1]})
    assert dof.validate(tmp_path / "y.parquet", deep=True) == []
    with pytest.raises(dof.DofError):
        dof.Core.load(tmp_path / "none.onnx")


def test_nothing_reports_to_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime on Linux, 1.31, makes a device id and a queue of events in the home folder when it is loaded."""
    for name in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    made = run(
        "from dof_arrow.cores import builtin; builtin.load()([__import__('numpy').zeros((4, 4, 3), 'uint8')])"
    )
    assert made.returncode == 0, made.stderr
    assert list(tmp_path.iterdir()) == []
