"""What columns are for, their types and their targets in plain words: one place for all pages."""

from __future__ import annotations

import re
from typing import Any

from dof_arrow.format.spec.metadata import Column, Metadata, Target

ROLES = {
    "feature": "features of a model that is not named",
    "id": "name of the record",
    "bag": "what a prediction is made for: a slide, a study",
    "view": "number of the augmented view; 0 is the plain one",
    "frame": "number of the frame or window in its clip",
    "time": "seconds from the clip's start",
    "start": "where the segment starts, in seconds of its clip",
    "end": "where the segment ends, in seconds of its clip",
    "x": "left edge, in pixels of the slide's finest level",
    "y": "upper edge, in pixels of the slide's finest level",
    "level": "level of the slide that was read; 0 is the finest",
    "mpp": "micrometres a pixel",
    "group": "what stays on one side of a split, such as a patient",
    "split": "train, valid, test or the owner's own",
    "target": "a target",
    "processing": "how each row was made",
    "kept": "the owner's own",
}
NOT_VERIFIED = "claimed, not verified"

_LIST = re.compile(r"(?:large_)?list<\w+: (\w+)(?: not null)?>")
_NESTED = re.compile(r"<[^<>]*>")
_FIELD = re.compile(r"(?:^|, )([^:,]+):")


def type_words(dtype: str) -> str:
    """The type of a column as people read it.

    >>> type_words("dictionary<values=string, indices=int32, ordered=0>")
    'names'
    >>> type_words("list<element: int64>"), type_words("struct<a: list<item: int64>, b: bool>")
    ('lists of int64', 'struct of a, b')
    """
    if dtype.startswith("dictionary<values=string"):
        return "names"
    found = _LIST.fullmatch(dtype)
    if found is not None:
        return f"lists of {found[1]}"
    if dtype.startswith("struct<"):
        inner = dtype.removeprefix("struct<")
        while _NESTED.search(inner):
            inner = _NESTED.sub("", inner)
        return f"struct of {', '.join(_FIELD.findall(inner))}"
    return dtype


def meaning(column: Column, target: Target | None, known: Metadata) -> str:
    """What a column is for, in a few words."""
    if target is not None:
        return target_words(target)
    if column.role == "feature":
        return core_words(column.core, known)
    return ROLES[column.role]


def target_words(target: Target) -> str:
    """What a target says of a row.

    >>> target_words(Target(kind="survival", unit="days"))
    'time until an event, or until it was last not seen, in days'
    """
    unit = f", in {target.unit}" if target.unit else ""
    if target.kind == "regression":
        return f"a number{unit}"
    if target.kind == "survival":
        return f"time until an event, or until it was last not seen{unit}"
    kind = "one" if target.kind == "category" else "any"
    return f"{kind} of {len(target.classes):,} classes"


def core_words(core: str | None, known: Metadata) -> str:
    """Of which core features are; one that is only claimed is never told without saying so."""
    if core is not None and core in known.cores:
        return f"features of {known.cores[core].name}"
    if core is not None and core in known.claimed_cores:
        return f"features of {known.claimed_cores[core].name}: {NOT_VERIFIED}"
    return ROLES["feature"]


def words(value: Any) -> str:
    """A JSON value in a line of words.

    >>> words({"fps": 5.0, "crop": [0, 8]})
    'fps 5; crop 0, 8'
    """
    if isinstance(value, dict):
        return "; ".join(f"{name} {words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
