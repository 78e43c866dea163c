"""The class of each output of a model, and whether its answers agree with the labels at all."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import DofWarning, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads.labels import Labelled
from dof_arrow.tables import targets

Array = NDArray[Any]

_JUDGED = 4096  # labelled rows that a head is tried on
_FEWEST = 10  # with fewer, agreement is luck
_SURE = 3.0  # standard errors below chance
_HINT = "Pass classes=[…], the name of each output in order"


def class_names(
    codes: Sequence[Any] | None, classes: Sequence[str] | None, about: Target
) -> tuple[str, ...]:
    """The class of each output, in order: as given, as the model knows them, or the target's.

    Raises UsageError for labels of the model that are no classes of the target, or could mean two,
    and for `classes` that contradict the model.
    """
    if about.kind == "regression":
        return ()
    known = None if codes is None else [_plain(code) for code in codes]
    if classes is not None:
        return _given(tuple(classes), known, about)
    if known is None:
        return tuple(about.classes)
    return _mapped(known, about.classes)


def _plain(code: Any) -> Any:
    """A label as a plain Python value."""
    return code.item() if isinstance(code, np.generic) else code


def _given(classes: tuple[str, ...], known: list[Any] | None, about: Target) -> tuple[str, ...]:
    wrong = [name for name in classes if not isinstance(name, str)]
    if wrong or len(set(classes)) != len(classes):
        raise UsageError(
            "no names of classes", "classes", "different texts", ", ".join(map(str, classes))
        )
    if known is None or len(known) != len(classes):
        return classes
    names = all(isinstance(code, str) for code in known)
    if names and set(known) <= set(about.classes) and list(classes) != known:
        raise UsageError(
            "classes contradict the model's own",
            "classes",
            ", ".join(known),
            ", ".join(classes),
            "Leave classes out: the model knows its classes by name",
        )
    return classes


def _mapped(known: list[Any], classes: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a model's labels: class names, or codes from 0."""
    as_codes = [_by_code(code, classes) for code in known]
    as_names = [str(code) if str(code) in classes else None for code in known]
    if any(isinstance(code, bool) for code in known):
        as_names = [None]  # False and True are codes of two classes
    by_code = None not in as_codes
    by_name = None not in as_names
    if by_code and by_name and as_codes != as_names and not isinstance(known[0], str):
        raise _unclear(known, classes, "could be codes of classes as well as their names")
    if not by_code and not by_name:
        raise _unclear(known, classes, "are neither names nor codes of classes")
    chosen = as_names if by_name else as_codes
    if len(set(chosen)) != len(chosen):
        raise _unclear(known, classes, "are not all different")
    return tuple(str(name) for name in chosen)


def _by_code(code: Any, classes: tuple[str, ...]) -> str | None:
    """The class of a code, None for what is no code of one."""
    if isinstance(code, bool):
        return classes[code] if len(classes) == 2 else None
    if isinstance(code, (int, float)) and 0 <= code < len(classes) and code == int(code):
        return classes[int(code)]
    return None


def _unclear(known: list[Any], classes: tuple[str, ...], why: str) -> UsageError:
    return UsageError(
        f"the model's labels {why}",
        "classes_",
        f"names ({', '.join(classes)}) or codes 0 to {len(classes) - 1}",
        ", ".join(map(repr, known)),
        _HINT,
    )


def warn_of_chance(
    dataset: Labelled,
    name: str,
    classes: tuple[str, ...],
    features: Callable[[Array], Array],
    answers: Callable[[Array], Array],
) -> None:
    """Warn (DofWarning) where the head's answers agree with the labels less than chance would.

    `features` gives the features of rows by number, `answers` what the head says of features.
    """
    about = dataset.metadata.targets[name]
    known, values = targets.labelled(dataset, name)
    rows = np.flatnonzero(known)
    places = np.unique(np.linspace(0, len(rows) - 1, min(_JUDGED, len(rows))).astype(np.int64))
    if len(places) < _FEWEST:
        return
    said = answers(features(rows[places]))
    found = values.take(places)
    if about.kind == "regression":
        _warn_of_order(found, said[:, 0])
    elif about.kind == "category":
        order = [classes.index(each) if each in classes else -1 for each in about.classes]
        _warn_of_classes(np.array(order)[found], said, classes)
    elif classes == about.classes:
        _warn_of_classes(found.ravel() > 0, said.ravel()[:, None] > 0.5, ("absent", "present"))


def _warn_of_classes(true: Array, said: Array, classes: tuple[str, ...]) -> None:
    """Compare classes with what independent guesses of the same frequencies would get right."""
    answered = said.argmax(axis=1) if said.shape[1] > 1 else said[:, 0].astype(np.int64)
    true = true.astype(np.int64)
    count = len(true)
    kinds = max(len(classes), 1)
    shares = np.bincount(true[true >= 0], minlength=kinds) / count
    guesses = np.bincount(answered, minlength=kinds) / count
    chance = float((shares * guesses).sum())
    agreement = float((true == answered).mean())
    if agreement < chance - _SURE * math.sqrt(chance * (1 - chance) / count):
        _warn(
            f"it agrees with the labels of {agreement:.1%} of {count} rows, "
            f"where chance would with {chance:.1%}"
        )


def _warn_of_order(true: Array, said: Array) -> None:
    """Compare numbers: larger ones should be said of larger ones."""
    true = true.astype(np.float64)
    said = said.astype(np.float64)
    if not (np.ptp(true) > 0 and np.isfinite(said).all() and np.ptp(said) > 0):
        return
    correlation = float(np.corrcoef(true, said)[0, 1])
    if correlation < -_SURE / math.sqrt(len(true)):
        _warn(f"its numbers fall where the labels rise: correlation {correlation:.2f}")


def _warn(found: str) -> None:
    warnings.warn(
        f"the exported head answers worse than chance: {found}. "
        "Check the order of the classes, and that it saw the same features",
        DofWarning,
        stacklevel=4,
    )
