"""Which batches a model takes: a batch size written into it is taken out where that is sound, by running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph.flow import Flow
from dof_arrow.cores.graph.model import Array
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto
    from onnxruntime import InferenceSession

_Taken = Literal["any", "one by one", "none"]
_ROWS = 3
_SIDE = 224  # of the picture tried where a model leaves the size free
_FRAMES, _WINDOW_SIDE = 16, 112  # of the window tried where a model of clips does
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
    """The one input a core may have; CoreError if there are more, or it has no batch axis."""
    values = graph.inputs(model)
    if len(values) != 1 or len(graph.dims(values[0])) < 2:
        found = ", ".join(f"{value.name} {list(graph.dims(value))}" for value in values) or "none"
        raise CoreError(
            "a core takes one tensor",
            model.graph.name,
            "one input with a batch axis",
            found,
            "Cut with --at TENSOR where one input is enough, or export the picture's branch alone.",
        )
    return values[0]


def size(model: ModelProto) -> int | None:
    """The batch size written into a model's input; None if it is free."""
    first = graph.dims(only_input(model))[0]
    return first if isinstance(first, int) and first > 0 else None


def is_free(model: ModelProto) -> bool:
    """Whether the size of one row, a picture's say, is left free."""
    return any(not isinstance(dim, int) or dim < 1 for dim in graph.dims(only_input(model))[1:])


def sample(value: ValueInfoProto, rows: int) -> Array:
    """Seeded random rows for an input, each of another range; a free side is 224, free channels are 3."""
    shape = [rows, *_row_shape(graph.dims(value)[1:])]
    kind = graph.dtype(value)
    rng = np.random.default_rng(0)
    if kind.kind in "iub":
        return rng.integers(0, 2 if kind.kind == "b" else 100, shape).astype(kind)
    ranges = 1 + np.arange(rows).reshape(-1, *[1] * (len(shape) - 1)) % _ROWS
    return (rng.standard_normal(shape) * ranges).astype(kind)


def free(model: ModelProto) -> Batch:
    """The model with its batch axis made free if every row then gives what it gives alone, else as it was.

    The model has one input and one output, rows on the first axis of both. Three seeded rows are run alone in the
    given model, then in batches of one to three; 1e-5 of the largest feature is the tolerance (2e-3 in half).
    """
    fixed, allowed = size(model), tolerance(model)
    rows = sample(only_input(model), _ROWS)
    runner = graph.session(graph.to_bytes(model))
    alone = np.concatenate([_run(runner, rows[i : i + 1], fixed or 1) for i in range(_ROWS)])
    ranged = any(node.op_type in _DYNAMIC_RANGE for node in model.graph.node)
    for candidate in ([model] if fixed is None else []) + [_unfixed(model, fixed or 1)]:
        taken = _batches_taken(candidate, rows, alone, allowed)
        if taken == "any" or (taken == "one by one" and (ranged or candidate is model)):
            return Batch(
                model=_with_batch(candidate, "batch"),
                fixed=None,
                dependent=ranged or taken == "one by one",
            )
    together = _run(runner, rows, fixed or 1)
    changed = (fixed or 1) > 1 and (ranged or not close(together, alone, allowed))
    return Batch(model=_with_batch(model, fixed or 1), fixed=fixed or 1, dependent=changed)


def close(found: Array, expected: Array, allowed: float) -> bool:
    """Whether two arrays differ by at most `allowed` of the largest expected value.

    >>> close(np.array([1.0, 100.0]), np.array([1.0005, 100.0]), 1e-5)
    True
    """
    scale = np.abs(expected, where=np.isfinite(expected), out=np.zeros(expected.shape)).max(
        initial=0
    )
    return found.shape == expected.shape and np.allclose(
        found, expected, rtol=0, atol=allowed * scale, equal_nan=True
    )


def _row_shape(shape: tuple[int | str, ...]) -> list[int]:
    known = [dim if isinstance(dim, int) and dim > 0 else _SIDE for dim in shape]
    if len(shape) == 3 and not isinstance(shape[0], int) and shape[-1] not in (1, 3):
        known[0] = 3
    if len(shape) == 4:  # a window of frames
        known = [
            dim if dim != _SIDE or named == _SIDE else side
            for dim, named, side in zip(
                known, shape, (3, _FRAMES, _WINDOW_SIDE, _WINDOW_SIDE), strict=True
            )
        ]
    return known


def tolerance(model: ModelProto) -> float:
    """How far two runs of a model may lie apart, as a part of the largest value: more for half precision."""
    import onnx

    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    return 2e-3 if any(tensor.data_type in half for tensor in model.graph.initializer) else 1e-5


def _run(runner: InferenceSession, rows: Array, size: int) -> Array:
    """The features of some rows in batches of one size, the last one filled up with its last row."""
    name, parts = runner.get_inputs()[0].name, []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        full = np.concatenate([part, *[part[-1:]] * (size - len(part))])
        parts.append(graph.run(runner, {name: full})[0][: len(part)])
    return np.concatenate(parts)


def _batches_taken(model: ModelProto, rows: Array, alone: Array, allowed: float) -> _Taken:
    """Whether a model with a free batch axis gives each row what it gives alone in the original."""
    try:
        runner = graph.session(graph.to_bytes(model))
        found = [_run(runner, rows[:n], n) for n in range(1, len(rows) + 1)]
    except CoreError:
        return "none"
    same = [close(features, alone[: len(features)], allowed) for features in found]
    if all(same):
        return "any"
    return "one by one" if same[0] and len(found[-1]) == len(rows) else "none"


def _with_batch(model: ModelProto, batch: int | str) -> ModelProto:
    """The model with this size, or name, written on the first axis of its input and output."""
    for value in [only_input(model), *model.graph.output]:
        first = value.type.tensor_type.shape.dim[0]
        first.Clear()
        if isinstance(batch, int):
            first.dim_value = batch
        else:
            first.dim_param = batch
    return model


def _unfixed(model: ModelProto, fixed: int) -> ModelProto:
    """A copy without the batch size: in the declared shapes, in Reshapes, and in constants joined to each row."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    flow, count = Flow(copy), len(copy.graph.node)
    for node in copy.graph.node[:count]:
        if node.op_type == "Reshape" and node.input[0] in flow.data:
            _free_reshape(flow, node, fixed)
        elif node.op_type == "Concat" and flow.sources(node) and node.attribute[0].i != 0:
            _repeat_constants(flow, node, fixed)
    nodes = list(copy.graph.node)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes[count:] + nodes[:count])  # what was added needs the input only
    return _with_batch(copy, "batch")


def _free_reshape(flow: Flow, node: NodeProto, fixed: int) -> None:
    shape = flow.constant(node.input[1])
    if shape is not None and shape.size and shape[0] == fixed:
        first = 0 if -1 in shape[1:] else -1  # 0 takes the axis over, -1 is worked out
        node.input[1] = graph.add_constant(
            flow.model, np.array([first, *shape[1:]], np.int64), "dof_shape"
        )


def _repeat_constants(flow: Flow, node: NodeProto, fixed: int) -> None:
    """A class token, say, stored once for each row of the fixed batch."""
    for index, name in enumerate(node.input):
        value = flow.constant(name)
        if (
            value is not None
            and value.ndim > 1
            and len(value) == fixed
            and (value == value[:1]).all()
        ):
            node.input[index] = _repeated(flow.model, value[:1])


def _repeated(model: ModelProto, row: Array) -> str:
    rows = graph.add_node(model, "Shape", only_input(model).name, start=0, end=1)
    others = graph.add_constant(model, np.ones(row.ndim - 1, np.int64), "dof_ones")
    target = graph.add_node(model, "Concat", rows, others, axis=0)
    return graph.add_node(model, "Expand", graph.add_constant(model, row, "dof_row"), target)
