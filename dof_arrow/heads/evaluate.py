"""A head judged on another dataset of the same core (base installation): the evaluation phase, without pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.format.spec.json_model import from_json
from dof_arrow.format.spec.metadata import Metadata, Target, parse
from dof_arrow.heads import features, labels, scoring
from dof_arrow.heads.estimators import outputs, said
from dof_arrow.heads.features import Clips, Inputs
from dof_arrow.heads.head import Head, HeadInput
from dof_arrow.heads.labels import Labelled, Labels
from dof_arrow.heads.scoring import Judged, Predictions

Array = NDArray[Any]
Json = Any

_MADE_BY = "Make it with dof train or dof_arrow.export_head"


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A head ready to run."""

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
    """The report of a head, as `dof train` wrote it, on the labelled rows of a dataset, or of one split of it.

    Features are found by their core's digest, not by name. Classes are matched by name; those that the head does not
    know count as wrong. The baseline is what the head's training rows alone would have guessed. Raises CoreError where
    no column is of the head's core, UsageError where target or classes do not meet.
    """
    loaded = _load(head)
    names = _columns(loaded, dataset.metadata)
    read = features.read(dataset, names, timed=loaded.about.clips)
    on = labels.read(dataset, _target(loaded, dataset.metadata, target))
    on = _matched(features.by_clip(on, read) if isinstance(read, Clips) else on, loaded)
    rows = _chosen(on, split)
    judged = _judged(loaded, on, read, rows)
    first = read.starts[on.rows] if isinstance(read, Clips) else on.rows
    groupings = {name: labels.values_of(dataset, name, first) for name in by}
    return _report(loaded, on, judged, groupings, dataset.metadata, split, seed)


def _load(head: bytes | str | Path) -> _Loaded:
    where = "the head" if isinstance(head, bytes) else str(head)
    model = graph.from_bytes(head, where) if isinstance(head, bytes) else graph.load(head)
    about = graph.properties(model).get("dof.head")
    if about is None:
        raise CoreError("not a head", where, "the property dof.head", hint=_MADE_BY)
    return _Loaded(
        from_json(parse(about.encode()), Head), graph.session(graph.to_bytes(model)), where
    )


def _columns(loaded: _Loaded, metadata: Metadata) -> list[str]:
    """The columns that hold what the head reads, in its order."""
    about = loaded.about
    width = loaded.session.get_inputs()[0].shape[-1]
    alone = HeadInput(feature=about.feature, core_sha256=about.core_sha256, width=width)
    return [_column(loaded, metadata, wanted) for wanted in about.inputs or [alone]]


def _column(loaded: _Loaded, metadata: Metadata, wanted: HeadInput) -> str:
    cores = {name: core.sha256 for name, core in metadata.cores.items()}
    found = {
        name: cores.get(column.core or "")
        for name, column in metadata.columns.items()
        if column.role == "feature"
    }
    same = [name for name, sha256 in found.items() if sha256 == wanted.core_sha256]
    if wanted.core_sha256 is None:
        same = [name for name in same if name == wanted.feature]
    if not same:
        raise CoreError(
            "the head was trained on another core",
            loaded.where,
            f"features of core {wanted.core_sha256}",
            ", ".join(f"{name} of {sha256}" for name, sha256 in found.items()),
            "Extract the pictures with the core that the head was trained on",
        )
    name = wanted.feature if wanted.feature in same else same[0]
    width = int(np.prod(metadata.columns[name].shape))
    if width != wanted.width:
        raise CoreError(
            "the head does not take these features",
            loaded.where,
            f"{wanted.width} a row",
            f"{width} in column {name}",
            "Extract with the cut and pool that the head was trained on",
        )
    return name


def _target(loaded: _Loaded, metadata: Metadata, target: str | None) -> str:
    about = loaded.about
    known = about.target if target is None and about.target in metadata.targets else target
    name = labels.choose(metadata.targets, known)
    found = metadata.targets[name]
    if (found.kind, found.unit) != (about.kind, about.unit):
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


def _matched(on: Labels, loaded: _Loaded) -> Labels:
    """The labels with the head's classes after the dataset's own, so that both can be named."""
    own, theirs = on.target.classes, loaded.about.classes
    if own and not set(own) & set(theirs):
        raise UsageError(
            "head and dataset have no class in common",
            f"target {on.name}",
            ", ".join(theirs),
            ", ".join(own),
            "Choose another --target, or train on this dataset",
        )
    more = tuple(name for name in theirs if name not in own)
    values = on.values
    if (
        on.target.kind == "multilabel"
    ):  # only of flags that both know can be told whether they are right
        return replace(
            on,
            target=Target(kind="multilabel", classes=tuple(c for c in own if c in theirs)),
            values=values[:, [i for i, c in enumerate(own) if c in theirs]],
        )
    return replace(on, target=replace(on.target, classes=own + more))


def _chosen(on: Labels, split: str | None) -> Array:
    rows = np.arange(len(on.rows)) if split is None else np.flatnonzero(on.splits == split)
    if not rows.size:
        known = ", ".join(sorted(set(on.splits.tolist()) - {""})) or "none"
        raise UsageError(
            "no labelled row of this split",
            expected=f"one of {known}",
            found=str(split),
            hint="Leave --split out to evaluate on every row",
        )
    return rows


def _judged(loaded: _Loaded, on: Labels, read: Inputs, rows: Array) -> Judged:
    found = outputs(loaded.session, read, on.rows[rows])
    prior = loaded.about.report.get("prior") or scoring.prior(on.target, on.values[rows])
    guess = scoring.guess(on.target, prior, len(rows))
    if on.target.kind == "regression":
        return Judged(rows, Predictions(found[:, 0].astype(np.float64)), guess)
    wide = np.zeros((len(found), len(on.target.classes)))
    for column, name in enumerate(loaded.about.classes):
        if name in on.target.classes:
            wide[:, on.target.classes.index(name)] = found[:, column]
    return Judged(rows, Predictions(said(on.target.kind, wide), wide), guess)


def _report(
    loaded: _Loaded,
    on: Labels,
    judged: Judged,
    groupings: dict[str, Array],
    metadata: Metadata,
    split: str | None,
    seed: int,
) -> dict[str, Json]:
    scores = scoring.scores(on, judged, seed)
    metric, main = next(iter(scores.items()))
    return scoring.plain(
        {
            "target": on.name,
            "kind": on.target.kind,
            "how": f"split {split}" if split else "all labelled rows",
            "metric": metric,
            **scoring.asdict({metric: main})[metric],
            "scores": scoring.asdict(scores),
            "n_test": len(judged.rows),
            "n_missing": on.missing,
            "groups": scoring.groups(on, judged),
            "classes": list(on.target.classes),
            "unit": on.target.unit,
            "dataset_uuid": metadata.uuid,
            "trained_on": loaded.about.dataset_uuid,
            **scoring.details(on, judged, seed),
            "by": {
                name: scoring.by_column(on, judged, name, values, seed)
                for name, values in groupings.items()
            },
            "warnings": [
                *_warnings(loaded, on, judged, metadata, split),
                *scoring.narrow(on, judged, main),
            ],
        }
    )


def _warnings(
    loaded: _Loaded, on: Labels, judged: Judged, metadata: Metadata, split: str | None
) -> list[str]:
    found = [f"{on.missing} rows without a label were left out"] if on.missing else []
    if metadata.uuid == loaded.about.dataset_uuid and split in (None, "train"):
        found.append("the head was trained on rows of this very dataset: the score flatters it")
    if loaded.about.core_sha256 is None and not loaded.about.inputs:
        found.append(
            "the head names no core: whether these features are of the same one was not checked"
        )
    unknown = [name for name in on.target.classes if name not in loaded.about.classes]
    if unknown and on.target.kind == "category":
        met = int(
            np.isin(
                on.values[judged.rows], [on.target.classes.index(name) for name in unknown]
            ).sum()
        )
        found.append(
            f"the head does not know {', '.join(unknown)}: {met} rows that it cannot get right"
        )
    return found
