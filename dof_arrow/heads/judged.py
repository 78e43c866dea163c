"""A head judged on the labelled rows of a dataset: the baseline, and scores in every detail."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Metadata, Target
from dof_arrow.heads import metrics, scoring
from dof_arrow.heads.labels import Labels
from dof_arrow.heads.scoring import MAX_CLASSES, Predictions, Score

Array = NDArray[Any]
Json = Any

# Columns that tell of pictures of people.
_OF_PEOPLE = {"patient", "patient_id", "subject", "person", "sex", "gender", "age"}
FEWEST_ROWS = 5  # of a class; with fewer the report warns
MAX_VALUES = 50  # different values of a column to judge by


@dataclass(frozen=True, slots=True)
class Judged:
    """The examples a head was judged on, its predictions for them, and a constant guess.

    `rows` int64 [n] are places among the labelled examples.
    """

    rows: Array
    predictions: Predictions
    guess: Predictions

    def among(self, chosen: Array) -> Judged:
        """Only the rows where the mask `chosen` bool [n] is true."""
        return Judged(
            rows=self.rows[chosen],
            predictions=_some(self.predictions, chosen),
            guess=_some(self.guess, chosen),
        )


def prior(target: Target, values: Array) -> dict[str, float]:
    """What labels alone teach: the share of each class, or mean and standard deviation.

    >>> prior(Target(kind="category", classes=("a", "b")), np.array([0, 0, 1, 0]))
    {'a': 0.75, 'b': 0.25}
    """
    if target.kind == "regression":
        return {"mean": float(values.mean()), "std": float(values.std())}
    if target.kind == "category":
        counts = np.bincount(values, minlength=len(target.classes))
        shares = counts / len(values)
    else:
        shares = values.mean(axis=0)
    return dict(zip(target.classes, map(float, shares), strict=True))


def guess(target: Target, prior: Mapping[str, float], count: int) -> Predictions:
    """The best constant prediction for `count` rows, given what `prior` says of the labels.

    It is the most frequent class, the majority of each flag, or the mean.
    """
    if target.kind == "regression":
        return Predictions(np.full(count, prior["mean"]))
    shares = np.array([prior.get(name, 0.0) for name in target.classes], np.float32)
    probabilities = np.broadcast_to(shares, (count, len(shares)))  # takes no memory
    if target.kind == "category":
        return Predictions(probabilities.argmax(axis=1), probabilities)
    return Predictions(probabilities >= 0.5, probabilities)


def scores(labels: Labels, judged: Judged, seed: int) -> dict[str, Score]:
    """The scores of what was judged, the main one first."""
    return scoring.judge(
        labels.target.kind,
        labels.values[judged.rows],
        judged.predictions,
        judged.guess,
        labels.groups[judged.rows],
        seed=seed,
    )


def details(labels: Labels, judged: Judged) -> dict[str, Json]:
    """Calibration, scores by class, and the confusion matrix (rows true, columns predicted).

    Empty for regression; without the last two for more than MAX_CLASSES classes.
    """
    target, predictions = labels.target, judged.predictions
    if predictions.outputs is None:
        return {}
    true = labels.values[judged.rows]
    found: dict[str, Json] = {}
    found["reliability"] = metrics.reliability(true, predictions.outputs)
    by_class = _by_class(labels, judged)
    if by_class:
        found["by_class"] = by_class
    count = len(target.classes)
    if target.kind == "category" and count <= MAX_CLASSES:
        confusion = metrics.confusion(true, predictions.said, count)
        found["confusion"] = confusion.tolist()
    return found


def _by_class(labels: Labels, judged: Judged) -> dict[str, Json]:
    """By class: how many rows are of it, and its scores; empty if there are no scores."""
    target = labels.target
    true = labels.values[judged.rows]
    count = len(target.classes)
    each = scoring.by_class(
        target.kind,
        true,
        judged.predictions,
        judged.guess,
        labels.groups[judged.rows],
        count,
    )
    if not each:
        return {}
    sizes = true.sum(axis=0)  # of flags
    if target.kind == "category":
        sizes = np.bincount(true, minlength=count)
    found = {}
    for name, size, of_class in zip(target.classes, sizes, each, strict=True):
        found[name] = {"n": int(size), **asdict(of_class)}
    return found


def by_columns(
    labels: Labels, judged: Judged, columns: Mapping[str, Array], seed: int
) -> dict[str, Json]:
    """For each column, the scores among the rows of each of its values (of each sex, site, ...).

    Columns hold a value for each labelled example. Raises UsageError for one of more than
    MAX_VALUES different values.
    """
    found = {}
    for name, values in columns.items():
        found[name] = _by_value(labels, judged, name, values, seed)
    return found


def _by_value(
    labels: Labels, judged: Judged, name: str, values: Array, seed: int
) -> dict[str, Json]:
    seen = values[judged.rows]
    names = sorted(set(seen.tolist()))
    if len(names) > MAX_VALUES:
        raise UsageError(
            "too many different values to judge by",
            where=f"column {name}",
            expected=f"at most {MAX_VALUES}",
            found=str(len(names)),
            hint="Choose another column for --by",
        )
    found = {}
    for value in names:
        part = judged.among(seen == value)
        found[value] = {
            "n": len(part.rows),
            "groups": groups(labels, part),
            **asdict(scores(labels, part, seed)),
        }
    return found


def groups(labels: Labels, judged: Judged) -> int:
    """How many groups were judged."""
    return len(np.unique(labels.groups[judged.rows]))


def ungrouped(metadata: Metadata) -> Iterator[str]:
    """A warning if the pictures look like people's, and no column tells the people apart."""
    record = metadata.record
    if record.group in metadata.columns:
        return
    about = metadata.provenance
    formats = str(about.raw.get("format")) if about else ""
    of_people = _OF_PEOPLE & set(map(str.casefold, metadata.columns))
    if "DICOM" in formats or of_people:
        yield (
            "pictures of people, and no column says which are of the same person: where some have "
            "several, the score flatters and its interval is too narrow "
            "(dof extract … --group COLUMN)"
        )


def few(labels: Labels, judged: Judged) -> Iterator[str]:
    """Warnings of intervals that rest on few groups, and of classes with few rows."""
    count = groups(labels, judged)
    if FEWEST_ROWS * 2 > count > 1:
        yield f"only {count} groups were judged: the intervals are wide, and rough"
    rare = list(_rare(labels, judged))
    if rare:
        yield (
            f"fewer than {FEWEST_ROWS} rows judged are of {', '.join(rare)}: "
            "what is said of such a class rests on them alone"
        )


def _rare(labels: Labels, judged: Judged) -> Iterator[str]:
    """Classes with some rows that were judged, but few."""
    kind, names = labels.target.kind, labels.target.classes
    if kind == "regression":
        return
    true = labels.values[judged.rows]
    sizes = np.bincount(true, minlength=len(names)) if kind == "category" else true.sum(axis=0)
    learned = np.bincount(labels.values) if kind == "category" else labels.values.sum(axis=0)
    for name, size, known in zip(names, sizes, learned, strict=False):
        if known and size < FEWEST_ROWS:
            yield f"{name} ({size})"


def asdict(found: Mapping[str, Score]) -> dict[str, Json]:
    """Scores as JSON values."""
    return {name: dataclasses.asdict(score) for name, score in found.items()}


def plain(value: dict[str, Json]) -> dict[str, Json]:
    """A report as JSON holds it: tuples become lists, NaN and infinity null."""
    text = json.dumps(value)  # writes NaN and Infinity, which JSON does not have
    made: dict[str, Json] = json.loads(text, parse_constant=_null)
    return made


def _null(constant: str) -> None:
    return None


def _some(predictions: Predictions, chosen: Array) -> Predictions:
    said = predictions.said[chosen]
    if predictions.outputs is None:
        return Predictions(said)
    return Predictions(said, predictions.outputs[chosen])
