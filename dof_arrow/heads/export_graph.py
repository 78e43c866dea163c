"""A whole ONNX model as one step of a head, and what its last nodes say of its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import UsageError
from dof_arrow.heads.exported import Gives
from dof_arrow.heads.graph_writer import DOUBLE, GraphWriter

_OWN = "own/"  # before the names of the model's tensors
_DEFAULT = ("", "ai.onnx")
_GIVES: Mapping[str, Gives] = {
    "Softmax": "chances",
    "Sigmoid": "chances",
    "LogSoftmax": "log chances",
    "Gemm": "logits",
}
# Nodes that only pass on what their first input is, and those that do so where the other is fixed.
_PASSING = {"Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Cast", "Dropout"}
_FIXED = {"Add", "Sub", "Mul", "Div"}
_CLASSIFIERS = {"LinearClassifier", "TreeEnsembleClassifier", "SVMClassifier"}


@dataclass(frozen=True, slots=True)
class Graph:
    """An ONNX model of one input and one output, of which nothing else is known."""

    model: Any

    def write(self, writer: GraphWriter, source: str) -> str:
        import onnx

        part = onnx.ModelProto()
        part.CopyFrom(self.model)
        # Declared shapes of inner tensors are dropped: they may be of another batch size.
        del part.graph.value_info[:]
        onnx.compose.add_prefix(part, _OWN, inplace=True)
        (given,) = graph.inputs(part)
        if given.type.tensor_type.elem_type == DOUBLE:
            source = writer.op("Cast", source, to=DOUBLE)
        elif writer.dtype is np.float64:
            source = writer.as_float(source)
        graph.rename_tensor(part, given.name, source)
        writer.nodes.extend(part.graph.node)
        writer.weights.extend(part.graph.initializer)
        for used in part.opset_import:
            if used.domain not in _DEFAULT:
                writer.domains[used.domain] = used.version
        return writer.as_computed(str(part.graph.output[0].name))


def check_type(model: Any) -> None:
    """Raise UsageError for a model that does not take float32 or float64."""
    (given,) = graph.inputs(model)
    if given.type.tensor_type.elem_type not in (1, DOUBLE):
        raise UsageError(
            "this ONNX model is no head", given.name, "an input float32 or float64", "another type"
        )


def graph_gives(model: Any) -> Gives | None:
    """What the outputs of a model are by the last node that computes them; None if it is unclear.

    A linear layer over chances may mix them into chances, so it tells only if none is below it.
    """
    made = {name: node for node in model.graph.node for name in node.output}
    fixed = {weight.name for weight in model.graph.initializer}
    fixed |= {name for name, node in made.items() if node.op_type == "Constant"}
    node = _computing(made, fixed, model.graph.output[0].name)
    if node is None:
        return None
    if node.op_type == "Log":
        before = _computing(made, fixed, node.input[0])
        chances = before is not None and _GIVES.get(before.op_type) == "chances"
        return "log chances" if chances else None
    if node.op_type in ("Softmax", "LogSoftmax") and not _over_classes(node):
        return None
    if node.op_type not in ("Gemm", "MatMul"):
        return _GIVES.get(node.op_type)
    below = _computing(made, fixed, node.input[0])
    mixed = below is not None and below.op_type in ("Softmax", *_CLASSIFIERS)
    return None if mixed else "logits"


def _over_classes(node: Any) -> bool:
    """Whether a softmax is over the last axis, that of the classes."""
    axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    return axes in ([], [-1], [1])


def _computing(made: Mapping[str, Any], fixed: set[str], name: str) -> Any:
    """The node that computes a tensor, past those that only pass it on, shift or scale it."""
    node = made.get(name)
    while node is not None:
        following = _followed(node, fixed)
        if following is None:
            return node
        node = made.get(following)
    return None


def _followed(node: Any, fixed: set[str]) -> str | None:
    """The input that a node passes on, or shifts and scales by fixed numbers; None if neither."""
    if node.op_type in _PASSING:
        return str(node.input[0])
    if node.op_type in _FIXED:
        free = [name for name in node.input if name not in fixed]
        return str(free[0]) if len(free) == 1 else None
    return None
