"""What one training learns from: the labels of the examples, and what the head reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads import features, judged
from dof_arrow.heads import labels as label_columns
from dof_arrow.heads.estimators import Model
from dof_arrow.heads.features import Clips, Inputs
from dof_arrow.heads.judged import Judged
from dof_arrow.heads.labels import Labelled, Labels

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Task:
    """The labelled examples of one target (rows, or whole clips) with their features."""

    labels: Labels
    inputs: Inputs

    def first_rows(self) -> Array:
        """The dataset row at which each labelled example begins, int64 [n]."""
        if isinstance(self.inputs, Clips):
            return self.inputs.starts[self.labels.rows]
        return self.labels.rows

    def judge(self, model: Model, rows: Array, learned: Array) -> Judged:
        """Run a model on the examples at `rows`, next to the best guess from `learned` alone."""
        labels, target = self.labels, self.labels.target
        places = labels.rows[rows]
        predictions = model.predict(self.inputs, places, len(target.classes))
        prior = judged.prior(target, labels.values[learned])
        guess = judged.guess(target, prior, len(rows))
        return Judged(rows, predictions, guess)


def read(dataset: Labelled, target: str | None, names: Sequence[str], *, timed: bool) -> Task:
    """Read labels and feature columns; `timed` makes each clip one example instead of each row.

    Raises what `labels.read`, `features.read` and `features.by_clip` raise.
    """
    found = label_columns.read(dataset, target)
    inputs = features.read(dataset, names, timed=timed)
    if isinstance(inputs, Clips):
        found = features.by_clip(found, inputs)
    return Task(found, inputs)


def check_learnable(labels: Labels, rows: Array, balance: bool) -> None:
    """Raise UsageError where all labels at `rows` are alike, or there are no classes to balance."""
    where = f"target {labels.name}"
    values = labels.values[rows]
    regression = labels.target.kind == "regression"
    if regression and balance:
        raise UsageError(
            "only classes can be balanced",
            where=where,
            found="a regression target",
            hint="Leave --balance out",
        )
    if (values == values[0]).all():
        same = _spoken(labels, values[0])
        raise UsageError(
            "the target is constant" if regression else "one class only",
            where=where,
            expected="two or more different labels to train on",
            found=f"{same} in all {len(values)} rows",
            hint="Add other records, or choose another --target",
        )


def _spoken(labels: Labels, value: Any) -> str:
    """One label as a person would say it."""
    if labels.target.kind == "regression":
        return f"{value:g}"
    if labels.target.kind == "category":
        name: str = labels.target.classes[value]
        return name
    return "equal flags"
