"""The class of each output: by the model's own labels, or refused; and a head worse than chance."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import DofWarning, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads.export import export_head
from dof_arrow.heads.export_labels import class_names
from tests.support.memory import blobs, category, memory

X, Y = blobs(120)
THREE = memory(X, {"label": category("cat", "dog", "fox")}, label=Y)
TWO = memory(X, {"label": category("no", "yes")}, label=(Y == 1).astype(int))


def named(codes: Any, *classes: str, given: Any = None) -> tuple[str, ...]:
    return class_names(codes, given, category(*classes))


def test_names_and_codes_of_any_type() -> None:
    assert named(["fox", "cat"], "cat", "dog", "fox") == ("fox", "cat")
    assert named(list(np.array(["dog", "fox"])), "cat", "dog", "fox") == ("dog", "fox")
    assert named(list(np.array([0, 2], np.int8)), "cat", "dog", "fox") == ("cat", "fox")
    assert named([0.0, 1.0], "no", "yes") == ("no", "yes")
    assert named([False, True], "no", "yes") == ("no", "yes")
    assert named(list(np.array([False, True])), "True", "False") == ("True", "False")
    assert named([3, 7], "7", "3") == ("3", "7")  # no codes, but names
    assert named([0, 1, 2], "0", "1", "2") == ("0", "1", "2")
    assert named(None, "cat", "dog") == ("cat", "dog")
    assert class_names([0, 1], None, Target(kind="regression")) == ()


@pytest.mark.parametrize(
    ("codes", "classes", "why"),
    [
        ([-1, 1], ("no", "yes"), "neither names nor codes of classes.*found -1, 1"),
        ([0, 3], ("a", "b", "c"), "neither names nor codes"),
        ([0.5, 1.0], ("a", "b"), "neither names nor codes"),
        ([False, True], ("a", "b", "c"), "neither names nor codes"),
        (["cat", "cow"], ("cat", "dog"), "found 'cat', 'cow'"),
        ([1, 2], ("1", "2", "3"), "could be codes of classes as well as their names"),
        ([0, 0.0], ("a", "b"), "not all different"),
    ],
)
def test_labels_that_are_no_classes_or_could_be_two(
    codes: Any, classes: tuple[str, ...], why: str
) -> None:
    with pytest.raises(UsageError, match=rf"{why}.*Pass classes="):
        named(codes, *classes)


def test_classes_that_are_given() -> None:
    assert named([-1, 1], "no", "yes", given=["no", "yes"]) == ("no", "yes")
    assert named([1, 2], "1", "2", "3", given=["2", "3"]) == ("2", "3")
    with pytest.raises(UsageError, match="classes contradict the model's own"):
        named(["cat", "dog"], "cat", "dog", given=["dog", "cat"])
    with pytest.raises(UsageError, match="different texts"):
        named(None, "cat", "dog", given=["cat", "cat"])


def test_an_estimator_of_texts_keeps_its_own_order() -> None:
    from sklearn.linear_model import LogisticRegression

    unsorted = memory(X, {"label": category("fox", "cat", "dog")}, label=(Y + 1) % 3)
    names = np.array(["cat", "dog", "fox"])[Y]
    model = LogisticRegression(max_iter=500).fit(X, names)
    data = export_head(model, like=unsorted)
    head = json.loads(graph.properties(graph.from_bytes(data))["dof.head"])
    said = graph.run(graph.session(data), {"feature": X})[0].argmax(axis=1)
    assert head["classes"] == ["cat", "dog", "fox"]
    assert (np.array(head["classes"])[said] == model.predict(X)).all()


def test_a_head_in_the_wrong_order_is_warned_of() -> None:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    model = LogisticRegression(max_iter=500).fit(X, (Y == 1).astype(int))
    with pytest.warns(DofWarning, match=r"worse than chance: it agrees with the labels of \d"):
        export_head(model, like=TWO, classes=["yes", "no"])
    ages = memory(X, {"age": Target(kind="regression")}, age=X[:, 0])
    falling = LinearRegression().fit(X, -X[:, 0])
    with pytest.warns(DofWarning, match="its numbers fall where the labels rise"):
        export_head(falling, like=ages)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_head(model, like=TWO)
        # Few or no labels tell nothing.
        export_head(model, like=memory(X, TWO.metadata.targets, label=[0] * 3 + [None] * 117))
        export_head(model, like=memory(X, TWO.metadata.targets, label=np.ones(120, int)))
