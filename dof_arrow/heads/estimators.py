"""The kinds of heads that can be trained: each learner fits examples and gives a Model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import UsageError, require
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.heads import architecture, layers, linear, linear_stream, training
from dof_arrow.heads.architecture import Architecture
from dof_arrow.heads.checkpoint import Checkpoint
from dof_arrow.heads.features import Clips, Inputs
from dof_arrow.heads.labels import Labels
from dof_arrow.heads.named import HEADS, NAMED, SUGGESTED
from dof_arrow.heads.scoring import Predictions
from dof_arrow.heads.training import Data, TrainingOptions
from dof_arrow.sampling.splits import folds
from dof_arrow.system import processors

Array = NDArray[Any]
Json = Any

_AT_ONCE = 4  # linear fits, each of which holds copies of its features,
_AT_ONCE_LARGE = 2  # and where these are more than
_SMALL = 1 << 26  # bytes
_HELD_OUT = 5  # without a validation set, one group in five is held out


@dataclass(frozen=True, slots=True)
class Model:
    """A trained head: its steps, the class code of each output, and what the report says of it."""

    kind: str
    codes: Array
    steps: tuple[layers.Step, ...]
    width: int
    facts: dict[str, Json]
    warnings: tuple[str, ...] = ()

    def to_onnx(self, properties: dict[str, str] | None = None) -> bytes:
        """The head as ONNX; equal heads give equal bytes."""
        columns = len(self.codes)
        made = layers.to_model(self.steps, self.kind, self.width, columns, properties)
        return graph.to_bytes(made)

    def predict(self, inputs: Inputs, places: Array, classes: int) -> Predictions:
        """Predictions of the ONNX head for these examples, with a column for all target classes."""
        session = graph.session(self.to_onnx())
        found = outputs(session, inputs, places)
        if self.kind == "regression":
            return Predictions(found[:, 0].astype(np.float64))
        wide = np.zeros((len(found), classes), np.float32)
        wide[:, self.codes] = found
        return Predictions(said(self.kind, wide), wide)


class Learner(Protocol):
    """A way to learn a head."""

    @property
    def seed(self) -> int: ...

    def fit(
        self, labels: Labels, inputs: Inputs, rows: Array, valid: Array | None, stage: str
    ) -> Model:
        """Fit to the examples at `rows`; those at `valid`, if given, tell when to stop."""

    def together(self, jobs: Sequence[Callable[[], Any]], inputs: Inputs) -> list[Any]:
        """What the jobs give, each of which calls `fit`: at the same time where that is faster."""


@dataclass(frozen=True, slots=True)
class LinearLearner:
    """Logistic or ridge regression (extra `train`)."""

    balance: bool
    seed: int

    def fit(
        self, labels: Labels, inputs: Inputs, rows: Array, valid: Array | None, stage: str
    ) -> Model:
        """Fit to the examples at `rows`; `valid` is not used: folds of `rows` choose the prior."""
        kind = labels.target.kind
        places = labels.rows[rows]
        values, groups = labels.values[rows], labels.groups[rows]
        how: Any = {"balance": self.balance, "seed": self.seed}
        if linear_stream.is_large(inputs, places):
            made = linear_stream.fit(kind, inputs, places, values, groups, **how)
        else:
            features = inputs.take(places)
            assert isinstance(features, np.ndarray)
            made = linear.fit(kind, features, values, groups, **how)
        told = () if made.converged else ("the solver stopped before it had converged",)
        return Model(
            kind=kind,
            codes=made.codes,
            steps=tuple(made.steps()),
            width=inputs.width,
            facts={"strength": made.strength},
            warnings=told,
        )

    def together(self, jobs: Sequence[Callable[[], Any]], inputs: Inputs) -> list[Any]:
        """What the jobs give, in threads: each fit takes one, and the same steps as alone."""
        limits = require("threadpoolctl", extra="train").threadpool_limits
        # Both are of the whole process, so what each fit sets and resets has no effect in here.
        with limits(1), warnings.catch_warnings():
            linear.ignore_convergence()
            with ThreadPoolExecutor(_at_once(inputs)) as pool:
                return list(pool.map(_call, jobs))


def _at_once(inputs: Inputs) -> int:
    """How many linear fits run at the same time: fewer of large ones, whose memory adds up."""
    size = len(inputs) * inputs.width * np.dtype(np.float32).itemsize
    most = _AT_ONCE if size <= _SMALL else _AT_ONCE_LARGE
    return min(processors(), most)


def _call(job: Callable[[], Any]) -> Any:
    return job()


@dataclass(frozen=True, slots=True)
class _Stopping:
    """The examples to learn from, and those that tell when to stop."""

    train: Array
    valid: Array
    warnings: tuple[str, ...] = ()


def _ignore_epoch(stage: str, epoch: int) -> None:
    """A hook that does nothing."""


@dataclass(frozen=True, slots=True)
class NetworkLearner:
    """A network in torch (extra `torch`); `told` is called after each epoch of each stage."""

    architecture: Architecture
    options: TrainingOptions
    checkpoint: Checkpoint | None = None
    told: Callable[[str, int], None] = _ignore_epoch

    @property
    def seed(self) -> int:
        return self.options.seed

    def fit(
        self, labels: Labels, inputs: Inputs, rows: Array, valid: Array | None, stage: str
    ) -> Model:
        """Fit to the examples at `rows`; without `valid`, a fifth of their groups is held out."""
        kind = labels.target.kind
        codes = _codes(labels, rows)
        values = labels.values
        if kind == "category":  # numbered anew: only classes that occur have an output
            values = np.searchsorted(codes, values)
            valid = _learned(labels, valid, codes)
        chosen = self._stopping(labels, rows, valid)
        examples = _Placed(inputs, labels.rows)
        found = training.fit(
            self.architecture,
            Data(kind, len(codes), examples, values),
            chosen.train,
            chosen.valid,
            self.options,
            stage=stage,
            checkpoint=self.checkpoint,
            told=lambda epoch: self.told(stage, epoch),
        )
        return Model(
            kind=kind,
            codes=codes,
            steps=tuple(_steps(kind, found)),
            width=inputs.width,
            facts=self._facts(found),
            warnings=chosen.warnings,
        )

    def together(self, jobs: Sequence[Callable[[], Any]], inputs: Inputs) -> list[Any]:
        """What the jobs give, one by one: torch uses all processors already."""
        return [job() for job in jobs]

    def _stopping(self, labels: Labels, rows: Array, valid: Array | None) -> _Stopping:
        if valid is not None and len(valid):
            return _Stopping(rows, valid)
        groups = labels.groups[rows]
        count = len(np.unique(groups))
        if count < 2:
            warning = "one group only: the epoch was chosen on what was trained on"
            return _Stopping(rows, rows, (warning,))
        parts = min(count, _HELD_OUT)
        strata = labels.values[rows] if labels.target.kind == "category" else None
        fold_of = folds(groups, parts, strata=strata, seed=self.options.seed)
        # The last fold: the rarest classes are dealt first, so they stay in training.
        out = fold_of == parts - 1
        return _Stopping(rows[~out], rows[out])

    def _facts(self, found: training.Trained) -> dict[str, Json]:
        facts = {
            "architecture": architecture.to_json(self.architecture),
            "epochs": len(found.history),
            "best_epoch": found.best_epoch,
            "stopped": found.stopped,
            "batch": self.options.batch,
            "rate": self.options.rate,
        }
        if found.unit != training.NO_SCALING:
            mean, deviation = found.unit
            facts["scaling"] = {"mean": mean, "std": deviation}
        return facts


def _learned(labels: Labels, valid: Array | None, codes: Array) -> Array | None:
    """The rows of `valid` whose class is learned: others cannot tell when to stop."""
    if valid is None:
        return None
    known = np.isin(labels.values[valid], codes)
    return np.asarray(valid[known])


class _Placed:
    """Only the examples at `places`, counted from 0: of all examples, those that have a label."""

    def __init__(self, inputs: Inputs, places: Array) -> None:
        self._inputs = inputs
        self._places = places

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
    """The network that `head` names, None for the linear head.

    Raises UsageError for an unknown head, and for `suggested` if the dataset suggests none.
    """
    if isinstance(head, Architecture):
        return head
    if head in NAMED:
        return NAMED[head]
    if head != SUGGESTED:
        raise UsageError(
            "unknown head", expected=", ".join(HEADS), found=head, hint="Use --head linear"
        )
    if not metadata.head:
        raise UsageError(
            "the dataset suggests no head",
            expected="layers in its metadata's head",
            hint="Use --head linear or mlp",
        )
    return architecture.from_json(metadata.head)


def outputs(session: Any, inputs: Inputs, places: Array) -> Array:
    """The outputs float32 [k, C] of a head for these examples, a bounded number of rows a run."""
    clips = isinstance(inputs, Clips)
    parts = []
    for part in inputs.rows(places):
        feature = part[None] if clips else part  # each clip is a batch of one
        parts.append(graph.run(session, {"feature": feature})[0])
    return np.concatenate(parts)


def said(kind: str, found: Array) -> Array:
    """What outputs [n, C] say: class codes int64 [n], flags bool [n, C] or values [n]."""
    if kind == "regression":
        return np.asarray(found[:, 0])
    if kind == "category":
        return np.asarray(found.argmax(axis=1))
    return np.asarray(found >= 0.5)


def _codes(labels: Labels, rows: Array) -> Array:
    """The code of each output: of each class that occurs, of each flag, or 0 for a number."""
    if labels.target.kind == "category":
        return np.unique(labels.values[rows])
    if labels.target.kind == "multilabel":
        return np.arange(len(labels.target.classes))
    return np.arange(1)


def _steps(kind: str, found: training.Trained) -> Iterator[layers.Step]:
    """All steps from the stored features to what the target's kind wants."""
    no_offset = np.zeros(1, np.float32)
    yield layers.Shift(found.mean)
    yield layers.Rescale(found.factor, no_offset)
    yield from found.network.steps()
    if kind == "regression":
        mean, deviation = map(np.atleast_1d, found.unit)
        yield layers.Rescale(deviation, mean)
    yield layers.Function(layers.ENDS[kind])
