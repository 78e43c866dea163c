"""scikit-learn's trees, forests and boosted trees as the steps of a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.heads.activations import Operator, Rounded
from dof_arrow.heads.exported import unknown
from dof_arrow.heads.layers import Both, Function, Rescale, Step
from dof_arrow.heads.trees import Forest, Tree

Array = NDArray[Any]

_SINGLE = ("DecisionTree", "ExtraTree")
_FORESTS = ("RandomForest", "ExtraTrees")
_EXPECTED = "trees of one target"


def known(name: str) -> bool:
    """Whether an estimator of this name is one of trees that are written here."""
    for ending in ("Classifier", "Regressor"):
        base = name.removesuffix(ending)
        if base != name and base in (
            *_SINGLE,
            *_FORESTS,
            "GradientBoosting",
            "HistGradientBoosting",
        ):
            return True
    return False


def steps(model: Any) -> list[Step]:
    """The steps of an estimator of trees; UsageError for an option that cannot be honoured."""
    name = type(model).__name__
    if getattr(model, "n_outputs_", 1) != 1:
        raise unknown("scikit-learn", f"{name} of several targets", _EXPECTED)
    if name.startswith("Hist"):
        return _histogram(model, name)
    if name.startswith("GradientBoosting"):
        return _boosted(model, name)
    single = name.removesuffix("Classifier").removesuffix("Regressor") in _SINGLE
    trees = [model] if single else model.estimators_
    return _forest([_tree(each.tree_) for each in trees])


# scikit-learn's trees see features in float32, those of histograms in float64.
def _forest(trees: Sequence[Tree]) -> list[Step]:
    """The mean of trees; it is divided at the end, so that equal sums stay equal."""
    columns = trees[0].values.shape[1]
    summed = Forest(trees, [range(columns)] * len(trees), np.zeros(columns))
    if len(trees) == 1:
        return [Rounded(), summed]
    return [Rounded(), summed, Operator("Div", (len(trees),))]


def _tree(tree: Any, factor: float = 1.0) -> Tree:
    values = np.asarray(tree.value, np.float64)[:, 0, :]
    return Tree(
        left=tree.children_left,
        right=tree.children_right,
        feature=tree.feature,
        threshold=tree.threshold,
        values=values * factor,
    )


def _boosted(model: Any, name: str) -> list[Step]:
    """init + learning_rate * the sum of trees, through the link of the loss."""
    initial = model.init_
    constant = isinstance(initial, str) or type(initial).__name__.startswith("Dummy")
    if not constant:
        raise unknown("scikit-learn", f"{name}(init={type(initial).__name__})", "init=None")
    base = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))[0]
    trees, targets = [], []
    for row in model.estimators_:
        for column, each in enumerate(row):
            trees.append(_tree(each.tree_, model.learning_rate))
            targets.append([column])
    forest = Forest(trees, targets, np.asarray(base, np.float64))
    if name.endswith("Regressor"):
        return [Rounded(), forest]
    if model.loss == "exponential":  # half the log odds
        return [
            Rounded(),
            forest,
            Rescale(np.array([2.0]), np.zeros(1)),
            Function("sigmoid"),
            Both(),
        ]
    return [Rounded(), forest, *_classes(len(forest.base))]


def _histogram(model: Any, name: str) -> list[Step]:
    if getattr(model, "is_categorical_", None) is not None:
        raise unknown(
            "scikit-learn", f"{name}(categorical_features=…)", "features that are numbers"
        )
    base = np.ravel(model._baseline_prediction).astype(np.float64)
    trees, targets = [], []
    for iteration in model._predictors:
        for column, predictor in enumerate(iteration):
            trees.append(_histogram_tree(predictor.nodes))
            targets.append([column])
    forest = Forest(trees, targets, base)
    if name.endswith("Classifier"):
        return [forest, *_classes(len(base))]
    return [forest, Operator("Exp")] if model.loss in ("poisson", "gamma") else [forest]


def _histogram_tree(nodes: Any) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"],
        values=nodes["value"].astype(np.float64)[:, None],
    )


def _classes(columns: int) -> list[Step]:
    if columns == 1:
        return [Function("sigmoid"), Both()]
    return [Function("softmax")]


def of(found: Sequence[Step]) -> Sequence[Tree]:
    """The trees among steps."""
    return [tree for step in found if isinstance(step, Forest) for tree in step.trees]
