"""The weights of a network, as JAX code keeps them, as the steps of a head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads.architecture import FUNCTIONS
from dof_arrow.heads.exported import Exported, unknown
from dof_arrow.heads.layers import Affine, Function, Step

Array = NDArray[Any]


def exported(layers: Any, activation: str) -> Exported:
    """The steps of a list of layers, with an activation between them.

    A layer is (weights, bias), or a dict of "w" or "kernel" and "b" or "bias". There is no model to
    compare the steps with.
    """
    return Exported("JAX", list(_steps(layers, activation)))


def _steps(layers: Any, activation: str) -> Iterator[Step]:
    if activation not in FUNCTIONS:
        raise UsageError("unknown activation", expected=", ".join(FUNCTIONS), found=activation)
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
        yield Function(activation)
        yield affine


def _affine(layer: Any) -> Affine:
    if isinstance(layer, dict):
        weights = layer.get("w", layer.get("kernel"))
        bias = layer.get("b", layer.get("bias"))
    else:
        weights, bias = layer[0], layer[1]
    weights = np.asarray(weights, np.float32)
    bias = np.asarray(bias, np.float32)
    if weights.ndim != 2 or bias.shape != weights.shape[1:]:
        raise UsageError(
            "these are no layers",
            expected="weights [in, out] and bias [out] a layer",
            found=f"{weights.shape} and {bias.shape}",
        )
    return Affine(weights, bias)
