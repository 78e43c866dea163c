"""The page holds nothing that runs but its own scripts, names no address, and takes texts as texts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

import dof_arrow as dof
from dof_arrow.errors import UNSAFE
from dof_arrow.publish.card_page import as_data, fill, page
from tests.publish.making_cards import dataset
from tests.support.hostile_texts import HOSTILE, described

PARTS = sorted(each.name for each in (files("dof_arrow.publish") / "page").iterdir())
MARKUP = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<!--"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    dof.card(dataset(folder / "x.parquet"), folder / "card.html")
    return (folder / "card.html").read_text("utf-8")


def test_all_parts_are_there() -> None:
    assert PARTS == ["card.css", "card.html", "map.js", "parts.js", "sections.js", "try.js"]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_names_no_address_and_reads_no_markup(part: str) -> None:
    """Texts reach the screen by textContent alone; what SVG is called is no address."""
    written = (files("dof_arrow.publish") / "page" / part).read_text("utf-8")
    assert set(re.findall(r"(?:https?:)?//[a-z][\w.]+\.[a-z/0-9]+", written)) <= {
        "http://www.w3.org/2000/svg"
    }
    banned = (
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|fetch\(|XMLHttp"
    )
    assert not re.search(banned, written)
    assert not re.search(r"\son\w+=|javascript:", written)


def test_the_policy_allows_what_stands_in_the_page_and_no_more(text: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["form-action"] == rules["base-uri"] == "'none'"
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    assert rules["script-src"].split() == [_digest(script) for script in scripts]
    assert rules["style-src"] == _digest(style)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_markup_in_data_ends_nothing() -> None:
    found = as_data({MARKUP: [MARKUP]})
    assert "<" not in found
    assert json.loads(found) == {MARKUP: [MARKUP]}


def test_what_changes_the_display_is_made_visible() -> None:
    found = json.loads(as_data({"text": f"one\ntwo{HOSTILE}"}))["text"]
    assert not UNSAFE.search(found.replace("\n", ""))
    assert found.startswith("one\ntwo")


def test_what_is_put_in_is_not_looked_at_again() -> None:
    assert fill("<!-- put a --><!-- put b -->", {"a": "<!-- put b -->", "b": r"\1"}) == (
        r"<!-- put b -->\1"
    )


def test_hostile_texts_are_inert_in_the_file(tmp_path: Path) -> None:
    path = described(
        tmp_path / "x.parquet", MARKUP, description=MARKUP, homepage="javascript:alert(3)"
    )
    made = dof.card(path, tmp_path / "card.html")
    text = (tmp_path / "card.html").read_text("utf-8")
    before, data, after = re.split(
        r'(<script type="application/json".*?</script>)', text, flags=re.S
    )
    assert "<script>alert(" not in before + after
    assert "<img" not in text
    assert data.count("<") == 2
    (homepage,) = [fact for fact in made.about.facts if fact.name == "Homepage"]
    assert homepage.link is None


def test_the_title_of_the_page_is_escaped() -> None:
    assert b"<title>&lt;b&gt; &amp;</title>" in page("<b> &", {})
