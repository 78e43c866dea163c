"""Cut the head off a model: what is left gives features, float32, rows on the first axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dof_arrow.cores import head_detection, probe
from dof_arrow.cores.dequantise import scale_of
from dof_arrow.cores.graph import batch_axis
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph.flow import Flow
from dof_arrow.cores.graph.model import OPSET, Array
from dof_arrow.cores.graph.training import (
    refuse_batch_statistics,
    refuse_random,
)
from dof_arrow.cores.head_detection import OutputVerdict
from dof_arrow.cores.operators import is_learnt
from dof_arrow.cores.pooling import WHOLE, parse_grid, pooled
from dof_arrow.cores.probe import SEE_LIST, ProbedTensor
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import ModelProto

OUTPUT = "feature"
BESIDE = " + "  # between the names of vectors that are put side by side

_BEFORE_HEAD = "before the head"
_MAP = "map before pooling"
_FEATURES = "features"
_INSIDE = "in the head"
_OUTPUT = "output"
_BETWEEN = 5  # of the tensors there, so many are listed


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
        for candidate in _places(flow, verdict, is_chosen=verdict is chosen):
            if candidate.chosen or candidate.tensor not in listed:
                listed[candidate.tensor] = candidate
    return list(listed.values())


def cut(
    model: ModelProto,
    *,
    at: str | None = None,
    pool: str | None = None,
    features: str | None = None,
) -> Cut:
    """The model up to its features, or up to the tensor `at`.

    Its one output is `feature`, float32 [N, *shape]. `at` may be several tensors, "A + B": vectors
    that are put side by side. `features` names an output that is known to hold features. `pool`:
    None takes the model's own average or class token, and averages maps [N, C, H, W] and tokens
    [N, T, C]; "1x1" the same; "KxK" averages the map into K x K cells (adaptive average pooling, as
    torch defines it); "none" keeps the map. The last two cut before the model's own average.
    Quantised features are dequantised, half ones cast. A batch size written into the model is taken
    out where every row then gives what it gave (`batch_axis.free`).

    Raises CoreError where no single place can be defended, the tensor is unknown, nothing learnt
    lies before it, or the model draws random numbers.
    """
    grid = parse_grid(pool)
    flow = Flow(graph.inlined(model))
    if at:
        places = probe.tensors(flow, _named(flow, at))
    else:
        keep_map = pool == "none" or grid not in (None, WHOLE)
        places = _chosen_places(flow, features, keep_map=keep_map)
    place = _side_by_side(places)
    if place.is_map and pool is None:
        grid = WHOLE
    part = _raised(_upto(flow, places))
    channels_last = head_detection.is_channels_last(flow, place.name)
    made_features = pooled(part, place, grid, channels_last)
    _check_size(part, place.name, made_features.row)
    _name_output(part, made_features.name, made_features.row)
    made = batch_axis.free(part)
    if made.dependent or made.fixed:
        refuse_batch_statistics(part)
    return Cut(
        model=made.model,
        tensor=place.name,
        shape=made_features.row,
        pool=made_features.pool,
        fixed_batch=made.fixed,
        batch_dependent=made.dependent,
    )


def _verdicts(flow: Flow) -> list[OutputVerdict]:
    found = head_detection.verdicts(flow, partial(probe.shapes, flow))
    if not found:
        raise CoreError(
            "no output depends on the input", flow.model.graph.name, hint="Export the model again."
        )
    return found


def _named(flow: Flow, at: str) -> list[str]:
    """The tensors that `at` names: one, or several joined by plus signs."""
    return [at] if at in flow.data else at.split(BESIDE)


def _chosen_places(flow: Flow, features: str | None, *, keep_map: bool) -> list[ProbedTensor]:
    """Where to cut when nobody says: before the head, or before the pooling that precedes it."""
    names = (features,) if features else _chosen(flow).tensors
    if len(names) > 1 and not keep_map:
        return probe.tensors(flow, names)
    place, above = probe.with_map_above(flow, names[0])
    return [above if keep_map and above is not None else place]


def _chosen(flow: Flow) -> OutputVerdict:
    """The verdict that can be defended; CoreError that lists the candidates where none can."""
    found = _verdicts(flow)
    chosen = head_detection.choose(flow, found)
    if chosen is not None:
        return chosen
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


def _places(flow: Flow, verdict: OutputVerdict, *, is_chosen: bool) -> Iterator[Candidate]:
    """The candidates of one output: its features, the map they are pooled from, the output."""
    names = verdict.tensors
    features, above = probe.with_map_above(flow, names[0])
    if len(names) > 1:
        features = _side_by_side(probe.tensors(flow, names))
    is_output = verdict.tensors == (verdict.output,)
    kind = _FEATURES if is_output else _BEFORE_HEAD
    yield _candidate(features, kind, verdict.why, is_chosen=is_chosen)
    if above is not None and above.name != features.name:
        yield _candidate(above, _MAP, "what the features are pooled from")
    if verdict.verdict == "unclear":
        yield from _between(flow, verdict)
    if not is_output:
        output = probe.tensor(flow, verdict.output)
        what = "what the head gives" if verdict.verdict == "head" else "class scores, or features"
        yield _candidate(output, _OUTPUT, what)


def _between(flow: Flow, verdict: OutputVerdict) -> Iterator[Candidate]:
    """Bottlenecks between what an unclear head may read and its output, the last few."""
    names = []
    for stage in flow.stages(verdict.output):
        if stage.source in flow.inputs or stage.source in verdict.tensors:
            break
        names.append(stage.source)
    for name in reversed(names[:_BETWEEN]):
        yield _candidate(probe.tensor(flow, name), _INSIDE, "between these and the output")


def _candidate(place: ProbedTensor, kind: str, why: str, *, is_chosen: bool = False) -> Candidate:
    return Candidate(tensor=place.name, shape=place.listed, kind=kind, chosen=is_chosen, why=why)


def _side_by_side(places: Sequence[ProbedTensor]) -> ProbedTensor:
    """One place, or several vectors as one that holds all their numbers."""
    if len(places) == 1:
        return places[0]
    maps = [place.name for place in places if place.is_map]
    if maps:
        raise CoreError(
            "only vectors can be put side by side",
            BESIDE.join(place.name for place in places),
            "[N, D] each",
            ", ".join(maps),
            SEE_LIST,
        )
    width = sum(math.prod(place.row) for place in places)
    rows = places[0].rows
    return ProbedTensor(
        name=BESIDE.join(place.name for place in places),
        shape=(rows, width),
        dtype=np.dtype(np.float32),
        rows=rows,
    )


def _upto(flow: Flow, places: Sequence[ProbedTensor]) -> ModelProto:
    """The model up to these tensors, which leaves them dequantised, float32 and side by side."""
    scales = {}
    for place in places:
        if place.dtype.kind in "iu":
            scales[place.name] = scale_of(flow, place.name)
    wanted = [place.name for place in places]
    for scale in scales.values():
        wanted += [name for name in scale if name not in wanted]
    part = graph.extract(flow.model, wanted)
    if not is_learnt(Flow(part)):
        raise CoreError(
            "nothing learnt lies before the cut: its features would be the picture",
            places[0].name,
            hint=SEE_LIST,
        )
    names = [_plain_numbers(part, place, scales.get(place.name)) for place in places]
    if len(places) > 1:
        vectors = [_as_vector(part, name, place) for name, place in zip(names, places, strict=True)]
        names = [graph.add_node(part, "Concat", *vectors, axis=1)]
    graph.set_output(part, names[0])
    batch_axis.only_input(part)  # raises where a core cannot have such an input
    refuse_random(part)
    return part


def _plain_numbers(part: ModelProto, place: ProbedTensor, scale: Sequence[str] | None) -> str:
    """The name of a tensor's values as float32."""
    if scale:
        return graph.add_node(part, "DequantizeLinear", place.name, *scale)
    if place.dtype != np.float32:
        return graph.add_node(part, "Cast", place.name, to=1)
    return place.name


def _as_vector(part: ModelProto, name: str, place: ProbedTensor) -> str:
    shape = np.array([-1, math.prod(place.row)], np.int64)
    return graph.add_node(part, "Reshape", name, graph.add_constant(part, shape, "dof_shape"))


def _raised(part: ModelProto) -> ModelProto:
    """The part in the opset of all cores, with features proved equal by running both."""
    if graph.opset(part) < OPSET:
        refuse_batch_statistics(part)  # of which the converter knows nothing
    raised = graph.raise_opset(part)
    if raised is part:
        return part
    value = batch_axis.only_input(part)
    rows = batch_axis.sample(value, batch_axis.size(part) or 1)
    before = _features(part, value.name, rows)
    after = _features(raised, value.name, rows)
    if not batch_axis.close(after, before, batch_axis.tolerance(part)):
        raise CoreError(
            f"features change when the model is raised to opset {OPSET}",
            part.graph.name,
            hint=f"Export the model again with opset {OPSET} or later.",
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
