"""Layers with their weights, whatever framework trained them, written straight as ONNX: the common form of every head.

A head is a sequence of steps. Input `feature` float32 [N, D], or [N, T, D] where a `Pool` says that it reads clips;
output as the target's kind wants it (`OUTPUTS`). Equal steps give equal bytes. torch's exporter takes 0.7 s; this 4 ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow import graph

if TYPE_CHECKING:
    from onnx import ModelProto

Array = NDArray[Any]

OUTPUTS: Mapping[str, str] = {"category": "probabilities", "multilabel": "probabilities", "regression": "value"}
ENDS: Mapping[str, str] = {"category": "softmax", "multilabel": "sigmoid", "regression": "identity"}

_IR_VERSION = 8  # the one of opset 18
_OPS = {"relu": "Relu", "elu": "Elu", "selu": "Selu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softplus": "Softplus",
        "leaky_relu": "LeakyRelu", "softmax": "Softmax", "identity": "Identity", "exp": "Exp"}
_ATTRIBUTES: Mapping[str, dict[str, Any]] = {"leaky_relu": {"alpha": 0.01}, "softmax": {"axis": -1}}
_REDUCTIONS = {"mean": "ReduceMean", "max": "ReduceMax"}


class Pen:
    """A graph being written: `op` adds a node and `const` a weight, both return the tensor's name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.timed = False

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def const(self, value: Any, kind: Any = np.float32) -> str:
        from onnx import numpy_helper

        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, kind, order="C"), name))
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
        return pen.op("Add", pen.op("MatMul", x, weights), bias) if pen.timed else pen.op("Gemm", x, weights, bias)


@dataclass(frozen=True, slots=True)
class Function:
    """A function by its name in `architecture.FUNCTIONS`, or softmax, identity, exp."""

    name: str

    def write(self, pen: Pen, x: str) -> str:
        if self.name == "silu":
            return pen.op("Mul", x, pen.op("Sigmoid", x))
        if self.name == "gelu":
            half = pen.op("Add", pen.op("Erf", pen.op("Mul", x, pen.const(np.sqrt(0.5)))), pen.const(1.0))
            return pen.op("Mul", pen.op("Mul", x, pen.const(0.5)), half)
        return pen.op(_OPS[self.name], x, **_ATTRIBUTES.get(self.name, {}))


@dataclass(frozen=True, slots=True)
class Normalise:
    """Each row to mean 0 and variance 1, then scaled and shifted, float32 [D] each."""

    scale: Array
    shift: Array
    epsilon: float = 1e-5

    def write(self, pen: Pen, x: str) -> str:
        return pen.op("LayerNormalization", x, pen.const(self.scale), pen.const(self.shift), epsilon=self.epsilon)


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

    def write(self, pen: Pen, x: str) -> str:
        weights = [pen.const(w) for w in (self.weights, self.recurrent, self.bias)]
        way = "bidirectional" if len(self.weights) == 2 else "forward"
        extra = {"linear_before_reset": int(self.reset_after)} if self.cell == "gru" else {}
        steps = pen.op("Transpose", x, perm=[1, 0, 2])
        found = pen.op(self.cell.upper(), steps, *weights, hidden_size=self.recurrent.shape[-1], direction=way, **extra)
        by_row = pen.op("Transpose", found, perm=[2, 0, 1, 3])
        return pen.op("Reshape", by_row, pen.const([0, 0, -1], np.int64))


@dataclass(frozen=True, slots=True)
class Pooled:
    """The steps of a clip, [N, T, D], become one vector, [N, D]: their mean, max, or the last."""

    by: str

    def write(self, pen: Pen, x: str) -> str:
        pen.timed = False
        if self.by == "last":
            return pen.op("Gather", x, pen.const(-1, np.int64), axis=1)
        return pen.op(_REDUCTIONS[self.by], x, pen.const([1], np.int64), keepdims=0)


@dataclass(frozen=True, slots=True)
class Both:
    """The chance p of the second of two classes, [N, 1], becomes [1 - p, p]."""

    def write(self, pen: Pen, x: str) -> str:
        return pen.op("Concat", pen.op("Sub", pen.const(1.0), x), x, axis=-1)


def to_model(
    steps: Sequence[Step], kind: str, width: int, columns: int | str, properties: Mapping[str, str] | None = None
) -> ModelProto:
    """The ONNX model of steps that lead from `width` features to `columns` outputs for a target of this kind."""
    from onnx import TensorProto, helper

    pen, x, output = Pen(), "feature", OUTPUTS[kind]
    pen.timed = timed(steps)
    shape = ["N", "T", width] if pen.timed else ["N", width]
    for step in steps:
        x = step.write(pen, x)
    pen.nodes.append(helper.make_node("Identity", [x], [output], name=output))
    made = helper.make_model(
        helper.make_graph(
            pen.nodes, "head", [helper.make_tensor_value_info("feature", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", columns])], pen.weights,
        ),
        opset_imports=[helper.make_opsetid("", graph.OPSET)], ir_version=_IR_VERSION, producer_name="dof-arrow",
    )
    graph.set_properties(made, properties or {})
    return made


def timed(steps: Sequence[Step]) -> bool:
    """Whether the steps read clips [N, T, D]."""
    return any(isinstance(step, Pooled) for step in steps)
