"""Write an ONNX graph node by node, with the inputs and outputs of what a head of clips remembers.

A head of clips has inputs that need not be given. `lengths` int32 [N] are the frames of each clip
in a padded batch. Unless a layer reads from the end of a clip, `state_0`, … float32 are what the
head remembers of earlier frames; it gives them back as `next_state_0`, …. So a long clip can be
read in parts: the answer to the last part is the answer to the whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

STATE, NEXT = "state_", "next_state_"
# ONNX's numbers of element types, which nodes take as attributes.
_FLOAT, INT32, _INT64, DOUBLE = 1, 6, 7, 11


class GraphWriter:
    """A graph under way: `op` adds a node and `const` a weight; both give the tensor's name.

    While `timed`, tensors are [N, T, width], else [N, width]. Then `batch` and `time` (int64 [1])
    and `lengths` (int64 [N]) name how many clips there are, and their frames. With `states` the
    graph takes and gives back what it remembers. Weights are float32, or float64 where `double`:
    then tensors are too, until `as_float`. `domains` are the operator sets besides ONNX's own.
    """

    def __init__(
        self, width: int, *, timed: bool = False, states: bool = False, double: bool = False
    ) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.domains: dict[str, int] = {}
        self.width = width
        self.dtype: type[Any] = np.float64 if double else np.float32
        self.timed = timed
        self._states = states
        self._kept = 0
        if timed:
            self._measure()

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; gives the name of its first output, others have `.1`, `.2` behind it."""
        from onnx import helper

        name = f"{kind.lower()}_{len(self.nodes)}"
        names = [name]
        for number in range(1, outputs):
            names.append(f"{name}.{number}")
        node = helper.make_node(kind, list(inputs), names, name=name, **attributes)
        self.nodes.append(node)
        return name

    def const(self, value: Any, dtype: Any = None) -> str:
        """Add a weight, by default in the type that the graph computes in."""
        from onnx import numpy_helper

        name = f"weight_{len(self.weights)}"
        array = np.asarray(value, dtype or self.dtype, order="C")
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def whole(self, *numbers: int) -> str:
        """Add whole numbers, int64 [n]."""
        return self.const(list(numbers), np.int64)

    def as_float(self, source: str) -> str:
        """A tensor as float32."""
        return self.op("Cast", source, to=_FLOAT)

    def as_computed(self, source: str) -> str:
        """A tensor in the type that the graph computes in."""
        return self.op("Cast", source, to=DOUBLE if self.dtype is np.float64 else _FLOAT)

    def columns(self, source: str, start: int, stop: int) -> str:
        """Some columns of a tensor [N, width]."""
        first = self.whole(start)
        last = self.whole(stop)
        return self.op("Slice", source, first, last, self.whole(1))

    def state(self, width: int, first: float = 0.0) -> str:
        """What is remembered of earlier frames, float32 [N, width]; before any it is `first`."""
        if self._states:
            name = f"{STATE}{self._kept}"
            default = np.full((1, width), first, np.float32)
            one = self._optional_input(name, default, ["N", width])
        else:
            one = self.const([[first]])
        shape = self.op("Concat", self.batch, self.whole(width), axis=0)
        return self.op("Expand", one, shape)

    def keep(self, state: str, width: int) -> None:
        """Give back what is to be remembered, in the order in which states were asked for."""
        from onnx import TensorProto, helper

        if not self._states:
            return
        name = f"{NEXT}{self._kept}"
        node = helper.make_node("Identity", [state], [name], name=name)
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
        self.nodes.append(node)
        self.outputs.append(value)
        self._kept += 1

    def within(self) -> str:
        """Which frames of a padded batch belong to a clip, bool [N, T, 1]."""
        start = self.const(0, np.int64)
        step = self.const(1, np.int64)
        count = self.op("Squeeze", self.time)
        frames = self.op("Range", start, count, step)
        row = self.op("Unsqueeze", frames, self.whole(0))
        column = self.op("Unsqueeze", self.lengths, self.whole(1))
        inside = self.op("Less", row, column)
        return self.op("Unsqueeze", inside, self.whole(2))

    def _measure(self) -> None:
        """Write how many clips there are, and their frames."""
        self.batch = self.op("Shape", "feature", start=0, end=1)
        self.time = self.op("Shape", "feature", start=1, end=2)
        # By default each clip has all frames: the smaller one of "very many" and T.
        very_many = np.iinfo(np.int32).max
        default = np.array([very_many], np.int32)
        given = self._optional_input("lengths", default, ["N"])
        whole = self.op("Cast", given, to=_INT64)
        each = self.op("Expand", whole, self.batch)
        self.lengths = self.op("Min", each, self.time)

    def _optional_input(self, name: str, default: Array, shape: list[str | int]) -> str:
        """An input that need not be given: in ONNX, one that is also a weight."""
        from onnx import helper, numpy_helper

        weight = numpy_helper.from_array(default, name)
        value = helper.make_tensor_value_info(name, weight.data_type, shape)
        self.weights.append(weight)
        self.inputs.append(value)
        return name
