"""A head on another dataset: columns are found by the core's digest, classes by name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.cores.graph import model as graph
from dof_arrow.dataset import dataset
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.format.spec.metadata import Parent, Provenance, Target
from dof_arrow.format.writer import Writer
from dof_arrow.heads import train
from dof_arrow.heads.evaluate import evaluate
from tests.support.memory import CORE, Memory, blobs, category, memory

X, Y = blobs(300)
ABC = category("a", "b", "c")
OTHER = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def head() -> bytes:
    return train.train(memory(X[:150], {"label": ABC}, label=Y[:150])).onnx


def other(target: Target = ABC, sha256: str = CORE.sha256, **columns: Any) -> Memory:
    made = memory(X[150:], {"label": target}, **{"label": Y[150:], **columns})
    core = dataclasses.replace(CORE, sha256=sha256)
    return dataclasses.replace(
        made, metadata=dataclasses.replace(made.metadata, uuid=OTHER, cores={"core": core})
    )


def test_a_head_on_another_dataset_of_the_same_core(head: bytes, tmp_path: Path) -> None:
    """The evaluation phase needs the features only (row D25)."""
    known = {"split": ["test"] * 150, "group": [f"p{number}" for number in range(150)]}
    report = evaluate(head, other(sex=["f", "m"] * 75, **known), by=["sex"])
    assert report["score"] > 0.9 > report["baseline"]
    assert report["interval"][0] > 0.8
    assert report["n_test"] == 150
    assert set(report["scores"]) == {"accuracy", "balanced_accuracy", "f1", "auc", "ece"}
    assert not report["warnings"]
    assert {v["n"] for v in report["by"]["sex"].values()} == {75}
    assert np.sum(report["confusion"]) == 150
    (tmp_path / "h.onnx").write_bytes(head)
    assert evaluate(tmp_path / "h.onnx", other(), split=None)["score"] == report["score"]


def test_classes_are_matched_by_name(head: bytes) -> None:
    names = ("c", "a", "b")
    places = [names.index("abc"[y]) for y in Y[150:]]
    assert (
        evaluate(head, other(category(*names), label=places))["score"]
        == evaluate(head, other())["score"]
    )
    codes = np.where(Y[150:] == 2, 0, Y[150:] + 1)  # d, a, b: what was c is now called d
    report = evaluate(head, other(category("d", "a", "b"), label=codes))
    met = int((Y[150:] == 2).sum())
    assert report["warnings"] == [
        "150 rows judged are in no split: whether the head was trained on some of them is not known",
        f"the head does not know d: {met} rows that it cannot get right",
    ]
    assert report["by_class"]["d"]["recall"]["score"] == 0
    assert report["classes"] == [
        "d",
        "a",
        "b",
        "c",
    ]
    with pytest.raises(UsageError, match="no class in common"):
        evaluate(head, other(category("x", "y", "z")))


def test_another_core_width_or_target_is_refused(head: bytes) -> None:
    with pytest.raises(
        CoreError, match=f"trained on another core: expected features of core {CORE.sha256}"
    ):
        evaluate(head, other(sha256="cd" * 32))
    age = {"label": Target(kind="regression", unit="years")}
    with pytest.raises(UsageError, match="expected category, found regression in years"):
        evaluate(head, memory(X, age, label=Y.astype(float)))
    wide = memory(np.zeros((4, 3), "f4"), {"label": ABC}, label=[0, 1, 2, 0])
    with pytest.raises(CoreError, match="expected 16 a row, found 3"):
        evaluate(head, wide)
    with pytest.raises(CoreError, match="not a head"):
        from tests.support.models import gemm

        evaluate(gemm().SerializeToString(), other())


def test_splits_and_the_rows_it_was_trained_on(head: bytes) -> None:
    made = memory(X[:150], {"label": ABC}, label=Y[:150], split=["train"] * 100 + ["test"] * 50)
    assert "trained on rows of this very dataset" in evaluate(head, made)["warnings"][0]
    assert "(100 of 150 rows judged)" in evaluate(head, made)["warnings"][0]
    report = evaluate(head, made, split="test")
    assert (report["n_test"], report["warnings"]) == (50, [])
    with pytest.raises(UsageError, match="expected one of test, train, found valid"):
        evaluate(head, made, split="valid")


def other_classes(codes: np.ndarray, classes: int = 3) -> pa.Array:
    """Flags of all classes but the row's own, as a multilabel column holds them."""
    rows = []
    for code in codes:
        rows.append([each for each in range(classes) if each != code])
    return pa.array(rows, pa.list_(pa.int32()))


def test_multilabel_and_regression_heads() -> None:
    flags = Target(kind="multilabel", classes=("u", "v", "w"))
    lists = other_classes(Y)
    head = train.train(memory(X[:150], {"s": flags}, s=lists[:150])).onnx
    fewer = Target(kind="multilabel", classes=("w", "u"))
    places = np.array([1, 2, 0])[Y[150:]]  # of u, v, w among w, u
    two = other_classes(places, 2)
    report = evaluate(head, memory(X[150:], {"s": fewer}, s=two))
    assert report["score"] > 0.85
    assert set(report["by_class"]) == {"w", "u"}
    age = {"age": Target(kind="regression", unit="years")}
    ages = X[:, 0].astype(float)
    head = train.train(memory(X[:150], age, age=ages[:150])).onnx
    report = evaluate(head, memory(X[150:], age, age=ages[150:]))
    assert report["score"] > 0.95


def test_features_side_by_side(tmp_path: Path) -> None:
    about = {"targets": {"label": {"kind": "category", "classes": ["a", "b", "c"]}}}
    with Writer(tmp_path / "x.dof.parquet", {**about, "primary_column": "left"}) as writer:
        writer.write(
            ids=[f"r{i:03}" for i in range(300)],
            vectors={"left": X[:, :8], "right": X[:, 8:]},
            columns={"label": Y},
        )
    ds = dataset.open(tmp_path / "x.dof.parquet")
    half, both = train.train(ds), train.train(ds, features=["left", "right"])
    whole = train.train(memory(X, {"label": ABC}, label=Y))
    assert both.report["score"] == whole.report["score"] > half.report["score"]
    assert evaluate(both.onnx, ds)["score"] >= both.report["score"]
    with pytest.raises(UsageError, match="expected one of left, right, found rihgt"):
        train.train(ds, features=["rihgt"])
    with pytest.raises(UsageError, match="named twice"):
        train.train(ds, features=["left", "left"])


def test_columns_to_judge_by_that_cannot_be(head: bytes) -> None:
    with pytest.raises(UsageError, match="no such column to judge by"):
        evaluate(head, other(), by=["sexx"])
    with pytest.raises(UsageError, match="too many different values"):
        evaluate(head, other(), by=["id"])


def test_rows_that_the_head_may_have_seen_are_told(head: bytes) -> None:
    """Rows of a split of the owner's own are trained on; a dataset made from the first has some."""
    own = memory(X[:150], {"label": ABC}, label=Y[:150], split=["a"] * 75 + ["b"] * 75)
    assert "(75 of 75 rows judged)" in evaluate(head, own, split="b")["warnings"][0]
    first = other(split=["train"] * 150)
    made = Provenance(generator="x", parents=(Parent(uuid=own.metadata.uuid),))
    merged = dataclasses.replace(
        first, metadata=dataclasses.replace(first.metadata, provenance=made)
    )
    assert "may have seen rows judged here" in evaluate(head, merged)["warnings"][0]
    assert evaluate(head, first)["warnings"] == []


def test_classes_of_few_rows_are_told(head: bytes) -> None:
    chosen = np.append(np.flatnonzero(Y[150:] != 2), np.flatnonzero(Y[150:] == 2)[:4])
    split = np.full(150, "valid", object)
    split[chosen] = "test"
    (told,) = evaluate(head, other(split=split.tolist()), split="test")["warnings"]
    assert told.startswith("fewer than 5 rows judged are of c (4)")


def test_a_head_of_unknown_training_is_told(tmp_path: Path, head: bytes) -> None:
    model = graph.from_bytes(head)
    about = json.loads(graph.properties(model)["dof.head"])
    about["report"] = {}
    graph.set_properties(model, {"dof.head": json.dumps(about)})
    found = evaluate(graph.to_bytes(model), other(split=["test"] * 150))
    assert "does not say how it was trained" in found["warnings"][0]
