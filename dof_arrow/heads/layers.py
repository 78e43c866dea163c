"""The steps of a head, layers with their weights, written straight as ONNX.

This is the common form of every head, whatever framework trained it. The input is `feature`
float32 [N, D], or [N, T, D] where a `Pooled` makes it read clips; the output is what the target's
kind wants (`OUTPUTS`). Equal steps give equal bytes. This takes 4 ms, torch's own exporter 0.7 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model
from dof_arrow.heads.graph_writer import INT32, GraphWriter

if TYPE_CHECKING:
    from onnx import ModelProto

Array = NDArray[Any]

OUTPUTS: Mapping[str, str] = {
    "category": "probabilities",
    "multilabel": "probabilities",
    "regression": "value",
}
ENDS: Mapping[str, str] = {"category": "softmax", "multilabel": "sigmoid", "regression": "identity"}

SMALLEST_VARIANCE = 1e-5  # added to that of the frames of a clip before its root is taken

_IR_VERSION = 8  # the one that goes with opset 18
_OPERATORS = {
    "relu": "Relu",
    "elu": "Elu",
    "selu": "Selu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "leaky_relu": "LeakyRelu",
    "softmax": "Softmax",
    "identity": "Identity",
    "exp": "Exp",
}
_ATTRIBUTES: Mapping[str, dict[str, Any]] = {
    "leaky_relu": {"alpha": 0.01},
    "softmax": {"axis": -1},
}


class Step(Protocol):
    """One layer with its weights."""

    def write(self, writer: GraphWriter, source: str) -> str:
        """Write the layer; takes the name of its input and gives the name of its output."""


@dataclass(frozen=True, slots=True)
class Shift:
    """x - mean, float32 [D].

    It is a step of its own: folded into a bias, features far from zero would lose their digits.
    """

    mean: Array

    def write(self, writer: GraphWriter, source: str) -> str:
        return writer.op("Sub", source, writer.const(self.mean))


@dataclass(frozen=True, slots=True)
class Rescale:
    """x * factor + offset, float32 [D] each.

    It scales features, is batch normalisation in use, and gives a target its unit.
    """

    factor: Array
    offset: Array

    def write(self, writer: GraphWriter, source: str) -> str:
        scaled = writer.op("Mul", source, writer.const(self.factor))
        if not np.any(self.offset):
            return scaled
        return writer.op("Add", scaled, writer.const(self.offset))


@dataclass(frozen=True, slots=True)
class Affine:
    """x @ weights + bias, float32 [D, K] and [K]."""

    weights: Array
    bias: Array

    def write(self, writer: GraphWriter, source: str) -> str:
        weights = writer.const(self.weights)
        bias = writer.const(self.bias)
        writer.width = self.weights.shape[1]
        if writer.timed:  # Gemm takes two axes only
            return writer.op("Add", writer.op("MatMul", source, weights), bias)
        return writer.op("Gemm", source, weights, bias)


@dataclass(frozen=True, slots=True)
class Function:
    """A function by its name in `architecture.FUNCTIONS`, or softmax, identity, exp."""

    name: str

    def write(self, writer: GraphWriter, source: str) -> str:
        if self.name == "silu":
            return writer.op("Mul", source, writer.op("Sigmoid", source))
        if self.name == "gelu":
            return self._gelu(writer, source)
        attributes = _ATTRIBUTES.get(self.name, {})
        return writer.op(_OPERATORS[self.name], source, **attributes)

    def _gelu(self, writer: GraphWriter, source: str) -> str:
        """x / 2 * (1 + erf(x / sqrt(2))): the operator Gelu came only with opset 20."""
        root = writer.const(np.sqrt(0.5))
        scaled = writer.op("Mul", source, root)
        error = writer.op("Erf", scaled)
        both = writer.op("Add", error, writer.const(1.0))
        half = writer.op("Mul", source, writer.const(0.5))
        return writer.op("Mul", half, both)


@dataclass(frozen=True, slots=True)
class Normalise:
    """Each row to mean 0 and variance 1, then scaled and shifted, float32 [D] each."""

    scale: Array
    shift: Array
    epsilon: float = 1e-5

    def write(self, writer: GraphWriter, source: str) -> str:
        scale = writer.const(self.scale)
        shift = writer.const(self.shift)
        return writer.op("LayerNormalization", source, scale, shift, epsilon=self.epsilon)


@dataclass(frozen=True, slots=True)
class Recur:
    """An LSTM (gates i, o, f, c) or GRU (z, r, h) in ONNX's order, stacked by direction.

    `weights` [ways, gates * units, D], `recurrent` [ways, gates * units, units], `bias`
    [ways, 2 * gates * units]. `reset_after`: the GRU's reset gate acts on the recurrent product
    (torch, cuDNN, Keras' default), not before it.
    """

    cell: str
    weights: Array
    recurrent: Array
    bias: Array
    reset_after: bool = True

    @property
    def looks_back(self) -> bool:
        """Whether it reads from the end too."""
        return len(self.weights) == 2

    @property
    def _parts(self) -> int:
        """How many tensors its state has: an LSTM's are its output and its memory."""
        return 2 if self.cell == "lstm" else 1

    def write(self, writer: GraphWriter, source: str) -> str:
        weights = writer.const(self.weights)
        recurrent = writer.const(self.recurrent)
        bias = writer.const(self.bias)
        units = self.recurrent.shape[-1]
        attributes: dict[str, Any] = {
            "hidden_size": units,
            "direction": "bidirectional" if self.looks_back else "forward",
        }
        if self.cell == "gru":
            attributes["linear_before_reset"] = int(self.reset_after)
        by_time = writer.op("Transpose", source, perm=[1, 0, 2])
        lengths = writer.op("Cast", writer.lengths, to=INT32)
        before = [] if self.looks_back else self._state(writer, units)
        found = writer.op(
            self.cell.upper(),
            by_time,
            weights,
            recurrent,
            bias,
            lengths,
            *before,
            outputs=1 + self._parts,
            **attributes,
        )
        if not self.looks_back:
            self._keep(writer, found, units)
        writer.width = len(self.weights) * units
        # From [T, ways, N, units] to [N, T, ways * units].
        by_row = writer.op("Transpose", found, perm=[2, 0, 1, 3])
        return writer.op("Reshape", by_row, writer.whole(0, 0, -1))

    def _state(self, writer: GraphWriter, units: int) -> list[str]:
        """The remembered state as the cell wants it, [1, N, units] each."""
        state = writer.state(self._parts * units)
        parts = [state]
        if self.cell == "lstm":
            first = writer.columns(state, 0, units)
            second = writer.columns(state, units, 2 * units)
            parts = [first, second]
        return [writer.op("Unsqueeze", part, writer.whole(0)) for part in parts]

    def _keep(self, writer: GraphWriter, found: str, units: int) -> None:
        """Remember the last state, that of an LSTM side by side."""
        parts = []
        for number in range(1, 1 + self._parts):
            last = f"{found}.{number}"
            parts.append(writer.op("Squeeze", last, writer.whole(0)))
        state = parts[0]
        if len(parts) > 1:
            state = writer.op("Concat", *parts, axis=1)
        writer.keep(state, units * len(parts))


@dataclass(frozen=True, slots=True)
class Pooled:
    """The frames of a clip, [N, T, D], become one vector, [N, D]: their mean, max, or the last.

    A mean in parts remembers the sum and the count of the frames so far. `statistics` are [N, 4 D]:
    mean, standard deviation, minimum and maximum.
    """

    by: str

    def write(self, writer: GraphWriter, source: str) -> str:
        writer.timed = False  # from here on, tensors are [N, width]
        if self.by == "last":
            return self._last(writer, source)
        if self.by == "mean":
            return self._mean(writer, source)
        if self.by == "statistics":
            return self._statistics(writer, source)
        return self._max(writer, source)

    def _last(self, writer: GraphWriter, source: str) -> str:
        last = writer.op("Sub", writer.lengths, writer.whole(1))
        places = writer.op("Unsqueeze", last, writer.whole(1))
        return writer.op("GatherND", source, places, batch_dims=1)

    def _mean(self, writer: GraphWriter, source: str) -> str:
        width = writer.width
        inside = self._inside(writer, source, 0.0)
        lengths = writer.op("Unsqueeze", writer.lengths, writer.whole(1))
        count = writer.as_float(lengths)
        total = writer.op("ReduceSum", inside, writer.whole(1), keepdims=0)
        now = writer.op("Concat", total, count, axis=1)
        earlier = writer.state(width + 1)
        both = writer.op("Add", earlier, now)
        writer.keep(both, width + 1)
        totals = writer.columns(both, 0, width)
        counts = writer.columns(both, width, width + 1)
        return writer.op("Div", totals, counts)

    def _statistics(self, writer: GraphWriter, source: str) -> str:
        mean, deviation = self._moments(writer, source)
        lowest = writer.op("Neg", self._max(writer, writer.op("Neg", source)))
        highest = self._max(writer, source)
        writer.width *= 4
        return writer.op("Concat", mean, deviation, lowest, highest, axis=1)

    def _moments(self, writer: GraphWriter, source: str) -> tuple[str, str]:
        """Mean and standard deviation, those of this part joined with those of earlier parts.

        Remembered are the squares of distances from the mean, the mean, and the count. Source:
        Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm, 1979.
        """
        width = writer.width
        lengths = writer.op("Unsqueeze", writer.lengths, writer.whole(1))
        count = writer.as_float(lengths)
        total = writer.op(
            "ReduceSum", self._inside(writer, source, 0.0), writer.whole(1), keepdims=0
        )
        mean = writer.op("Div", total, count)
        from_mean = writer.op("Sub", source, writer.op("Unsqueeze", mean, writer.whole(1)))
        distances = self._inside(writer, from_mean, 0.0)
        squares = writer.op("ReduceSumSquare", distances, writer.whole(1), keepdims=0)
        earlier = writer.state(2 * width + 1)
        old_squares = writer.columns(earlier, 0, width)
        old_mean = writer.columns(earlier, width, 2 * width)
        old_count = writer.columns(earlier, 2 * width, 2 * width + 1)
        all_count = writer.op("Add", old_count, count)
        step = writer.op("Sub", mean, old_mean)
        share = writer.op("Div", count, all_count)
        mean = writer.op("Add", old_mean, writer.op("Mul", step, share))
        apart = writer.op("Mul", writer.op("Mul", step, step), writer.op("Mul", old_count, share))
        squares = writer.op("Add", writer.op("Add", old_squares, squares), apart)
        writer.keep(writer.op("Concat", squares, mean, all_count, axis=1), 2 * width + 1)
        variance = writer.op("Div", squares, all_count)
        above_zero = writer.op("Add", variance, writer.const(SMALLEST_VARIANCE))
        return mean, writer.op("Sqrt", above_zero)

    def _max(self, writer: GraphWriter, source: str) -> str:
        inside = self._inside(writer, source, -np.inf)
        now = writer.op("ReduceMax", inside, writer.whole(1), keepdims=0)
        earlier = writer.state(writer.width, -np.inf)
        both = writer.op("Max", earlier, now)
        writer.keep(both, writer.width)
        return both

    def _inside(self, writer: GraphWriter, source: str, padding: float) -> str:
        """The frames of the clips, and a number that changes nothing where they are padded."""
        within = writer.within()
        return writer.op("Where", within, source, writer.const(padding))


@dataclass(frozen=True, slots=True)
class Both:
    """The probability p of the second of two classes, [N, 1], becomes [1 - p, p]."""

    def write(self, writer: GraphWriter, source: str) -> str:
        first = writer.op("Sub", writer.const(1.0), source)
        return writer.op("Concat", first, source, axis=-1)


def to_model(
    steps: Sequence[Step],
    kind: str,
    width: int,
    columns: int | str,
    properties: Mapping[str, str] | None = None,
    *,
    double: bool = False,
) -> ModelProto:
    """The ONNX model of steps from `width` features to `columns` outputs for a kind of target.

    It takes and gives float32; between, it computes in float64 where `double`.
    """
    from onnx import TensorProto, helper

    clips = timed(steps)
    looks_back = any(getattr(step, "looks_back", False) for step in steps)
    writer = GraphWriter(width, timed=clips, states=not looks_back, double=double)
    tensor = writer.as_computed("feature") if double else "feature"
    for step in steps:
        tensor = step.write(writer, tensor)
    if double:
        tensor = writer.as_float(tensor)
    name = OUTPUTS[kind]
    last = helper.make_node("Identity", [tensor], [name], name=name)
    writer.nodes.append(last)  # it gives the output its name
    shape = ["N", "T", width] if clips else ["N", width]
    feature = helper.make_tensor_value_info("feature", TensorProto.FLOAT, shape)
    output = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", columns])
    graph = helper.make_graph(
        writer.nodes,
        "head",
        [feature, *writer.inputs],
        [output, *writer.outputs],
        writer.weights,
    )
    domains = {"": model.OPSET, **writer.domains}
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*domain) for domain in domains.items()],
        ir_version=_IR_VERSION,
        producer_name="dof-arrow",
    )
    model.set_properties(made, properties or {})
    return made


def timed(steps: Sequence[Step]) -> bool:
    """Whether the steps read clips [N, T, D]."""
    return any(isinstance(step, Pooled) for step in steps)
