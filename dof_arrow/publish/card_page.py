"""A card as one HTML file: the page of `page/`, with its style, scripts and data put in.

The page may load nothing and send nothing: its Content-Security-Policy allows the style and the
scripts that stand in it, by their digests, and no address at all. Data stand in it as JSON, which
is never run, and reach the screen as text.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from dof_arrow.errors import shown

Json = Any

_SCRIPTS = ("parts.js", "sections.js", "map.js", "try.js")
_PLACE = re.compile(r"<!-- put (\w+) -->")


def page(title: str, card: Any, runtime: str | None = None) -> bytes:
    """The bytes of the page: `card` is a dataclass, `runtime` the script that runs a model."""
    scripts = [_read(name) for name in _SCRIPTS]
    style = _read("card.css")
    modules = [runtime] if runtime else []
    policy = _policy(style, scripts, modules)
    filled = {
        "policy": f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        "title": f"<title>{escape(shown(title))}</title>",
        "style": f"<style>{style}</style>",
        "data": f'<script type="application/json" id="card">{as_data(card)}</script>',
        "scripts": _tags("<script>", scripts),
        "runtime": _tags('<script type="module">', modules),
    }
    return fill(_read("card.html"), filled).encode()


def fill(text: str, parts: Mapping[str, str]) -> str:
    """A text with each `<!-- put NAME -->` replaced, once: what is put in is not looked at again.

    >>> fill("<p><!-- put a --></p>", {"a": "<!-- put b -->"})
    '<p><!-- put b --></p>'
    """
    return _PLACE.sub(lambda found: parts[found[1]], text)


def as_data(value: Any) -> str:
    """A dataclass as JSON that may stand inside a script element.

    `<` is escaped, so that no text of a file ends the element; and what changes how other text is
    shown, but for line breaks, is made visible.

    >>> as_data({"title": "</script>"})
    '{"title":"\\\\u003c/script>"}'
    """
    plain = value if isinstance(value, Mapping) else dataclasses.asdict(value)
    text = json.dumps(_visible(plain), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _visible(value: Json) -> Json:
    if isinstance(value, str):
        return "\n".join(shown(line) for line in value.split("\n"))
    if isinstance(value, Mapping):
        return {shown(name): _visible(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(item) for item in value]
    return value


def _policy(style: str, scripts: Sequence[str], modules: Sequence[str]) -> str:
    allowed = [_digest(script) for script in (*scripts, *modules)]
    if modules:
        allowed.append("'wasm-unsafe-eval'")  # a model is run by WebAssembly, and nothing else is
    return (
        f"default-src 'none'; script-src {' '.join(allowed)}; style-src {_digest(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _tags(opening: str, scripts: Sequence[str]) -> str:
    return "\n".join(f"{opening}{script}</script>" for script in scripts)


def _read(name: str) -> str:
    return (files("dof_arrow.publish") / "page" / name).read_text("utf-8")
