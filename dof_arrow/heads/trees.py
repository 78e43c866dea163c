"""The trees of a forest or of boosting as one step of a head, with thresholds in float64.

In float32 a threshold between two features could part them otherwise than scikit-learn does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.heads.graph_writer import GraphWriter

Array = NDArray[Any]

_EDGES = 256  # rows at thresholds
_DOMAIN, _VERSION = "ai.onnx.ml", 3


@dataclass(frozen=True, slots=True)
class Tree:
    """The nodes of a tree, the root first; a node without children (`left` < 0) is a leaf.

    Below an inner node, a row whose `feature` is at most the `threshold` goes left. `values`
    float64 [nodes, K] are what each node says.
    """

    left: Array
    right: Array
    feature: Array
    threshold: Array
    values: Array


@dataclass(frozen=True, slots=True)
class Forest:
    """The sum of what trees say of each row, float32 [N, K], plus `base` float64 [K].

    `targets` are the columns that the values of each tree are added to.
    """

    trees: Sequence[Tree]
    targets: Sequence[Sequence[int]]
    base: Array

    def write(self, writer: GraphWriter, source: str) -> str:
        from onnx import numpy_helper

        nodes = _joined(self.trees)
        leaves = _leaves(self.trees, self.targets)
        thresholds = nodes.pop("nodes_values")
        weights = leaves.pop("target_weights")
        writer.domains[_DOMAIN] = _VERSION
        writer.width = len(self.base)
        sums = writer.op(
            "TreeEnsembleRegressor",
            source,
            domain=_DOMAIN,
            n_targets=len(self.base),
            nodes_values_as_tensor=numpy_helper.from_array(thresholds, "thresholds"),
            target_weights_as_tensor=numpy_helper.from_array(weights, "weights"),
            base_values_as_tensor=numpy_helper.from_array(self.base.astype(np.float64), "base"),
            **{name: values.tolist() for name, values in (nodes | leaves).items()},
        )
        return writer.as_computed(sums)


def _joined(trees: Sequence[Tree]) -> dict[str, Array]:
    """The nodes of all trees, as the operator wants them."""
    found: dict[str, list[Any]] = {}
    for number, tree in enumerate(trees):
        count = len(tree.left)
        leaf = tree.left < 0
        columns: Mapping[str, Any] = {
            "nodes_treeids": np.full(count, number),
            "nodes_nodeids": np.arange(count),
            "nodes_featureids": np.where(leaf, 0, tree.feature),
            "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ"),
            "nodes_truenodeids": np.where(leaf, 0, tree.left),
            "nodes_falsenodeids": np.where(leaf, 0, tree.right),
            "nodes_values": np.where(leaf, 0.0, tree.threshold),
        }
        for name, values in columns.items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


def _leaves(trees: Sequence[Tree], targets: Sequence[Sequence[int]]) -> dict[str, Array]:
    """What the leaves add to which column, as the operator wants it."""
    found: dict[str, list[Any]] = {}
    for number, (tree, columns) in enumerate(zip(trees, targets, strict=True)):
        leaves = np.flatnonzero(tree.left < 0)
        count = len(leaves) * len(columns)
        each = {
            "target_treeids": np.full(count, number),
            "target_nodeids": np.repeat(leaves, len(columns)),
            "target_ids": np.tile(columns, len(leaves)),
            "target_weights": tree.values[leaves].ravel(),
        }
        for name, values in each.items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


def edges(trees: Sequence[Tree], rows: Array) -> Array:
    """Rows float32 [m, D] at the thresholds of trees: the number just below, at and just above.

    The other features are those of `rows` [n, D].
    """
    places = list(_places(trees))
    step = max(1, len(places) // _EDGES)
    chosen = places[::step]
    found = np.repeat(np.resize(rows, (len(chosen), rows.shape[1])), 3, axis=0).astype(np.float32)
    for number, (feature, threshold) in enumerate(chosen):
        near = np.float32(threshold)
        around = (
            np.nextafter(near, np.float32(-np.inf)),
            near,
            np.nextafter(near, np.float32(np.inf)),
        )
        found[3 * number : 3 * number + 3, feature] = around
    return found


def _places(trees: Sequence[Tree]) -> Iterator[tuple[int, float]]:
    """The feature and the threshold of every inner node."""
    for tree in trees:
        for node in np.flatnonzero(tree.left >= 0):
            yield int(tree.feature[node]), float(tree.threshold[node])
