"""Which wing imports which: `python -m tests.support.import_table [FOLDER]` prints the table.

A wing is a folder of the package. `MAY` is the allow-list: what a wing may import besides itself
and the ground. Imports inside functions count; those for type checkers alone do not.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "dof_arrow"
GROUND = ("errors", "once", "progress", "system", "_version")

_FORMAT = ("format/spec", "format/parquet", "format")
_GRAPH = "cores/graph"
_CORES = (_GRAPH, "cores/origins", "cores")
_MEDIA = ("media", "sources")
_LOADER = ("tables", "sampling", "loader")
_EXTRACTION = (
    "storage",
    "sampling",
    *_FORMAT,
    "format/validation",
    "security",
    *_MEDIA,
    *_CORES,
    *_LOADER,
    "loader/raw",
    "dataset",
)
_REWRITE = (
    *_FORMAT,
    "format/validation",
    "storage",
    "security",
    "sources",
    "sampling",
    "tables",
    "dataset",
    "heads",
    "extraction",
)
_PRIVACY = ("privacy/attacks", "privacy")
_LIBRARY = (
    *_EXTRACTION,
    "extraction",
    "heads",
    "inference",
    "rewrite",
    "rewrite/foreign",
    "rewrite/legacy",
    *_PRIVACY,
    "publish",
)

MAY: dict[str, tuple[str, ...]] = {
    "storage": (),
    "sampling": ("format/spec",),
    "format/spec": (),
    "format/parquet": ("format/spec", "storage"),
    "format": ("format/spec", "format/parquet", "storage"),
    "format/validation": (*_FORMAT, "storage"),
    "security": _FORMAT,
    "media": ("format/spec", "storage"),
    "sources": ("format/spec", "media", "storage"),
    "cores/graph": ("storage",),
    "cores/origins": ("format/spec", _GRAPH, "storage"),
    "cores": ("format/spec", _GRAPH, "cores/origins", "media", "storage"),
    "tables": (*_FORMAT, "sampling", "storage"),
    "loader": ("format/spec", "tables", "sampling"),
    "loader/raw": ("loader", "format/spec", "tables", "sampling", *_MEDIA, *_CORES),
    "dataset": (
        *_FORMAT,
        "format/validation",
        "storage",
        "security",
        "tables",
        "loader",
        "sampling",
    ),
    "heads": ("format/spec", _GRAPH, "storage", "sampling", "tables", "dataset"),
    "inference": ("format/spec", *_CORES, *_MEDIA, "heads"),
    "extraction": _EXTRACTION,
    "rewrite": (*_REWRITE, "loader", "rewrite/foreign", "rewrite/legacy"),
    "rewrite/legacy": (*_FORMAT, "storage", "tables"),
    "rewrite/foreign": (
        *_FORMAT,
        "storage",
        "security",
        "sources",
        "sampling",
        "tables",
        "dataset",
        "cores",
        "loader",  # whose way of reading options from keywords is everybody's
    ),
    "privacy/attacks": ("sampling", "heads"),
    "privacy": (*_EXTRACTION, "extraction", "heads", "rewrite", "privacy/attacks"),
    "publish": (
        *_EXTRACTION,
        "extraction",
        "heads",
        "inference",
        "rewrite",
        "rewrite/foreign",
        *_PRIVACY,
    ),
    "cli": _LIBRARY,
    "cli/commands": (*_LIBRARY, "cli"),
}


def modules(package: Path = PACKAGE) -> list[str]:
    """Every module below the package, such as `media/video`; a wing's own `__init__` is its folder."""
    names = (path.relative_to(package).with_suffix("") for path in package.rglob("*.py"))
    parts = (name.parent if name.name == "__init__" else name for name in names)
    return sorted(part.as_posix() for part in parts if part.as_posix() != ".")


def wing(module: str, package: Path = PACKAGE) -> str:
    """The folder that a module stands in; "ground" for those that stand in none."""
    if module == "__main__":
        return "cli"
    if (package / module).is_dir():
        return module
    folder = module.rpartition("/")[0]
    return folder or "ground"


def imported(module: str, *, inside: bool = True, package: Path = PACKAGE) -> frozenset[str]:
    """What a module imports, as dotted names; with those of function bodies if `inside`."""
    path = package / module
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return _imported(file, inside)


@cache
def used(module: str, *, inside: bool = True, package: Path = PACKAGE) -> frozenset[str]:
    """The modules of the package that a module imports."""
    known = _known(package)
    found = set()
    for name in imported(module, inside=inside, package=package):
        first, *rest = name.split(".")
        while first == package.name and rest and "/".join(rest) not in known:
            rest.pop()
        if first == package.name and rest:
            found.add("/".join(rest))
    return frozenset(found)


def table(package: Path = PACKAGE) -> dict[str, Counter[str]]:
    """For each wing, how many imports it takes from each other wing."""
    found: dict[str, Counter[str]] = {}
    for module in modules(package):
        here = wing(module, package)
        row = found.setdefault(here, Counter())
        row.update(wing(other, package) for other in used(module, package=package))
        del row[here]
    return found


def circle(rows: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The wings that lie on a circle of imports, none where the table has no circle."""
    left = {name: set(row) for name, row in rows.items()}
    while free := [name for name, row in left.items() if not row & set(left)]:
        for name in free:
            del left[name]
    return sorted(left)


@cache
def _known(package: Path) -> frozenset[str]:
    return frozenset(modules(package))


@cache
def _imported(file: Path, inside: bool) -> frozenset[str]:
    tree = ast.parse(file.read_text("utf-8"))
    names: set[str] = set()
    for node in _running(tree, inside):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def _running(node: ast.AST, inside: bool) -> Iterator[ast.AST]:
    """The statements that run, those of function bodies too if `inside`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not inside:
            continue
        yield child
        yield from _running(child, inside)


def main(package: Path) -> None:
    """Print the table: a row a wing, with what it imports and how often, and any circle."""
    rows = table(package)
    for name in sorted(rows):
        taken = ", ".join(f"{other} {count}" for other, count in sorted(rows[name].items()))
        print(f"{name:18}  {taken or '-'}")
    print(f"modules: {len(modules(package))}; in a circle: {', '.join(circle(rows)) or 'none'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else PACKAGE)
