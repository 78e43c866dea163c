"""Heads as estimators of scikit-learn: features and labels in arrays, no dataset.

`dof.HeadClassifier` and `dof.HeadRegressor` learn as `dof train` does, without judging: that is
what scikit-learn's own searches and cross-validation are for.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import UsageError, require
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads import named
from dof_arrow.heads.estimators import outputs
from dof_arrow.heads.features import RowFeatures
from dof_arrow.heads.labels import Labels
from dof_arrow.heads.monitor import WHOLE, TrainingMonitor, watched_learner
from dof_arrow.heads.task import Task
from dof_arrow.heads.training import TrainingOptions

Array = NDArray[Any]

_HEADS = ("linear", "mlp")


class _Fitted:
    """What both kinds share: the head as ONNX bytes in `onnx_` once fitted."""

    head: str
    epochs: int
    seed: int

    def _learn(self, X: Array, target: Target, values: Array, *, balance: bool) -> None:
        if self.head not in _HEADS:
            raise UsageError("unknown head", expected=" or ".join(_HEADS), found=str(self.head))
        rows = np.arange(len(X))
        labels = Labels(
            name="label",
            target=target,
            rows=rows,
            values=values,
            groups=rows,
            splits=np.full(len(X), ""),
            missing=0,
        )
        task = Task(labels, RowFeatures(np.ascontiguousarray(X, np.float32)))
        options = TrainingOptions(epochs=self.epochs, balance=balance, seed=self.seed)
        network = None if self.head == "linear" else named.NAMED[self.head]
        with watched_learner(task, network, options, TrainingMonitor(), cv=0, folds=0) as learner:
            model = learner.fit(labels, task.inputs, rows, None, WHOLE)
        self.onnx_ = model.to_onnx()

    def _answers(self, X: Any) -> Array:
        """What the head's outputs are for rows of features, float32 [n, C]."""
        validation = require("sklearn.utils.validation", extra="train")
        validation.check_is_fitted(self)
        X = validation.validate_data(self, X, reset=False, dtype=np.float32)
        inputs = RowFeatures(np.ascontiguousarray(X))
        return outputs(graph.session(self.onnx_), inputs, np.arange(len(X)))


class ClassHead(_Fitted):
    """A head that tells classes apart, as an estimator of scikit-learn (extra `train`).

    `head` is `linear` or `mlp` (extra `torch`), `balance` weighs classes by the inverse of their
    frequency, `epochs` is for `mlp`. Fitted it has `classes_`, and the head as ONNX in `onnx_`.

        make_pipeline(dof.DofFeatures("efficientnet-lite0"), dof.HeadClassifier())
    """

    def __init__(
        self, head: str = "linear", *, balance: bool = False, epochs: int = 200, seed: int = 0
    ) -> None:
        self.head = head
        self.balance = balance
        self.epochs = epochs
        self.seed = seed

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from features [n, D] and the class of each row [n]. Raises ValueError."""
        validation = require("sklearn.utils.validation", extra="train")
        multiclass = require("sklearn.utils.multiclass", extra="train")
        X, y = validation.validate_data(self, X, y, dtype=np.float32)
        multiclass.check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"one class only: {self.classes_[0]!r} in all {len(y)} rows")
        names = tuple(map(str, self.classes_.tolist()))
        self._learn(X, Target(kind="category", classes=names), codes, balance=self.balance)
        return self

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, float32 [n, C], in the order of `classes_`."""
        return self._answers(X)

    def predict(self, X: Any) -> Array:
        """The likeliest class of each row [n]."""
        found = self._answers(X).argmax(axis=1)
        return np.asarray(self.classes_[found])


class NumberHead(_Fitted):
    """A head that tells a number, as an estimator of scikit-learn (extra `train`).

    `head` is `linear` or `mlp` (extra `torch`), `epochs` is for `mlp`. Fitted it has the head as
    ONNX in `onnx_`.
    """

    def __init__(self, head: str = "linear", *, epochs: int = 200, seed: int = 0) -> None:
        self.head = head
        self.epochs = epochs
        self.seed = seed

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from features [n, D] and the number of each row [n]. Raises ValueError."""
        validation = require("sklearn.utils.validation", extra="train")
        X, y = validation.validate_data(self, X, y, dtype=np.float32, y_numeric=True)
        self._learn(X, Target(kind="regression"), y.astype(np.float64), balance=False)
        return self

    def predict(self, X: Any) -> Array:
        """The number of each row, float32 [n]."""
        return np.asarray(self._answers(X)[:, 0])


@cache
def _made(name: str) -> type:
    base = require("sklearn.base", extra="train")
    own, mixin = {
        "HeadClassifier": (ClassHead, base.ClassifierMixin),
        "HeadRegressor": (NumberHead, base.RegressorMixin),
    }[name]
    about = {"__module__": __name__, "__doc__": own.__doc__}
    return type(name, (mixin, own, base.BaseEstimator), about)


def __getattr__(name: str) -> Any:
    # The classes are made when they are first asked for: scikit-learn takes a second to load.
    if name in ("HeadClassifier", "HeadRegressor"):
        return _made(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
