"""One ONNX model from a core and its heads: a decoded picture or clip in, every head's answer out, in one pass."""

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

_PICTURE, _CLIP = "picture", "clip"


def fuse(core: Core, heads: Mapping[str, bytes]) -> bytes:
    """The ONNX bytes of preprocessing, core and heads in one graph.

    Input `picture` uint8 [height, width, c], or for heads that read clips `clip` uint8 [frames, height, width, c], each
    frame prepared and run by itself; an output for each head under its name, or `name_output` for a head of several
    outputs, with a batch axis of one. What a head of clips remembers goes in as `name_state_0`, …, which need not be
    given, and comes out as `name_next_state_0`, …: a long clip goes through in parts.
    A core with a time axis sees the windows of a clip's frames that it saw when its features were extracted; a head of
    single rows then answers for each window. Nothing of a window is remembered: parts are to hold whole windows.
    The property `dof.fused` holds the core's and every head's description, and the windows.
    Equal parts give equal bytes. Raises CoreError for a head that was trained on another core or does not take this
    one's features, UsageError for names that cannot stand side by side.
    """
    _check_names(heads)
    trained = {name: graph.from_bytes(data, name) for name, data in heads.items()}
    about = {name: _check_head(core, name, head) for name, head in trained.items()}
    clips, windows = _check_clips(about), _windows(core, about)
    parts = [graph.from_bytes(core.preprocess.graph), graph.from_bytes(core.data), *trained.values()]
    preprocessing, body, *tops = _one_opset(parts)
    for part, prefix in [(preprocessing, "preprocessing/"), (body, "core/")]:
        _prefix(part, prefix)
    graph.rename_tensor(preprocessing, preprocessing.graph.input[0].name, _PICTURE)
    if windows:
        feature = _over_windows(core, preprocessing, body, windows, clips=clips)
    else:
        feature = _connect(core, preprocessing, body, preprocessing.graph.output[0].name)
        feature = _over_frames(core, preprocessing, body, feature) if clips else feature
    outputs: dict[str, Any] = {}
    for name, top in zip(trained, tops, strict=True):
        for output in _place(top, name, feature, None if windows and not clips else 1):
            outputs[output] = about[name]
    model = _merged([preprocessing, body, *tops])
    graph.set_properties(model, {FUSED: _provenance(core, outputs, windows)})
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
        raise UsageError("heads of clips and heads of single rows do not make one model", expected="one kind of heads",
                         found=", ".join(f"{name} of {'clips' if c else 'rows'}" for name, c in clips.items()),
                         hint="Fuse them one by one.")
    return any(clips.values())


def _windows(core: Core, about: Mapping[str, metadata.Json]) -> tuple[int, int] | None:
    """The frames of a window and from one to the next, as the heads' datasets had them; None for single pictures."""
    if core.time_axis is None:
        return None
    said = {name: each.get("sampling") or {} for name, each in about.items()}
    lengths = {name: core.window or each.get("window") for name, each in said.items()}
    found = {(lengths[name], each.get("stride") or lengths[name]) for name, each in said.items()}
    if len(found) > 1:
        raise UsageError("the heads were trained on different windows", expected="one length and stride",
                         found=", ".join(f"{w} frames every {s}" for w, s in sorted(found, key=str)),
                         hint="Fuse them one by one.")
    ((window, stride),) = found
    if window is None:
        raise CoreError("the head does not say how many frames the core is to see at once", core.name,
                        hint="Train it again on a dataset of clips, extracted with --window.")
    return int(window), int(stride)


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


def _connect(core: Core, before: ModelProto, body: ModelProto, prepared: str) -> str:
    """Let the core read what the part before it makes; the name of its features, float32 [1, D]."""
    (taken,) = graph.inputs(body)
    feature: str = body.graph.output[0].name
    if core.fixed_batch not in (None, 1):
        axes = len(graph.dims(taken))
        copies = graph.add_constant(before, np.array([core.fixed_batch] + [1] * (axes - 1)), "core/batch")
        prepared = graph.add_node(before, "Tile", prepared, copies)
        first = graph.add_constant(body, np.array([0]), "core/first")
        feature = graph.add_node(body, "Gather", feature, first, axis=0)
    graph.rename_tensor(body, taken.name, prepared)
    return graph.add_node(body, "Flatten", feature, axis=1) if len(core.output_shape) > 1 else feature


def _over_frames(core: Core, preprocessing: ModelProto, body: ModelProto, feature: str) -> str:
    """Let preprocessing and core run on each frame of a clip; the name of the clip's features, float32 [1, T, D]."""
    picture = preprocessing.graph.input[0]
    features = _scan([preprocessing, body], _CLIP, picture, _features(core, feature), "frames/features")
    _take_clips(preprocessing)
    return _node(body, "clip/feature", "Transpose", features, perm=[1, 0, 2])


def _over_windows(
    core: Core, preprocessing: ModelProto, body: ModelProto, windows: tuple[int, int], *, clips: bool
) -> str:
    """Let preprocessing run on each frame and the core on windows of them; the name of float32 [1, W, D] or [W, D]."""
    import onnx

    picture, prepared = preprocessing.graph.input[0], preprocessing.graph.output[0]
    frames = _scan([preprocessing], _CLIP, picture, prepared, "frames/prepared")
    _take_clips(preprocessing)
    starts = _starts(preprocessing, frames, *windows)
    seen = onnx.ModelProto()  # what goes before the core's nodes, into the same inner graph
    start = onnx.helper.make_tensor_value_info("window/start", onnx.TensorProto.INT64, [])
    feature = _connect(core, seen, body, _window(core, seen, frames, start.name, windows[0]))
    features = _scan([seen, body], starts, start, _features(core, feature), "windows/features")
    if clips:
        return _node(body, "clip/feature", "Transpose", features, perm=[1, 0, 2])
    return _node(body, "clip/feature", "Squeeze", features, graph.add_constant(body, np.array([1]), "clip/axis"))


def _starts(part: ModelProto, frames: str, window: int, stride: int) -> str:
    """The numbers of the frames at which windows begin, int64 [W]; none in a clip that is shorter than a window."""
    count = _node(part, "windows/frames", "Squeeze", _node(part, "windows/shape", "Shape", frames, start=0, end=1))
    first, fewer, step = (graph.add_constant(part, np.array(n), "windows/number") for n in (0, window - 1, stride))
    return _node(part, "windows/starts", "Range", first, _node(part, "windows/end", "Sub", count, fewer), step)


def _window(core: Core, part: ModelProto, frames: str, start: str, length: int) -> str:
    """The core's input for the window that begins at a frame, of prepared frames [T, 1, …]."""
    numbers = _node(part, "window/frames", "Add", start, graph.add_constant(part, np.arange(length), "window/numbers"))
    seen = _node(part, "window/prepared", "Gather", frames, numbers, axis=0)
    return _node(part, "window/input", "Transpose", seen, perm=[1, 0, 2, 3, 4] if core.time_axis == 0 else [1, 2, 0, 3, 4])


def _node(part: ModelProto, name: str, kind: str, *inputs: str, **attributes: Any) -> str:
    """Append a node whose output has this name, which no part bears: they have prefixes of their own."""
    from onnx import helper

    part.graph.node.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
    return name


def _features(core: Core, name: str) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, math.prod(core.output_shape)])


def _take_clips(preprocessing: ModelProto) -> None:
    """Let the model's input be frames, where it was a picture."""
    from onnx import TensorProto, helper

    axes = ["frames", *graph.dims(preprocessing.graph.input[0])]
    preprocessing.graph.input[0].CopyFrom(helper.make_tensor_value_info(_CLIP, TensorProto.UINT8, axes))


def _scan(parts: list[ModelProto], over: str, taken: Any, found: Any, name: str) -> str:
    """Let parts run together on each element of a tensor's first axis; the name of what they find, stacked.

    What they need of the graph around them they see there.
    """
    from onnx import helper

    inner = helper.make_graph(
        [node for part in parts for node in part.graph.node], name.replace("/", "_"), [taken], [found],
        [weight for part in parts for weight in part.graph.initializer],
        sparse_initializer=[weight for part in parts for weight in part.graph.sparse_initializer],
    )
    for part in parts:
        for field in ("node", "initializer", "sparse_initializer"):
            part.graph.ClearField(field)
    return _node(parts[-1], name, "Scan", over, body=inner, num_scan_inputs=1)


def _place(top: ModelProto, name: str, feature: str, rows: int | None) -> list[str]:
    """Let a head read the features, and give its outputs the head's name; the names of its answers, of so many rows."""
    before = f"heads/{name}/"
    _prefix(top, before)
    graph.rename_tensor(top, f"{before}feature", feature)
    answers = [output for output in top.graph.output if not output.name.startswith(before + stack.NEXT)]
    states = [value for value in (*top.graph.input, *top.graph.output)
              if value.name.startswith((before + stack.STATE, before + stack.NEXT))]
    for value in (*answers, *states):
        own = value.name.removeprefix(before)
        graph.rename_tensor(top, value.name, name if [value] == answers else f"{name}_{own}")
        first = value.type.tensor_type.shape.dim[0]
        first.dim_param = "windows"
        if rows is not None:
            first.dim_value = rows
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


def _provenance(core: Core, outputs: Mapping[str, metadata.Json], windows: tuple[int, int] | None) -> str:
    about = metadata.to_json(core.describe())
    about.pop("graph", None)  # it is in the model itself
    seen = {} if windows is None else {"window": windows[0], "stride": windows[1]}
    return json.dumps({"core": about, "heads": dict(outputs), **seen}, ensure_ascii=False, sort_keys=True)
