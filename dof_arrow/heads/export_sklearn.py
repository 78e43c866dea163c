"""A scikit-learn estimator, or a pipeline that ends in one, as the steps of a head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.heads.exported import Exported, unknown
from dof_arrow.heads.layers import Affine, Both, Function, Rescale, Shift, Step

Array = NDArray[Any]

# The activations of MLPs; None is the identity.
_FUNCTIONS = {
    "identity": None,
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "softmax": "softmax",
}


def exported(model: Any, sample: Array) -> Exported:
    """The steps of an estimator or pipeline, and what it says of the sample."""
    before, final = [], model
    if hasattr(model, "steps"):
        *before, final = (each for _, each in model.steps)
    steps: list[Step] = []
    for each in before:
        steps += _scaler(each)
    steps += _estimator(final)
    if not hasattr(final, "predict_proba"):
        return Exported("scikit-learn", steps, model.predict(sample))
    return Exported("scikit-learn", steps, model.predict_proba(sample), _codes(final))


def _codes(model: Any) -> Sequence[Any] | None:
    """The class of each output, None if the outputs are flags."""
    classes = model.classes_
    if isinstance(classes, list) or np.ndim(classes) != 1:
        return None
    # An MLP of flags numbers them in `classes_`; only its activation tells flags from classes.
    activation = getattr(model, "out_activation_", "")
    if activation == "logistic" and len(classes) > 2:
        return None
    return list(classes)


def _scaler(model: Any) -> Iterator[Step]:
    """A transformer before the estimator."""
    name = type(model).__name__
    if name == "StandardScaler":
        factor = 1 / model.scale_ if model.with_std else np.ones(1)
        yield Shift(model.mean_ if model.with_mean else np.zeros(1))
        yield Rescale(factor, np.zeros(1))
    elif name == "MinMaxScaler":
        yield Rescale(model.scale_, model.min_)
    elif name == "PCA":
        scale = np.sqrt(model.explained_variance_) if model.whiten else 1.0
        weights = model.components_.T / scale
        yield Shift(model.mean_)
        yield Affine(weights, np.zeros(weights.shape[1]))
    elif model not in (None, "passthrough"):
        raise unknown(
            "scikit-learn", name, "StandardScaler, MinMaxScaler, PCA before the estimator"
        )


def _estimator(model: Any) -> Iterator[Step]:
    if hasattr(model, "coefs_"):
        yield from _network(model)
        columns = len(model.intercepts_[-1])
    elif hasattr(model, "coef_") and not hasattr(model, "support_"):  # but no SVM
        yield from _linear(model)
        columns = len(np.atleast_2d(model.coef_))
    else:
        raise unknown(
            "scikit-learn", type(model).__name__, "linear models with chances or values, MLP"
        )
    if hasattr(model, "predict_proba") and columns == 1:
        yield Both()


def _network(model: Any) -> Iterator[Step]:
    """An MLP: its last layer has an activation of its own."""
    hidden = len(model.coefs_) - 1
    activations = [model.activation] * hidden + [model.out_activation_]
    layers = zip(model.coefs_, model.intercepts_, activations, strict=True)
    for weights, bias, activation in layers:
        yield Affine(weights, bias)
        name = _FUNCTIONS[activation]
        if name is not None:
            yield Function(name)


def _linear(model: Any) -> Iterator[Step]:
    weights = np.atleast_2d(model.coef_)
    columns = len(weights)
    yield Affine(weights.T, np.broadcast_to(model.intercept_, columns))
    if hasattr(model, "predict_proba"):
        yield Function("sigmoid" if columns == 1 else "softmax")
