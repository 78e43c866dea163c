"""What training leaves in a model: random numbers, and statistics of the batch instead of its own.

A network exported as it trains gives other features each time, or features that depend on the
other pictures of a batch. Both are found in the graph, and said by their name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dof_arrow.cores.graph.external_data import NODE, within
from dof_arrow.cores.graph.flow import Flow
from dof_arrow.cores.graph.names import opset
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
    | {"Bernoulli", "Multinomial", "BiasDropout", "BitmaskDropout", "BitmaskBiasDropout"}
)
_DROPOUT_OF_INPUTS = 12  # from this opset on ratio and mode are inputs, and training is possible
_SWITCH_OF_TEST = 7  # before this opset `is_test` says that a network does not train
_SWITCH_OF_TRAINING = (
    14  # from this opset on `training_mode` says that it does; before, more outputs
)
_EVAL = "Export it in eval mode: model.eval() in torch, training=False in Keras."


def refuse_random(model: ModelProto) -> None:
    """Raise CoreError for a model that draws random numbers."""
    found = [_shown(node) for node in within(model, NODE) if node.op_type in _RANDOM]
    flow = Flow(model)
    version = opset(model)
    for node in within(model, NODE):
        if node.op_type == "Dropout" and _drops(flow, node, version):
            found.append(f"{_shown(node)} in training mode")
    if found:
        raise draws(model.graph.name, found)


def refuse_batch_statistics(model: ModelProto) -> None:
    """Raise CoreError for a model that normalises pictures by the others of their batch.

    Weights may be normalised by themselves in this way, as those of NFNets are.
    """
    flow = Flow(model)
    version = opset(model)
    found = []
    for node in within(model, NODE):
        normalises = node.op_type == "BatchNormalization" and node.input[0] in flow.data
        if normalises and _is_training(node, version):
            found.append(_shown(node))
    if found:
        raise CoreError(
            "the model normalises pictures by the others of their batch: "
            "BatchNormalization in training mode",
            model.graph.name,
            "the statistics of its training",
            _listed(found),
            _EVAL,
        )


def draws(name: str, found: list[str]) -> CoreError:
    """The error for a model that draws random numbers."""
    return CoreError(
        "the model draws random numbers: its features would be others each time",
        name,
        "the same features each time",
        _listed(found),
        f"{_EVAL} A model that samples by design: cut before it, --at TENSOR.",
    )


def _drops(flow: Flow, node: NodeProto, version: int) -> bool:
    """Whether a Dropout drops anything: it is in training mode, of a ratio that is not zero."""
    if version < _SWITCH_OF_TEST:
        return not _attribute(node, "is_test", 0) and _attribute(node, "ratio", 0.5) > 0
    if version < _DROPOUT_OF_INPUTS or len(node.input) < 3 or not node.input[2]:
        return False
    mode = flow.constant(node.input[2])
    ratio = flow.constant(node.input[1]) if node.input[1] else np.array(0.5)
    if mode is not None and not mode.any():
        return False
    return ratio is None or bool((ratio > 0).any())


def _is_training(node: NodeProto, version: int) -> bool:
    if version >= _SWITCH_OF_TRAINING:
        return bool(_attribute(node, "training_mode", 0))
    if version < _SWITCH_OF_TEST:
        return not _attribute(node, "is_test", 0)
    return len([name for name in node.output if name]) > 1


def _attribute(node: NodeProto, name: str, default: float) -> Any:
    import onnx

    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return default


def _shown(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or next(iter(node.output), '')}".strip()


def _listed(found: list[str]) -> str:
    shown = ", ".join(found[:3])
    more = len(found) - 3
    return f"{shown} and {more} more" if more > 0 else shown
