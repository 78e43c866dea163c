"""Build one ONNX model from parts: names kept apart, versions matched, graphs that a loop runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

# What a model takes, and what its input is called: one picture, a sequence of them, or frames.
PICTURE, PICTURES, CLIP = "picture", "pictures", "clip"
WINDOWS = "windows"  # takes a `clip` too, but each window of it stands for itself
PREPROCESSING = "preprocessing/"  # the prefix of all names within a preprocessing


class Made(NamedTuple):
    """A tensor that is made of each picture: its name and element type.

    `all` is the name of those of all pictures together.
    """

    each: str
    kind: int
    all: str

    @property
    def first(self) -> str:
        """The name of those of all pictures as a loop gives them, with one more axis."""
        return f"{self.all}/first"


def made_of(value: ValueInfoProto) -> Made:
    """An output of the graph for one picture."""
    kind = value.type.tensor_type.elem_type
    return Made(value.name, kind, f"{value.name}/all")


def empty() -> ModelProto:
    """A model of nothing yet."""
    import onnx

    model = onnx.ModelProto(producer_name="dof-arrow")
    model.graph.name = "fused"
    return model


def append(model: ModelProto, part: ModelProto) -> None:
    """Put a part's nodes and weights, whose names are its own, after those of a model.

    Inputs and outputs are not added. Raises CoreError if both use an operator set in different
    versions.
    """
    model.graph.node.extend(part.graph.node)
    model.graph.initializer.extend(part.graph.initializer)
    model.graph.sparse_initializer.extend(part.graph.sparse_initializer)
    adopt(model, part)


def adopt(model: ModelProto, part: ModelProto) -> None:
    """Let a model declare what a part needs: its IR version and operator sets."""
    model.ir_version = max(model.ir_version, part.ir_version)
    versions = {each.domain: each.version for each in model.opset_import}
    for each in part.opset_import:
        domain = "" if each.domain == "ai.onnx" else each.domain
        known = versions.setdefault(domain, each.version)
        if known != each.version:
            raise CoreError(
                "parts use different versions of an operator set",
                domain,
                str(known),
                str(each.version),
                "Export the head again with the core's version.",
            )
    del model.opset_import[:]
    for domain, version in sorted(versions.items()):
        model.opset_import.add(domain=domain, version=version)


def prefix(part: ModelProto, before: str) -> None:
    """Put a prefix before every name of a part, inner graphs included, so that parts differ."""
    import onnx.compose

    # Declared shapes of inner tensors are dropped: they speak of batches of another size. They are
    # inferred anew.
    del part.graph.value_info[:]
    onnx.compose.add_prefix(part, before, inplace=True)


def scan(
    single: ModelProto, over: str, taken: ValueInfoProto, outputs: Mapping[Made, str]
) -> NodeProto:
    """A node that runs a graph on each element of the first axis of the tensor `over`.

    `taken` is the input of the graph; `outputs` names the results of all elements together.
    """
    from onnx import helper

    results = [(made.each, made.kind) for made in outputs]
    inner = inner_graph(single, single.graph.node, [taken], results)
    names = list(outputs.values())
    return helper.make_node("Scan", [over], names, body=inner, num_scan_inputs=1)


def inner_graph(
    single: ModelProto,
    nodes: Iterable[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Iterable[tuple[str, int]],
) -> GraphProto:
    """The graph that a loop runs each time, with the weights of what is done to each picture.

    `outputs` are names and element types.
    """
    from onnx import helper

    declared = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
    return helper.make_graph(
        nodes,
        "each",
        inputs,
        declared,
        single.graph.initializer,
        sparse_initializer=single.graph.sparse_initializer,
    )


def model_input(taken: str, picture: ValueInfoProto) -> ValueInfoProto:
    """The input of a model that takes a clip, or several pictures like `picture`."""
    from onnx import TensorProto, helper

    if taken == CLIP:
        shape = ["frames", *graph.dims(picture)]
        return helper.make_tensor_value_info(CLIP, TensorProto.UINT8, shape)
    sequence = helper.make_sequence_type_proto(picture.type)
    return helper.make_value_info(PICTURES, sequence)


def takes_grey(model: ModelProto) -> bool:
    """Whether a model of pictures leaves open how many channels they have: one stands for three."""
    (value, *_) = model.graph.input
    picture = value.type.tensor_type
    if value.name == PICTURES:
        picture = value.type.sequence_type.elem_type.tensor_type
    return bool(picture.shape.dim[-1].dim_param)
