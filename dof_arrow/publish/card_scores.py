"""What a card tells of heads: the scores that a head carries, and those in the file itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.format.spec.json_model import from_json
from dof_arrow.format.spec.metadata import Metadata, parse
from dof_arrow.heads.head import Head

Json = Any

_FIRST = ("accuracy", "balanced_accuracy", "f1", "auc", "r2", "mae", "ece")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownScore:
    """A score of a head on a part of the rows: its value, 95% interval and what a guess reaches."""

    part: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadScores:
    """What a head says of itself.

    `confusion` counts rows: lines are the true classes, columns the predicted ones. `here`: it was
    trained on this very dataset.
    """

    name: str
    target: str
    kind: str
    how: str
    rows: str
    here: bool
    scores: tuple[ShownScore, ...]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Heads, and what the file's sections `performance` and `training` say, as names and texts."""

    heads: tuple[HeadScores, ...]
    performance: tuple[tuple[str, str], ...]
    training: tuple[tuple[str, str], ...]


def scores(known: Metadata, heads: Mapping[str, Head]) -> Scores:
    """The scores of heads by their names, and the owner's own."""
    found = [head_scores(name, head, known) for name, head in heads.items()]
    return Scores(
        heads=tuple(found),
        performance=tuple(_told(known.performance)),
        training=tuple(_told(known.training)),
    )


def read_heads(paths: Sequence[Path], known: Metadata) -> dict[str, Head]:
    """Heads by the names of their files.

    Raises CoreError for what is no head, UsageError for one of another core, or two of one name.
    """
    found: dict[str, Head] = {}
    for path in paths:
        text = graph.properties(graph.load(path)).get("dof.head")
        if text is None:
            raise CoreError(
                "not a head", str(path), "the property dof.head", hint="dof train FILE -o HEAD.onnx"
            )
        if path.stem in found:
            raise UsageError("two heads of one name", str(path), hint="Rename one of them.")
        found[path.stem] = from_json(parse(text.encode()), Head)
        check_core(found[path.stem], known, str(path))
    return found


def check_core(head: Head, known: Metadata, where: str) -> None:
    """Raise UsageError for a head on features that this dataset does not have."""
    wanted = {each.core_sha256 for each in head.inputs} or {head.core_sha256}
    ours = {core.sha256 for core in known.cores.values()}
    strange = sorted(digest for digest in wanted if digest and digest not in ours)
    if strange:
        raise UsageError(
            "a head of another core",
            where,
            f"a core of this dataset: {', '.join(sorted(ours)) or 'none is told'}",
            ", ".join(strange),
        )


def head_scores(name: str, head: Head, known: Metadata) -> HeadScores:
    """The scores that a head carries, the part that counts first."""
    report = head.report
    shown = [*_parts(report)]
    if not shown:
        shown = [_score("", str(report.get("metric", "score")), report)]
    train, test = report.get("n_train"), report.get("n_test")
    rows = f"learned from {train:,} rows, judged on {test:,}" if _counts(train, test) else ""
    return HeadScores(
        name=name,
        target=head.target,
        kind=head.kind,
        how=str(report.get("how", "")),
        rows=rows,
        here=head.dataset_uuid == known.uuid,
        scores=tuple(shown),
        classes=head.classes,
        confusion=_confusion(report.get("confusion"), len(head.classes)),
        warnings=tuple(map(str, report.get("warnings") or ())),
    )


def _parts(report: Mapping[str, Json]) -> Iterator[ShownScore]:
    parts = report.get("scores")
    if not isinstance(parts, Mapping):
        return
    # The part that gives the head's score is the last one that was judged.
    for part in reversed(list(parts)):
        by_metric = parts[part]
        if not isinstance(by_metric, Mapping):
            continue
        known = [metric for metric in _FIRST if metric in by_metric]
        for metric in known:
            yield _score(str(part), metric, by_metric[metric])


def _score(part: str, metric: str, value: Json) -> ShownScore:
    told = value if isinstance(value, Mapping) else {}
    interval = told.get("interval") or (None, None)
    return ShownScore(
        part=part,
        metric=metric,
        value=told.get("score"),
        low=interval[0],
        high=interval[1],
        baseline=told.get("baseline"),
    )


def _confusion(value: Json, count: int) -> tuple[tuple[int, ...], ...]:
    if not isinstance(value, list) or len(value) != count:
        return ()
    return tuple(tuple(row) for row in value)


def _counts(*values: Json) -> bool:
    return all(isinstance(value, int) for value in values)


def _told(value: Mapping[str, Json], before: str = "") -> Iterator[tuple[str, str]]:
    """Texts and single numbers of a free section, by their names; curves are left out."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _told(item, f"{before}{name}, ")
        elif isinstance(item, str | int | float):
            yield f"{before}{name}".replace("_", " "), str(item)
