"""One ONNX model from cores and heads: decoded pictures or clips in, every head's answer out, in one pass."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dof_arrow.cores.core import Core, wanted
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.format.spec import json_model
from dof_arrow.heads import layers
from dof_arrow.inference.fused_graph import CLIP, PICTURE, PICTURES, WINDOWS, append, prefix, trunk

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

FUSED = "dof.fused"
HEAD = "dof.head"


def fuse(core: Core | Sequence[Core], heads: Mapping[str, bytes], *, batch: bool = False) -> bytes:
    """The ONNX bytes of preprocessing, cores and heads in one graph.

    Input `picture` uint8 [height, width, c]; with `batch` instead `pictures`, a sequence of such, each of its own size;
    for heads that read clips `clip` uint8 [frames, height, width, c], each frame prepared and run by itself. A picture
    goes through every core once; a head reads the features that it was trained on, side by side in its own order.
    An output for each head under its name, or `name_output` for a head of several outputs, [1, …], of a batch
    [pictures, …]. What a head of clips remembers goes in as `name_state_0`, …, which need not be given, and comes out
    as `name_next_state_0`, …: a long clip goes through in parts.
    Cores with a time axis see the windows of a `clip` that they saw when their features were extracted; a head of rows
    then answers for each window, [windows, …]. Of a window nothing is remembered: parts are to hold whole ones.
    The property `dof.fused` holds every core's and every head's description, and the windows.
    Equal parts give equal bytes. Raises CoreError for a head that was trained on other cores or does not take their
    features, UsageError for names that cannot stand side by side, and for cores that cannot be joined.
    """
    cores = [core] if isinstance(core, Core) else list(core)
    _check_names(heads)
    trained = {name: graph.from_bytes(data, name) for name, data in heads.items()}
    about = {name: _check_head(cores, name, head) for name, head in trained.items()}
    _check_cores(cores, about)
    windows, taken = _windows(cores, about), _taken(cores, about, batch)
    parts = [part for core in cores for part in (_preprocessing(core), graph.from_bytes(core.data))]
    raised = _one_opset([*parts, *trained.values()])
    model, features = trunk(cores, raised[: len(parts)], taken, windows)
    outputs: dict[str, Any] = {}
    for name, top in zip(trained, raised[len(parts) :], strict=True):
        read = [features[sha256] for sha256 in _read_by(about[name])]
        outputs |= dict.fromkeys(_place(model, top, name, read, taken), about[name])
    graph.set_properties(model, {FUSED: _provenance(cores, outputs, windows)})
    _check_model(model)
    return graph.to_bytes(model)


def _check_names(heads: Mapping[str, bytes]) -> None:
    wrong = [name for name in heads if not name or "/" in name or name in (PICTURE, PICTURES, CLIP)]
    if not heads or wrong:
        raise UsageError(
            "heads need names for their outputs",
            expected=f"names other than {PICTURE}, without /",
            found=", ".join(map(repr, wrong)) or "no head",
            hint="Rename the head's file: its output bears that name.",
        )


def _check_cores(cores: Sequence[Core], about: Mapping[str, json_model.Json]) -> None:
    """All cores see single pictures or none does, decoded in one way; each is there once, and for some head."""
    if len({core.time_axis is None for core in cores}) > 1:
        raise UsageError(
            "cores of single pictures and of windows do not make one model",
            expected="one kind of cores",
            found=", ".join(core.name for core in cores),
            hint="Fuse them one by one.",
        )
    read = {sha256 for each in about.values() for sha256 in _read_by(each)}
    idle = [core.name for core in cores if core.sha256 not in read]
    if idle or len({core.sha256 for core in cores}) < len(cores):
        raise UsageError(
            "a core too many",
            expected="each once, and a head that reads its features",
            found=", ".join(idle) or "one core twice",
            hint="Leave its --core out.",
        )
    ways = {wanted(core): core.name for core in cores}
    if len(ways) > 1:
        told = (
            f"{name} {mode}, orientation {turned}, draft {draft}"
            for (mode, turned, draft), name in ways.items()
        )
        raise UsageError(
            "the cores want pictures decoded in different ways",
            expected="one way for all",
            found="; ".join(told),
            hint="Make them alike: dof headless MODEL.onnx --preprocess SPEC.json",
        )


def _taken(cores: Sequence[Core], about: Mapping[str, json_model.Json], batch: bool) -> str:
    """What the model takes: all heads read clips, or none."""
    clips = {name: bool(each.get("clips")) for name, each in about.items()}
    if len(set(clips.values())) > 1:
        raise UsageError(
            "heads of clips and heads of single rows do not make one model",
            expected="one kind of heads",
            found=", ".join(f"{name} of {'clips' if c else 'rows'}" for name, c in clips.items()),
            hint="Fuse them one by one.",
        )
    timed = cores[0].time_axis is not None
    if batch and (timed or any(clips.values())):
        raise UsageError("a model of clips takes one clip at a time", hint="Leave --batch out.")
    return CLIP if any(clips.values()) else WINDOWS if timed else PICTURES if batch else PICTURE


def _windows(cores: Sequence[Core], about: Mapping[str, json_model.Json]) -> tuple[int, int] | None:
    """The frames of a window and from one to the next, as the heads' datasets had them; None for single pictures."""
    fixed = [core.window for core in cores if core.time_axis is not None]
    if not fixed:
        return None
    said = [each.get("sampling") or {} for each in about.values()]
    lengths = {int(n) for n in (*fixed, *(each.get("window") for each in said)) if n}
    if not lengths:
        raise CoreError(
            "the head does not say how many frames the core is to see at once",
            cores[0].name,
            hint="Train it again on a dataset of clips, extracted with --window.",
        )
    found = {(length, int(each.get("stride") or length)) for length in lengths for each in said}
    if len(found) > 1:
        raise UsageError(
            "the heads were trained on different windows",
            expected="one length and stride",
            found=", ".join(f"{window} frames every {stride}" for window, stride in sorted(found)),
            hint="Fuse them one by one.",
        )
    return found.pop()


def _check_head(cores: Sequence[Core], name: str, head: ModelProto) -> json_model.Json:
    """A head's description; CoreError unless the head was trained on these cores' features and takes them."""
    about, widths = (
        _description(name, head),
        {core.sha256: math.prod(core.output_shape) for core in cores},
    )
    foreign = [str(sha256) for sha256 in _read_by(about) if sha256 not in widths]
    if foreign:
        raise CoreError(
            "the head was trained on another core",
            name,
            f"core {' and '.join(foreign)}",
            ", ".join(widths),
            "Pass every core whose sha256 the dataset names: dof info DATASET.",
        )
    each = [widths[sha256] for sha256 in _read_by(about)]
    axes = ["N", "T"] if about.get("clips") else ["N"]
    found = [
        (value.name, graph.dtype(value).name, graph.dims(value)) for value in graph.inputs(head)
    ]
    taken = [(n, t, len(s)) for n, t, s in found] == [("feature", "float32", len(axes) + 1)]
    if not taken or found[0][2][-1] not in (sum(each), "") or _widths(about, each) != each:
        raise CoreError(
            "the head does not take this core's features",
            name,
            f"feature float32 [{', '.join(axes)}, {' + '.join(map(str, each))}]",
            str(found),
            "Train it on a dataset that this core made: dof train DATASET -o HEAD.onnx",
        )
    return about


def _read_by(about: json_model.Json) -> list[Any]:
    """The digests of the cores whose features a head reads, side by side in this order."""
    return [each.get("core_sha256") for each in about.get("inputs") or [about]]


def _widths(about: json_model.Json, default: list[int]) -> list[Any]:
    """How wide the features of each of them are, where the head reads several."""
    return [each.get("width") for each in about.get("inputs") or []] or default


def _description(name: str, head: ModelProto) -> dict[str, Any]:
    try:
        about = json.loads(graph.properties(head)[HEAD])
        if isinstance(about, dict):
            return about
    except (KeyError, ValueError):
        pass
    raise CoreError(
        "the head does not say which core it was trained on",
        name,
        f"the property {HEAD}, a JSON object",
        hint="Make it with dof train or dof_arrow.export_head.",
    )


def _preprocessing(core: Core) -> ModelProto:
    """A core's preprocessing without steps that lead nowhere: of those within a loop onnxruntime warns."""
    return graph.extract(graph.from_bytes(core.preprocess.graph), ["input"])


def _one_opset(parts: list[ModelProto]) -> list[ModelProto]:
    """The parts, their own functions written out, all raised to the newest operator set among them."""
    newest = max(graph.OPSET, *map(graph.opset, parts))
    return [graph.raise_opset(graph.inlined(part), newest) for part in parts]


def _place(
    model: ModelProto, top: ModelProto, name: str, features: Sequence[str], taken: str
) -> list[str]:
    """Put a head that reads these features into the model, under its name; the names of its answers."""
    before = f"heads/{name}/"
    prefix(top, before)
    if len(features) > 1:
        model.graph.node.append(_side_by_side(features, f"{before}feature"))
    else:
        graph.rename_tensor(top, f"{before}feature", features[0])
    answers = [
        output for output in top.graph.output if not output.name.startswith(before + layers.NEXT)
    ]
    states = [
        value
        for value in (*top.graph.input, *top.graph.output)
        if value.name.startswith((before + layers.STATE, before + layers.NEXT))
    ]
    for value in (*answers, *states):
        own = value.name.removeprefix(before)
        graph.rename_tensor(top, value.name, name if [value] == answers else f"{name}_{own}")
        count = value.type.tensor_type.shape.dim[0]
        count.CopyFrom(
            type(count)(dim_param=taken)
            if taken in (PICTURES, WINDOWS)
            else type(count)(dim_value=1)
        )
    append(model, top)
    model.graph.input.extend(_remembered(top))
    model.graph.output.extend(top.graph.output)
    return [answer.name for answer in answers]


def _side_by_side(features: Sequence[str], together: str) -> NodeProto:
    from onnx import helper

    return helper.make_node("Concat", list(features), [together], axis=-1)


def _remembered(top: ModelProto) -> list[Any]:
    """The inputs of a placed head that say what it remembers."""
    weights = {weight.name for weight in top.graph.initializer}
    return [
        value
        for value in top.graph.input
        if value.name in weights and f"_{layers.STATE}" in value.name
    ]


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
    cores: Sequence[Core], outputs: Mapping[str, json_model.Json], windows: tuple[int, int] | None
) -> str:
    about = [json_model.to_json(core.describe()) for core in cores]
    for each in about:
        each.pop("graph", None)  # it is in the model itself
    seen = {} if windows is None else {"window": windows[0], "stride": windows[1]}
    return json.dumps(
        {"cores": about, "heads": dict(outputs), **seen}, ensure_ascii=False, sort_keys=True
    )
