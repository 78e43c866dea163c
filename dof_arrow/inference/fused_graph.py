"""What comes before the heads of a fused model: each picture through preprocessing and every core, as one graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError
from dof_arrow.format.spec.preprocessing import output_size

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

PICTURE, PICTURES, CLIP = (
    "picture",
    "pictures",
    "clip",
)  # what a model takes: one, a sequence of them, frames
WINDOWS = "windows"  # a clip too, of which each window stands for itself
_START, _STARTS = "window/start", "windows/starts"
PREPROCESSING = "preprocessing/"  # what the names of all that a preprocessing makes begin with


class _Made(NamedTuple):
    """A tensor that is made of each picture, its element type, and what those of all pictures are called together."""

    each: str
    kind: int
    all: str


def trunk(
    cores: Sequence[Core],
    parts: Sequence[ModelProto],
    taken: str,
    windows: tuple[int, int] | None = None,
) -> tuple[ModelProto, dict[str, str]]:
    """A model of preprocessing and cores, without outputs, and the name of each core's features by its digest.

    `parts` are preprocessing and body of each core in turn, of one opset, and are used up. Features are float32 [1, D]
    where `taken` is PICTURE, [pictures, D] of PICTURES, [1, frames, D] of a CLIP. Each picture is prepared, and run, by
    itself; but of PICTURES, those whose size is one are run together by a core that takes batches.
    `windows` says how many frames cores with a time axis see, and how many are from one window to the next: features
    are of windows then, [1, windows, D] of a CLIP, [windows, D] of WINDOWS.
    """
    if windows is not None:
        return _of_windows(cores, parts, taken, *windows)
    single, together = empty(), empty()
    made: list[_Made] = []
    features: dict[str, str] = {}
    for core, preprocessing, body in zip(cores, parts[::2], parts[1::2], strict=True):
        _for_one_picture(core, preprocessing, body)
        _named_apart(preprocessing, body, f"{len(features)}/" if len(cores) > 1 else "")
        at_once = taken == PICTURES and _takes_batches(core)
        last = preprocessing.graph.output[0] if at_once else body.graph.output[0]
        made.append(_made(last))
        read = made[-1].all if at_once else preprocessing.graph.output[0].name
        graph.rename_tensor(body, graph.inputs(body)[0].name, read)
        append(single, preprocessing)
        append(together if at_once else single, body)
        features[core.sha256] = (
            body.graph.output[0].name if at_once or taken == PICTURE else made[-1].all
        )
    return _over(taken, parts[0].graph.input[0], single, made, together), features


def _of_windows(
    cores: Sequence[Core], parts: Sequence[ModelProto], taken: str, length: int, stride: int
) -> tuple[ModelProto, dict[str, str]]:
    """Preprocessing of each frame, then cores on each window of what came of them."""
    frame, window, prepared, made = empty(), empty(), list[_Made](), list[_Made]()
    for number, (core, preprocessing, body) in enumerate(
        zip(cores, parts[::2], parts[1::2], strict=True)
    ):
        before, looking = (
            f"{number}/" if len(cores) > 1 else "",
            _window(core, preprocessing, length),
        )
        _for_one_picture(core, looking, body)
        _named_apart(preprocessing, body, before)
        prefix(looking, f"{before}window/")
        prepared.append(_made(preprocessing.graph.output[0]))
        made.append(_made(body.graph.output[0]))
        for value, name in zip(list(looking.graph.input), (_START, prepared[-1].all), strict=True):
            graph.rename_tensor(looking, value.name, name)
        graph.rename_tensor(body, graph.inputs(body)[0].name, looking.graph.output[0].name)
        append(frame, preprocessing)
        append(window, looking)
        append(window, body)
    model = _over_windows(
        taken, parts[0].graph.input[0], (frame, prepared), (window, made), (length, stride)
    )
    return model, {core.sha256: each.all for core, each in zip(cores, made, strict=True)}


def _over_windows(
    taken: str,
    picture: ValueInfoProto,
    frames: tuple[ModelProto, list[_Made]],
    windows: tuple[ModelProto, list[_Made]],
    step: tuple[int, int],
) -> ModelProto:
    """What is done to each frame, done to all of a clip, and then what is done to each window of them."""
    from onnx import TensorProto, helper

    model = empty()
    _adopt(model, frames[0])
    model.graph.input.append(_input(CLIP, picture))
    model.graph.node.append(_scan(frames[0], CLIP, picture, {each: each.all for each in frames[1]}))
    append(model, _starts(graph.opset(model), *step))
    start = helper.make_tensor_value_info(_START, TensorProto.INT64, [])
    model.graph.node.append(
        _scan(windows[0], _STARTS, start, {each: f"{each.all}/first" for each in windows[1]})
    )
    for each in windows[1]:  # from [windows, 1, D]
        kind, how = (
            ("Transpose", {"perm": [1, 0, 2]}) if taken == CLIP else ("Flatten", {"axis": 1})
        )
        model.graph.node.append(helper.make_node(kind, [f"{each.all}/first"], [each.all], **how))
    return model


def _window(core: Core, preprocessing: ModelProto, length: int) -> ModelProto:
    """A graph that takes from prepared frames [frames, 1, …] the window that begins at one, as the core sees it."""
    import onnx.parser

    kind = onnx.TensorProto.DataType.Name(
        preprocessing.graph.output[0].type.tensor_type.elem_type
    ).lower()
    order = [1, 0, 2, 3, 4] if core.time_axis == 0 else [1, 2, 0, 3, 4]
    model: ModelProto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : {graph.opset(preprocessing)}]>
        window (int64 start, {kind}[frames, 1, a, b, c] prepared) => ({kind}[1, d, e, f, g] input) {{
            places = Constant <value_ints = {[*range(length)]}> ()
            numbers = Add (start, places)
            seen = Gather <axis = 0> (prepared, numbers)
            input = Transpose <perm = {order}> (seen)
        }}""")
    return model


def _starts(opset: int, length: int, stride: int) -> ModelProto:
    """A graph that numbers the frames at which windows begin: none in a clip that is shorter than a window."""
    import onnx.parser

    model: ModelProto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        starts (uint8[frames, h, w, c] clip) => (int64[n] starts) {{
            shape = Shape <start = 0, end = 1> (clip)
            count = Squeeze (shape)
            fewer = Constant <value_int = {length - 1}> ()
            end = Sub (count, fewer)
            first = Constant <value_int = 0> ()
            step = Constant <value_int = {stride}> ()
            starts = Range (first, end, step)
        }}""")
    prefix(model, "windows/")
    graph.rename_tensor(model, model.graph.input[0].name, CLIP)
    return model


def empty() -> ModelProto:
    """A model of nothing yet."""
    import onnx

    model = onnx.ModelProto(producer_name="dof-arrow")
    model.graph.name = "fused"
    return model


def append(model: ModelProto, part: ModelProto) -> None:
    """Put a part's nodes and weights, whose names are its own, after those of a model; inputs and outputs are not.

    Raises CoreError where both use an operator set in different versions.
    """
    model.graph.node.extend(part.graph.node)
    model.graph.initializer.extend(part.graph.initializer)
    model.graph.sparse_initializer.extend(part.graph.sparse_initializer)
    _adopt(model, part)


def prefix(part: ModelProto, before: str) -> None:
    """Put a prefix before every name of a part, inner graphs included, so that parts cannot collide."""
    import onnx.compose

    # Declared inner shapes are dropped: they speak of batches of another size, and are inferred anew.
    del part.graph.value_info[:]
    onnx.compose.add_prefix(part, before, inplace=True)


def _adopt(model: ModelProto, part: ModelProto) -> None:
    """Let a model declare what a part needs: its IR and operator sets."""
    model.ir_version = max(model.ir_version, part.ir_version)
    versions = {each.domain: each.version for each in model.opset_import}
    for each in part.opset_import:
        domain = "" if each.domain == "ai.onnx" else each.domain
        if versions.setdefault(domain, each.version) != each.version:
            raise CoreError(
                "parts use different versions of an operator set",
                domain,
                str(versions[domain]),
                str(each.version),
                "Export the head again with the core's version.",
            )
    del model.opset_import[:]
    for domain, version in sorted(versions.items()):
        model.opset_import.add(domain=domain, version=version)


def _made(value: ValueInfoProto) -> _Made:
    return _Made(value.name, value.type.tensor_type.elem_type, f"{value.name}/all")


def _named_apart(preprocessing: ModelProto, body: ModelProto, before: str) -> None:
    """Names that no other part has, but for the picture, which all read."""
    prefix(preprocessing, f"{PREPROCESSING}{before}")
    prefix(body, f"core/{before}")
    graph.rename_tensor(preprocessing, preprocessing.graph.input[0].name, PICTURE)


def _takes_batches(core: Core) -> bool:
    """Whether pictures can be run together, and give what they give alone."""
    return (
        core.fixed_batch is None
        and not core.batch_dependent
        and output_size(core.preprocessing) is not None
    )


def _for_one_picture(core: Core, preprocessing: ModelProto, body: ModelProto) -> None:
    """Let a core of fixed batch take one picture, which fills it, and any core give features of one axis."""
    prepared, feature = preprocessing.graph.output[0], body.graph.output[0]
    if core.fixed_batch not in (None, 1):
        ones = [1] * (len(graph.dims(graph.inputs(body)[0])) - 1)
        copies = graph.add_constant(preprocessing, np.array([core.fixed_batch, *ones]), "copies")
        prepared.name = graph.add_node(preprocessing, "Tile", prepared.name, copies)
        first = graph.add_constant(body, np.array([0]), "first")
        feature.name = graph.add_node(body, "Gather", feature.name, first, axis=0)
    if len(core.output_shape) > 1:
        feature.name = graph.add_node(body, "Flatten", feature.name, axis=1)


def _over(
    taken: str,
    picture: ValueInfoProto,
    single: ModelProto,
    made: Sequence[_Made],
    together: ModelProto,
) -> ModelProto:
    """What is done to each picture, done to all that is taken, and then what is done to them together."""
    if taken == PICTURE:
        single.graph.input.append(picture)
        return single
    model = empty()
    _adopt(model, single)
    model.graph.input.append(_input(taken, picture))
    model.graph.node.extend(
        _each_frame(single, picture, made) if taken == CLIP else _each_picture(single, made)
    )
    append(model, together)
    return model


def _input(taken: str, picture: ValueInfoProto) -> ValueInfoProto:
    from onnx import TensorProto, helper

    if taken == CLIP:
        return helper.make_tensor_value_info(
            CLIP, TensorProto.UINT8, ["frames", *graph.dims(picture)]
        )
    return helper.make_value_info(PICTURES, helper.make_sequence_type_proto(picture.type))


def _each_frame(
    single: ModelProto, picture: ValueInfoProto, made: Sequence[_Made]
) -> Iterator[NodeProto]:
    """What is made of each frame of a clip, [1, D], as [1, frames, D]."""
    from onnx import helper

    yield _scan(single, CLIP, picture, {each: f"{each.all}/first" for each in made})
    for each in made:
        yield helper.make_node("Transpose", [f"{each.all}/first"], [each.all], perm=[1, 0, 2])


def _scan(
    single: ModelProto, over: str, taken: ValueInfoProto, made: Mapping[_Made, str]
) -> NodeProto:
    """What is made of each element of a tensor's first axis, under the names that all of it bears."""
    from onnx import helper

    inner = _inner(single, single.graph.node, [taken], [(each.each, each.kind) for each in made])
    return helper.make_node("Scan", [over], [*made.values()], body=inner, num_scan_inputs=1)


def _each_picture(single: ModelProto, made: Sequence[_Made]) -> Iterator[NodeProto]:
    """What is made of each picture of a sequence, [1, …], as [pictures, …]."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("SequenceAt", [PICTURES, "each/number"], [PICTURE]),
        *single.graph.node,
        helper.make_node("Identity", ["each/on"], ["each/still_on"]),
        *(
            helper.make_node("Squeeze", [each.each, "each/batch"], [f"{each.all}/one"])
            for each in made
        ),
    ]
    given = [
        helper.make_tensor_value_info("each/number", TensorProto.INT64, []),
        helper.make_tensor_value_info("each/on", TensorProto.BOOL, []),
    ]
    inner = _inner(
        single,
        nodes,
        given,
        [("each/still_on", TensorProto.BOOL), *((f"{each.all}/one", each.kind) for each in made)],
    )
    inner.initializer.append(numpy_helper.from_array(np.array([0]), "each/batch"))
    yield helper.make_node("SequenceLength", [PICTURES], ["each/count"])
    yield helper.make_node("Loop", ["each/count", ""], [each.all for each in made], body=inner)


def _inner(
    single: ModelProto,
    nodes: Iterable[NodeProto],
    given: Sequence[ValueInfoProto],
    made: Iterable[tuple[str, int]],
) -> GraphProto:
    """The graph that a loop runs each time, with the weights of what is done to each picture."""
    from onnx import helper

    outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in made]
    return helper.make_graph(
        nodes,
        "each",
        given,
        outputs,
        single.graph.initializer,
        sparse_initializer=single.graph.sparse_initializer,
    )
