"""What a model's graph declares: its inputs, its opset, the names of its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

OPSET = 18

Array = NDArray[Any]

_DEFAULT_DOMAIN = ("", "ai.onnx")


def properties(model: ModelProto) -> dict[str, str]:
    """The model's `metadata_props`."""
    return {prop.key: prop.value for prop in model.metadata_props}


def opset(model: ModelProto) -> int:
    """The version of the default operator set that the model uses."""
    versions = [used.version for used in model.opset_import if used.domain in _DEFAULT_DOMAIN]
    return max(versions, default=1)


def inputs(model: ModelProto) -> list[ValueInfoProto]:
    """The inputs that must be fed: those that are not weights."""
    stored = {tensor.name for tensor in weights(model.graph)}
    return [value for value in model.graph.input if value.name not in stored]


def weights(graph: GraphProto) -> Iterator[TensorProto]:
    """The initialisers of a graph; for a sparse one its values, a tensor that has its name."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values


def dims(value: ValueInfoProto) -> tuple[int | str, ...]:
    """The declared shape of an input or output; a free axis is its name, or an empty string."""
    found: list[int | str] = []
    for dim in value.type.tensor_type.shape.dim:
        found.append(dim.dim_value if dim.HasField("dim_value") else str(dim.dim_param))
    return tuple(found)


def dtype(value: ValueInfoProto) -> np.dtype[Any]:
    """The declared element type of an input or output."""
    import onnx

    kind = value.type.tensor_type.elem_type
    declared: np.dtype[Any] = onnx.helper.tensor_dtype_to_np_dtype(kind)
    return declared


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs inside a control-flow node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all graphs inside its nodes, at any depth."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from all_graphs(inner)


def given(graph: GraphProto) -> set[str]:
    """The tensors that a graph has before its first node runs."""
    stored = {tensor.name for tensor in weights(graph)}
    return stored.union(value.name for value in graph.input)


def reads(node: NodeProto) -> set[str]:
    """Every tensor that a node uses, with those that its inner graphs take from outside."""
    names = {name for name in node.input if name}
    for inner in subgraphs(node):
        names |= _captured(inner)
    return names


def tensor_names(model: ModelProto) -> set[str]:
    """Every tensor name in use, those of inner graphs too."""
    names: set[str] = set()
    for graph in all_graphs(model.graph):
        names |= given(graph)
        names.update(value.name for value in graph.output)
        for node in graph.node:
            names.update(node.input, node.output)
    return names


def _captured(graph: GraphProto) -> set[str]:
    """The tensors that an inner graph takes from the graphs around it."""
    used = {value.name for value in graph.output}
    made = given(graph)
    for node in graph.node:
        used |= reads(node)
        made.update(node.output)
    return used - made
