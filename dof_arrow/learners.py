"""The kinds of heads that can be trained, each learning the same way: examples in, a model made of steps out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow import architecture, graph, linear, network, stack, training
from dof_arrow.architecture import Architecture
from dof_arrow.checkpoint import Checkpoint
from dof_arrow.errors import UsageError, require
from dof_arrow.inputs import Clips, Inputs
from dof_arrow.judge import Answers, folds
from dof_arrow.labels import Labels
from dof_arrow.metadata import Metadata
from dof_arrow.training import Data, Manners

Array = NDArray[Any]
Json = Any

HEADS = ("linear", "mlp", "rnn", "lstm", "mean", "suggested")
_HELD_OUT = 5  # one group in five is held out where there is no validation set


@dataclass(frozen=True, slots=True)
class Model:
    """A trained head: its steps, the class code of each output, and what is to be told of it."""

    kind: str
    codes: Array
    steps: tuple[stack.Step, ...]
    width: int
    facts: dict[str, Json]
    warnings: tuple[str, ...] = ()

    def to_onnx(self, properties: dict[str, str] | None = None) -> bytes:
        """The head as ONNX; equal heads give equal bytes."""
        made = stack.to_model(self.steps, self.kind, self.width, len(self.codes), properties)
        return graph.to_bytes(made)

    def answers(self, inputs: Inputs, places: Array, classes: int) -> Answers:
        """What the head, as ONNX, says of these examples, in terms of all of the target's classes."""
        found = outputs(graph.session(self.to_onnx()), inputs, places)
        if self.kind == "regression":
            return Answers(found[:, 0].astype(np.float64))
        wide = np.zeros((len(found), classes), np.float64)
        wide[:, self.codes] = found
        return Answers(said(self.kind, wide), wide)


class Learner(Protocol):
    """A way to learn: `fit` on the examples at `rows`, with those at `valid`, if given, to tell when to stop."""

    @property
    def seed(self) -> int: ...

    def fit(self, on: Labels, inputs: Inputs, rows: Array, valid: Array | None, stage: str) -> Model: ...


@dataclass(frozen=True, slots=True)
class LinearLearner:
    """Logistic or ridge regression (extra `train`)."""

    balance: bool
    seed: int

    def fit(self, on: Labels, inputs: Inputs, rows: Array, valid: Array | None, stage: str) -> Model:
        """A Model; the validation set is not used: the strength of the prior is chosen by folds of `rows`."""
        x = inputs.take(on.rows[rows])
        assert isinstance(x, np.ndarray)
        made = linear.fit(on.target.kind, x, on.values[rows], on.groups[rows], balance=self.balance, seed=self.seed)
        warnings = () if made.converged else ("the solver stopped before it had converged",)
        return Model(made.kind, made.codes, tuple(made.steps()), inputs.width, {"strength": made.strength}, warnings)


@dataclass(frozen=True, slots=True)
class NetworkLearner:
    """A network in torch (extra `torch`)."""

    architecture: Architecture
    manners: Manners
    checkpoint: Checkpoint | None = None
    told: Callable[[str, int], None] = lambda stage, epoch: None

    @property
    def seed(self) -> int:
        return self.manners.seed

    def fit(self, on: Labels, inputs: Inputs, rows: Array, valid: Array | None, stage: str) -> Model:
        """A Model; without a validation set, a fifth of the groups of `rows` is held out to tell when to stop."""
        codes, y = _codes(on, rows), on.values
        if on.target.kind == "category":  # what was never learned cannot tell when to stop
            y = np.searchsorted(codes, y)
            valid = None if valid is None else valid[np.isin(on.values[valid], codes)]
        train, judged, warnings = self._parts(on, rows, valid)
        found = training.fit(
            self.architecture, Data(on.target.kind, len(codes), _Placed(inputs, on.rows), y), train, judged,
            self.manners, stage=stage, checkpoint=self.checkpoint, told=lambda epoch: self.told(stage, epoch),
        )
        return Model(on.target.kind, codes, tuple(_steps(on.target.kind, found)), inputs.width, self._facts(found),
                     warnings)

    def _parts(self, on: Labels, rows: Array, valid: Array | None) -> tuple[Array, Array, tuple[str, ...]]:
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
        scaling = {"scaling": {"mean": found.unit[0], "std": found.unit[1]}} if found.unit != (0.0, 1.0) else {}
        return {"architecture": architecture.to_json(self.architecture), "epochs": len(found.history),
                "best_epoch": found.best_epoch, "stopped": found.stopped, "batch": self.manners.batch,
                "rate": self.manners.rate, **scaling}


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
        raise UsageError("unknown head", expected=", ".join(HEADS), found=head, hint="Use --head linear")
    if head == "suggested" and not metadata.head:
        raise UsageError("the dataset suggests no head", expected="layers in its metadata's head",
                         hint="Use --head linear or mlp")
    known = {"linear": None, "mlp": network.MLP, "rnn": network.RNN, "lstm": network.LSTM, "mean": network.MEAN}
    found = known[head] if head in known else architecture.from_json(metadata.head)
    if found is not None:
        require("torch", extra="torch")
    return found


def outputs(session: Any, inputs: Inputs, places: Array) -> Array:
    """The outputs float32 [k, C] of a head's session for these examples, a bounded number of rows at a time."""
    clips = isinstance(inputs, Clips)
    parts = [graph.run(session, {"feature": part[None] if clips else part})[0] for part in inputs.rows(places)]
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


def _steps(kind: str, found: training.Trained) -> Iterable[stack.Step]:
    """From features as they are to what the target's kind wants."""
    yield stack.Shift(found.mean)
    yield stack.Rescale(found.factor, np.zeros(1, np.float32))
    yield from found.network.steps()
    mean, deviation = found.unit
    if kind == "regression":
        yield stack.Rescale(np.array([deviation]), np.array([mean]))
    yield stack.Function(stack.ENDS[kind])
