"""Columns added, replaced, left out and renamed, in memory and saved, against pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.format.parquet.footer import BINARY, FileMetaData, get
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.spec.metadata import Target
from tests.support.editing import resealed

ROWS = 50


def _written(path: Path, geometry: Geometry | None = None, layout: Any = "mapped") -> dof.Dataset:
    """A dataset of texts, codes, numbers and a tensor, with a document and an error."""
    rng = np.random.default_rng(3)
    about = {"targets": {"label": {"kind": "category", "classes": ["a", "b"]}}}
    with dof.Writer(path, about, geometry=geometry, layout=layout) as writer:
        writer.write(
            ids=[f"id{i:02d}" for i in range(ROWS)],
            vectors={
                "feature": rng.random((ROWS, 1024), np.float32),
                "map": rng.random((ROWS, 2, 512)).astype(np.float16),
            },
            columns={
                "label": rng.integers(0, 2, ROWS),
                "age": rng.integers(0, 90, ROWS),
                "note": [None, "x"] * 25,
                "split": ["train"] * 30 + ["test"] * 20,
            },
        )
        writer.attach("read me.txt", b"hello", "text/plain")
        writer.fail("lost", "missing", "no such file")
    return dof.open(path)


def _frame(ds: dof.Dataset) -> pd.DataFrame:
    flat = [name for name in ds.columns if name not in ("feature", "map", "emb")]
    table = ds.to_arrow(flat)
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
    return table.to_pandas()


SHAPES = [None, Geometry(16, 4096), Geometry(7, 64)]


@pytest.mark.parametrize("geometry", SHAPES, ids=str)
@pytest.mark.parametrize("layout", ["mapped", "compact"])
@pytest.mark.parametrize("seed", range(2))
def test_changes_in_any_order_are_those_that_pandas_makes(
    tmp_path: Path, geometry: Geometry | None, layout: str, seed: int
) -> None:
    before = _written(tmp_path / "a.dof.parquet", geometry, layout)
    rng = np.random.default_rng(seed)
    ds, frame = before, _frame(before)
    for step in rng.permutation(4).tolist():
        if step == 0:
            values = rng.integers(0, 5, ROWS)
            ds, frame = ds.with_columns({"age": values}), frame.assign(age=values)
        elif step == 1 and "note" in frame:
            ds, frame = ds.drop_columns("note"), frame.drop(columns="note")
        elif step == 2 and "note" in frame:
            names = {"note": "remark"}
            ds, frame = ds.rename(names), frame.rename(columns=names)
        else:
            texts = rng.choice(["p", "q"], ROWS).astype(object)
            ds, frame = ds.with_columns({"new": texts.tolist()}), frame.assign(new=texts)
    for found in (ds, dof.open(dof.save(ds, tmp_path / "b.dof.parquet"))):
        pd.testing.assert_frame_equal(_frame(found), frame, check_dtype=False)
        assert found.to_numpy().tobytes() == before.to_numpy().tobytes()
        assert found.to_numpy("map").tobytes() == before.to_numpy("map").tobytes()
        assert found.row_shape("map") == (2, 512)
        assert found.document("read me.txt") == b"hello" and len(found.errors) == 1
        assert found.metadata.splits == before.metadata.splits
    # Row groups as small as some of these do not fill pages; nothing else may be wrong.
    allowed = {problem.rule for problem in dof.validate(before.path, deep=True)}
    assert {problem.rule for problem in dof.validate(found.path, deep=True)} <= allowed
    assert allowed <= {"layout-groups", "layout-alignment"}


def test_several_row_groups_stay_valid_and_aligned(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    vectors = rng.random((2500, 4), np.float32)
    with dof.Writer(tmp_path / "a.dof.parquet", geometry=Geometry(1024, 4096)) as writer:
        names = [str(number) for number in range(2500)]
        age = rng.integers(0, 9, 2500)
        columns = {"age": age, "note": names, "dose": rng.random(2500)}
        writer.write(ids=names, vectors={"feature": vectors}, columns=columns)
    ds = dof.open(tmp_path / "a.dof.parquet")
    for made in (
        ds.with_columns({"age": names, "new": age}),
        ds.drop_columns("age"),
        ds.drop_columns("note").rename({"feature": "emb", "id": "record"}),
    ):
        path = dof.save(made, tmp_path / "b.dof.parquet", overwrite=True)
        assert dof.validate(path, deep=True) == []
        assert dof.open(path).to_numpy().tobytes() == vectors.tobytes()
        assert dof.open(path).to_numpy().base is not None


def test_vectors_stay_mapped_as_one_array(tmp_path: Path) -> None:
    before = _written(tmp_path / "a.dof.parquet", Geometry(16, 65536))
    made = dof.save(before.with_columns({"y": [1.5] * ROWS}), tmp_path / "b.dof.parquet")
    values = dof.open(made).to_numpy()
    assert not values.flags.owndata and values.base is not None
    assert dof.open(made).metadata.columns["feature"].layout == "mapped"
    assert dof.open(made).metadata.uuid != before.metadata.uuid


def test_a_directory_and_a_selection_keep_their_values(tmp_path: Path) -> None:
    before = _written(tmp_path / "a.dof.parquet")
    half = before[:20].with_columns({"y": list("ab") * 10}, targets="y")
    saved = dof.open(dof.save(half, tmp_path / "half.dof.parquet"))
    assert saved.metadata.targets["y"].classes == ("a", "b")
    assert saved.to_numpy("y").tolist() == [0, 1] * 10
    assert saved.to_numpy().tobytes() == before[:20].to_numpy().tobytes()
    folder = dof.open(dof.save(before.with_columns({"n": range(ROWS)}), tmp_path / "c.dof"))
    more = folder.with_columns({"m": range(ROWS)})
    again = dof.open(dof.save(more, tmp_path / "d.dof.parquet"))
    assert again.to_numpy("n").tolist() == again.to_numpy("m").tolist() == list(range(ROWS))
    assert dof.validate(tmp_path / "d.dof.parquet", deep=True) == []


def test_targets_by_their_values_or_as_declared(tmp_path: Path) -> None:
    ds = _written(tmp_path / "a.dof.parquet")[:4]
    given: dict[str, Any] = {
        "words": ["m", "f", None, "m"],
        "truth": [True, False, True, None],
        "grade": [3, 1, 2, 3],
        "size": [1.5, float("nan"), None, 2.0],
        "tags": [["x", "y"], [], None, ["y"]],
        "codes": pa.array([1, 0, 1, 1]),
    }
    kinds = {
        "words": None,
        "truth": None,
        "grade": "category",
        "size": None,
        "tags": None,
        "codes": Target(kind="category", classes=("no", "yes")),
    }
    made = ds.with_columns(given, targets={n: k for n, k in kinds.items() if k is not None} | {})
    plain = ["words", "truth", "size", "tags"]
    made = made.with_columns({name: given[name] for name in plain}, targets=plain)
    saved = dof.open(dof.save(made, tmp_path / "b.dof.parquet"))
    about = saved.metadata.targets
    assert about["words"].classes == ("f", "m") and about["truth"].classes == ("false", "true")
    assert about["size"].kind == "regression" and about["tags"].classes == ("x", "y")
    assert saved.to_arrow(["tags"]).column(0).to_pylist() == [[0, 1], [], None, [1]]
    assert saved.to_arrow(["size"]).column(0).to_pylist() == [1.5, None, None, 2.0]
    assert dof.validate(tmp_path / "b.dof.parquet", deep=True) == []
    known = ds.with_columns({"grade": given["grade"]}, targets={"grade": "category"})
    assert known.metadata.targets["grade"].classes == ("1", "2", "3")
    assert known.to_numpy("grade").tolist() == [2, 0, 1, 2]
    own = ds.with_columns({"codes": given["codes"]}, targets={"codes": kinds["codes"]})
    assert own.to_numpy("codes").tolist() == [1, 0, 1, 1]


def test_new_categories_and_splits_are_names_like_the_others(tmp_path: Path) -> None:
    before = _written(tmp_path / "a.dof.parquet")
    words: list[Any] = ["q", None, "p", "q", "p"] * 10
    given = {"full": ["v", "u"] * 25, "gaps": words, "split": ["Training", "own"] * 25}
    made = before.with_columns(given, targets=["full", "gaps"])
    saved = dof.open(dof.save(made, tmp_path / "b.dof.parquet"))
    part = dof.open(dof.save(made[:10], tmp_path / "c.dof.parquet"))
    for ds in (made, saved, part):
        few = len(ds)
        for name in ("full", "gaps", "split"):
            assert ds.schema.field(name).type == pa.dictionary(pa.int32(), pa.string())
        assert ds.to_arrow(["full"])["full"].to_pylist() == given["full"][:few]
        assert ds.to_arrow(["gaps"])["gaps"].to_pylist() == words[:few]
        assert ds.to_numpy("full").dtype == np.uint8
        assert ds.to_numpy("full").tolist() == ([1, 0] * 25)[:few]
        assert ds.to_numpy("gaps").dtype == np.int32
        assert ds.to_numpy("gaps").tolist() == ([1, -1, 0, 1, 0] * 10)[:few]
        assert ds.to_numpy("split").tolist() == (["train", "own"] * 25)[:few]
        assert ds.metadata.splits["own"].rows == few / 2
    assert dof.validate(saved.path, deep=True) == dof.validate(part.path, deep=True) == []


def test_integers_are_places_in_classes_that_are_numerals_too(tmp_path: Path) -> None:
    ds = _written(tmp_path / "a.dof.parquet")[:4]
    stages = Target(kind="category", classes=("1", "2", "3"))
    made = ds.with_columns({"stage": pa.array([1, 2, None, 1])}, targets={"stage": stages})
    assert made.to_arrow(["stage"])["stage"].to_pylist() == ["2", "3", None, "2"]
    several = Target(kind="multilabel", classes=("1", "2", "3"))
    made = ds.with_columns({"all": [[1], [], None, [0, 2]]}, targets={"all": several})
    assert made.to_arrow(["all"])["all"].to_pylist() == [[1], [], None, [0, 2]]
    with pytest.raises(dof.UsageError, match="or 0 to 2, found 3"):
        ds.with_columns({"stage": [1, 2, 3, 3]}, targets={"stage": stages})


def test_a_target_with_new_values_stays_one(tmp_path: Path) -> None:
    ds = _written(tmp_path / "a.dof.parquet")
    made = ds.with_columns({"label": ["b"] * ROWS})
    assert made.metadata.targets == ds.metadata.targets
    assert made.to_numpy("label").tolist() == [1] * ROWS
    with pytest.raises(dof.UsageError, match=r"a, b, or 0 to 1, found c.*category"):
        ds.with_columns({"label": ["c"] * ROWS})
    other = ds.with_columns({"label": ["c"] * ROWS}, targets="label")
    assert other.metadata.targets["label"].classes == ("c",)


def test_that_a_signature_is_not_copied_is_said(tmp_path: Path) -> None:
    ds = _written(tmp_path / "a.dof.parquet")
    signature = {1: (BINARY, b"dof.signature"), 2: (BINARY, b"signed")}
    resealed(ds.path, lambda struct: get(struct, FileMetaData.KEYS)[1].append(signature))
    signed = dof.open(ds.path).with_columns({"n": range(ROWS)})
    with pytest.warns(dof.DofWarning, match=r"is signed.*sign it anew"):
        dof.save(signed, tmp_path / "b.dof.parquet")


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    ds = _written(tmp_path / "a.dof.parquet")
    wrong: list[Any] = [
        lambda: ds.with_columns({"y": [1]}),
        lambda: ds.with_columns({"id": ["a"] * ROWS}),
        lambda: ds.with_columns({"feature": [1.0] * ROWS}),
        lambda: ds.with_columns({"y": list(range(ROWS))}, targets="y"),
        lambda: ds.with_columns({"y": ["a"] * ROWS}, targets={"y": "kind"}),
        lambda: ds.with_columns({"y": ["a"] * ROWS}, targets="z"),
        lambda: ds.with_columns({"y": [float("inf")] * ROWS}, targets="y"),
        lambda: ds.drop_columns("id"),
        lambda: ds.drop_columns("feature", "map"),
        lambda: ds.drop_columns("none"),
        lambda: ds.rename({"none": "x"}),
        lambda: ds.rename({"age": "note"}),
        lambda: ds.labelled("none"),
    ]
    for call in wrong:
        with pytest.raises(dof.UsageError):
            call()
    assert ds.drop_columns("feature").primary == "map"


def test_rows_taken_of_changed_columns_change_and_are_saved(tmp_path: Path) -> None:
    before = _written(tmp_path / "a.dof.parquet")
    places = np.random.default_rng(0).permutation(ROWS)
    values = np.arange(ROWS)
    ds = before.with_columns({"new": values}).take(places).with_columns({"age": places})
    assert ds.to_numpy("new").tolist() == ds.to_numpy("age").tolist() == places.tolist()
    assert {name: size.rows for name, size in ds.metadata.splits.items()} == {
        "test": 20,
        "train": 30,
    }
    path = dof.save(ds, tmp_path / "b.dof.parquet")
    assert dof.validate(path, deep=True) == []
    assert dof.open(path).to_numpy().tobytes() == before.to_numpy()[places].tobytes()
    assert dof.open(path).to_numpy("age").tolist() == places.tolist()


def test_changed_rows_keep_the_splits_that_they_are_in(tmp_path: Path) -> None:
    before = _written(tmp_path / "a.dof.parquet")
    for some in (before[:40], before.with_columns({"age": range(ROWS)})[:40]):
        ds = some.with_columns({"new": range(40)})
        assert {n: size.rows for n, size in ds.metadata.splits.items()} == {"test": 10, "train": 30}
        assert len(ds.split("test")) == 10 and ds.errors == []
