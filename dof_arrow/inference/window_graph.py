"""What comes before the heads of a fused model whose cores see windows of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.inference.fused_graph import Pair, for_one_picture, name_apart
from dof_arrow.inference.model_parts import (
    CLIP,
    Made,
    adopt,
    append,
    empty,
    made_of,
    model_input,
    prefix,
    scan,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

_START, _STARTS = "window/start", "windows/starts"


class Windows(NamedTuple):
    """How many frames a window has, and how many lie from one window to the next."""

    length: int
    stride: int


class _Stage(NamedTuple):
    """A graph that is run many times, and what it makes each time."""

    model: ModelProto
    made: list[Made]


def window_trunk(
    cores: Sequence[Core], pairs: Sequence[Pair], taken: str, windows: Windows
) -> tuple[ModelProto, dict[str, str]]:
    """A model of preprocessing and cores without outputs, and the name of each core's features.

    Each frame is prepared by itself, then cores run on each window of prepared frames. The names
    are by the core's digest. Features are float32 [1, windows, D] for a CLIP, [windows, D] for
    WINDOWS. The parts are of one opset, and are changed.
    """
    frames = _Stage(empty(), [])
    in_window = _Stage(empty(), [])
    features: dict[str, str] = {}
    for core, (preprocessing, body) in zip(cores, pairs, strict=True):
        before = f"{len(features)}/" if len(cores) > 1 else ""
        view = _view(core, preprocessing, windows.length)
        for_one_picture(core, view, body)
        name_apart(preprocessing, body, before)
        prefix(view, f"{before}window/")
        prepared = made_of(preprocessing.graph.output[0])
        start, all_frames = view.graph.input
        graph.rename_tensor(view, start.name, _START)
        graph.rename_tensor(view, all_frames.name, prepared.all)
        window = view.graph.output[0]
        graph.rename_tensor(body, graph.inputs(body)[0].name, window.name)
        feature = made_of(body.graph.output[0])
        features[core.sha256] = feature.all
        frames.made.append(prepared)
        in_window.made.append(feature)
        append(frames.model, preprocessing)
        append(in_window.model, view)
        append(in_window.model, body)
    picture = pairs[0][0].graph.input[0]
    return _over_windows(taken, picture, frames, in_window, windows), features


def _over_windows(
    taken: str, picture: ValueInfoProto, frames: _Stage, in_window: _Stage, windows: Windows
) -> ModelProto:
    """One stage for all frames of a clip, then the other for all windows of them."""
    from onnx import TensorProto, helper

    model = empty()
    adopt(model, frames.model)
    model.graph.input.append(model_input(CLIP, picture))
    prepared = {made: made.all for made in frames.made}
    model.graph.node.append(scan(frames.model, CLIP, picture, prepared))
    append(model, _starts(graph.opset(model), windows))
    start = helper.make_tensor_value_info(_START, TensorProto.INT64, [])
    outputs = {made: made.first for made in in_window.made}
    model.graph.node.append(scan(in_window.model, _STARTS, start, outputs))
    for made in in_window.made:
        model.graph.node.append(_features(made, taken))
    return model


def _features(made: Made, taken: str) -> NodeProto:
    """Features of all windows, [windows, 1, D], as heads read them."""
    from onnx import helper

    if taken == CLIP:  # the windows are the steps of one clip
        return helper.make_node("Transpose", [made.first], [made.all], perm=[1, 0, 2])
    return helper.make_node("Flatten", [made.first], [made.all], axis=1)


def _view(core: Core, preprocessing: ModelProto, length: int) -> ModelProto:
    """A graph that takes one window from prepared frames [frames, 1, …], as the core sees it."""
    import onnx.parser

    prepared = preprocessing.graph.output[0].type.tensor_type
    kind = onnx.TensorProto.DataType.Name(prepared.elem_type).lower()
    order = [1, 0, 2, 3, 4] if core.time_axis == 0 else [1, 2, 0, 3, 4]
    model: ModelProto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : {graph.opset(preprocessing)}]>
        window (int64 start, {kind}[frames, 1, a, b, c] prepared)
                => ({kind}[1, d, e, f, g] input) {{
            places = Constant <value_ints = {[*range(length)]}> ()
            numbers = Add (start, places)
            seen = Gather <axis = 0> (prepared, numbers)
            input = Transpose <perm = {order}> (seen)
        }}""")
    return model


def _starts(opset: int, windows: Windows) -> ModelProto:
    """A graph that gives the frames at which windows begin; in a shorter clip there are none."""
    import onnx.parser

    model: ModelProto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        starts (uint8[frames, h, w, c] clip) => (int64[n] starts) {{
            shape = Shape <start = 0, end = 1> (clip)
            count = Squeeze (shape)
            fewer = Constant <value_int = {windows.length - 1}> ()
            end = Sub (count, fewer)
            first = Constant <value_int = 0> ()
            step = Constant <value_int = {windows.stride}> ()
            starts = Range (first, end, step)
        }}""")
    prefix(model, "windows/")
    graph.rename_tensor(model, model.graph.input[0].name, CLIP)
    return model
