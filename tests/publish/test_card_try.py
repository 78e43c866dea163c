"""A picture that is given to the card is judged there as `dof predict` judges it, and goes nowhere."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.publish.card import card
from tests.publish.judged_pictures import Judged, judged
from tests.support.browsers import Seen, browser, opened

pytest.importorskip("sklearn")

SAME = 1e-4  # of a probability
JPEG = 1e-3  # at most, on noise; docs/card.md has that of photographs
_DROP = """([name, text]) => {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0)), given = new DataTransfer();
  given.items.add(new File([bytes], name));
  const drop = document.getElementById("try-drop");
  drop.dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true }));
}"""


def runtime() -> Path:
    """Where onnxruntime-web lies; a skip, saying so, where it is absent."""
    path = os.environ.get("DOF_ONNXRUNTIME_WEB", "")
    if not path:
        pytest.skip("onnxruntime-web is not installed: set DOF_ONNXRUNTIME_WEB to npm's package")
    return Path(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    found = judged(tmp_path_factory.mktemp("try"))
    out = found.data.with_name("card.html")
    card(found.data, out, model=found.model, onnxruntime_web=runtime())
    return found


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with browser() as started:
        yield started


def _dropped(seen: Seen, path: Path) -> dict[str, list[float]]:
    """What the page answers to a dropped file."""
    seen.run("delete document.getElementById('try-answer').dataset.found")
    seen.run(_DROP, [path.name, base64.b64encode(path.read_bytes()).decode()])
    answered = "!!document.querySelector('#try-answer[data-found], #try-answer .note')"
    seen.until(answered, 120)
    found: dict[str, list[float]] = json.loads(
        seen.run("document.getElementById('try-answer').dataset.found ?? 'null'")
    )
    return found


def _off(made: Judged, seen: Seen, path: Path) -> float:
    """How far the page's probabilities are from those of `dof predict`."""
    ((_, answers),) = dof.predict(made.model, [path])
    assert isinstance(answers, dict)
    expected = list(answers["label"].probabilities.values())
    return float(np.abs(np.array(_dropped(seen, path)["label"]) - expected).max())


def _picture(mode: str, kind: str, **options: Any) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (37, 51, 4), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode).save(out, kind, **options)
    return out.getvalue()


def test_png_gives_the_same_probabilities(running: Any, made: Judged, tmp_path: Path) -> None:
    kinds = {mode: _picture(mode, "PNG") for mode in ("RGB", "L", "P", "1")}
    with opened(running, made.data.with_name("card.html")) as seen:
        for path in sorted(made.pictures.rglob("*.png"))[::13]:
            assert _off(made, seen, path) <= SAME
        for name, data in kinds.items():
            path = tmp_path / f"{name}.png"
            path.write_bytes(data)
            assert _off(made, seen, path) <= SAME, name


def test_transparent_png_is_laid_on_white(running: Any, made: Judged, tmp_path: Path) -> None:
    """A browser rounds a mixed pixel to one grey level otherwise."""
    (tmp_path / "x.png").write_bytes(_picture("RGBA", "PNG"))
    with opened(running, made.data.with_name("card.html")) as seen:
        assert _off(made, seen, tmp_path / "x.png") <= 20 * SAME


def test_jpeg_differs_by_little(running: Any, made: Judged, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    with opened(running, made.data.with_name("card.html")) as seen:
        for options in ({"quality": 60}, {"quality": 95, "subsampling": 0}, {"exif": turned}):
            (tmp_path / "x.jpg").write_bytes(_picture("RGB", "JPEG", **options))
            assert _off(made, seen, tmp_path / "x.jpg") <= JPEG


def test_the_answer_is_told(running: Any, made: Judged) -> None:
    path = made.pictures / "light" / "01.png"
    ((_, answers),) = dof.predict(made.model, [path])
    assert isinstance(answers, dict)
    with opened(running, made.data.with_name("card.html")) as seen:
        seen.page.set_input_files("#try-file", path)
        seen.until("!!document.querySelector('#try-answer[data-found]')", 120)
        assert seen.page.get_attribute("#try-answer", "aria-live") == "polite"
        first = seen.text("#try-answer tbody tr")
        assert first.split()[0] == answers["label"].label


def test_what_is_no_picture_is_told(running: Any, made: Judged, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    with opened(running, made.data.with_name("card.html")) as seen:
        assert _dropped(seen, tmp_path / "x.png") is None
        assert "could not be judged" in seen.text("#try-answer")
