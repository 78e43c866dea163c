"""An ONNX model as a value: read it safely, take a part of it, add to it, raise its opset, run it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph.external_data import AGAIN, NODE, bring_in, in_folder, within
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto
    from onnxruntime import InferenceSession

OPSET = 18
_IR_VERSION = 8  # the one of opset 18; from 4 on, weights need not be listed among the inputs
MAX_BYTES = (1 << 31) - 1  # protobuf's own bound
# Left to itself ONNX Runtime looks in the current folder for weights outside a model.
# Below a device nothing can lie.
_FOLDER_OF_WEIGHTS = "session.model_external_initializers_file_folder_path"
_NO_FOLDER = os.path.join(os.devnull, "none")

Array = NDArray[Any]


def load(path: str | os.PathLike[str]) -> ModelProto:
    """Read an ONNX file, with the external data that lies in its own folder.

    Raises CoreError for what is no ONNX model, is truncated, or points outside its folder.
    """
    where = str(path)
    return from_bytes(
        read(path), where, find=partial(in_folder, folder=Path(path).parent, where=where)
    )


def from_bytes(
    data: bytes, where: str = "model", *, find: Callable[[str], Path] | None = None
) -> ModelProto:
    """The model in `data`, which must hold its weights itself unless `find` finds their files; CoreError otherwise."""
    model = _parse(data, where)
    bring_in(model, where, find)
    return _checked(model, where)


def to_bytes(model: ModelProto) -> bytes:
    """The bytes of a model: equal models give equal bytes."""
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except ValueError as error:  # protobuf's word for more than 2 GiB
        raise CoreError(
            "the model is too large for one ONNX file",
            model.graph.name,
            f"at most {MAX_BYTES} bytes",
            hint="Choose a smaller model.",
        ) from error


def properties(model: ModelProto) -> dict[str, str]:
    """The model's `metadata_props`."""
    return {prop.key: prop.value for prop in model.metadata_props}


def set_properties(model: ModelProto, values: Mapping[str, str]) -> None:
    """Add to the model's `metadata_props`, or replace; they stand sorted by key."""
    merged = properties(model) | dict(values)
    del model.metadata_props[:]
    for key in sorted(merged):
        model.metadata_props.add(key=key, value=merged[key])


def opset(model: ModelProto) -> int:
    """The version of the default operator set that the model uses."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def inputs(model: ModelProto) -> list[ValueInfoProto]:
    """What must be fed: the inputs that are no weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def dims(value: ValueInfoProto) -> tuple[int | str, ...]:
    """The declared shape of an input or output; a free axis stands by its name, or as an empty string."""
    shape = value.type.tensor_type.shape
    return tuple(d.dim_value if d.HasField("dim_value") else str(d.dim_param) for d in shape.dim)


def dtype(value: ValueInfoProto) -> np.dtype[Any]:
    """The declared element type of an input or output."""
    import onnx

    declared: np.dtype[Any] = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return declared


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a control-flow node carries."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def reads(node: NodeProto) -> set[str]:
    """Every tensor a node uses, those its inner graphs take from outside included."""
    names = {name for name in node.input if name}
    return names.union(*map(_captured, subgraphs(node)))


def tensor_names(model: ModelProto) -> set[str]:
    """Every tensor name in use, inner graphs included."""
    names: set[str] = set()
    for graph in _graphs(model.graph):
        names |= _given(graph) | {value.name for value in graph.output}
        names = names.union(*([*node.input, *node.output] for node in graph.node))
    return names


def unique_name(model: ModelProto, wanted: str) -> str:
    """`wanted`, or the first of `wanted_1`, `wanted_2` … that no tensor of the model bears."""
    taken = tensor_names(model)
    number, name = 0, wanted
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def rename_tensor(model: ModelProto, old: str, new: str) -> None:
    """Give a tensor another name wherever it occurs."""
    for graph in _graphs(model.graph):
        for value in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
            value.name = new if value.name == old else value.name
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]


def add_node(model: ModelProto, op: str, *names: str, **attributes: Any) -> str:
    """Append a node of one output to the graph and return that output's name."""
    import onnx

    output = unique_name(model, f"dof_{op}")
    model.graph.node.append(
        onnx.helper.make_node(op, list(names), [output], name=output, **attributes)
    )
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

    del model.graph.output[:]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    )


def inlined(model: ModelProto) -> ModelProto:
    """The same model with its own functions written out, so that every node can be seen."""
    import onnx.inliner

    return onnx.inliner.inline_local_functions(model) if model.functions else model


def extract(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """The part of a model that computes the tensors `names`, which become its outputs.

    Weights, inputs, operator sets and types that this part does not need are dropped; `metadata_props` stay.
    Outputs carry a type only where the model declares one; ONNX Runtime infers the rest.
    """
    import onnx

    needed, nodes = _needed(model.graph, names)
    part = onnx.ModelProto(
        ir_version=max(model.ir_version, 4),
        functions=model.functions,
        metadata_props=model.metadata_props,
    )
    part.graph.name = model.graph.name
    part.graph.node.extend(map(_plain, nodes))
    part.graph.input.extend(value for value in inputs(model) if value.name in needed)
    part.graph.initializer.extend(
        tensor for tensor in model.graph.initializer if tensor.name in needed
    )
    part.graph.sparse_initializer.extend(
        t for t in model.graph.sparse_initializer if t.values.name in needed
    )
    part.graph.value_info.extend(value for value in model.graph.value_info if value.name in needed)
    declared = {value.name: value for value in [*model.graph.value_info, *model.graph.output]}
    part.graph.output.extend(declared.get(name, onnx.ValueInfoProto(name=name)) for name in names)
    domains = {node.domain for node in within(part, NODE)} | {"", "ai.onnx"}
    part.opset_import.extend(o for o in model.opset_import if o.domain in domains)
    return part


def raise_opset(model: ModelProto, minimum: int = OPSET) -> ModelProto:
    """The same model in opset `minimum` or the later one it has; CoreError where onnx cannot convert it."""
    from onnx import version_converter

    if opset(model) >= minimum:
        return model
    try:
        raised = version_converter.convert_version(inlined(model), minimum)
    except Exception as error:  # the converter raises whatever its adapters raise
        raise CoreError(
            f"the model cannot be raised from opset {opset(model)}",
            model.graph.name,
            f"opset {minimum}",
            first_line(error),
            f"Export the model again with opset {minimum} or later.",
        ) from error
    raised.ir_version = max(raised.ir_version, _IR_VERSION)
    set_properties(raised, properties(model))  # the converter loses them
    return raised


def session(
    data: bytes, threads: int = 1, provider: tuple[str, dict[str, str]] | None = None
) -> InferenceSession:
    """An ONNX Runtime session over a model's bytes that logs nothing and reads no file.

    It runs on the CPU, or on a provider with these settings: see `dof_arrow.cores.graph.runtime`, which checks that it does.
    Raises CoreError if it cannot be made, and for a model that keeps anything in other files.
    """
    import onnxruntime

    bring_in(_decoded(data, "ONNX Runtime cannot load the model"), "")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    options.add_session_config_entry(_FOLDER_OF_WEIGHTS, _NO_FOLDER)
    options.add_session_config_entry("session.load_model_format", "ONNX")  # as it was checked
    if provider:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    chosen = [provider or "CPUExecutionProvider"]
    try:  # the fallback prints to stdout, and would change the device unasked
        return onnxruntime.InferenceSession(data, options, providers=chosen, enable_fallback=0)
    except Exception as error:  # the runtime's exceptions have no base of their own
        found = first_line(error)
        raise CoreError(
            "ONNX Runtime cannot load the model", found=found, hint="Run dof doctor."
        ) from error


def run(runner: InferenceSession, feeds: Mapping[str, Array]) -> list[Array]:
    """All outputs of a session for these inputs; CoreError if the run fails."""
    with _explained(feeds):
        return list(runner.run(None, dict(feeds)))


def run_into(runner: InferenceSession, feeds: Mapping[str, Array], out: Array) -> None:
    """Have a session write its only output into an array of that type and shape, C-contiguous, with no copy between."""
    with _explained(feeds):
        binding = runner.io_binding()
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        name = runner.get_outputs()[0].name
        binding.bind_output(name, "cpu", 0, out.dtype, out.shape, out.ctypes.data)
        runner.run_with_iobinding(binding)


@contextmanager
def _explained(feeds: Mapping[str, Array]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the runtime's exceptions have no base of their own
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
        raise CoreError(
            "the model cannot run",
            f"input {shapes}",
            found=first_line(error),
            hint="Check the input's shape and type.",
        ) from error


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file that may be a model; CoreError if it cannot be one."""
    path, where = Path(path), str(path)
    try:
        if not path.is_file():  # devices and pipes may never end
            raise ValueError("a folder" if path.is_dir() else "no such file")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise CoreError(
            "the model cannot be read", where, "an ONNX file", str(error), "Check the path."
        ) from error


def _parse(data: bytes, where: str) -> ModelProto:
    model = _decoded(data, "this is no ONNX model, or a truncated one", where)
    if not model.graph.node or not model.graph.output:
        raise CoreError(
            "this is no ONNX model", where, "a graph with nodes and outputs", "none", AGAIN
        )
    return model


def _decoded(data: bytes, what: str, where: str = "") -> ModelProto:
    """The model in some bytes; CoreError that says `what` for other bytes."""
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise CoreError(what, where, "an ONNX model", hint=AGAIN) from None
    return model


def _checked(model: ModelProto, where: str) -> ModelProto:
    """The model, if each tensor is made once and before it is used; ONNX Runtime checks the rest.

    The checker of onnx is too strict here: it refuses outputs without a shape, which many exporters write.
    """
    if not all(isinstance(text, str) for text in _texts(model)):
        raise CoreError("the ONNX model is not valid", where, "names in UTF-8", hint=AGAIN)
    made = _given(model.graph)
    for node in model.graph.node:
        outputs = {name for name in node.output if name}
        missing, twice = reads(node) - made, outputs & made
        if missing or twice:
            raise CoreError(
                "the ONNX model is not valid",
                where,
                "each tensor made once, before it is used",
                ", ".join(sorted(missing | twice)),
                AGAIN,
            )
        made |= outputs
    if missing := {value.name for value in model.graph.output} - made:
        raise CoreError(
            "the ONNX model is not valid",
            where,
            "every output made",
            ", ".join(sorted(missing)),
            AGAIN,
        )
    return model


def _texts(model: ModelProto) -> Iterator[str | bytes]:
    """Every name in use; protobuf hands out as bytes, or refuses, what is no UTF-8."""
    try:
        yield from tensor_names(model)
        for graph in _graphs(model.graph):
            yield graph.name
            yield from (value.name for value in graph.value_info)
        for node in within(model, NODE):
            yield from (
                node.name,
                node.op_type,
                node.domain,
                *(attribute.name for attribute in node.attribute),
            )
    except UnicodeDecodeError:
        yield b""


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _graphs(inner)


def _captured(graph: GraphProto) -> set[str]:
    """The tensors an inner graph takes from the graphs around it."""
    used = {value.name for value in graph.output}.union(*map(reads, graph.node))
    return used - _given(graph).union(*(node.output for node in graph.node))


def _given(graph: GraphProto) -> set[str]:
    """The tensors a graph has before its first node runs."""
    sparse = [tensor.values for tensor in graph.sparse_initializer]
    return {value.name for value in [*graph.input, *graph.initializer, *sparse]}


def _needed(graph: GraphProto, names: Sequence[str]) -> tuple[set[str], list[NodeProto]]:
    """The tensors and the nodes, in order, that `names` are computed from."""
    needed, nodes = set(names), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed |= reads(node) | set(node.output)
    return needed, nodes[::-1]


def _plain(node: NodeProto) -> NodeProto:
    """A copy without its notes: exporters write stack traces there, with the folders of their machine."""
    copy = type(node)()
    copy.CopyFrom(node)
    copy.ClearField("doc_string")
    copy.ClearField("metadata_props")
    return copy


def first_line(error: Exception) -> str:
    """What an error of another library says, as far as it fits into a message of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
