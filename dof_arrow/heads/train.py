"""Train a head on frozen features and judge it on rows that it has not seen.

A head is an ONNX graph. Its input is `feature` float32 [N, D], or [N, T, D] if it reads clips; its
output `probabilities` float32 [N, C] (category: a row sums to one; multilabel: each column stands
for itself) or `value` float32 [N, 1] (regression, in the target's unit). Its property `dof.head`
says what it was trained on and how well it did. Linear heads need the extra `train`, networks the
extra `torch`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError, check_truth, one_or_more, require, whole_number
from dof_arrow.heads import features as feature_columns
from dof_arrow.heads import labels as label_columns
from dof_arrow.heads import task as tasks
from dof_arrow.heads import train_report
from dof_arrow.heads.architecture import Architecture
from dof_arrow.heads.estimators import Learner, architecture_of
from dof_arrow.heads.judged import Judged
from dof_arrow.heads.labels import Labelled
from dof_arrow.heads.monitor import WHOLE, TrainingMonitor, fold_stage, watched_learner
from dof_arrow.heads.scoring import Predictions, summary
from dof_arrow.heads.task import Task
from dof_arrow.heads.train_report import Outcome
from dof_arrow.heads.training import TrainingOptions
from dof_arrow.sampling import splits
from dof_arrow.storage.atomic import replacing

Array = NDArray[Any]
Json = Any

__all__ = ["TrainedHead", "TrainingMonitor", "train"]

_FOLDS = 5
_MANY = 100_000  # examples, of which a fifth is enough to judge on


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head as ONNX bytes, and the report on its training (which the bytes hold too)."""

    onnx: bytes
    report: dict[str, Json]

    def __str__(self) -> str:
        return summary(self.report)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the head as an ONNX file, whole or not at all; OutputError if it cannot be."""
        with replacing(path, overwrite=overwrite) as file:
            file.write(self.onnx)


def train(
    dataset: Labelled,
    *,
    target: str | None = None,
    head: str | Architecture = "linear",
    features: Sequence[str] = (),
    by: Sequence[str] = (),
    cv: int | None = None,
    balance: bool = False,
    seed: int = 0,
    options: TrainingOptions | None = None,
    monitor: TrainingMonitor | None = None,
) -> TrainedHead:
    """Train a head on a dataset's features and judge it on rows that it has not seen.

    `head` is `linear`, `mlp`, for clips `rnn` (a GRU), `lstm`, `mean` (over time) or `statistics`
    (mean, deviation, minimum and maximum), `suggested` (the architecture in the dataset's
    metadata) or an Architecture. `features` names the columns to read side by side, by default the
    primary one. If the dataset has a split `train`, the head is fitted there and judged on `valid`
    and `test`; otherwise it is judged by `cv` grouped folds and then fitted to every labelled row.
    Without `cv` there are five folds; of more than 100,000 examples only one of them is judged, so
    that judging takes no longer than training. `balance` weighs classes by the inverse of their
    frequency; it and `seed` may stand in `options` too. `by` names columns: scores are also
    reported for each of their values.

    Equal data and seed give equal bytes. Raises UsageError if there is nothing to learn from or to
    judge on, FormatError for invalid labels or features, MissingExtra without scikit-learn or
    torch.
    """
    label_columns.check_dataset(dataset)
    check_truth("balance", balance)
    options = options or TrainingOptions()
    balance, seed = bool(balance or options.balance), whole_number("seed", seed or options.seed)
    options = replace(options, balance=balance, seed=seed)
    if cv is not None and whole_number("cv", cv) < 2:
        raise UsageError("too few folds", expected="2 or more", found=str(cv), hint="Use --cv 5")
    names = feature_columns.columns(dataset, one_or_more(features))
    network = architecture_of(head, dataset.metadata)
    if network is None:
        require("sklearn", extra="train")
    else:
        require("torch", extra="torch")
    timed = network is not None and network.timed
    task = tasks.read(dataset, target, names, timed=timed)
    parts = task.labels.parts()
    tasks.check_learnable(task.labels, parts["train"], balance)
    first = task.first_rows()  # of a clip, its first frame tells the value
    asked = one_or_more(by)
    groupings = {name: label_columns.values_of(dataset, name, first) for name in asked}
    monitor = monitor or TrainingMonitor()
    by_split = len(parts) > 1
    plan = _Folds.planned(len(parts["train"]), cv)
    folds = 0 if by_split else plan.judged  # for the progress: fewer groups make fewer folds
    with watched_learner(task, network, options, monitor, cv=plan.count, folds=folds) as learner:
        if by_split:
            outcome = _by_split(task, learner, parts)
        else:
            outcome = _by_folds(task, learner, parts["train"], plan)
    named = head if isinstance(head, str) else "architecture"
    settings = {"head": named, "balance": balance, "seed": seed, "cv": plan.count}
    report = train_report.report(dataset.metadata, task, outcome, groupings, settings)
    described = train_report.describe(dataset.metadata, task, outcome.model, names, report)
    return TrainedHead(outcome.model.to_onnx({"dof.head": described}), report)


def _by_split(task: Task, learner: Learner, parts: Mapping[str, Array]) -> Outcome:
    """Fit on `train`, judge on every other part; `test` counts, or `valid` if there is no test."""
    learned = parts["train"]
    # `valid` may say when to stop only if `test` gives the score: no score steers its own training.
    valid = parts.get("valid") if "test" in parts else None
    model = learner.fit(task.labels, task.inputs, learned, valid, WHOLE)
    judged = {}
    for name, rows in parts.items():
        if name != "train":
            judged[name] = task.judge(model, rows, learned)
    main = "test" if "test" in judged else "valid"
    how = f"train and {main} split"
    return Outcome(model, how, dict(parts), judged, main)


@dataclass(frozen=True, slots=True)
class _Folds:
    """Into how many folds the examples are dealt, and how many of them are judged."""

    count: int
    judged: int

    @classmethod
    def planned(cls, examples: int, asked: int | None) -> _Folds:
        """The folds that were asked for, or the usual ones."""
        if asked is not None:
            return cls(asked, asked)
        return cls(_FOLDS, 1 if examples > _MANY else _FOLDS)


def _by_folds(task: Task, learner: Learner, rows: Array, plan: _Folds) -> Outcome:
    """Judge the examples at `rows` by grouped folds, and fit to all of them."""
    labels = task.labels
    groups = labels.groups[rows]
    count = _fold_count(groups, plan.count)
    # Every fold gets its share of every class.
    strata = labels.values[rows] if labels.target.kind == "category" else None
    fold_of = splits.folds(groups, count, strata=strata, seed=learner.seed)
    # Of several the last is judged: the rarest classes are dealt to the first.
    chosen = range(count) if plan.judged > 1 else range(count - 1, count)

    def judge(fold: int) -> Judged:
        out = fold_of == fold
        model = learner.fit(labels, task.inputs, rows[~out], None, fold_stage(fold))
        return task.judge(model, rows[out], rows[~out])

    jobs = [partial(judge, fold) for fold in chosen]
    whole = partial(learner.fit, labels, task.inputs, rows, None, WHOLE)
    *judged, model = learner.together([*jobs, whole], task.inputs)
    how = f"grouped {count}-fold"
    if len(chosen) < count:
        how = f"one of {count} grouped folds"
    return Outcome(model, how, {"train": rows}, {"folds": _joined(judged)}, "folds")


def _fold_count(groups: Array, cv: int) -> int:
    """The number of folds asked for, or the number of groups if there are fewer."""
    count = len(np.unique(groups))
    if count < 2:
        raise UsageError(
            "nothing to judge on",
            expected="labelled rows of two groups or more",
            found=f"{count} group",
            hint="Give a split, or a --group that tells the records apart",
        )
    return min(cv, count)


def _joined(folds: Sequence[Judged]) -> Judged:
    """All folds as one, in the order of the rows."""
    if len(folds) == 1:
        return folds[0]
    rows = np.concatenate([fold.rows for fold in folds])
    order = np.argsort(rows)
    predictions = _concatenated([fold.predictions for fold in folds], order)
    guess = _concatenated([fold.guess for fold in folds], order)
    return Judged(rows[order], predictions, guess)


def _concatenated(parts: Sequence[Predictions], order: Array) -> Predictions:
    said = np.concatenate([part.said for part in parts])
    outputs = [part.outputs for part in parts if part.outputs is not None]
    if not outputs:
        return Predictions(said[order])
    together = np.concatenate(outputs)
    return Predictions(said[order], together[order])
