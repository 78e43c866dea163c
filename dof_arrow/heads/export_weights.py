"""The weights of a network, as JAX code keeps them, as the steps of a head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads.activations import GeluTanh
from dof_arrow.heads.architecture import FUNCTIONS
from dof_arrow.heads.exported import Exported, unknown
from dof_arrow.heads.layers import Affine, Function, Step

Array = NDArray[Any]


def exported(layers: Any, activation: str) -> Exported:
    """The steps of a list of layers, with an activation between them.

    A layer is (weights, bias), or a dict of "w" or "kernel" and "b" or "bias". There is no model to
    compare the steps with.
    """
    return Exported(framework="JAX", steps=list(_steps(layers, activation)))


def _activation(name: str) -> Step:
    """The step of an activation; UsageError for an unknown one, and for `gelu`, which is two."""
    if name == "gelu":
        raise UsageError(
            "gelu has two forms",
            "activation",
            "gelu_tanh (the default of jax.nn.gelu) or gelu_exact (approximate=False)",
            name,
        )
    if name == "gelu_tanh":
        return GeluTanh()
    if name == "gelu_exact":
        return Function("gelu")
    if name not in FUNCTIONS:
        known = [each for each in FUNCTIONS if each != "gelu"]
        expected = ", ".join([*known, "gelu_tanh", "gelu_exact"])
        raise UsageError("unknown activation", expected=expected, found=str(name))
    return Function(name)


def _steps(layers: Any, activation: str) -> Iterator[Step]:
    between = _activation(activation)
    if not isinstance(layers, (list, tuple)) or not layers:
        raise unknown(
            "Python",
            type(layers).__name__,
            "a model of torch, Keras, scikit-learn, or a list of weights",
        )
    # All layers are checked before the first step is made.
    first, *others = [_affine(layer) for layer in layers]
    yield first
    for affine in others:
        yield between
        yield affine


def _affine(layer: Any) -> Affine:
    try:
        weights, bias = _named(layer) if isinstance(layer, dict) else layer
        weights = np.asarray(weights, np.float32)
        bias = np.asarray(bias, np.float32)
    except (TypeError, ValueError) as error:
        raise _no_layer(type(layer).__name__) from error
    if weights.ndim != 2 or bias.shape != weights.shape[1:]:
        raise _no_layer(f"{weights.shape} and {bias.shape}")
    return Affine(weights, bias)


def _named(layer: Any) -> tuple[Any, Any]:
    """Weights and bias of a dict; anything else in it would be left out, so it is refused."""
    names = set(layer)
    for weights, bias in (("w", "b"), ("kernel", "bias")):
        if names == {weights, bias}:
            return layer[weights], layer[bias]
    raise _no_layer(", ".join(map(str, sorted(names, key=str))))


def _no_layer(found: str) -> UsageError:
    expected = "weights [in, out] and bias [out] a layer"
    return UsageError("these are no layers", expected=expected, found=found)
