"""How rows are spread over the classes of a target, its values, and the splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.spec.names import splits_there
from dof_arrow.format.spec.split_names import standard_or_own

Array = NDArray[Any]

BINS = 30  # of a number's histogram
MISSING = "no value"
_NONE = "no split"


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSize:
    """A split: its rows, and how many different records they are of, where that is known."""

    name: str
    rows: int
    records: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCounts:
    """A class of a target: its rows in each split, in the order of the splits."""

    name: str
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts between `edges`, one more of these than counts, and the middle value.

    Where all values are the same, they are both edges of the one count.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    median: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetBalance:
    """How rows are spread over a target.

    Classes have `classes`, numbers and times a `histogram`; `missing` rows have no value. Of a
    survival target, `events` rows saw the event.
    """

    name: str
    kind: str
    unit: str
    classes: tuple[ClassCounts, ...]
    histogram: Histogram | None
    missing: int
    events: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The splits, and how rows are spread over every target within them."""

    splits: tuple[SplitSize, ...]
    targets: tuple[TargetBalance, ...]


def balance(data: Dataset) -> Balance:
    """Count rows by split, and by class within each split."""
    parts = _parts(data)
    sizes = [_size(data, name, part) for name, part in parts.items()]
    outside = len(data) - sum(each.rows for each in sizes)
    if parts and outside:
        sizes.append(SplitSize(name=_NONE, rows=outside, records=None))
    targets = [_target(data, name, parts, outside) for name in data.metadata.targets]
    return Balance(splits=tuple(sizes), targets=tuple(targets))


def histogram(values: Array, bins: int = BINS) -> Histogram:
    """Counts of finite numbers float [n], at least one.

    >>> histogram(np.array([0.0, 1.0, 1.0]), 2).counts
    (1, 2)
    """
    median = float(np.median(values))
    if values.min() == values.max():
        return Histogram(edges=(median, median), counts=(len(values),), median=median)
    counts, edges = np.histogram(values, bins)
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()), median=median)


def split_order(names: Sequence[str]) -> list[str]:
    """Splits as people read them: train, valid, test, then others by name; each spelling once.

    >>> split_order(["Testing", "mine", "train"])
    ['train', 'test', 'mine']
    """
    return splits_there(map(standard_or_own, names))


def _parts(data: Dataset) -> dict[str, Dataset]:
    if data.metadata.record.split is None:
        return {}
    return {name: data.split(name) for name in split_order(list(data.metadata.splits))}


def _size(data: Dataset, name: str, part: Dataset) -> SplitSize:
    stored = data.metadata.splits
    records = [size.records for key, size in stored.items() if standard_or_own(key) == name]
    return SplitSize(name=name, rows=len(part), records=sum(records))


def _target(data: Dataset, name: str, parts: Mapping[str, Dataset], outside: int) -> TargetBalance:
    target = data.metadata.targets[name]
    classes: tuple[ClassCounts, ...] = ()
    values = events = None
    if target.classes:
        whole = data.value_counts(name)
        missing = whole.pop(None, 0)
        classes = _classes(
            target.classes, whole, [part.value_counts(name) for part in parts.values()], outside
        )
    else:
        column = data.to_arrow([name]).column(0).combine_chunks().drop_null()
        if target.kind == "survival":
            events = column.field("event").true_count
            column = column.field("time")
        numbers = column.to_numpy(zero_copy_only=False).astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        missing = len(data) - len(finite)
        values = histogram(finite) if len(finite) else None
    return TargetBalance(
        name=name,
        kind=target.kind,
        unit=target.unit or "",
        classes=classes,
        histogram=values,
        missing=missing,
        events=events,
    )


def _classes(
    names: Sequence[str],
    whole: Mapping[Any, int],
    by_split: Sequence[Mapping[Any, int]],
    outside: int,
) -> tuple[ClassCounts, ...]:
    found = []
    for name in names:
        rows = [counts[name] for counts in by_split]
        if outside or not by_split:
            rows.append(whole[name] - sum(rows))
        found.append(ClassCounts(name=name, rows=tuple(rows)))
    return tuple(found)
