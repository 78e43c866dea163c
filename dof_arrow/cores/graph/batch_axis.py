"""Which batches a model takes; a fixed batch size is removed where a run shows this to be sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dof_arrow.cores.graph.edit import add_constant, add_node
from dof_arrow.cores.graph.flow import Flow
from dof_arrow.cores.graph.load import to_bytes
from dof_arrow.cores.graph.names import Array, dims, dtype, inputs, weights
from dof_arrow.cores.graph.session import run, session
from dof_arrow.cores.graph.training import draws
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto
    from onnxruntime import InferenceSession

_Taken = Literal["any", "one by one", "none"]
_ROWS = 3
_CHANNELS = 3  # of an input tried where a model leaves their number free
_SIDE = 224  # of a picture tried where a model leaves the size free
_FRAMES = 16  # of a window tried where a model of clips leaves their number free
_WINDOW_SIDE = 112
_TOLERANCE = 1e-5  # of the largest feature
_TOLERANCE_OF_HALF = 2e-3
# Operators that take a scale from all values of a batch: each row depends on the others.
_DYNAMIC_RANGE = frozenset(
    {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A model and the batches it takes: any (`fixed` None) or of one size only.

    `dependent`: a row's features change with the rows beside it, so rows are to be run one by one.
    """

    model: ModelProto
    fixed: int | None
    dependent: bool


def only_input(model: ModelProto) -> ValueInfoProto:
    """The one input that a core may have; CoreError if there are more, or it has no batch axis."""
    values = inputs(model)
    if len(values) != 1 or len(dims(values[0])) < 2:
        found = ", ".join(f"{value.name} {list(dims(value))}" for value in values)
        raise CoreError(
            "a core takes one tensor",
            model.graph.name,
            "one input with a batch axis",
            found or "none",
            "Cut with --at TENSOR where one input is enough, or export the picture's branch alone.",
        )
    return values[0]


def size(model: ModelProto) -> int | None:
    """The batch size written into a model's input; None if it is free."""
    first = dims(only_input(model))[0]
    return first if isinstance(first, int) and first > 0 else None


def is_free(model: ModelProto) -> bool:
    """Whether the model leaves the size of one row free, for example of a picture."""
    return any(not isinstance(dim, int) or dim < 1 for dim in dims(only_input(model))[1:])


def sample(value: ValueInfoProto, rows: int) -> Array:
    """Seeded random rows for an input, each of another range.

    A free side of a picture is 224, free channels are 3.
    """
    shape = [rows, *_row_shape(dims(value)[1:])]
    kind = dtype(value)
    rng = np.random.default_rng(0)
    if kind.kind in "iub":
        above = 2 if kind.kind == "b" else 100
        return rng.integers(0, above, shape).astype(kind)
    ranges = 1 + np.arange(rows) % _ROWS
    by_row = ranges.reshape(-1, *[1] * (len(shape) - 1))
    return (rng.standard_normal(shape) * by_row).astype(kind)


def free(model: ModelProto) -> Batch:
    """The model with its batch axis made free if each row then gives what it gives alone.

    Otherwise the model stays as it was. It has one input and one output, with rows on the first
    axis of both. Three seeded rows are run alone in the given model, then in batches of one to
    three; the tolerance is 1e-5 of the largest feature, 2e-3 in half precision. Raises CoreError
    where the same row gives other features in a second run.
    """
    fixed = size(model)
    count = fixed or 1
    allowed = tolerance(model)
    rows = sample(only_input(model), _ROWS)
    runner = session(to_bytes(model))
    alone = np.concatenate([_run(runner, rows[i : i + 1], count) for i in range(_ROWS)])
    if not close(_run(runner, rows[:1], count), alone[:1], allowed):
        raise draws(model.graph.name, ["other features in a second run of the same picture"])
    ranged = any(node.op_type in _DYNAMIC_RANGE for node in model.graph.node)
    for candidate in _candidates(model, fixed):
        taken = _batches_taken(candidate, rows, alone, allowed)
        # Made free by us, a model may depend on the batch only where an operator explains it.
        one_by_one = taken == "one by one" and (ranged or candidate is model)
        if taken == "any" or one_by_one:
            dependent = ranged or one_by_one
            return Batch(model=_with_batch(candidate, "batch"), fixed=None, dependent=dependent)
    together = _run(runner, rows, count)
    changed = ranged or not close(together, alone, allowed)
    dependent = count > 1 and changed
    return Batch(model=_with_batch(model, count), fixed=count, dependent=dependent)


def close(found: Array, expected: Array, allowed: float) -> bool:
    """Whether two arrays differ by at most `allowed` of the largest expected value.

    >>> close(np.array([1.0, 100.0]), np.array([1.0005, 100.0]), 1e-5)
    True
    """
    if found.shape != expected.shape:
        return False
    finite = expected[np.isfinite(expected)]
    scale = float(np.abs(finite).max(initial=0))
    return np.allclose(found, expected, rtol=0, atol=allowed * scale, equal_nan=True)


def tolerance(model: ModelProto) -> float:
    """How far two runs of a model may lie apart, as a part of the largest value."""
    import onnx

    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    if any(tensor.data_type in half for tensor in weights(model.graph)):
        return _TOLERANCE_OF_HALF
    return _TOLERANCE


def _row_shape(shape: tuple[int | str, ...]) -> list[int]:
    """The shape of one row, with a usual size for each axis that is left free."""
    usual = [_SIDE] * len(shape)
    if len(shape) == 3 and isinstance(shape[0], str) and shape[-1] not in (1, 3):
        usual[0] = _CHANNELS
    if len(shape) == 4:  # a window of frames
        usual = [_CHANNELS, _FRAMES, _WINDOW_SIDE, _WINDOW_SIDE]
    found = []
    for dim, side in zip(shape, usual, strict=True):
        found.append(dim if isinstance(dim, int) and dim > 0 else side)
    return found


def _run(runner: InferenceSession, rows: Array, size: int) -> Array:
    """The features of some rows in batches of one size, the last filled up with its last row."""
    name = runner.get_inputs()[0].name
    parts = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        missing = size - len(part)
        full = np.concatenate([part, *[part[-1:]] * missing])
        features = run(runner, {name: full})[0]
        parts.append(features[: len(part)])
    return np.concatenate(parts)


def _candidates(model: ModelProto, fixed: int | None) -> Iterator[ModelProto]:
    """The models that may take any batch, the least changed first."""
    if fixed is None:
        yield model
    yield _unfixed(model, fixed or 1)


def _batches_taken(model: ModelProto, rows: Array, alone: Array, allowed: float) -> _Taken:
    """Whether a model with a free batch axis gives each row what it gives alone in the original."""
    found = []
    try:
        runner = session(to_bytes(model))
        for count in range(1, len(rows) + 1):
            found.append(_run(runner, rows[:count], count))
    except CoreError:
        return "none"
    same = [close(features, alone[: len(features)], allowed) for features in found]
    if all(same):
        return "any"
    return "one by one" if same[0] and len(found[-1]) == len(rows) else "none"


def _with_batch(model: ModelProto, batch: int | str) -> ModelProto:
    """The model with this size, or name, written on the first axis of its input and output."""
    for value in (only_input(model), *model.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        first.Clear()
        if isinstance(batch, int):
            first.dim_value = batch
        else:
            first.dim_param = batch
    return model


def _unfixed(model: ModelProto, fixed: int) -> ModelProto:
    """A copy without the batch size: none in shapes, Reshapes, or constants joined to each row."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    flow = Flow(copy)
    count = len(copy.graph.node)
    for node in copy.graph.node[:count]:
        if node.op_type == "Reshape" and node.input[0] in flow.data:
            _free_reshape(flow, node, fixed)
        elif node.op_type == "Concat" and flow.sources(node) and node.attribute[0].i != 0:
            _repeat_constants(flow, node, fixed)
    nodes = list(copy.graph.node)
    del copy.graph.node[:]
    # What was added needs the input only, and is needed by what follows.
    copy.graph.node.extend(nodes[count:] + nodes[:count])
    return _with_batch(copy, "batch")


def _free_reshape(flow: Flow, node: NodeProto, fixed: int) -> None:
    """Let a Reshape to a constant shape leave the first axis open."""
    shape = flow.constant(node.input[1])
    if shape is None or not shape.size or shape[0] != fixed:
        return
    first = 0 if -1 in shape[1:] else -1  # 0 takes the axis over, -1 is worked out
    opened = np.array([first, *shape[1:]], np.int64)
    node.input[1] = add_constant(flow.model, opened, "dof_shape")


def _repeat_constants(flow: Flow, node: NodeProto, fixed: int) -> None:
    """Repeat as often as there are rows what is stored for each row, for example a class token."""
    for index, name in enumerate(node.input):
        value = flow.constant(name)
        if value is None or value.ndim < 2 or len(value) != fixed:
            continue
        if (value == value[:1]).all():
            node.input[index] = _repeated(flow.model, value[:1])


def _repeated(model: ModelProto, row: Array) -> str:
    rows = add_node(model, "Shape", only_input(model).name, start=0, end=1)
    others = add_constant(model, np.ones(row.ndim - 1, np.int64), "dof_ones")
    target = add_node(model, "Concat", rows, others, axis=0)
    return add_node(model, "Expand", add_constant(model, row, "dof_row"), target)
