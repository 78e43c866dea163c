"""Layers with their weights, whatever framework trained them, written straight as ONNX: the common form of every head.

A head is a sequence of steps. Input `feature` float32 [N, D], or [N, T, D] where a `Pool` says that it reads clips;
output as the target's kind wants it (`OUTPUTS`). Equal steps give equal bytes. torch's exporter takes 0.7 s; this 4 ms.

A head of clips has more inputs, each with a default: `lengths` int32 [N], the steps of each clip in a padded batch;
and, unless it looks back from a clip's end, `state_0`, … float32, what it remembers of the steps before these. It gives
them back as `next_state_0`, …: so a long clip is read in parts, and the answer to the last part is that to the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model

if TYPE_CHECKING:
    from onnx import ModelProto

Array = NDArray[Any]

OUTPUTS: Mapping[str, str] = {
    "category": "probabilities",
    "multilabel": "probabilities",
    "regression": "value",
}
ENDS: Mapping[str, str] = {"category": "softmax", "multilabel": "sigmoid", "regression": "identity"}

_IR_VERSION = 8  # the one of opset 18
_OPS = {
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
_ATTRIBUTES: Mapping[str, dict[str, Any]] = {"leaky_relu": {"alpha": 0.01}, "softmax": {"axis": -1}}
STATE, NEXT = "state_", "next_state_"


class Pen:
    """A graph being written: `op` adds a node and `const` a weight, both return the tensor's name.

    `timed`: tensors are [N, T, width] yet, not [N, width]. `batch`, `time` (int64 [1]) and `lengths` (int64 [N]) name
    how many clips there are, and their steps.
    """

    def __init__(self, width: int, *, timed: bool = False, states: bool = False) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.width, self.timed, self._states, self._kept = width, timed, states, 0
        if timed:
            self._measure()

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """The first output's name; the others bear it with `.1`, `.2` behind."""
        from onnx import helper

        name = f"{kind.lower()}_{len(self.nodes)}"
        names = [name, *(f"{name}.{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return name

    def const(self, value: Any, kind: Any = np.float32) -> str:
        from onnx import numpy_helper

        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, kind, order="C"), name))
        return name

    def state(self, width: int, first: float = 0.0) -> str:
        """What is remembered of the steps before these, float32 [N, width]; at a clip's beginning `first`."""
        if not self._states:
            return self.op(
                "Expand",
                self.const([[first]]),
                self.op("Concat", self.batch, self.whole(width), axis=0),
            )
        name = self._given(
            f"{STATE}{self._kept}", np.full((1, width), first, np.float32), ["N", width]
        )
        return self.op("Expand", name, self.op("Concat", self.batch, self.whole(width), axis=0))

    def keep(self, state: str, width: int) -> None:
        """Give back what is to be remembered, in the order in which states were asked for."""
        from onnx import TensorProto, helper

        if self._states:
            name = f"{NEXT}{self._kept}"
            self.nodes.append(helper.make_node("Identity", [state], [name], name=name))
            self.outputs.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
            )
            self._kept += 1

    def whole(self, *numbers: int) -> str:
        return self.const(list(numbers), np.int64)

    def within(self) -> str:
        """Which steps of a padded batch belong to a clip, bool [N, T, 1]."""
        steps = self.op(
            "Range", self.const(0, np.int64), self.op("Squeeze", self.time), self.const(1, np.int64)
        )
        inside = self.op(
            "Less",
            self.op("Unsqueeze", steps, self.whole(0)),
            self.op("Unsqueeze", self.lengths, self.whole(1)),
        )
        return self.op("Unsqueeze", inside, self.whole(2))

    def _measure(self) -> None:
        self.batch, self.time = (self.op("Shape", "feature", start=i, end=i + 1) for i in range(2))
        asked = self._given("lengths", np.array([np.iinfo(np.int32).max], np.int32), ["N"])
        each = self.op("Expand", self.op("Cast", asked, to=7), self.batch)
        self.lengths = self.op("Min", each, self.time)

    def _given(self, name: str, default: Array, shape: list[str | int]) -> str:
        """An input that need not be given."""
        from onnx import helper, numpy_helper

        self.weights.append(numpy_helper.from_array(default, name))
        self.inputs.append(helper.make_tensor_value_info(name, self.weights[-1].data_type, shape))
        return name


class Step(Protocol):
    """One layer with its weights: `write` takes the name of its input and gives the name of its output."""

    def write(self, pen: Pen, x: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Shift:
    """x - mean, float32 [D]: a step of its own, since folded into a bias, features far from zero lose their digits."""

    mean: Array

    def write(self, pen: Pen, x: str) -> str:
        return pen.op("Sub", x, pen.const(self.mean))


@dataclass(frozen=True, slots=True)
class Rescale:
    """x * factor + offset, float32 [D] each: standardised features, batch normalisation in use, the target's unit."""

    factor: Array
    offset: Array

    def write(self, pen: Pen, x: str) -> str:
        scaled = pen.op("Mul", x, pen.const(self.factor))
        return pen.op("Add", scaled, pen.const(self.offset)) if np.any(self.offset) else scaled


@dataclass(frozen=True, slots=True)
class Affine:
    """x @ weights + bias, float32 [D, K] and [K]."""

    weights: Array
    bias: Array

    def write(self, pen: Pen, x: str) -> str:
        weights, bias = pen.const(self.weights), pen.const(self.bias)
        pen.width = self.weights.shape[1]
        return (
            pen.op("Add", pen.op("MatMul", x, weights), bias)
            if pen.timed
            else pen.op("Gemm", x, weights, bias)
        )


@dataclass(frozen=True, slots=True)
class Function:
    """A function by its name in `architecture.FUNCTIONS`, or softmax, identity, exp."""

    name: str

    def write(self, pen: Pen, x: str) -> str:
        if self.name == "silu":
            return pen.op("Mul", x, pen.op("Sigmoid", x))
        if self.name == "gelu":
            half = pen.op(
                "Add", pen.op("Erf", pen.op("Mul", x, pen.const(np.sqrt(0.5)))), pen.const(1.0)
            )
            return pen.op("Mul", pen.op("Mul", x, pen.const(0.5)), half)
        return pen.op(_OPS[self.name], x, **_ATTRIBUTES.get(self.name, {}))


@dataclass(frozen=True, slots=True)
class Normalise:
    """Each row to mean 0 and variance 1, then scaled and shifted, float32 [D] each."""

    scale: Array
    shift: Array
    epsilon: float = 1e-5

    def write(self, pen: Pen, x: str) -> str:
        return pen.op(
            "LayerNormalization",
            x,
            pen.const(self.scale),
            pen.const(self.shift),
            epsilon=self.epsilon,
        )


@dataclass(frozen=True, slots=True)
class Recur:
    """An LSTM (gates i, o, f, c) or GRU (z, r, h) in ONNX's order, stacked by direction.

    `weights` [ways, gates * units, D], `recurrent` [ways, gates * units, units], `bias` [ways, 2 * gates * units].
    `reset_after`: the GRU's reset gate acts on the recurrent product (torch, cuDNN, Keras' default), not before it.
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

    def write(self, pen: Pen, x: str) -> str:
        weights = [pen.const(w) for w in (self.weights, self.recurrent, self.bias)]
        ways, units = len(self.weights), self.recurrent.shape[-1]
        extra = {"linear_before_reset": int(self.reset_after)} if self.cell == "gru" else {}
        steps, lengths = pen.op("Transpose", x, perm=[1, 0, 2]), pen.op("Cast", pen.lengths, to=6)
        parts = 2 if self.cell == "lstm" else 1
        before = [] if self.looks_back else self._apart(pen, pen.state(parts * units), units)
        found = pen.op(
            self.cell.upper(),
            steps,
            *weights,
            lengths,
            *before,
            outputs=1 + parts,
            hidden_size=units,
            direction="bidirectional" if ways == 2 else "forward",
            **extra,
        )
        if not self.looks_back:
            self._keep(pen, found, units)
        pen.width = ways * units
        by_row = pen.op("Transpose", found, perm=[2, 0, 1, 3])
        return pen.op("Reshape", by_row, pen.const([0, 0, -1], np.int64))

    def _apart(self, pen: Pen, state: str, units: int) -> list[str]:
        """A state [N, units] as the cell wants it, [1, N, units]; an LSTM's is two side by side."""
        parts = [state]
        if self.cell == "lstm":
            parts = [
                pen.op(
                    "Slice", state, pen.whole(i * units), pen.whole((i + 1) * units), pen.whole(1)
                )
                for i in range(2)
            ]
        return [pen.op("Unsqueeze", part, pen.whole(0)) for part in parts]

    def _keep(self, pen: Pen, found: str, units: int) -> None:
        parts = [
            pen.op("Squeeze", f"{found}.{i}", pen.whole(0))
            for i in range(1, 3 if self.cell == "lstm" else 2)
        ]
        pen.keep(
            pen.op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0], units * len(parts)
        )


@dataclass(frozen=True, slots=True)
class Pooled:
    """The steps of a clip, [N, T, D], become one vector, [N, D]: their mean, max, or the last.

    A mean in parts remembers the sum and the count of the steps so far.
    """

    by: str

    def write(self, pen: Pen, x: str) -> str:
        pen.timed = False
        return {"last": self._last, "mean": self._mean, "max": self._max}[self.by](pen, x)

    def _last(self, pen: Pen, x: str) -> str:
        last = pen.op("Sub", pen.lengths, pen.whole(1))
        return pen.op("GatherND", x, pen.op("Unsqueeze", last, pen.whole(1)), batch_dims=1)

    def _mean(self, pen: Pen, x: str) -> str:
        inside = pen.op("Where", pen.within(), x, pen.const(0.0))
        count = pen.op("Cast", pen.op("Unsqueeze", pen.lengths, pen.whole(1)), to=1)
        now = pen.op("Concat", pen.op("ReduceSum", inside, pen.whole(1), keepdims=0), count, axis=1)
        both = pen.op("Add", pen.state(pen.width + 1), now)
        pen.keep(both, pen.width + 1)
        total, steps = (
            pen.op("Slice", both, pen.whole(start), pen.whole(stop), pen.whole(1))
            for start, stop in ((0, pen.width), (pen.width, pen.width + 1))
        )
        return pen.op("Div", total, steps)

    def _max(self, pen: Pen, x: str) -> str:
        inside = pen.op("Where", pen.within(), x, pen.const(-np.inf))
        now = pen.op("ReduceMax", inside, pen.whole(1), keepdims=0)
        both = pen.op("Max", pen.state(pen.width, -np.inf), now)
        pen.keep(both, pen.width)
        return both


@dataclass(frozen=True, slots=True)
class Both:
    """The chance p of the second of two classes, [N, 1], becomes [1 - p, p]."""

    def write(self, pen: Pen, x: str) -> str:
        return pen.op("Concat", pen.op("Sub", pen.const(1.0), x), x, axis=-1)


def to_model(
    steps: Sequence[Step],
    kind: str,
    width: int,
    columns: int | str,
    properties: Mapping[str, str] | None = None,
) -> ModelProto:
    """The ONNX model of steps that lead from `width` features to `columns` outputs for a target of this kind."""
    from onnx import TensorProto, helper

    clips, output, x = timed(steps), OUTPUTS[kind], "feature"
    pen = Pen(
        width, timed=clips, states=not any(getattr(step, "looks_back", False) for step in steps)
    )
    shape = ["N", "T", width] if clips else ["N", width]
    for step in steps:
        x = step.write(pen, x)
    pen.nodes.append(helper.make_node("Identity", [x], [output], name=output))
    made = helper.make_model(
        helper.make_graph(
            pen.nodes,
            "head",
            [helper.make_tensor_value_info("feature", TensorProto.FLOAT, shape), *pen.inputs],
            [
                helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", columns]),
                *pen.outputs,
            ],
            pen.weights,
        ),
        opset_imports=[helper.make_opsetid("", model.OPSET)],
        ir_version=_IR_VERSION,
        producer_name="dof-arrow",
    )
    model.set_properties(made, properties or {})
    return made


def timed(steps: Sequence[Step]) -> bool:
    """Whether the steps read clips [N, T, D]."""
    return any(isinstance(step, Pooled) for step in steps)
