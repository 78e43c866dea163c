"""Heads on frozen features: train one and judge it, write it as ONNX, and predict with a fused model.

A head is an ONNX graph: input `feature` float32 [N, D], or [N, T, D] of one that reads clips; output `probabilities`
float32 [N, C] (category: adding up to one; multilabel: each its own) or `value` float32 [N, 1] (regression, in the
target's unit). Its key `dof.head` says what it was trained on and how well it did. Linear heads need the extra `train`,
the others `torch`; predicting and evaluating the base installation only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError, require
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.heads import architecture, labels, scoring, training
from dof_arrow.heads import features as inputs
from dof_arrow.heads.architecture import Architecture
from dof_arrow.heads.estimators import (
    Learner,
    LinearLearner,
    Model,
    NetworkLearner,
    architecture_of,
)
from dof_arrow.heads.features import Clips, Inputs
from dof_arrow.heads.head import Head, HeadInput
from dof_arrow.heads.labels import Labelled, Labels
from dof_arrow.heads.scoring import Judged, Predictions, summary
from dof_arrow.heads.training import Checkpoint, TrainingOptions
from dof_arrow.sampling import splits

Array = NDArray[Any]
Json = Any


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head as ONNX bytes, and the report of how it was trained and judged (inside the bytes too)."""

    onnx: bytes
    report: dict[str, Json]

    def __str__(self) -> str:
        return summary(self.report)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMonitor:
    """Who looks on while a network is trained: a checkpoint to go on from, a file of metrics, a progress bar.

    `progress` hears of epochs done and in all, and of none failed; `metrics` is written as JSON lines and as SVG.
    """

    checkpoint: Path | None = None
    metrics: Path | None = None
    progress: Callable[[int, int, int], None] = lambda done, total, failed: None
    every: float = 5.0


def train(
    dataset: Labelled,
    *,
    target: str | None = None,
    head: str | Architecture = "linear",
    features: Sequence[str] = (),
    by: Sequence[str] = (),
    cv: int = 5,
    balance: bool = False,
    seed: int = 0,
    manners: TrainingOptions | None = None,
    watch: TrainingMonitor | None = None,
) -> TrainedHead:
    """Train a head on a dataset's features and judge it on rows that it has not seen.

    `head` is `linear`, `mlp`, of clips `rnn` (a GRU), `lstm` or `mean` (over time), `suggested` (what the dataset's
    author wrote into it) or an Architecture; `features` are columns to read side by side, by default the primary one.
    With a split `train` it is fitted there and judged on `valid` and `test`. Without, it is judged by `cv` grouped
    folds and then fitted to every labelled row.
    `balance` weighs classes by the inverse of their frequency; `by` names columns for whose every value the scores are
    given too. Equal data and seed give equal bytes. Raises UsageError where there is nothing to learn from or to judge
    on, FormatError for labels or features that cannot be, MissingExtra without scikit-learn or torch.
    """
    if cv < 2:
        raise UsageError("too few folds", expected="2 or more", found=str(cv), hint="Use --cv 5")
    names = inputs.columns(dataset, features)
    wanted = architecture_of(head, dataset.metadata)
    require("torch", extra="torch") if wanted else require("sklearn", extra="train")
    job = _job(dataset, target, names, timed=wanted is not None and wanted.timed)
    parts = job.labels.parts()
    _check_learnable(job.labels, parts["train"], balance)
    groupings = {name: labels.values_of(dataset, name, job.first_rows()) for name in by}
    manners = replace(manners or TrainingOptions(), balance=balance, seed=seed)
    with _watched(job, wanted, manners, cv, parts, watch or TrainingMonitor()) as learner:
        outcome = (
            _by_split(job, learner, parts)
            if len(parts) > 1
            else _by_folds(job, learner, parts["train"], cv)
        )
    about = {
        "head": head if isinstance(head, str) else "architecture",
        "balance": balance,
        "seed": seed,
        "cv": cv,
    }
    told = _report(job, outcome, parts, groupings, about)
    described = _describe(dataset.metadata, job, outcome.model, names, told)
    return TrainedHead(outcome.model.to_onnx({"dof.head": described}), told)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is learned: the labels of the examples, and what the head reads of them."""

    labels: Labels
    inputs: Inputs

    def first_rows(self) -> Array:
        """The row of the dataset at which each labelled example begins."""
        return (
            self.inputs.starts[self.labels.rows]
            if isinstance(self.inputs, Clips)
            else self.labels.rows
        )

    def judged(self, model: Model, rows: Array, learned: Array) -> Judged:
        """What a model, and a guess that knows the labels at `learned` only, say of the examples at `rows`."""
        on = self.labels
        said = model.answers(self.inputs, on.rows[rows], len(on.target.classes))
        return Judged(
            rows,
            said,
            scoring.guess(on.target, scoring.prior(on.target, on.values[learned]), len(rows)),
        )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A fitted model, how it was judged, what was judged in each part, and which part counts."""

    model: Model
    how: str
    parts: dict[str, Judged]
    part: str


def _job(dataset: Labelled, target: str | None, names: Sequence[str], *, timed: bool) -> _Job:
    on, read = labels.read(dataset, target), inputs.read(dataset, names, timed=timed)
    return _Job(inputs.by_clip(on, read) if isinstance(read, Clips) else on, read)


def _by_split(job: _Job, learner: Learner, parts: Mapping[str, Array]) -> _Outcome:
    valid = (
        parts.get("valid") if "test" in parts else None
    )  # with no test set, the score must not steer the training
    model = learner.fit(job.labels, job.inputs, parts["train"], valid, "all")
    found = {
        name: job.judged(model, rows, parts["train"])
        for name, rows in parts.items()
        if name != "train"
    }
    part = "test" if "test" in found else "valid"
    return _Outcome(model, f"train and {part} split", found, part)


def _by_folds(job: _Job, learner: Learner, rows: Array, cv: int) -> _Outcome:
    on = job.labels
    k = _fold_count(on.groups[rows], cv)
    strata = on.values[rows] if on.target.kind == "category" else None
    fold = splits.folds(on.groups[rows], k, strata=strata, seed=learner.seed)
    found = []
    for i in range(k):
        model = learner.fit(on, job.inputs, rows[fold != i], None, f"fold {i + 1}")
        found.append(job.judged(model, rows[fold == i], rows[fold != i]))
    return _Outcome(
        learner.fit(on, job.inputs, rows, None, "all"),
        f"grouped {k}-fold",
        {"folds": _joined(found)},
        "folds",
    )


def _joined(found: Sequence[Judged]) -> Judged:
    """Folds as one, its rows in their order."""
    rows = np.concatenate([each.rows for each in found])
    order = np.argsort(rows)

    def joined(answers: list[Predictions]) -> Predictions:
        outputs = [a.outputs for a in answers if a.outputs is not None]
        return Predictions(
            np.concatenate([a.said for a in answers])[order],
            np.concatenate(outputs)[order] if outputs else None,
        )

    return Judged(rows[order], joined([e.answers for e in found]), joined([e.guess for e in found]))


def _fold_count(groups: Array, cv: int) -> int:
    """The folds asked for, or as many as there are groups."""
    count = len(np.unique(groups))
    if count < 2:
        raise UsageError(
            "nothing to judge on",
            expected="labelled rows of two groups or more",
            found=f"{count} group",
            hint="Give a split, or a --group that tells the records apart",
        )
    return min(cv, count)


@contextlib.contextmanager
def _watched(
    job: _Job,
    wanted: Architecture | None,
    manners: TrainingOptions,
    cv: int,
    parts: Mapping[str, Array],
    watch: TrainingMonitor,
) -> Iterator[Learner]:
    """The learner, with what goes on beside it; its checkpoint is taken away when all went well."""
    if wanted is None:
        yield LinearLearner(manners.balance, manners.seed)
        return
    stages = ["all"] if len(parts) > 1 else [*(f"fold {i + 1}" for i in range(cv)), "all"]
    kept, whole, done = (
        _checkpoint(job, wanted, manners, cv, watch),
        len(stages) * manners.epochs,
        0,
    )

    def told(stage: str, epoch: int) -> None:
        nonlocal done
        done = stages.index(stage) * manners.epochs + epoch
        watch.progress(done, whole, 0)

    yield NetworkLearner(wanted, manners, kept, told)
    if done < whole:  # it stopped early
        watch.progress(whole, whole, 0)
    if kept:
        kept.finish()


def _checkpoint(
    job: _Job, wanted: Architecture, manners: TrainingOptions, cv: int, watch: TrainingMonitor
) -> Checkpoint | None:
    path = watch.metrics
    if watch.checkpoint is None and path is None:
        return None
    heard = (lambda entries: training.write(path, entries)) if path else (lambda entries: None)
    identity = _identity(job, wanted, manners, cv) if watch.checkpoint else ""
    return Checkpoint(watch.checkpoint, identity, every=watch.every, heard=heard)


def _identity(job: _Job, wanted: Architecture, manners: TrainingOptions, cv: int) -> str:
    """What a checkpoint belongs to: a digest of all data and options."""
    import torch

    on = job.labels
    told = (
        architecture.to_json(wanted),
        dataclasses.asdict(manners),
        cv,
        on.name,
        torch.__version__,
    )
    digest = hashlib.sha256(json.dumps(told).encode())
    for array in (on.rows, on.values, on.groups, on.splits.astype("U")):
        digest.update(array.tobytes())
    for part in job.inputs.rows(np.arange(len(job.inputs))):
        digest.update(part.tobytes())
    return digest.hexdigest()


def _check_learnable(on: Labels, rows: Array, balance: bool) -> None:
    """Raise UsageError where the rows to train on are all alike, or there are no classes to balance."""
    y, where = on.values[rows], f"target {on.name}"
    if on.target.kind == "regression" and balance:
        raise UsageError(
            "only classes can be balanced",
            where=where,
            found="a regression target",
            hint="Leave --balance out",
        )
    if (y == y[0]).all():
        what = "the target is constant" if on.target.kind == "regression" else "one class only"
        found = f"{y[0]:g}" if on.target.kind == "regression" else _names(on, y)
        raise UsageError(
            what,
            where=where,
            expected="two or more different labels to train on",
            found=f"{found} in all {len(y)} rows",
            hint="Add other records, or choose another --target",
        )


def _names(on: Labels, y: Array) -> str:
    return on.target.classes[y[0]] if y.ndim == 1 else "equal flags"


def _report(
    job: _Job,
    outcome: _Outcome,
    parts: Mapping[str, Array],
    groupings: Mapping[str, Array],
    about: Mapping[str, Json],
) -> dict[str, Json]:
    on, main, seed = job.labels, outcome.parts[outcome.part], about["seed"]
    scores = {part: scoring.scores(on, judged, seed) for part, judged in outcome.parts.items()}
    metric, score = next(iter(scores[outcome.part].items()))
    return scoring.plain(
        {
            "target": on.name,
            "kind": on.target.kind,
            **about,
            "how": outcome.how,
            "metric": metric,
            **scoring.asdict({metric: score})[metric],
            "scores": {part: scoring.asdict(found) for part, found in scores.items()},
            "n_train": len(parts["train"]),
            "n_test": len(main.rows),
            "n_missing": on.missing,
            "groups": scoring.groups(on, main),
            "classes": _classes(on, outcome.model),
            "unit": on.target.unit,
            "prior": scoring.prior(on.target, on.values[parts["train"]]),
            **outcome.model.facts,
            **scoring.details(on, main, seed),
            "by": {
                name: scoring.by_column(on, main, name, values, seed)
                for name, values in groupings.items()
            },
            "warnings": [
                *_warnings(on, outcome, parts, about["cv"]),
                *scoring.narrow(on, main, score),
            ],
        }
    )


def _warnings(on: Labels, outcome: _Outcome, parts: Mapping[str, Array], cv: int) -> Iterator[str]:
    """What a reader of the score should know."""
    groups = scoring.groups(on, outcome.parts[outcome.part])
    unused = len(on.rows) - sum(len(rows) for rows in parts.values())
    if on.missing:
        yield f"{on.missing} rows without a label were left out"
    if unused:
        yield f"{unused} rows of other splits than train, valid and test were left out"
    if outcome.part == "folds" and groups < cv:
        yield f"{groups} folds instead of {cv}: there are only {groups} groups"
    yield from outcome.model.warnings
    if on.target.kind == "category":
        yield from _unseen(on, outcome)


def _unseen(on: Labels, outcome: _Outcome) -> Iterator[str]:
    rows = outcome.parts[outcome.part].rows
    values, groups = on.values[rows], on.groups[rows]
    for code, name in enumerate(on.target.classes):
        met = values == code
        if code not in outcome.model.codes:
            yield f"class {name} has no row to train on: it is never predicted, and {met.sum()} rows judged are of it"
        elif outcome.part == "folds" and len(np.unique(groups[met])) == 1:
            yield f"class {name} is of one group: whenever it was judged, it had not been trained on"


def _classes(on: Labels, model: Model) -> list[str]:
    return [on.target.classes[code] for code in model.codes] if on.target.classes else []


def _describe(
    metadata: Metadata, job: _Job, model: Model, names: Sequence[str], told: dict[str, Json]
) -> str:
    """The key `dof.head` of a trained head."""
    on = job.labels
    read = [_input(metadata, name) for name in names]
    head = Head(
        target=on.name,
        kind=on.target.kind,
        classes=tuple(_classes(on, model)),
        unit=on.target.unit,
        feature=" + ".join(names),
        core_sha256=read[0].core_sha256 if len(read) == 1 else None,
        dataset_uuid=metadata.uuid,
        inputs=tuple(read) if len(read) > 1 else (),
        clips=isinstance(job.inputs, Clips),
        sampling=inputs.sampling(metadata),
        report=told,
    )
    return json.dumps(to_json(head), ensure_ascii=False, separators=(",", ":"))


def _input(metadata: Metadata, name: str) -> HeadInput:
    column = metadata.columns[name]
    core = metadata.cores.get(column.core or "")
    return HeadInput(
        feature=name, core_sha256=core.sha256 if core else None, width=int(np.prod(column.shape))
    )
