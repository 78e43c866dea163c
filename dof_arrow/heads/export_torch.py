"""A torch module as the steps of a head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph.torch_onnx import evaluating, onnx_of
from dof_arrow.errors import MissingExtra
from dof_arrow.heads import network
from dof_arrow.heads.activations import (
    Above,
    GeluTanh,
    LogSigmoid,
    Operator,
    RootMeanSquare,
    Softplus,
    TanhShrink,
)
from dof_arrow.heads.export_graph import Graph
from dof_arrow.heads.exported import Exported, unknown
from dof_arrow.heads.layers import Affine, Function, Step

Array = NDArray[Any]

_EXPECTED = "layers of torch.nn that are listed in docs/heads-and-frameworks.md"
_NOTHING = {  # in use
    *("AlphaDropout", "Dropout", "Dropout1d", "FeatureAlphaDropout", "Identity"),
}
_ROWS = (-1, 1)  # the axis of the features


class _NotKnown(Exception):
    """A module that is not written from its layers."""


def exported(model: Any, rows: Array) -> Exported:
    """The steps of a module, and what it says; `rows` [n, D] are of the dataset.

    Known layers in a Sequential are written from their weights; of a module with anything else,
    torch's own exporter makes one step.
    """
    _refuse_types(model)
    _refuse_batch_statistics(model)
    with evaluating(model):  # dropout off, running averages used
        try:
            steps = list(_steps(model))
        except _NotKnown as found:
            steps = [Graph(_converted(model, rows, str(found)))]
    return Exported(framework="torch", steps=steps, says=_says(model), name=type(model).__name__)


def _refuse_types(model: Any) -> None:
    """Raise UsageError for weights that are not float32, as the features are."""
    tensors = [*model.parameters(), *model.buffers()]
    kinds = {str(each.dtype).removeprefix("torch.") for each in tensors if each.is_floating_point()}
    if not kinds <= {"float32"}:
        found = f"weights in {' and '.join(sorted(kinds))}"
        raise unknown("torch", found, "weights in float32", "Export module.float(), once checked")


def _says(model: Any) -> Callable[[Array], Any]:
    """What the module says of rows."""

    def run(rows: Array) -> Any:
        import torch

        given = torch.from_numpy(np.ascontiguousarray(rows))
        device = next((each.device for each in model.parameters()), given.device)
        with torch.no_grad(), evaluating(model):
            found = model(given.to(device))
        return found.cpu().numpy() if isinstance(found, torch.Tensor) else found

    return run


def _refuse_batch_statistics(model: Any) -> None:
    """Raise UsageError for a normalisation that uses the batch that it is given."""
    for name, part in model.named_modules():
        if (
            getattr(part, "track_running_stats", True)
            and getattr(part, "running_mean", 0) is not None
        ):
            continue
        kind = type(part).__name__
        if "Norm" in kind and hasattr(part, "track_running_stats"):
            place = f" at {name}" if name else ""
            raise unknown(
                "torch",
                f"{kind}(track_running_stats=False){place}: its answers depend on the batch",
                "track_running_stats=True",
                "Train it with running statistics",
            )


def _converted(model: Any, rows: Array, name: str) -> Any:
    """The module as ONNX by torch's exporter; UsageError, by its name, where that fails."""
    try:
        return onnx_of(model, rows)
    except MissingExtra:
        raise
    except Exception as error:  # the exporter raises whatever it likes
        found = f"{name} (torch's exporter: {_reason(error)})"
        raise unknown("torch", found, _EXPECTED) from error


def _reason(error: BaseException) -> str:
    """The first line of the first error: the exporter wraps it in advice."""
    while error.__cause__:
        error = error.__cause__
    return str(error).strip().split("\n")[0]


def _steps(module: Any) -> Iterator[Step]:
    """The steps of a module; _NotKnown for anything else than a row of known layers."""
    from torch import nn

    name = type(module).__name__
    hooked = module._forward_hooks or module._forward_pre_hooks
    if hooked or getattr(nn, name, None) is not type(module):
        raise _NotKnown(name)
    if name == "Sequential":
        for child in module:
            yield from _steps(child)
    elif name == "Flatten" and (module.start_dim, module.end_dim) == (1, -1):
        pass
    elif name not in _NOTHING:
        write = _LAYERS.get(name)
        if write is None:
            raise _NotKnown(name)
        yield from write(module)


def _linear(module: Any) -> Iterator[Step]:
    weights = _array(module.weight).T
    bias = np.zeros(weights.shape[1], np.float32)
    if module.bias is not None:
        bias = _array(module.bias)
    yield Affine(weights, bias)


def _normalization(module: Any) -> Iterator[Step]:
    if len(getattr(module, "normalized_shape", "1")) != 1:
        raise _NotKnown(type(module).__name__)
    yield network.normalization_step(module)


def _root_mean_square(module: Any) -> Iterator[Step]:
    if len(module.normalized_shape) != 1:
        raise _NotKnown("RMSNorm")
    epsilon = np.finfo(np.float32).eps if module.eps is None else module.eps
    scale = np.ones(1) if module.weight is None else _array(module.weight)
    yield RootMeanSquare(scale, float(epsilon))


def _gelu(module: Any) -> Iterator[Step]:
    yield GeluTanh() if module.approximate == "tanh" else Function("gelu")


def _softmax(module: Any) -> Iterator[Step]:
    name = type(module).__name__
    if module.dim not in (None, *_ROWS):
        raise unknown(
            "torch",
            f"{name}(dim={module.dim}): over the batch, not over the classes",
            f"{name}(dim=1)",
            "Give it dim=1",
        )
    if name == "LogSoftmax":
        yield Operator("LogSoftmax", attributes={"axis": -1})
    else:
        yield Function("softmax")


def _softplus(module: Any) -> Iterator[Step]:
    yield Softplus(module.beta, module.threshold)


def _sloped(module: Any) -> Iterator[Step]:
    yield Operator("LeakyRelu", attributes={"alpha": float(module.negative_slope)})


def _random_slope(module: Any) -> Iterator[Step]:
    slope = (module.lower + module.upper) / 2  # in use
    yield Operator("LeakyRelu", attributes={"alpha": float(slope)})


def _learned_slope(module: Any) -> Iterator[Step]:
    yield Operator("PRelu", (_array(module.weight),))


def _elu(module: Any) -> Iterator[Step]:
    yield Operator("Elu", attributes={"alpha": float(module.alpha)})


def _celu(module: Any) -> Iterator[Step]:
    yield Operator("Celu", attributes={"alpha": float(module.alpha)})


def _clipped(module: Any) -> Iterator[Step]:
    yield Operator("Clip", (float(module.min_val), float(module.max_val)))


def _shrunk(module: Any) -> Iterator[Step]:
    bias = module.lambd if type(module).__name__ == "Softshrink" else 0.0
    attributes = {"lambd": float(module.lambd), "bias": float(bias)}
    yield Operator("Shrink", attributes=attributes)


def _above(module: Any) -> Iterator[Step]:
    yield Above(float(module.threshold), float(module.value))


def _always(step: Step) -> Callable[[Any], Iterator[Step]]:
    """A layer without options."""
    return lambda module: iter([step])


_LAYERS: Mapping[str, Callable[[Any], Iterator[Step]]] = {
    "Linear": _linear,
    "BatchNorm1d": _normalization,
    "LayerNorm": _normalization,
    "RMSNorm": _root_mean_square,
    "GELU": _gelu,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Softplus": _softplus,
    "LeakyReLU": _sloped,
    "RReLU": _random_slope,
    "PReLU": _learned_slope,
    "ELU": _elu,
    "CELU": _celu,
    "Hardtanh": _clipped,
    "ReLU6": _clipped,
    "Hardshrink": _shrunk,
    "Softshrink": _shrunk,
    "Threshold": _above,
    "ReLU": _always(Function("relu")),
    "SELU": _always(Function("selu")),
    "SiLU": _always(Function("silu")),
    "Tanh": _always(Function("tanh")),
    "Sigmoid": _always(Function("sigmoid")),
    "LogSigmoid": _always(LogSigmoid()),
    "Tanhshrink": _always(TanhShrink()),
    "Softsign": _always(Operator("Softsign")),
    "Mish": _always(Operator("Mish")),
    "Hardswish": _always(Operator("HardSwish")),
    "Hardsigmoid": _always(
        Operator("HardSigmoid", attributes={"alpha": 1 / 6, "beta": 0.5}),
    ),
}


def _array(tensor: Any) -> Array:
    return np.asarray(tensor.detach().cpu().numpy())
