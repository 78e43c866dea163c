"""Tensors inside a model, looked at by running it on seeded rows."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dof_arrow.cores.graph import batch_axis
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph.flow import Flow
from dof_arrow.cores.graph.model import Array
from dof_arrow.errors import CoreError

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

SEE_LIST = "See the choices with dof headless MODEL --list, and choose one with --at TENSOR."

_ROWS = 2  # where a model leaves the batch size free


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedTensor:
    """What a tensor of the model is when the model runs on `rows` seeded rows."""

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
        if self.has_batch:
            return self.shape[1:]
        if self.rows > 1:
            raise CoreError(
                "rows do not lie on the first axis",
                self.name,
                f"{self.rows} rows",
                str(list(self.shape)),
                SEE_LIST,
            )
        return self.shape

    @property
    def is_map(self) -> bool:
        """Whether a row has more than one axis: a map of channels, or tokens."""
        return sum(dim > 1 for dim in self.row) > 1


def tensor(flow: Flow, name: str) -> ProbedTensor:
    """The tensor of this name; CoreError where none between input and output has it."""
    if name not in flow.data:
        near = difflib.get_close_matches(name, sorted(flow.data), 1)
        suggestion = f"Did you mean {near[0]}? " if near else ""
        raise CoreError("no such tensor between input and output", name, hint=suggestion + SEE_LIST)
    return _probed(flow, [name])[0]


def tensors(flow: Flow, names: Sequence[str]) -> list[ProbedTensor]:
    """The tensors of these names; errors as `tensor`."""
    return [tensor(flow, name) for name in names]


def shapes(flow: Flow, names: Sequence[str]) -> list[tuple[int, ...]]:
    """The shapes of one row of these tensors; of what has no batch axis, its own shape."""
    found = []
    for place in _probed(flow, names):
        found.append(place.shape[1:] if place.has_batch else place.shape)
    return found


def with_map_above(flow: Flow, name: str) -> tuple[ProbedTensor, ProbedTensor | None]:
    """A tensor, and the nearest bottleneck at or above it that holds a map.

    The picture itself is no such map.
    """
    names = [name]
    for stage in flow.stages(name):
        if stage.source not in flow.inputs:
            names.append(stage.source)
    probed = _probed(flow, names)
    for found in probed:
        if found.has_batch and found.is_map:
            return probed[0], found
    return probed[0], None


def _probed(flow: Flow, names: Sequence[str]) -> list[ProbedTensor]:
    part = graph.extract(flow.model, names)
    runner = graph.session(graph.to_bytes(part))
    rows = batch_axis.size(part) or _ROWS
    try:
        values = _run(part, runner, rows)
    except CoreError:
        if batch_axis.size(part):
            raise
        rows = 1  # some models leave the size free, and run on single rows only
        values = _run(part, runner, rows)
    found = []
    for name, value in zip(names, map(np.asarray, values), strict=True):
        found.append(ProbedTensor(name=name, shape=value.shape, dtype=value.dtype, rows=rows))
    return found


def _run(part: ModelProto, runner: InferenceSession, rows: int) -> list[Array]:
    feeds = {value.name: batch_axis.sample(value, rows) for value in graph.inputs(part)}
    return graph.run(runner, feeds)
