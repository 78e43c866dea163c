"""What loaders refuse, and what they say to do."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.tables import targets
from tests.conformance.coded import integers
from tests.loader.conftest import ROWS
from tests.support.making import unruled
from tests.support.making_rows import made, numbers


def test_nan_labels_are_refused_at_once_or_by_the_thread_that_meets_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    age = np.full(ROWS, 30, np.float32)
    age[150] = np.nan
    with unruled():
        ds = made(tmp_path / "nan.parquet", ROWS, age=age)
    with pytest.raises(
        FormatError, match=r"1 of 200 NaN or infinite. Leave such rows out: ds.filter"
    ):
        ds.loader(target="age")
    assert len(list(ds.filter(pc.is_finite(pc.field("age"))).loader(target="age"))) == 1
    monkeypatch.setattr(targets, "_CHECKED", 0)
    before = threading.active_count()
    batches = iter(ds.loader(batch_size=50, target="age", augment={"noise": 0.1}, workers=2))
    assert len(next(batches)) == 2
    with pytest.raises(FormatError, match="NaN"):
        list(batches)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "lable"}, "no such column: expected id, label"),
        ({"columns": ["sxe"]}, "no such column"),
        ({"balance": "sxe", "shuffle": True}, "no such column"),
        ({"feature": "label"}, "not a feature column: expected feature"),
        (
            {"balance": {"ill": 1.5}, "shuffle": True},
            "between 0 and 1, found 1.5. Write for example",
        ),
        ({"balance": {"ill": 0.0}, "shuffle": True}, "between 0 and 1"),
        ({"balance": {"label": 0.3}, "shuffle": True}, "two classes.*Name the class"),
        (
            {"balance": {"label": {"dead": 0.3}}, "shuffle": True},
            "no such class: expected sick, well, unsure, found dead",
        ),
        ({"balance": {"label": {"sick": 0.9, "well": 0.9}}, "shuffle": True}, "above 1 in sum"),
        (
            {"balance": {"label": {"sick": 0.5, "well": 0.5}}, "shuffle": True},
            "rows without a share",
        ),
        ({"balance": {"ill": 0.3, "sex": 0.3}, "shuffle": True}, "one column decides"),
        ({"balance": "age", "shuffle": True}, "uniform"),
        ({"balance": "ill"}, "Add shuffle=True"),
        ({"balance": {"signs": 0.3}, "shuffle": True}, "label: share"),
        ({"balance": {"signs": {"mess": 0.3}}, "shuffle": True}, "edema, mass, nodule"),
        ({"balance": "ill", "uniform": {"age": 3}, "shuffle": True}, "only one of these"),
        ({"uniform": {"label": 3}, "shuffle": True}, "only numbers have bins"),
        ({"uniform": {"age": 0}, "shuffle": True}, "1 or more"),
        ({"target": "sex"}, "cannot be learned.*label, ill, signs, age"),
        ({"weights": [1.0], "shuffle": True}, "one weight a row"),
        ({"views": "some"}, "all, first or random"),
        ({"group": "group", "views": "first"}, "Leave out views"),
        ({"rank": 2, "world_size": 2}, "rank 0 to 1"),
        (
            {"world_size": 201},
            "more ranks than rows: expected at most 200, found 201. Use world_size=200",
        ),
        ({"batch_size": 0}, "1 or more"),
        ({"batch_size": 300, "drop_last": True}, "Use batch_size=200, or drop_last=False"),
        ({"workers": -1}, "0 or more"),
        ({"augment": {"blur": 1}}, "interpolate, mixup, noise, dropout"),
        ({"augment": {"dropout": 1.0}}, "below 1"),
        ({"augment": {"noise": "much"}}, "a number, found {'noise': 'much'}"),
        ({"augment": "photo"}, "interpolate, mixup, noise, dropout, found photo"),
        ({"augment": 0.5}, "interpolate, mixup, noise, dropout, found 0.5"),
        ({"augment": [{"noise": 0.1}, {"noise": 0.2}]}, "twice"),
        ({"augment": {"interpolate": 0.5}}, "target= a category"),
        ({"normalize": "trian"}, "no such split: expected train, valid"),
    ],
)
def test_wrong_use_says_what_to_do(ds: Dataset, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ds.loader(**options)


def test_an_empty_dataset_is_refused(ds: Dataset) -> None:
    with pytest.raises(UsageError, match=r"metadata\.splits"):
        ds[5:5].loader()


def test_missing_labels_are_refused_with_the_filter_that_helps(tmp_path: Path) -> None:
    label = pa.array([None if i % 7 == 0 else i % 3 for i in range(ROWS)], pa.int64())
    ds = made(tmp_path / "m.parquet", ROWS, label=label)
    with pytest.raises(UsageError, match=r"29 of 200 rows without one. Leave them out: ds.filter"):
        ds.loader(target="label")
    known = ds.filter(pc.field("label").is_valid())
    assert len(numbers(known.loader(target="label", balance="label", shuffle=True))) >= 171


def test_labels_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.parquet"
    path.write_bytes(integers(np.full(ROWS, 7), ["sick", "well", "unsure"])[0])
    ds = dataset.open(path)
    with pytest.raises(FormatError, match="0 to 2, one for each class, found 7"):
        next(iter(ds.loader(target="label")))
