"""A Keras model, a row of layers, as the steps of a head."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.heads.activations import (
    KerasRelu,
    LogSigmoid,
    Operator,
    RootMeanSquare,
    TanhShrink,
    UnitNorm,
)
from dof_arrow.heads.exported import Exported, unknown
from dof_arrow.heads.layers import Affine, Function, Normalise, Pooled, Recur, Rescale, Shift, Step

Array = NDArray[Any]

_EXPECTED = "layers in a row that are listed in docs/heads-and-frameworks.md"
_NOTHING = {  # in use
    *("ActivityRegularization", "AlphaDropout", "Dropout", "Flatten", "GaussianDropout"),
    *("GaussianNoise", "Identity", "InputLayer", "Reshape", "SpatialDropout1D"),
}
_SIXTH = {"alpha": 1 / 6, "beta": 0.5}
_FUNCTIONS: Mapping[str, Step | None] = {
    "linear": None,
    "relu": Function("relu"),
    "relu6": Operator("Clip", (0.0, 6.0)),
    "leaky_relu": Operator("LeakyRelu", attributes={"alpha": 0.2}),
    "elu": Function("elu"),
    "celu": Operator("Celu", attributes={"alpha": 1.0}),
    "selu": Function("selu"),
    "gelu": Function("gelu"),
    "silu": Function("silu"),
    "softplus": Function("softplus"),
    "softsign": Operator("Softsign"),
    "tanh": Function("tanh"),
    "sigmoid": Function("sigmoid"),
    "hard_sigmoid": Operator("HardSigmoid", attributes=_SIXTH),
    "hard_silu": Operator("HardSwish"),
    "hard_tanh": Operator("Clip", (-1.0, 1.0)),
    "hard_shrink": Operator("Shrink", attributes={"lambd": 0.5, "bias": 0.0}),
    "soft_shrink": Operator("Shrink", attributes={"lambd": 0.5, "bias": 0.5}),
    "tanh_shrink": TanhShrink(),
    "log_sigmoid": LogSigmoid(),
    "mish": Operator("Mish"),
    "exponential": Function("exp"),
    "softmax": Function("softmax"),
    "log_softmax": Operator("LogSoftmax", attributes={"axis": -1}),
}
_UNIT_SMALLEST = 1e-12  # the length that Keras' UnitNormalization divides by at least
# Options that change nothing in use, by name and by ending.
_IDLE = {
    *("name", "trainable", "dtype", "seed", "momentum", "noise_shape", "rate", "stddev", "units"),
    *("activation", "use_bias", "synchronized", "renorm_clipping", "renorm_momentum", "renorm"),
    *("unroll", "dropout", "recurrent_dropout", "implementation", "unit_forget_bias", "use_cudnn"),
    *("build_config", "batch_shape", "batch_input_shape", "sparse", "ragged", "optional"),
    *("l1", "l2", "data_format", "target_shape", "input_shape"),
}
_IDLE_ENDINGS = ("_initializer", "_regularizer", "_constraint")
# Options that are honoured, by layer.
_HONOURED: Mapping[str, set[str]] = {
    "ReLU": {"max_value", "negative_slope", "threshold"},
    "LeakyReLU": {"negative_slope"},
    "ELU": {"alpha"},
    "Softmax": {"axis"},
    "Rescaling": {"scale", "offset"},
    "Normalization": {"axis", "invert", "mean", "variance"},
    "LayerNormalization": {"axis", "epsilon", "center", "scale"},
    "BatchNormalization": {"axis", "epsilon", "center", "scale"},
    "RMSNormalization": {"axis", "epsilon"},
    "UnitNormalization": {"axis"},
    "LSTM": {"recurrent_activation", "return_sequences", "go_backwards"},
    "GRU": {"recurrent_activation", "return_sequences", "go_backwards", "reset_after"},
}
# Keras orders the LSTM's gates i, f, c, o, ONNX i, o, f, c; those of the GRU are in one order.
_GATES = {"lstm": (0, 3, 1, 2), "gru": (0, 1, 2)}


def exported(model: Any, rows: Array) -> Exported:
    """The steps of a model, and what it says."""
    steps: list[Step] = []
    for layer in _layers(model):
        steps += _steps(layer)
    if not steps:
        raise unknown("Keras", "no layer that computes", _EXPECTED)
    return Exported(
        framework="Keras", steps=steps, says=model.predict_on_batch, name=type(model).__name__
    )


def _layers(model: Any) -> Iterator[Any]:
    """The layers of a model in the order in which its input passes them.

    Raises UsageError for several inputs or outputs, and where tensors are joined. Of a model of the
    user's own class, the order is that of its attributes: comparing answers tells if it is wrong.
    """
    keras = importlib.import_module("keras")
    for name in ("inputs", "outputs"):
        tensors = getattr(model, name, None) or [None]
        if len(tensors) > 1:
            raise unknown("Keras", f"{len(tensors)} {name}", f"one of {name}")
    if isinstance(model, keras.Sequential):
        found = list(model.layers)
    elif hasattr(model, "operations") and getattr(model, "outputs", None):
        found = _chain(model)
    else:
        found = list(model.layers)
    for layer in found:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def _chain(model: Any) -> list[Any]:
    """The layers between the input and the output of a functional model."""
    found: list[Any] = []
    tensor = model.outputs[0]
    while True:
        history = tensor._keras_history
        operation = history.operation
        if type(operation).__name__ == "InputLayer":
            return found[::-1]
        node = operation._inbound_nodes[history.node_index]
        given = list(node.input_tensors)
        if len(given) != 1:
            raise unknown("Keras", f"{type(operation).__name__} of {len(given)} tensors", _EXPECTED)
        if node.arguments.kwargs.get("training"):
            raise unknown(
                "Keras", f"{type(operation).__name__} called with training=True", "layers as in use"
            )
        found.append(operation)
        tensor = given[0]


def _steps(layer: Any) -> Iterator[Step]:
    name = type(layer).__name__
    keras = importlib.import_module("keras")
    own = getattr(keras.layers, name, None) is type(layer)
    if not own or not (name in _NOTHING or name in _WRITTEN or _pools(name)):
        raise unknown("Keras", name, _EXPECTED)
    if not layer.built:
        raise unknown("Keras", f"{name} without weights", "a model that was built or trained")
    _check_options(layer, name)
    if name in _NOTHING:
        _check_rank(layer, name)
        return
    write = _WRITTEN.get(name, _pooled)
    yield from write(layer)
    if name not in ("LSTM", "GRU"):
        yield from _activation(getattr(layer, "activation", None))


def _check_options(layer: Any, name: str) -> None:
    """Raise UsageError for an option that is neither usual, idle nor honoured, by its name."""
    policy = layer.dtype_policy.name
    if policy not in ("float32", "float64"):
        raise unknown("Keras", f"{name}(dtype={policy!r})", "float32")
    usual = inspect.signature(type(layer).__init__).parameters
    for key, value in layer.get_config().items():
        if key in _IDLE or key.endswith(_IDLE_ENDINGS) or key in _HONOURED.get(name, ()):
            continue
        default = usual[key].default if key in usual else None
        if value != default and value not in (None, False):
            raise unknown("Keras", f"{name}({key}={value!r})", f"{name}({key}={default!r})")


def _check_rank(layer: Any, name: str) -> None:
    """Raise UsageError for a Flatten or Reshape that does something to rows [n, D]."""
    if name not in ("Flatten", "Reshape"):
        return
    shape, after = tuple(layer.input.shape), tuple(layer.output.shape)
    if shape != after:
        raise unknown("Keras", f"{name} from {list(shape)} to {list(after)}", "rows [n, D]")


def _activation(function: Any) -> Iterator[Step]:
    """The step of an activation, told by the function itself: another may have its name."""
    keras = importlib.import_module("keras")
    if function is None:
        return
    name = getattr(function, "__name__", type(function).__name__)
    if isinstance(function, keras.layers.Layer):
        yield from _steps(function)
        return
    if name not in _FUNCTIONS or getattr(keras.activations, name, None) is not function:
        raise unknown("Keras", f"activation {name}", ", ".join(sorted(_FUNCTIONS)))
    step = _FUNCTIONS[name]
    if step is not None:
        yield step


def _none(layer: Any) -> Iterator[Step]:
    """An Activation: its function is all."""
    yield from ()


def _dense(layer: Any) -> Iterator[Step]:
    weights = _array(layer.kernel)
    bias = np.zeros(weights.shape[1], np.float32) if layer.bias is None else _array(layer.bias)
    yield Affine(weights, bias)


def _relu(layer: Any) -> Iterator[Step]:
    yield KerasRelu(float(layer.negative_slope), layer.max_value, float(layer.threshold))


def _leaky(layer: Any) -> Iterator[Step]:
    yield Operator("LeakyRelu", attributes={"alpha": float(layer.negative_slope)})


def _prelu(layer: Any) -> Iterator[Step]:
    yield Operator("PRelu", (_array(layer.alpha),))


def _elu(layer: Any) -> Iterator[Step]:
    yield Operator("Elu", attributes={"alpha": float(layer.alpha)})


def _softmax(layer: Any) -> Iterator[Step]:
    _check_axis(layer)
    yield Function("softmax")


def _rescaling(layer: Any) -> Iterator[Step]:
    yield Rescale(np.atleast_1d(layer.scale), np.atleast_1d(layer.offset))


def _unit(layer: Any) -> Iterator[Step]:
    _check_axis(layer)
    yield UnitNorm(_UNIT_SMALLEST)


def _root_mean_square(layer: Any) -> Iterator[Step]:
    _check_axis(layer)
    yield RootMeanSquare(_array(layer.scale), layer.epsilon)


def _layer_normalization(layer: Any) -> Iterator[Step]:
    _check_axis(layer)
    yield Normalise(*_scale_and_shift(layer, _width(layer)), layer.epsilon)


def _normalization(layer: Any) -> Iterator[Step]:
    if layer.mean is None:
        raise unknown("Keras", "Normalization without mean", "a layer that was adapted or built")
    keras = importlib.import_module("keras")
    mean = _array(layer.mean).reshape(-1)
    deviation = np.sqrt(_array(layer.variance).reshape(-1))
    deviation = np.maximum(deviation, keras.config.epsilon())
    if layer.invert:
        yield Rescale(deviation, mean)
    else:
        yield Shift(mean)
        yield Operator("Div", (deviation,))


def _batch_normalization(layer: Any) -> Iterator[Step]:
    _check_axis(layer)
    scale, shift = _scale_and_shift(layer, 1)
    variance = _array(layer.moving_variance).astype(np.float64)
    factor = scale / np.sqrt(variance + layer.epsilon)
    offset = shift - _array(layer.moving_mean) * factor
    yield Rescale(factor, offset)


def _check_axis(layer: Any) -> None:
    """Raise UsageError for a layer that works over another axis than that of the features."""
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    shape = getattr(layer, "_build_shapes_dict", None) or {}
    rank = max((len(each) for each in shape.values() if each), default=2)
    if list(axes) not in ([-1], [rank - 1]):
        name = type(layer).__name__
        raise unknown("Keras", f"{name}(axis={layer.axis})", f"{name}(axis=-1), the features")


def _width(layer: Any) -> int:
    shapes = [each for each in layer._build_shapes_dict.values() if each]
    return int(shapes[0][-1])


def _scale_and_shift(layer: Any, width: int) -> tuple[Array, Array]:
    """The learned scale and shift of a normalisation, 1 and 0 if it has none."""
    scale, shift = np.ones(width, np.float32), np.zeros(width, np.float32)
    if layer.scale:
        scale = _array(layer.gamma)
    if layer.center:
        shift = _array(layer.beta)
    return scale, shift


def _pools(name: str) -> bool:
    return name in ("GlobalAveragePooling1D", "GlobalMaxPooling1D")


def _pooled(layer: Any) -> Iterator[Step]:
    if layer.data_format != "channels_last":
        raise unknown("Keras", f"{type(layer).__name__}(data_format=…)", "channels_last")
    yield Pooled("max" if "Max" in type(layer).__name__ else "mean")


def _recurrent(layer: Any) -> Iterator[Step]:
    """An LSTM or a GRU; Keras holds its weights as [in, gates * units]."""
    cell = type(layer).__name__.lower()
    functions = (layer.activation.__name__, layer.recurrent_activation.__name__)
    if layer.go_backwards or functions != ("tanh", "sigmoid"):
        raise unknown(
            "Keras", f"{cell} of other activations or direction", "tanh and sigmoid, forwards"
        )
    kernel, recurrent, *given = [_array(variable) for variable in layer.weights]
    order = _GATES[cell]
    # ONNX has one bias for the input and one for the state, Keras often only the first.
    bias = np.zeros((2, kernel.shape[1]), np.float32)
    for row, values in enumerate(np.atleast_2d(given[0]) if given else ()):
        bias[row] = values
    both = np.concatenate([_reordered(row, order) for row in bias])
    yield Recur(
        cell,
        weights=_reordered(kernel.T, order)[None],
        recurrent=_reordered(recurrent.T, order)[None],
        bias=both[None],
        reset_after=getattr(layer, "reset_after", True),
    )
    if not layer.return_sequences:
        yield Pooled("last")


def _reordered(array: Array, order: Sequence[int]) -> Array:
    """The gates along the first axis in another order."""
    gates = np.split(array, len(order))
    return np.concatenate([gates[place] for place in order])


def _array(variable: Any) -> Array:
    keras = importlib.import_module("keras")
    value = getattr(variable, "value", variable)
    return np.asarray(keras.ops.convert_to_numpy(value))


_WRITTEN: Mapping[str, Callable[[Any], Iterator[Step]]] = {
    "Activation": _none,
    "Dense": _dense,
    "ReLU": _relu,
    "LeakyReLU": _leaky,
    "PReLU": _prelu,
    "ELU": _elu,
    "Softmax": _softmax,
    "Rescaling": _rescaling,
    "UnitNormalization": _unit,
    "RMSNormalization": _root_mean_square,
    "LayerNormalization": _layer_normalization,
    "BatchNormalization": _batch_normalization,
    "Normalization": _normalization,
    "LSTM": _recurrent,
    "GRU": _recurrent,
}
