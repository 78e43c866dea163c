"""An ONNX model that was made elsewhere, as the step of a head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import UsageError
from dof_arrow.heads.export_graph import Graph, check_type
from dof_arrow.heads.exported import Exported, Gives
from dof_arrow.heads.graph_writer import DOUBLE

Array = NDArray[Any]

_FLOATS = (1, DOUBLE)
_LABELS = (7, 8)  # int64 and text
_MACHINE_LEARNING = "ai.onnx.ml"
_LISTS = ("classlabels_ints", "classlabels_int64s", "classlabels_strings")
# What a classifier of ai.onnx.ml gives, by what it does to its scores at the end.
_AFTER: dict[str, Gives] = {"SOFTMAX": "chances", "LOGISTIC": "chances"}


def exported(model: Any) -> Exported:
    """Read a file, bytes or a ModelProto; UsageError if it is not one input to one output.

    Of a classifier as scikit-learn's converter writes it (label and probabilities), the label is
    left out; its classes name the outputs.
    """
    loaded = _loaded(model)
    if len(graph.inputs(loaded)) != 1:
        raise _no_head("one input", ", ".join(given.name for given in graph.inputs(loaded)))
    if loaded.graph.sparse_initializer:
        raise _no_head("dense weights", "sparse weights")
    check_type(loaded)
    inlined = graph.inlined(loaded)
    codes = _codes(inlined)
    chosen = _without_zipmap(inlined, _chosen(inlined))
    part = graph.extract(inlined, [chosen])
    return Exported(
        framework="ONNX",
        steps=[Graph(_at_our_opset(part))],
        says=answers(part),
        codes=codes,
        gives=_gives(part),
    )


def answers(model: Any) -> Any:
    """A model run as it is, as a function from rows to answers."""
    session = graph.session(graph.to_bytes(model))
    (given,) = graph.inputs(model)
    wide = given.type.tensor_type.elem_type == DOUBLE

    def run(rows: Array) -> Array:
        return graph.run(session, {given.name: rows.astype(np.float64) if wide else rows})[0]

    return run


def _loaded(model: Any) -> Any:
    if isinstance(model, (str, Path)):
        return graph.load(model)
    if isinstance(model, bytes):
        return graph.from_bytes(model)
    return graph.from_bytes(graph.to_bytes(model))


def _chosen(model: Any) -> str:
    """The output that is a head's: the only one, or the numbers beside a label."""
    outputs = list(model.graph.output)
    if len(outputs) == 1:
        return str(outputs[0].name)
    labels = [each for each in outputs if _type(each) in _LABELS]
    others = [each for each in outputs if each not in labels]
    if len(labels) == 1 and len(others) == 1:
        return str(others[0].name)
    raise _no_head("one output, or a label and its probabilities", _names(outputs))


def _without_zipmap(model: Any, name: str) -> str:
    """The tensor behind an output: a ZipMap makes a list of dictionaries of it."""
    for node in model.graph.node:
        if name in node.output and node.op_type == "ZipMap":
            return str(node.input[0])
    return name


def _codes(model: Any) -> Sequence[Any] | None:
    """The labels of classes, as the classifier or the ZipMap names them; None if none does."""
    found: list[list[Any]] = []
    for node in model.graph.node:
        if node.domain != _MACHINE_LEARNING:
            continue
        for attribute in node.attribute:
            if attribute.name in _LISTS:
                labels = [*attribute.ints, *(text.decode() for text in attribute.strings)]
                if labels and labels not in found:
                    found.append(labels)
    if len(found) > 1:
        shown = " and ".join(str(labels) for labels in found)
        raise _no_head("one list of classes", shown, "Pass the classifier alone")
    return found[0] if found else _looked_up(model)


def _looked_up(model: Any) -> Sequence[Any] | None:
    """The labels that the label output is looked up in, as newer converters write it."""
    from onnx import numpy_helper

    labels = [each.name for each in model.graph.output if _type(each) in _LABELS]
    made = {name: node for node in model.graph.node for name in node.output}
    weights = {weight.name: weight for weight in model.graph.initializer}
    name = labels[0] if labels else ""
    while name in made:
        node = made[name]
        if node.op_type in ("ArrayFeatureExtractor", "Gather") and node.input[0] in weights:
            array = numpy_helper.to_array(weights[node.input[0]]).ravel()
            return [text.decode() if isinstance(text, bytes) else text for text in array.tolist()]
        name = node.input[0]
    return None


def _gives(model: Any) -> Gives | None:
    """What a classifier of ai.onnx.ml gives, None for other models."""
    made = {name: node for node in model.graph.node for name in node.output}
    node = made.get(model.graph.output[0].name)
    while node is not None and node.op_type in ("Cast", "Identity", "Reshape"):
        node = made.get(node.input[0])
    if node is None or node.domain != _MACHINE_LEARNING:
        return None
    if node.op_type == "Normalizer":
        norm = [attribute.s for attribute in node.attribute if attribute.name == "norm"]
        return "chances" if norm == [b"L1"] else None
    after = [attribute.s for attribute in node.attribute if attribute.name == "post_transform"]
    return _AFTER.get(after[0].decode()) if after else None


def _at_our_opset(model: Any) -> Any:
    """The model in the opset of heads; UsageError where onnx cannot convert it."""
    from onnx import version_converter

    found = graph.opset(model)
    if found <= graph.OPSET:
        return graph.raise_opset(model)
    try:
        return version_converter.convert_version(model, graph.OPSET)
    except Exception as error:  # the converter raises whatever its adapters raise
        raise _no_head(
            f"opset {graph.OPSET} or less",
            f"{found}: {graph.first_line(error)}",
            f"Export it again with opset {graph.OPSET}",
        ) from error


def _type(value: Any) -> int:
    return int(value.type.tensor_type.elem_type)


def _names(values: Sequence[Any]) -> str:
    return ", ".join(value.name for value in values)


def _no_head(expected: str, found: str, hint: str = "Export it again so") -> UsageError:
    return UsageError("this ONNX model is no head", expected=expected, found=found, hint=hint)
