"""Columns of a dataset as users of pandas, Polars, numpy and HF datasets expect them."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from tests.support import making
from tests.support.making_rows import features, made

ROWS = 60
CLASSES = ("sick", "well", "unsure")
DAYS = [datetime.date(2024, 1, 1 + row % 28) for row in range(ROWS)]
MAYBE = [None if row % 4 == 0 else row for row in range(ROWS)]


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made(tmp_path_factory.mktemp("columns") / "x.parquet", ROWS, day=DAYS, maybe=MAYBE)


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made(tmp_path_factory.mktemp("columns") / "y.parquet", ROWS, layout="compact")


def test_an_element_of_a_column_is_that_of_the_row(ds: Dataset) -> None:
    for part in (ds, ds[5:9], ds.take([7, 3]), ds[:0]):
        for name in part.columns:
            column = part[name]
            assert len(column) == len(part)
            for number, row in enumerate(part):
                value = column[number]
                if value is np.ma.masked:
                    assert row[name] is None
                else:
                    plain = value.item() if isinstance(value, np.datetime64) else value
                    assert np.array_equal(plain, row[name]), name


def test_a_category_is_names_and_none_where_one_is_missing(ds: Dataset, tmp_path: Path) -> None:
    assert ds["label"][:4].tolist() == ["sick", "well", "unsure", "sick"]
    assert ds["split"][-1] == "valid" and ds["split"].dtype == object
    some = ds.with_columns({"sex": ["m", None] * (ROWS // 2)}, targets="sex")
    assert some["sex"][:2].tolist() == ["m", None]
    dof.save(some, tmp_path / "some.parquet")
    both = dof.concat([dof.open(tmp_path / "some.parquet"), some[:5]])
    assert both["sex"].tolist() == [*["m", None] * (ROWS // 2), "m", None, "m", None, "m"]
    assert len(ds[ds["label"] == "sick"]) == ROWS // 3  # the idiom of pandas


def test_vectors_have_the_shape_of_the_row(tmp_path: Path) -> None:
    tensors = dof.open(making.write(tmp_path / "t.parquet", 7, making.vectors(7, 2, 3)))
    assert tensors["feature"].shape == (7, 2, 3) and tensors.shape == (7, 6)
    assert np.shares_memory(tensors["feature"], tensors.to_numpy())


def test_it_is_an_array_of_its_vectors(ds: Dataset, compact: Dataset) -> None:
    for part in (ds, ds[3:9], ds.take([5, 1]), compact, ds[:0]):
        found = np.asarray(part)
        assert found.shape == part.shape and found.dtype == part.dtype == np.float32
        assert np.array_equal(found, part.to_numpy())
    assert np.asarray(ds, dtype="f8").dtype == np.float64
    assert np.array(ds).flags.writeable and not np.asarray(ds).flags.writeable
    assert np.array_equal(np.mean(ds, axis=0), features(ROWS).mean(axis=0))


def test_a_mapped_array_is_not_copied_and_others_say_so(ds: Dataset, compact: Dataset) -> None:
    for part in (ds, ds[3:9]):
        assert np.shares_memory(np.asarray(part), ds.to_numpy())
        assert np.shares_memory(np.array(part, copy=False), ds.to_numpy())
        assert not np.shares_memory(np.array(part, copy=True), ds.to_numpy())
    for part in (ds.take([5, 1]), compact):
        with pytest.raises(ValueError, match="copy"):
            np.array(part, copy=False)
    with pytest.raises(ValueError, match="copy"):
        np.array(ds, dtype="f8", copy=False)


def test_halves_are_halves(tmp_path: Path) -> None:
    path = making.write(tmp_path / "h.parquet", 5, making.vectors(5, 4, dtype="float16"))
    assert dof.open(path).dtype == np.asarray(dof.open(path)).dtype == np.float16


def test_scikit_learn_takes_it(ds: Dataset) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    model = linear.LogisticRegression().fit(ds, ds["label"])
    assert model.predict(ds[:3]).shape == (3,) and set(model.classes_) == set(CLASSES)


def test_columns_and_rows_are_selected(ds: Dataset) -> None:
    for part in (ds.select("label", "age"), ds.select(["label", "age"]), ds[["label", "age"]]):
        assert part.columns == [n for n in ds.columns if n in ("id", "label", "age", "feature")]
        assert np.shares_memory(part.to_numpy(), ds.to_numpy())
        assert list(part.metadata.targets) == ["label", "age"]
    assert ds.select("feature").columns == ["id", "feature"]
    assert (
        ds.select([3, 1])["id"].tolist() == ds.select(3, 1)["id"].tolist() == ["r00003", "r00001"]
    )
    assert len(ds.select(range(5))) == len(ds.select(ds.to_numpy("label") == 0)) // 4 == 5
    with pytest.raises(UsageError, match=r"no such column.*found lable, agee"):
        ds.select("lable", "id", "agee")
    with pytest.raises(UsageError, match="whole numbers or booleans"):
        ds.select("label", 3)


def test_asked_for_a_column(ds: Dataset) -> None:
    assert "label" in ds and "lable" not in ds and 3 not in ds
    with pytest.raises(UsageError, match=r"no such column: expected id, label, .*found lable"):
        ds["lable"]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("by", ["age", "sex", "day", "id", "ill", ["sex", "age"], "group"])
def test_rows_are_sorted_as_python_sorts_them(ds: Dataset, by: Any, descending: bool) -> None:
    names = [by] if isinstance(by, str) else by
    rows = list(ds)
    expected = sorted(rows, key=lambda row: [row[n] for n in names], reverse=descending)
    found = ds.sort(by, descending=descending)
    assert found["id"].tolist() == [row["id"] for row in expected]
    assert np.array_equal(found.to_numpy()[:, 0], [row["feature"][0] for row in expected])


def test_classes_are_sorted_as_declared_and_missing_values_come_last(ds: Dataset) -> None:
    assert list(dict.fromkeys(ds.sort("label")["label"])) == list(CLASSES)
    assert list(dict.fromkeys(ds.sort("label", descending=True)["label"])) == [*CLASSES[::-1]]
    assert list(dict.fromkeys(ds[::-1].sort("split")["split"])) == ["train", "valid"]
    for descending in (False, True):
        tail = ds.sort("maybe", descending=descending)["maybe"][-15:]
        assert tail.mask.all()
    for wrong in ("signs", "feature"):
        with pytest.raises(UsageError, match=r"rows cannot be sorted by this: .*list"):
            ds.sort(wrong)
    with pytest.raises(UsageError, match="found nothing"):
        ds.sort(["age", "nothing"])


def test_a_sample_follows_from_the_seed(ds: Dataset) -> None:
    first = ds.sample(20, seed=3)["id"].tolist()
    assert first == ds.sample(20, seed=3)["id"].tolist() != ds.sample(20)["id"].tolist()
    assert len(set(first)) == 20 and first != sorted(first)
    assert ds.sample(5, seed=3)["id"].tolist() == first[:5]
    assert sorted(ds.sample(ROWS)["id"]) == ds["id"].tolist() and len(ds.sample(0)) == 0
    for wrong in (ROWS + 1, -1, 0.5, "3"):
        with pytest.raises(UsageError, match=r"rows cannot be drawn: .*0 to 60"):
            ds.sample(wrong)


def test_columns_computed_by_row(ds: Dataset) -> None:
    old = ds.map(lambda row: {"old": row["age"] > 50, "both": row["label"] + row["sex"]})
    assert old["old"].tolist() == (ds["age"] > 50).tolist()
    assert old["both"][1] == "wellm" and np.shares_memory(old.to_numpy(), ds.to_numpy())

    def in_place(row: dict[str, Any]) -> dict[str, Any]:
        row["note"] = row["id"][-1]
        return row  # as functions for HF datasets do

    assert ds.map(in_place).columns == [*ds.columns, "note"]
    coarse = ds.map(
        lambda row: {"coarse": "ill" if row["label"] == "sick" else "well"}, targets="coarse"
    )
    assert coarse.classes("coarse") == ("ill", "well")


def test_columns_computed_by_batch(ds: Dataset) -> None:
    sizes = []

    def norms(batch: Dataset) -> dict[str, Any]:
        sizes.append(len(batch))
        first = None if len(sizes) == 1 else 1.5
        return {"norm": np.linalg.norm(batch, axis=1), "late": [first] * len(batch)}

    found = ds.map(norms, batched=True, batch_size=25)
    assert sizes == [25, 25, 10]
    assert np.array_equal(found["norm"], np.linalg.norm(ds.to_numpy(), axis=1))
    assert found.to_arrow(["late"])["late"].null_count == 25 and found["late"][-1] == 1.5


@pytest.mark.parametrize(
    ("function", "batched", "words"),
    [
        (lambda row: row["age"], False, "row 0: the function gives no columns: .*a dict"),
        (lambda row: {}, False, "gives no columns"),
        (lambda row: {row["sex"]: 1}, False, "row 1: .*other columns.*expected f, found m"),
        (lambda row: {"id": "x"}, False, "column id: this column is not replaced"),
        (lambda row: {"feature": row["feature"] * 2}, False, "not replaced"),
        (lambda batch: {"x": [1]}, True, "one value a row: expected 7 values, found 1"),
        (lambda batch: {"x": "seven s"}, True, "one value a row: .*found str"),
        (
            lambda batch: {
                "x": batch["age"].tolist() if batch["id"][0] == "r00000" else batch["sex"]
            },
            True,
            "column x: values of different types",
        ),
    ],
)
def test_functions_that_give_no_columns(
    ds: Dataset, function: Any, batched: bool, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        ds.map(function, batched=batched, batch_size=7)


def test_nothing_is_computed_of_no_rows(ds: Dataset) -> None:
    with pytest.raises(UsageError, match="no rows to compute"):
        ds[:0].map(lambda row: {"x": 1})
    with pytest.raises(UsageError, match="batch_size of 1"):
        ds.map(lambda batch: {"x": batch["age"]}, batched=True, batch_size=0)


def test_values_are_counted(ds: Dataset) -> None:
    assert ds[:4].value_counts("label") == {"sick": 2, "well": 1, "unsure": 1}
    assert list(ds[:4].value_counts("label")) == ["sick", "well", "unsure"]
    assert ds[1:2].value_counts("label") == {"well": 1, "sick": 0, "unsure": 0}
    assert ds[:4].value_counts("signs") == {"edema": 2, "mass": 2, "nodule": 0}
    assert ds[:5].value_counts("maybe") == {None: 2, 1: 1, 2: 1, 3: 1}
    frame = pd.Series(ds["split"])
    assert ds.value_counts("split") == frame.value_counts().to_dict()
    with pytest.raises(UsageError, match="vectors are not counted"):
        ds.value_counts("feature")


def test_names_and_codes_of_classes(ds: Dataset) -> None:
    classes = ds.classes("label")
    assert classes == CLASSES and classes.index("unsure") == 2
    assert classes.codes(ds["label"]).tolist() == ds.to_numpy("label").tolist()
    assert classes.names(ds.to_numpy("label")) == ds["label"].tolist()
    assert classes.codes(["well", None]).tolist() == [1, -1] and classes.names([-1]) == [None]
    assert classes.codes([]).tolist() == classes.names([]) == []
    for wrong in (["ok"], [2.5]):
        with pytest.raises(UsageError, match="no such class: expected sick, well, unsure"):
            classes.codes(wrong)
    for codes in ([3], [-2], [0.5], ["well"]):
        with pytest.raises(UsageError, match=r"whole numbers from -1 \(missing\) to 2"):
            classes.names(codes)
    with pytest.raises(UsageError, match="no classes: expected label, ill, signs, found age"):
        ds.classes("age")


def test_two_sides_never_part_a_group(ds: Dataset) -> None:
    train, test = ds.train_test_split(0.3, seed=1)
    assert len(train) + len(test) == ROWS and len(test) in range(14, 23)
    assert not set(train["group"]) & set(test["group"])
    mixed = ds.sample(ROWS)
    again = mixed.train_test_split(0.3, seed=1)[1]
    assert sorted(again["id"]) == sorted(test["id"])
    assert sorted(ds.train_test_split(0.3, seed=2)[1]["id"]) != sorted(test["id"])
    by_row, ten = ds.train_test_split(10, group="id", stratify="ill")
    assert len(ten) == 10 and ten.value_counts("ill") == {"no": 9, "yes": 1}
    assert set(by_row["group"]) & set(ten["group"])


def test_rows_without_a_group_are_their_records(tmp_path: Path) -> None:
    """As in training: nobody is known to be in one group with others without a name."""
    group = ["a"] * 10 + [None] * 10
    ds = made(tmp_path / "x.parquet", 20, split=None, group=group)
    _, test = ds.train_test_split(0.25)
    assert len(test) == 5 and test.value_counts("group") == {None: 5}
    assert len(ds.folds(11)) == 11


@pytest.mark.parametrize("size", [0, 1.0, 60, -0.2, True, "0.3"])
def test_sizes_that_cannot_be(ds: Dataset, size: Any) -> None:
    with pytest.raises(UsageError, match=r"a size that cannot be: .*1 to 59 rows"):
        ds.train_test_split(size)


def test_one_group_has_no_two_sides(ds: Dataset) -> None:
    with pytest.raises(
        UsageError, match=r"one side would have no rows.* 5 rows in 1 groups of group"
    ):
        ds[:5].train_test_split(0.5)
    with pytest.raises(UsageError, match="cannot be grouped by this column"):
        ds.train_test_split(0.5, group="signs")


def test_it_shows_itself(ds: Dataset) -> None:
    assert repr(ds[:9]).startswith(
        "<Dataset x.parquet: 9 rows, feature [4], id, label (3 classes), "
    )
    html = ds._repr_html_()
    assert html.count("<tr>") == len(ds.columns) + 1 and "sick, well, unsure" in html
    assert len(html) < 4000 and "float [4], primary" in html and "patient-0000" in html
    assert not {"<script", "color", "style"} & set(html.split('"'))


def test_what_it_shows_is_escaped(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>\x1b[2J&" + "x" * 99
    path = making.write(tmp_path / "<b>.parquet", 2, columns={"note": [bad, None], "<i>": [1, 2]})
    html = dof.open(path)._repr_html_()
    assert "<script" not in html and "<i>" not in html and "\x1b" not in html
    assert "&lt;script&gt;" in html and "&lt;b&gt;.parquet" in html and "x" * 41 not in html
    wide = making.write(tmp_path / "w.parquet", 1, columns={f"c{i}": [i] for i in range(30)})
    assert (
        "and 12 more" in repr(dof.open(wide))
        and "and 12 more columns" in dof.open(wide)._repr_html_()
    )
    assert len(dof.open(wide)[:0]._repr_html_()) > 100


def test_views_of_frames_and_tables_still_have_all_columns(ds: Dataset) -> None:
    """An object that is an array too is not taken for one where a table is wanted."""
    polars = pytest.importorskip("polars")
    assert polars.DataFrame(ds).columns == pa.table(ds).column_names == ds.columns
    assert list(pd.DataFrame.from_arrow(ds).columns) == ds.columns
