"""Models made from a model: a part of it, its functions written out, a later opset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dof_arrow.cores.graph.edit import set_properties
from dof_arrow.cores.graph.external_data import NODE, within
from dof_arrow.cores.graph.messages import first_line
from dof_arrow.cores.graph.names import OPSET, inputs, opset, properties, reads
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

_IR_VERSION = 8  # the one of opset 18
_IR_FREE_WEIGHTS = 4  # from this version on, weights need not be listed among the inputs


def inlined(model: ModelProto) -> ModelProto:
    """The same model with its own functions written out, so that every node can be seen."""
    import onnx.inliner

    return onnx.inliner.inline_local_functions(model) if model.functions else model


def extract(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """The part of a model that computes the tensors `names`, which become its outputs.

    Weights, inputs, operator sets and types that this part does not need are dropped;
    `metadata_props` stay. Outputs carry a type only where the model declares one; ONNX Runtime
    infers the rest.
    """
    import onnx

    whole = model.graph
    needed, nodes = _needed(whole, names)
    part = onnx.ModelProto(
        ir_version=max(model.ir_version, _IR_FREE_WEIGHTS),
        functions=model.functions,
        metadata_props=model.metadata_props,
    )
    graph = part.graph
    graph.name = whole.name
    graph.node.extend(map(_plain, nodes))
    _drop_repeated_names(graph)
    graph.input.extend(value for value in inputs(model) if value.name in needed)
    _free_empty_axes(graph)
    graph.initializer.extend(tensor for tensor in whole.initializer if tensor.name in needed)
    for sparse in whole.sparse_initializer:
        if sparse.values.name in needed:
            graph.sparse_initializer.append(sparse)
    graph.value_info.extend(value for value in whole.value_info if value.name in needed)
    declared = {value.name: value for value in [*whole.value_info, *whole.output]}
    for name in names:
        graph.output.append(declared.get(name, onnx.ValueInfoProto(name=name)))
    domains = {node.domain for node in within(part, NODE)} | {"", "ai.onnx"}
    part.opset_import.extend(used for used in model.opset_import if used.domain in domains)
    return part


def raise_opset(model: ModelProto, minimum: int = OPSET) -> ModelProto:
    """The same model in opset `minimum`, or in its own if that is later.

    Raises CoreError where onnx cannot convert it.
    """
    from onnx import version_converter

    if opset(model) >= minimum:
        return model
    try:
        raised = version_converter.convert_version(inlined(model), minimum)
    except Exception as error:  # the converter raises whatever its adapters raise
        raise CoreError(
            f"the model cannot be raised from opset {opset(model)}",
            model.graph.name,
            f"opset {minimum}",
            first_line(error),
            f"Export the model again with opset {minimum} or later.",
        ) from error
    raised.ir_version = max(raised.ir_version, _IR_VERSION)
    set_properties(raised, properties(model))  # the converter loses them
    return raised


def _needed(graph: GraphProto, names: Sequence[str]) -> tuple[set[str], list[NodeProto]]:
    """The tensors and the nodes, in order, that `names` are computed from."""
    needed = set(names)
    nodes: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed |= reads(node)
            needed.update(node.output)
    nodes.reverse()
    return needed, nodes


def _drop_repeated_names(graph: GraphProto) -> None:
    """Take the names from nodes that share one: ONNX leaves names free, its runtime does not."""
    seen: set[str] = set()
    for node in graph.node:
        if node.name in seen:
            node.name = ""
        seen.add(node.name)


def _free_empty_axes(graph: GraphProto) -> None:
    """Leave axes of an input free that are declared with a length of zero or less."""
    for value in graph.input:
        for axis in value.type.tensor_type.shape.dim:
            if axis.HasField("dim_value") and axis.dim_value < 1:
                axis.Clear()


def _plain(node: NodeProto) -> NodeProto:
    """A copy without notes: exporters write stack traces there, with folders of their machine."""
    copy = type(node)()
    copy.CopyFrom(node)
    copy.ClearField("doc_string")
    copy.ClearField("metadata_props")
    return copy
