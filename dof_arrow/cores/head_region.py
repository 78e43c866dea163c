"""The last layers before an output: what they read, what joins them, what follows.

Every path from the pictures to an output is followed backwards, up to the first layer with weights
that it meets. These layers are the last ones; a classifier's head is among them. One graph has one
of them, another averages several, a residual block has a path around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dof_arrow.cores import operators
from dof_arrow.cores.graph.flow import Flow, Stage

if TYPE_CHECKING:
    from onnx import NodeProto


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRegion:
    """The last layers before `output`.

    - `source`: the last tensor before them that every path passes through;
    - `joined`: the first tensor behind them that every path passes through;
    - `layers`: those nearest the output on any path, in the graph's order;
    - `reads`: what they read, each once; moves that change nothing are skipped;
    - `has_bypass`: whether a path leads around them, as in a residual block;
    - `is_deep`: whether one of them reads what another layer behind `source` made;
    - `over`: the nodes between them and `joined`; `after`: those between `joined` and the output.
    """

    output: str
    source: str
    joined: str
    layers: tuple[NodeProto, ...]
    reads: tuple[str, ...]
    has_bypass: bool
    is_deep: bool
    over: tuple[NodeProto, ...]
    after: tuple[NodeProto, ...]

    @property
    def behind(self) -> tuple[NodeProto, ...]:
        """All nodes between the layers and the output."""
        return self.over + self.after

    @property
    def operators_behind(self) -> set[str]:
        """The operators between the layers and the output."""
        return {node.op_type for node in self.behind}


def last_layers(flow: Flow, output: str) -> HeadRegion | None:
    """The last layers before a tensor; None where there are none, only the picture."""
    after: list[NodeProto] = []
    for stage in flow.stages(output):
        walk = _Walk(flow, stage.tensor, stage.source, lambda node: operators.is_layer(flow, node))
        if walk.stops:
            return _region(flow, output, stage, walk, tuple(after))
        after.extend(stage.nodes)
    return None


def decision(flow: Flow, output: str, operations: frozenset[str]) -> str | None:
    """The operator of these kinds that every path from layers to a tensor passes behind the last.

    None where a path avoids them: the gate of an activation is no decision.
    """

    def stops(node: NodeProto) -> bool:
        return node.op_type in operations or operators.is_layer(flow, node)

    walk = _Walk(flow, output, "", stops)
    found = [node.op_type for node in walk.stops]
    if not found or walk.reaches_input or any(kind not in operations for kind in found):
        return None
    return str(found[-1])


def skip(flow: Flow, tensor: str, kinds: frozenset[str]) -> str:
    """The tensor before a run of nodes of these kinds."""
    node = flow.producer.get(tensor)
    while node is not None and node.op_type in kinds and node.input[0] in flow.data:
        tensor = node.input[0]
        node = flow.producer.get(tensor)
    return tensor


class _Walk:
    """A walk against the data's way, which ends at nodes that `stops` names, and at `source`.

    `passed`: the nodes that it passed, `stops`: those where it ended, in the graph's order.
    """

    def __init__(
        self, flow: Flow, start: str, source: str, stops: Callable[[NodeProto], bool]
    ) -> None:
        self.reaches_source = False
        self.reaches_input = False
        ends: dict[int, NodeProto] = {}
        passed: dict[int, NodeProto] = {}
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name == source or name in flow.inputs:
                self.reaches_source |= name == source
                self.reaches_input |= name in flow.inputs
                continue
            node = flow.producer[name]
            place = flow.position[name]
            if place in passed or place in ends:
                continue
            if stops(node):
                ends[place] = node
                continue
            passed[place] = node
            waiting.extend(flow.values(node))
        self.stops = tuple(ends[place] for place in sorted(ends))
        self.passed = tuple(passed[place] for place in sorted(passed))


def _region(
    flow: Flow, output: str, stage: Stage, walk: _Walk, after: tuple[NodeProto, ...]
) -> HeadRegion:
    values = {name for layer in walk.stops for name in flow.values(layer)}
    return HeadRegion(
        output=output,
        source=skip(flow, stage.source, operators.NEUTRAL),
        joined=stage.tensor,
        layers=walk.stops,
        reads=tuple(dict.fromkeys(_reads(flow, walk.stops))),
        has_bypass=walk.reaches_source,
        is_deep=any(_meets_layer(flow, name, stage.source) for name in values),
        over=walk.passed,
        after=after,
    )


def _reads(flow: Flow, layers: tuple[NodeProto, ...]) -> Iterator[str]:
    """What layers read, the order of their inputs kept, neutral moves skipped."""
    for layer in layers:
        values = flow.values(layer)
        for name in [*layer.input, *sorted(values)]:  # inner graphs read more than the inputs
            if name in values:
                yield _unquantised(flow, skip(flow, name, operators.NEUTRAL))


def _unquantised(flow: Flow, tensor: str) -> str:
    """What was quantised by its own range just before a layer."""
    node = flow.producer.get(tensor)
    if node is not None and node.op_type == "DynamicQuantizeLinear":
        return skip(flow, node.input[0], operators.NEUTRAL)
    return tensor


def _meets_layer(flow: Flow, tensor: str, source: str) -> bool:
    """Whether a layer lies between a tensor and the `source` of its region."""
    walk = _Walk(flow, tensor, source, lambda node: operators.is_layer(flow, node))
    return bool(walk.stops)
