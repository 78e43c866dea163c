"""The kinds of heads that can be trained, linear ones and networks: examples in, a model made of steps out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import UsageError, require
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.heads import architecture, layers, network, training
from dof_arrow.heads.architecture import Architecture
from dof_arrow.heads.features import CONSTANT, Clips, Inputs
from dof_arrow.heads.labels import Labels
from dof_arrow.heads.scoring import Predictions
from dof_arrow.heads.training import Checkpoint, Data, TrainingOptions
from dof_arrow.sampling.splits import folds

Array = NDArray[Any]
Json = Any

HEADS = ("linear", "mlp", "rnn", "lstm", "mean", "suggested")
_HELD_OUT = 5  # one group in five is held out where there is no validation set
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
_DEFAULT_STRENGTH = 10.0
_INNER_FOLDS, _INNER_ROWS = 3, 4000
_MAX_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Model:
    """A trained head: its steps, the class code of each output, and what is to be told of it."""

    kind: str
    codes: Array
    steps: tuple[layers.Step, ...]
    width: int
    facts: dict[str, Json]
    warnings: tuple[str, ...] = ()

    def to_onnx(self, properties: dict[str, str] | None = None) -> bytes:
        """The head as ONNX; equal heads give equal bytes."""
        made = layers.to_model(self.steps, self.kind, self.width, len(self.codes), properties)
        return graph.to_bytes(made)

    def answers(self, inputs: Inputs, places: Array, classes: int) -> Predictions:
        """What the head, as ONNX, says of these examples, in terms of all of the target's classes."""
        found = outputs(graph.session(self.to_onnx()), inputs, places)
        if self.kind == "regression":
            return Predictions(found[:, 0].astype(np.float64))
        wide = np.zeros((len(found), classes), np.float64)
        wide[:, self.codes] = found
        return Predictions(said(self.kind, wide), wide)


class Learner(Protocol):
    """A way to learn: `fit` on the examples at `rows`, with those at `valid`, if given, to tell when to stop."""

    @property
    def seed(self) -> int: ...

    def fit(
        self, on: Labels, inputs: Inputs, rows: Array, valid: Array | None, stage: str
    ) -> Model: ...


@dataclass(frozen=True, slots=True)
class LinearLearner:
    """Logistic or ridge regression (extra `train`)."""

    balance: bool
    seed: int

    def fit(
        self, on: Labels, inputs: Inputs, rows: Array, valid: Array | None, stage: str
    ) -> Model:
        """A Model; the validation set is not used: the strength of the prior is chosen by folds of `rows`."""
        x = inputs.take(on.rows[rows])
        assert isinstance(x, np.ndarray)
        made = fit(
            on.target.kind,
            x,
            on.values[rows],
            on.groups[rows],
            balance=self.balance,
            seed=self.seed,
        )
        warnings = () if made.converged else ("the solver stopped before it had converged",)
        return Model(
            made.kind,
            made.codes,
            tuple(made.steps()),
            inputs.width,
            {"strength": made.strength},
            warnings,
        )


@dataclass(frozen=True, slots=True)
class NetworkLearner:
    """A network in torch (extra `torch`)."""

    architecture: Architecture
    manners: TrainingOptions
    checkpoint: Checkpoint | None = None
    told: Callable[[str, int], None] = lambda stage, epoch: None

    @property
    def seed(self) -> int:
        return self.manners.seed

    def fit(
        self, on: Labels, inputs: Inputs, rows: Array, valid: Array | None, stage: str
    ) -> Model:
        """A Model; without a validation set, a fifth of the groups of `rows` is held out to tell when to stop."""
        codes, y = _codes(on, rows), on.values
        if on.target.kind == "category":  # what was never learned cannot tell when to stop
            y = np.searchsorted(codes, y)
            valid = None if valid is None else valid[np.isin(on.values[valid], codes)]
        train, judged, warnings = self._parts(on, rows, valid)
        found = training.fit(
            self.architecture,
            Data(on.target.kind, len(codes), _Placed(inputs, on.rows), y),
            train,
            judged,
            self.manners,
            stage=stage,
            checkpoint=self.checkpoint,
            told=lambda epoch: self.told(stage, epoch),
        )
        return Model(
            on.target.kind,
            codes,
            tuple(_steps(on.target.kind, found)),
            inputs.width,
            self._facts(found),
            warnings,
        )

    def _parts(
        self, on: Labels, rows: Array, valid: Array | None
    ) -> tuple[Array, Array, tuple[str, ...]]:
        if valid is not None and len(valid):
            return rows, valid, ()
        count = len(np.unique(on.groups[rows]))
        if count < 2:
            return rows, rows, ("one group only: the epoch was chosen on what was trained on",)
        k = min(count, _HELD_OUT)
        strata = on.values[rows] if on.target.kind == "category" else None
        # The last fold: the rarest classes are dealt first, so they stay in training.
        out = folds(on.groups[rows], k, strata=strata, seed=self.manners.seed) == k - 1
        return rows[~out], rows[out], ()

    def _facts(self, found: training.Trained) -> dict[str, Json]:
        scaling = (
            {"scaling": {"mean": found.unit[0], "std": found.unit[1]}}
            if found.unit != (0.0, 1.0)
            else {}
        )
        return {
            "architecture": architecture.to_json(self.architecture),
            "epochs": len(found.history),
            "best_epoch": found.best_epoch,
            "stopped": found.stopped,
            "batch": self.manners.batch,
            "rate": self.manners.rate,
            **scaling,
        }


class _Placed:
    """Inputs whose examples are counted among those that have a label."""

    def __init__(self, inputs: Inputs, places: Array) -> None:
        self._inputs, self._places = inputs, places

    @property
    def width(self) -> int:
        return self._inputs.width

    def __len__(self) -> int:
        return len(self._places)

    def take(self, rows: Array, /) -> Array | list[Array]:
        return self._inputs.take(self._places[rows])

    def rows(self, rows: Array, /) -> Iterator[Array]:
        return self._inputs.rows(self._places[rows])


def architecture_of(head: str | Architecture, metadata: Metadata) -> Architecture | None:
    """The network that is meant, None of the linear head; UsageError for an unknown head or where none is suggested."""
    if isinstance(head, Architecture):
        return head
    if head not in HEADS:
        raise UsageError(
            "unknown head", expected=", ".join(HEADS), found=head, hint="Use --head linear"
        )
    if head == "suggested" and not metadata.head:
        raise UsageError(
            "the dataset suggests no head",
            expected="layers in its metadata's head",
            hint="Use --head linear or mlp",
        )
    known = {
        "linear": None,
        "mlp": network.MLP,
        "rnn": network.RNN,
        "lstm": network.LSTM,
        "mean": network.MEAN,
    }
    found = known[head] if head in known else architecture.from_json(metadata.head)
    if found is not None:
        require("torch", extra="torch")
    return found


def outputs(session: Any, inputs: Inputs, places: Array) -> Array:
    """The outputs float32 [k, C] of a head's session for these examples, a bounded number of rows at a time."""
    clips = isinstance(inputs, Clips)
    parts = [
        graph.run(session, {"feature": part[None] if clips else part})[0]
        for part in inputs.rows(places)
    ]
    return np.concatenate(parts)


def said(kind: str, found: Array) -> Array:
    """What outputs [n, C] say: class codes int64 [n], flags bool [n, C] or values [n]."""
    if kind == "regression":
        return np.asarray(found[:, 0])
    return np.asarray(found.argmax(axis=1) if kind == "category" else found >= 0.5)


def _codes(on: Labels, rows: Array) -> Array:
    """What each output is of: the classes that occur, each flag, or the one number."""
    if on.target.kind == "category":
        return np.unique(on.values[rows])
    return np.arange(len(on.target.classes) if on.target.kind == "multilabel" else 1)


def _steps(kind: str, found: training.Trained) -> Iterable[layers.Step]:
    """From features as they are to what the target's kind wants."""
    yield layers.Shift(found.mean)
    yield layers.Rescale(found.factor, np.zeros(1, np.float32))
    yield from found.network.steps()
    mean, deviation = found.unit
    if kind == "regression":
        yield layers.Rescale(np.array([deviation]), np.array([mean]))
    yield layers.Function(layers.ENDS[kind])


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """activation((x - mean) @ weights + bias): softmax, a sigmoid a column, or nothing, by the target's kind.

    `mean` float32 [D], `weights` float32 [D, K] with the scale of the features folded in, `bias` float32 [K]. The mean
    stays a step of its own: folded into the bias, features far from zero would lose their digits in float32.
    """

    kind: str
    mean: Array
    weights: Array
    bias: Array
    codes: Array  # int64: the class of each column
    strength: float
    converged: bool = True

    def __call__(self, x: Array) -> Array:
        """Outputs float32 [n, K] for features float32 [n, D]: probabilities, or values."""
        return _activate(self.kind, (x - self.mean) @ self.weights + self.bias)

    def predict(self, x: Array) -> Array:
        """What the outputs say: class codes int64 [n], flags bool [n, C] or values float [n]."""
        outputs = self(x)
        if self.kind == "multilabel":
            return outputs >= 0.5
        return self.codes[outputs.argmax(axis=1)] if self.kind == "category" else outputs[:, 0]

    def steps(self) -> list[layers.Step]:
        """The same as steps of a head."""
        return [
            layers.Shift(self.mean),
            layers.Affine(self.weights, self.bias),
            layers.Function(layers.ENDS[self.kind]),
        ]


def fit(
    kind: str, x: Array, y: Array, groups: Array, *, balance: bool = False, seed: int = 0
) -> Linear:
    """Fit a linear head to features float32 [n, D] and class codes [n], flags [n, C] or values [n].

    The weights of the standardised features are drawn to zero as by a normal prior of variance strength / D, so that
    one strength means the same for every width. It is the one of STRENGTHS with the least loss over three grouped
    folds, on at most 4,000 rows: as a property of the prior it does not depend on their number.
    Only classes that occur in `y` get a column.
    """
    limits = require("threadpoolctl", extra="train").threadpool_limits
    with limits(
        1
    ):  # the solver's products are small: two threads took 8 to 20 times as long, waiting for one another
        standard, mean, scale = _standardise(x)
        strength = _choose_strength(kind, standard, y, groups, balance, seed)
        model = _solve(kind, standard, y, strength, balance)
    return replace(model, mean=mean, weights=(model.weights / scale[:, None]).astype(np.float32))


def _standardise(x: Array) -> tuple[Array, Array, Array]:
    mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    standard = x - mean
    scale = np.sqrt(np.einsum("nd,nd->d", standard, standard, dtype=np.float64) / len(x))
    scale[scale <= CONSTANT * np.abs(mean)] = np.inf
    standard /= scale.astype(np.float32)
    return standard, mean, scale


def _choose_strength(
    kind: str, x: Array, y: Array, groups: Array, balance: bool, seed: int
) -> float:
    strata = y if kind == "category" else None
    kept = folds(groups, -(-len(x) // _INNER_ROWS), strata=strata, seed=seed) == 0
    x, y, groups, strata = x[kept], y[kept], groups[kept], None if strata is None else strata[kept]
    if len(np.unique(groups)) < _INNER_FOLDS:
        return _DEFAULT_STRENGTH
    fold = folds(groups, _INNER_FOLDS, strata=strata, seed=seed)

    def loss(strength: float) -> float:
        total = 0.0
        for out in (fold == i for i in range(_INNER_FOLDS)):
            total += float(
                _losses(_solve(kind, x[~out], y[~out], strength, balance), x[out], y[out]).sum()
            )
        return total

    return min(STRENGTHS, key=loss)


def _solve(kind: str, x: Array, y: Array, strength: float, balance: bool) -> Linear:
    """A model of features that are standardised already."""
    solvers: dict[str, Callable[..., Linear]] = {
        "category": _softmax,
        "multilabel": _sigmoids,
        "regression": _ridge,
    }
    return solvers[kind](x, y, strength, balance)


def _softmax(x: Array, y: Array, strength: float, balance: bool) -> Linear:
    codes, index = np.unique(y, return_inverse=True)
    weights, bias, converged = _logistic(x, index, strength, balance)
    if len(codes) == 2:  # one column decides: the other is its zero
        weights, bias = np.pad(weights, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
    return _linear("category", weights, bias, codes, strength, converged)


def _sigmoids(x: Array, y: Array, strength: float, balance: bool) -> Linear:
    columns = [_logistic(x, flag, strength, balance) for flag in y.T]
    weights, bias = (
        np.concatenate(parts, axis=-1) for parts in list(zip(*columns, strict=True))[:2]
    )
    return _linear(
        "multilabel", weights, bias, np.arange(y.shape[1]), strength, all(c for *_, c in columns)
    )


def _ridge(x: Array, y: Array, strength: float, _balance: bool) -> Linear:
    from sklearn.linear_model import Ridge

    unit = float(y.std()) or 1.0
    model = Ridge(alpha=x.shape[1] / strength).fit(x, (y - y.mean()) / unit)
    weights = model.coef_[:, None].astype(np.float64) * unit
    bias = np.array([float(model.intercept_) * unit + y.mean()])
    return _linear("regression", weights, bias, np.arange(1), strength)


def _logistic(x: Array, y: Array, strength: float, balance: bool) -> tuple[Array, Array, bool]:
    """Weights [D, K] and bias [K] in float64, K = 1 of two classes, and whether the solver came to its end."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if (y == y[0]).all():
        return np.zeros((x.shape[1], 1)), _constant_logit(y), True
    weigh = "balanced" if balance else None
    model = LogisticRegression(C=strength / x.shape[1], max_iter=_MAX_STEPS, class_weight=weigh)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
    weights, bias = model.coef_.T.astype(np.float64), model.intercept_.astype(np.float64)
    return weights, bias, bool(model.n_iter_.max() < _MAX_STEPS)


def _constant_logit(y: Array) -> Array:
    """The logit of a flag that is the same in all n rows, by the rule of succession: (k + 1) / (n + 2)."""
    likely = (y.sum(dtype=np.float64) + 1) / (len(y) + 2)
    return np.array([np.log(likely / (1 - likely))])


def _linear(
    kind: str, weights: Array, bias: Array, codes: Array, strength: float, converged: bool = True
) -> Linear:
    return Linear(
        kind=kind,
        mean=np.zeros(len(weights), np.float32),
        weights=weights,
        bias=bias.astype(np.float32),
        codes=codes,
        strength=strength,
        converged=converged,
    )


def _activate(kind: str, logits: Array) -> Array:
    if kind == "regression":
        return logits
    if kind == "multilabel":
        return 0.5 * (1.0 + np.tanh(0.5 * logits))  # the sigmoid, without overflow
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _losses(model: Linear, x: Array, y: Array) -> Array:
    """Log loss or squared error of each row, or of each flag."""
    outputs = model(x)
    if model.kind == "regression":
        return np.asarray(np.square(outputs[:, 0] - y))
    if model.kind == "multilabel":
        likely = np.where(y, outputs, 1 - outputs)
    else:
        likely = (outputs * (y[:, None] == model.codes)).sum(axis=1)
    return np.asarray(-np.log(np.maximum(likely, 1e-12)))
