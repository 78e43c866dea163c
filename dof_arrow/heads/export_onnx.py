"""A whole ONNX model as one step of a head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import UsageError
from dof_arrow.heads.exported import Exported
from dof_arrow.heads.graph_writer import GraphWriter


@dataclass(frozen=True, slots=True)
class Graph:
    """An ONNX model of one input and one output, of which nothing else is known."""

    model: Any

    def write(self, writer: GraphWriter, source: str) -> str:
        import onnx

        part = onnx.ModelProto()
        part.CopyFrom(self.model)
        # Declared shapes of inner tensors are dropped: they may be of another batch size.
        del part.graph.value_info[:]
        onnx.compose.add_prefix(part, "own/", inplace=True)
        (given,) = graph.inputs(part)
        graph.rename_tensor(part, given.name, source)
        writer.nodes.extend(part.graph.node)
        writer.weights.extend(part.graph.initializer)
        return str(part.graph.output[0].name)


def exported(model: Any) -> Exported:
    """Read a file, bytes or a ModelProto; UsageError if it is not one input to one output."""
    if isinstance(model, (str, Path)):
        loaded = graph.load(model)
    elif isinstance(model, bytes):
        loaded = graph.from_bytes(model)
    else:
        loaded = graph.from_bytes(graph.to_bytes(model))
    inputs = len(graph.inputs(loaded))
    outputs = len(loaded.graph.output)
    opset = graph.opset(loaded)
    if inputs != 1 or outputs != 1 or opset > graph.OPSET:
        raise UsageError(
            "this ONNX model is no head",
            expected=f"one input, one output, opset {graph.OPSET} or less",
            found=f"{inputs}, {outputs}, {opset}",
            hint="Export it again with these",
        )
    inlined = graph.inlined(loaded)
    return Exported("ONNX", [Graph(graph.raise_opset(inlined))])
