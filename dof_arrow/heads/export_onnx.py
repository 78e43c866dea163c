"""A whole ONNX model as one step of a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import UsageError
from dof_arrow.heads.exported import Exported
from dof_arrow.heads.graph_writer import GraphWriter

if TYPE_CHECKING:
    from onnx import ModelProto

Array = NDArray[Any]

_FLOATS = ("float32", "float64", "float16")
_AXES = 2  # of rows of features
# The attributes in which converters of scikit-learn name the classes, in the order of scores.
_LABELS = ("classlabels_ints", "classlabels_int64s", "classlabels_strings")


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


def exported(model: Any, sample: Array) -> Exported:
    """Read a file, bytes or a ModelProto; UsageError if it is not one input to one answer.

    Of a label beside scores, as converters of scikit-learn write them, the scores are the answer;
    a ZipMap, which makes dictionaries of them, is left out. A later opset is lowered where onnx
    can do so.
    """
    if isinstance(model, (str, Path)):
        loaded = graph.load(model)
    elif isinstance(model, bytes):
        loaded = graph.from_bytes(model)
    else:
        loaded = graph.from_bytes(graph.to_bytes(model))
    whole = graph.inlined(loaded)
    part = graph.extract(whole, [_answer(whole)])
    inputs = graph.inputs(part)
    if len(inputs) != 1:
        raise _no_head("one input", ", ".join(value.name for value in inputs) or "none")
    expected = None
    if len(graph.dims(inputs[0])) == _AXES and graph.dtype(inputs[0]).name == "float32":
        expected = graph.run(graph.session(graph.to_bytes(part)), {inputs[0].name: sample})[0]
    return Exported("ONNX", [Graph(_in_our_opset(part))], expected, _classes(part))


def _answer(model: ModelProto) -> str:
    """The tensor of scores or values among the outputs."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found = []
    for value in model.graph.output:
        maker = makers.get(value.name)
        if maker is not None and maker.op_type == "ZipMap":
            found.append(maker.input[0])
        elif _is_float(value):
            found.append(value.name)
    if len(found) == 1:
        return str(found[0])
    listed = [f"{value.name} {_kind(value)}" for value in model.graph.output]
    raise _no_head("one output of scores or values, float32", "; ".join(listed))


def _is_float(value: Any) -> bool:
    is_tensor = value.type.WhichOneof("value") in ("tensor_type", None)
    if not is_tensor:
        return False
    return not value.type.tensor_type.elem_type or graph.dtype(value).name in _FLOATS


def _kind(value: Any) -> str:
    kind = value.type.WhichOneof("value") or "of no declared type"
    if kind != "tensor_type":
        return str(kind)
    return f"{graph.dtype(value).name} {list(graph.dims(value))}"


def _classes(part: ModelProto) -> Sequence[Any] | None:
    """The classes of the scores as the model itself names them, None where it does not."""
    import onnx

    for node in reversed(part.graph.node):
        for attribute in node.attribute:
            if attribute.name in _LABELS:
                values = onnx.helper.get_attribute_value(attribute)
                names = [each.decode() if isinstance(each, bytes) else each for each in values]
                if names:
                    return names
    return None


def _in_our_opset(part: ModelProto) -> ModelProto:
    """The same model in the opset of heads, raised or lowered; UsageError where onnx cannot."""
    from onnx import version_converter

    found = graph.opset(part)
    if found <= graph.OPSET:
        return graph.raise_opset(part)
    try:
        lowered: ModelProto = version_converter.convert_version(part, graph.OPSET)
    except Exception as error:  # the converter raises whatever its adapters raise
        raise _no_head(
            f"opset {graph.OPSET}, in which heads are written, or one that can be lowered",
            f"opset {found}: {graph.first_line(error)}",
        ) from error
    return lowered


def _no_head(expected: str, found: str) -> UsageError:
    return UsageError(
        "this ONNX model is no head",
        expected=expected,
        found=found,
        hint="Export it again so, from features [N, D] to scores or values.",
    )
