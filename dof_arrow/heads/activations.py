"""Activations and normalisations of other frameworks, with their options, as steps of a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.heads.graph_writer import GraphWriter

Array = NDArray[Any]

_LAST = -1  # the axis of the features


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of ONNX over its input and constants, with attributes."""

    kind: str
    constants: tuple[Any, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def write(self, writer: GraphWriter, source: str) -> str:
        constants = [writer.const(value) for value in self.constants]
        return writer.op(self.kind, source, *constants, **self.attributes)


@dataclass(frozen=True, slots=True)
class GeluTanh:
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))), as `jax.nn.gelu` has it."""

    def write(self, writer: GraphWriter, source: str) -> str:
        square = writer.op("Mul", source, source)
        bent = writer.op("Mul", square, writer.const(0.044715))
        factor = writer.op("Add", bent, writer.const(1.0))
        inner = writer.op("Mul", writer.op("Mul", source, factor), writer.const(np.sqrt(2 / np.pi)))
        both = writer.op("Add", writer.op("Tanh", inner), writer.const(1.0))
        return writer.op("Mul", writer.op("Mul", source, writer.const(0.5)), both)


@dataclass(frozen=True, slots=True)
class Softplus:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x is over the threshold (torch)."""

    beta: float
    threshold: float

    def write(self, writer: GraphWriter, source: str) -> str:
        scaled = writer.op("Mul", source, writer.const(self.beta))
        soft = writer.op("Div", writer.op("Softplus", scaled), writer.const(self.beta))
        over = writer.op("Greater", scaled, writer.const(self.threshold))
        return writer.op("Where", over, source, soft)


@dataclass(frozen=True, slots=True)
class LogSigmoid:
    """log(sigmoid(x)), as -softplus(-x)."""

    def write(self, writer: GraphWriter, source: str) -> str:
        return writer.op("Neg", writer.op("Softplus", writer.op("Neg", source)))


@dataclass(frozen=True, slots=True)
class TanhShrink:
    """x - tanh(x)."""

    def write(self, writer: GraphWriter, source: str) -> str:
        return writer.op("Sub", source, writer.op("Tanh", source))


@dataclass(frozen=True, slots=True)
class Above:
    """x where it is over the threshold, else the value."""

    threshold: float
    value: float

    def write(self, writer: GraphWriter, source: str) -> str:
        over = writer.op("Greater", source, writer.const(self.threshold))
        return writer.op("Where", over, source, writer.const(self.value))


@dataclass(frozen=True, slots=True)
class KerasRelu:
    """Keras' ReLU: x over the threshold, cut off at the top; a slope below the threshold."""

    slope: float
    top: float | None
    threshold: float

    def write(self, writer: GraphWriter, source: str) -> str:
        found = Above(self.threshold, 0.0).write(writer, source)
        if self.top is not None:
            found = Operator("Clip", (0.0, self.top)).write(writer, found)
        if not self.slope:
            return found
        threshold = writer.const(self.threshold)
        below = writer.op("Relu", writer.op("Sub", threshold, source))
        return writer.op("Sub", found, writer.op("Mul", below, writer.const(self.slope)))


@dataclass(frozen=True, slots=True)
class UnitNorm:
    """Each row divided by its Euclidean length, or by the smallest one if it is shorter (Keras)."""

    smallest: float

    def write(self, writer: GraphWriter, source: str) -> str:
        squares = writer.op("Mul", source, source)
        total = writer.op("ReduceSum", squares, writer.whole(_LAST))
        factor = writer.op("Reciprocal", writer.op("Sqrt", total))
        factor = writer.op("Min", factor, writer.const(1 / self.smallest))
        return writer.op("Mul", source, factor)


@dataclass(frozen=True, slots=True)
class RootMeanSquare:
    """Each row divided by the root of its mean square and epsilon, then scaled, float32 [D]."""

    scale: Array
    epsilon: float

    def write(self, writer: GraphWriter, source: str) -> str:
        squares = writer.op("Mul", source, source)
        mean = writer.op("ReduceMean", squares, writer.whole(_LAST))
        root = writer.op("Sqrt", writer.op("Add", mean, writer.const(self.epsilon)))
        return writer.op("Mul", writer.op("Div", source, root), writer.const(self.scale))


@dataclass(frozen=True, slots=True)
class RowScaled:
    """Each row divided by its norm `l1`, `l2` or `max`; rows of almost none stay (scikit-learn)."""

    norm: str

    def write(self, writer: GraphWriter, source: str) -> str:
        # scikit-learn computes the norm of float32 rows in float32, where tiny rows have none.
        given = writer.as_float(source)
        length = self._length(writer, given)
        least = writer.const(10 * np.finfo(np.float32).eps, np.float32)
        one = writer.const(1, np.float32)
        divisor = writer.op("Where", writer.op("Less", length, least), one, length)
        return writer.as_computed(writer.op("Div", given, divisor))

    def _length(self, writer: GraphWriter, given: str) -> str:
        axis = writer.whole(_LAST)
        if self.norm == "l2":
            squares = writer.op("Mul", given, given)
            return writer.op("Sqrt", writer.op("ReduceSum", squares, axis))
        sizes = writer.op("Abs", given)
        if self.norm == "l1":
            return writer.op("ReduceSum", sizes, axis)
        return writer.op("ReduceMax", sizes, axis)


@dataclass(frozen=True, slots=True)
class Rounded:
    """The nearest float32 of each number, where the head computes in float64."""

    def write(self, writer: GraphWriter, source: str) -> str:
        return writer.as_computed(writer.as_float(source))


@dataclass(frozen=True, slots=True)
class Shares:
    """Each row divided by its sum; a row of zeros becomes equal shares (one against the rest)."""

    def write(self, writer: GraphWriter, source: str) -> str:
        total = writer.op("ReduceSum", source, writer.whole(_LAST))
        none = writer.op("Equal", total, writer.const(0.0))
        one = writer.const(1.0)
        filled = writer.op("Where", none, one, source)
        return writer.op("Div", filled, writer.op("ReduceSum", filled, writer.whole(_LAST)))


@dataclass(frozen=True, slots=True)
class Columns:
    """Some columns of each row, in this order."""

    places: tuple[int, ...]

    def write(self, writer: GraphWriter, source: str) -> str:
        writer.width = len(self.places)
        return writer.op("Gather", source, writer.whole(*self.places), axis=_LAST)


@dataclass(frozen=True, slots=True)
class Rows:
    """Any tensor of whole rows as [N, columns]."""

    columns: int

    def write(self, writer: GraphWriter, source: str) -> str:
        return writer.op("Reshape", source, writer.whole(-1, self.columns))


@dataclass(frozen=True, slots=True)
class Gaussians:
    """How likely each class's normal distribution makes a row: its log, up to a constant.

    -|x - mean|^2 / 2 + offset, where `mean` is [K, D] and `offset` [K]. The square is divided by a
    `spread` [K, D] (variances of independent features), or taken after a product with one
    [K, D, R].
    """

    mean: Array
    spread: Array
    offset: Array

    def write(self, writer: GraphWriter, source: str) -> str:
        rows = writer.op("Unsqueeze", source, writer.whole(0))
        centred = writer.op("Sub", rows, writer.const(self.mean[:, None]))
        if self.spread.ndim == 3:
            centred = writer.op("MatMul", centred, writer.const(self.spread))
        squares = writer.op("Mul", centred, centred)
        if self.spread.ndim == 2:
            squares = writer.op("Div", squares, writer.const(self.spread[:, None]))
        total = writer.op("ReduceSum", squares, writer.whole(_LAST), keepdims=0)
        by_row = writer.op("Transpose", total, perm=[1, 0])
        half = writer.op("Mul", by_row, writer.const(-0.5))
        return writer.op("Add", half, writer.const(self.offset))
