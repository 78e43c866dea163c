"""Heads as estimators of scikit-learn: they pass its own checks, and learn as `dof train` does."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.errors import UsageError
from dof_arrow.heads import train
from tests.support.memory import blobs, category, memory

pytest.importorskip("sklearn")

# scikit-learn looks at it only where an environment variable says so.
_SKIPPED = {"check_array_api_input"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["HeadClassifier", "HeadRegressor"])
def test_the_checks_of_scikit_learn(name: str) -> None:
    from sklearn.utils.estimator_checks import check_estimator

    found = check_estimator(getattr(dof, name)(), on_fail=None, on_skip=None)
    failed = [each["check_name"] for each in found if each["status"] == "failed"]
    skipped = {each["check_name"] for each in found if each["status"] == "skipped"}
    assert failed == [] and skipped <= _SKIPPED


def test_the_head_is_that_of_train() -> None:
    x, y = blobs(120)
    made = dof.HeadClassifier().fit(x, np.array(["a", "b", "c"])[y])
    trained = train.train(memory(x, {"label": category("a", "b", "c")}, label=y), target="label")
    from dof_arrow.cores.graph import model as graph

    (expected,) = graph.run(graph.session(trained.onnx), {"feature": x})
    assert np.array_equal(made.predict_proba(x), expected)
    assert made.predict(x).tolist() == made.classes_[expected.argmax(axis=1)].tolist()
    again = pickle.loads(pickle.dumps(made))
    assert np.array_equal(again.predict_proba(x), expected)


def test_in_a_search() -> None:
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = blobs(90)
    pipeline = make_pipeline(StandardScaler(), dof.HeadClassifier())
    search = GridSearchCV(pipeline, {"headclassifier__balance": [False, True]}, cv=3).fit(x, y)
    assert search.best_score_ > 0.9


@pytest.mark.parametrize("name", ["HeadClassifier", "HeadRegressor"])
def test_a_network(name: str) -> None:
    pytest.importorskip("torch")
    x, y = blobs(90, classes=2)
    made: Any = getattr(dof, name)("mlp", epochs=30)
    assert made.fit(x, y).score(x, y) > 0.8


def test_an_unknown_head() -> None:
    x, y = blobs(20)
    with pytest.raises(UsageError, match="expected linear or mlp, found tree"):
        dof.HeadClassifier("tree").fit(x, y)
