"""Options as keyword arguments, for editors and type checkers, written from the dataclasses.

`python -m tests.support.typed_options` writes each target module anew; with `--check` it changes
nothing, and fails if a target is not what would be written. A dataclass is the one source: its
fields, their types, and the docstring below each field. To add one, add a line to `TYPED`.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "dof_arrow"
WIDTH = 100


@dataclass(frozen=True)
class Typed:
    """A dataclass, and the TypedDict that is written from it."""

    source: str  # the module, below the package
    name: str
    target: str
    typed_name: str


TYPED = [
    Typed("extraction/options.py", "ExtractOptions", "extraction/typed.py", "ExtractKeywords"),
    Typed("loader/options.py", "Options", "loader/typed.py", "LoaderOptions"),
    Typed("loader/options.py", "ClipOptions", "loader/typed.py", "ClipLoaderOptions"),
    Typed("loader/raw/options.py", "RawOptions", "loader/raw/typed.py", "PicturesOptions"),
    Typed(
        "loader/raw/options.py", "RawBatchOptions", "loader/raw/typed.py", "PictureLoaderOptions"
    ),
]


@dataclass(frozen=True)
class Import:
    """A name, with its alias, from a module; of a whole module, `module` is empty."""

    module: str
    name: str

    @property
    def package(self) -> str:
        """The package that it comes from."""
        return (self.module or self.name).split()[0].split(".")[0]


@dataclass(frozen=True)
class Option:
    """A field of a dataclass as source text, and the imports that its type needs."""

    annotation: str
    documentation: str
    imports: set[Import]


@dataclass
class Written:
    """What a target module will hold."""

    classes: list[str] = field(default_factory=list)
    imports: set[Import] = field(default_factory=set)


def texts(package: Path = PACKAGE, typed: list[Typed] = TYPED) -> dict[Path, str]:
    """The text of each target module."""
    found: dict[str, Written] = {}
    for each in typed:
        written = found.setdefault(each.target, Written())
        _add(written, each, package)
    return {package / target: _module(written) for target, written in found.items()}


def stale(package: Path = PACKAGE, typed: list[Typed] = TYPED) -> list[Path]:
    """The target modules that are not what would be written."""
    wrong = []
    for path, text in texts(package, typed).items():
        if not path.exists() or path.read_text("utf-8") != text:
            wrong.append(path)
    return wrong


def _add(written: Written, each: Typed, package: Path) -> None:
    module = package / each.source
    node = _classes(module)[each.name]
    lines = [f"class {each.typed_name}(TypedDict, total=False):"]
    lines += [f'    """{ast.get_docstring(node, clean=False)}"""', ""]
    for name, option in _options(module, each.name, package).items():
        lines += [f"    {name}: {option.annotation}", f"    {option.documentation}", ""]
        written.imports |= option.imports
    written.classes.append("\n".join(lines).rstrip())


def _options(module: Path, name: str, package: Path) -> dict[str, Option]:
    """The fields of a dataclass, those of its bases first, as `dataclasses.fields` has them."""
    text = module.read_text("utf-8")
    node = _classes(module)[name]
    imports = _imports(module, package)
    found: dict[str, Option] = {}
    for base in node.bases:
        assert isinstance(base, ast.Name), f"{module}: {name} has a base that is no name"
        found |= _options(_home(module, base.id, package), base.id, package)
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            assert isinstance(statement.target, ast.Name)
            used = {
                part.id for part in ast.walk(statement.annotation) if isinstance(part, ast.Name)
            }
            found[statement.target.id] = Option(
                ast.get_source_segment(text, statement.annotation) or "",
                _documentation(text, after, f"{name}.{statement.target.id}"),
                {imports[part] for part in used if not hasattr(builtins, part)},
            )
    return found


def _documentation(text: str, node: ast.stmt | None, where: str) -> str:
    """The docstring below a field, as it is written there."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return ast.get_source_segment(text, node) or ""
    raise SystemExit(f"{where} has no docstring below it")


def _classes(module: Path) -> dict[str, ast.ClassDef]:
    tree = ast.parse(module.read_text("utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _home(module: Path, name: str, package: Path) -> Path:
    """The module in which a class is declared."""
    if name in _classes(module):
        return module
    dotted = _imports(module, package)[name].module
    return package.parent / f"{dotted.replace('.', '/')}.py"


def _imports(module: Path, package: Path) -> dict[str, Import]:
    """How each name of a module can be imported: as the module does, or from the module itself."""
    own = module.relative_to(package.parent).with_suffix("").as_posix().replace("/", ".")
    found = {}
    for node in ast.parse(module.read_text("utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            home = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                found[alias.asname or alias.name] = Import(home, ast.unparse(alias))
        for name in _assigned(node):
            found[name] = Import(own, name)
    return found


def _assigned(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        yield node.name
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id


def _module(written: Written) -> str:
    """The text of a module as the formatter leaves it."""
    for_checkers = {each for each in written.imports if each.module != "typing"}
    plain = (written.imports - for_checkers) | {Import("typing", "TypedDict")}
    lines = [
        '"""Options as keyword arguments, for editors and type checkers.',
        "",
        "Written by `python -m tests.support.typed_options`: change the dataclasses instead.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
    ]
    if for_checkers:
        lines += _section(plain | {Import("typing", "TYPE_CHECKING")})
        lines += ["", "if TYPE_CHECKING:", *_sections(for_checkers)]
    else:
        lines += _section(plain)
    for text in written.classes:
        lines += ["", "", text]
    return "\n".join(lines) + "\n"


def _sections(imports: set[Import]) -> list[str]:
    """Imports in the linter's order: the standard library, other packages, ours."""
    sections: dict[int, set[Import]] = {0: set(), 1: set(), 2: set()}
    for each in imports:
        if each.package == PACKAGE.name:
            sections[2].add(each)
        else:
            sections[each.package not in sys.stdlib_module_names].add(each)
    lines: list[str] = []
    for section in sections.values():
        if lines and section:
            lines.append("")
        lines += _section(section, "    ")
    return lines


def _section(imports: set[Import], indent: str = "") -> list[str]:
    """The imports of one section: whole modules, then names from modules."""
    lines = [f"{indent}import {each.name}" for each in imports if not each.module]
    lines.sort()
    for module in sorted({each.module for each in imports if each.module}):
        names = [each.name for each in imports if each.module == module]
        names.sort(key=lambda name: (not name.isupper(), name))  # constants come first
        lines += _from(module, names, indent)
    return lines


def _from(module: str, names: list[str], indent: str) -> list[str]:
    line = f"{indent}from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return [line]
    inner = [f"{indent}    {name}," for name in names]
    return [f"{indent}from {module} import (", *inner, f"{indent})"]


def main(arguments: list[str]) -> int:
    """Write the modules, or with `--check` name those that are not fresh."""
    wrong = stale()
    if arguments == ["--check"]:
        for path in wrong:
            print(f"{path.relative_to(PACKAGE.parent)} is not what its dataclasses say")
        return 1 if wrong else 0
    for path, text in texts().items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
