"""Hook of mkdocs: pages that lie outside docs/ join the site, and links lead to where they then stand.

In the repository every link is an ordinary relative one, so the pages read well on a forge too. In the site a link
to a file that is no page of it, a notebook or a folder, becomes plain text. A bar within code in a table, which
forges want escaped, is left bare: Python-Markdown would show the backslash.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "README.md": "start.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "dof_arrow/README.md": "map.md",
    "schemas/SPEC.md": "specification.md",
}
_WIDE = ("cores.md", "heritage.md")  # their tables need the room of the table of contents
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
_ROW = re.compile(r"^\|.*\|$", re.M)
_CODE = re.compile(r"`[^`]+`")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages from outside."""
    for source, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn each relative link of a page into one that holds in the site."""
    if page.file.src_uri in _WIDE:
        page.meta["hide"] = ["toc"]
    sources = {name: source for source, name in OUTSIDE.items()}
    here = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    moved = _LINK.sub(lambda link: _moved(link[1], link[2], here), markdown)
    return _ROW.sub(lambda row: _CODE.sub(_bare, row[0]), moved)


def _bare(code: re.Match[str]) -> str:
    return code[0].replace(r"\|", "|")


def _moved(text: str, target: str, here: str) -> str:
    path, hash_mark, anchor = target.partition("#")
    if not path or "://" in path:
        return f"[{text}]({target})"
    found = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
    inside = found.startswith("docs/") and found.endswith(".md")
    name = OUTSIDE.get(found, found.removeprefix("docs/") if inside else "")
    return f"[{text}]({name}{hash_mark}{anchor})" if name else text
