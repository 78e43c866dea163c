"""Rows that can only be read together: which block each stands in, and an epoch in windows of them.

A file on a store gives whole row groups. Where blocks are runs of rows, an epoch over a billion of
them needs memory for the runs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dof_arrow.sampling.permutation import Permutation, Rows, key


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Blocks that are runs of rows: `numbers[i]` has the rows [starts[i], starts[i + 1]).

    >>> Runs.of_sizes([3, 2]).of(np.array([0, 2, 3])).tolist()
    [0, 0, 1]
    """

    starts: Rows
    numbers: Rows

    @classmethod
    def of_sizes(cls, sizes: Sequence[int]) -> Runs:
        """Blocks of so many rows, one after the other."""
        ends = np.cumsum(sizes)
        starts = np.concatenate([[0], ends])
        numbers = np.arange(len(sizes))
        return cls(starts, numbers)

    def of(self, rows: Rows) -> Rows:
        """The block int64 [k] of each row."""
        places = _places(self.starts, rows)
        return np.asarray(self.numbers[places])

    def part(self, start: int, stop: int) -> Runs:
        """The blocks of a range of rows, which count from 0 in it.

        >>> Runs.of_sizes([3, 2, 4]).part(2, 5).numbers.tolist()
        [0, 1]
        """
        ends = np.array([start, stop - 1])
        first, last = _places(self.starts, ends).tolist()
        starts = self.starts[first : last + 2] - start
        starts[0] = 0
        starts[-1] = stop - start
        return Runs(starts, self.numbers[first : last + 1])


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """The block of each row, where these are any rows."""

    numbers: Rows

    def of(self, rows: Rows) -> Rows:
        """The block of each row."""
        return np.asarray(self.numbers[rows])


Blocks = Runs | Listed


def _places(starts: Rows, rows: Rows) -> Rows:
    """In which of the runs that start there each row stands."""
    return np.searchsorted(starts, rows, side="right") - 1


def joined(parts: Sequence[Blocks], sizes: Sequence[int], firsts: Sequence[int]) -> Blocks:
    """The blocks of tables of so many rows in a chain; those of each count from its `firsts`."""
    if not all(isinstance(part, Runs) for part in parts):
        return _listed(parts, sizes, firsts)
    starts = []
    numbers = []
    row = 0
    for part, size, first in zip(parts, sizes, firsts, strict=False):
        assert isinstance(part, Runs)
        starts.append(part.starts[:-1] + row)
        numbers.append(part.numbers + first)
        row += size
    starts.append(np.array([row]))
    of_all = np.concatenate(starts)
    return Runs(of_all, np.concatenate(numbers))


def _listed(parts: Sequence[Blocks], sizes: Sequence[int], firsts: Sequence[int]) -> Listed:
    numbers = []
    for part, size, first in zip(parts, sizes, firsts, strict=False):
        rows = np.arange(size)
        numbers.append(part.of(rows) + first)
    return Listed(np.concatenate(numbers))


class Windows:
    """An epoch over runs: these are shuffled, and rows within windows of `window` runs.

    Each row stands at one position; what stands where is worked out for any positions alone.
    """

    def __init__(self, runs: Runs, window: int, seed: int, epoch: int) -> None:
        count = len(runs.numbers)
        self._seed = key(seed, epoch, "windows")
        of_blocks = key(seed, epoch, "blocks")
        shuffled = Permutation(count, of_blocks)
        numbers = np.arange(count)
        order = shuffled(numbers)
        sizes = np.diff(runs.starts)
        sizes = sizes[order]
        ends = np.cumsum(sizes)
        self._before = ends - sizes  # rows of the runs before each
        self._first = runs.starts[order]
        self._window_starts = np.append(self._before[::window], ends[-1])
        numbers = runs.numbers[order]
        has_rows = sizes > 0
        self.numbers: Rows = numbers[has_rows]

    def rows(self, positions: Rows) -> Rows:
        """The rows int64 [k] at these positions."""
        window = _places(self._window_starts, positions)
        places = np.empty_like(positions)
        for number in np.unique(window).tolist():
            here = window == number
            start = int(self._window_starts[number])
            stop = int(self._window_starts[number + 1])
            seed = key(self._seed, number)
            shuffled = Permutation(stop - start, seed)
            own = positions[here] - start
            places[here] = start + shuffled(own)
        run = _places(self._before, places)
        within = places - self._before[run]
        return np.asarray(self._first[run] + within)
