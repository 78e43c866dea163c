"""The Ys of an older dataset as columns: `y` as they are, `label` as a target to be learned.

A `label` is made where nobody can doubt what the values are; else `y` alone is there, and a warning
says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.format.spec.metadata import Target
from dof_arrow.rewrite.legacy.plain_values import json_text, scalar
from dof_arrow.tables.declared_targets import as_target

_FEW = 20  # different values that are surely classes
_MOST_CLASSES = 1000
_INT64 = 1 << 63


@dataclass(slots=True, kw_only=True)
class Labels:
    """Columns of what is to be learned, and what `label` is, if there is one."""

    columns: dict[str, pa.Array] = field(default_factory=dict)
    target: Target | None = None
    unknown: list[int] = field(default_factory=list)  # rows whose label is NaN
    warnings: list[str] = field(default_factory=list)


def labels(rows: Sequence[Sequence[Any]]) -> Labels:
    """The labels of rows, of which each has the values of its Ys: none, one or several."""
    found = [[_plain(value) for value in values] for values in rows]
    if not any(found):
        return Labels()
    if all(len(values) < 2 for values in found):
        return _single([values[0] if values else None for values in found])
    return _several(found)


def _plain(value: Any) -> Any:
    """A value as scalars and lists of Python."""
    value = scalar(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _single(values: list[Any]) -> Labels:
    known = [value for value in values if value is not None]
    if not known:
        return Labels(warnings=["every Y is without a value"])
    if _are(known, bool | str):
        return _classes(values, known)
    if _are(known, int):
        return _integers(values, known)
    if _are(known, int | float):
        return _numbers(values)
    width = _width(known)
    if width:
        return _vectors(values, known, width)
    return _as_texts(values)


def _are(values: Sequence[Any], kinds: Any) -> bool:
    """Whether all values are of these types, and truth values are not taken for integers."""
    has_truth = any(isinstance(value, bool) for value in values)
    if has_truth:
        return kinds == bool | str and all(isinstance(value, bool) for value in values)
    return all(isinstance(value, kinds) for value in values)


def _classes(values: list[Any], known: list[Any]) -> Labels:
    if not _are_few(known):
        return _undeclared(pa.array(values), f"{len(set(known)):,} different texts")
    target, codes = as_target("label", pa.array(values))
    return Labels(columns={"label": codes}, target=target)


def _are_few(known: list[Any]) -> bool:
    different = len(set(known))
    return different <= _FEW or (2 * different <= len(known) and different <= _MOST_CLASSES)


def _integers(values: list[Any], known: list[int]) -> Labels:
    lowest, highest = min(known), max(known)
    if lowest < -_INT64 or highest >= _INT64:
        return _as_texts(values)
    array = pa.array(values, pa.int64())
    different = set(known)
    is_range = lowest == 0 and highest == len(different) - 1 and 2 * len(different) <= len(known)
    if len(different) > _FEW and not is_range:
        return _undeclared(array, f"{len(different):,} different whole numbers")
    if lowest >= 0 and highest < _MOST_CLASSES:  # then the codes are the numbers themselves
        classes = tuple(str(number) for number in range(highest + 1))
        target = Target(kind="category", classes=classes)
        return Labels(columns={"label": as_target("label", array, target)[1]}, target=target)
    target, codes = as_target("label", array, "category")
    return Labels(columns={"label": codes, "y": array}, target=target)


def _numbers(values: list[Any]) -> Labels:
    floats = [None if value is None else float(value) for value in values]
    if any(value is not None and math.isinf(value) for value in floats):
        return _undeclared(pa.array(floats), "infinity among the numbers")
    unknown = [row for row, value in enumerate(floats) if value is not None and math.isnan(value)]
    target, array = as_target("label", pa.array(floats, pa.float64()), "regression")
    found = Labels(columns={"label": array}, target=target, unknown=unknown)
    if unknown:
        found.warnings.append(f"{len(unknown):,} labels are NaN, and are missing now")
    return found


def _width(known: Sequence[Any]) -> int:
    """How many numbers each value has, 0 where they differ or are no lists of numbers."""
    widths = {len(value) if isinstance(value, list) else 0 for value in known}
    if len(widths) != 1 or 0 in widths:
        return 0
    is_numbers = all(_are(value, int | float) for value in known)
    return widths.pop() if is_numbers else 0


def _vectors(values: list[Any], known: list[list[Any]], width: int) -> Labels:
    """Lists of numbers: one that is 1 among zeros is a class, several are several classes."""
    raw = pa.array(values, pa.list_(pa.float64()))
    flags = np.asarray(known, np.float64)
    classes = tuple(str(number) for number in range(width))
    if not np.isin(flags, (0, 1)).all() or width < 2:
        return Labels(
            columns={"y": raw},
            warnings=[f"Ys of {width} numbers are kept in the column y, and are no target"],
        )
    is_one = bool((flags.sum(axis=1) == 1).all())
    target = Target(kind="category" if is_one else "multilabel", classes=classes)
    codes: list[Any] = []
    for value in values:
        on = None if value is None else np.flatnonzero(value).tolist()
        codes.append(on[0] if is_one and on is not None else on)
    kind = pa.int64() if is_one else pa.list_(pa.int64())
    target, array = as_target("label", pa.array(codes, kind), target)
    return Labels(columns={"label": array, "y": raw}, target=target)


def _several(rows: list[list[Any]]) -> Labels:
    flat = [value for values in rows for value in values]
    lists: list[Any] = [values or None for values in rows]
    if None in flat or not (_are(flat, str) or _are(flat, int)):
        if flat and None not in flat and _are(flat, int | float):
            return _undeclared(pa.array(lists, pa.list_(pa.float64())), "several numbers a row")
        return _as_texts(lists)
    if not _are_few(flat):
        return _undeclared(pa.array(lists), f"{len(set(flat)):,} different values")
    if _are(flat, int) and min(flat) >= 0 and max(flat) < _MOST_CLASSES:
        names = tuple(str(number) for number in range(max(flat) + 1))
        target, array = as_target(
            "label", pa.array(lists), Target(kind="multilabel", classes=names)
        )
        return Labels(columns={"label": array}, target=target)
    target, array = as_target("label", pa.array(lists), "multilabel")
    return Labels(columns={"label": array, "y": pa.array(lists)}, target=target)


def _undeclared(array: pa.Array, why: str) -> Labels:
    return Labels(
        columns={"y": array},
        warnings=[
            f"the Ys are kept in the column y; whether they are classes or numbers is not clear "
            f"({why}). To say it: dof label --target y --kind …"
        ],
    )


def _as_texts(values: list[Any]) -> Labels:
    """Values that no Arrow type holds together, as JSON texts."""
    texts = [None if value is None else json_text(value) for value in values]
    return Labels(
        columns={"y": pa.array(texts, pa.string())},
        warnings=["Ys of several kinds are kept as JSON texts in the column y"],
    )
