"""Cards of all kinds of datasets: clips, slides with survival, claimed cores, extreme and few numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.cli.main import main
from dof_arrow.format.writer import Writer
from dof_arrow.publish import card_projection, croissant, hub_readme
from dof_arrow.publish.card import Card, gathered
from dof_arrow.publish.card_code import snippets
from tests.publish.test_card import unpacked
from tests.support import making

BAGS = ["a" * 26, "b" * 26, "c" * 26]
EVENTS = [{"time": 3.0, "event": True}, None, {"time": 9.0, "event": False}]


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three slides of four tiles, of a core that is only claimed, with times until an event."""
    path = tmp_path_factory.mktemp("kinds") / "slides.parquet"
    about: dict[str, Any] = {
        "record": {"bag": "slide", "x": "x", "y": "y"},
        "targets": {"os": {"kind": "survival", "unit": "days"}},
        "claimed_cores": {"uni": {"name": "UNI", "source": "hf://lab/uni", "facts": {"tile": 256}}},
        "columns": {"feature": {"core": "uni"}},
        "privacy": {"ids": "pseudonym"},
    }
    kind = pa.struct([("time", pa.float64()), ("event", pa.bool_())])
    schema = pa.schema([pa.field("slide", pa.string(), nullable=False)])
    slides = [bag for bag in BAGS for _ in range(4)]
    with Writer(path, about, schema=schema) as writer:
        writer.write(
            ids=[f"{bag}-{number % 4:07d}" for number, bag in enumerate(slides)],
            vectors={"feature": making.vectors(12, 5)},
            columns={
                "slide": slides,
                "x": pa.array(range(12), pa.int32()),
                "y": pa.array(range(12), pa.int32()),
                "os": pa.array([each for each in EVENTS for _ in range(4)], kind),
            },
        )
    return path


@pytest.fixture(scope="module")
def told(slides: Path) -> Card:
    return gathered(dof.open(slides))


def clips(path: Path) -> Path:
    """Two clips of three frames, taken five a second."""
    about: dict[str, Any] = {
        "record": {"frame": "frame", "time": "time"},
        "privacy": {"ids": "pseudonym"},
        "provenance": {"raw": {"clips": {"fps": 5.0}}},
    }
    columns = {
        "frame": pa.array([0, 1, 2] * 2, pa.int32()),
        "time": [0.0, 0.2, 0.4] * 2,
    }
    ids = [name * 26 for name in "ppprrr"]
    with Writer(path, about) as writer:
        writer.write(ids=ids, vectors={"feature": making.vectors(6, 4)}, columns=columns)
    return path


def test_bags_and_tiles(told: Card) -> None:
    figures = {fact.name: fact.text for fact in told.about.figures}
    assert (figures["rows"], figures["bags"], told.about.parts_of) == ("12", "3", "bag")
    assert told.quality.lonely[0].label.partition("-")[0] in {bag[:8] for bag in BAGS}
    assert {column.name: column.meaning for column in told.about.columns}["x"].startswith("left")
    bags = told.map.colourings[-1]
    assert (bags.name, bags.kind) == ("bag", "parts")
    assert unpacked(bags.codes, "<u2").tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_survival_is_told_as_times_and_events(told: Card) -> None:
    (target,) = told.balance.targets
    assert (target.kind, target.unit, target.missing, target.events) == ("survival", "days", 4, 4)
    assert target.histogram is not None and target.histogram.edges[0] == 3
    time, event, _ = told.map.colourings
    assert unpacked(time.codes, "<u2").tolist() == [0] * 4 + [65_535] * 4 + [1000] * 4
    assert unpacked(event.codes, "<u2").tolist() == [1] * 4 + [65_535] * 4 + [0] * 4


def test_a_claimed_core_is_never_told_as_verified(slides: Path, told: Card) -> None:
    (pipeline,) = told.pipelines
    assert [step.name for step in pipeline.steps] == ["Claimed core", "Vector"]
    assert {fact.name: fact.text for fact in pipeline.facts} == {
        "Core": "UNI: claimed, not verified",
        "Said to be from": "hf://lab/uni",
        "What else is said": "tile 256",
    }
    ds = dof.open(slides)
    readme = hub_readme.text(ds)
    assert "Claimed and not verified" in readme and "| UNI | - | hf://lab/uni |" in readme
    described = str(croissant.described(ds))
    assert "features of UNI: claimed, not verified" in described.replace("Features", "features")
    assert "'prov:label': 'core UNI: claimed, not verified'" in described
    assert "until an event" in described


def test_code_for_slides_offers_nothing_that_cannot_be(
    slides: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = {each.name: each.code for each in snippets(dof.open(slides))}
    assert "'os'" not in "".join(codes.values())
    assert "dof train" not in codes["Shell"]
    monkeypatch.chdir(slides.parent)
    exec(compile(codes["NumPy"], "NumPy", "exec"), {})
    assert f"{BAGS[0]} (4, 5)" in capsys.readouterr().out


def test_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dof.open(clips(tmp_path / "clips.parquet"))
    told = gathered(data)
    figures = {fact.name: fact.text for fact in told.about.figures}
    assert (figures["clips"], told.about.parts_of) == ("2", "clip")
    assert told.quality.lonely[0].label.split(", ")[1].startswith("frame ")
    assert told.map.colourings[-1].name == "clip"
    codes = {each.name: each.code for each in snippets(data)}
    assert "clip_loader" in codes["PyTorch"]
    monkeypatch.chdir(tmp_path)
    for code in (codes["NumPy"], codes["PyTorch"].replace(".to_torch()", "")):
        exec(compile(code, "code", "exec"), {})


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_extreme_numbers_are_laid_out_like_others(tmp_path: Path, factor: float) -> None:
    feature = making.vectors(30, 8)
    usual = dof.open(making.write(tmp_path / "a.parquet", 30, feature))
    extreme = dof.open(making.write(tmp_path / "b.parquet", 30, feature * np.float32(factor)))
    views = [gathered(each).map.views[0] for each in (usual, extreme)]
    places = [unpacked(view.x, "<u2").astype(int) for view in views]
    assert np.abs(places[0] - places[1]).max() <= 2
    assert views[0].note == views[1].note


def test_equal_rows_have_no_axes(tmp_path: Path) -> None:
    feature = np.full((20, 4), 0.1, np.float32)
    told = gathered(dof.open(making.write(tmp_path / "x.parquet", 20, feature)))
    assert "all rows are the same" in told.map.views[0].note
    assert (told.quality.lengths.counts, len(set(told.quality.lengths.edges))) == ((20,), 1)
    assert len(card_projection.projections(dof.open(tmp_path / "x.parquet"), "feature")) == 1


def test_ids_of_which_nothing_is_said_are_not_called_names(tmp_path: Path) -> None:
    path = making.write(tmp_path / "x.parquet", 3, making.vectors(3, 2))
    told = gathered(dof.open(path))
    assert dof.open(path).metadata.privacy is None and told.privacy.ids == ""
    assert "does not say whether its ids" in hub_readme.text(dof.open(path))


def test_what_the_owner_says_of_use_is_told(tmp_path: Path) -> None:
    said = {"training": {"intended_use": "triage", "data_processing": {"crop": "none"}}}
    path = making.write(tmp_path / "x.parquet", 3, making.vectors(3, 2), metadata=said)
    told = dict(gathered(dof.open(path)).scores.training)
    assert told == {"intended use": "triage", "data processing, crop": "none"}


def test_a_description_that_is_refused_leaves_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = making.write(tmp_path / "x.parquet", 3, making.vectors(3, 2))
    (tmp_path / "c.json").write_text("mine")
    page = tmp_path / "card.html"
    asked = ["card", str(path), "-o", str(page), "--croissant", str(tmp_path / "c.json")]
    assert main(asked) == 2
    assert "exists already" in capsys.readouterr().err
    assert not page.exists()


def test_an_empty_dataset_has_a_readme_and_no_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = dof.from_arrays(np.eye(3, dtype="f4"), list("aba"), out=tmp_path / "x.parquet")
    dof.save(data[:0], tmp_path / "none.parquet")
    readme = tmp_path / "README.md"
    assert main(["card", str(tmp_path / "none.parquet"), "--readme", str(readme)]) == 0
    assert "0 rows" in readme.read_text("utf-8")
    page = tmp_path / "card.html"
    assert main(["card", str(tmp_path / "none.parquet"), "-o", str(page)]) == 2
    assert "no rows" in capsys.readouterr().err and not page.exists()
