"""The data's way through a graph: which tensors carry it, and the stages it passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dof_arrow.cores.graph.names import Array, inputs, reads

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


_ABOUT_SHAPE = frozenset({"Shape", "Size"})  # what they give depends on sizes, not on pixels
_RANGED = "DynamicQuantizeLinear"  # its second and third output say how the first is to be read


@dataclass(frozen=True, slots=True)
class Stage:
    """All between two bottlenecks: `nodes`, the last first, make `tensor` from `source` alone."""

    source: str
    tensor: str
    nodes: tuple[NodeProto, ...]


class Flow:
    """The tensors of a graph that carry the inputs' data, with the nodes that make and use them."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.inputs = frozenset(value.name for value in inputs(model))
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producer: dict[str, NodeProto] = {}
        self.position: dict[str, int] = {}
        self.data = set(self.inputs)
        self.scales: set[str] = set()
        for position, node in enumerate(model.graph.node):
            self._visit(node, position)

    def _visit(self, node: NodeProto, position: int) -> None:
        carries_data = node.op_type not in _ABOUT_SHAPE and not self.data.isdisjoint(reads(node))
        for name in node.output:
            if name:
                self.producer[name] = node
                self.position[name] = position
                if carries_data:
                    self.data.add(name)
        if carries_data:
            self._note_scales(node)

    def _note_scales(self, node: NodeProto) -> None:
        """Keep apart what carries only the scales of numbers that were quantised on the way."""
        if node.op_type == _RANGED:
            self.scales.update(node.output[1:])
        elif self.sources(node) <= self.scales:
            self.scales.update(node.output)

    def sources(self, node: NodeProto) -> set[str]:
        """The tensors carrying data that a node reads."""
        return self.data & reads(node)

    def values(self, node: NodeProto) -> set[str]:
        """The same without scales: what a node computes with."""
        return self.sources(node) - self.scales

    def consumers(self, tensor: str) -> Iterator[NodeProto]:
        """The nodes that read a tensor."""
        return (node for node in self.model.graph.node if tensor in node.input)

    def constant(self, name: str) -> Array | None:
        """The value of an initialiser or of a Constant node; None for anything else."""
        import onnx

        tensor = self.weights.get(name)
        node = self.producer.get(name)
        if node is not None and node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
        if tensor is None:
            return None
        value: Array = onnx.numpy_helper.to_array(tensor)
        return value

    def stages(self, tensor: str) -> Iterator[Stage]:
        """The stages that lead to a tensor, from it back towards the input.

        A sweep against the graph's order keeps the tensors that are still to be explained.
        Whenever a single one is left, every path of the data passes through it.
        """
        open_ends = {tensor}
        nodes: list[NodeProto] = []
        while open_ends - self.inputs:
            latest = max(open_ends - self.inputs, key=self.position.__getitem__)
            node = self.producer[latest]
            open_ends -= set(node.output)
            open_ends |= self.sources(node)
            nodes.append(node)
            if len(open_ends) == 1:
                (source,) = open_ends
                yield Stage(source, tensor, tuple(nodes))
                tensor = source
                nodes = []
