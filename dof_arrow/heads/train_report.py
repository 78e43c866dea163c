"""The report of a training, and the description that the head carries in `dof.head`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.heads import features, judged
from dof_arrow.heads.estimators import Model
from dof_arrow.heads.features import Clips
from dof_arrow.heads.head import Head, HeadInput, cores_of
from dof_arrow.heads.judged import Judged
from dof_arrow.heads.labels import Labels
from dof_arrow.heads.task import Task
from dof_arrow.tables.targets import learned_kind

Array = NDArray[Any]
Json = Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """A fitted model, and how it was judged: in words, on which parts, and which part counts.

    `parts` are the labelled examples of each split, `judged` what was judged of each part.
    """

    model: Model
    how: str
    parts: dict[str, Array]
    judged: dict[str, Judged]
    main: str

    @property
    def counted(self) -> Judged:
        """The part that gives the score."""
        return self.judged[self.main]


def report(
    metadata: Metadata,
    task: Task,
    outcome: Outcome,
    groupings: Mapping[str, Array],
    settings: Mapping[str, Json],
) -> dict[str, Json]:
    """The whole report as JSON values; `settings` are the arguments of the training to repeat.

    Its keys keep their order, so that equal trainings give equal bytes.
    """
    labels, model = task.labels, outcome.model
    seed = settings["seed"]
    learned = outcome.parts["train"]
    main = outcome.counted
    scores, shown = {}, {}
    for part, found in outcome.judged.items():
        scores[part] = judged.scores(labels, found, seed)
        shown[part] = judged.asdict(scores[part])
    main_scores = scores[outcome.main]
    metric, score = next(iter(main_scores.items()))
    warnings = [
        *_warnings(labels, outcome, settings["cv"]),
        *judged.ungrouped(metadata),
        *judged.few(labels, main),
    ]
    return judged.plain(
        {
            "target": labels.name,
            "kind": labels.target.kind,
            **settings,
            "how": outcome.how,
            "metric": metric,
            **dataclasses.asdict(score),
            "scores": shown,
            "n_train": len(learned),
            "n_test": len(main.rows),
            "n_missing": labels.missing,
            "groups": judged.groups(labels, main),
            "classes": _classes(labels, model),
            "unit": labels.target.unit,
            "prior": judged.prior(labels.target, labels.values[learned]),
            **model.facts,
            **judged.details(labels, main),
            "by": judged.by_columns(labels, main, groupings, seed),
            "warnings": warnings,
        }
    )


def describe(
    metadata: Metadata, task: Task, model: Model, names: Sequence[str], report: dict[str, Json]
) -> str:
    """The JSON text of the property `dof.head`; `names` are the feature columns that it reads."""
    labels = task.labels
    read = [_input(metadata, name) for name in names]
    alone = len(read) == 1
    head = Head(
        target=labels.name,
        kind=learned_kind(labels.name, labels.target),
        classes=tuple(_classes(labels, model)),
        unit=labels.target.unit,
        feature=" + ".join(names),
        core_sha256=read[0].core_sha256 if alone else None,
        dataset_uuid=metadata.uuid,
        inputs=() if alone else tuple(read),
        clips=isinstance(task.inputs, Clips),
        sampling=features.sampling(metadata),
        cores=cores_of(metadata, names),
        report=report,
    )
    return json.dumps(to_json(head), ensure_ascii=False, separators=(",", ":"))


def _input(metadata: Metadata, name: str) -> HeadInput:
    column = metadata.columns[name]
    core = metadata.cores.get(column.core or "")
    return HeadInput(
        feature=name,
        core_sha256=core.sha256 if core else None,
        width=math.prod(column.shape),
    )


def _classes(labels: Labels, model: Model) -> list[str]:
    """The names of the classes that the model can say, in the order of its outputs."""
    if not labels.target.classes:
        return []
    return [labels.target.classes[code] for code in model.codes]


def _warnings(labels: Labels, outcome: Outcome, cv: int) -> Iterator[str]:
    """What a reader of the score should know."""
    groups = judged.groups(labels, outcome.counted)
    used = sum(len(rows) for rows in outcome.parts.values())
    unused = len(labels.rows) - used
    if labels.missing:
        yield f"{labels.missing} rows without a label were left out"
    if unused:
        yield f"{unused} rows of other splits than train, valid and test were left out"
    if outcome.main == "folds" and groups < cv:
        yield f"{groups} folds instead of {cv}: there are only {groups} groups"
    yield from outcome.model.warnings
    if labels.target.kind == "category":
        yield from _unlearned(labels, outcome)


def _unlearned(labels: Labels, outcome: Outcome) -> Iterator[str]:
    """Classes that were judged without having been learned."""
    rows = outcome.counted.rows
    values = labels.values[rows]
    groups = labels.groups[rows]
    by_folds = outcome.main == "folds"
    for code, name in enumerate(labels.target.classes):
        of_class = values == code
        if code not in outcome.model.codes:
            yield (
                f"class {name} has no row to train on: it is never predicted, "
                f"and {of_class.sum()} rows judged are of it"
            )
        elif by_folds and len(np.unique(groups[of_class])) == 1:
            yield (
                f"class {name} is of one group: whenever it was judged, it had not been trained on"
            )
