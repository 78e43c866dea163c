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
        return cls(np.concatenate([[0], np.cumsum(sizes)]), np.arange(len(sizes)))

    def of(self, rows: Rows) -> Rows:
        """The block int64 [k] of each row."""
        return np.asarray(self.numbers[np.searchsorted(self.starts, rows, side="right") - 1])

    def part(self, start: int, stop: int) -> Runs:
        """The blocks of a range of rows, which count from 0 in it.

        >>> Runs.of_sizes([3, 2, 4]).part(2, 5).numbers.tolist()
        [0, 1]
        """
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        end = max(int(np.searchsorted(self.starts, stop, side="left")), first + 1)
        starts = np.clip(self.starts[first : end + 1], start, stop) - start
        return Runs(starts, self.numbers[first:end])


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """The block of each row, where these are any rows."""

    numbers: Rows

    def of(self, rows: Rows) -> Rows:
        """The block of each row."""
        return np.asarray(self.numbers[rows])


Blocks = Runs | Listed


def joined(parts: Sequence[Blocks], sizes: Sequence[int], firsts: Sequence[int]) -> Blocks:
    """The blocks of tables of so many rows in a chain; those of each count from its `firsts`."""
    starts = [np.zeros(1, np.int64)]
    numbers = []
    offset = 0
    for part, size, first in zip(parts, sizes, firsts, strict=False):
        if not isinstance(part, Runs):
            return _listed(parts, sizes, firsts)
        starts.append(part.starts[1:] + offset)
        numbers.append(part.numbers + first)
        offset += size
    return Runs(np.concatenate(starts), np.concatenate(numbers))


def _listed(parts: Sequence[Blocks], sizes: Sequence[int], firsts: Sequence[int]) -> Listed:
    numbers = []
    for part, size, first in zip(parts, sizes, firsts, strict=False):
        numbers.append(part.of(np.arange(size)) + first)
    return Listed(np.concatenate(numbers))


class Windows:
    """An epoch over runs: these are shuffled, and rows within windows of `window` runs.

    Each row stands at one position; what stands where is worked out for any positions alone.
    """

    def __init__(self, runs: Runs, window: int, seed: int, epoch: int) -> None:
        count = len(runs.numbers)
        self._seed = key(seed, epoch, "windows")
        self._order = Permutation(count, key(seed, epoch, "blocks"))(np.arange(count))
        sizes = np.diff(runs.starts)[self._order]
        ends = np.cumsum(sizes)
        self._before = ends - sizes  # rows of the runs before each
        self._first = runs.starts[:-1][self._order]
        self._window_starts = np.append(self._before[::window], runs.starts[-1])
        self.numbers: Rows = runs.numbers[self._order][sizes > 0]

    def rows(self, positions: Rows) -> Rows:
        """The rows int64 [k] at these positions."""
        window = np.searchsorted(self._window_starts, positions, side="right") - 1
        places = np.empty_like(positions)
        for number in np.unique(window).tolist():
            here = window == number
            start, stop = self._window_starts[number : number + 2].tolist()
            shuffled = Permutation(stop - start, key(self._seed, number))
            places[here] = start + shuffled(positions[here] - start)
        run = np.searchsorted(self._before, places, side="right") - 1
        return np.asarray(self._first[run] + places - self._before[run])
