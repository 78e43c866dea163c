"""An ONNX model out of bytes, read safely and checked; and its bytes again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dof_arrow.cores.graph.external_data import NODE, bring_in, in_folder, within
from dof_arrow.cores.graph.messages import AGAIN
from dof_arrow.cores.graph.names import all_graphs, given, reads, tensor_names
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import ModelProto

_MAX_BYTES = (1 << 31) - 1  # protobuf's own bound


def load(path: str | os.PathLike[str]) -> ModelProto:
    """Read an ONNX file, with the external data in its own folder.

    Raises CoreError for what is no ONNX model, is truncated, or points outside its folder.
    """
    where = str(path)
    find = partial(in_folder, folder=Path(path).parent, where=where)
    return from_bytes(read(path), where, find=find)


def from_bytes(
    data: bytes, where: str = "model", *, find: Callable[[str], Path] | None = None
) -> ModelProto:
    """The model in `data`; `find` finds the files of weights that lie outside it.

    Raises CoreError for other bytes, and for weights outside the model where `find` is None.
    """
    model = decoded(data, "this is no ONNX model, or a truncated one", where)
    if not model.graph.node or not model.graph.output:
        expected = "a graph with nodes and outputs"
        raise CoreError("this is no ONNX model", where, expected, "none", AGAIN)
    bring_in(model, where, find)
    _check(model, where)
    return model


def to_bytes(model: ModelProto) -> bytes:
    """The bytes of a model: equal models give equal bytes."""
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except ValueError as error:  # what protobuf raises above 2 GiB
        raise CoreError(
            "the model is too large for one ONNX file",
            model.graph.name,
            f"at most {_MAX_BYTES} bytes",
            hint="Choose a smaller model.",
        ) from error


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file that may be a model; CoreError if it cannot be one."""
    where = str(path)
    path = Path(path)
    try:
        if not path.is_file():  # devices and pipes may never end
            raise ValueError("a folder" if path.is_dir() else "no such file")
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise CoreError(
            "the model cannot be read", where, "an ONNX file", str(error), "Check the path."
        ) from error


def decoded(data: bytes, what: str, where: str = "") -> ModelProto:
    """The model in `data`, not yet checked; CoreError that says `what` for other bytes."""
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise CoreError(what, where, "an ONNX model", hint=AGAIN) from None
    return model


def _check(model: ModelProto, where: str) -> None:
    """Check that each tensor is made once and before it is used; ONNX Runtime checks the rest.

    The checker of onnx is too strict here: it refuses outputs without a shape, which many
    exporters write.
    """
    if not all(isinstance(text, str) for text in _texts(model)):
        raise CoreError("the ONNX model is not valid", where, "names in UTF-8", hint=AGAIN)
    made = given(model.graph)
    for node in model.graph.node:
        outputs = {name for name in node.output if name}
        missing = reads(node) - made
        twice = outputs & made
        if missing or twice:
            raise _invalid(where, "each tensor made once, before it is used", missing | twice)
        made |= outputs
    missing = {value.name for value in model.graph.output} - made
    if missing:
        raise _invalid(where, "every output made", missing)


def _invalid(where: str, expected: str, names: set[str]) -> CoreError:
    return CoreError(
        "the ONNX model is not valid", where, expected, ", ".join(sorted(names)), AGAIN
    )


def _texts(model: ModelProto) -> Iterator[str | bytes]:
    """Every name in use; protobuf gives bytes, or refuses, where a name is not UTF-8."""
    try:
        yield from tensor_names(model)
        for graph in all_graphs(model.graph):
            yield graph.name
            yield from (value.name for value in graph.value_info)
        for node in within(model, NODE):
            yield from (node.name, node.op_type, node.domain)
            yield from (attribute.name for attribute in node.attribute)
    except UnicodeDecodeError:
        yield b""
