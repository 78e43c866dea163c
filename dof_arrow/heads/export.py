"""Heads that were trained elsewhere, in torch, Keras, scikit-learn or JAX, written as ONNX heads of a dataset.

Known layers are written straight from their weights; of torch modules with anything else, torch's own exporter is
asked. What was written is run on rows of the dataset and compared with the model itself before it is given out.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph.torch_onnx import evaluating, onnx_of
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads import features as inputs
from dof_arrow.heads import labels
from dof_arrow.heads import layers as stack
from dof_arrow.heads.architecture import FUNCTIONS
from dof_arrow.heads.head import Head
from dof_arrow.heads.labels import Labelled
from dof_arrow.heads.layers import Affine, Function, Normalise, Recur, Rescale, Shift, Step
from dof_arrow.storage.atomic import replacing

Array = NDArray[Any]
Json = Any

_SAMPLE = 256  # rows on which model and head are compared
_TOLERANCE = 1e-4
_CERTAIN = 1e-3
_TORCH = {
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
_NOTHING = {
    "Dropout",
    "Identity",
    "Flatten",
    "InputLayer",
    "AlphaDropout",
    "GaussianNoise",
    "ActivityRegularization",
}
_KERAS = {*FUNCTIONS, "softmax"} - {"leaky_relu"}  # Keras' slope is another
_SKLEARN = {
    "identity": None,
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "softmax": "softmax",
}
_ANY = "convert the model to ONNX with its framework's own tool and pass that"


def export_head(
    model: Any,
    *,
    like: Labelled,
    path: str | os.PathLike[str] | None = None,
    target: str | None = None,
    feature: str | None = None,
    classes: Sequence[str] | None = None,
    activation: str = "relu",
    outputs: Literal["logits", "chances"] | None = None,
    report: Mapping[str, Json] | None = None,
    overwrite: bool = False,
) -> bytes:
    """Write a trained model as the head of the dataset that it was trained on; the ONNX bytes, also at `path`.

    `model` is a torch Module, a Keras model, a scikit-learn estimator or pipeline, or the weights of a JAX network as
    a list of (weights [in, out], bias) with `activation` between. It takes `like`'s features [n, D], or clips
    [n, T, D], and gives a logit or a chance for each class, or values. `outputs` tells which of the two; otherwise its
    last layer does, or where the layers are not known, what it says of the dataset. `classes` names its outputs where
    they are not the target's, in their order. Raises UsageError for a model that
    cannot be exported, CoreError where the ONNX head does not say what the model says.
    """
    metadata = like.metadata
    name = labels.choose(metadata.targets, target)
    about = metadata.targets[name]
    (column,) = inputs.columns(like, [feature] if feature else [])
    features = like.to_numpy(None if column == metadata.primary_column else column)[:_SAMPLE]
    sample = features.reshape(len(features), -1).astype(np.float32)
    found = exported(model, sample, activation)
    _check_same(found, sample)
    given = _named(found, classes, about)
    answers = _run(found.steps, about.kind, sample, found.timed)
    chances = (
        outputs == "chances" if outputs else _are_chances(found.steps[-1], answers, about.kind)
    )
    steps = [*found.steps, *_ending(answers.shape[1], chances, about.kind, len(given))]
    core = metadata.cores.get(metadata.columns[column].core or "")
    head = Head(
        target=name,
        kind=about.kind,
        classes=given,
        unit=about.unit,
        feature=column,
        core_sha256=core.sha256 if core else None,
        dataset_uuid=metadata.uuid,
        clips=found.timed,
        sampling=inputs.sampling(metadata),
        report={"how": f"exported from {found.framework}", **(report or {})},
    )
    data = _written(steps, about.kind, sample.shape[1], head)
    if path is not None:
        with replacing(path, overwrite=overwrite) as file:
            file.write(data)
    return data


def _written(steps: Sequence[stack.Step], kind: str, width: int, head: Head) -> bytes:
    described = json.dumps(to_json(head), ensure_ascii=False, separators=(",", ":"))
    return graph.to_bytes(
        stack.to_model(steps, kind, width, len(head.classes) or 1, {"dof.head": described})
    )


def _run(steps: Sequence[stack.Step], kind: str, sample: Array, timed: bool) -> Array:
    """What steps say of the sample: of its rows, or of eight clips made of them."""
    session = graph.session(graph.to_bytes(stack.to_model(steps, kind, sample.shape[1], "C")))
    return graph.run(session, {"feature": _fed(sample, timed)})[0]


def _fed(sample: Array, timed: bool) -> Array:
    return (
        np.stack(np.array_split(sample[: len(sample) // 8 * 8], 8))
        if timed and len(sample) >= 8
        else (sample[None] if timed else sample)
    )


def _check_same(found: Exported, sample: Array) -> None:
    """The steps say what the model says."""
    if found.own is None:
        return
    ours, theirs = (
        _run(found.steps, "regression", sample, found.timed),
        found.own(_fed(sample, found.timed)),
    )
    theirs = np.asarray(theirs, np.float64).reshape(len(ours), -1)
    scale = max(1.0, float(np.abs(theirs).max()))
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, atol=_TOLERANCE * scale):
        worst = (
            float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else f"{ours.shape}"
        )
        raise CoreError(
            "the ONNX head differs from the model",
            found.framework,
            f"equal to {_TOLERANCE * scale:g}",
            str(worst),
            "Put the model into eval mode; report this if it was",
        )


def _named(found: Exported, classes: Sequence[str] | None, about: Target) -> tuple[str, ...]:
    """The class of each output, in order."""
    if about.kind == "regression":
        return ()
    if classes is None and found.codes is not None:
        return tuple(c if isinstance(c, str) else about.classes[int(c)] for c in found.codes)
    return tuple(classes or about.classes)


def _are_chances(last: stack.Step, answers: Array, kind: str) -> bool:
    """Whether a model says chances, not logits: by its last layer, or by what it says where that is not known."""
    if not isinstance(last, Graph):
        return isinstance(last, stack.Both) or last in (
            stack.Function("softmax"),
            stack.Function("sigmoid"),
        )
    within = bool(((answers >= -_CERTAIN) & (answers <= 1 + _CERTAIN)).all())
    if kind == "category" and answers.shape[1] > 1:
        return within and bool(np.allclose(answers.sum(axis=1), 1, atol=_CERTAIN))
    return within


def _ending(columns: int, chances: bool, kind: str, count: int) -> list[stack.Step]:
    """The steps from what the model says to what a head must say."""
    one_of_two = kind == "category" and count == 2 and columns == 1
    if columns != max(count, 1) and not one_of_two:
        raise UsageError(
            "the model has another number of outputs",
            expected=f"{max(count, 1)}",
            found=f"{columns}",
            hint="Pass classes=[…], the name of each output",
        )
    if kind == "regression":
        return []
    if one_of_two:
        return [*([] if chances else [stack.Function("sigmoid")]), stack.Both()]
    return [] if chances else [stack.Function(stack.ENDS[kind])]


@dataclass(frozen=True, slots=True)
class Exported:
    """A model's steps, how the model itself is asked (None where it cannot be), and the class of each output if known."""

    framework: str
    steps: list[Step]
    own: Callable[[Array], Any] | None = None
    codes: Sequence[Any] | None = None

    @property
    def timed(self) -> bool:
        """Whether it reads clips."""
        return stack.timed(self.steps)


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole ONNX model of one input and one output as a step."""

    model: Any

    def write(self, pen: stack.Pen, x: str) -> str:
        import onnx

        part = onnx.ModelProto()
        part.CopyFrom(self.model)
        del part.graph.value_info[:]
        onnx.compose.add_prefix(part, "own/", inplace=True)
        graph.rename_tensor(part, graph.inputs(part)[0].name, x)
        pen.nodes.extend(part.graph.node)
        pen.weights.extend(part.graph.initializer)
        return str(part.graph.output[0].name)


def exported(model: Any, sample: Array, activation: str) -> Exported:
    """The steps of a model of any framework; UsageError for what is none, or holds layers that are not known."""
    roots = {kind.__module__.split(".")[0] for kind in type(model).__mro__}
    if "keras" in roots:  # first: on one of its backends, its models are torch modules too
        return Exported(
            "Keras",
            list(_keras_steps(model.layers)),
            lambda x: np.asarray(model.predict_on_batch(x)),
        )
    if "torch" in roots:
        return _torch(model, sample)
    if "sklearn" in roots:
        return _sklearn(model)
    if "onnx" in roots or isinstance(model, (bytes, str, Path)):
        return _onnx(model)
    return Exported("JAX", list(_weights_steps(model, activation)))


def _torch(model: Any, sample: Array) -> Exported:
    import torch

    def own(x: Array) -> Any:
        with torch.no_grad():
            found = model(torch.from_numpy(x))
            last = [m for m in model.modules() if not list(m.children())][-1]
            return (found.exp() if isinstance(last, torch.nn.LogSoftmax) else found).numpy()

    with evaluating(model):
        return Exported("torch", _torch_parts(model, sample), _constantly(own(sample)))


def _torch_parts(model: Any, sample: Array) -> list[Step]:
    try:
        return list(_torch_steps(model))
    except UsageError:
        return [Graph(onnx_of(model, sample))]


def _constantly(answer: Any) -> Callable[[Array], Any]:
    return lambda x: answer


def _torch_steps(module: Any) -> Iterator[Step]:
    from dof_arrow.heads import network

    name = type(module).__name__
    if name == "Sequential":
        for child in module:
            yield from _torch_steps(child)
    elif name == "Linear":
        weights = module.weight.detach().cpu().numpy().T
        yield Affine(weights, _or_zeros(module.bias, weights.shape[1]))
    elif name in ("BatchNorm1d", "LayerNorm"):
        yield network.normalization_step(module)
    elif name == "GELU" and module.approximate == "none":
        yield Function("gelu")
    elif name == "LeakyReLU" and module.negative_slope == 0.01:
        yield Function("leaky_relu")
    elif (
        name in _TORCH and getattr(module, "alpha", 1.0) == 1.0 and getattr(module, "beta", 1) == 1
    ):
        yield Function(_TORCH[name])
    elif name not in _NOTHING:
        raise _unknown(
            "torch", name, "Linear, BatchNorm1d, LayerNorm, Dropout, activations in a Sequential"
        )


def _onnx(model: Any) -> Exported:
    if isinstance(model, (str, Path)):
        loaded = graph.load(model)
    else:
        loaded = graph.from_bytes(model if isinstance(model, bytes) else graph.to_bytes(model))
    if (
        len(graph.inputs(loaded)) != 1
        or len(loaded.graph.output) != 1
        or graph.opset(loaded) > graph.OPSET
    ):
        raise UsageError(
            "this ONNX model is no head",
            expected=f"one input, one output, opset {graph.OPSET} or less",
            found=f"{len(graph.inputs(loaded))}, {len(loaded.graph.output)}, {graph.opset(loaded)}",
            hint="Export it again with these",
        )
    return Exported("ONNX", [Graph(graph.raise_opset(graph.inlined(loaded)))])


def _keras_steps(layers: Iterable[Any]) -> Iterator[Step]:
    for layer in layers:
        name = type(layer).__name__
        weights = [_keras_array(w) for w in layer.weights]
        if name in ("Dense", "EinsumDense"):
            yield Affine(
                weights[0],
                weights[1] if len(weights) > 1 else np.zeros(weights[0].shape[1], np.float32),
            )
        elif name in ("LSTM", "GRU"):
            yield _keras_recurrent(layer, name.lower(), weights)
            if not layer.return_sequences:
                yield stack.Pooled("last")
            continue
        elif name in ("BatchNormalization", "LayerNormalization", "Normalization"):
            yield from _keras_normalization(layer, name, weights)
        elif name.startswith("Global") and name.endswith("Pooling1D"):
            yield stack.Pooled("max" if "Max" in name else "mean")
        elif name not in _NOTHING | {"Activation", "ReLU", "Softmax"}:
            raise _unknown(
                "Keras", name, "Dense, LSTM, GRU, normalizations, Dropout, activations in a row"
            )
        yield from _keras_activation(layer, name)


def _keras_activation(layer: Any, name: str) -> Iterator[Step]:
    given = {"ReLU": "relu", "Softmax": "softmax"}.get(name) or getattr(
        getattr(layer, "activation", None), "__name__", "linear"
    )
    if given in _KERAS:
        yield Function(given)
    elif given != "linear":
        raise _unknown("Keras", f"activation {given}", ", ".join(sorted(_KERAS)))


def _keras_normalization(layer: Any, name: str, weights: Sequence[Array]) -> Iterator[Step]:
    if name == "Normalization":
        mean, variance = (np.asarray(w).reshape(-1) for w in weights[:2])
        yield Shift(mean)
        yield Rescale(1 / np.maximum(np.sqrt(variance), 1e-7), np.zeros(1))
        return
    scale = _keras_array(layer.gamma) if layer.scale else np.ones(1, np.float32)
    shift = _keras_array(layer.beta) if layer.center else np.zeros(1, np.float32)
    if name == "LayerNormalization":
        yield Normalise(scale, shift, layer.epsilon)
        return
    factor = scale / np.sqrt(_keras_array(layer.moving_variance).astype(np.float64) + layer.epsilon)
    yield Rescale(factor, shift - _keras_array(layer.moving_mean) * factor)


def _keras_recurrent(layer: Any, cell: str, weights: Sequence[Array]) -> Step:
    """Keras has the LSTM's gates as i, f, c, o, the GRU's as ONNX has them; its weights are [in, gates * units]."""
    order = (0, 3, 1, 2) if cell == "lstm" else (0, 1, 2)
    if (
        layer.go_backwards
        or layer.activation.__name__ != "tanh"
        or layer.recurrent_activation.__name__ != "sigmoid"
    ):
        raise _unknown(
            "Keras", f"{cell} of other activations or direction", "tanh and sigmoid, forwards"
        )
    bias = np.zeros((2, weights[0].shape[1]), np.float32)
    if len(weights) > 2:
        bias[: np.atleast_2d(weights[2]).shape[0]] = weights[2]
    kernel, recurrent = (_gates(w.T, order)[None] for w in weights[:2])
    both = np.concatenate([_gates(b, order) for b in bias])[None]
    return Recur(cell, kernel, recurrent, both, reset_after=getattr(layer, "reset_after", True))


def _keras_array(variable: Any) -> Array:
    keras = importlib.import_module("keras")
    return np.asarray(keras.ops.convert_to_numpy(getattr(variable, "value", variable)))


def _gates(array: Array, order: Sequence[int]) -> Array:
    parts = np.split(array, len(order))
    return np.concatenate([parts[i] for i in order])


def _sklearn(model: Any) -> Exported:
    final = model.steps[-1][1] if hasattr(model, "steps") else model
    before = [each for _, each in model.steps[:-1]] if hasattr(model, "steps") else []
    steps = [step for each in before for step in _sklearn_scaler(each)]
    if not hasattr(final, "predict_proba"):
        return Exported("scikit-learn", [*steps, *_sklearn_final(final)], model.predict)
    several = isinstance(final.classes_, list) or np.ndim(final.classes_) != 1
    binary_flags = getattr(final, "out_activation_", "") == "logistic" and len(final.classes_) > 2
    codes = None if several or binary_flags else list(final.classes_)
    return Exported("scikit-learn", [*steps, *_sklearn_final(final)], model.predict_proba, codes)


def _sklearn_scaler(model: Any) -> Iterator[Step]:
    name = type(model).__name__
    if name == "StandardScaler":
        yield Shift(model.mean_ if model.with_mean else np.zeros(1))
        yield Rescale(1 / model.scale_ if model.with_std else np.ones(1), np.zeros(1))
    elif name == "MinMaxScaler":
        yield Rescale(model.scale_, model.min_)
    elif name == "PCA":
        scale = np.sqrt(model.explained_variance_) if model.whiten else 1.0
        yield Shift(model.mean_)
        yield Affine((model.components_.T / scale), np.zeros(len(model.components_)))
    elif model not in (None, "passthrough"):
        raise _unknown(
            "scikit-learn", name, "StandardScaler, MinMaxScaler, PCA before the estimator"
        )


def _sklearn_final(model: Any) -> Iterator[Step]:
    if hasattr(model, "coefs_"):
        hidden = _SKLEARN[model.activation]
        for i, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
            name = _SKLEARN[model.out_activation_] if i == len(model.coefs_) - 1 else hidden
            yield Affine(weights, bias)
            yield from [Function(name)] if name else []
        columns = len(model.intercepts_[-1])
    elif hasattr(model, "coef_") and not hasattr(model, "support_"):
        weights = np.atleast_2d(model.coef_)
        columns = len(weights)
        yield Affine(weights.T, np.broadcast_to(model.intercept_, columns))
        if hasattr(model, "predict_proba"):
            yield Function("sigmoid" if columns == 1 else "softmax")
    else:
        raise _unknown(
            "scikit-learn", type(model).__name__, "linear models with chances or values, MLP"
        )
    if hasattr(model, "predict_proba") and columns == 1:
        yield stack.Both()


def _weights_steps(layers: Any, activation: str) -> Iterator[Step]:
    """A list of (weights, bias), or of {"w" or "kernel", "b" or "bias"}, with an activation between."""
    if activation not in FUNCTIONS:
        raise UsageError("unknown activation", expected=", ".join(FUNCTIONS), found=activation)
    pairs = [_pair(layer) for layer in layers] if isinstance(layers, (list, tuple)) else []
    if not pairs:
        raise _unknown(
            "Python",
            type(layers).__name__,
            "a model of torch, Keras, scikit-learn, or a list of weights",
        )
    for i, (weights, bias) in enumerate(pairs):
        yield from [Function(activation)] if i else []
        yield Affine(weights, bias)


def _pair(layer: Any) -> tuple[Array, Array]:
    if isinstance(layer, dict):
        layer = [layer.get("w", layer.get("kernel")), layer.get("b", layer.get("bias"))]
    weights, bias = np.asarray(layer[0], np.float32), np.asarray(layer[1], np.float32)
    if weights.ndim != 2 or bias.shape != weights.shape[1:]:
        raise UsageError(
            "these are no layers",
            expected="weights [in, out] and bias [out] a layer",
            found=f"{weights.shape} and {bias.shape}",
        )
    return weights, bias


def _or_zeros(bias: Any, width: int) -> Array:
    return np.zeros(width, np.float32) if bias is None else np.asarray(bias.detach().cpu().numpy())


def _unknown(framework: str, found: str, expected: str) -> UsageError:
    return UsageError(
        f"a {framework} model that cannot be exported",
        expected=expected,
        found=found,
        hint=f"Otherwise {_ANY}",
    )
