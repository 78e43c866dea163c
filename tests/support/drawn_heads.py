"""Estimators and networks drawn at random over every layer and option that a head can be made of."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import DofError, DofWarning
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads.export import export_head
from tests.support.memory import Memory, category, memory

COUNT = 240
WIDTH = 6
ROWS = 90
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Drawn:
    """A model, what it is a head of, and how it must end: exported, or refused by a name."""

    title: str
    model: Any
    like: Memory
    says: Callable[[np.ndarray], np.ndarray]
    gives: str
    refused: str = ""
    may_refuse: bool = False
    exact: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@cache
def rows() -> np.ndarray:
    """Features float32 [ROWS, WIDTH] of unequal scales, some far from zero."""
    random = np.random.default_rng(7)
    scales = np.array([1, 20, 0.1, 3, 1, 5])
    return (random.normal(size=(ROWS, WIDTH)) * scales + [0, 3, 0, -9, 1, 0]).astype(np.float32)


@cache
def labels(classes: int) -> np.ndarray:
    """Classes int64 [ROWS] that depend on the features."""
    random = np.random.default_rng(classes)
    scaled = (rows() - rows().mean(0)) / rows().std(0)
    return np.argmax(scaled @ random.normal(size=(WIDTH, classes)), axis=1)


@cache
def dataset(classes: int) -> Memory:
    """A dataset of so many classes; of numbers for 0, of flags for -1."""
    if classes > 0:
        names = [f"c{number}" for number in range(classes)]
        return memory(rows(), {"y": category(*names)}, y=labels(classes))
    if classes == 0:
        return memory(rows(), {"y": Target(kind="regression")}, y=numbers())
    flags = [[each] for each in labels(3)]
    return memory(rows(), {"y": Target(kind="multilabel", classes=("u", "v", "w"))}, y=flags)


@cache
def numbers() -> np.ndarray:
    """Numbers float64 [ROWS], above 0."""
    return np.exp(rows()[:, 0] / 2) + rows()[:, 3] ** 2 / 30


def draw(seed: int) -> Drawn:
    """The model of a seed; neighbours are of different frameworks."""
    makers = (_estimator, _torch, _estimator, _keras, _odd)
    return makers[seed % len(makers)](np.random.default_rng(seed), seed // len(makers))


def fault(drawn: Drawn) -> str:
    """What is wrong with the head of a drawn model; empty if it is right, or rightly refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DofWarning)
            data = export_head(drawn.model, like=drawn.like, **drawn.options)
    except DofError as error:
        name = drawn.refused or (drawn.title if drawn.may_refuse else "")
        expected = name and all(part in str(error) for part in name.split("|"))
        return "" if expected else f"{drawn.title}: refused: {error}"
    if drawn.refused:
        return f"{drawn.title}: not refused"
    session = graph.session(data)
    for factor in (1, -1, 0, 1e-3, 30, 1e4):
        given = rows() * np.float32(factor)
        expected = reference(drawn, given)
        for size in (len(given), 1, 7):
            found = [
                graph.run(session, {"feature": given[start : start + size]})[0]
                for start in range(0, len(given), size)
            ]
            with np.errstate(all="ignore"):
                apart = np.abs(np.concatenate(found) - expected)
            known = np.abs(expected) < np.finfo(np.float32).max  # neither NaN nor infinite
            beyond = known & ~(apart <= allowed(drawn, given, expected))
            if beyond.any():
                return f"{drawn.title}: {apart.max():.3g} off at {factor:g} times, batch {size}"
    return ""


def reference(drawn: Drawn, given: np.ndarray) -> np.ndarray:
    """What the head must say, float64 [n, K], from what the model says."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        said = np.asarray(drawn.says(given), np.float64).reshape(len(given), -1)
        if drawn.gives == "log":
            return np.exp(said)
        if drawn.gives == "logits":
            powers = np.exp(said - said.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        if drawn.gives in ("one logit", "flags"):
            said = 1 / (1 + np.exp(-said))
    if drawn.gives.startswith("one"):
        return np.concatenate([1 - said, said], axis=1)
    return said


def allowed(drawn: Drawn, given: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """How far a head may be off: 1e-5, and what the last digits of the features change."""
    usual = np.median(np.abs(expected)) if drawn.gives == "numbers" else 1.0
    sizes = np.maximum(np.abs(expected).max(axis=1, keepdims=True), usual)
    if drawn.exact:
        return sizes * 3e-7  # the last digit of float32
    change = np.zeros_like(sizes)
    for number in range(3):
        signs = np.random.default_rng(number).choice([-1, 1], size=given.shape)
        near = (given * (1 + 5e-7 * signs)).astype(np.float32)
        with np.errstate(all="ignore"):
            moved = np.abs(reference(drawn, near) - expected).max(axis=1, keepdims=True)
        change = np.fmax(change, moved)
    return _TOLERANCE * sizes + 10 * change


def _pick(random: np.random.Generator, options: list[Any]) -> Any:
    return options[random.integers(len(options))]


def _estimator(random: np.random.Generator, number: int) -> Drawn:
    """A scikit-learn pipeline: up to two transformers, and an estimator, all in turn."""
    from sklearn.pipeline import make_pipeline

    classifiers, regressors = _classifiers(random), _regressors(random)
    everything = [*classifiers, *regressors]
    place = (number * 2 + int(random.integers(2))) % len(everything)
    final = everything[place]
    classes = _pick(random, [2, 3]) if place < len(classifiers) else 0
    before = [_pick(random, _transformers()) for _ in range(random.integers(0, 3))]
    jumping = _jumps(final)
    if jumping:
        before = before[:0]
    model = make_pipeline(*before, final) if before or random.random() < 0.3 else final
    target = labels(classes) if classes else numbers()
    names = np.array([f"c{each}" for each in range(max(classes, 1))])
    if classes and random.random() < 0.4:
        target = names[target]
    elif classes == 2 and random.random() < 0.3:
        target = target.astype(bool)
    given = rows().astype(np.float64) if random.random() < 0.4 else rows()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(given, target)
    title = type(final).__name__
    foreign = title not in _OWN or any(type(each).__name__ in _FOREIGN for each in before)
    if not classes:
        return Drawn(
            title, model, dataset(0), model.predict, "numbers",
            may_refuse=foreign, exact=jumping and not foreign,
        )  # fmt: skip
    if hasattr(model, "predict_proba"):
        return Drawn(
            title, model, dataset(classes), model.predict_proba, "probabilities",
            may_refuse=foreign, exact=jumping and not foreign,
        )  # fmt: skip
    if random.random() < 0.3:
        return Drawn(title, model, dataset(classes), model.predict, "", refused="gives no chances")
    gives = "one logit" if classes == 2 else "logits"
    return Drawn(
        title, model, dataset(classes), model.decision_function, gives,
        may_refuse=foreign, options={"outputs": "logits"},
    )  # fmt: skip


_OWN = {
    *("LogisticRegression", "LinearDiscriminantAnalysis", "SGDClassifier", "RidgeClassifier"),
    *("LinearSVC", "Perceptron", "GaussianNB", "QuadraticDiscriminantAnalysis", "MLPClassifier"),
    *("RandomForestClassifier", "ExtraTreesClassifier", "GradientBoostingClassifier"),
    *("HistGradientBoostingClassifier", "DecisionTreeClassifier", "DummyClassifier"),
    *("GridSearchCV", "LinearRegression", "Ridge", "Lasso", "HuberRegressor", "PoissonRegressor"),
    *("MLPRegressor", "RandomForestRegressor", "GradientBoostingRegressor", "SGDRegressor"),
    *("HistGradientBoostingRegressor", "DecisionTreeRegressor", "DummyRegressor"),
}
_FOREIGN = {"QuantileTransformer", "PowerTransformer", "PolynomialFeatures"}


def _jumps(model: Any) -> bool:
    return type(model).__module__.startswith(("sklearn.tree", "sklearn.ensemble"))


def _transformers() -> list[Any]:
    from sklearn import preprocessing as scale
    from sklearn.decomposition import PCA, TruncatedSVD

    return [
        scale.StandardScaler(),
        scale.StandardScaler(with_mean=False),
        scale.StandardScaler(with_std=False),
        scale.MinMaxScaler(),
        scale.MinMaxScaler((-2, 1), clip=True),
        scale.MaxAbsScaler(),
        scale.RobustScaler(),
        scale.RobustScaler(with_centering=False),
        scale.RobustScaler(with_scaling=False, quantile_range=(10, 90)),
        scale.Normalizer("l1"),
        scale.Normalizer("l2"),
        scale.Normalizer("max"),
        PCA(4),
        PCA(3, whiten=True),
        TruncatedSVD(3),
        scale.QuantileTransformer(n_quantiles=20),
        scale.PowerTransformer(),
        "passthrough",
    ]


def _classifiers(random: np.random.Generator) -> list[Any]:
    from sklearn import discriminant_analysis as discriminant
    from sklearn import ensemble, linear_model, tree
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import GridSearchCV
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC, LinearSVC

    seed = int(random.integers(1000))
    logistic = linear_model.LogisticRegression
    losses = ["log_loss", "modified_huber", "hinge", "perceptron", "squared_hinge", "huber"]
    activation = _pick(random, ["relu", "tanh", "logistic", "identity"])
    return [
        logistic(C=_pick(random, [0.1, 1, 10]), fit_intercept=_pick(random, [True, False])),
        discriminant.LinearDiscriminantAnalysis(solver=_pick(random, ["svd", "lsqr", "eigen"])),
        discriminant.QuadraticDiscriminantAnalysis(reg_param=0.1),
        linear_model.SGDClassifier(loss=_pick(random, losses), random_state=seed),
        linear_model.RidgeClassifier(),
        LinearSVC(),
        linear_model.Perceptron(),
        GaussianNB(),
        MLPClassifier((5,), activation, max_iter=15, random_state=seed),
        tree.DecisionTreeClassifier(max_depth=4, random_state=seed),
        ensemble.RandomForestClassifier(8, random_state=seed),
        ensemble.ExtraTreesClassifier(8, random_state=seed),
        ensemble.GradientBoostingClassifier(n_estimators=5, random_state=seed),
        ensemble.HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5),
        KNeighborsClassifier(weights=_pick(random, ["uniform", "distance"])),
        SVC(kernel=_pick(random, ["rbf", "linear", "poly", "sigmoid"])),
        CalibratedClassifierCV(logistic(), cv=3),
        OneVsRestClassifier(logistic()),
        GridSearchCV(logistic(), {"C": [0.1, 1]}, cv=2),
        DummyClassifier(strategy=_pick(random, ["prior", "most_frequent"])),
    ]


def _regressors(random: np.random.Generator) -> list[Any]:
    from sklearn import ensemble, linear_model, tree
    from sklearn.dummy import DummyRegressor
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.svm import SVR

    seed = int(random.integers(1000))
    return [
        linear_model.LinearRegression(),
        linear_model.Ridge(fit_intercept=_pick(random, [True, False])),
        linear_model.Lasso(0.1),
        linear_model.HuberRegressor(),
        linear_model.PoissonRegressor(alpha=5),
        MLPRegressor(hidden_layer_sizes=(5,), activation="tanh", max_iter=15, random_state=seed),
        tree.DecisionTreeRegressor(max_depth=5, random_state=seed),
        ensemble.RandomForestRegressor(8, random_state=seed),
        ensemble.GradientBoostingRegressor(n_estimators=5, random_state=seed),
        ensemble.HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5),
        DummyRegressor(strategy=_pick(random, ["mean", "median"])),
        KNeighborsRegressor(),
        SVR(),
    ]


def _torch(random: np.random.Generator, number: int) -> Drawn:
    """A Sequential of torch, parts of it nested."""
    import torch
    from torch import nn

    torch.manual_seed(number)
    parts: list[Any] = []
    width = WIDTH
    for _ in range(random.integers(1, 4)):
        parts.append(nn.Linear(width, 8, bias=bool(random.integers(2))))
        width = 8
        parts.append(_pick(random, _torch_layers(nn, width)))
        if random.random() < 0.3:
            parts[-2:] = [nn.Sequential(*parts[-2:])]
    outputs = _pick(random, [1, 2, 3])
    gives = {1: "one logit", 2: "logits", 3: "logits"}[outputs]
    parts.append(nn.Linear(width, outputs))
    if outputs > 1 and random.random() < 0.5:
        gives, last = _pick(random, [("probabilities", nn.Softmax(1)), ("log", nn.LogSoftmax(-1))])
        parts.append(last)
    model = nn.Sequential(*parts)
    with torch.no_grad():
        for _ in range(3):
            model(torch.from_numpy(rows()))  # batch normalisations see some rows

    def says(given: np.ndarray) -> np.ndarray:
        model.eval()
        with torch.no_grad():
            return model(torch.from_numpy(given)).numpy()

    return Drawn(f"torch {model}", model, dataset(max(outputs, 2)), says, gives)


def _torch_layers(nn: Any, width: int) -> list[Any]:
    return [
        nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 2), nn.LeakyReLU(0.3), nn.PReLU(), nn.PReLU(width),
        nn.RReLU(0.1, 0.4), nn.ELU(0.5), nn.CELU(0.7), nn.SELU(), nn.GELU(), nn.GELU("tanh"),
        nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.Softplus(), nn.Softplus(2, 1),
        nn.Softsign(), nn.Tanh(), nn.Sigmoid(), nn.LogSigmoid(), nn.Tanhshrink(), nn.Hardshrink(0.2),
        nn.Softshrink(0.3), nn.Threshold(0.1, -2), nn.Softmax(1), nn.Identity(), nn.Dropout(0.5),
        nn.AlphaDropout(), nn.Flatten(), nn.BatchNorm1d(width), nn.BatchNorm1d(width, affine=False),
        nn.BatchNorm1d(width, eps=0.1), nn.LayerNorm(width), nn.LayerNorm(width, bias=False),
        nn.LayerNorm(width, eps=0.1, elementwise_affine=False), nn.RMSNorm(width),
        nn.RMSNorm(width, eps=0.1),
    ]  # fmt: skip


def _keras(random: np.random.Generator, number: int) -> Drawn:
    """A row of Keras layers, Sequential or functional, parts of it nested."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    keras.utils.set_random_seed(number)
    make = keras.layers
    inner: list[Any] = []
    for _ in range(random.integers(1, 3)):
        inner += [_pick(random, _keras_before(keras)), _keras_dense(random, make)]
        inner.append(_pick(random, _keras_layers(make)))
    outputs = _pick(random, [1, 2, 3])
    gives = {1: "one logit", 2: "logits", 3: "logits"}[outputs]
    last = [make.Dense(outputs)]
    if random.random() < 0.5:
        gives, function = (
            ("one chance", "sigmoid") if outputs == 1 else ("probabilities", "softmax")
        )
        last = [make.Dense(outputs, function)]
    if random.random() < 0.5:
        first = keras.Sequential([make.Input((WIDTH,)), *inner])
        model = keras.Sequential([make.Input((WIDTH,)), first, *last])
    else:
        given = tensor = make.Input((WIDTH,))
        for layer in [*inner, *last]:
            tensor = layer(tensor)
        model = keras.Model(given, tensor)
    names = [type(layer).__name__ for layer in [*inner, *last]]
    title = f"Keras {names}"
    return Drawn(title, model, dataset(max(outputs, 2)), model.predict_on_batch, gives)


def _keras_dense(random: np.random.Generator, make: Any) -> Any:
    functions = [
        "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "swish", "softplus",
        "softsign", "tanh", "sigmoid", "mish", "hard_sigmoid", "hard_silu", "hard_tanh",
        "hard_shrink", "soft_shrink", "tanh_shrink", "log_sigmoid", "softmax", "log_softmax",
        "linear",
    ]  # fmt: skip
    return make.Dense(6, _pick(random, functions), use_bias=bool(random.integers(2)))


def _keras_before(keras: Any) -> Any:
    make = keras.layers
    given = [0.5] * WIDTH, [2.0] * WIDTH
    return [
        make.Rescaling(0.2, -1.0), make.UnitNormalization(), make.RMSNormalization(epsilon=0.01),
        make.LayerNormalization(), make.LayerNormalization(scale=False, epsilon=0.1),
        make.LayerNormalization(center=False), make.BatchNormalization(),
        make.BatchNormalization(scale=False, center=False, epsilon=0.1),
        make.Normalization(mean=given[0], variance=given[1]),
        make.Normalization(mean=given[0], variance=given[1], invert=True), make.Identity(),
        make.Flatten(), make.Reshape((WIDTH,)), make.GaussianNoise(0.5), make.Dropout(0.5),
    ]  # fmt: skip


def _keras_layers(make: Any) -> Any:
    return [
        make.ReLU(), make.ReLU(max_value=6), make.ReLU(max_value=1.5, threshold=0.2),
        make.ReLU(negative_slope=0.3), make.ReLU(negative_slope=0.3, threshold=0.4, max_value=2),
        make.LeakyReLU(), make.LeakyReLU(negative_slope=0.05), make.ELU(alpha=0.4), make.Softmax(),
        make.PReLU(alpha_initializer="random_normal"), make.Activation("relu6"),
        make.Activation("softmax"), make.Softmax(axis=1), make.Dropout(0.2),
    ]  # fmt: skip


def _odd(random: np.random.Generator, number: int) -> Drawn:
    """What must be refused by name, weights of JAX, and classifiers of ONNX."""
    makers = [*_torch_refused(), *_keras_refused(), *_sklearn_refused(), _weights, _own_module]
    make = makers[number % len(makers)]
    return make(random)


def _weights(random: np.random.Generator) -> Drawn:
    first = random.normal(size=(WIDTH, 5)), random.normal(size=5)
    second = random.normal(size=(5, 3)), random.normal(size=3)
    name = _pick(random, ["relu", "tanh", "sigmoid", "gelu_tanh"])
    functions: dict[str, Callable[[Any], Any]] = {
        "relu": lambda x: np.maximum(x, 0),
        "tanh": np.tanh,
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    }

    def says(given: np.ndarray) -> np.ndarray:
        hidden = functions[name](given.astype(np.float64) @ first[0] + first[1])
        return hidden @ second[0] + second[1]

    options = {"activation": name}
    return Drawn("JAX", [first, second], dataset(3), says, "logits", options=options)


def _own_module(random: np.random.Generator) -> Drawn:
    """A module whose layers are registered in another order than they are used in."""
    import torch
    from torch import nn

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(5, 3), nn.Linear(WIDTH, 5)
            self.unused = nn.LogSoftmax(1)

        def forward(self, x: Any) -> Any:
            return self.last(torch.relu(self.first(x)).clamp(max=4))

    torch.manual_seed(int(random.integers(99)))
    model = Own().eval()

    def says(given: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(given)).numpy()

    return Drawn("Own", model, dataset(3), says, "logits")


def _refused(title: str, model: Any, name: str, **options: Any) -> Drawn:
    return Drawn(title, model, dataset(3), lambda given: given, "", name, options=options)


def _torch_refused() -> list[Callable[[Any], Drawn]]:
    from torch import nn

    def head(*layers: Any) -> Any:
        return nn.Sequential(*layers, nn.Linear(WIDTH, 3))

    still = nn.BatchNorm1d(WIDTH, track_running_stats=False)
    return [
        lambda _: _refused("batch", head(still), "BatchNorm1d(track_running_stats=False)"),
        lambda _: _refused("dim 0", nn.Sequential(head(), nn.Softmax(0)), "Softmax(dim=0)"),
        lambda _: _refused("dim 0", nn.Sequential(head(), nn.LogSoftmax(0)), "LogSoftmax(dim=0)"),
        lambda _: _refused("double", head().double(), "float64"),
        lambda _: _refused("half", head().half(), "float16"),
        lambda _: _refused("bfloat16", head().bfloat16(), "bfloat16"),
        lambda _: _refused("tanh", nn.Sequential(head(), nn.Tanh()), "does not tell|outputs="),
        lambda _: _refused(
            "sigmoid", nn.Sequential(head(), nn.Sigmoid()), "no chances|add up to 1"
        ),
    ]


def _keras_refused() -> list[Callable[[Any], Drawn]]:
    import keras

    make = keras.layers

    def head(*layers: Any) -> Any:
        return keras.Sequential([make.Input((WIDTH,)), *layers, make.Dense(3)])

    def joined() -> Any:
        given = make.Input((WIDTH,))
        both = make.Concatenate()([given, make.Dense(2)(given)])
        return keras.Model(given, make.Dense(3)(both))

    def noisy() -> Any:
        given = make.Input((WIDTH,))
        return keras.Model(given, make.Dense(3)(make.Dropout(0.5)(given, training=True)))

    mixed = "mixed_float16"
    return [
        lambda _: _refused("groups", head(make.GroupNormalization(2)), "GroupNormalization"),
        lambda _: _refused("joined", joined(), "Concatenate of 2 tensors"),
        lambda _: _refused(
            "mixed", head(make.Dense(6, dtype=mixed)), "Dense(dtype='mixed_float16')"
        ),
        lambda _: _refused("noisy", noisy(), "Dropout called with training=True"),
        lambda _: _refused("own", head(make.Dense(6, lambda x: x * 2)), "activation <lambda>"),
        lambda _: _refused("axis", head(make.Softmax(axis=0)), "Softmax(axis=0)"),
    ]


def _sklearn_refused() -> list[Callable[[Any], Drawn]]:
    from sklearn.compose import make_column_transformer
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    def fitted(*parts: Any, labels_: Any = None) -> Any:
        target = labels(3) if labels_ is None else labels_
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make_pipeline(*parts).fit(rows(), target)

    logistic = LogisticRegression
    apart = make_column_transformer((StandardScaler(), [0, 1]))
    two = np.stack([labels(3), labels(3)], axis=1)
    return [
        lambda _: _refused("function", fitted(FunctionTransformer(np.abs), logistic()), "FunctionTransformer"),
        lambda _: _refused("columns", fitted(apart, logistic()), "ColumnTransformer"),
        lambda _: _refused("several", fitted(MultiOutputClassifier(logistic()), labels_=two), "MultiOutputClassifier"),
        lambda _: _refused("random", fitted(DummyClassifier(strategy="uniform")), "strategy='uniform'"),
        lambda _: _refused("signs", fitted(logistic(), labels_=labels(3) - 1), "neither names nor codes"),
        lambda _: _refused("option", fitted(logistic()), "no such outputs", outputs="maybe"),
    ]  # fmt: skip
