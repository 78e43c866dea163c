"""The head that a dataset's author suggests, layer by layer (SPEC section 4, `head`): no framework, weights or code.

    {"layers": [{"kind": "dense", "units": 128}, {"kind": "activation", "function": "relu"}]}

The layers stand between the standardised features and the output layer, which follows from the target (a column a
class, or one number) and is not written down; so one suggestion serves every target. Layers before a `pool` see a clip
[time, units] step by step, those after it one vector.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """Every output a weighted sum of every input, and a bias."""

    units: int = spec("how many outputs", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A function of each number by itself; `leaky_relu` has slope 0.01, `gelu` is the exact one."""

    function: Literal[
        "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid", "softplus"
    ] = spec("which function")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout:
    """While training, each number is left out with this chance."""

    rate: float = spec("the chance, below 1", minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """Mean 0 and variance 1, learned scale and shift after it; epsilon 1e-5."""

    over: Literal["batch", "layer"] = spec(
        "each unit over the batch (in use: running averages), or a row over itself"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """A recurrent layer over the steps of a clip; its outputs at every step go on."""

    cell: Literal["lstm", "gru"] = spec("the cell")
    units: int = spec("its width, in each direction", minimum=1)
    bidirectional: bool = spec(
        "whether a second one runs from the end to the beginning", default=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The steps of a clip become one vector."""

    by: Literal["mean", "max", "last"] = spec("their mean, their maximum, or the last step")


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
    """What stands in the metadata's `head`.

    >>> to_json(Architecture((Dense(units=8), Activation(function="relu"))))
    {'layers': [{'kind': 'dense', 'units': 8}, {'kind': 'activation', 'function': 'relu'}]}
    """
    names = {kind: name for name, kind in KINDS.items()}
    return {
        "layers": [
            {"kind": names[type(layer)], **json_model.to_json(layer)}
            for layer in architecture.layers
        ]
    }


def from_json(value: Json, where: str = "$.head") -> Architecture:
    """The architecture in the metadata's `head`; FormatError lists every problem at once.

    >>> from_json({"layers": [{"kind": "dense", "units": 8}]}).layers
    (Dense(units=8),)
    """
    found = list(problems(value, where))
    if found:
        raise FormatError("the suggested head is not valid", problems=found)
    return Architecture(
        tuple(
            json_model.from_json(
                {k: v for k, v in layer.items() if k != "kind"}, KINDS[layer["kind"]]
            )
            for layer in value["layers"]
        )
    )


def problems(value: Json, where: str = "$.head") -> Iterator[Problem]:
    """Whatever keeps a JSON value from being an architecture.

    >>> [str(p) for p in problems({"layers": [{"kind": "dense"}]})]
    ['metadata-missing at $.head.layers[0].units: required field is missing: expected integer, found nothing']
    """
    layers = value.get("layers") if isinstance(value, dict) else None
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        found = f"{len(layers)} layers" if isinstance(layers, list) else str(value)[:80]
        yield _problem(
            "metadata-type", f"{where}.layers", f"an array of at most {MAX_LAYERS} layers", found
        )
        return
    alone = [list(_layer_problems(layer, f"{where}.layers[{i}]")) for i, layer in enumerate(layers)]
    yield from (problem for each in alone for problem in each)
    if not any(alone):
        yield from _order_problems([layer["kind"] for layer in layers], where)


def _layer_problems(layer: Json, where: str) -> Iterator[Problem]:
    kind = layer.get("kind") if isinstance(layer, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        yield _problem("metadata-type", f"{where}.kind", " or ".join(KINDS), str(kind)[:80])
        return
    found = list(
        json_model.problems({k: v for k, v in layer.items() if k != "kind"}, KINDS[kind], where)
    )
    yield from found
    if not found and layer.get("units", 0) > MAX_UNITS:
        yield _problem(
            "metadata-type", f"{where}.units", f"at most {MAX_UNITS}", str(layer["units"])
        )
    if not found and layer.get("rate", 0) >= 1:
        yield _problem("metadata-type", f"{where}.rate", "a chance below 1", str(layer["rate"]))


def _order_problems(kinds: list[str], where: str) -> Iterator[Problem]:
    """A clip becomes one vector once, after its recurrent layers."""
    pools = [i for i, kind in enumerate(kinds) if kind == "pool"]
    recurrent = [i for i, kind in enumerate(kinds) if kind == "recurrent"]
    if len(pools) > 1:
        yield _problem("metadata-type", f"{where}.layers[{pools[1]}]", "one pool", f"{len(pools)}")
    if recurrent and (not pools or recurrent[-1] > pools[0]):
        yield _problem(
            "metadata-type",
            f"{where}.layers[{recurrent[-1]}]",
            "a pool after the last recurrent layer",
            "none",
        )


def _problem(rule: str, where: str, expected: str, found: str) -> Problem:
    return Problem(
        rule=rule, where=where, message="wrong type or value", expected=expected, found=found
    )


def check_size(architecture: Architecture, width: int, outputs: int) -> int:
    """How many weights the head has on features of this width; UsageError above MAX_PARAMETERS.

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
        gates, ways = (4 if layer.cell == "lstm" else 3), 1 + layer.bidirectional
        return ways * gates * layer.units * (width + layer.units + 2), ways * layer.units
    return 0, width
