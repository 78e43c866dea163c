"""The scale and zero point of a quantised tensor, found beside it in the graph."""

from __future__ import annotations

from dof_arrow.cores.graph.flow import Flow
from dof_arrow.cores.probe import SEE_LIST
from dof_arrow.errors import CoreError

# Operators that leave the scale of their first input as it is.
_MOVES = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout", "MaxPool"}
)
# Which input is the scale of an operator's output; its zero point follows.
_OUTPUT_SCALE = {
    "QuantizeLinear": 1,
    "QLinearConv": 6,
    "QLinearMatMul": 6,
    "QLinearAdd": 6,
    "QLinearMul": 6,
    "QGemm": 7,
    "QLinearGlobalAveragePool": 3,
    "QLinearAveragePool": 3,
    "QLinearLeakyRelu": 3,
    "QLinearSigmoid": 3,
    "QLinearConcat": 0,
}


def scale_of(flow: Flow, tensor: str) -> list[str]:
    """The names of a quantised tensor's scale and zero point; CoreError where none is stated."""
    found = _scale_below(flow, tensor) or _scale_above(flow, tensor)
    if not found:
        expected = "float or quantised values"
        raise CoreError(
            "whole numbers without a scale are no features", tensor, expected, hint=SEE_LIST
        )
    return [name for name in found if name]


def _scale_below(flow: Flow, tensor: str) -> list[str]:
    """What the operators say that use a tensor: its scale and zero point follow it there."""
    for node in flow.consumers(tensor):
        if node.op_type.startswith(("QLinear", "QGemm", "DequantizeLinear")):
            first = list(node.input).index(tensor) + 1
            return list(node.input[first : first + 2])
        if node.op_type in _MOVES:
            found = _scale_below(flow, node.output[0])
            if found:
                return found
    return []


def _scale_above(flow: Flow, tensor: str) -> list[str]:
    """What the operator says that makes a tensor."""
    node = flow.producer.get(tensor)
    if node is None:
        return []
    if node.op_type in _MOVES:
        return _scale_above(flow, node.input[0])
    first = _OUTPUT_SCALE.get(node.op_type)
    return [] if first is None else list(node.input[first : first + 2])
