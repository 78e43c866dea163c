"""A model in two parts: what stands aside is run by ONNX Runtime, the rest by OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from dof_arrow.cores.graph import openvino_session
from dof_arrow.cores.graph.derive import extract
from dof_arrow.cores.graph.load import from_bytes, to_bytes
from dof_arrow.cores.graph.names import Array, reads
from dof_arrow.cores.graph.session import session as plain_session
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto


class Output(NamedTuple):
    """An output of a model; the length of an axis is None where it is free."""

    name: str
    shape: tuple[int | None, ...]


class PartedSession:
    """What is used of a session of ONNX Runtime, for a model whose parts run one after the other.

    Nodes whose outputs' names begin with `aside`, and all that they need, are the first part.
    Calls are safe from several threads. Raises CoreError where the second part needs more of the
    inputs than what the first makes of them, and what `openvino_session.session` raises.
    """

    def __init__(self, data: bytes, threads: int, aside: str, where: str) -> None:
        model = from_bytes(data)
        self._names = sorted(_passed(model, aside))
        first = extract(model, self._names)
        rest = _without(model, first, where)
        self._first = plain_session(to_bytes(first), threads, is_checked=True)
        for value in self._first.get_outputs():
            rest.graph.input.append(_as_input(value))
        self._rest = openvino_session.session(to_bytes(rest), threads, where=where, is_checked=True)
        self._outputs = [value.name for value in model.graph.output]

    def get_inputs(self) -> list[Any]:
        """The inputs of the model."""
        return list(self._first.get_inputs())

    def get_outputs(self) -> list[Output]:
        """The outputs of the model."""
        shapes = self._rest.output_shapes
        return [Output(*pair) for pair in zip(self._outputs, shapes, strict=True)]

    def get_overridable_initializers(self) -> list[Any]:
        """Weights that may be given as inputs: there are none."""
        return []

    def run(self, _: None, feeds: Mapping[str, Array]) -> list[Array]:
        """All outputs for these inputs."""
        made = self._first.run(self._names, dict(feeds))
        return self._rest.run(None, dict(zip(self._names, made, strict=True)))


def _stands_aside(node: NodeProto, aside: str) -> bool:
    return bool(node.output[0].startswith(aside))


def _passed(model: ModelProto, aside: str) -> set[str]:
    """The tensors that the first part makes and the rest reads."""
    made: set[str] = set()
    read = {value.name for value in model.graph.output}
    for node in model.graph.node:
        if _stands_aside(node, aside):
            made.update(node.output)
        else:
            read |= reads(node)
    return made & read


def _without(model: ModelProto, first: ModelProto, where: str) -> ModelProto:
    """What is left of a model without the nodes of its first part, as yet without inputs.

    Raises CoreError where that needs the inputs of the whole model.
    """
    import onnx

    done = {node.output[0] for node in first.graph.node}
    nodes = [node for node in model.graph.node if node.output[0] not in done]
    needed: set[str] = set()
    for node in nodes:
        needed |= reads(node)
    inputs = {value.name for value in model.graph.input}
    if inputs & needed:
        raise CoreError(
            "OpenVINO runs models of pictures, whose preprocessing is apart from the core",
            where,
            found=f"both in one, of each {', '.join(sorted(inputs))}",
            hint="Leave out --provider openvino.",
        )
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    del rest.graph.node[:], rest.graph.input[:]
    rest.graph.node.extend(nodes)
    return rest


def _as_input(value: Any) -> ValueInfoProto:
    """The input that takes what a session of ONNX Runtime gives, whose type is `tensor(float)`."""
    import onnx

    name = value.type.removeprefix("tensor(").removesuffix(")")
    kind = onnx.TensorProto.DataType.Value(name.upper())
    return onnx.helper.make_tensor_value_info(value.name, kind, value.shape)
