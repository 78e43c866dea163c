"""Small changes to a model: add nodes and weights, rename tensors, set properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dof_arrow.cores.graph.names import Array, all_graphs, properties, tensor_names, weights

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto


def set_properties(model: ModelProto, values: Mapping[str, str]) -> None:
    """Add or replace entries of the model's `metadata_props`, which are then sorted by key."""
    merged = properties(model) | dict(values)
    del model.metadata_props[:]
    for key in sorted(merged):
        model.metadata_props.add(key=key, value=merged[key])


def unique_name(model: ModelProto, wanted: str) -> str:
    """`wanted`, or the first of `wanted_1`, `wanted_2` … that no tensor of the model has."""
    taken = tensor_names(model)
    name = wanted
    number = 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def rename_tensor(model: ModelProto, old: str, new: str) -> None:
    """Give a tensor another name wherever it occurs, in inner graphs too."""
    for graph in all_graphs(model.graph):
        for named in _named(graph):
            if named.name == old:
                named.name = new
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]
        for note in graph.quantization_annotation:
            if note.tensor_name == old:
                note.tensor_name = new
            for parameter in note.quant_parameter_tensor_names:  # scale and zero point
                if parameter.value == old:
                    parameter.value = new


def add_node(model: ModelProto, op: str, *names: str, **attributes: Any) -> str:
    """Append a node with one output to the graph and return that output's name."""
    import onnx

    output = unique_name(model, f"dof_{op}")
    node = onnx.helper.make_node(op, list(names), [output], name=output, **attributes)
    model.graph.node.append(node)
    return output


def add_constant(model: ModelProto, value: Array, wanted: str) -> str:
    """Add an initialiser to the graph and return its name."""
    import onnx

    name = unique_name(model, wanted)
    model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return name


def set_output(model: ModelProto, name: str, shape: Sequence[int | str] | None = None) -> None:
    """Make one float32 tensor the model's only output."""
    import onnx

    output = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    del model.graph.output[:]
    model.graph.output.append(output)


def _named(graph: GraphProto) -> list[Any]:
    """All that carries a tensor's name in a graph, apart from its nodes."""
    indices = [sparse.indices for sparse in graph.sparse_initializer]
    return [*graph.input, *graph.output, *graph.value_info, *weights(graph), *indices]
