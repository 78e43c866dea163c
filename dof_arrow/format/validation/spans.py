"""Byte ranges in a file that must not overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from dof_arrow.errors import Problem
from dof_arrow.format.spec.rules import problem


class Span(NamedTuple):
    """The bytes [start, end) of a file, and the place in it that claims them."""

    start: int
    end: int
    where: str


def overlaps(rule: str, spans: Iterable[Span]) -> Iterator[Problem]:
    """A problem of the rule for each span that begins before the one before it ends."""
    for before, after in pairwise(sorted(spans)):
        if after.start < before.end:
            yield problem(
                rule,
                where=after.where,
                expected=f"a start at {before.end} or later",
                found=after.start,
            )
