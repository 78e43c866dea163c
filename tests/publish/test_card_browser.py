"""The card in a real browser: nothing is asked for, the map answers, hostile texts stay texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.publish.card import card, gathered
from dof_arrow.publish.card_map import Colouring, Map, Nearest, View
from dof_arrow.publish.card_packing import packed_numbers, packed_texts
from dof_arrow.publish.card_page import page
from tests.publish.making_cards import CLASSES, dataset
from tests.support import making
from tests.support.browsers import Seen, browser, opened
from tests.support.hostile_texts import described

MARKUP = "</script><script>alert(1)</script><img src=x onerror=alert(2)><b>bold</b>"
MANY = 100_000
FLUID = 34  # milliseconds a frame: at most two of a screen that shows 60 a second
TRIES = 5

# Each frame once, as the wheel turns: milliseconds from one to the next, the middle one.
_FRAMES = """async () => {
  const canvas = document.getElementById("map-canvas"), box = canvas.getBoundingClientRect(), times = [];
  let last = await new Promise(requestAnimationFrame);
  for (let turn = 0; turn < 60; turn++) {
    const where = { clientX: box.left + 300, clientY: box.top + 200, cancelable: true };
    canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: turn < 30 ? -40 : 40, ...where }));
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times.sort((a, b) => a - b)[30];
}"""
# The middle of a row on the screen, in pixels of the page.
_PLACE = """row => {
  const box = document.getElementById("map-canvas").getBoundingClientRect();
  return [box.left + map.left[row] / map.dense, box.top + map.top[row] / map.dense];
}"""


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    card(dataset(folder / "animals.parquet"), folder / "card.html")
    return folder / "card.html"


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_in_two_widths_light_and_dark(
    running: Any, file: Path, width: int, scheme: str
) -> None:
    with opened(running, file, width=width, scheme=scheme) as seen:
        assert seen.run("document.documentElement.scrollWidth") == width
        dark = seen.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] < 100")
        assert dark == (scheme == "dark")
        assert seen.text("h1") == "animals.parquet"
        for heading in ("Map of the features", "How it was made", "Balance", "Privacy", "Use it"):
            assert heading in seen.text("main")
        assert "Not audited" in seen.text("#privacy")


def test_what_is_painted_are_the_points(running: Any, file: Path) -> None:
    """The pixel in the middle of each row has the colour of its class, or of one that lies on it."""
    with opened(running, file) as seen:
        found = seen.run("""() => {
          const { data } = brush.getImageData(0, 0, paper.width, paper.height);
          return Array.from({ length: 60 }, (_, row) => {
            const place = 4 * (map.top[row] * paper.width + map.left[row]);
            return data.slice(place, place + 3).join(" ");
          });
        }""")
        colours = ["66 105 208", "239 177 24", "255 114 92"]
        assert set(found) == set(colours)
        same = sum(found[row] == colours[row % 3] for row in range(60))
        assert same > 50


def _move_to(seen: Seen, row: int) -> tuple[float, float]:
    seen.run("document.getElementById('map').scrollIntoView({ behavior: 'instant' })")
    x, y = seen.run(_PLACE, row)
    seen.page.mouse.move(x, y)
    return x, y


def _lone_row(seen: Seen) -> int:
    """A row with no other one close to it on the screen."""
    return int(
        seen.run("""() => {
      let best = 0, most = 0;
      for (let row = 0; row < 60; row++) {
        let least = Infinity;
        for (let other = 0; other < 60; other++) {
          if (other !== row) least = Math.min(least, Math.hypot(map.left[row] - map.left[other], map.top[row] - map.top[other]));
        }
        if (least > most) [best, most] = [row, least];
      }
      return best;
    }""")
    )


def test_hover_tells_the_row_and_a_click_its_neighbours(running: Any, file: Path) -> None:
    told = gathered(dof.open(file.with_name("animals.parquet")))
    with opened(running, file) as seen:
        row = _lone_row(seen)
        x, y = _move_to(seen, row)
        seen.page.wait_for_selector("#map-hover:not([hidden])")
        assert seen.text("#map-hover").split("\n")[:2] == [
            f"{row:08d}",
            f"label: {CLASSES[row % 3]}",
        ]
        seen.page.mouse.click(x, y)
        beside = seen.text("#map-row")
        assert f"{row:08d}" in beside
        near = seen.run("row => neighboursOf(row).map(each => each.row)", row)
        assert told.map.nearest is not None
        assert len(near) == told.map.nearest.count
        for other in near:
            assert f"{other:08d}, {CLASSES[other % 3]}" in beside
        seen.page.locator("#map-row li button").first.click()
        assert seen.text("#map-row h3") == f"{near[0]:08d}"


def test_the_wheel_zooms_where_the_pointer_is(running: Any, file: Path) -> None:
    with opened(running, file) as seen:
        row = _lone_row(seen)
        before = _move_to(seen, row)
        seen.page.mouse.wheel(0, -400)
        seen.until("map.zoom > 1.5 && !map.dirty")
        after = seen.run(_PLACE, row)
        assert np.allclose(before, after, atol=4)
        seen.page.click("#map-reset")
        seen.until("map.zoom === 1 && !map.dirty")
        seen.page.click("#map-in")
        seen.until("map.zoom > 1.5")


def test_dragging_moves_the_map(running: Any, file: Path) -> None:
    with opened(running, file) as seen:
        x, y = _move_to(seen, 5)
        seen.page.mouse.down()
        seen.page.mouse.move(x + 60, y + 30, steps=4)
        seen.page.mouse.up()
        seen.until("!map.dirty")
        assert np.allclose(seen.run(_PLACE, 5), (x + 60, y + 30), atol=2)
        assert seen.run("map.chosen") == -1


def test_legend_and_filter_hide_rows(running: Any, file: Path) -> None:
    shown = "map.shown.reduce((sum, each) => sum + each, 0)"
    with opened(running, file) as seen:
        seen.page.click("#map-legend button >> nth=0")
        assert seen.run(shown) == 40
        assert "40 are shown" in seen.text("#map-said")
        assert seen.page.get_attribute("#map-legend button", "aria-pressed") == "false"
        seen.page.select_option("#map-filter", label="test")
        assert seen.run(shown) == sum(row % 3 > 0 for row in range(60) if row // 2 % 5 == 4)
        seen.page.select_option("#map-colour", label="age")
        assert seen.run(shown) == 12
        assert "88.5 years" in seen.text("#map-legend")
        seen.page.select_option("#map-colour", label="group")
        assert "somebody" not in seen.page.content()


def test_by_keyboard(running: Any, file: Path) -> None:
    with opened(running, file) as seen:
        seen.page.keyboard.press("Tab")
        assert seen.run("document.activeElement.textContent") == "Skip to the content"
        seen.page.focus("#map-canvas")
        seen.page.keyboard.press("ArrowRight")
        first = seen.run("map.chosen")
        assert seen.text("#map-row h3") == f"{first:08d}"
        place = seen.run("[map.left[map.chosen]]")[0]
        seen.page.keyboard.press("ArrowRight")
        assert seen.run("[map.left[map.chosen]]")[0] > place
        seen.page.keyboard.press("+")
        assert seen.run("map.zoom") > 1.5
        seen.page.keyboard.press("0")
        assert seen.run("map.zoom") == 1
        seen.page.keyboard.press("Escape")
        assert seen.text("#map-row") == ""
        seen.page.focus("[role=tab]")
        seen.page.keyboard.press("ArrowRight")
        assert seen.run("document.activeElement.textContent") == "scikit-learn"
        assert "LogisticRegression" in seen.text("[role=tabpanel]:not([hidden])")


def test_for_a_screen_reader(running: Any, file: Path) -> None:
    """Everything that can be used has a name; sections, tables and pictures say what they are."""
    with opened(running, file) as seen:
        nameless = seen.run("""() => [...document.querySelectorAll("button, select, input, a, canvas, img, svg")]
          .filter(each => !each.ariaHidden && !each.ariaLabel && !each.alt && !each.textContent.trim()
            && !each.labels?.length && !each.closest("[hidden]"))
          .map(each => each.outerHTML.slice(0, 80))""")
        assert nameless == []
        levels = seen.run(
            "[...document.querySelectorAll('h1, h2, h3')].map(each => +each.tagName[1])"
        )
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert seen.run("document.querySelectorAll('section[aria-labelledby]').length") == 9
        assert seen.page.get_attribute("#map-row", "aria-live") == "polite"
        assert seen.run("document.documentElement.lang") == "en"


def test_an_outlier_is_shown_on_the_map(running: Any, file: Path) -> None:
    told = gathered(dof.open(file.with_name("animals.parquet")))
    with opened(running, file) as seen:
        seen.page.click("#qualities button >> nth=0")
        assert seen.run("map.chosen") == told.quality.lonely[0].place
        assert seen.text("#map-row h3") == told.quality.lonely[0].label


def test_code_is_copied(running: Any, file: Path) -> None:
    with opened(running, file) as seen:
        seen.page.click("#code .code:not([hidden]) button")
        seen.page.wait_for_selector("text=/Copied|Selected/")
        assert "import dof_arrow" in seen.run("getSelection().toString()") or seen.run(
            "navigator.clipboard !== undefined"
        )


def test_on_paper_it_is_whole(running: Any, file: Path) -> None:
    """All code is printed, what can only be used on a screen is not, and the map stands on white."""
    with opened(running, file, scheme="dark") as seen:
        seen.page.emulate_media(media="print", color_scheme="light")
        assert not seen.page.is_visible("#map-controls")
        assert seen.page.is_visible("#panel-5")
        assert seen.page.is_visible("#map-canvas")
        assert not seen.page.is_visible("#map-marks")  # a clear canvas is printed as a white one
        seen.run("choose(7)")
        seen.run("window.dispatchEvent(new Event('beforeprint'))")
        corner, ring = seen.run("""() => {
          const { data, width } = brush.getImageData(0, 0, paper.width, paper.height);
          const high = Math.round(map.top[7] - radius() - 2.5 * map.dense);
          return [[...data.slice(4, 7)], data[4 * (high * width + map.left[7])]];
        }""")
        assert corner == [255, 255, 255]
        assert ring < 128  # the chosen row has a ring of ink
        assert seen.page.pdf()[:5] == b"%PDF-"


def test_hostile_texts_stay_texts(running: Any, tmp_path: Path) -> None:
    path = described(
        tmp_path / "x.parquet", MARKUP, description=MARKUP, homepage="javascript:alert(3)"
    )
    card(path, tmp_path / "card.html", names=True)
    with opened(running, tmp_path / "card.html") as seen:
        assert seen.text("h1") == MARKUP
        assert f"dog{MARKUP}" in seen.text("#map-legend")
        seen.run("choose(3)")
        assert MARKUP in seen.text("#map-row")
        assert (
            seen.run(
                "document.querySelectorAll('main b:not(.step b), main img, main script').length"
            )
            == 0
        )
        assert seen.run("[...document.links].every(each => each.protocol === 'file:')")


def test_nothing_can_leave(running: Any, file: Path) -> None:
    """Even a script of the page's own, were there one that tried, is refused by its policy."""
    with opened(running, file) as seen:
        tried = seen.run("""async () => {
          const refused = [];
          document.addEventListener("securitypolicyviolation", event => refused.push(event.effectiveDirective));
          await fetch("https://example.org/").catch(() => 0);
          navigator.sendBeacon("https://example.org/", "x");
          new Image().src = "https://example.org/x.png";
          await new Promise(done => setTimeout(done, 300));
          return refused;
        }""")
        assert {"connect-src", "img-src"} <= set(tried)
        seen.errors.clear()  # the browser has said so too
        seen.requests.clear()


def _many() -> Map:
    """A map of 100,000 rows that nobody has to compute."""
    random = np.random.default_rng(0)
    places = [random.integers(0, 65_536, MANY) for _ in range(2)]
    codes = packed_numbers(random.integers(0, 10, MANY), "<u2")
    labels = tuple(f"class {number}" for number in range(10))
    near = Nearest(
        count=5,
        rows=packed_numbers(random.integers(0, MANY, (MANY, 5)), "<u4"),
        cosines=packed_numbers(random.integers(150, 250, (MANY, 5)), "<u1"),
    )
    view = View(
        name="PCA", note="", x=packed_numbers(places[0], "<u2"), y=packed_numbers(places[1], "<u2")
    )
    ids = [random.bytes(5).hex()[:8] for _ in range(MANY)]
    return Map(
        rows=MANY,
        of=MANY,
        ids=packed_texts(ids),
        numbers="",
        views=(view,),
        colourings=(Colouring(name="label", kind="classes", codes=codes, labels=labels),),
        nearest=near,
    )


def test_a_hundred_thousand_points_are_fluid(running: Any, file: Path, tmp_path: Path) -> None:
    """Under 6 MB, and a frame within 33 ms, the middle of 60 as the wheel turns; the best of tries counts."""
    told = gathered(dof.open(file.with_name("animals.parquet")))
    data = page("many", dataclasses.replace(told, map=_many()))
    assert len(data) < 6_000_000
    path = tmp_path / "many.html"
    path.write_bytes(data)
    with opened(running, path) as seen:
        best = min(seen.run(_FRAMES) for _ in range(TRIES))
        assert best <= FLUID
        assert seen.run("rowAt(map.left[77], map.top[77])") >= 0


def test_rows_of_several_classes(running: Any, tmp_path: Path) -> None:
    """A filter by a class shows all rows of it, those of several too; a row tells all that it has."""
    signs = pa.array([[0], [1], [0, 1], [], None, [1, 2]], pa.list_(pa.int32()))
    about = {"targets": {"signs": {"kind": "multilabel", "classes": ["bright", "dark", "round"]}}}
    path = making.write(tmp_path / "x.parquet", 6, columns={"signs": signs}, metadata=about)
    card(path, tmp_path / "card.html")
    with opened(running, tmp_path / "card.html", width=400) as seen:
        legend = seen.text("#map-legend").split("\n")
        assert legend[::2] == [
            "bright alone",
            "dark alone",
            "several classes",
            "no class",
            "no value",
        ]
        seen.page.select_option("#map-filter", label="dark")
        assert seen.run("Array.from(map.shown)") == [0, 1, 1, 0, 0, 1]
        seen.run("choose(5)")
        assert "dark, round" in seen.text("#map-row")
        seen.page.focus("#map-row li button")
        seen.page.keyboard.press("Enter")
        assert seen.run("document.activeElement.closest('#map-row') !== null")


def test_what_is_too_wide_is_scrolled_by_keyboard(running: Any, file: Path) -> None:
    with opened(running, file, width=400) as seen:
        seen.run("document.querySelector('#columns table').style.minWidth = '900px'")
        seen.until("document.querySelector('#columns .wide').tabIndex === 0")
        assert seen.page.get_attribute("#columns .wide", "role") == "group"
        assert seen.page.get_attribute("#qualities .wide", "tabindex") is None


def test_a_sheet_and_an_audit_are_shown(running: Any, tmp_path: Path) -> None:
    score = {"value": 0.9, "low": 0.8, "high": 0.95}
    finding = {
        "attack": "linkage",
        "reached": score,
        "control": score,
        "baseline": 0.1,
        "found": True,
    }
    audits = [{"rows": 60, "groups": 30, "findings": [finding], "notes": [MARKUP]}]
    path = dataset(tmp_path / "x.parquet", privacy={"ids": "pseudonym", "audits": audits})
    Image.new("L", (30, 20)).save(tmp_path / "sheet.png")
    card(path, tmp_path / "card.html", sheets=tmp_path / "sheet.png")
    with opened(running, tmp_path / "card.html") as seen:
        assert seen.run("document.querySelector('#privacy img').naturalWidth") == 30
        told = seen.text("#privacy")
        assert "shows pictures of the source" in told
        assert "0.900 (0.80 to 0.95)" in told
        assert "Found: linkage." in told
        assert f"Not tried, or less: {MARKUP}" in told
        assert "Not audited" not in told
