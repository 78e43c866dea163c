"""Judge a head on another dataset of the same core: features only, no pictures, no framework."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, UsageError, one_or_more
from dof_arrow.format.spec.json_model import from_json
from dof_arrow.format.spec.metadata import Metadata, Target, parse
from dof_arrow.format.spec.split_names import TEST, TRAIN, standard_or_own
from dof_arrow.heads import judged, labels
from dof_arrow.heads import task as tasks
from dof_arrow.heads.estimators import outputs, said
from dof_arrow.heads.head import Head, HeadInput
from dof_arrow.heads.judged import Judged
from dof_arrow.heads.labels import Labelled, Labels
from dof_arrow.heads.scoring import Predictions, Score
from dof_arrow.heads.task import Task

Array = NDArray[Any]
Json = Any

_MADE_BY = "Make it with dof train or dof_arrow.export_head"


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A head ready to run, and how messages call it."""

    about: Head
    session: Any
    where: str


def evaluate(
    head: bytes | str | Path,
    dataset: Labelled,
    *,
    target: str | None = None,
    split: str | None = None,
    by: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Json]:
    """Judge a head on the labelled rows of a dataset, or of one split; gives the report as JSON.

    Features are found by the digest of their core, not by name. Classes are matched by name; a
    class that the head does not know counts as wrong. The baseline is what the labels of the head's
    training would have guessed. `by` names columns: scores are also given for each of their values.
    Raises CoreError if no column is of the head's core, UsageError if target or classes do not
    match.
    """
    labels.check_dataset(dataset)
    loaded = _load(head)
    split = standard_or_own(split) if split is not None else None
    metadata = dataset.metadata
    names = _columns(loaded, metadata)
    name = _target(loaded, metadata, target)
    task = tasks.read(dataset, name, names, timed=loaded.about.clips)
    matched = _matched(task.labels, loaded)
    task = replace(task, labels=matched)
    rows = _chosen(matched, split)
    found = _judged(loaded, task, rows)
    first = task.first_rows()
    asked = one_or_more(by)
    groupings = {column: labels.values_of(dataset, column, first) for column in asked}
    scores = judged.scores(matched, found, seed)
    warnings = [
        *_warnings(loaded, matched, found, metadata),
        *judged.ungrouped(metadata),
        *judged.few(matched, found),
    ]
    report = {
        "target": matched.name,
        "kind": matched.target.kind,
        "how": f"split {split}" if split else "all labelled rows",
        **_scores(matched, found, scores),
        "dataset_uuid": metadata.uuid,
        "trained_on": loaded.about.dataset_uuid,
        **judged.details(matched, found),
        "by": judged.by_columns(matched, found, groupings, seed),
        "warnings": warnings,
    }
    return judged.plain(report)


def _load(head: bytes | str | Path) -> _Loaded:
    if isinstance(head, bytes):
        where = "the head"
        model = graph.from_bytes(head, where)
    else:
        where = str(head)
        model = graph.load(head)
    described = graph.properties(model).get("dof.head")
    if described is None:
        raise CoreError("not a head", where, "the property dof.head", hint=_MADE_BY)
    about = from_json(parse(described.encode()), Head)
    return _Loaded(about, graph.session(graph.to_bytes(model)), where)


def _columns(loaded: _Loaded, metadata: Metadata) -> list[str]:
    """The columns that hold what the head reads, in its order."""
    about = loaded.about
    wanted = about.inputs
    if not wanted:
        width = loaded.session.get_inputs()[0].shape[-1]
        alone = HeadInput(feature=about.feature, core_sha256=about.core_sha256, width=width)
        wanted = (alone,)
    return [_column(loaded, metadata, each) for each in wanted]


def _column(loaded: _Loaded, metadata: Metadata, wanted: HeadInput) -> str:
    """The column of a core; of several, the one with the name that the head knows."""
    core_of = _cores_of_features(metadata)
    sha256 = wanted.core_sha256
    same = [name for name, core in core_of.items() if core == sha256]
    if sha256 is None:  # an unknown core: only the name can tell
        same = [name for name in same if name == wanted.feature]
    if not same:
        raise CoreError(
            "the head was trained on another core",
            loaded.where,
            f"features of core {sha256}",
            ", ".join(f"{name} of {core}" for name, core in core_of.items()),
            "Extract the pictures with the core that the head was trained on",
        )
    name = same[0]
    if wanted.feature in same:
        name = wanted.feature
    width = math.prod(metadata.columns[name].shape)
    if width != wanted.width:
        raise CoreError(
            "the head does not take these features",
            loaded.where,
            f"{wanted.width} a row",
            f"{width} in column {name}",
            "Extract with the cut and pool that the head was trained on",
        )
    return name


def _cores_of_features(metadata: Metadata) -> dict[str, str | None]:
    """The digest of the core of each feature column, None if unknown."""
    found = {}
    for name, column in metadata.columns.items():
        if column.role == "feature":
            core = metadata.cores.get(column.core or "")
            found[name] = core.sha256 if core else None
    return found


def _target(loaded: _Loaded, metadata: Metadata, target: str | None) -> str:
    """The target to judge on: as asked for, else the head's own, else the only one."""
    about = loaded.about
    if target is None and about.target in metadata.targets:
        target = about.target
    name = labels.choose(metadata.targets, target)
    found = metadata.targets[name]
    same = found.kind == about.kind and found.unit == about.unit
    if not same:
        raise UsageError(
            "the head predicts something else",
            f"target {name}",
            _spoken(about.kind, about.unit),
            _spoken(found.kind, found.unit),
            "Choose another --target",
        )
    return name


def _spoken(kind: str, unit: str | None) -> str:
    return f"{kind} in {unit}" if unit else kind


def _matched(found: Labels, loaded: _Loaded) -> Labels:
    """Labels whose classes are the dataset's, then those that only the head knows."""
    own, theirs = found.target.classes, loaded.about.classes
    if own and not set(own) & set(theirs):
        raise UsageError(
            "head and dataset have no class in common",
            f"target {found.name}",
            ", ".join(theirs),
            ", ".join(own),
            "Choose another --target, or train on this dataset",
        )
    if found.target.kind == "multilabel":
        # Only a flag that both know can be judged.
        places = [place for place, name in enumerate(own) if name in theirs]
        common = tuple(own[place] for place in places)
        target = Target(kind="multilabel", classes=common)
        values = found.values[:, places]
        return replace(found, target=target, values=values)
    more = tuple(name for name in theirs if name not in own)
    target = replace(found.target, classes=own + more)
    return replace(found, target=target)


def _chosen(found: Labels, split: str | None) -> Array:
    """The labelled examples of a split, or all; UsageError if there are none."""
    rows = np.arange(len(found.rows))
    if split is not None:
        rows = np.flatnonzero(found.splits == split)
    if not rows.size:
        known = sorted(set(found.splits.tolist()) - {""})
        raise UsageError(
            "no labelled row of this split",
            expected=f"one of {', '.join(known) or 'none'}",
            found=str(split),
            hint="Leave --split out to evaluate on every row",
        )
    return rows


def _judged(loaded: _Loaded, task: Task, rows: Array) -> Judged:
    """Run the head, and put its outputs into the columns of the matched classes."""
    found, about = task.labels, loaded.about
    target = found.target
    given = outputs(loaded.session, task.inputs, found.rows[rows])
    prior = about.report.get("prior")
    if not prior:  # a head that was trained elsewhere
        prior = judged.prior(target, found.values[rows])
    guess = judged.guess(target, prior, len(rows))
    if target.kind == "regression":
        values = given[:, 0].astype(np.float64)
        return Judged(rows, Predictions(values), guess)
    wide = np.zeros((len(given), len(target.classes)), np.float32)
    for column, name in enumerate(about.classes):
        if name in target.classes:
            place = target.classes.index(name)
            wide[:, place] = given[:, column]
    predictions = Predictions(said(target.kind, wide), wide)
    return Judged(rows, predictions, guess)


def _scores(found: Labels, on: Judged, scores: dict[str, Score]) -> dict[str, Json]:
    """The scores, and on what they are; the keys keep their order."""
    metric, main = next(iter(scores.items()))
    return {
        "metric": metric,
        **dataclasses.asdict(main),
        "scores": judged.asdict(scores),
        "n_test": len(on.rows),
        "n_missing": found.missing,
        "groups": judged.groups(found, on),
        "classes": list(found.target.classes),
        "unit": found.target.unit,
    }


def _warnings(loaded: _Loaded, found: Labels, on: Judged, metadata: Metadata) -> Iterator[str]:
    """What a reader of the score should know."""
    about, target = loaded.about, found.target
    if found.missing:
        yield f"{found.missing} rows without a label were left out"
    yield from _seen(about, found, on, metadata)
    if about.core_sha256 is None and not about.inputs:
        yield "the head names no core: whether these features are of the same one was not checked"
    unknown = [name for name in target.classes if name not in about.classes]
    if unknown and target.kind == "category":
        codes = [target.classes.index(name) for name in unknown]
        count = int(np.isin(found.values[on.rows], codes).sum())
        yield f"the head does not know {', '.join(unknown)}: {count} rows that it cannot get right"


def _seen(about: Head, found: Labels, on: Judged, metadata: Metadata) -> Iterator[str]:
    """Whether the head was trained on what it is judged on, as far as that is known."""
    splits = found.splits[on.rows]
    made_from = (
        [parent.uuid for parent in metadata.provenance.parents] if metadata.provenance else []
    )
    if not about.report.get("how"):
        yield "the head does not say how it was trained: whether on rows judged here is not known"
    elif metadata.uuid == about.dataset_uuid:
        by_split = TRAIN in found.splits
        learned = int((splits == TRAIN).sum()) if by_split else len(splits)
        if learned:
            yield (
                "the head was trained on rows of this very dataset: the score flatters it "
                f"({learned} of {len(splits)} rows judged)"
            )
    elif about.dataset_uuid in made_from and not (splits == TEST).all():
        yield (
            "this dataset was made from the one that the head was trained on: "
            "it may have seen rows judged here"
        )
    elif unknown := int((splits == "").sum()):
        yield (
            f"{unknown} rows judged are in no split: whether the head was trained on some of them "
            "is not known"
        )
