"""What comes before the heads of a fused model: preprocessing and every core, as one graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.format.spec.preprocessing import output_size
from dof_arrow.inference.model_parts import (
    CLIP,
    PICTURE,
    PICTURES,
    PREPROCESSING,
    Made,
    adopt,
    append,
    empty,
    inner_graph,
    made_of,
    model_input,
    prefix,
    scan,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto


Pair = tuple["ModelProto", "ModelProto"]  # preprocessing and body of a core


def trunk(
    cores: Sequence[Core], pairs: Sequence[Pair], taken: str
) -> tuple[ModelProto, dict[str, str]]:
    """A model of preprocessing and cores without outputs, and the name of each core's features.

    The parts are of one opset, and are changed; the names are by the core's digest. Features are
    float32 [1, D] for a PICTURE, [pictures, D] for PICTURES, [1, frames, D] for a CLIP. Every
    picture is prepared and run by itself, except that PICTURES that are prepared to one size are
    run together by a core that takes batches.
    """
    single, together = empty(), empty()
    made: list[Made] = []
    features: dict[str, str] = {}
    for core, (preprocessing, body) in zip(cores, pairs, strict=True):
        before = f"{len(features)}/" if len(cores) > 1 else ""
        for_one_picture(core, preprocessing, body)
        name_apart(preprocessing, body, before)
        append(single, preprocessing)
        prepared = preprocessing.graph.output[0]
        feature = body.graph.output[0]
        if taken == PICTURES and _takes_batches(core):
            each = made_of(prepared)
            _read_from(body, each.all)
            append(together, body)
            features[core.sha256] = feature.name
        else:
            each = made_of(feature)
            _read_from(body, prepared.name)
            append(single, body)
            features[core.sha256] = each.each if taken == PICTURE else each.all
        made.append(each)
    picture = pairs[0][0].graph.input[0]
    return _over(taken, picture, single, made, together), features


def for_one_picture(core: Core, before: ModelProto, body: ModelProto) -> None:
    """Let a core of fixed batch take one picture, and any core give features of one axis.

    `before` is the graph that makes the core's input; a fixed batch is filled with copies.
    """
    prepared = before.graph.output[0]
    feature = body.graph.output[0]
    if core.fixed_batch not in (None, 1):
        axes = graph.dims(graph.inputs(body)[0])
        others = [1] * (len(axes) - 1)
        copies = np.array([core.fixed_batch, *others])
        repeats = graph.add_constant(before, copies, "copies")
        prepared.name = graph.add_node(before, "Tile", prepared.name, repeats)
        first = graph.add_constant(body, np.array([0]), "first")
        feature.name = graph.add_node(body, "Gather", feature.name, first, axis=0)
    if len(core.output_shape) > 1:
        feature.name = graph.add_node(body, "Flatten", feature.name, axis=1)


def name_apart(preprocessing: ModelProto, body: ModelProto, before: str) -> None:
    """Give parts names that no other part has, but for the picture, which all read."""
    prefix(preprocessing, f"{PREPROCESSING}{before}")
    prefix(body, f"core/{before}")
    _read_from(preprocessing, PICTURE)


def _read_from(part: ModelProto, name: str) -> None:
    """Let a part read a tensor of this name."""
    given = graph.inputs(part)[0]
    graph.rename_tensor(part, given.name, name)


def _takes_batches(core: Core) -> bool:
    """Whether pictures can be run together, and give what they give alone."""
    if core.fixed_batch is not None or core.batch_dependent:
        return False
    return output_size(core.preprocessing) is not None


def _over(
    taken: str,
    picture: ValueInfoProto,
    single: ModelProto,
    made: Sequence[Made],
    together: ModelProto,
) -> ModelProto:
    """`single` is done to each picture of what is taken, then `together` to what came of all."""
    if taken == PICTURE:
        single.graph.input.append(picture)
        return single
    model = empty()
    adopt(model, single)
    model.graph.input.append(model_input(taken, picture))
    if taken == CLIP:
        model.graph.node.extend(_each_frame(single, picture, made))
    else:
        model.graph.node.extend(_each_picture(single, made))
    append(model, together)
    return model


def _each_frame(
    single: ModelProto, picture: ValueInfoProto, made: Sequence[Made]
) -> Iterator[NodeProto]:
    """What is made of each frame of a clip, [1, D], as [1, frames, D]."""
    from onnx import helper

    outputs = {each: each.first for each in made}
    yield scan(single, CLIP, picture, outputs)
    for each in made:
        yield helper.make_node("Transpose", [each.first], [each.all], perm=[1, 0, 2])


def _each_picture(single: ModelProto, made: Sequence[Made]) -> Iterator[NodeProto]:
    """What is made of each picture of a sequence, [1, …], as [pictures, …].

    A Loop, since the pictures of a sequence have sizes of their own, which a Scan does not take.
    """
    from onnx import TensorProto, helper, numpy_helper

    number, goes_on = "each/number", "each/on"
    nodes = [
        helper.make_node("SequenceAt", [PICTURES, number], [PICTURE]),
        *single.graph.node,
        helper.make_node("Identity", [goes_on], ["each/still_on"]),
    ]
    results = [("each/still_on", TensorProto.BOOL)]
    for each in made:
        # Without its batch axis of one, since the loop stacks what it makes.
        one = f"{each.all}/one"
        nodes.append(helper.make_node("Squeeze", [each.each, "each/batch"], [one]))
        results.append((one, each.kind))
    inputs = [
        helper.make_tensor_value_info(number, TensorProto.INT64, []),
        helper.make_tensor_value_info(goes_on, TensorProto.BOOL, []),
    ]
    inner = inner_graph(single, nodes, inputs, results)
    first_axis = numpy_helper.from_array(np.array([0]), "each/batch")
    inner.initializer.append(first_axis)
    outputs = [each.all for each in made]
    yield helper.make_node("SequenceLength", [PICTURES], ["each/count"])
    yield helper.make_node("Loop", ["each/count", ""], outputs, body=inner)
