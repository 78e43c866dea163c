"""Networks of the suggested kind in torch (extra `torch`): built, run on rows or clips, and turned into steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import require
from dof_arrow.heads import layers
from dof_arrow.heads.architecture import (
    Activation,
    Architecture,
    Dense,
    Dropout,
    Layer,
    Normalization,
    Pool,
    Recurrent,
    check_size,
)

Array = NDArray[Any]
Tensor = Any

MLP = Architecture((Dense(units=128), Activation(function="relu"), Dropout(rate=0.3)))
RNN = Architecture((Recurrent(cell="gru", units=64), Pool(by="last"), Dropout(rate=0.2)))
LSTM = Architecture((Recurrent(cell="lstm", units=64), Pool(by="last"), Dropout(rate=0.2)))
MEAN = Architecture((Pool(by="mean"),))  # what a recurrent head has to beat

_ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
}
_EPSILON = 1e-5
# Where ONNX wants each of torch's gates: LSTM i, f, g, o -> i, o, f, c; GRU r, z, n -> z, r, h.
_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


class Network:
    """An architecture with its output layer, on features that are standardised already.

    `modules` is a torch ModuleList, a module a layer. Raises MissingExtra without torch, UsageError if it is too large.
    """

    def __init__(self, architecture: Architecture, width: int, outputs: int) -> None:
        torch = require("torch", extra="torch")
        check_size(architecture, width, outputs)
        self.layers: tuple[Layer, ...] = (*architecture.layers, Dense(units=outputs))
        self.timed = architecture.timed
        made = []
        for layer in self.layers:
            module, width = _module(layer, width)
            made.append(module)
        self.modules = torch.nn.ModuleList(made)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits [n, outputs] of rows [n, D], or of clips as a PackedSequence."""
        for layer, module in zip(self.layers, self.modules, strict=True):
            x = _forward(layer, module, x)
        return x

    def steps(self) -> list[layers.Step]:
        """The trained layers; dropout is none in use."""
        found = (
            _step(layer, module) for layer, module in zip(self.layers, self.modules, strict=True)
        )
        return [step for step in found if step is not None]


def pack(inputs: Array | Sequence[Array], mean: Array, factor: Array) -> Tensor:
    """Features standardised, as a tensor [n, D], or of clips as a PackedSequence."""
    import torch

    if isinstance(inputs, np.ndarray):
        return torch.from_numpy((inputs - mean) * factor)
    clips = [torch.from_numpy((clip - mean) * factor) for clip in inputs]
    return torch.nn.utils.rnn.pack_sequence(clips, enforce_sorted=False)


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """One thread and deterministic kernels within the block: equal seeds give equal weights on equal machines."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    state = torch.get_rng_state()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        torch.set_rng_state(state)


def _module(layer: Layer, width: int) -> tuple[Any, int]:
    """A layer's torch module on this width, and the width that it gives."""
    from torch import nn

    if isinstance(layer, Dense):
        return nn.Linear(width, layer.units), layer.units
    if isinstance(layer, Activation):
        return getattr(nn, _ACTIVATIONS[layer.function])(), width
    if isinstance(layer, Dropout):
        return nn.Dropout(layer.rate), width
    if isinstance(layer, Normalization):
        kind = nn.BatchNorm1d if layer.over == "batch" else nn.LayerNorm
        return kind(width, eps=_EPSILON), width
    if isinstance(layer, Recurrent):
        cell = nn.LSTM if layer.cell == "lstm" else nn.GRU
        return cell(width, layer.units, bidirectional=layer.bidirectional), layer.units * (
            1 + layer.bidirectional
        )
    return nn.Identity(), width


def _forward(layer: Layer, module: Any, x: Tensor) -> Tensor:
    """A layer on rows, or on the steps of packed clips; a pool leaves one row a clip."""
    from torch.nn.utils.rnn import PackedSequence

    if isinstance(layer, Recurrent):
        return module(x)[0]
    if isinstance(layer, Pool):
        return _pooled(layer.by, x)
    if isinstance(x, PackedSequence):
        return x._replace(data=module(x.data))
    return module(x)


def _pooled(by: str, packed: Tensor) -> Tensor:
    import torch

    padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    if by == "last":
        return padded[torch.arange(len(padded)), lengths - 1]
    if by == "mean":
        return padded.sum(dim=1) / lengths[:, None]
    beyond = torch.arange(padded.shape[1])[None, :, None] >= lengths[:, None, None]
    return padded.masked_fill(beyond, float("-inf")).amax(dim=1)


def _step(layer: Layer, module: Any) -> layers.Step | None:
    if isinstance(layer, Dense):
        return layers.Affine(_numpy(module.weight).T, _numpy(module.bias))
    if isinstance(layer, Activation):
        return layers.Function(layer.function)
    if isinstance(layer, Recurrent):
        return recurrent_step(layer.cell, module, 1 + layer.bidirectional)
    if isinstance(layer, Pool):
        return layers.Pooled(layer.by)
    return normalization_step(module) if isinstance(layer, Normalization) else None


def normalization_step(module: Any) -> layers.Step:
    """A torch BatchNorm1d as its running averages have it, or a LayerNorm."""
    if not hasattr(module, "running_mean"):
        width = module.normalized_shape[-1]
        scale = np.ones(width, np.float32) if module.weight is None else _numpy(module.weight)
        shift = np.zeros(width, np.float32) if module.bias is None else _numpy(module.bias)
        return layers.Normalise(scale, shift, module.eps)
    factor = 1 / np.sqrt(_numpy(module.running_var).astype(np.float64) + module.eps)
    factor = factor if module.weight is None else factor * _numpy(module.weight)
    offset = -_numpy(module.running_mean) * factor
    return layers.Rescale(factor, offset if module.bias is None else offset + _numpy(module.bias))


def recurrent_step(cell: str, module: Any, ways: int, layer: int = 0) -> layers.Recur:
    """One layer of a torch LSTM or GRU."""

    def gathered(name: str) -> Array:
        found = [
            _numpy(getattr(module, f"{name}_l{layer}{suffix}"))
            for suffix in ("", "_reverse")[:ways]
        ]
        return np.stack([_reordered(array, _GATES[cell]) for array in found])

    bias = np.concatenate([gathered("bias_ih"), gathered("bias_hh")], axis=1)
    return layers.Recur(cell, gathered("weight_ih"), gathered("weight_hh"), bias)


def _reordered(array: Array, order: Sequence[int]) -> Array:
    gates = np.split(array, len(order))
    return np.concatenate([gates[i] for i in order])


def _numpy(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().numpy())
