"""Cut the head off a model: what is left gives features, float32, rows on the first axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dof_arrow.cores import head_detection, probe
from dof_arrow.cores.dequantise import scale_of
from dof_arrow.cores.graph import batch_axis
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph.flow import Flow
from dof_arrow.cores.graph.model import Array
from dof_arrow.cores.head_detection import OutputVerdict
from dof_arrow.cores.pooling import WHOLE, parse_grid, pooled
from dof_arrow.cores.probe import SEE_LIST, ProbedTensor
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import ModelProto

OUTPUT = "feature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A place where a model may be cut; its `shape` begins with the batch axis, N."""

    tensor: str
    shape: tuple[int | str, ...]
    kind: str
    chosen: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A headless model, where it was cut, and the batches it takes.

    `shape` is that of one row. `pool` says how the cut's own axes were averaged, None if they were
    not. `fixed_batch` is the only batch size it takes, None for any. `batch_dependent`: run its
    rows one by one.
    """

    model: ModelProto
    tensor: str
    shape: tuple[int, ...]
    pool: str | None
    fixed_batch: int | None
    batch_dependent: bool


def candidates(model: ModelProto) -> list[Candidate]:
    """The places where a model may be cut, features first.

    None is `chosen` where more than one can be defended.
    """
    flow = Flow(graph.inlined(model))
    found = _verdicts(flow)
    chosen = head_detection.choose(flow, found)
    listed: dict[str, Candidate] = {}
    for verdict in found:
        for place, kind, why in _places(flow, verdict):
            is_chosen = verdict is chosen and place.name == verdict.tensor
            if place.name in listed and not is_chosen:
                continue
            listed[place.name] = Candidate(
                tensor=place.name, shape=place.listed, kind=kind, chosen=is_chosen, why=why
            )
    return list(listed.values())


def cut(model: ModelProto, *, at: str | None = None, pool: str | None = None) -> Cut:
    """The model up to its features, or up to the tensor `at`.

    Its one output is `feature`, float32 [N, *shape]. `pool`: None takes the model's own average or
    class token, and averages maps [N, C, H, W] and tokens [N, T, C]; "1x1" the same; "KxK"
    averages the map into K x K cells (adaptive average pooling, as torch defines it); "none" keeps
    the map. The last two cut before the model's own average. Quantised features are dequantised,
    half ones cast. A batch size written into the model is taken out where every row then gives
    what it gave (`batch_axis.free`).

    Raises CoreError where no single place can be defended, the tensor is unknown, or nothing
    learnt lies before it.
    """
    grid = parse_grid(pool)
    flow = Flow(graph.inlined(model))
    if at:
        place = probe.tensor(flow, at)
    else:
        place = _place(flow, keep_map=pool == "none" or grid not in (None, WHOLE))
    if place.is_map and pool is None:
        grid = WHOLE
    part = _raised(_upto(flow, place))
    channels_last = head_detection.is_channels_last(flow, place.name)
    features = pooled(part, place, grid, channels_last)
    _check_size(part, place.name, features.row)
    _name_output(part, features.name, features.row)
    made = batch_axis.free(part)
    return Cut(
        model=made.model,
        tensor=place.name,
        shape=features.row,
        pool=features.pool,
        fixed_batch=made.fixed,
        batch_dependent=made.dependent,
    )


def _verdicts(flow: Flow) -> list[OutputVerdict]:
    found = head_detection.verdicts(flow)
    if not found:
        raise CoreError(
            "no output depends on the input", flow.model.graph.name, hint="Export the model again."
        )
    return found


def _place(flow: Flow, *, keep_map: bool) -> ProbedTensor:
    """Where to cut when nobody says: before the head, or before the pooling that precedes it."""
    chosen = head_detection.choose(flow, _verdicts(flow))
    if chosen is None:
        listed = []
        for place in candidates(flow.model):
            listed.append(f"{place.tensor} {list(place.shape)} ({place.kind}: {place.why})")
        raise CoreError(
            "no single place to cut can be defended",
            flow.model.graph.name,
            "one",
            "; ".join(listed),
            SEE_LIST,
        )
    features, above = probe.with_map_above(flow, chosen.tensor)
    return above if keep_map and above is not None else features


def _places(flow: Flow, verdict: OutputVerdict) -> list[tuple[ProbedTensor, str, str]]:
    """The candidates of one output: its features, the map they are pooled from, the output."""
    features, above = probe.with_map_above(flow, verdict.tensor)
    if verdict.tensor == verdict.output:
        kind = "output"
    else:
        kind = "conv head" if features.is_map else "dense head"
    places = [(features, kind, verdict.why)]
    if above is not None and above.name != features.name:
        places.append((above, "map", "what the features are pooled from"))
    if kind != "output":
        output = probe.tensor(flow, verdict.output)
        places.append((output, "output", "what the head gives"))
    return places


def _upto(flow: Flow, place: ProbedTensor) -> ModelProto:
    """The model up to a tensor, which leaves it dequantised and as float32."""
    scale = scale_of(flow, place.name) if place.dtype.kind in "iu" else []
    part = graph.extract(flow.model, [place.name, *scale])
    if not head_detection.is_learnt(part.graph.node):
        raise CoreError(
            "nothing learnt lies before the cut: its features would be the picture",
            place.name,
            hint=SEE_LIST,
        )
    name = place.name
    if scale:
        name = graph.add_node(part, "DequantizeLinear", name, *scale)
    elif place.dtype != np.float32:
        name = graph.add_node(part, "Cast", name, to=1)
    graph.set_output(part, name)
    batch_axis.only_input(part)  # raises where a core cannot have such an input
    return part


def _raised(part: ModelProto) -> ModelProto:
    """The part in the opset of all cores, with features proved equal by running both."""
    raised = graph.raise_opset(part)
    if raised is part:
        return part
    value = batch_axis.only_input(part)
    rows = batch_axis.sample(value, batch_axis.size(part) or 1)
    before = _features(part, value.name, rows)
    after = _features(raised, value.name, rows)
    if not batch_axis.close(after, before, batch_axis.tolerance(part)):
        raise CoreError(
            f"features change when the model is raised to opset {graph.OPSET}",
            part.graph.name,
            hint=f"Export the model again with opset {graph.OPSET} or later.",
        )
    return raised


def _features(model: ModelProto, name: str, rows: Array) -> Array:
    return graph.run(graph.session(graph.to_bytes(model)), {name: rows})[0]


def _check_size(part: ModelProto, tensor: str, shape: tuple[int, ...]) -> None:
    """Raise CoreError for a map whose size is not that of every picture."""
    is_map = math.prod(shape) != shape[0]
    if is_map and batch_axis.is_free(part):
        raise CoreError(
            "the map's size changes with the picture's",
            tensor,
            "an input of one size",
            str(list(graph.dims(batch_axis.only_input(part)))),
            "Use --pool 1x1, or export with a fixed size.",
        )


def _name_output(part: ModelProto, name: str, shape: tuple[int, ...]) -> None:
    if name != OUTPUT and OUTPUT in graph.tensor_names(part):
        graph.rename_tensor(part, OUTPUT, graph.unique_name(part, OUTPUT))
    graph.rename_tensor(part, name, OUTPUT)
    graph.set_output(part, OUTPUT, [batch_axis.size(part) or "batch", *shape])
