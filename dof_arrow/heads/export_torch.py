"""A torch module as the steps of a head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph.torch_onnx import evaluating, onnx_of
from dof_arrow.errors import UsageError
from dof_arrow.heads import network
from dof_arrow.heads.export_onnx import Graph
from dof_arrow.heads.exported import NOTHING, Exported, unknown
from dof_arrow.heads.layers import Affine, Function, Step

Array = NDArray[Any]

_FUNCTIONS = {
    "ReLU": "relu",
    "ELU": "elu",
    "SELU": "selu",
    "SiLU": "silu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Softmax": "softmax",
    "LogSoftmax": "softmax",
}
_LEAKY_SLOPE = 0.01  # the slope that the function `leaky_relu` of a head has


def exported(model: Any, sample: Array) -> Exported:
    """The steps of a module, and what it says of the sample.

    Known layers in a Sequential are written from their weights; of a module with anything else,
    torch's own exporter makes one step.
    """
    with evaluating(model):  # dropout off, running averages used
        try:
            steps = list(_steps(model))
        except UsageError:
            steps = [Graph(onnx_of(model, sample))]
        return Exported("torch", steps, _said(model, sample))


def _said(model: Any, sample: Array) -> Array:
    """What the module says; log probabilities as probabilities, since the head has no logarithm."""
    import torch

    with torch.no_grad():
        found = model(torch.from_numpy(sample))
        leaves = [part for part in model.modules() if not list(part.children())]
        if isinstance(leaves[-1], torch.nn.LogSoftmax):
            found = found.exp()
        return np.asarray(found.numpy())


def _steps(module: Any) -> Iterator[Step]:
    name = type(module).__name__
    if name == "Sequential":
        for child in module:
            yield from _steps(child)
    elif name == "Linear":
        yield _affine(module)
    elif name in ("BatchNorm1d", "LayerNorm"):
        yield network.normalization_step(module)
    elif name not in NOTHING:
        yield Function(_function(module, name))


def _affine(module: Any) -> Affine:
    weights = module.weight.detach().cpu().numpy().T
    bias = np.zeros(weights.shape[1], np.float32)
    if module.bias is not None:
        bias = module.bias.detach().cpu().numpy()
    return Affine(weights, bias)


def _function(module: Any, name: str) -> str:
    """The name of a module's function among those of a head; UsageError if there is none."""
    if name == "GELU" and module.approximate == "none":
        return "gelu"
    if name == "LeakyReLU" and module.negative_slope == _LEAKY_SLOPE:
        return "leaky_relu"
    # ELU, SELU and Softplus have parameters: only their usual values are known to a head.
    alpha = getattr(module, "alpha", 1.0)
    beta = getattr(module, "beta", 1)
    if name in _FUNCTIONS and alpha == beta == 1:
        return _FUNCTIONS[name]
    raise unknown(
        "torch", name, "Linear, BatchNorm1d, LayerNorm, Dropout, activations in a Sequential"
    )
