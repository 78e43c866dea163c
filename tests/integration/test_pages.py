"""What the pages say: links lead somewhere, commands and rows are all named, and the site builds from them alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

import dof_arrow as dof
from benchmarks import tables
from dof_arrow.cli import exit_codes
from dof_arrow.cli.group import dof as program

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "dof_arrow/README.md",
    "examples/README.md",
    "schemas/README.md",
    "tests/conformance/README.md",
    "tests/second_reader/README.md",
    *sorted(f"docs/{path.name}" for path in DOCS.glob("*.md")),
]
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```", re.M | re.S)
_LENGTH = 200  # lines of the README, at most


def read(page: str) -> str:
    """A page's text."""
    return (ROOT / page).read_text("utf-8")


def test_the_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= _LENGTH


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """To files of this repository and headings in them; nothing is asked of the network."""
    for link in _LINK.findall(_CODE.sub("", read(page))):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in _anchors(target), f"{page}: {link}"


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    """Paths within backquotes; NAME stands for one that is to be written."""
    named = re.findall(r"\b((?:dof_arrow|docs|examples|schemas|tests)/[\w./-]*\w)", read(page))
    missing = [path for path in named if "NAME" not in path and not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("page", tables.pages(), ids=lambda page: page.stem)
def test_tables_hold_what_was_measured(page: Path) -> None:
    """`python -m benchmarks.tables` would write nothing else."""
    text = page.read_text("utf-8")
    assert tables.filled(text, tables.pages()[page]) == text


def test_every_page_is_in_the_index_and_on_the_site() -> None:
    site = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    index = read("docs/index.md")
    pages = {path.name for path in DOCS.glob("*.md")}
    assert pages == set(re.findall(r"\b[\w-]+\.md", site)) & pages
    assert pages - {"index.md"} <= set(re.findall(r"\]\(([\w-]+\.md)\)", index))


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text("utf-8")), re.M)
    plain = [re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[ \-]+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", PAGES)
def test_features_are_never_called_more_than_pseudonymised(page: str) -> None:
    """They are personal data with a residual risk that can be measured."""
    assert not re.search(r"\banonym", read(page), re.I)


_COMMANDS = program.list_commands(click.Context(program))
_EVERY = {"--json", "-q", "--quiet", "--debug", "--help"}


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_option_of_a_command_is_explained(name: str) -> None:
    """Not one more and not one fewer than the program has."""
    command = program.get_command(click.Context(program), name)
    assert command is not None
    has = {text for each in command.params for text in (*each.opts, *each.secondary_opts)}
    said = _section(f"### dof {name}")
    assert _options(said) == {text for text in has if text.startswith("-")} - _EVERY
    for each in command.params:
        assert not isinstance(each, click.Argument) or f"{each.name}".upper() in said


def test_every_command_is_explained() -> None:
    said = re.findall(r"^### dof (\w+)$", read("docs/command-line.md"), re.M)
    assert said == _COMMANDS


def test_what_all_commands_take_is_explained() -> None:
    assert _options(_section("## All commands alike")) == _EVERY


def test_every_exit_code_is_explained() -> None:
    codes = {value for name, value in vars(exit_codes).items() if name.isupper()}
    said = re.findall(r"^\| (\d+) \|", _section("## Exit codes"), re.M)
    assert sorted(map(int, said)) == sorted(codes)


def _section(heading: str) -> str:
    """What stands between a heading and the next one of its level or above."""
    level = heading.partition(" ")[0]
    _, found, after = f"\n{read('docs/command-line.md')}".partition(f"\n{heading}\n")
    assert found, heading
    return re.split(rf"^#{{2,{len(level)}}} ", after, maxsplit=1, flags=re.M)[0]


def _options(text: str) -> set[str]:
    """The options in the first column of a section's table."""
    rows = re.findall(r"^\| (`-.*?) \| ", text, re.M)
    return {option for row in rows for option in re.findall(r"(?<![\w|-])--?[a-z][\w-]*", row)}


def test_the_reference_names_every_public_name() -> None:
    said = re.findall(r"^::: dof_arrow\.(\w+)$", read("docs/api.md"), re.M)
    assert sorted(said) == sorted(dof.__all__)


ROWS = [
    f"{letter}{number}"
    for letter, last in (("D", 28), ("G", 16), ("C", 6))
    for number in range(1, last + 1)
]
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def heritage() -> dict[str, str]:
    """The rows of the page by their numbers."""
    rows = re.findall(r"^\| ([DGC]\d+) (\|.*)$", read("docs/heritage.md"), re.M)
    assert len(dict(rows)) == len(rows), "a row stands twice"
    return dict(rows)


def test_every_row_of_the_heritage_is_there() -> None:
    assert sorted(heritage()) == sorted(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_heritage_is_shown_by_its_tests(row: str) -> None:
    """Each test that it names exists and names the row; without one it says that it is not done yet."""
    shown = _TEST.findall(heritage()[row])
    assert shown or "not yet" in heritage()[row]
    for path, name in shown:
        assert row in _rows_named(path).get(name, ()), f"{path}::{name} does not name {row}"


@cache
def _rows_named(path: str) -> dict[str, set[str]]:
    """Of each test in a file, the rows that its name or its docstring names."""
    found = {}
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            words = [
                *node.name.upper().split("_"),
                *re.findall(r"\w+", ast.get_docstring(node) or ""),
            ]
            found[node.name] = {word for word in words if word in ROWS}
    return found


def test_d28_every_package_says_why_it_is_there() -> None:
    """D28: the base installation is small, and each package in it has its reason beside it."""
    base = tomllib.loads(read("pyproject.toml"))["project"]["dependencies"]
    lines = read("pyproject.toml").splitlines()
    assert len(base) <= 8
    for package in base:
        (line,) = [line for line in lines if f'"{package}"' in line]
        assert "#" in line, f"{package} gives no reason"


# The site is built in a process that cannot reach the network: any try is an error. Not with --quiet, which would
# keep warnings from being counted, so that --strict saw none.
_BUILD = """
import socket, sys
def refuse(*_, **__):
    raise OSError("the site reaches for the network")
socket.socket.connect = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli(["build", "--strict", "--site-dir", sys.argv[1]])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a link, an anchor or a name that leads nowhere is an error."""
    for name in ("mkdocs", "material", "mkdocstrings_handlers"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", _BUILD, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_fetches_nothing(site: Path) -> None:
    """Neither fonts nor scripts nor pictures from elsewhere: it is read in hospitals without a network."""
    fetched = re.compile(
        r"""<(?:script|img|iframe)\b[^>]*\bsrc=["']?(?:https?:)?//|@import|url\((?:https?:)?//"""
    )
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        styles = [tag for tag in re.findall(r"<link\b[^>]*>", text) if "//" in tag]
        assert not styles and not fetched.search(text), page


def test_the_reference_is_filled_in(site: Path) -> None:
    text = (site / "api.html").read_text("utf-8")
    missing = [name for name in dof.__all__ if f'id="dof_arrow.{name}"' not in text]
    assert not missing
    assert "&gt;&gt;&gt;" in text and "<blockquote>" not in text


def test_every_extra_that_is_named_is_there() -> None:
    """In messages and on pages: `pip install 'dof-arrow[NAME]'` installs something."""
    has = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    texts = [path.read_text("utf-8") for path in (ROOT / "dof_arrow").rglob("*.py")]
    texts += [read(page) for page in PAGES]
    named = set()
    for text in texts:
        for found in re.findall(r'extra="([a-z-]+)"|dof-arrow\[([a-z,-]+)\]', text):
            named |= set("".join(found).split(","))
    assert named <= set(has)
