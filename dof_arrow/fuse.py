"""One ONNX model from a core and its heads: a decoded picture of any size in, every head's answer out, in one pass."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dof_arrow import graph, metadata, stack
from dof_arrow.core import Core
from dof_arrow.errors import CoreError, UsageError

if TYPE_CHECKING:
    from onnx import ModelProto

FUSED = "dof.fused"
HEAD = "dof.head"

PREPROCESSING = "preprocessing/"  # what the names of all that the preprocessing makes begin with

_PICTURE, _CLIP = "picture", "clip"


def fuse(core: Core, heads: Mapping[str, bytes]) -> bytes:
    """The ONNX bytes of preprocessing, core and heads in one graph.

    Input `picture` uint8 [height, width, c], or for heads that read clips `clip` uint8 [frames, height, width, c], each
    frame prepared and run by itself; an output for each head under its name, or `name_output` for a head of several
    outputs, with a batch axis of one. What a head of clips remembers goes in as `name_state_0`, …, which need not be
    given, and comes out as `name_next_state_0`, …: a long clip goes through in parts.
    The property `dof.fused` holds the core's and every head's description.
    Equal parts give equal bytes. Raises CoreError for a head that was trained on another core or does not take this
    one's features, UsageError for names that cannot stand side by side.
    """
    _check_names(heads)
    if core.time_axis is not None:
        raise CoreError("cores that see windows of frames are not fused", core.name, "a core of single pictures",
                        hint="Predict in two steps: extract the clips, then evaluate the head on the dataset.")
    trained = {name: graph.from_bytes(data, name) for name, data in heads.items()}
    about = {name: _check_head(core, name, head) for name, head in trained.items()}
    clips = _check_clips(about)
    parts = [graph.from_bytes(core.preprocess.graph), graph.from_bytes(core.data), *trained.values()]
    preprocessing, body, *tops = _one_opset(parts)
    for part, prefix in [(preprocessing, PREPROCESSING), (body, "core/")]:
        _prefix(part, prefix)
    graph.rename_tensor(preprocessing, preprocessing.graph.input[0].name, _PICTURE)
    feature = _connect(core, preprocessing, body)
    if clips:
        feature = _over_frames(preprocessing, body, feature, math.prod(core.output_shape))
    outputs: dict[str, Any] = {}
    for name, top in zip(trained, tops, strict=True):
        for output in _place(top, name, feature):
            outputs[output] = about[name]
    model = _merged([preprocessing, body, *tops])
    graph.set_properties(model, {FUSED: _provenance(core, outputs)})
    _check_model(model)
    return graph.to_bytes(model)


def _check_names(heads: Mapping[str, bytes]) -> None:
    wrong = [name for name in heads if not name or "/" in name or name in (_PICTURE, _CLIP)]
    if not heads or wrong:
        raise UsageError("heads need names for their outputs", expected=f"names other than {_PICTURE}, without /",
                         found=", ".join(map(repr, wrong)) or "no head", hint="Pass --head NAME=HEAD.onnx.")


def _check_clips(about: Mapping[str, metadata.Json]) -> bool:
    """Whether the heads read clips: all of them, or none."""
    clips = {name: bool(each.get("clips")) for name, each in about.items()}
    if len(set(clips.values())) > 1:
        raise UsageError("heads of clips and heads of pictures do not make one model", expected="one kind of heads",
                         found=", ".join(f"{name} of {'clips' if c else 'pictures'}" for name, c in clips.items()),
                         hint="Fuse them one by one.")
    return any(clips.values())


def _check_head(core: Core, name: str, head: ModelProto) -> metadata.Json:
    """A head's description; CoreError unless the head was trained on this core's features and takes them."""
    about = _description(name, head)
    if about.get("inputs"):
        raise CoreError("the head reads features of several cores side by side", name, "features of one core",
                        f"{len(about['inputs'])} columns", "Train a head on one of them: dof train … --feature NAME")
    if about.get("core_sha256") != core.sha256:
        raise CoreError("the head was trained on another core", name, f"core {about.get('core_sha256')}", core.sha256,
                        "Pass the core whose sha256 the dataset names: dof info DATASET.")
    width, axes = math.prod(core.output_shape), ["N", "T"] if about.get("clips") else ["N"]
    found = [(value.name, graph.dtype(value).name, graph.dims(value)) for value in graph.inputs(head)]
    if ([(n, t, len(s)) for n, t, s in found] != [("feature", "float32", len(axes) + 1)]
            or found[0][2][-1] not in (width, "")):
        raise CoreError("the head does not take this core's features", name,
                        f"feature float32 [{', '.join(axes)}, {width}]",
                        str(found), "Train it on a dataset that this core made: dof train DATASET -o HEAD.onnx")
    return about


def _description(name: str, head: ModelProto) -> dict[str, Any]:
    try:
        about = json.loads(graph.properties(head)[HEAD])
        if isinstance(about, dict):
            return about
    except (KeyError, ValueError):
        pass
    raise CoreError("the head does not say which core it was trained on", name, f"the property {HEAD}, a JSON object",
                    hint="Make it with dof train or dof_arrow.export_head.")


def _one_opset(parts: list[ModelProto]) -> list[ModelProto]:
    """The parts, their own functions written out, all raised to the newest operator set among them."""
    newest = max(graph.OPSET, *map(graph.opset, parts))
    return [graph.raise_opset(graph.inlined(part), newest) for part in parts]


def _prefix(part: ModelProto, prefix: str) -> None:
    """Put a prefix before every name of a part, inner graphs included, so that parts cannot collide."""
    import onnx.compose

    # Declared inner shapes are dropped: they speak of batches of another size, and are inferred anew.
    del part.graph.value_info[:]
    onnx.compose.add_prefix(part, prefix, inplace=True)


def _connect(core: Core, preprocessing: ModelProto, body: ModelProto) -> str:
    """Let the core read what the preprocessing makes; the name of its features, float32 [1, D]."""
    prepared = preprocessing.graph.output[0].name
    (taken,) = graph.inputs(body)
    feature: str = body.graph.output[0].name
    if core.fixed_batch not in (None, 1):
        copies = graph.add_constant(preprocessing, np.array([core.fixed_batch, 1, 1, 1]), "core/batch")
        prepared = graph.add_node(preprocessing, "Tile", prepared, copies)
        first = graph.add_constant(body, np.array([0]), "core/first")
        feature = graph.add_node(body, "Gather", feature, first, axis=0)
    graph.rename_tensor(body, taken.name, prepared)
    return graph.add_node(body, "Flatten", feature, axis=1) if len(core.output_shape) > 1 else feature


def _over_frames(preprocessing: ModelProto, body: ModelProto, feature: str, width: int) -> str:
    """Let preprocessing and core run on each frame of a clip; the name of the clip's features, float32 [1, T, D]."""
    from onnx import TensorProto, helper

    picture = preprocessing.graph.input[0]
    inner = helper.make_graph(
        [*preprocessing.graph.node, *body.graph.node], "frame", [picture],
        [helper.make_tensor_value_info(feature, TensorProto.FLOAT, [1, width])],
        [*preprocessing.graph.initializer, *body.graph.initializer],
        sparse_initializer=[*preprocessing.graph.sparse_initializer, *body.graph.sparse_initializer],
    )
    clip = helper.make_tensor_value_info(_CLIP, TensorProto.UINT8, ["frames", *graph.dims(picture)])
    for part in (preprocessing, body):
        for field in ("node", "initializer", "sparse_initializer"):
            part.graph.ClearField(field)
    preprocessing.graph.input[0].CopyFrom(clip)
    body.graph.node.append(helper.make_node("Scan", [_CLIP], ["frames/features"], body=inner, num_scan_inputs=1))
    body.graph.node.append(helper.make_node("Transpose", ["frames/features"], ["clip/feature"], perm=[1, 0, 2]))
    return "clip/feature"


def _place(top: ModelProto, name: str, feature: str) -> list[str]:
    """Let a head read the features, and give its outputs the head's name; the names of its answers."""
    before = f"heads/{name}/"
    _prefix(top, before)
    graph.rename_tensor(top, f"{before}feature", feature)
    answers = [output for output in top.graph.output if not output.name.startswith(before + stack.NEXT)]
    states = [value for value in (*top.graph.input, *top.graph.output)
              if value.name.startswith((before + stack.STATE, before + stack.NEXT))]
    for value in (*answers, *states):
        own = value.name.removeprefix(before)
        graph.rename_tensor(top, value.name, name if [value] == answers else f"{name}_{own}")
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return [answer.name for answer in answers]


def _remembered(top: ModelProto) -> list[Any]:
    """The inputs of a placed head that say what it remembers."""
    weights = {weight.name for weight in top.graph.initializer}
    return [value for value in top.graph.input if value.name in weights and f"_{stack.STATE}" in value.name]


def _merged(parts: list[ModelProto]) -> ModelProto:
    """One model of parts that are already connected: the first part's input, the heads' outputs."""
    import onnx

    model = onnx.ModelProto(ir_version=max(part.ir_version for part in parts), producer_name="dof-arrow")
    model.graph.name = "fused"
    model.graph.input.append(parts[0].graph.input[0])
    model.graph.input.extend(value for part in parts[2:] for value in _remembered(part))
    for part in parts:
        model.graph.node.extend(part.graph.node)
        model.graph.initializer.extend(part.graph.initializer)
        model.graph.sparse_initializer.extend(part.graph.sparse_initializer)
    for part in parts[2:]:
        model.graph.output.extend(part.graph.output)
    for domain, version in sorted(_operator_sets(parts).items()):
        model.opset_import.add(domain=domain, version=version)
    return model


def _operator_sets(parts: list[ModelProto]) -> dict[str, int]:
    versions: dict[str, int] = {}
    for part in parts:
        for each in part.opset_import:
            domain = "" if each.domain == "ai.onnx" else each.domain
            if versions.setdefault(domain, each.version) != each.version:
                raise CoreError("parts use different versions of an operator set", domain, str(versions[domain]),
                                str(each.version), "Export the head again with the core's version.")
    return versions


def _check_model(model: ModelProto) -> None:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker's exceptions have no base of their own
        raise CoreError("the parts do not make one valid model", found=str(error),
                        hint="Export the head again, with onnx.checker passing.") from error


def _provenance(core: Core, outputs: Mapping[str, metadata.Json]) -> str:
    about = metadata.to_json(core.describe())
    about.pop("graph", None)  # it is in the model itself
    return json.dumps({"core": about, "heads": dict(outputs)}, ensure_ascii=False, sort_keys=True)
