"""What a model says besides what it computes: notes are dropped, names are numbered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dof_arrow.cores.graph.external_data import NODE, within
from dof_arrow.cores.graph.names import all_graphs, inputs, weights

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from onnx import GraphProto, ModelProto, TensorProto

OURS = "dof-arrow"  # the only producer that a model may name

# What ONNX gives people and tools room for, in whatever message it stands.
_NOTES = ("doc_string", "metadata_props", "denotation", "device_configurations")
_MAKERS = ("producer_version", "domain", "model_version", "training_info", "configuration")
_DIMENSION = "onnx.TensorShapeProto.Dimension"
_BATCH = "batch"
# Free axes that keep their names, since they name nobody.
_AXES = (
    *("batch", "batch_size", "N", "B", "C", "H", "W", "T", "channels", "num_channels"),
    *("height", "width", "frames", "num_frames", "time"),
)


def drop_notes(model: ModelProto) -> None:
    """Take out of a model what it says of itself and its makers, at any depth.

    Documentation, properties, denotations, producers and fields that this version of onnx does not
    know go; what it computes, and all names, stay. A producer stays if it is this program.
    """
    model.DiscardUnknownFields()
    for message in _every(model):
        for field in message.DESCRIPTOR.fields:
            if field.name in _NOTES:
                message.ClearField(field.name)
    for name in _MAKERS:
        model.ClearField(name)
    if model.producer_name != OURS:
        model.ClearField("producer_name")
    for graph in all_graphs(model.graph):
        graph.ClearField("quantization_annotation")


def number_names(model: ModelProto, graph_name: str) -> None:
    """Call the nodes, tensors and free axes of a model by numbers; its outputs keep their names.

    Its one input is called `input`. Equal models get equal names.
    """
    new = _new_names(model)
    for number, node in enumerate(within(model, NODE)):
        node.name = f"{node.op_type}_{number}"
        node.input[:] = [new.get(name, "") for name in node.input]
        node.output[:] = [new.get(name, "") for name in node.output]
        for tensor in _attribute_tensors(node):
            tensor.ClearField("name")
    for graph in all_graphs(model.graph):
        graph.name = graph_name
        _rename(graph, new)
    _number_axes(model)


def _new_names(model: ModelProto) -> dict[str, str]:
    """The new name of every tensor."""
    new = {value.name: value.name for value in model.graph.output}
    for value in inputs(model):
        new[value.name] = "input"
    for graph in all_graphs(model.graph):
        for weight in weights(graph):
            new.setdefault(weight.name, f"weight_{len(new)}")
        for value in graph.input:
            new.setdefault(value.name, f"tensor_{len(new)}")
        for node in graph.node:
            for name in filter(None, node.output):
                new.setdefault(name, f"tensor_{len(new)}")
    return new


def _rename(graph: GraphProto, new: dict[str, str]) -> None:
    """Give what a graph declares its new names; declarations of nothing are dropped."""
    known = [value for value in graph.value_info if value.name in new]
    del graph.value_info[:]
    graph.value_info.extend(known)
    for named in (*graph.input, *graph.output, *graph.value_info, *weights(graph)):
        named.name = new[named.name]
    for sparse in graph.sparse_initializer:
        sparse.indices.ClearField("name")


def _number_axes(model: ModelProto) -> None:
    """Number the free axes whose names are not common words; the first of the input is `batch`."""
    new = {name: name for name in _AXES}
    for value in inputs(model):
        first = value.type.tensor_type.shape.dim[0]
        if first.dim_param:
            new[first.dim_param] = _BATCH
    for axis in within(model, _DIMENSION):
        if axis.HasField("dim_param"):
            axis.dim_param = new.setdefault(axis.dim_param, f"axis_{len(new)}")


def _attribute_tensors(node: Any) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse = list(attribute.sparse_tensors)
        if attribute.HasField("sparse_tensor"):
            sparse.append(attribute.sparse_tensor)
        for each in sparse:
            yield from (each.values, each.indices)


def _every(message: Message) -> Iterator[Message]:
    """A message and all messages in it; the bytes of weights are never touched."""
    ahead = [message]
    while ahead:
        here = ahead.pop()
        yield here
        for field, value in here.ListFields():
            if field.message_type is None:
                continue
            if field.is_repeated:
                ahead.extend(value)
            else:
                ahead.append(value)
