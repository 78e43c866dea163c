"""Fuse cores and heads into one ONNX model: decoded pictures or clips in, all answers out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError
from dof_arrow.format.spec import json_model
from dof_arrow.heads.graph_writer import NEXT, STATE
from dof_arrow.inference import fuse_checks
from dof_arrow.inference.fuse_checks import HEAD
from dof_arrow.inference.fused_graph import trunk
from dof_arrow.inference.model_parts import PICTURES, WINDOWS, append, prefix
from dof_arrow.inference.window_graph import Windows, window_trunk

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

__all__ = ["FUSED", "HEAD", "fuse"]

FUSED = "dof.fused"


def fuse(core: Core | Sequence[Core], heads: Mapping[str, bytes], *, batch: bool = False) -> bytes:
    """Join preprocessing, cores and heads in one ONNX graph; gives its bytes.

    The input is `picture` uint8 [height, width, c]; with `batch` it is `pictures`, a sequence of
    pictures, each of its own size; for heads that read clips it is `clip` uint8 [frames, height,
    width, c], each frame prepared and run by itself. A picture goes through every core once; a head
    reads the features that it was trained on, side by side in its own order.

    Each head has an output under its name, or `name_output` if it has several outputs, [1, …], of a
    batch [pictures, …]. What a head of clips remembers goes in as `name_state_0`, …, which need not
    be given, and comes out as `name_next_state_0`, …: so a long clip goes through in parts.

    Cores with a time axis see the windows of a `clip` that they saw when their features were
    extracted; a head of rows then answers for each window, [windows, …]. Nothing is remembered of a
    window: parts should hold whole ones.

    The property `dof.fused` holds the description of every core and head, and the windows. Equal
    parts give equal bytes. Raises CoreError for a head that was trained on other cores or does not
    take their features, UsageError for names that cannot stand side by side, and for cores that
    cannot be joined.
    """
    cores = [core] if isinstance(core, Core) else list(core)
    fuse_checks.check_names(heads)
    trained = {name: graph.from_bytes(data, name) for name, data in heads.items()}
    about = {}
    for name, head in trained.items():
        about[name] = fuse_checks.check_head(cores, name, head)
    fuse_checks.check_cores(cores, about)
    windows = fuse_checks.windows_of(cores, about)
    taken = fuse_checks.input_kind(cores, about, batch)
    pairs = [(_preprocessing(each), graph.from_bytes(each.data)) for each in cores]
    # All parts are raised to the newest operator set among them.
    every = [*chain.from_iterable(pairs), *trained.values()]
    opset = max(graph.OPSET, *map(graph.opset, every))
    pairs = [(_raised(before, opset), _raised(body, opset)) for before, body in pairs]
    if windows is None:
        model, features = trunk(cores, pairs, taken)
    else:
        model, features = window_trunk(cores, pairs, taken, windows)
    outputs: dict[str, Any] = {}
    for name, head in trained.items():
        read = [features[sha256] for sha256 in fuse_checks.read_by(about[name])]
        for output in _place(model, _raised(head, opset), name, read, taken):
            outputs[output] = about[name]
    graph.set_properties(model, {FUSED: _provenance(cores, outputs, windows)})
    _check_model(model)
    return graph.to_bytes(model)


def _preprocessing(core: Core) -> ModelProto:
    """A core's preprocessing without unused steps: within a loop, onnxruntime warns of them."""
    whole = graph.from_bytes(core.preprocess.graph)
    return graph.extract(whole, ["input"])


def _raised(part: ModelProto, opset: int) -> ModelProto:
    """A part in another operator set, with its own functions written out, without notes."""
    graph.drop_notes(part)
    return graph.raise_opset(graph.inlined(part), opset)


def _place(
    model: ModelProto, head: ModelProto, name: str, features: Sequence[str], taken: str
) -> list[str]:
    """Put a head that reads these features into the model; gives the names of its answers."""
    before = f"heads/{name}/"
    prefix(head, before)
    _connect(model, head, before, features)
    outputs = list(head.graph.output)
    state, next_state = before + STATE, before + NEXT
    answers = [output for output in outputs if not output.name.startswith(next_state)]
    states = []
    for value in (*head.graph.input, *outputs):
        if value.name.startswith((state, next_state)):
            states.append(value)
    for value in (*answers, *states):
        own = value.name.removeprefix(before)
        new = f"{name}_{own}"
        if [value] == answers:  # the only answer has the plain name
            new = name
        graph.rename_tensor(head, value.name, new)
        _set_count(value, taken)
    append(model, head)
    model.graph.input.extend(_remembered(head))
    model.graph.output.extend(head.graph.output)
    return [answer.name for answer in answers]


def _connect(model: ModelProto, head: ModelProto, before: str, features: Sequence[str]) -> None:
    """Let a head read features of the model, several of them side by side."""
    from onnx import helper

    own = f"{before}feature"
    if len(features) == 1:
        graph.rename_tensor(head, own, features[0])
        return
    side_by_side = helper.make_node("Concat", list(features), [own], axis=-1)
    model.graph.node.append(side_by_side)


def _set_count(value: ValueInfoProto, taken: str) -> None:
    """Declare the first axis of an output: one, or as many as there are pictures or windows."""
    axis = value.type.tensor_type.shape.dim[0]
    axis.Clear()
    if taken in (PICTURES, WINDOWS):
        axis.dim_param = taken
    else:
        axis.dim_value = 1


def _remembered(head: ModelProto) -> list[ValueInfoProto]:
    """The inputs of a placed head for what it remembers; each has a default, so it is a weight."""
    weights = {weight.name for weight in head.graph.initializer}
    found = []
    for value in head.graph.input:
        has_default = value.name in weights
        if has_default and f"_{STATE}" in value.name:
            found.append(value)
    return found


def _check_model(model: ModelProto) -> None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker's exceptions have no base of their own
        raise CoreError(
            "the parts do not make one valid model",
            found=str(error),
            hint="Export the head again, with onnx.checker passing.",
        ) from error


def _provenance(
    cores: Sequence[Core], outputs: Mapping[str, json_model.Json], windows: Windows | None
) -> str:
    """The JSON text of the property `dof.fused`."""
    about = [json_model.to_json(core.describe()) for core in cores]
    for each in about:
        each.pop("graph", None)  # the model holds the preprocessing itself
    heads = {}
    for name, head in outputs.items():
        heads[name] = {key: value for key, value in head.items() if key != "cores"}
    described: dict[str, Any] = {"cores": about, "heads": heads}
    if windows is not None:
        described |= {"window": windows.length, "stride": windows.stride}
    return json.dumps(described, ensure_ascii=False, sort_keys=True)
