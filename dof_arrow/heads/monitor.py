"""What goes on beside a training: the progress it reports, its checkpoint, its file of metrics."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dof_arrow.heads import architecture, training_curves
from dof_arrow.heads.architecture import Architecture
from dof_arrow.heads.checkpoint import Checkpoint, ignore_entries
from dof_arrow.heads.estimators import Learner, LinearLearner, NetworkLearner
from dof_arrow.heads.task import Task
from dof_arrow.heads.training import TrainingOptions

Progress = Callable[[int, int, int], None]

WHOLE = "all"  # the stage that fits to every row that may be learned from


def ignore_progress(done: int, total: int, failed: int) -> None:
    """A progress hook that does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMonitor:
    """What follows the training of a network; a linear head reports nothing.

    `checkpoint` is a file from which a killed training goes on, written at most `every` seconds;
    `metrics` a file of JSON lines, with a plot of the same name as SVG. `progress` is called with
    the epochs done, the epochs in all, and 0 (nothing fails).
    """

    checkpoint: Path | None = None
    metrics: Path | None = None
    progress: Progress = ignore_progress
    every: float = 5.0


def fold_stage(fold: int) -> str:
    """The name of the stage that leaves out one fold, counted from 0.

    >>> fold_stage(0)
    'fold 1'
    """
    return f"fold {fold + 1}"


@contextlib.contextmanager
def watched_learner(
    task: Task,
    network: Architecture | None,
    options: TrainingOptions,
    monitor: TrainingMonitor,
    *,
    cv: int,
    folds: int,
) -> Iterator[Learner]:
    """Give the learner of a network, or of a linear head if None; tidy up if all went well.

    `folds` is the number of stages before the last, `cv` what the caller asked for. An error within
    the block leaves the checkpoint in place, so that a later call can go on from it.
    """
    if network is None:
        yield LinearLearner(options.balance, options.seed)
        return
    checkpoint = _checkpoint(task, network, options, cv, monitor)
    stages = [*map(fold_stage, range(folds)), WHOLE]
    counter = _EpochCounter(monitor.progress, stages, options.epochs)
    yield NetworkLearner(network, options, checkpoint, counter.epoch_done)
    counter.finish()
    if checkpoint:
        checkpoint.finish()


class _EpochCounter:
    """Reports epochs of all stages as one number; a stage that stops early counts as whole."""

    def __init__(self, report: Progress, stages: list[str], epochs: int) -> None:
        self._report = report
        self._stages = stages
        self._epochs = epochs
        self._total = len(stages) * epochs
        self._done = 0

    def epoch_done(self, stage: str, epoch: int) -> None:
        stages_done = self._stages.index(stage)
        self._done = stages_done * self._epochs + epoch
        self._report(self._done, self._total, 0)

    def finish(self) -> None:
        if self._done < self._total:
            self._report(self._total, self._total, 0)


def _checkpoint(
    task: Task, network: Architecture, options: TrainingOptions, cv: int, monitor: TrainingMonitor
) -> Checkpoint | None:
    """The checkpoint that the monitor asks for; one without a file only passes the metrics on."""
    if monitor.checkpoint is None and monitor.metrics is None:
        return None
    heard = ignore_entries
    if monitor.metrics is not None:
        heard = partial(training_curves.write, monitor.metrics)
    identity = _identity(task, network, options, cv) if monitor.checkpoint else ""
    return Checkpoint(monitor.checkpoint, identity, every=monitor.every, heard=heard)


def _identity(task: Task, network: Architecture, options: TrainingOptions, cv: int) -> str:
    """What a checkpoint belongs to: a digest of all data and options, and of torch's version."""
    import torch

    labels = task.labels
    settings = (
        architecture.to_json(network),
        dataclasses.asdict(options),
        cv,
        labels.name,
        torch.__version__,
    )
    digest = hashlib.sha256(json.dumps(settings).encode())
    splits = labels.splits.astype("U")  # as characters: an object's bytes are its address
    for array in (labels.rows, labels.values, labels.groups, splits):
        digest.update(array.tobytes())
    everything = np.arange(len(task.inputs))
    for part in task.inputs.rows(everything):
        digest.update(part.tobytes())
    return digest.hexdigest()
