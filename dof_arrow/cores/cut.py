"""Cut the head off a model: what is left gives features, float32, rows on the first axis."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dof_arrow.cores import head_detection
from dof_arrow.cores.graph import batch_axis
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph.flow import Flow
from dof_arrow.cores.graph.model import Array
from dof_arrow.cores.head_detection import OutputVerdict
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import ModelProto

OUTPUT = "feature"
_LIST = "See the choices with dof headless MODEL --list, and choose one with --at TENSOR."
_MOVES = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout", "MaxPool"}
)
_OUTPUT_SCALE = {
    "QuantizeLinear": 1,
    "QLinearConv": 6,
    "QLinearMatMul": 6,
    "QLinearAdd": 6,
    "QLinearMul": 6,
    "QGemm": 7,
    "QLinearGlobalAveragePool": 3,
    "QLinearAveragePool": 3,
    "QLinearLeakyRelu": 3,
    "QLinearSigmoid": 3,
    "QLinearConcat": 0,
}


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

    `shape` is that of one row. `pool` says how the cut's own axes were averaged, None if they were not.
    `fixed_batch` is the only batch size it takes, None for any. `batch_dependent`: run its rows one by one.
    """

    model: ModelProto
    tensor: str
    shape: tuple[int, ...]
    pool: str | None
    fixed_batch: int | None
    batch_dependent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """What a tensor of the model is when the model runs on seeded rows."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: int

    @property
    def has_batch(self) -> bool:
        """False where the model squeezes a batch of one away."""
        return bool(self.shape) and self.shape[0] == self.rows

    @property
    def listed(self) -> tuple[int | str, ...]:
        """The shape as people read it, with N for the rows."""
        return ("N", *self.shape[1:]) if self.has_batch else self.shape

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of one row; CoreError if rows do not lie on the first axis."""
        if not self.has_batch and self.rows > 1:
            found = str(list(self.shape))
            raise CoreError(
                "rows do not lie on the first axis", self.name, f"{self.rows} rows", found, _LIST
            )
        return self.shape[1:] if self.has_batch else self.shape

    @property
    def is_map(self) -> bool:
        """Whether a row has more than one axis: a map of channels, or tokens."""
        return sum(dim > 1 for dim in self.row) > 1


def candidates(model: ModelProto) -> list[Candidate]:
    """The places where a model may be cut, features first; none is `chosen` where more than one can be defended."""
    flow = Flow(graph.inlined(model))
    found = _readings(flow)
    chosen = head_detection.choose(flow, found)
    listed: dict[str, Candidate] = {}
    for reading in found:
        for place, kind, why in _places(flow, reading):
            marked = reading is chosen and place.name == reading.tensor
            candidate = Candidate(
                tensor=place.name, shape=place.listed, kind=kind, chosen=marked, why=why
            )
            listed[place.name] = candidate if marked else listed.get(place.name, candidate)
    return list(listed.values())


def cut(model: ModelProto, *, at: str | None = None, pool: str | None = None) -> Cut:
    """The model up to its features, or up to the tensor `at`; its one output is `feature`, float32 [N, *shape].

    `pool`: None takes the model's own average or class token, and averages maps [N, C, H, W] and tokens [N, T, C];
    "1x1" the same; "KxK" averages the map into K x K cells (adaptive average pooling, as torch defines it); "none"
    keeps the map. The last two cut before the model's own average. Quantised features are dequantised, half ones
    cast. A batch size written into the model is taken out where every row then gives what it gave (`batch.free`).

    Raises CoreError where no single place can be defended, the tensor is unknown, or nothing learnt lies before it.
    """
    grid = _grid(pool)
    flow = Flow(graph.inlined(model))
    place = (
        _tensor(flow, at)
        if at
        else _place(flow, keep_map=pool == "none" or grid not in (None, (1, 1)))
    )
    if place.is_map and grid is None and pool is None:
        grid = (1, 1)
    part = _raised(_upto(flow, place))
    name, shape, pooled = _finish(
        part, place, grid, head_detection.is_channels_last(flow, place.name)
    )
    if math.prod(shape) != shape[0] and batch_axis.is_free(part):
        raise CoreError(
            "the map's size changes with the picture's",
            place.name,
            "an input of one size",
            str(list(graph.dims(batch_axis.only_input(part)))),
            "Use --pool 1x1, or export with a fixed size.",
        )
    _name_output(part, name, shape)
    made = batch_axis.free(part)
    return Cut(
        model=made.model,
        tensor=place.name,
        shape=shape,
        pool=pooled,
        fixed_batch=made.fixed,
        batch_dependent=made.dependent,
    )


def _readings(flow: Flow) -> list[OutputVerdict]:
    found = head_detection.readings(flow)
    if not found:
        raise CoreError(
            "no output depends on the input", flow.model.graph.name, hint="Export the model again."
        )
    return found


def _place(flow: Flow, *, keep_map: bool) -> _Tensor:
    """Where to cut when nobody says: before the head, or before the pooling that precedes it."""
    found = _readings(flow)
    chosen = head_detection.choose(flow, found)
    if chosen is None:
        listed = "; ".join(
            f"{c.tensor} {list(c.shape)} ({c.kind}: {c.why})" for c in candidates(flow.model)
        )
        raise CoreError(
            "no single place to cut can be defended", flow.model.graph.name, "one", listed, _LIST
        )
    place, above = _probe_above(flow, chosen.tensor)
    return above if keep_map and above is not None else place


def _places(flow: Flow, reading: OutputVerdict) -> list[tuple[_Tensor, str, str]]:
    """The candidates of one output: its features, the map they are pooled from, the output itself."""
    place, above = _probe_above(flow, reading.tensor)
    kind = (
        "output"
        if reading.tensor == reading.output
        else "conv head"
        if place.is_map
        else "dense head"
    )
    places = [(place, kind, reading.why)]
    if above is not None and above.name != place.name:
        places.append((above, "map", "what the features are pooled from"))
    if kind != "output":
        places.append((_tensor(flow, reading.output), "output", "what the head gives"))
    return places


def _probe_above(flow: Flow, name: str) -> tuple[_Tensor, _Tensor | None]:
    """A tensor, and the nearest bottleneck at or above it that holds a map; the picture itself is none."""
    names = [
        name,
        *(stage.source for stage in flow.stages(name) if stage.source not in flow.inputs),
    ]
    probed = _probe(flow, names)
    return probed[0], next(
        (tensor for tensor in probed if tensor.has_batch and tensor.is_map), None
    )


def _tensor(flow: Flow, name: str) -> _Tensor:
    if name not in flow.data:
        near = [
            f"Did you mean {known}?"
            for known in difflib.get_close_matches(name, sorted(flow.data), 1)
        ]
        raise CoreError(
            "no such tensor between input and output", name, hint=" ".join([*near, _LIST])
        )
    return _probe(flow, [name])[0]


def _probe(flow: Flow, names: Sequence[str]) -> list[_Tensor]:
    """Run the model on seeded rows and look at some of its tensors."""
    part = graph.extract(flow.model, names)
    runner = graph.session(graph.to_bytes(part))
    fixed = batch_axis.size(part)
    for rows in (fixed,) if fixed else (2, 1):
        feeds = {value.name: batch_axis.sample(value, rows) for value in graph.inputs(part)}
        try:
            values = graph.run(runner, feeds)
            break
        except CoreError:
            if rows == (fixed or 1):
                raise
    arrays = map(np.asarray, values)
    return [
        _Tensor(name=n, shape=a.shape, dtype=a.dtype, rows=rows)
        for n, a in zip(names, arrays, strict=True)
    ]


def _upto(flow: Flow, place: _Tensor) -> ModelProto:
    """The model up to a tensor, which leaves it dequantised and as float32."""
    scale = _scale(flow, place.name) if place.dtype.kind in "iu" else []
    part = graph.extract(flow.model, [place.name, *scale])
    if not head_detection.is_learnt(part.graph.node):
        raise CoreError(
            "nothing learnt lies before the cut: its features would be the picture",
            place.name,
            hint=_LIST,
        )
    name = graph.add_node(part, "DequantizeLinear", place.name, *scale) if scale else place.name
    if place.dtype != np.float32 and not scale:
        name = graph.add_node(part, "Cast", name, to=1)
    graph.set_output(part, name)
    batch_axis.only_input(part)
    return part


def _scale(flow: Flow, tensor: str) -> list[str]:
    """The names of the scale and zero point of a quantised tensor, as its neighbours state them."""
    found = _scale_below(flow, tensor) or _scale_above(flow, tensor)
    if not found:
        expected = "float or quantised values"
        raise CoreError(
            "whole numbers without a scale are no features", tensor, expected, hint=_LIST
        )
    return [name for name in found if name]


def _scale_below(flow: Flow, tensor: str) -> list[str]:
    """Operators on quantised tensors take each one followed by its scale and zero point."""
    for node in flow.consumers(tensor):
        if node.op_type.startswith(("QLinear", "QGemm", "DequantizeLinear")):
            first = list(node.input).index(tensor) + 1
            return list(node.input[first : first + 2])
        if node.op_type in _MOVES and (found := _scale_below(flow, node.output[0])):
            return found
    return []


def _scale_above(flow: Flow, tensor: str) -> list[str]:
    node = flow.producer[tensor]
    if node.op_type in _MOVES:
        return _scale_above(flow, node.input[0]) if node.input[0] in flow.producer else []
    first = _OUTPUT_SCALE.get(node.op_type)
    return [] if first is None else list(node.input[first : first + 2])


def _raised(part: ModelProto) -> ModelProto:
    """The part in the opset of all cores, with features proved equal by running both."""
    raised = graph.raise_opset(part)
    if raised is part:
        return part
    value = batch_axis.only_input(part)
    feeds = {value.name: batch_axis.sample(value, batch_axis.size(part) or 1)}
    before, after = (graph.run(graph.session(graph.to_bytes(m)), feeds)[0] for m in (part, raised))
    if not batch_axis.close(after, before, batch_axis.tolerance(part)):
        raise CoreError(
            f"features change when the model is raised to opset {graph.OPSET}",
            part.graph.name,
            hint=f"Export the model again with opset {graph.OPSET} or later.",
        )
    return raised


def _finish(
    part: ModelProto, place: _Tensor, grid: tuple[int, int] | None, channels_last: bool
) -> tuple[str, tuple[int, ...], str | None]:
    """Pool, and bring rows to the first axis: the last tensor, the shape of a row, and the pooling done."""
    name = part.graph.output[0].name
    row = place.row if place.is_map else (math.prod(place.row),)
    if len(row) == 1 or not place.has_batch or not batch_axis.is_free(part):
        name = _reshape(part, name, row)  # brings back a batch axis that the model squeezes away
    if channels_last and len(row) == 3:
        name, row = (
            graph.add_node(part, "Transpose", name, perm=[0, 3, 1, 2]),
            (row[2], row[0], row[1]),
        )
    if grid is None or (len(row) == 1 and grid == (1, 1)):
        return name, row, None
    if grid == (1, 1):
        return *_mean(part, name, row), "1x1"
    if len(row) != 3:
        raise CoreError(
            "only a map of height and width can be pooled so",
            place.name,
            "[N, C, H, W]",
            f"[N, {', '.join(map(str, row))}]",
            "Use --pool 1x1 or --pool none.",
        )
    return _adaptive(part, name, row, grid), (row[0], *grid), f"{grid[0]}x{grid[1]}"


def _mean(part: ModelProto, name: str, row: tuple[int, ...]) -> tuple[str, tuple[int]]:
    """The average over height and width (and time) of [N, C, …], or over the tokens of [N, T, C]."""
    axes, width = ([1], row[1]) if len(row) == 2 else (list(range(2, len(row) + 1)), row[0])
    axes_name = graph.add_constant(part, np.array(axes, np.int64), "dof_axes")
    return graph.add_node(part, "ReduceMean", name, axes_name, keepdims=0), (width,)


def _adaptive(part: ModelProto, name: str, row: tuple[int, ...], grid: tuple[int, int]) -> str:
    """Adaptive average pooling of [N, C, H, W]: rows, then columns, each by one matrix."""
    down = graph.add_constant(part, _bins(row[1], grid[0]), "dof_rows")
    across = graph.add_constant(part, np.ascontiguousarray(_bins(row[2], grid[1]).T), "dof_columns")
    return graph.add_node(part, "MatMul", graph.add_node(part, "MatMul", down, name), across)


def _bins(length: int, count: int) -> Array:
    """The matrix [count, length] that averages cell i over floor(i L / K) to ceil((i + 1) L / K).

    >>> _bins(3, 2)
    array([[0.5, 0.5, 0. ],
           [0. , 0.5, 0.5]], dtype=float32)
    """
    matrix = np.zeros((count, length), np.float32)
    for i in range(count):
        start, stop = i * length // count, -(-(i + 1) * length // count)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def _reshape(part: ModelProto, name: str, row: tuple[int, ...]) -> str:
    return graph.add_node(
        part, "Reshape", name, graph.add_constant(part, np.array([-1, *row], np.int64), "dof_shape")
    )


def _name_output(part: ModelProto, name: str, shape: tuple[int, ...]) -> None:
    if name != OUTPUT and OUTPUT in graph.tensor_names(part):
        graph.rename_tensor(part, OUTPUT, graph.unique_name(part, OUTPUT))
    graph.rename_tensor(part, name, OUTPUT)
    graph.set_output(part, OUTPUT, [batch_axis.size(part) or "batch", *shape])


def _grid(pool: str | None) -> tuple[int, int] | None:
    """The cells asked for: (2, 2) for "2x2"; None where the choice is left, or the map is kept."""
    if pool in (None, "none"):
        return None
    found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", pool or "")
    if found is None:
        raise CoreError(
            "unknown pooling",
            expected="1x1, 2x2, KxK or none",
            found=repr(pool),
            hint="Try --pool 2x2.",
        )
    return int(found[1]), int(found[2])
