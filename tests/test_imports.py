"""The house: imports only downward, heavy libraries only where they are used (house.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests import making

PACKAGE = making.ROOT / "dof_arrow"
FLOORS = (
    ("errors",),
    ("metadata",),
    ("schema", "commit", "footer", "layout", "integrity", "media", "graph", "preprocess", "cut", "core", "privacy"),
    ("plan", "source", "writer", "dataset"),
    ("loader", "audit", "verify", "card", "legacy", "work"),
    ("extract", "cluster", "heads", "builtin"),
    ("demo",),
    ("cli",),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
# Steps on one floor, and the one upward call, from inside a function: `Dataset.loader`.
BESIDE = {("layout", "footer"), ("integrity", "footer"), ("preprocess", "graph"), ("cut", "graph"), ("core", "graph"),
          ("cut", "preprocess"), ("core", "preprocess"), ("core", "cut"), ("extract", "builtin"), ("dataset", "loader")}
HEAVY = ("torch", "sklearn", "scipy", "pandas", "polars", "duckdb", "datasets", "onnx", "onnxruntime", "rich",
         "jax", "tensorflow", "keras", "ray", "av", "pydicom", "timm", "torchvision", "huggingface_hub",
         "transformers", "pyarrow.compute", "pyarrow.parquet", "pyarrow.dataset")
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem not in ("__init__", "__main__"))


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _nodes(node: ast.AST, *, inside: bool) -> Iterator[ast.AST]:
    """The statements that run, those of function bodies too if `inside`."""
    for child in ast.iter_child_nodes(node):
        if not _for_types_only(child) and (inside or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))):
            yield child
            yield from _nodes(child, inside=inside)


def _named(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


@cache
def _imported(module: str, *, inside: bool) -> frozenset[str]:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))
    return frozenset(name for node in _nodes(tree, inside=inside) for name in _named(node))


def _used(module: str, *, inside: bool = True) -> set[str]:
    """Modules of the package that a module imports."""
    parts = (name.split(".") for name in _imported(module, inside=inside))
    return {p[1] for p in parts if p[0] == "dof_arrow" and len(p) > 1 and p[1] in MODULES}


def _floor(module: str, above: tuple[str, ...] = ()) -> int:
    """The floor of a room that the plan names; any other stands as low as what it imports lets it."""
    assert module not in above, f"a circle of imports: {' -> '.join((*above, module))}"
    return FLOOR[module] if module in FLOOR else max((_floor(m, (*above, module)) for m in _used(module)), default=0)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downward(module: str) -> None:
    here = _floor(module)
    for other in _used(module):
        down = _floor(other) < here if module in FLOOR and other in FLOOR else _floor(other) <= here
        assert down or (module, other) in BESIDE, f"{module} (L{here}) imports {other} (L{_floor(other)})"


@pytest.mark.parametrize("module", MODULES)
def test_no_circles(module: str) -> None:
    seen, ahead = set[str](), _used(module, inside=False)
    while ahead:
        seen |= ahead
        ahead = {m for a in ahead for m in _used(a, inside=False)} - seen
    assert module not in seen


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_load_inside_functions(module: str) -> None:
    heavy = {name for name in _imported(module, inside=False) for h in HEAVY if f"{name}.".startswith(f"{h}.")}
    assert not heavy


def test_nobody_reaches_for_a_drawer_of_odds_and_ends() -> None:
    assert not {"utils", "util", "base", "helpers", "common", "misc"} & set(MODULES)


def test_the_map_names_each_room_once() -> None:
    table = [line for line in (PACKAGE / "README.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    assert sorted(name for line in table for name in re.findall(r"`(\w+)`", line)) == MODULES


def test_no_star_imports() -> None:
    assert not [m for m in MODULES for name in _imported(m, inside=True) if name.endswith(".*")]


_LIGHT = """
import sys
import dof_arrow
names = dir(dof_arrow)
print(" ".join(sorted({m for m in sys.modules if m.split(".")[0] not in sys.stdlib_module_names})))
"""
_ALLOWED = ("dof_arrow", "numpy", "pyarrow", "_virtualenv", "sitecustomize", "usercustomize")


def test_importing_the_package_is_light() -> None:
    """What `import dof_arrow` loads: itself, and at most numpy and pyarrow's core."""
    done = making.run(_LIGHT)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert "dof_arrow" in loaded
    assert not [m for m in loaded for h in (*HEAVY, "PIL") if f"{m}.".startswith(f"{h}.")]
    assert not [m for m in loaded if m.split(".")[0] not in _ALLOWED and not m.startswith(("_", "cython", "Cython"))]


_OPEN = """
import sys
import dof_arrow.dataset
dof_arrow.dataset.open(sys.argv[1]).to_numpy()
print(" ".join(sys.modules))
"""


def test_opening_and_mapping_loads_no_framework(tmp_path: object) -> None:
    from pathlib import Path

    done = making.run(_OPEN, making.write(Path(str(tmp_path)) / "x", 3))
    assert done.returncode == 0, done.stderr
    assert not {"torch", "pandas", "polars", "onnx", "onnxruntime", "pyarrow.compute", "pyarrow.dataset"} & {
        *done.stdout.split()}
