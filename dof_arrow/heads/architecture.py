"""The head that a dataset's author suggests, layer by layer (SPEC section 4, `head`).

    {"layers": [{"kind": "dense", "units": 128}, {"kind": "activation", "function": "relu"}]}

It names no framework and holds no weights or code. The layers stand between the standardised
features and the output layer. That one follows from the target (a column for each class, or one
number) and is not written down, so one suggestion serves every target. Layers before a `pool` see a
clip [time, units] frame by frame, those after it one vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dof_arrow.errors import FormatError, Problem, UsageError
from dof_arrow.format.spec import json_model
from dof_arrow.format.spec.json_model import Json, spec

FUNCTIONS = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid", "softplus")
MAX_LAYERS = 64
MAX_UNITS = 16_384
MAX_PARAMETERS = 100_000_000
_SHOWN = 80  # characters of a wrong value in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """Each output is a weighted sum of all inputs, plus a bias."""

    units: int = spec("how many outputs", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A function of each number; `leaky_relu` has slope 0.01, `gelu` is the exact one."""

    function: Literal[
        "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid", "softplus"
    ] = spec("which function")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout:
    """While training, each number is left out with this chance."""

    rate: float = spec("the chance, below 1", minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """To mean 0 and variance 1, then a learned scale and shift; epsilon is 1e-5."""

    over: Literal["batch", "layer"] = spec(
        "each unit over the batch (in use: running averages), or a row over itself"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """A recurrent layer over the frames of a clip; it gives an output for every frame."""

    cell: Literal["lstm", "gru"] = spec("the cell")
    units: int = spec("its width, in each direction", minimum=1)
    bidirectional: bool = spec(
        "whether a second one runs from the end to the beginning", default=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The frames of a clip become one vector."""

    by: Literal["mean", "max", "last", "statistics"] = spec(
        "their mean, their maximum, the last step, or mean, deviation, minimum and maximum together"
    )


Layer: TypeAlias = Dense | Activation | Dropout | Normalization | Recurrent | Pool

KINDS: Mapping[str, type[Layer]] = {
    "dense": Dense,
    "activation": Activation,
    "dropout": Dropout,
    "normalization": Normalization,
    "recurrent": Recurrent,
    "pool": Pool,
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """Layers between the features and the output layer."""

    layers: tuple[Layer, ...] = ()

    @property
    def timed(self) -> bool:
        """Whether it reads clips [time, D], not single rows."""
        return any(isinstance(layer, Pool) for layer in self.layers)


def to_json(architecture: Architecture) -> Json:
    """An architecture as the metadata's `head`.

    >>> to_json(Architecture((Dense(units=8), Activation(function="relu"))))
    {'layers': [{'kind': 'dense', 'units': 8}, {'kind': 'activation', 'function': 'relu'}]}
    """
    names = {kind: name for name, kind in KINDS.items()}
    layers = []
    for layer in architecture.layers:
        name = names[type(layer)]
        layers.append({"kind": name, **json_model.to_json(layer)})
    return {"layers": layers}


def from_json(value: Json, where: str = "$.head") -> Architecture:
    """The architecture in the metadata's `head`; its FormatError lists every problem at once.

    >>> from_json({"layers": [{"kind": "dense", "units": 8}]}).layers
    (Dense(units=8),)
    """
    found = list(problems(value, where))
    if found:
        raise FormatError("the suggested head is not valid", problems=found)
    layers = []
    for layer in value["layers"]:
        kind = KINDS[layer["kind"]]
        layers.append(json_model.from_json(_fields(layer), kind))
    return Architecture(tuple(layers))


def _fields(layer: Json) -> Json:
    """What a layer says besides its kind."""
    return {name: value for name, value in layer.items() if name != "kind"}


def problems(value: Json, where: str = "$.head") -> Iterator[Problem]:
    """Everything that keeps a JSON value from being an architecture.

    >>> [problem.where for problem in problems({"layers": [{"kind": "dense"}]})]
    ['$.head.layers[0].units']
    """
    layers = value.get("layers") if isinstance(value, dict) else None
    expected = f"an array of at most {MAX_LAYERS} layers"
    if not isinstance(layers, list):
        yield _problem(f"{where}.layers", expected, str(value)[:_SHOWN])
        return
    if len(layers) > MAX_LAYERS:
        yield _problem(f"{where}.layers", expected, f"{len(layers)} layers")
        return
    sound = True
    for place, layer in enumerate(layers):
        for problem in _layer_problems(layer, f"{where}.layers[{place}]"):
            sound = False
            yield problem
    if sound:
        yield from _order_problems([layer["kind"] for layer in layers], where)


def _layer_problems(layer: Json, where: str) -> Iterator[Problem]:
    """What is wrong with one layer; its size is looked at only if its fields are right."""
    kind = layer.get("kind") if isinstance(layer, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        known = " or ".join(KINDS)
        yield _problem(f"{where}.kind", known, str(kind)[:_SHOWN])
        return
    found = list(json_model.problems(_fields(layer), KINDS[kind], where))
    if found:
        yield from found
        return
    units = layer.get("units", 0)
    if units > MAX_UNITS:
        yield _problem(f"{where}.units", f"at most {MAX_UNITS}", str(units))
    rate = layer.get("rate", 0)
    if rate >= 1:
        yield _problem(f"{where}.rate", "a chance below 1", str(rate))


def _order_problems(kinds: list[str], where: str) -> Iterator[Problem]:
    """A clip becomes one vector once, after its recurrent layers."""
    pools = [place for place, kind in enumerate(kinds) if kind == "pool"]
    recurrent = [place for place, kind in enumerate(kinds) if kind == "recurrent"]
    if len(pools) > 1:
        second = f"{where}.layers[{pools[1]}]"
        yield _problem(second, "one pool", str(len(pools)))
    if not recurrent:
        return
    last = recurrent[-1]
    if not pools or last > pools[0]:
        yield _problem(f"{where}.layers[{last}]", "a pool after the last recurrent layer", "none")


def _problem(where: str, expected: str, found: str) -> Problem:
    return Problem(
        rule="metadata-type",
        where=where,
        message="wrong type or value",
        expected=expected,
        found=found,
    )


def check_size(architecture: Architecture, width: int, outputs: int) -> int:
    """The number of weights for features of this width; UsageError above MAX_PARAMETERS.

    >>> check_size(Architecture((Dense(units=8),)), width=4, outputs=2)
    58
    """
    total = 0
    for layer in (*architecture.layers, Dense(units=outputs)):
        count, width = _size(layer, width)
        total += count
    if total > MAX_PARAMETERS:
        raise UsageError(
            "the head is too large",
            expected=f"at most {MAX_PARAMETERS:,} weights",
            found=f"{total:,}",
            hint="Suggest narrower layers, or use --head linear",
        )
    return total


def _size(layer: Layer, width: int) -> tuple[int, int]:
    """A layer's weights on an input of this width, and the width of its output."""
    if isinstance(layer, Dense):
        return (width + 1) * layer.units, layer.units
    if isinstance(layer, Normalization):
        return 2 * width, width
    if isinstance(layer, Recurrent):
        gates = 4 if layer.cell == "lstm" else 3
        ways = 2 if layer.bidirectional else 1
        # Each gate sees the input and the last output, each with a bias of its own (as in torch).
        each = layer.units * (width + layer.units + 2)
        return ways * gates * each, ways * layer.units
    if isinstance(layer, Pool):
        return 0, pooled_width(layer, width)
    return 0, width


def pooled_width(pool: Pool, width: int) -> int:
    """How wide the vector is that a pool makes of frames of this width.

    >>> pooled_width(Pool(by="statistics"), 10)
    40
    """
    return 4 * width if pool.by == "statistics" else width
