"""Where a model's features end and its head begins, judged from the graph alone.

The head is the last layer with weights, if it is linear and stands alone between two bottlenecks.
What follows it, and names, tell whether it gives classes (a head: cut before it) or features (a
projection, or a model that is headless already: keep it). Where neither tells, the verdict is
"unclear": nobody is helped by a guess.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    r"|(?<![a-z])(fc|pred|class|classes|score|scores)\d*(?![a-z])"
    r"|(?<![a-z])(?<!conv_)head\d*(?![a-z])"
)

Verdict = Literal["head", "output", "unclear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputVerdict:
    """What one output of a model is, and the tensor that holds the features behind it."""

    output: str
    tensor: str
    verdict: Verdict
    why: str


def verdicts(flow: Flow) -> list[OutputVerdict]:
    """A verdict on every output that depends on the input, in the model's order."""
    names = [value.name for value in flow.model.graph.output]
    return [_verdict(flow, name) for name in names if name in flow.data]


def choose(flow: Flow, found: Sequence[OutputVerdict]) -> OutputVerdict | None:
    """The one verdict that can be defended; None where several can, or one is unclear.

    Outputs that come from the same features are one. Beside a head, outputs taken from further up
    are by-products.
    """
    if any(each.verdict == "unclear" for each in found):
        return None
    heads = [each for each in found if each.verdict == "head"]
    above: set[str] = set()
    for head in heads:
        above.update(stage.source for stage in flow.stages(head.tensor))
    apart = set()
    for each in found:
        if each in heads or each.tensor not in above:
            apart.add(_skip(flow, each.tensor, _RESHAPES))
    if len(apart) != 1:
        return None
    return heads[0] if heads else found[0]


def is_learnt(nodes: Sequence[NodeProto]) -> bool:
    """Whether any node is a layer with weights: before the first one there is only the picture."""
    return any(_LAYER.search(node.op_type) for node in nodes)


def is_channels_last(flow: Flow, tensor: str) -> bool:
    """Whether a map of rank 4 is NHWC.

    It is where the model averages its axes 1 and 2, or has just moved its channels to the end.
    """
    maker = flow.producer.get(tensor)
    if maker is not None and maker.op_type == "Transpose" and _ints(maker, "perm") == [0, 2, 3, 1]:
        return True
    return any(_reduced_axes(flow, node) == {1, 2} for node in flow.consumers(tensor))


def _verdict(flow: Flow, output: str) -> OutputVerdict:
    """Look for the last layer, from the output backwards."""
    tail: list[Stage] = []
    for stage in flow.stages(output):
        layers = [node for node in stage.nodes if _LAYER.search(node.op_type)]
        if not layers:
            tail.append(stage)
            continue
        if len(layers) == 1 and _stands_alone(flow, stage) and _is_linear(flow, layers[0]):
            verdict, why = _weigh(_evidence(flow, output, layers[0], stage, tail))
            source = _skip(flow, stage.source, _NEUTRAL)
            tensor = output if verdict == "output" else source
            return OutputVerdict(output=output, tensor=tensor, verdict=verdict, why=why)
        break
    return OutputVerdict(
        output=output, tensor=output, verdict="output", why="no linear layer ends the model"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What tells whether a last linear layer gives classes or features."""

    layer: str  # its operator and name, as messages call it
    decision: str | None  # the operator that makes a decision of what it gives
    named_class: bool
    named_feature: bool
    is_normalised: bool
    is_activated: bool
    is_pooled_after: bool  # a convolution whose map is pooled only then


def _evidence(
    flow: Flow, output: str, layer: NodeProto, stage: Stage, tail: Sequence[Stage]
) -> _Evidence:
    """What stands beside the last linear layer, in its `stage`, and after it, in the `tail`."""
    after = {node.op_type for node in stage.nodes if node is not layer}
    for later in tail:
        after.update(node.op_type for node in later.nodes)
    names = " ".join([output, layer.name, *layer.output, *set(layer.input) - flow.data]).lower()
    return _Evidence(
        layer=f"{layer.op_type} {layer.name or layer.output[0]}",
        decision=_decision(tail),
        named_class=bool(_CLASS_NAME.search(names)),
        named_feature=bool(_FEATURE_NAME.search(names)),
        is_normalised=not after.isdisjoint(_NORMALISATIONS),
        is_activated=not after.isdisjoint(_ACTIVATIONS),
        is_pooled_after="Conv" in layer.op_type and not after.isdisjoint(_POOLS),
    )


def _weigh(evidence: _Evidence) -> tuple[Verdict, str]:
    """The verdict and the reason for it, from the strongest evidence."""
    layer = evidence.layer
    if evidence.decision:
        return "head", f"{layer} is the last layer, {evidence.decision} follows"
    if evidence.named_feature and not evidence.named_class:
        return "output", f"{layer} gives features by its name"
    if evidence.is_normalised:
        return "output", f"the output of {layer} is normalised, as features are"
    if evidence.is_activated and not evidence.is_pooled_after:
        return "unclear", f"{layer} is followed by an activation: classes or features?"
    if evidence.is_pooled_after and not evidence.named_class:
        return "unclear", f"{layer} is pooled after: classes or features?"
    return "head", f"{layer} is the last layer, and linear"


def _decision(tail: Sequence[Stage]) -> str | None:
    """The operator nearest to the output that decides on classes, alone in its stage."""
    for stage in tail:
        if len(stage.nodes) == 1 and stage.nodes[0].op_type in _DECISIONS:
            return str(stage.nodes[0].op_type)
    return None


def _stands_alone(flow: Flow, stage: Stage) -> bool:
    """Whether no path goes around the stage's layer, as it does in a residual block."""
    return not any(node.op_type in _JOINS and len(flow.sources(node)) > 1 for node in stage.nodes)


def _is_linear(flow: Flow, node: NodeProto) -> bool:
    """Whether a layer is dense, or a 1x1 convolution, with constant weights."""
    if len(flow.sources(node)) != 1 and node.op_type != "MatMulInteger":
        return False
    return bool(_DENSE.search(node.op_type)) or _is_pointwise(flow, node)


def _is_pointwise(flow: Flow, node: NodeProto) -> bool:
    """Whether a node is a convolution of one group with a kernel of one pixel."""
    if "Conv" not in node.op_type or "Transpose" in node.op_type:
        return False
    if _ints(node, "group") not in ([], [1]):
        return False
    kernel = _ints(node, "kernel_shape")
    weights = flow.weights.get(node.input[3 if node.op_type == "QLinearConv" else 1])
    if not kernel and weights is not None:
        kernel = list(weights.dims[2:])
    return set(kernel) == {1}


def _skip(flow: Flow, tensor: str, ops: frozenset[str]) -> str:
    """The tensor before a run of nodes of these kinds."""
    node = flow.producer.get(tensor)
    while node is not None and node.op_type in ops and node.input[0] in flow.data:
        tensor = node.input[0]
        node = flow.producer.get(tensor)
    return tensor


def _reduced_axes(flow: Flow, node: NodeProto) -> set[int]:
    """The axes of a map of rank 4 that a node averages or takes the maximum over."""
    if node.op_type not in ("ReduceMean", "ReduceMax"):
        return set()
    axes = _ints(node, "axes")
    if len(node.input) > 1:  # from opset 18 on
        given = flow.constant(node.input[1])
        if given is not None:
            axes = [int(axis) for axis in given]
    return {axis % 4 for axis in axes}


def _ints(node: NodeProto, name: str) -> list[int]:
    """An attribute's integers; none where it is not set."""
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.ints) or [attribute.i]
    return []
