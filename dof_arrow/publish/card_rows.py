"""The rows that a card draws: all, or a sample, and what each is called on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isqrt, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.dataset import places
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError, shown

Array = NDArray[Any]

MOST_ROWS = 100_000
_MOST_PRODUCTS = 2 * 10**13  # of numbers, where every row is compared with every other one
_SHORT = 8  # characters of a pseudonym: enough to find it in the file
_TILE = re.compile(r"(.+)-(\d{7})")  # a bag's name, and the record's number in it
_LONGEST = 60  # characters of a name
_SEED = 0


@dataclass(frozen=True, slots=True)
class DrawnRows:
    """Rows that are drawn, their places in the dataset, and what they are called, if they may be.

    `labels` has a text a row, or is None where rows are told by their number alone.
    """

    data: Dataset
    feature: str
    places: Array
    labels: list[str] | None

    def label(self, row: int) -> str:
        """What a drawn row is called."""
        if self.labels is None:
            return f"row {self.places[row]:,}"
        return self.labels[row]


def drawn_rows(data: Dataset, feature: str, *, names: bool = False) -> DrawnRows:
    """At most 100,000 rows, fewer of very wide ones, drawn by a permutation; in their order.

    Pseudonyms are shortened. Where ids are the inputs' own names, rows are called by them only if
    `names` says so. Raises UsageError for a dataset without rows.
    """
    if not len(data):
        raise UsageError("a card of no rows", str(data.path), "one row or more", "0")
    width = prod(data.row_shape(feature))
    most = min(MOST_ROWS, isqrt(_MOST_PRODUCTS // width))
    chosen = np.arange(len(data))
    rows = data
    if len(data) > most:
        chosen = np.sort(places.drawn(most, len(data), _SEED, str(data.path)))
        rows = data.take(chosen)
    known = data.metadata
    drawn = DrawnRows(rows, feature, chosen, None)
    if not names and known.pseudonyms is None:
        return drawn
    return replace(drawn, labels=list(_labels(rows, short=not names)))


def _labels(rows: Dataset, *, short: bool) -> Iterator[str]:
    """What each row is called: by its record's name, and its view or frame where there are such."""
    record = rows.metadata.record
    numbers = {}
    for word, column in (("view", record.view), ("frame", record.frame)):
        if column is not None:
            numbers[word] = rows.to_arrow([column]).column(0).to_pylist()
    names = rows.to_arrow([record.id]).column(0).to_pylist()
    for place, name in enumerate(names):
        told = [f", {word} {values[place]}" for word, values in numbers.items()]
        yield (called(name) if short else _cut(shown(name))) + "".join(told)


def called(pseudonym: str) -> str:
    """The first characters of a pseudonym, and the number behind it where it is a bag's.

    >>> called("2vnycj6qabcdefghijklmnopqr"), called("2vnycj6qabcdefghijklmnopqr-0000012")
    ('2vnycj6q', '2vnycj6q-12')
    """
    tile = _TILE.fullmatch(pseudonym)
    if tile is None:
        return shown(pseudonym)[:_SHORT]
    return f"{shown(tile[1])[:_SHORT]}-{int(tile[2])}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
