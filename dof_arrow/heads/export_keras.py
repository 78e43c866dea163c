"""A Keras model, a row of layers, as the steps of a head."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.heads import layers
from dof_arrow.heads.architecture import FUNCTIONS
from dof_arrow.heads.exported import NOTHING, Exported, fed, unknown
from dof_arrow.heads.layers import Affine, Function, Normalise, Pooled, Recur, Rescale, Shift, Step

Array = NDArray[Any]

_FUNCTIONS = {*FUNCTIONS, "softmax"} - {"leaky_relu"}  # Keras' leaky_relu has another slope
_ACTIVATIONS = {"ReLU": "relu", "Softmax": "softmax"}  # layers that are a function
# Keras orders the LSTM's gates i, f, c, o, ONNX i, o, f, c; those of the GRU are in one order.
_GATES = {"lstm": (0, 3, 1, 2), "gru": (0, 1, 2)}
_SMALLEST_DEVIATION = 1e-7  # what Keras' Normalization divides by at least


def exported(model: Any, sample: Array) -> Exported:
    """The steps of a model, and what it says of the sample."""
    steps = list(_steps(model))
    given = fed(sample, layers.timed(steps))
    return Exported("Keras", steps, np.asarray(model.predict_on_batch(given)))


def _steps(model: Any) -> Iterator[Step]:
    for layer in model.layers:
        name = type(layer).__name__
        if name in ("LSTM", "GRU"):
            yield _recurrent(layer, name.lower())
            if not layer.return_sequences:
                yield Pooled("last")
        else:
            yield from _weighted(layer, name)
            yield from _activation(layer, name)


def _weighted(layer: Any, name: str) -> Iterator[Step]:
    """What a layer does before its activation."""
    if name in ("Dense", "EinsumDense"):
        yield _affine(layer)
    elif name == "Normalization":
        yield from _normalization(layer)
    elif name == "LayerNormalization":
        yield Normalise(*_scale_and_shift(layer), layer.epsilon)
    elif name == "BatchNormalization":
        yield _batch_normalization(layer)
    elif name.startswith("Global") and name.endswith("Pooling1D"):
        yield Pooled("max" if "Max" in name else "mean")
    elif name not in NOTHING and name not in _ACTIVATIONS and name != "Activation":
        raise unknown(
            "Keras", name, "Dense, LSTM, GRU, normalizations, Dropout, activations in a row"
        )


def _activation(layer: Any, name: str) -> Iterator[Step]:
    given = _ACTIVATIONS.get(name)
    if given is None:
        given = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if given in _FUNCTIONS:
        yield Function(given)
    elif given != "linear":
        raise unknown("Keras", f"activation {given}", ", ".join(sorted(_FUNCTIONS)))


def _affine(layer: Any) -> Affine:
    weights, *bias = _arrays(layer)
    if bias:
        return Affine(weights, bias[0])
    return Affine(weights, np.zeros(weights.shape[1], np.float32))


def _normalization(layer: Any) -> Iterator[Step]:
    mean, variance = _arrays(layer)[:2]
    deviation = np.sqrt(variance.reshape(-1))
    deviation = np.maximum(deviation, _SMALLEST_DEVIATION)
    yield Shift(mean.reshape(-1))
    yield Rescale(1 / deviation, np.zeros(1))


def _batch_normalization(layer: Any) -> Rescale:
    scale, shift = _scale_and_shift(layer)
    variance = _array(layer.moving_variance).astype(np.float64)
    factor = scale / np.sqrt(variance + layer.epsilon)
    offset = shift - _array(layer.moving_mean) * factor
    return Rescale(factor, offset)


def _scale_and_shift(layer: Any) -> tuple[Array, Array]:
    """The learned scale and shift of a normalisation, 1 and 0 if it has none."""
    scale, shift = np.ones(1, np.float32), np.zeros(1, np.float32)
    if layer.scale:
        scale = _array(layer.gamma)
    if layer.center:
        shift = _array(layer.beta)
    return scale, shift


def _recurrent(layer: Any, cell: str) -> Recur:
    """An LSTM or a GRU; Keras holds its weights as [in, gates * units]."""
    functions = (layer.activation.__name__, layer.recurrent_activation.__name__)
    if layer.go_backwards or functions != ("tanh", "sigmoid"):
        raise unknown(
            "Keras", f"{cell} of other activations or direction", "tanh and sigmoid, forwards"
        )
    kernel, recurrent, *given = _arrays(layer)
    order = _GATES[cell]
    # ONNX has one bias for the input and one for the state, Keras often only the first.
    bias = np.zeros((2, kernel.shape[1]), np.float32)
    for row, values in enumerate(np.atleast_2d(given[0]) if given else ()):
        bias[row] = values
    both = np.concatenate([_reordered(row, order) for row in bias])
    return Recur(
        cell,
        weights=_reordered(kernel.T, order)[None],
        recurrent=_reordered(recurrent.T, order)[None],
        bias=both[None],
        reset_after=getattr(layer, "reset_after", True),
    )


def _reordered(array: Array, order: Sequence[int]) -> Array:
    """The gates along the first axis in another order."""
    gates = np.split(array, len(order))
    return np.concatenate([gates[place] for place in order])


def _arrays(layer: Any) -> list[Array]:
    return [_array(variable) for variable in layer.weights]


def _array(variable: Any) -> Array:
    keras = importlib.import_module("keras")
    value = getattr(variable, "value", variable)
    return np.asarray(keras.ops.convert_to_numpy(value))
