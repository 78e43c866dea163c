"""ONNX operators by what they do to features: which learn, which only move, which decide."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import NodeProto

    from dof_arrow.cores.graph.flow import Flow

_DENSE = re.compile(r"Gemm|MatMul|^LinearClassifier$|^LinearRegressor$")
_LAYER = re.compile(
    _DENSE.pattern
    + r"|Conv|Attention|LSTM|GRU|RNN|Einsum|^SVM|^TreeEnsemble|^If$|^Loop$|^Scan$|^EmbedLayer"
)

ADDITIONS = frozenset({"Add", "Sum", "Mean", "QLinearAdd"})
POOLS = frozenset(
    {
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GlobalLpPool",
        "AveragePool",
        "MaxPool",
        "LpPool",
        "ReduceMean",
        "ReduceMax",
        "ReduceSum",
        "QLinearGlobalAveragePool",
        "QLinearAveragePool",
        "QLinearReduceMean",
    }
)
# What turns scores into an answer. No features come out of these.
DECISIONS = frozenset(
    {
        "Softmax",
        "LogSoftmax",
        "Hardmax",
        "Exp",
        "Sigmoid",
        "ArgMax",
        "TopK",
        "ZipMap",
        "Normalizer",
        "QLinearSoftmax",
        "QLinearSigmoid",
    }
)
# Of these what comes out are shares of a whole: class scores, wherever they stand.
SHARES = frozenset({"Softmax", "LogSoftmax", "Hardmax", "QLinearSoftmax"})
_RECTIFIERS = frozenset(
    {"Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Tanh", "HardSigmoid"}
    | {"ThresholdedRelu", "Softplus", "Softsign", "Sigmoid", "QLinearLeakyRelu", "QLinearSigmoid"}
)
# Activations that nobody puts on scores.
SMOOTH = frozenset(
    {"Gelu", "FastGelu", "QuickGelu", "BiasGelu", "Erf", "HardSwish", "Swish", "Mish"}
)
ACTIVATIONS = _RECTIFIERS | SMOOTH
UNIT_LENGTH = frozenset({"LpNormalization", "ReduceL2"})
_NORMALISATIONS = frozenset(
    {"BatchNormalization", "LayerNormalization", "SkipLayerNormalization", "RMSNormalization"}
    | {"SimplifiedLayerNormalization", "GroupNormalization", "InstanceNormalization"}
)
_ROUNDING = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
NEUTRAL = frozenset({"Identity", "Dropout"})
RESHAPES = NEUTRAL | {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Cast"}
_MOVES = frozenset({"Transpose", "Gather", "Slice", "Split", "Concat", "QLinearConcat", "Expand"})
_ARITHMETIC = frozenset({"Sub", "Mul", "Div", "Pow", "Sqrt", "Reciprocal", "Abs", "Neg"})
# Features stay features through these, and a reader can tell so.
FAITHFUL = (
    ADDITIONS | POOLS | ACTIVATIONS | UNIT_LENGTH | _NORMALISATIONS | _ROUNDING | RESHAPES | _MOVES
) | _ARITHMETIC
RECURRENT = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})


def is_layer(flow: Flow, node: NodeProto) -> bool:
    """Whether a node is a layer with weights, or may hold one inside.

    A product of two tensors that carry data, as attention makes it, has no weights.
    """
    if not _LAYER.search(node.op_type):
        return False
    if node.op_type in ("MatMul", "Einsum", "FusedMatMul"):
        return len(flow.values(node)) == 1
    is_bare_attention = node.op_type in ("MultiHeadAttention", "Attention")
    return not (is_bare_attention and len(flow.values(node)) > 1)


def is_learnt(flow: Flow) -> bool:
    """Whether a graph has a layer with weights: before the first one there is only the picture."""
    return any(is_layer(flow, node) for node in flow.model.graph.node)


def is_linear_map(flow: Flow, node: NodeProto) -> bool:
    """Whether a node maps the channels of its one input by constant weights.

    It is a dense layer or a convolution of one pixel. Weights on the left mix places, not
    channels; stacks of matrices have one for each group.
    """
    if len(flow.values(node)) != 1:
        return False
    if "Conv" in node.op_type:
        return is_pointwise(flow, node)
    if node.op_type == "Einsum":
        return _contracts_channels(flow, node)
    if not _DENSE.search(node.op_type):
        return False
    if "MatMul" in node.op_type:
        return node.input[0] in flow.data and not _is_stack(flow, node)
    return True


def is_pointwise(flow: Flow, node: NodeProto) -> bool:
    """Whether a node is a convolution of one group with a kernel of one pixel."""
    if "Conv" not in node.op_type or "Transpose" in node.op_type:
        return False
    if ints(node, "group") not in ([], [1]):
        return False
    kernel = ints(node, "kernel_shape")
    weights = flow.weights.get(node.input[3 if node.op_type == "QLinearConv" else 1])
    if not kernel and weights is not None:
        kernel = list(weights.dims[2:])
    return set(kernel) == {1}


def is_expanding(flow: Flow, node: NodeProto) -> bool:
    """Whether arithmetic brings in a constant with more than one axis, as distances to prototypes
    do. What belongs to channels has one.
    """
    for name in node.input:
        if name in flow.data:
            continue
        value = flow.constant(name)
        if value is not None and sum(side > 1 for side in value.shape) > 1:
            return True
    return False


def reduced_axes(flow: Flow, node: NodeProto) -> list[int]:
    """The axes that a node averages or takes the maximum over, as they are written."""
    axes = ints(node, "axes")
    if len(node.input) > 1:  # from opset 18 on
        given = flow.constant(node.input[1])
        if given is not None:
            axes = [int(axis) for axis in np.ravel(given)]
    return axes


def ints(node: NodeProto, name: str) -> list[int]:
    """An attribute's integers; none where it is not set."""
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.ints) or [attribute.i]
    return []


def text(node: NodeProto, name: str) -> str:
    """An attribute's text; empty where it is not set."""
    for attribute in node.attribute:
        if attribute.name == name:
            return bytes(attribute.s).decode(errors="replace")
    return ""


def _is_stack(flow: Flow, node: NodeProto) -> bool:
    """Whether a product's weights are several matrices."""
    right = node.input[3] if node.op_type == "QLinearMatMul" else node.input[1]
    weights = flow.weights.get(right)
    return weights is not None and any(side > 1 for side in weights.dims[:-2])


def _contracts_channels(flow: Flow, node: NodeProto) -> bool:
    """Whether an Einsum sums over one axis that data and weights share, and over no other."""
    given, _, made = text(node, "equation").replace(" ", "").partition("->")
    terms = given.split(",")
    if len(terms) != 2 or not made:
        return False
    place = 0 if node.input[0] in flow.data else 1
    data, weights = terms[place], terms[1 - place]
    summed = set(data) - set(made)
    shared_and_kept = set(data) & set(weights) & set(made)
    return len(summed) == 1 and summed <= set(weights) and not shared_and_kept - {"."}
