"""A scikit-learn estimator, or a pipeline that ends in one, as the steps of a head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads import export_skl2onnx, export_trees, trees
from dof_arrow.heads.activations import Gaussians, Operator, Rounded, RowScaled, Shares
from dof_arrow.heads.exported import Exported, Gives, unknown
from dof_arrow.heads.layers import Affine, Both, Function, Rescale, Shift, Step

Array = NDArray[Any]

# The activations of MLPs; None is the identity.
_FUNCTIONS = {
    "identity": None,
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "softmax": "softmax",
    "exp": "exp",
}
# Linear models by what makes answers of their decision function.
_LOGISTIC = {"LogisticRegression", "LogisticRegressionCV", "LinearDiscriminantAnalysis"}
_DISTANCES = {
    "LinearSVC",
    "PassiveAggressiveClassifier",
    "Perceptron",
    "RidgeClassifier",
    "RidgeClassifierCV",
}
_NUMBERS = {
    *("ARDRegression", "BayesianRidge", "ElasticNet", "ElasticNetCV", "HuberRegressor", "Lars"),
    *("LarsCV", "Lasso", "LassoCV", "LassoLars", "LassoLarsCV", "LassoLarsIC", "LinearRegression"),
    *("LinearSVR", "MultiTaskElasticNet", "MultiTaskLasso", "OrthogonalMatchingPursuit"),
    *("OrthogonalMatchingPursuitCV", "PassiveAggressiveRegressor", "QuantileRegressor", "Ridge"),
    *("RidgeCV", "SGDRegressor", "TheilSenRegressor"),
}
_EXPONENTIAL = {"GammaRegressor", "PoissonRegressor", "TweedieRegressor"}
_NETWORKS = {"MLPClassifier", "MLPRegressor"}
_UNWRAPPED = {  # searches, by the attribute that holds the one to use
    **dict.fromkeys(
        ("GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV"),
        "best_estimator_",
    ),
    "RANSACRegressor": "estimator_",
}
# What no head can do, with the reason.
_REFUSED = {
    "FunctionTransformer": "a function of your own",
    "ColumnTransformer": "columns that are treated apart",
    "MultiOutputClassifier": "several targets",
    "MultiOutputRegressor": "several targets",
    "ClassifierChain": "several targets",
    "RegressorChain": "several targets",
}
_LONGEST = 200  # characters of an estimator in a message
_EXPECTED = (
    "scalers, PCA, linear models, discriminants, GaussianNB, MLP, trees; others through skl2onnx"
)


def exported(model: Any, rows: Array) -> Exported:
    """The steps of an estimator or pipeline, and what it says; `rows` [n, D] are of the dataset.

    What is not written here goes through skl2onnx.
    """
    parts = list(_parts(model))
    for part in parts:
        _refuse(part)
    says, gives = _says(model, parts[-1])
    common: dict[str, Any] = {
        "framework": "scikit-learn",
        "says": says,
        "gives": gives,
        "name": _shown(model),
    }
    common["codes"] = _codes(parts[-1]) if gives else None
    steps = _steps(parts)
    if steps is None:
        steps, edges = export_skl2onnx.steps(model, parts, rows, says)
        return Exported(steps=steps, edges=edges, **common)
    written = export_trees.of(steps)
    edges = trees.edges(written, rows) if written and len(parts) == 1 else None
    double = not _narrow(parts[-1])
    if double and not written:
        common["says"] = _in_float64(says)
    return Exported(steps=steps, double=double, edges=edges, **common)


def _in_float64(says: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """The same, computed as the head computes it: on far rows float32 rounds visibly."""
    return lambda rows: says(rows.astype(np.float64))


def _narrow(final: Any) -> bool:
    """Whether an estimator computes float32 rows in float32 where it would show."""
    return type(final).__name__ == "GaussianNB" and final.theta_.dtype == np.float32


def _shown(model: Any) -> str:
    """An estimator with the options that are not the usual ones, on one line."""
    text = " ".join(repr(model).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _parts(model: Any) -> Iterator[Any]:
    """The estimators of nested pipelines and searches, in order; those that do nothing left out."""
    name = type(model).__name__
    if name == "Pipeline":
        for _, each in model.steps:
            yield from _parts(each)
    elif name in _UNWRAPPED:
        held = getattr(model, _UNWRAPPED[name], None)
        if held is None:
            raise unknown(
                "scikit-learn", f"{name} without {_UNWRAPPED[name]}", "refit=True, fitted"
            )
        yield from _parts(held)
    elif model not in (None, "passthrough"):
        yield model


def _refuse(part: Any) -> None:
    """Raise UsageError for what no head can do, and for what was not fitted."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    name = type(part).__name__
    if name in _REFUSED:
        raise unknown("scikit-learn", f"{name}: {_REFUSED[name]}", _EXPECTED)
    if name.startswith("Dummy") and getattr(part, "strategy", "") in ("stratified", "uniform"):
        raise unknown(
            "scikit-learn", f"{name}(strategy={part.strategy!r}): random", "a fixed answer"
        )
    if not type(part).__module__.startswith("sklearn."):
        raise unknown("scikit-learn", f"{name}, which is not scikit-learn's own", _EXPECTED)
    try:
        check_is_fitted(part)
    except NotFittedError as error:
        raise UsageError(
            "the model is not fitted", name, "a fitted estimator", hint="Call fit first"
        ) from error


def _says(model: Any, final: Any) -> tuple[Callable[[Array], Any], Gives | None]:
    """What a model says of rows, and what that is; None for numbers."""
    if not hasattr(final, "classes_") and not hasattr(model, "predict_proba"):
        return model.predict, None
    if hasattr(model, "predict_proba"):
        return model.predict_proba, "chances"
    if hasattr(model, "decision_function"):
        return model.decision_function, "distances"
    raise unknown("scikit-learn", f"{type(final).__name__}, which only names a class", _EXPECTED)


def _codes(model: Any) -> Sequence[Any] | None:
    """The class of each output, None if the outputs are flags."""
    classes = model.classes_
    if isinstance(classes, list):
        raise unknown("scikit-learn", f"{type(model).__name__} of several targets", "one target")
    if np.ndim(classes) != 1 or getattr(model, "multilabel_", False):
        return None
    # An MLP of flags numbers them in `classes_`; only its activation tells flags from classes.
    activation = getattr(model, "out_activation_", "")
    if activation == "logistic" and len(classes) > 2:
        return None
    return list(classes)


def _steps(parts: Sequence[Any]) -> list[Step] | None:
    """The steps of estimators one after the other; None if one is not written here."""
    *before, final = parts
    found: list[Step] = []
    for each in before:
        write = _SCALERS.get(type(each).__name__)
        if write is None:
            return None
        found += write(each)
    last = _estimator(final)
    return None if last is None else found + last


def _standard(model: Any) -> Iterator[Step]:
    # Scalers keep float32 rows in float32 after each operation; trees would see the difference.
    if model.with_mean:
        yield from (Shift(model.mean_), Rounded())
    if model.with_std:
        yield from (Operator("Div", (model.scale_,)), Rounded())


def _min_max(model: Any) -> Iterator[Step]:
    yield from (Operator("Mul", (model.scale_,)), Rounded(), Operator("Add", (model.min_,)))
    yield Rounded()
    if model.clip:
        yield Operator("Clip", model.feature_range)


def _max_abs(model: Any) -> Iterator[Step]:
    yield from (Operator("Div", (model.scale_,)), Rounded())
    if getattr(model, "clip", False):
        yield Operator("Clip", (-1.0, 1.0))


def _robust(model: Any) -> Iterator[Step]:
    if model.with_centering:
        yield from (Shift(model.center_), Rounded())
    if model.with_scaling:
        yield from (Operator("Div", (model.scale_,)), Rounded())


def _norm(model: Any) -> Iterator[Step]:
    yield RowScaled(model.norm)


def _components(model: Any) -> Iterator[Step]:
    """PCA, IncrementalPCA, TruncatedSVD."""
    weights = model.components_.T
    if getattr(model, "whiten", False):
        scale = np.sqrt(model.explained_variance_)
        weights = weights / np.maximum(scale, np.finfo(scale.dtype).eps)
    if getattr(model, "mean_", None) is not None:
        yield Shift(model.mean_)
    yield Affine(weights, np.zeros(weights.shape[1]))


_SCALERS: Mapping[str, Callable[[Any], Iterator[Step]]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
    "Normalizer": _norm,
    "PCA": _components,
    "IncrementalPCA": _components,
    "TruncatedSVD": _components,
}


def _estimator(model: Any) -> list[Step] | None:
    """The steps of the last estimator; None if it is not written here."""
    name = type(model).__name__
    if name in _NETWORKS:
        return list(_network(model))
    if export_trees.known(name):
        return export_trees.steps(model)
    write = _WRITTEN.get(name)
    if write is not None:
        return write(model)
    if name in _LOGISTIC:
        return [_affine(model), *_logistic(len(model.classes_))]
    if name in _DISTANCES | _NUMBERS:
        return [_affine(model)]
    if name in _EXPONENTIAL:
        return [_affine(model), *_link(model)]
    return None


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
    if hasattr(model, "predict_proba") and len(model.intercepts_[-1]) == 1:
        yield Both()


def _affine(model: Any) -> Affine:
    weights = np.atleast_2d(model.coef_)
    return Affine(weights.T, np.broadcast_to(model.intercept_, len(weights)))


def _logistic(classes: int) -> list[Step]:
    if classes == 2:
        return [Function("sigmoid"), Both()]
    return [Function("softmax")]


def _link(model: Any) -> list[Step]:
    """The inverse link of a generalised linear model."""
    link = getattr(model, "link", "log")
    if link == "auto":
        link = "log" if model.power > 0 else "identity"
    return [Operator("Exp")] if link == "log" else []


def _gradient_descent(model: Any) -> list[Step]:
    """A linear model by stochastic gradients: its loss says what makes chances, if any."""
    found: list[Step] = [_affine(model)]
    if model.loss == "log_loss":
        found.append(Function("sigmoid"))
    elif model.loss == "modified_huber":
        found += [Operator("Clip", (-1.0, 1.0)), Rescale(np.array([0.5]), np.array([0.5]))]
    else:
        return found
    return [*found, Both() if len(model.classes_) == 2 else Shares()]


def _quadratic(model: Any) -> list[Step]:
    spread, offset = [], []
    for rotation, scaling, prior in zip(
        model.rotations_, model.scalings_, model.priors_, strict=True
    ):
        spread.append(rotation * scaling**-0.5)
        offset.append(np.log(prior) - 0.5 * np.log(scaling).sum())
    if len({each.shape for each in spread}) > 1:
        raise unknown("scikit-learn", "QuadraticDiscriminantAnalysis of unequal ranks", _EXPECTED)
    step = Gaussians(np.array(model.means_), np.array(spread), np.array(offset))
    return [step, Function("softmax")]


def _naive_bayes(model: Any) -> list[Step]:
    offset = np.log(model.class_prior_) - 0.5 * np.log(2 * np.pi * model.var_).sum(axis=1)
    return [Gaussians(model.theta_, model.var_, offset), Function("softmax")]


def _dummy_classifier(model: Any) -> list[Step]:
    chances = np.asarray(model.class_prior_, np.float64)
    if model.strategy == "most_frequent":
        chances = np.eye(len(chances))[chances.argmax()]
    elif model.strategy == "constant":
        chances = (np.asarray(model.classes_) == np.ravel(model.constant)[0]).astype(np.float64)
    return [_fixed(model, chances)]


def _dummy_regressor(model: Any) -> list[Step]:
    return [_fixed(model, np.ravel(model.constant_))]


def _fixed(model: Any, answer: Array) -> Step:
    """The same answer to all rows."""
    features = getattr(model, "n_features_in_", None)
    if features is None:
        raise unknown("scikit-learn", f"{type(model).__name__} in a pipeline", "without scalers")
    return Affine(np.zeros((features, len(answer))), answer)


_WRITTEN: Mapping[str, Callable[[Any], list[Step]]] = {
    "SGDClassifier": _gradient_descent,
    "QuadraticDiscriminantAnalysis": _quadratic,
    "GaussianNB": _naive_bayes,
    "DummyClassifier": _dummy_classifier,
    "DummyRegressor": _dummy_regressor,
}
