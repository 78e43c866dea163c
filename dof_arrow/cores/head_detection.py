"""Where a model's features end and its head begins, judged from the graph.

Class scores are what lies behind the last learnt linear maps to an output. Features are the last
tensor that every path from the pictures to the scores passes through before these maps, or, where
each map reads a vector of its own, these vectors side by side.

An output is taken for features only where the graph says so: it ends in a residual block, an
activation, a normalisation. Where it could be either the verdict is "unclear", with the places
that come into question: nobody is helped by a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dof_arrow.cores import operators
from dof_arrow.cores.graph.flow import Flow
from dof_arrow.cores.head_region import HeadRegion, decision, last_layers, skip

if TYPE_CHECKING:
    pass

# What transformers calls the vectors that its models give; no classifier calls its scores so.
_EMBEDDING_NAME = re.compile(r"(^|[^a-z])(\w+_embeds|embeddings?|last_hidden_state|pooler_output)$")
_FEATURE_NAME = re.compile(r"feature|embed|hidden|pooler|encod|represent|backbone")
_CLASS_NAME = re.compile(
    r"classif|logit|softmax|prob|predict|label"
    r"|(?<![a-z])(fc|pred|class|classes|score|scores)\d*(?![a-z])"
    r"|(?<![a-z])(?<!conv_)head\d*(?![a-z])"
)

_CHANCES = frozenset({"Sigmoid", "QLinearSigmoid"})

Verdict = Literal["head", "output", "unclear"]
Shape = tuple[int, ...]  # of one row
Shapes = Callable[[Sequence[str]], Sequence[Shape]]  # of these tensors, looked at by running


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputVerdict:
    """What one output of a model is, and the tensors that hold the features behind it.

    They are one, or vectors to be put side by side. Where the verdict is "unclear" they are the
    features if the output gives class scores.
    """

    output: str
    tensors: tuple[str, ...]
    verdict: Verdict
    why: str


def verdicts(flow: Flow, shapes: Shapes) -> list[OutputVerdict]:
    """A verdict on every output that depends on the input, in the model's order."""
    names = [value.name for value in flow.model.graph.output]
    return [_verdict(flow, name, shapes) for name in names if name in flow.data]


def choose(flow: Flow, found: Sequence[OutputVerdict]) -> OutputVerdict | None:
    """The one verdict that can be defended; None where several can, or one is unclear.

    Outputs that come from the same features are one. Beside a head, outputs taken from further up
    or from the features themselves are by-products.
    """
    heads = [each for each in found if each.verdict == "head"]
    upstream: set[str] = set()
    for head in heads:
        for tensor in head.tensors:
            upstream.add(tensor)
            upstream.update(stage.source for stage in flow.stages(tensor))
    apart = set()
    for each in found:
        if each in heads or not _is_byproduct(flow, each, upstream):
            if each.verdict == "unclear":
                return None
            apart.add(tuple(skip(flow, name, operators.RESHAPES) for name in each.tensors))
    if len(apart) != 1:
        return None
    return heads[0] if heads else found[0]


def is_channels_last(flow: Flow, tensor: str) -> bool:
    """Whether a map of rank 4 is NHWC.

    It is where the model averages its axes 1 and 2, or has just moved its channels to the end.
    """
    maker = flow.producer.get(tensor)
    is_moved = maker is not None and maker.op_type == "Transpose"
    if maker is not None and is_moved and operators.ints(maker, "perm") == [0, 2, 3, 1]:
        return True
    for node in flow.consumers(tensor):
        averages = node.op_type in ("ReduceMean", "ReduceMax", "ReduceSum")
        if averages and {axis % 4 for axis in operators.reduced_axes(flow, node)} == {1, 2}:
            return True
    return False


def _is_byproduct(flow: Flow, each: OutputVerdict, upstream: set[str]) -> bool:
    """Whether an output shows something on the way to a head, or made of its features alone."""
    if not upstream.isdisjoint(each.tensors):
        return True
    for stage in flow.stages(each.output):
        if any(operators.is_layer(flow, node) for node in stage.nodes):
            return False
        if stage.source in upstream and stage.source not in flow.inputs:
            return True
    return False


def _verdict(flow: Flow, output: str, shapes: Shapes) -> OutputVerdict:
    return _Judge(flow, output, shapes).verdict()


class _Judge:
    """Weighs what the graph says of one output."""

    def __init__(self, flow: Flow, output: str, shapes: Shapes) -> None:
        self.flow = flow
        self.output = output
        self.shapes = shapes

    def verdict(self) -> OutputVerdict:
        """Class scores where a decision follows; else what the last layers and their tail say."""
        region = last_layers(self.flow, self.output)
        if region is None:
            return self._features("no layer makes it, only the picture")
        decided = decision(self.flow, self.output, operators.DECISIONS)
        if decided:
            return self._behind_scores(region, f"{decided} follows")
        if region.has_bypass or not self._is_readout(region):
            return self._of_body(region)
        return self._of_maps(region)

    # The last layers are linear maps, side by side: a head, or a projection

    def _of_maps(self, region: HeadRegion) -> OutputVerdict:
        """What linear maps are whose output nobody decides on."""
        layer = _called(region)
        kinds = region.operators_behind
        names_classes = bool(_CLASS_NAME.search(_names(self.flow, region)))
        if _EMBEDDING_NAME.search(self.output.lower()) and not names_classes:
            return self._features(f"{layer} gives an embedding by the output's name")
        if _gives_unit_length(region):
            return self._features(f"the output of {layer} is brought to unit length")
        if "LayerNormalization" in kinds:
            return self._features(f"the output of {layer} is normalised, as features are")
        if not kinds.isdisjoint(operators.SMOOTH) or _has_swish(region):
            return self._features(f"a smooth activation follows {layer}, as no scores have")
        doubt = self._doubt(region)
        if doubt and not (names_classes and doubt != "an activation"):
            return self._unclear(region, f"{doubt} follows {layer}: classes or features?")
        if _FEATURE_NAME.search(self.output.lower()) and not names_classes:
            return self._unclear(region, f"{layer} is linear, and its output named as features are")
        return self._behind_scores(region, "and linear")

    def _doubt(self, region: HeadRegion) -> str | None:
        """What follows linear maps and leaves open whether they give classes or features."""
        kinds = region.operators_behind
        is_conv = any("Conv" in layer.op_type for layer in region.layers)
        is_pooled = is_conv and not kinds.isdisjoint(operators.POOLS)
        if not kinds.isdisjoint(operators.ACTIVATIONS):
            return "a pooling" if is_pooled else "an activation"
        if "BatchNormalization" in kinds:
            return "a normalisation"
        if is_pooled and not self._are_vectors(region.reads):
            return "a pooling"
        joins = [node for node in region.over if len(self.flow.values(node)) > 1]
        joins = [node for node in joins if node.op_type not in operators.ADDITIONS | {"Concat"}]
        if joins and len(region.layers) > 1:
            return f"a {joins[0].op_type} of several maps"
        return None

    def _is_readout(self, region: HeadRegion) -> bool:
        """Whether the last layers are linear maps that nothing but each other's sum joins.

        They read one tensor, or vectors of their own.
        """
        if not all(operators.is_linear_map(self.flow, layer) for layer in region.layers):
            return False
        if not region.is_deep:
            return True
        return self._are_vectors(region.reads) and not self._are_vectors([region.source])

    # The last layers are part of the body: the output is features, if its tail keeps them

    def _of_body(self, region: HeadRegion) -> OutputVerdict:
        """What an output is that ends in a residual block, a convolution, a recurrent layer."""
        strange = self._strange(region)
        if strange:
            return self._unclear(region, f"{strange} follows the last layers")
        if region.has_bypass and not self._are_vectors([region.source, region.joined]):
            return self._features("it ends in a residual block, not in a linear layer")
        kinds = region.operators_behind
        if all(layer.op_type in operators.RECURRENT for layer in region.layers):
            return self._features(f"{_called(region)} is recurrent: what it remembers is features")
        ends = operators.ACTIVATIONS | {"BatchNormalization", "LayerNormalization"}
        if not kinds.isdisjoint(ends) and not self._are_vectors([region.joined]):
            return self._features("it ends in activated maps, not in a linear layer")
        return self._unclear(region, f"{_called(region)} ends the model: classes or features?")

    def _strange(self, region: HeadRegion) -> str | None:
        """What follows the last layers and could make scores of features."""
        for node in region.behind:
            if node.op_type not in operators.FAITHFUL:
                return str(node.op_type)
            if node.op_type in ("Sub", "Mul", "Div", "Add") and operators.is_expanding(
                self.flow, node
            ):
                return f"{node.op_type} of a constant with several axes"
        if _CLASS_NAME.search(self.output.lower()):
            return "an output named as classes are"
        joined, output = self.shapes([region.joined, self.output])
        widths = {joined[0], joined[-1]} if joined else {0}
        if not any(width > 1 and _size(output) % width == 0 for width in widths):
            return f"another width, {list(output)} of {list(joined)},"
        return None

    # Features

    def _behind_scores(self, region: HeadRegion, reason: str) -> OutputVerdict:
        """The verdict on what certainly gives class scores."""
        if region.has_bypass and self._are_vectors([region.source, region.joined]):
            above = last_layers(self.flow, region.source)  # scores, and a correction added to them
            if above is not None:
                return self._behind_scores(above, reason)
        tensors = self._read_by_head(region)
        if tensors is None:
            return self._unclear(
                region, f"class scores, but the head has no single input: {reason}"
            )
        number = len(region.layers)
        is_or_are = "is the last layer" if number == 1 else "are the last layers"
        why = f"{_called(region)} {is_or_are}, {reason}"
        higher = self._scores_among(region, tensors)
        if higher is None:
            return OutputVerdict(output=self.output, tensors=tensors, verdict="head", why=why)
        return higher

    def _read_by_head(self, region: HeadRegion) -> tuple[str, ...] | None:
        """The features that a head's layers read; None where they cannot be told."""
        source = region.source
        if len(region.reads) == 1 and not region.has_bypass:
            return region.reads
        if source in self.flow.inputs or region.has_bypass:
            source_is_vector = False
        else:
            source_is_vector = self._are_vectors([source])
        if source_is_vector:
            return (source,)
        if region.has_bypass:
            return None
        if self._are_vectors(region.reads):
            return region.reads
        if region.is_deep or source in self.flow.inputs:
            return None
        if not any(len(shape) < 2 for shape in map(_without_ones, self.shapes(region.reads))):
            return (source,)
        return None

    def _scores_among(self, region: HeadRegion, tensors: tuple[str, ...]) -> OutputVerdict | None:
        """The verdict where what a head reads may be scores itself: of a map of labels, a
        calibration. None where it is not.
        """
        if len(tensors) > 1 or tensors[0] in self.flow.inputs:
            return None
        above = last_layers(self.flow, tensors[0])
        if above is None:
            return None
        judge = _Judge(self.flow, tensors[0], self.shapes)
        shares = decision(self.flow, tensors[0], operators.SHARES)
        if shares:
            found = judge._behind_scores(above, f"{shares} follows, and a map of its classes")
            return self._with_output(found)
        if decision(self.flow, tensors[0], _CHANCES):
            why = f"{_called(region)} reads chances, or a hidden layer with a sigmoid"
            upper = judge._read_by_head(above) or tensors
            return OutputVerdict(output=self.output, tensors=upper, verdict="unclear", why=why)
        if not self._is_linear_in(above):
            return None
        width_in, width_out = self.shapes([tensors[0], region.joined])
        if width_in == width_out:
            found = judge._behind_scores(above, "and a square map of its scores follows")
            return self._with_output(found)
        why = f"{_called(above)} and {_called(region)} are linear maps in a row"
        upper = judge._read_by_head(above) or tensors
        return OutputVerdict(output=self.output, tensors=upper, verdict="unclear", why=why)

    def _is_linear_in(self, above: HeadRegion) -> bool:
        """Whether a region is one linear map of a vector, with nothing but shifts behind it."""
        if len(above.layers) > 1 or above.has_bypass:
            return False
        if not operators.is_linear_map(self.flow, above.layers[0]):
            return False
        plain = operators.RESHAPES | {"Add", "Mul", "Div", "Sub", "DequantizeLinear"}
        if not above.operators_behind <= plain | {"QuantizeLinear", "DynamicQuantizeLinear"}:
            return False
        return self._are_vectors(above.reads)

    def _with_output(self, found: OutputVerdict) -> OutputVerdict:
        return OutputVerdict(
            output=self.output, tensors=found.tensors, verdict=found.verdict, why=found.why
        )

    def _are_vectors(self, names: Sequence[str]) -> bool:
        """Whether each row of these tensors is a vector."""
        if any(name in self.flow.inputs for name in names):
            return False
        return all(len(_without_ones(shape)) < 2 for shape in self.shapes(names))

    def _features(self, why: str) -> OutputVerdict:
        return OutputVerdict(output=self.output, tensors=(self.output,), verdict="output", why=why)

    def _unclear(self, region: HeadRegion, why: str) -> OutputVerdict:
        tensors = self._read_by_head(region) or region.reads[:1]
        return OutputVerdict(output=self.output, tensors=tensors, verdict="unclear", why=why)


def _names(flow: Flow, region: HeadRegion) -> str:
    """The names that may tell what the last layers give: theirs, their weights', the output's."""
    names = [region.output]
    for layer in region.layers:
        names += [layer.name, *layer.output, *sorted(set(layer.input) - flow.data)]
    return " ".join(names).lower()


def _called(region: HeadRegion) -> str:
    """The last layers as messages call them: their operators and names."""
    shown = [f"{layer.op_type} {layer.name or layer.output[0]}" for layer in region.layers[:3]]
    more = len(region.layers) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def _gives_unit_length(region: HeadRegion) -> bool:
    return not region.operators_behind.isdisjoint(operators.UNIT_LENGTH)


def _has_swish(region: HeadRegion) -> bool:
    """Whether something behind the last layers is multiplied by its own sigmoid."""
    gates = {}
    for node in region.behind:
        if node.op_type == "Sigmoid":
            gates[node.output[0]] = node.input[0]
    for node in region.behind:
        if node.op_type == "Mul":
            for gate in node.input:
                if gates.get(gate) in node.input:
                    return True
    return False


def _without_ones(shape: Shape) -> Shape:
    return tuple(side for side in shape if side != 1)


def _size(shape: Shape) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
