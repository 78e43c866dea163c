"""What a card tells of a dataset is so, is the same every time, and is refused where it cannot be."""

from __future__ import annotations

import base64
import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from dof_arrow.cli import main
from dof_arrow.errors import CoreError, OutputError, UsageError
from dof_arrow.heads import train
from dof_arrow.publish import card_projection, card_quality, card_rows
from dof_arrow.publish.card import Card, gathered
from dof_arrow.publish.card_balance import split_order
from tests.publish.making_cards import CLASSES, WIDTH, dataset, vectors
from tests.support import making

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("card") / "animals.dof.parquet")


@pytest.fixture(scope="module")
def told(file: Path) -> Card:
    return gathered(dof.open(file))


def unpacked(text: str, kind: str) -> np.ndarray[Any, Any]:
    """What `unpackNumbers` of the page reads."""
    data = np.frombuffer(gzip.decompress(base64.b64decode(text)), np.uint8)
    size = np.dtype(kind).itemsize
    return np.ascontiguousarray(data.reshape(size, -1).T).view(kind)[:, 0]


def test_the_page_is_written_and_is_the_same_every_time(file: Path, tmp_path: Path) -> None:
    made = dof.card(file, tmp_path / "a.html")
    dof.card(dof.open(file), tmp_path / "b.html")
    text = (tmp_path / "a.html").read_text("utf-8")
    assert (tmp_path / "b.html").read_text("utf-8") == text
    assert text.startswith("<!doctype html>")
    assert made.about.title == "animals.dof.parquet"
    assert len(text) < 200_000


def test_what_it_is(told: Card) -> None:
    figures = {fact.name: fact.text for fact in told.about.figures}
    assert figures["rows"] == "60"
    assert figures["numbers a row"] == str(WIDTH)
    assert figures["classes of label"] == "3"
    columns = {column.name: column for column in told.about.columns}
    assert columns["age"].meaning == "a number, in years"
    assert columns["feature"].type == f"float32 [{WIDTH}]"


def test_a_file_that_another_tool_rewrote_says_so(file: Path, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(file), tmp_path / "x.parquet")
    with pytest.warns(dof.DofWarning):
        made = gathered(dof.open(tmp_path / "x.parquet"))
    assert [fact.name for fact in made.about.facts].count("Mind") == 1


def test_balance_counts_rows(told: Card) -> None:
    splits = {split.name: split.rows for split in told.balance.splits}
    assert splits == {"train": 48, "test": 12}
    label, age = told.balance.targets
    assert [each.name for each in label.classes] == list(CLASSES)
    assert [sum(each.rows) for each in label.classes] == [20, 20, 20]
    assert sum(each.rows[1] for each in label.classes) == 12
    assert age.histogram is not None
    assert sum(age.histogram.counts) == 60
    assert age.histogram.edges[-1] == 59 * 1.5


def test_splits_are_read_in_all_their_spellings() -> None:
    assert split_order(["Test", "training", "own", "train"]) == ["train", "test", "own"]


def test_the_first_view_is_the_principal_components(told: Card) -> None:
    (view, *_) = told.map.views
    assert view.name == "PCA"
    rows = vectors(60).astype(np.float64)
    rows -= rows.mean(axis=0)
    _, lengths, axes = np.linalg.svd(rows)
    places = np.column_stack([unpacked(view.x, "<u2"), unpacked(view.y, "<u2")]).astype(float)
    for axis in range(2):
        expected = rows @ axes[axis]
        assert abs(np.corrcoef(expected, places[:, axis])[0, 1]) > 0.999_99
    shares = np.square(lengths) / np.square(lengths).sum()
    assert f"{shares[0]:.1%} and {shares[1]:.1%}" in view.note


def test_wide_rows_give_the_same_axes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By some rows' products with one another; of few rows these are all."""
    exact = card_projection.projections(dof.open(file), "feature")[0].places
    monkeypatch.setattr(card_projection, "_WIDEST", WIDTH - 1)
    monkeypatch.setattr(card_projection, "Permutation", lambda count, key: lambda places: places)
    some = card_projection.projections(dof.open(file), "feature")[0]
    assert "11 of the rows" in some.note
    monkeypatch.setattr(card_projection, "_some", lambda blocks: vectors(60).astype(np.float64))
    whole = card_projection.projections(dof.open(file), "feature")[0]
    assert np.abs(whole.places - exact).max() < 1e-3


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_wide_rows_span_few_axes(tmp_path: Path, rows: int) -> None:
    path = making.write(tmp_path / "x.parquet", rows, making.vectors(rows, 3000))
    (view, *_) = card_projection.projections(dof.open(path), "feature")
    spans = np.ptp(view.places, axis=0)
    assert (spans > 1).tolist() == [rows > 1, rows > 2]
    assert (spans[spans < 1] < 1e-3).all()


def test_neighbours_are_the_nearest_others(told: Card) -> None:
    nearest = told.map.nearest
    assert nearest is not None
    rows = unpacked(nearest.rows, "<u4").reshape(60, nearest.count)
    unit = vectors(60).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    assert (rows == np.argsort(-cosines, axis=1, kind="stable")[:, :5]).all()
    steps = unpacked(nearest.cosines, "<u1").reshape(60, nearest.count)
    assert np.abs(steps / 250 - np.take_along_axis(cosines, rows.astype(int), 1)).max() < 0.0021


def test_colours_are_codes_and_groups_are_not_named(told: Card, file: Path, tmp_path: Path) -> None:
    label, age, split, group = told.map.colourings
    assert unpacked(label.codes, "<u2").tolist() == [row % 3 for row in range(60)]
    assert unpacked(age.codes, "<u2")[[0, -1]].tolist() == [0, 1000]
    assert split.labels == ("train", "test")
    hues = unpacked(group.codes, "<u2")
    assert (hues[::2] == hues[1::2]).all()
    assert group.labels == ()
    dof.card(file, tmp_path / "card.html")
    assert b"somebody" not in (tmp_path / "card.html").read_bytes()


def test_quality_of_vectors(told: Card) -> None:
    found = told.quality
    lengths = np.linalg.norm(vectors(60).astype(np.float64), axis=1)
    assert (found.dead, found.dead_named) == (1, (3,))
    assert found.shortest == pytest.approx(lengths.min(), rel=1e-6)
    assert found.longest == pytest.approx(lengths.max(), rel=1e-6)
    assert found.lengths.median == pytest.approx(np.median(lengths), rel=1e-6)
    assert (found.empty, found.zeros) == (0, 0.0)


def test_duplicates_and_outliers(tmp_path: Path) -> None:
    feature = making.vectors(40, 16)
    feature[7] = feature[30]
    feature[20] = 0
    path = making.write(
        tmp_path / "x.parquet", 40, feature, metadata={"privacy": {"ids": "pseudonym"}}
    )
    found = gathered(dof.open(path)).quality
    assert found.twins is not None
    assert (found.twins.pairs, found.twins.equal, found.twins.across_splits) == (1, 1, None)
    (pair,) = found.twins.first
    assert (pair.first, pair.second) == ("r0000007", "r0000030")
    assert found.empty == 1
    assert found.lonely[0].place == 20
    assert found.lonely[0].value == 0.0


def test_where_all_rows_are_alike_pairs_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_quality, "_MOST_ALIKE", 100)
    path = making.write(tmp_path / "x.parquet", 40, 10 + making.vectors(40, 16) / 100)
    found = gathered(dof.open(path)).quality
    assert found.twins is None
    assert found.alike == 1.0


def test_equal_rows_are_neighbours_but_never_their_own(tmp_path: Path) -> None:
    path = making.write(tmp_path / "x.parquet", 20, np.ones((20, 4), np.float32))
    nearest = gathered(dof.open(path)).map.nearest
    assert nearest is not None
    rows = unpacked(nearest.rows, "<u4").reshape(20, nearest.count)
    assert not (rows == np.arange(20)[:, None]).any()


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_very_few_rows(tmp_path: Path, rows: int) -> None:
    made = dof.card(making.write(tmp_path / "x.parquet", rows), tmp_path / "card.html")
    assert made.map.rows == rows
    assert (made.map.nearest is None) == (rows == 1)


def test_of_many_rows_a_sample_is_drawn(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_rows, "MOST_ROWS", 25)
    made = gathered(dof.open(file))
    assert (made.map.rows, made.map.of) == (25, 60)
    places = unpacked(made.map.numbers, "<u4")
    assert (np.diff(places.astype(int)) > 0).all()
    assert made == gathered(dof.open(file))
    assert made.quality.rows == 60


def test_pseudonyms_are_shortened(told: Card) -> None:
    ids = gzip.decompress(base64.b64decode(told.map.ids)).decode().split("\n")
    assert ids[:2] == ["00000000", "00000001"]


def test_names_are_shown_only_if_asked_for(tmp_path: Path) -> None:
    path = dataset(tmp_path / "named.parquet", ids="name")
    assert gathered(dof.open(path)).map.ids == ""
    shown = gathered(dof.open(path), names=True)
    ids = gzip.decompress(base64.b64decode(shown.map.ids)).decode().split("\n")
    assert ids[1] == "00000001whichisapseudonym"


def test_without_an_audit_it_says_so(told: Card) -> None:
    assert told.privacy.audits == ()
    assert told.privacy.ids == "pseudonym"


def test_a_stored_audit_is_told(tmp_path: Path) -> None:
    finding = {
        "attack": "attribute",
        "of": "label",
        "attacker": "ridge",
        "knows": "other people",
        "metric": "AUC",
        "reached": {"value": 0.9, "low": 0.8, "high": 0.95},
        "control": {"value": 0.5, "low": 0.4, "high": 0.6},
        "baseline": 0.5,
        "found": True,
    }
    audit = {
        "rows": 60,
        "of": 60,
        "groups": 30,
        "findings": [finding, "of another form"],
        "notes": ["x"],
    }
    path = dataset(
        tmp_path / "x.parquet", privacy={"ids": "pseudonym", "audits": [audit, {"other": 1}]}
    )
    first, second = gathered(dof.open(path)).privacy.audits
    (attack,) = first.attacks
    assert (attack.name, attack.reached, attack.low, attack.baseline) == (
        "attribute: label",
        0.9,
        0.8,
        0.5,
    )
    assert attack.found
    assert second.attacks == ()


def test_a_sheet_is_there_only_if_asked_for(file: Path, tmp_path: Path) -> None:
    (tmp_path / "sheet.png").write_bytes(PNG)
    made = dof.card(file, tmp_path / "a.html", sheets=tmp_path / "sheet.png")
    assert made.privacy.sheet == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert gathered(dof.open(file)).privacy.sheet is None
    (tmp_path / "sheet.svg").write_text("<svg onload=alert(1)>")
    for path in (tmp_path / "sheet.svg", tmp_path, tmp_path / "none.png"):
        with pytest.raises(UsageError):
            dof.card(file, tmp_path / "b.html", sheets=path)
    assert not (tmp_path / "b.html").exists()


@pytest.fixture(scope="module")
def head(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    path = tmp_path_factory.mktemp("head") / "animals.onnx"
    path.write_bytes(train.train(dof.open(file), target="label").onnx)
    return path


def test_scores_of_a_head(file: Path, head: Path, tmp_path: Path) -> None:
    made = dof.card(file, tmp_path / "card.html", heads=[head])
    (shown,) = made.scores.heads
    assert (shown.name, shown.target, shown.here) == ("animals", "label", True)
    first = shown.scores[0]
    assert (first.metric, first.part, first.value) == ("accuracy", "test", 1.0)
    assert first.baseline is not None
    assert first.baseline < 0.6
    assert np.sum(shown.confusion) == 12


def test_heads_that_are_none_are_refused(file: Path, head: Path, tmp_path: Path) -> None:
    from dof_arrow.cores import builtin

    core = tmp_path / "core.onnx"
    builtin.load(pool="1x1").save(core)
    with pytest.raises(CoreError, match="not a head"):
        dof.card(file, tmp_path / "card.html", heads=[core])
    with pytest.raises(UsageError, match="two heads of one name"):
        dof.card(file, tmp_path / "card.html", heads=[head, head])


def test_what_the_owner_says_of_performance(tmp_path: Path) -> None:
    about = {
        "performance": {"accuracy": 0.9, "roc": {"auc": 0.8, "thresholds": [1, 2]}, "note": "good"}
    }
    made = gathered(dof.open(dataset(tmp_path / "x.parquet", **about)))
    assert dict(made.scores.performance) == {"accuracy": "0.9", "roc, auc": "0.8", "note": "good"}


def test_what_cannot_be_is_refused(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "card.html"
    with pytest.raises(UsageError, match="no such column"):
        dof.card(file, out, feature="none")
    with pytest.raises(UsageError, match="not a feature column"):
        dof.card(file, out, feature="age")
    with pytest.raises(UsageError, match="no rows"):
        dof.card(dof.open(file)[:0], out)
    out.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        dof.card(file, out)
    assert out.read_text() == "mine"
    dof.card(file, out, overwrite=True)
    assert out.read_text("utf-8") != "mine"


def test_the_command(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "card.html"
    assert main.main(["card", str(file), "-o", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"path": str(out), "bytes": out.stat().st_size, "rows": 60, "drawn": 60}
    assert main.main(["card", str(file), "-o", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "sheet.png").write_bytes(PNG)
    sheet = ["--sheets", str(tmp_path / "sheet.png")]
    assert main.main(["card", str(file), "-o", str(out), "--overwrite", *sheet]) == 0
    assert "pictures of the source" in capsys.readouterr().err


class _Stub:
    """Stands for a library that makes maps: it is given what it was asked for, and turns it round."""

    __version__ = "7"

    def __init__(self, **options: Any) -> None:
        assert options["random_state"] == 0

    def fit(self, scores: np.ndarray[Any, Any], **options: Any) -> np.ndarray[Any, Any]:
        assert scores.shape == (60, WIDTH)
        return scores[:, 1::-1].astype(np.float64)

    fit_transform = fit


@pytest.mark.parametrize(
    ("library", "name", "shown"),
    [("pacmap", "PaCMAP", "PaCMAP"), ("openTSNE", "TSNE", "t-SNE")],
)
def test_a_map_of_neighbours_where_one_is_installed(
    file: Path, monkeypatch: pytest.MonkeyPatch, library: str, name: str, shown: str
) -> None:
    """Of principal components, from one seed; the version that made it is told."""
    monkeypatch.setattr(card_projection, "find_spec", lambda asked: asked == library or None)
    monkeypatch.setitem(sys.modules, library, SimpleNamespace(__version__="7", **{name: _Stub}))
    plain, other = card_projection.projections(dof.open(file), "feature")
    assert (plain.name, other.name) == ("PCA", shown)
    assert (other.places == plain.places[:, ::-1]).all()
    assert f"{library if library == 'openTSNE' else shown} 7, seed 0" in other.note
    monkeypatch.setattr(card_projection, "MOST_NEIGHBOURS", 59)
    assert len(card_projection.projections(dof.open(file), "feature")) == 1


def test_rows_that_are_told_to_be_of_several_classes(tmp_path: Path) -> None:
    signs = pa.array([[0], [1], [0, 1], [], None], pa.list_(pa.int32()))
    about = {"targets": {"signs": {"kind": "multilabel", "classes": ["bright", "dark"]}}}
    path = making.write(tmp_path / "x.parquet", 5, columns={"signs": signs}, metadata=about)
    told = gathered(dof.open(path))
    (colours,) = told.map.colourings
    assert (colours.labels, colours.sets) == (("bright", "dark"), ((), (0,), (0, 1), (1,)))
    assert unpacked(colours.codes, "<u2").tolist() == [1, 3, 2, 0, 65_535]
    (target,) = told.balance.targets
    assert [(each.name, each.rows) for each in target.classes] == [("bright", (2,)), ("dark", (2,))]
    assert target.missing == 1


def test_however_a_dataset_lies_the_card_is_the_same(file: Path, tmp_path: Path) -> None:
    """Compact, in a directory, or in the layout that maps: but for the file, its size and its seal."""
    dof.convert(file, tmp_path / "compact.parquet", layout="compact")
    dof.convert(file, tmp_path / "parts.dof")
    whole = gathered(dof.open(file))
    for name in ("compact.parquet", "parts.dof"):
        made = gathered(dof.open(tmp_path / name))
        assert made.map == whole.map
        assert made.balance == whole.balance
        assert made.quality == whole.quality
