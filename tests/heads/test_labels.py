"""What a dataset offers to learn from, and a clear word where it offers nothing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.errors import DofError, FormatError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads import labels
from tests.support.memory import category, memory

X = np.zeros((4, 2), np.float32)
CLASS, NUMBER = category("a", "b"), Target(kind="regression")


def said(error: type[DofError], *args: object, **columns: object) -> str:
    with pytest.raises(error) as caught:
        labels.read(memory(X, *args, **columns))
    return str(caught.value)


def test_rows_without_a_label_are_left_out_and_counted() -> None:
    found = labels.read(memory(X, {"label": CLASS}, label=[1, None, 0, None]))
    assert (found.rows.tolist(), found.values.tolist(), found.missing) == ([0, 2], [1, 0], 2)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.uint64, np.int32])
def test_codes_of_any_integer_type(kind: type) -> None:
    found = labels.read(memory(X, {"label": CLASS}, label=np.array([1, 0, 0, 1], kind)))
    assert found.values.dtype == np.int64
    assert found.values.tolist() == [1, 0, 0, 1]


def test_lists_of_classes_become_flags() -> None:
    lists = pa.array([[0, 2], None, [], [1]], pa.list_(pa.int32()))
    found = labels.read(
        memory(X, {"label": Target(kind="multilabel", classes=("a", "b", "c"))}, label=lists)
    )
    assert found.values.astype(int).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert found.rows.tolist() == [0, 2, 3]


def test_what_belongs_together_is_the_group_else_the_record_else_the_row() -> None:
    def groups(**columns: object) -> list[int]:
        return labels.read(
            memory(X, {"age": NUMBER}, age=[1.0, 2, 3, 4], **columns)
        ).groups.tolist()

    assert groups(group=["p", "q", "p", None]) == [0, 1, 0, 2]
    assert groups(group=pa.array(["p", "q", "p", "q"]).dictionary_encode()) == [0, 1, 0, 1]
    assert groups(id=["r", "r", "s", "s"]) == [0, 0, 1, 1]
    assert groups() == [0, 1, 2, 3]


def test_the_only_target_is_meant() -> None:
    assert (
        labels.choose({"age": NUMBER}, None)
        == labels.choose({"age": NUMBER, "sex": CLASS}, "age")
        == "age"
    )


def test_no_several_and_unknown_targets() -> None:
    assert "no target" in said(UsageError, {})
    several = {"age": NUMBER, "sex": CLASS}
    assert "expected one of age, sex. Add --target age" in said(
        UsageError, several, age=[1.0] * 4, sex=[0] * 4
    )
    with pytest.raises(
        UsageError, match=r"expected one of age, sex, found lable\. Use --target age"
    ):
        labels.choose(several, "lable")


def test_no_label_at_all() -> None:
    assert "no row has a label" in said(UsageError, {"label": CLASS}, label=pa.nulls(4, pa.int32()))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([0, 1, 2, 0], "expected 0 to 1, one for each class, found 2"),
        ([0, -1, 0, 0], "found -1"),
        (["a", "b", "c", "a"], "expected names of its classes, found 'c'"),
        ([0.0, 1, 1, 1], "found double"),
    ],
)
def test_codes_that_are_no_classes(values: list[object], word: str) -> None:
    assert word in said(FormatError, {"label": CLASS}, label=values)


@pytest.mark.parametrize(
    "values", [[[0], [2], [], []], [[0], [None], [], []], [0, 1, 0, 1], [["a"], [], [], []]]
)
def test_lists_that_are_no_classes(values: list[object]) -> None:
    said(FormatError, {"label": Target(kind="multilabel", classes=("a", "b"))}, label=values)


def test_numbers_that_are_none() -> None:
    assert "2 of 3 NaN or infinite" in said(
        FormatError, {"age": NUMBER}, age=[1.0, float("nan"), float("inf"), None]
    )
    assert "found string" in said(FormatError, {"age": NUMBER}, age=["1", "2", "3", "4"])


def test_without_a_train_split_all_rows_train() -> None:
    for splits in ({}, {"split": ["fold1", "fold2", None, "fold1"]}):
        found = labels.read(memory(X, {"label": CLASS}, label=[0, 1, 0, 1], **splits))
        assert {name: rows.tolist() for name, rows in found.parts().items()} == {
            "train": [0, 1, 2, 3]
        }


def test_parts_are_the_splits_that_have_labels() -> None:
    split = pa.array(["train", "own", "test", "valid"]).dictionary_encode()
    found = labels.read(memory(X, {"label": CLASS}, label=[0, 1, 0, None], split=split))
    assert {name: rows.tolist() for name, rows in found.parts().items()} == {
        "train": [0],
        "test": [2],
    }


def test_spellings_of_splits_are_understood_and_rows_for_testing_never_train() -> None:
    split = ["Training", "TEST", "dev", "test"]
    found = labels.read(memory(X, {"label": CLASS}, label=[0, 1, 0, 1], split=split))
    parts = {name: rows.tolist() for name, rows in found.parts().items()}
    assert parts == {"train": [0], "valid": [2], "test": [1, 3]}
    only = labels.read(memory(X, {"label": CLASS}, label=[0, 1, 0, 1], split=["Test", "x"] * 2))
    with pytest.raises(UsageError, match=r"no labelled row is in the split train.*found test, x"):
        only.parts()


def test_groups_on_both_sides_are_refused_and_counted() -> None:
    found = labels.read(
        memory(
            X,
            {"label": CLASS},
            label=[0, 1, 0, 1],
            group=["p", "q", "p", "q"],
            split=["train", "train", "test", "valid"],
        )
    )
    with pytest.raises(UsageError, match="2 groups in more than one of train, valid, test"):
        found.parts()
