"""A suggested architecture as a torch network, and its trained layers as steps (extra `torch`)."""

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
    pooled_width,
)

Array = NDArray[Any]
Tensor = Any

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
    """An architecture with its output layer; it takes features that are standardised already.

    `modules` is a torch ModuleList with a module for each layer. Raises MissingExtra without torch,
    UsageError if the network is too large.
    """

    def __init__(self, architecture: Architecture, width: int, outputs: int) -> None:
        torch = require("torch", extra="torch")
        check_size(architecture, width, outputs)
        output_layer = Dense(units=outputs)
        self.layers: tuple[Layer, ...] = (*architecture.layers, output_layer)
        self.timed = architecture.timed
        self.modules = torch.nn.ModuleList()
        for layer in self.layers:
            module, width = _module(layer, width)
            self.modules.append(module)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits [n, outputs] of rows [n, D], or of clips as a PackedSequence."""
        for layer, module in zip(self.layers, self.modules, strict=True):
            x = _forward(layer, module, x)
        return x

    def steps(self) -> list[layers.Step]:
        """The trained layers; dropout does nothing in use, so it is no step."""
        steps = []
        for layer, module in zip(self.layers, self.modules, strict=True):
            step = _step(layer, module)
            if step is not None:
                steps.append(step)
        return steps


def pack(inputs: Array | Sequence[Array], mean: Array, factor: Array) -> Tensor:
    """Standardise features: rows become a tensor [n, D], clips a PackedSequence."""
    import torch

    if isinstance(inputs, np.ndarray):
        return torch.from_numpy((inputs - mean) * factor)
    clips = []
    for clip in inputs:
        standard = (clip - mean) * factor
        clips.append(torch.from_numpy(standard))
    return torch.nn.utils.rnn.pack_sequence(clips, enforce_sorted=False)


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """Use one thread and deterministic kernels within the block, then restore torch's settings.

    So equal seeds give equal weights on equal machines.
    """
    import torch

    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    state = torch.get_rng_state()
    torch.set_num_threads(1)  # the order of sums depends on the number of threads
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        torch.set_rng_state(state)


def _module(layer: Layer, width: int) -> tuple[Any, int]:
    """A layer's torch module for an input of this width, and the width of its output."""
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
        module = cell(width, layer.units, bidirectional=layer.bidirectional)
        return module, layer.units * _ways(layer)
    if isinstance(layer, Pool):
        width = pooled_width(layer, width)
    return nn.Identity(), width


def _ways(layer: Recurrent) -> int:
    """In how many directions a recurrent layer reads."""
    return 2 if layer.bidirectional else 1


def _forward(layer: Layer, module: Any, x: Tensor) -> Tensor:
    """Run a layer on rows, or on the frames of packed clips; a pool leaves a row for each clip."""
    from torch.nn.utils.rnn import PackedSequence

    if isinstance(layer, Recurrent):
        return module(x)[0]
    if isinstance(layer, Pool):
        return _pooled(layer.by, x)
    if isinstance(x, PackedSequence):  # every other layer sees each frame by itself
        return x._replace(data=module(x.data))
    return module(x)


def _pooled(by: str, packed: Tensor) -> Tensor:
    """The frames of packed clips as one row for each clip; what pads them does not count."""
    import torch
    from torch.nn.utils.rnn import pad_packed_sequence

    padded, lengths = pad_packed_sequence(packed, batch_first=True)
    if by == "last":
        clips = torch.arange(len(padded))
        return padded[clips, lengths - 1]
    if by == "mean":
        return padded.sum(dim=1) / lengths[:, None]
    frames = torch.arange(padded.shape[1])
    beyond = frames[None, :, None] >= lengths[:, None, None]
    highest = padded.masked_fill(beyond, float("-inf")).amax(dim=1)
    if by == "max":
        return highest
    lowest = padded.masked_fill(beyond, float("inf")).amin(dim=1)
    mean = padded.sum(dim=1) / lengths[:, None]
    distance = (padded - mean[:, None]).masked_fill(beyond, 0)
    variance = distance.square().sum(dim=1) / lengths[:, None]
    # Without the constant, the gradient of a unit that is the same in all frames were infinite.
    deviation = (variance + layers.SMALLEST_VARIANCE).sqrt()
    return torch.cat([mean, deviation, lowest, highest], dim=1)


def _step(layer: Layer, module: Any) -> layers.Step | None:
    """A trained layer as a step, None if it does nothing in use."""
    if isinstance(layer, Dense):
        weights = _numpy(module.weight).T
        return layers.Affine(weights, _numpy(module.bias))
    if isinstance(layer, Activation):
        return layers.Function(layer.function)
    if isinstance(layer, Recurrent):
        return recurrent_step(layer.cell, module, _ways(layer))
    if isinstance(layer, Pool):
        return layers.Pooled(layer.by)
    if isinstance(layer, Normalization):
        return normalization_step(module)
    return None


def normalization_step(module: Any) -> layers.Step:
    """A torch BatchNorm1d with its running averages, or a LayerNorm."""
    if hasattr(module, "running_mean"):
        return _batch_normalization(module)
    width = module.normalized_shape[-1]
    scale, shift = np.ones(width, np.float32), np.zeros(width, np.float32)
    if module.weight is not None:
        scale = _numpy(module.weight)
    if module.bias is not None:
        shift = _numpy(module.bias)
    return layers.Normalise(scale, shift, module.eps)


def _batch_normalization(module: Any) -> layers.Step:
    variance = _numpy(module.running_var).astype(np.float64)
    factor = 1 / np.sqrt(variance + module.eps)
    if module.weight is not None:
        factor = factor * _numpy(module.weight)
    offset = -_numpy(module.running_mean) * factor
    if module.bias is not None:
        offset = offset + _numpy(module.bias)
    return layers.Rescale(factor, offset)


def recurrent_step(cell: str, module: Any, ways: int, layer: int = 0) -> layers.Recur:
    """One layer of a torch LSTM or GRU that reads in one or two ways."""
    suffixes = ("", "_reverse")[:ways]

    def gathered(name: str) -> Array:
        found = []
        for suffix in suffixes:
            tensor = getattr(module, f"{name}_l{layer}{suffix}")
            found.append(_reordered(_numpy(tensor), _GATES[cell]))
        return np.stack(found)

    bias = np.concatenate([gathered("bias_ih"), gathered("bias_hh")], axis=1)
    return layers.Recur(cell, gathered("weight_ih"), gathered("weight_hh"), bias)


def _reordered(array: Array, order: Sequence[int]) -> Array:
    """The gates along the first axis in another order."""
    gates = np.split(array, len(order))
    return np.concatenate([gates[place] for place in order])


def _numpy(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().numpy())
