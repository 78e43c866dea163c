"""Rows as a Dataset: indexed, sliced, split, filtered, handed on (rows D7, D9, D13, D14, C3)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dof_arrow.dataset import dataset, display
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import FormatError, UsageError
from tests.conformance import breaks
from tests.support import making

ROWS = 50
FEATURE = making.vectors(ROWS, 2, 3)
LABEL = np.arange(ROWS) * 10


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    columns = {
        "label": LABEL,
        "view": [i % 2 for i in range(ROWS)],
        "note": [f"n{i}" for i in range(ROWS)],
        "split": ["train"] * 30 + ["valid"] * 10 + ["test"] * 8 + [None] * 2,
    }
    schema = pa.schema([pa.field("split", pa.dictionary(pa.int32(), pa.string()))])
    return making.write(
        tmp_path_factory.mktemp("ds") / "x.dof.parquet",
        ROWS,
        FEATURE,
        columns,
        group=16,
        align=64,
        schema=schema,
        metadata={"info": {"title": "Fünfzig"}},
    )


@pytest.fixture(scope="module")
def ds(path: Path) -> Dataset:
    return dataset.open(path)


def test_opened_by_text_or_path(path: Path) -> None:
    assert len(dataset.open(str(path))) == len(dataset.open(path)) == ROWS


def test_it_says_what_it_is(ds: Dataset, path: Path) -> None:
    """D14: describe, count, list all."""
    assert (
        repr(ds)
        == "<Dataset x.dof.parquet: 50 rows, feature [2 x 3], "
        "id, label, view, note, split, feature>"
        or (repr(ds).startswith("<Dataset x.dof.parquet: 50 rows, feature [2 x 3], "))
    )
    assert (ds.path, ds.primary, ds.derived, ds.errors) == (path, "feature", False, [])
    assert set(ds.columns) == {"id", "label", "view", "note", "split", "feature"}
    told = display.described(ds)
    assert told["rows"] == ROWS and told["bytes"] == path.stat().st_size
    assert told["metadata"]["info"] == {"title": "Fünfzig"}


def test_row_d7_one_row(ds: Dataset) -> None:
    """D7: ordinary columns beside the vector; D14: index and negative index."""
    row = ds[7]
    assert np.array_equal(row.pop("feature"), FEATURE[7])
    assert row == {"id": "r0000007", "label": 70, "view": 1, "note": "n7", "split": "train"}
    assert ds[-1]["id"] == "r0000049" and ds[np.int64(-50)]["id"] == "r0000000"
    for index in (ROWS, -ROWS - 1):
        with pytest.raises(IndexError, match=f"row {index} of 50"):
            ds[index]


def test_row_d14_iteration_gives_the_last_record_too(ds: Dataset) -> None:
    """D14: dofpy lost the last record."""
    rows = list(ds)
    assert [r["label"] for r in rows] == LABEL.tolist()
    assert np.array_equal(np.stack([r["feature"] for r in rows]), FEATURE)
    assert [r["note"] for r in ds[3:5]] == ["n3", "n4"]


_keys = (
    st.slices(ROWS)
    | st.lists(st.integers(-ROWS, ROWS - 1), max_size=20)
    | st.lists(st.booleans(), min_size=ROWS, max_size=ROWS)
)


def _same(ds: Dataset, expected: np.ndarray[Any, Any]) -> None:
    """Every road to the rows gives those of the `expected` places."""
    assert len(ds) == len(expected)
    assert np.array_equal(ds.to_numpy(), FEATURE.reshape(ROWS, 6)[expected])
    assert np.array_equal(ds.to_numpy("label"), LABEL[expected])
    assert ds.to_numpy("view").tolist() == (expected % 2).tolist()
    table = pa.table(ds)
    table.validate(full=True)
    assert table["note"].to_pylist() == [f"n{i}" for i in expected]
    flat = table["feature"].combine_chunks().flatten().to_numpy()
    assert np.array_equal(flat.reshape(-1, 6), FEATURE.reshape(ROWS, 6)[expected])
    assert [r["label"] for r in ds] == LABEL[expected].tolist()


@given(st.data())
def test_row_d14_any_choice_of_any_choice(ds: Dataset, data: st.DataObject) -> None:
    """D14: slices of slices, steps, takes, masks are what numpy makes of them."""
    part, places = ds, np.arange(ROWS)
    for _ in range(data.draw(st.integers(1, 3))):
        key: Any = data.draw(
            st.slices(len(part))
            | (
                st.lists(st.integers(-len(part), len(part) - 1), max_size=20)
                if len(part)
                else st.just([])
            )
        )
        part, places = part[key], places[key if isinstance(key, slice) else np.array(key, np.int64)]
    _same(part, places)


def test_masks(ds: Dataset) -> None:
    mask = LABEL % 30 == 0
    _same(ds[mask], np.flatnonzero(mask))
    _same(ds.take(mask.tolist()), np.flatnonzero(mask))
    for wrong in (mask[:-1], mask.reshape(5, 10)):
        with pytest.raises(UsageError, match="a mask of another length"):
            ds.take(wrong)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ([ROWS], "a row that is not there: expected 0 to 49, found 50 to 50"),
        ([-51], "not there"),
        ([0.5], "whole numbers or booleans"),
        ([7, "label"], "whole numbers or booleans"),
        ([[1, 2]], "whole numbers or booleans"),
    ],
)
def test_rows_that_cannot_be_taken(ds: Dataset, key: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ds[key]


def test_splits(ds: Dataset) -> None:
    """D9: train, valid, test marked and taken."""
    for name, start, end in (("train", 0, 30), ("valid", 30, 40), ("test", 40, 48)):
        _same(ds.split(name), np.arange(start, end))
    assert (
        np.shares_memory(ds.split("valid").to_numpy("label"), ds.to_numpy("label"))
        or len(ds.split("valid")) == 10
    )
    _same(ds[25:35].split("train"), np.arange(25, 30))
    assert len(ds[:5].split("test")) == 0
    _same(ds.split("Dev"), np.arange(30, 40))
    with pytest.raises(
        UsageError, match="no such split: expected test, train, valid, found holdout"
    ):
        ds.split("holdout")


def test_a_dataset_without_splits_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected none, found train"):
        dataset.open(making.write(tmp_path / "x", 3)).split("train")


def test_filters(ds: Dataset) -> None:
    """D14: search by id and by info."""
    _same(ds.filter(pc.field("label") > 450), np.arange(46, 50))
    _same(ds.filter((pc.field("note") == "n7") | (pc.field("id") == "r0000009")), np.array([7, 9]))
    _same(ds[::3].filter(pc.field("view") == 0), np.arange(0, 50, 6))
    _same(ds.filter(pc.field("split").is_null()), np.array([48, 49]))
    for wrong in (pc.field("nothing") > 3, "label > 3", pc.field("feature") == 3):
        with pytest.raises(
            UsageError, match=r"this condition cannot be evaluated.*an expression over id, "
        ):
            ds.filter(wrong)


@pytest.mark.parametrize("call", ["to_numpy", "to_torch"])
def test_unknown_columns(ds: Dataset, call: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(UsageError, match=r"no such column: expected id, .*, found lable"):
        getattr(ds, call)("lable")
    with pytest.raises(UsageError, match="found lable"):
        ds.to_arrow(["id", "lable"])


def test_unknown_documents(ds: Dataset) -> None:
    with pytest.raises(UsageError, match="no such document: expected none, found x"):
        ds.document("x")


def test_columns_are_chosen_in_any_order(ds: Dataset) -> None:
    table = ds[3:9].to_arrow(["label", "id"])
    assert (
        table.column_names == ["label", "id"] and table["label"].to_pylist() == LABEL[3:9].tolist()
    )
    assert table.schema.metadata == ds.schema.metadata


def test_views_are_read_only(ds: Dataset) -> None:
    for values in (ds.to_numpy(), ds[3:9].to_numpy("label")):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1


def test_a_gathered_tensor_is_writable(ds: Dataset) -> None:
    pytest.importorskip("torch")
    for part in (ds, ds[3:9], ds.take([1, 2]), ds[:0]):
        tensor = part.to_torch()
        tensor += 1
        assert tuple(tensor.shape) == (len(part), 6)
    assert np.array_equal(ds.to_numpy(), FEATURE.reshape(ROWS, 6))


def test_the_arrow_capsules(ds: Dataset) -> None:
    """C3: any Arrow library takes it as it is."""
    assert pa.schema(ds) == ds.schema
    reader = pa.RecordBatchReader.from_stream(ds[5:7])
    assert reader.read_all()["id"].to_pylist() == ["r0000005", "r0000006"]


def test_joined_by_id_to_another_table(ds: Dataset) -> None:
    """D13: links between records, one to many, are joins by id."""
    reports = pa.table({"id": ["r0000003", "r0000003", "r0000044"], "report": ["a", "b", "c"]})
    flat = ds.to_arrow(["id", "label"])
    joined = flat.join(reports, "id", join_type="inner").sort_by("report")
    assert joined["label"].to_pylist() == [30, 30, 440]


def test_nothing_is_kept_open(path: Path) -> None:
    fds = Path("/proc/self/fd")
    if not fds.is_dir():
        pytest.skip("the system does not list open files")
    before = len(list(fds.iterdir()))
    for _ in range(20):
        dataset.open(path).to_numpy()
    assert len(list(fds.iterdir())) == before


def test_a_dataset_goes_to_another_process_by_its_path(ds: Dataset) -> None:
    sent = pickle.dumps(ds[3:9])
    assert len(sent) < 2000 and np.array_equal(pickle.loads(sent).to_numpy(), ds.to_numpy()[3:9])


@pytest.mark.parametrize("lines", [b"[[[", b"7", b'{"id": "a"}'])
def test_a_table_of_errors_that_is_none_is_refused(lines: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(breaks.errors(lines)())
    with pytest.raises(FormatError, match="errors table cannot be read"):
        _ = dataset.open(tmp_path / "x.parquet").errors
