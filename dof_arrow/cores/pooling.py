"""Features averaged: over a whole map, over the cells of a grid, over tokens."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dof_arrow.cores.graph import batch_axis
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph.model import Array
from dof_arrow.cores.probe import ProbedTensor
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import ModelProto

Grid = tuple[int, int]  # cells down, cells across
Row = tuple[int, ...]  # the shape of one row of features
WHOLE: Grid = (1, 1)

_POOL = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})")


class Pooled(NamedTuple):
    """A tensor of pooled features: its name, the shape of a row, and the pooling done if any."""

    name: str
    row: Row
    pool: str | None


def parse_grid(pool: str | None) -> Grid | None:
    """The cells asked for; None where the choice is left open, or the map is kept.

    Raises CoreError for what is neither KxK nor "none".

    >>> parse_grid("2x2")
    (2, 2)
    """
    if pool in (None, "none"):
        return None
    found = _POOL.fullmatch(pool or "")
    if found is None:
        raise CoreError(
            "unknown pooling",
            expected="1x1, 2x2, KxK or none",
            found=repr(pool),
            hint="Try --pool 2x2.",
        )
    return int(found[1]), int(found[2])


def pooled(part: ModelProto, place: ProbedTensor, grid: Grid | None, channels_last: bool) -> Pooled:
    """Add nodes that bring rows to the first axis, and average over the grid's cells.

    Raises CoreError where a grid is asked for and the rows are no maps of height and width.
    """
    name = part.graph.output[0].name
    row = place.row
    if not place.is_map:
        row = (math.prod(row),)
    if len(row) == 1 or not place.has_batch or not batch_axis.is_free(part):
        name = _reshape(part, name, row)  # brings back a batch axis that the model squeezes away
    if channels_last and len(row) == 3:
        name = graph.add_node(part, "Transpose", name, perm=[0, 3, 1, 2])
        row = (row[2], row[0], row[1])
    if grid is None or (len(row) == 1 and grid == WHOLE):
        return Pooled(name, row, None)
    if grid == WHOLE:
        return _mean(part, name, row)
    if len(row) != 3:
        raise CoreError(
            "only a map of height and width can be pooled so",
            place.name,
            "[N, C, H, W]",
            f"[N, {', '.join(map(str, row))}]",
            "Use --pool 1x1 or --pool none.",
        )
    return _adaptive(part, name, row, grid)


def _mean(part: ModelProto, name: str, row: Row) -> Pooled:
    """The average over height and width (and time) of [N, C, …], or over tokens of [N, T, C]."""
    if len(row) == 2:
        axes = [1]
        width = row[1]
    else:
        axes = list(range(2, len(row) + 1))
        width = row[0]
    axes_name = graph.add_constant(part, np.array(axes, np.int64), "dof_axes")
    mean = graph.add_node(part, "ReduceMean", name, axes_name, keepdims=0)
    return Pooled(mean, (width,), "1x1")


def _adaptive(part: ModelProto, name: str, row: Row, grid: Grid) -> Pooled:
    """Adaptive average pooling of [N, C, H, W]: rows, then columns, each by one matrix."""
    channels, height, width = row
    cells_down, cells_across = grid
    rows = _bins(height, cells_down)
    columns = np.ascontiguousarray(_bins(width, cells_across).T)
    down = graph.add_constant(part, rows, "dof_rows")
    across = graph.add_constant(part, columns, "dof_columns")
    averaged_down = graph.add_node(part, "MatMul", down, name)
    averaged = graph.add_node(part, "MatMul", averaged_down, across)
    return Pooled(averaged, (channels, *grid), f"{cells_down}x{cells_across}")


def _bins(length: int, count: int) -> Array:
    """The matrix [count, length] that averages cell i over floor(i L / K) to ceil((i + 1) L / K).

    >>> _bins(3, 2)
    array([[0.5, 0.5, 0. ],
           [0. , 0.5, 0.5]], dtype=float32)
    """
    matrix = np.zeros((count, length), np.float32)
    for i in range(count):
        start = i * length // count
        stop = -(-(i + 1) * length // count)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def _reshape(part: ModelProto, name: str, row: Row) -> str:
    shape = graph.add_constant(part, np.array([-1, *row], np.int64), "dof_shape")
    return graph.add_node(part, "Reshape", name, shape)
