"""How a picture's data flows through a model, where its features end and its head begins: read off the graph alone.

The head is the last layer with weights, if it is linear and stands alone between two bottlenecks. Whether it gives
classes (a head: cut before it) or features (a projection, an already headless model: keep it) is told by what
follows it and by names. Where neither tells, the reading is "unclear": nobody is helped by a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dof_arrow.cores.graph.flow import Flow, Stage

if TYPE_CHECKING:
    from onnx import NodeProto

_DENSE = re.compile(r"Gemm|MatMul|^LinearClassifier$|^LinearRegressor$|^SVM|^TreeEnsemble")
_LAYER = re.compile(_DENSE.pattern + r"|Conv|Attention|LSTM|GRU|RNN|Einsum|^If$|^Loop$|^Scan$")
_JOINS = frozenset({"Add", "Sum", "Concat", "QLinearAdd", "QLinearConcat"})
_POOLS = frozenset(
    {
        "GlobalAveragePool",
        "GlobalMaxPool",
        "AveragePool",
        "ReduceMean",
        "ReduceMax",
        "ReduceSum",
        "QLinearGlobalAveragePool",
        "QLinearAveragePool",
        "QLinearReduceMean",
    }
)
_DECISIONS = frozenset(
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
_ACTIVATIONS = frozenset(
    {
        "Relu",
        "Clip",
        "LeakyRelu",
        "PRelu",
        "Elu",
        "Selu",
        "Celu",
        "Gelu",
        "FastGelu",
        "QuickGelu",
        "Erf",
        "Tanh",
        "Sigmoid",
        "HardSwish",
        "HardSigmoid",
        "Mish",
        "QLinearLeakyRelu",
    }
)
_NORMALISATIONS = frozenset(
    {"BatchNormalization", "LayerNormalization", "LpNormalization", "ReduceL2"}
)
_NEUTRAL = frozenset({"Identity", "Dropout"})
_RESHAPES = _NEUTRAL | {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Cast"}
_FEATURE_NAME = re.compile(r"feature|embed|hidden|pooler|encod|represent|backbone")
_CLASS_NAME = re.compile(
    r"classif|logit|softmax|prob|predict|label"
    r"|(?<![a-z])(fc|pred|class|classes|score|scores)\d*(?![a-z])|(?<![a-z])(?<!conv_)head\d*(?![a-z])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputVerdict:
    """What one output of a model is, and the tensor that holds the features behind it."""

    output: str
    tensor: str
    verdict: Literal["head", "output", "unclear"]
    why: str


def readings(flow: Flow) -> list[OutputVerdict]:
    """A reading of every output that depends on the input, in the model's order."""
    return [_read(flow, value.name) for value in flow.model.graph.output if value.name in flow.data]


def choose(flow: Flow, found: Sequence[OutputVerdict]) -> OutputVerdict | None:
    """The one reading that can be defended; None where several can, or one is unclear.

    Outputs that come of the same features are one. Beside a head, outputs taken from further up are by-products.
    """
    if any(reading.verdict == "unclear" for reading in found):
        return None
    heads = [reading for reading in found if reading.verdict == "head"]
    roots = {reading.tensor: _root(flow, reading.tensor) for reading in found}
    above = {stage.source for head in heads for stage in flow.stages(head.tensor)}
    apart = {roots[r.tensor] for r in found if r in heads or r.tensor not in above}
    return (heads or list(found))[0] if len(apart) == 1 else None


def is_learnt(nodes: Sequence[NodeProto]) -> bool:
    """Whether any of the nodes is a layer with weights: before the first one there is only the picture."""
    return any(_LAYER.search(node.op_type) for node in nodes)


def is_channels_last(flow: Flow, tensor: str) -> bool:
    """Whether a map of rank 4 is NHWC: the model averages its axes 1 and 2, or has just moved its channels back."""
    maker = flow.producer.get(tensor)
    if maker is not None and maker.op_type == "Transpose" and _ints(maker, "perm") == [0, 2, 3, 1]:
        return True
    return any(_reduced_axes(flow, node) == {1, 2} for node in flow.consumers(tensor))


def _read(flow: Flow, output: str) -> OutputVerdict:
    tail: list[Stage] = []
    for stage in flow.stages(output):
        layers = [node for node in stage.nodes if _LAYER.search(node.op_type)]
        if layers and not (
            len(layers) == 1 and _stands_alone(flow, stage) and _is_linear(flow, layers[0])
        ):
            break
        if layers:
            return _judge(flow, output, layers[0], stage, tail)
        tail.append(stage)
    return OutputVerdict(
        output=output, tensor=output, verdict="output", why="no linear layer ends the model"
    )


def _judge(
    flow: Flow, output: str, layer: NodeProto, stage: Stage, tail: Sequence[Stage]
) -> OutputVerdict:
    """Weigh the evidence on the last linear layer, the strongest first."""
    source = _skip(flow, stage.source, _NEUTRAL)
    names = " ".join([output, layer.name, *layer.output, *set(layer.input) - flow.data]).lower()
    classes, features = (bool(pattern.search(names)) for pattern in (_CLASS_NAME, _FEATURE_NAME))
    ops = {node.op_type for s in tail for node in s.nodes} | {
        node.op_type for node in stage.nodes if node is not layer
    }
    decision = next(
        (
            s.nodes[0].op_type
            for s in tail
            if len(s.nodes) == 1 and s.nodes[0].op_type in _DECISIONS
        ),
        None,
    )
    on_map = "Conv" in layer.op_type and bool(ops & _POOLS)
    label = layer.name or layer.output[0]

    def reading(verdict: Literal["head", "output", "unclear"], why: str) -> OutputVerdict:
        return OutputVerdict(
            output=output,
            tensor=output if verdict == "output" else source,
            verdict=verdict,
            why=why,
        )

    if decision:
        return reading("head", f"{layer.op_type} {label} is the last layer, {decision} follows")
    if features and not classes:
        return reading("output", f"{layer.op_type} {label} gives features by its name")
    if ops & _NORMALISATIONS:
        return reading(
            "output", f"the output of {layer.op_type} {label} is normalised, as features are"
        )
    if ops & _ACTIVATIONS and not on_map:
        return reading(
            "unclear", f"{layer.op_type} {label} is followed by an activation: classes or features?"
        )
    if on_map and not classes:
        return reading("unclear", f"{layer.op_type} {label} is pooled after: classes or features?")
    return reading("head", f"{layer.op_type} {label} is the last layer, and linear")


def _stands_alone(flow: Flow, stage: Stage) -> bool:
    """Whether no path goes around the stage's layer, as it does in a residual block."""
    return not any(node.op_type in _JOINS and len(flow.sources(node)) > 1 for node in stage.nodes)


def _is_linear(flow: Flow, node: NodeProto) -> bool:
    """Whether a layer is dense, or a 1x1 convolution, with constant weights."""
    if len(flow.sources(node)) != 1 and node.op_type != "MatMulInteger":
        return False
    return bool(_DENSE.search(node.op_type)) or _is_pointwise(flow, node)


def _is_pointwise(flow: Flow, node: NodeProto) -> bool:
    if (
        "Conv" not in node.op_type
        or "Transpose" in node.op_type
        or _ints(node, "group") not in ([], [1])
    ):
        return False
    weights = flow.weights.get(node.input[3 if node.op_type == "QLinearConv" else 1])
    kernel = _ints(node, "kernel_shape") or (list(weights.dims[2:]) if weights else [])
    return bool(kernel) and set(kernel) == {1}


def _skip(flow: Flow, tensor: str, ops: frozenset[str]) -> str:
    """The tensor before a run of nodes of these kinds."""
    node = flow.producer.get(tensor)
    while node is not None and node.op_type in ops and node.input[0] in flow.data:
        tensor = node.input[0]
        node = flow.producer.get(tensor)
    return tensor


def _root(flow: Flow, tensor: str) -> str:
    return _skip(flow, tensor, _RESHAPES)


def _reduced_axes(flow: Flow, node: NodeProto) -> set[int]:
    if node.op_type not in ("ReduceMean", "ReduceMax"):
        return set()
    given = flow.constant(node.input[1]) if len(node.input) > 1 else None
    axes: Iterator[int] = (
        iter(_ints(node, "axes")) if given is None else (int(axis) for axis in given)
    )
    return {axis % 4 for axis in axes}


def _ints(node: NodeProto, name: str) -> list[int]:
    """An attribute's integers; none where it is not set."""
    return [n for a in node.attribute if a.name == name for n in (a.ints or [a.i])]
