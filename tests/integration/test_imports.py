"""The house: each wing imports only what it may; heavy libraries load only where they are used."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support import making
from tests.support.import_table import (
    GROUND,
    MAY,
    PACKAGE,
    circle,
    imported,
    modules,
    table,
    used,
    wing,
)

HEAVY = (
    "torch",
    "sklearn",
    "scipy",
    "pandas",
    "polars",
    "duckdb",
    "datasets",
    "onnx",
    "onnxruntime",
    "rich",
    "jax",
    "tensorflow",
    "keras",
    "ray",
    "av",
    "pydicom",
    "timm",
    "torchvision",
    "huggingface_hub",
    "transformers",
    "PIL.ImageCms",
    "pyarrow.compute",
    "pyarrow.parquet",
    "pyarrow.dataset",
)
MODULES = modules()
FILES = [module for module in MODULES if not (PACKAGE / module).is_dir()]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports_only_what_its_wing_may(module: str) -> None:
    here = wing(module)
    allowed = {"ground", here, *MAY.get(here, ())}
    found = {other for other in used(module) if wing(other) not in allowed}
    assert not found, f"{module} ({here}) imports {sorted(found)}"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_stands_in_a_wing_or_on_the_ground(module: str) -> None:
    assert wing(module) in MAY or module in GROUND


def test_the_ground_imports_nothing_of_ours() -> None:
    assert not table()["ground"]


def test_no_circle_among_wings() -> None:
    assert circle(table()) == []


def test_the_allow_list_itself_has_no_circle() -> None:
    assert circle({name: dict.fromkeys(others, 1) for name, others in MAY.items()}) == []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b": 1}, "b": {"a": 1}, "c": {"a": 1}, "d": {}}) == ["a", "b", "c"]


@pytest.mark.parametrize("module", MODULES)
def test_no_circles_among_modules(module: str) -> None:
    seen: set[str] = set()
    ahead = used(module, inside=False)
    while ahead:
        seen |= ahead
        further = set[str]().union(*(used(each, inside=False) for each in ahead))
        ahead = further - seen
    assert module not in seen


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_load_inside_functions(module: str) -> None:
    names = imported(module, inside=False)
    heavy = {name for name in names for each in HEAVY if f"{name}.".startswith(f"{each}.")}
    assert not heavy


def test_nobody_reaches_for_a_drawer_of_odds_and_ends() -> None:
    drawers = {"utils", "util", "base", "helpers", "common", "misc"}
    assert not drawers & {module.rpartition("/")[2] for module in MODULES}


@pytest.mark.parametrize("name", MAY)
def test_every_wing_says_what_it_is_for(name: str) -> None:
    said = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text("utf-8")))
    assert said and len(said.splitlines()) <= 2


def test_the_map_names_each_room_once() -> None:
    text = (PACKAGE / "README.md").read_text("utf-8")
    found = []
    for line in text.splitlines():
        row = re.match(r"\| `([\w/]+)/` \|.*\| (.*) \|$", line)
        if row:
            found += [f"{row[1]}/{name}" for name in re.findall(r"`(\w+)`", row[2])]
    assert sorted(found) == sorted(name for name in FILES if name not in (*GROUND, "__main__"))
    assert all(f"`{name}`" in text for name in GROUND)


def test_no_star_imports() -> None:
    assert not [module for module in MODULES for name in imported(module) if name.endswith(".*")]


_LIGHT = """
import sys
import dof_arrow
names = dir(dof_arrow)
print(" ".join(sorted({m for m in sys.modules if m.split(".")[0] not in sys.stdlib_module_names})))
"""
_ALLOWED = ("dof_arrow", "numpy", "pyarrow", "_virtualenv", "sitecustomize", "usercustomize")


def test_importing_the_package_is_light() -> None:
    """What `import dof_arrow` loads: itself, and at most numpy and pyarrow's core."""
    loaded = _loaded(_LIGHT)
    assert "dof_arrow" in loaded
    assert not [m for m in loaded for each in (*HEAVY, "PIL") if f"{m}.".startswith(f"{each}.")]
    others = [m for m in loaded if m.split(".")[0] not in _ALLOWED]
    assert not [m for m in others if not m.startswith(("_", "cython", "Cython"))]


_OPEN = """
import sys
import dof_arrow
dof_arrow.open(sys.argv[1]).to_numpy()
print(" ".join(sys.modules))
"""


def test_opening_and_mapping_loads_no_framework(tmp_path: Path) -> None:
    loaded = _loaded(_OPEN, making.write(tmp_path / "x", 3))
    unwanted = {"torch", "pandas", "polars", "onnx", "onnxruntime", "PIL"}
    assert not {*unwanted, "pyarrow.compute", "pyarrow.dataset"} & {*loaded}


_CHECK = """
import sys
import dof_arrow
assert dof_arrow.validate(sys.argv[1], deep=True) == []
print(" ".join(sys.modules))
"""


def test_checking_a_file_loads_no_pictures(tmp_path: Path) -> None:
    loaded = _loaded(_CHECK, making.write(tmp_path / "x", 3))
    assert not [m for m in loaded if m.startswith(("PIL", "dof_arrow.media", "dof_arrow.sources"))]


_TRAIN = """
import sys
import dof_arrow
from dof_arrow.heads import estimators, evaluate, features, train, training
print(" ".join(sys.modules))
"""


def test_training_on_floats_loads_no_pictures_and_no_clips() -> None:
    loaded = _loaded(_TRAIN)
    unwanted = ("PIL", "av", "pydicom", "dof_arrow.media", "dof_arrow.sources")
    assert not [m for m in loaded if m.startswith(unwanted)]


def _loaded(code: str, *arguments: object) -> list[str]:
    done = making.run(code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
