"""Templates of the free sections `training` and `performance`: their fields and what they mean.

The two sections are the owner's: nothing in them is refused. A template names what is worth saying,
after the model information of the legacy format: what a model is for, how it was trained, how well
it did, each field with its type.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_type_hints

from dof_arrow.format.spec.json_model import (
    Json,
    declarations,
    default_of,
    problems,
    spec,
    to_json,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataProcessing:
    """How the raw data were prepared, in words, where `cores` and `augmentation` do not say it."""

    steps: str | None = spec("all steps in order", default=None)
    crop: str | None = spec("cropping", default=None)
    resize: str | None = spec("resizing", default=None)
    normalization: str | None = spec("normalisation", default=None)
    horizontal_flip: str | None = spec("horizontal flips, and how often", default=None)
    vertical_flip: str | None = spec("vertical flips, and how often", default=None)
    height_shift: str | None = spec("vertical shifts", default=None)
    width_shift: str | None = spec("horizontal shifts", default=None)
    rotation: str | None = spec("rotations", default=None)
    shear: str | None = spec("shearing", default=None)
    zoom: str | None = spec("zooming", default=None)
    other: str | None = spec("what fits nowhere above", default=None)
    note: str | None = spec("what one should know: a flip that would turn AP into PA", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a model was, or should be, trained on this dataset, and what it may be used for."""

    model_name: str | None = spec("a telling name of the model", default=None)
    framework: str | None = spec("what it was trained with, and the version", default=None)
    structure: str | None = spec("its layers", default=None)
    weights: str | None = spec("where its weights are: an attached document, a URL", default=None)
    trainable_parameters: int | None = spec("how many parameters were trained", default=None)
    initialization: str | None = spec("how they were initialised", default=None)
    optimizer: str | None = spec("the optimiser", default=None)
    optimizer_parameters: Mapping[str, Json] = spec("its other parameters", factory=dict)
    learning_rate: float | None = spec("its learning rate", default=None)
    momentum: float | None = spec("its momentum", default=None)
    criterion: str | None = spec("the loss", default=None)
    criterion_parameters: Mapping[str, Json] = spec("its parameters", factory=dict)
    batch_size: int | None = spec("rows in a batch", default=None)
    epochs: int | None = spec("passes over the training rows", default=None)
    seed: int | None = spec("the seed", default=None)
    input: str | None = spec("what each axis of an input means", default=None)
    input_requirements: str | None = spec("what must be done to an input first", default=None)
    output: str | None = spec("what each number of an output means", default=None)
    output_requirements: str | None = spec("what must be done to an output after", default=None)
    data_processing: DataProcessing | None = spec("how the raw data were prepared", default=None)
    intended_use: str | None = spec(
        "what the model is for, by whom, and what it does not do", default=None
    )
    indications_for_use: str | None = spec(
        "on which data and which people it may be used", default=None
    )
    device_limitations: str | None = spec(
        "where it fails or was not tried; what it needs to run; how long it takes", default=None
    )
    other: str | None = spec("what fits nowhere above", default=None)
    note: str | None = spec("what one should know", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roc:
    """A receiver operating characteristic."""

    auc: float | None = spec("the area under it", default=None)
    interval: tuple[float, ...] = spec("low and high end of the area's 95% interval", default=())
    false_positive_rate: tuple[float, ...] = spec("x of its points", default=())
    true_positive_rate: tuple[float, ...] = spec("y of its points", default=())
    thresholds: tuple[float, ...] = spec("the threshold at each point", default=())
    document: str | None = spec("an attached picture of it", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRecall:
    """A precision-recall curve."""

    average_precision: float | None = spec("the area under it", default=None)
    precision: tuple[float, ...] = spec("y of its points", default=())
    recall: tuple[float, ...] = spec("x of its points", default=())
    thresholds: tuple[float, ...] = spec("the threshold at each point", default=())
    document: str | None = spec("an attached picture of it", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusionMatrix:
    """How often each class was taken for each."""

    classes: tuple[str, ...] = spec("class names in order", default=())
    counts: tuple[tuple[int, ...], ...] = spec(
        "a row for each true class, in it a count for each predicted one", default=()
    )
    threshold: float | None = spec("the threshold it was counted at", default=None)
    document: str | None = spec("an attached picture of it", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """How well a model did on this dataset."""

    model: str | None = spec("which model: a name, or the SHA-256 of its head", default=None)
    evaluated_on: str | None = spec(
        "which rows were judged, and how they were kept apart from training", default=None
    )
    summary: str | None = spec(
        "the results in words: where it fails, how long it takes", default=None
    )
    training_loss: float | None = spec("loss on the training rows", default=None)
    validation_loss: float | None = spec("loss on the validation rows", default=None)
    test_loss: float | None = spec("loss on the test rows", default=None)
    accuracy: float | None = spec("share of rows judged right", default=None)
    baseline: float | None = spec("the same for always guessing the commonest class", default=None)
    f1: float | None = spec("F1 score", default=None)
    precision: float | None = spec("precision at the threshold", default=None)
    recall: float | None = spec("recall at the threshold", default=None)
    threshold: float | None = spec("the threshold that was used", default=None)
    roc: Roc | None = spec("the ROC curve", default=None)
    precision_recall: PrecisionRecall | None = spec("the precision-recall curve", default=None)
    confusion_matrix: ConfusionMatrix | None = spec("the confusion matrix", default=None)
    other: str | None = spec("what fits nowhere above", default=None)
    note: str | None = spec("what one should know: how well people do", default=None)


SECTIONS: Mapping[str, Any] = {"training": Training, "performance": Performance}
_EMPTY: tuple[Json, ...] = (None, "", [], {})


def template(section: str) -> dict[str, Json]:
    """A section with every field of its template, all empty, to be filled in.

    >>> template("performance")["confusion_matrix"]
    {'classes': [], 'counts': [], 'threshold': None, 'document': None}
    """
    return _empty(SECTIONS[section])


def filled(value: Mapping[str, Json]) -> dict[str, Json]:
    """A filled-in template without the fields that were left empty.

    >>> filled({"f1": 0.4, "note": None, "roc": {"auc": None, "thresholds": []}})
    {'f1': 0.4}
    """
    given = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            item = filled(item)
        if item not in _EMPTY:
            given[name] = item
    return given


def guide(section: str) -> list[tuple[str, str, str]]:
    """What a template's fields are: name, type and meaning of each.

    >>> guide("performance")[0]
    ('model', 'string', 'which model: a name, or the SHA-256 of its head')
    """
    return list(_guide(SECTIONS[section], ""))


def remarks(section: str, value: Json) -> list[str]:
    """What a reader who expects the template may stumble over.

    These are wrong types, and names that differ a little from those of the template.

    >>> for remark in remarks("performance", {"treshold": 0.4, "accuracy": "high"}):
    ...     print(remark)
    performance.accuracy: expected number, found "high"
    performance.treshold: did you mean threshold?
    """
    kind = SECTIONS[section]
    found = []
    for problem in problems(value, kind, section):
        found.append(f"{problem.where}: expected {problem.expected}, found {problem.found}")
    known = [field.name for field in dataclasses.fields(kind)]
    for name in value:
        if name in known:
            continue
        near = get_close_matches(name, known, 1, 0.7)
        if near:
            found.append(f"{section}.{name}: did you mean {near[0]}?")
    return found


def _empty(kind: Any) -> dict[str, Json]:
    inner = _inner(kind)
    empty: dict[str, Json] = {}
    for field in dataclasses.fields(kind):
        if field.name in inner:
            empty[field.name] = _empty(inner[field.name])
        else:
            empty[field.name] = to_json(default_of(field))
    return empty


def _inner(kind: Any) -> dict[str, Any]:
    """The fields of a template that are templates themselves, each with its class."""
    inner = {}
    for name, hint in get_type_hints(kind).items():
        for choice in (hint, *get_args(hint)):
            if dataclasses.is_dataclass(choice):
                inner[name] = choice
    return inner


def _guide(kind: Any, before: str) -> Iterator[tuple[str, str, str]]:
    inner = _inner(kind)
    for name, told, _, _, doc in declarations(kind):
        yield before + name, "object" if name in inner else told, doc
        if name in inner:
            yield from _guide(inner[name], f"{before}{name}.")
