"""Batches put together to tasks that are worth handing to a thread.

A task is a few batches that are made at one go. The order of their rows is worked out for a longer
span of tasks at a time, since a shuffled order costs less for many rows together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dof_arrow.once import once
from dof_arrow.sampling.permutation import Rows
from dof_arrow.sampling.plan import Share

Order = Callable[[Rows], Rows]  # the rows at positions of an epoch

_SPAN = 1 << 14  # rows whose order is worked out at a time


class Span:
    """The order of the rows of several tasks, worked out by the thread that needs it first."""

    def __init__(self, positions: Rows, order: Order) -> None:
        self._positions = positions
        self._order = order

    @once
    def rows(self) -> Rows:
        """The rows of all its tasks."""
        return self._order(self._positions)


@dataclass(frozen=True, slots=True)
class Task:
    """Some batches made at one go: their shares, and their positions in the epoch.

    Their rows stand in `span` from `start` on.
    """

    shares: list[Share]
    positions: Rows
    span: Span
    start: int

    @property
    def rows(self) -> Rows:
        """The rows of its batches."""
        return self.span.rows[self.start : self.start + len(self.positions)]


def tasks(dealt: Iterator[Share], rows: int, order: Order) -> Iterator[Task]:
    """Shares put together to tasks of about `rows` rows.

    The first task is one batch, so that it comes soon.
    """
    wanted = 1  # rows in the first span: one batch
    while True:
        groups = list(grouped(dealt, min(rows, wanted), wanted))
        if not groups:
            return
        each = [positions(group) for group in groups]
        span = Span(np.concatenate(each), order)
        start = 0
        for group, own in zip(groups, each, strict=True):
            yield Task(group, own, span, start)
            start += len(own)
        wanted = _SPAN


def grouped(dealt: Iterator[Share], rows: int, wanted: int) -> Iterator[list[Share]]:
    """Groups of shares of about `rows` rows each, until they have `wanted` rows together.

    >>> shares = [Share(0, 4, 4), Share(4, 8, 8), Share(8, 10, 10)]
    >>> [len(group) for group in grouped(iter(shares), 6, 100)]
    [2, 1]
    """
    while wanted > 0:
        group = _taken(dealt, rows)
        if not group:
            return
        wanted -= sum(share.stop - share.start for share in group)
        yield group


def _taken(dealt: Iterator[Share], rows: int) -> list[Share]:
    """The next shares, until they have `rows` rows."""
    group: list[Share] = []
    while rows > 0:
        share = next(dealt, None)
        if share is None:
            break
        rows -= share.stop - share.start
        group.append(share)
    return group


def positions(group: list[Share]) -> Rows:
    """The positions of shares, one after the other."""
    # One rank's shares follow each other; with more ranks there are gaps.
    if all(one.stop == after.start for one, after in pairwise(group)):
        return np.arange(group[0].start, group[-1].stop)
    return np.concatenate([np.arange(share.start, share.stop) for share in group])


def parts(group: list[Share]) -> Iterator[tuple[Share, slice]]:
    """Each share, and where its rows stand among those of the group.

    >>> [part for _, part in parts([Share(4, 8, 8), Share(12, 15, 15)])]
    [slice(0, 4, None), slice(4, 7, None)]
    """
    start = 0
    for share in group:
        stop = start + share.stop - share.start
        yield share, slice(start, stop)
        start = stop
