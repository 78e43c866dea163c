"""Classes and splits that are folders."""

from __future__ import annotations

from typing import Any

import pytest

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.sources.open import open_source
from tests.sources.listed import Make, keys


def told(root: Any, **asked: Any) -> list[tuple[str, str | None, str]]:
    """The name, split and class of each picture."""
    source = open_source(root, **asked)
    classes = source.targets["label"].classes if source.targets else ()
    found = []
    for i in range(len(source)):
        code = source[i].target.get("label")
        found.append((source[i].key, source[i].split, classes[code] if code is not None else ""))
    return found


def test_splits_above_classes_in_any_spelling(folder: Make) -> None:
    root = folder("Training/cat/1.png", "TEST/cat/1.png", "val/dog/deep/1.png", "dev/cat/2.png")
    assert told(root, label="folder", split="folder") == [
        ("TEST/cat/1.png", "test", "cat"),
        ("Training/cat/1.png", "train", "cat"),
        ("dev/cat/2.png", "valid", "cat"),
        ("val/dog/deep/1.png", "valid", "dog"),
    ]
    assert [split for _, split, _ in told(root, split="folder")] == [
        "test",
        "train",
        "valid",
        "valid",
    ]


def test_splits_below_classes(folder: Make) -> None:
    root = folder("cat/train/1.png", "cat/test/1.png", "dog/train/x/2.png")
    assert told(root, label="folder", split="folder") == [
        ("cat/test/1.png", "test", "cat"),
        ("cat/train/1.png", "train", "cat"),
        ("dog/train/x/2.png", "train", "dog"),
    ]


def test_splits_are_never_taken_for_classes(folder: Make) -> None:
    root = folder("train/cat/1.png", "test/cat/1.png")
    with pytest.raises(UsageError, match=r"found test, train\. Add --split folder"):
        open_source(root, label="folder")
    assert keys(open_source(root)) == ["test/cat/1.png", "train/cat/1.png"]


def test_a_class_may_be_called_as_a_split_is_where_others_are_not(folder: Make) -> None:
    root = folder("test/1.png", "other/1.png")
    assert [name for _, _, name in told(root, label="folder")] == ["other", "test"]


def test_pictures_that_lie_in_no_folder_are_told_all_at_once(folder: Make) -> None:
    root = folder("train/cat/1.png", "train/2.png", "test/3.png", "val/4.png", "test/5.png")
    with pytest.raises(
        SourceError,
        match=r"4 below the splits' folders: 3\.png, 5\.png, 2\.png and 1 more",
    ):
        open_source(root, label="folder", split="folder")
    assert len(open_source(root, split="folder")) == 5


def test_folders_that_are_no_splits(folder: Make) -> None:
    root = folder("train/a/1.png", "holdout/b/1.png", "more/c/1.png")
    with pytest.raises(SourceError, match=r"found holdout, more.*--split train=0\.8"):
        open_source(root, split="folder")
    with pytest.raises(SourceError, match=r"no split's folder.*found loose\.png"):
        open_source(folder("loose.png"), split="folder")


def test_a_table_may_say_the_class_and_folders_the_split(folder: Make, table: Make) -> None:
    root = folder("train/1.png", "test/2.png")
    rows = table("file,finding\ntrain/1.png,flu\ntest/2.png,ok\n")
    source = open_source(root, table=rows, key="file", label="finding", split="folder")
    assert [(source[i].split, source[i].target) for i in range(2)] == [
        ("test", {"finding": 1}),
        ("train", {"finding": 0}),
    ]
