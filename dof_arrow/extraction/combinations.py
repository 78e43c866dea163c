"""How many inputs could be told by the combination of what is known of them (k-anonymity).

An input is alone with its combination of values if no other person (no other input, where no groups
are known) has it: whoever knows these values of somebody finds the row. (Sweeney 2002.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnCombinations:
    """How many inputs are alone by one column, and how many would be without it."""

    name: str
    by_itself: int
    without_it: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Combinations:
    """How many of `inputs` are alone with their combination, and what each column adds.

    `columns` are sorted: first that without which fewest would be alone.
    """

    inputs: int
    alone: int
    columns: Sequence[ColumnCombinations]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return asdict(self)


def combinations(columns: Mapping[str, pa.Array], people: pa.Array | None = None) -> Combinations:
    """Count the inputs that are alone with their values of all columns; a missing value is one too.

    `people` says whose each input is; without it each is somebody's own.

    >>> ages, sexes = pa.array([40, 40, 41, 41]), pa.array(["f", "m", "f", "f"])
    >>> found = combinations({"age": ages, "sex": sexes})
    >>> found.alone, found.columns[0].name, found.columns[0].without_it
    (2, 'sex', 0)
    """
    codes = {name: _coded(column) for name, column in columns.items()}
    inputs = len(next(iter(columns.values()))) if columns else 0
    who = np.arange(inputs) if people is None else _people(people)
    told = []
    for name, code in codes.items():
        others = [codes[other] for other in codes if other != name]
        told.append(
            ColumnCombinations(
                name=name, by_itself=_alone([code], who), without_it=_alone(others, who)
            )
        )
    told.sort(key=lambda each: (each.without_it, -each.by_itself, each.name))
    return Combinations(inputs=inputs, alone=_alone(list(codes.values()), who), columns=told)


def sharing(codes: Sequence[Codes], who: Codes) -> Codes:
    """How many persons have the combination of each input, itself among them, int64 [n].

    A combination is that of the codes int64 [n], 0 and up, of each column; `who` int64 [n] says
    whose each input is.

    >>> sharing([np.array([0, 0, 1]), np.array([0, 0, 0])], np.array([7, 8, 8])).tolist()
    [2, 2, 1]
    """
    combined = np.zeros(len(who), np.int64)
    if not len(who):
        return combined
    for code in codes:
        # Made dense after each column, so that the product never grows beyond 64 bits.
        _, combined = np.unique(combined * (code.max() + 1) + code, return_inverse=True)
    holders = np.unique(np.stack([combined, who]), axis=1)[0]
    return np.asarray(np.bincount(holders)[combined], np.int64)


def _alone(codes: Sequence[Codes], who: Codes) -> int:
    """How many inputs have a combination that only one person has."""
    if not codes:
        return 0
    return int((sharing(codes, who) == 1).sum())


def _coded(column: pa.Array) -> Codes:
    """A number for each different value of a column of any type."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        column = pa.array([repr(value) for value in column.to_pylist()])
    coded = column.dictionary_encode(null_encoding="encode")
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    return np.asarray(coded.indices.to_numpy(zero_copy_only=False), np.int64)


def _people(people: pa.Array) -> Codes:
    """A number for each person; an input of nobody known is somebody's own."""
    known = people.is_valid().to_numpy(zero_copy_only=False)
    return np.where(known, _coded(people), len(people) + np.arange(len(people)))
