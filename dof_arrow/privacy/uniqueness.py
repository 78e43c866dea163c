"""Uniqueness: persons whom the columns beside the features single out, without any picture.

L. Sweeney, "k-anonymity: a model for protecting privacy" (2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dof_arrow.extraction.combinations import sharing

FEW = 5  # persons, below which a combination counts as rare


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniqueness:
    """How many persons share what columns say of them.

    Of `groups` persons `unique` have a combination of their own, `rare` one that fewer than 5
    share; `smallest` is the size of the smallest such set (the k of k-anonymity). `by_column` has
    how many persons one column alone singles out; `worst` the rarest combinations.
    """

    columns: Sequence[str]
    groups: int
    unique: int
    rare: int
    smallest: int
    by_column: Mapping[str, int]
    worst: Sequence[Rare]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rare:
    """What columns say, and how many persons they say it of."""

    values: Mapping[str, str]
    persons: int


def uniqueness(
    columns: Mapping[str, Sequence[Any]], groups: Sequence[Any], most: int = 5
) -> Uniqueness:
    """Count persons by the combinations of what these columns say of their rows.

    What a person's rows say is taken together, as who knows the person knows it. Values of the
    `most` rarest combinations are named.

    >>> found = uniqueness({"age": [61, 61, 90], "sex": ["f", "f", "m"]}, ["a", "b", "c"])
    >>> found.unique, found.smallest, found.worst[0]
    (1, 1, Rare(values={'age': '90', 'sex': 'm'}, persons=1))
    """
    said = {name: _said(values, groups) for name, values in columns.items()}
    codes = {name: np.unique(texts, return_inverse=True)[1] for name, texts in said.items()}
    persons = np.arange(len(set(groups)))
    sizes = sharing(list(codes.values()), persons)
    by_column = {}
    for name, code in codes.items():
        by_column[name] = int((sharing([code], persons) == 1).sum())
    combinations = set(zip(sizes.tolist(), *said.values(), strict=True))
    worst = []
    for size, *texts in sorted(combinations)[:most]:
        values = dict(zip(columns, texts, strict=True))
        worst.append(Rare(values=values, persons=size))
    return Uniqueness(
        columns=list(columns),
        groups=len(persons),
        unique=int((sizes == 1).sum()),
        rare=int((sizes < FEW).sum()),
        smallest=int(sizes.min(initial=len(persons))),
        by_column=by_column,
        worst=worst,
    )


def _said(values: Sequence[Any], groups: Sequence[Any]) -> list[str]:
    """What a column says of each person: one text, of all different values of the person's rows."""
    found: dict[Any, set[str]] = {}
    for value, group in zip(values, groups, strict=True):
        text = "missing" if value is None else str(value)
        found.setdefault(group, set()).add(text)
    return [", ".join(sorted(texts)) for texts in found.values()]
