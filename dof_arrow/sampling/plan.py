"""Which row comes when, and on which rank: pure functions of seeds and positions.

An epoch is a sequence of positions. `Plan.rows` says which row stands at each; `shares` deals the
positions out to ranks in batches. So what comes next follows from the seed, the epoch and how many
positions are used up, and nothing else: an epoch can go on with another number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dof_arrow.sampling.blocks import Blocks, Runs, Windows
from dof_arrow.sampling.permutation import Permutation, Rows, key
from dof_arrow.sampling.samplers import Draw, Every, ViewSampler


class Share(NamedTuple):
    """One batch of one rank: its positions [start, stop).

    `consumed`: how many positions all ranks together have used up once it is done.
    """

    start: int
    stop: int
    consumed: int


def shares(
    length: int,
    consumed: int = 0,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    drop_last: bool = False,
) -> Iterator[Share]:
    """The batches of one rank, from position `consumed` of the epoch on.

    Every position goes to one rank once, and all ranks get equally many batches: what is left at
    the end is dealt out evenly, so that only the sizes of the last two batches may differ by one
    between ranks. With `drop_last` all batches are full, and positions that do not fill one on
    every rank are left out. Where fewer positions are left than there are ranks (an epoch goes on
    with more of them), some ranks get no batch.

    >>> [(share.start, share.stop) for share in shares(10, batch_size=4)]
    [(0, 4), (4, 8), (8, 10)]
    >>> [(share.start, share.stop) for share in shares(9, batch_size=4, rank=1, world_size=2)]
    [(4, 7), (8, 9)]
    """
    while consumed < length:
        size = _step(length - consumed, batch_size, world_size, drop_last)
        if not size:
            return
        each, more = divmod(size, world_size)  # the first `more` ranks get one position more
        start = consumed + rank * each + min(rank, more)
        stop = start + each + (rank < more)
        consumed += size
        if stop > start:
            yield Share(start, stop, consumed)


def steps(length: int, *, batch_size: int, world_size: int = 1, drop_last: bool = False) -> int:
    """How many batches each rank gets of so many positions.

    >>> steps(10, batch_size=4), steps(10, batch_size=4, drop_last=True)
    (3, 2)
    >>> steps(9, batch_size=4, world_size=2)
    2
    """
    full, left = divmod(length, batch_size * world_size)
    if not left or drop_last:
        return full
    if batch_size == 1 and full:  # the last step takes the rest too, see _step
        return full
    return full + 1


def _step(left: int, batch_size: int, world_size: int, drop_last: bool) -> int:
    """How many positions all ranks together take next.

    Where the step after it would have fewer positions than there are ranks, this one leaves more of
    them for it, or with batches of one row takes them all: so every rank gets a batch in each step.
    """
    full = batch_size * world_size
    if drop_last:
        return full if left >= full else 0
    if full < left < full + world_size:
        return left - world_size if batch_size > 1 else left
    return min(full, left)


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Rows that stay together, in the order of the file.

    Group g has the rows `order[starts[g]:starts[g + 1]]`.
    """

    order: Rows
    starts: Rows

    def sequence(self, seed: int | None) -> Rows:
        """All rows, group after group; the groups are shuffled unless `seed` is None.

        >>> Groups(np.array([0, 2, 1]), np.array([0, 2, 3])).sequence(None).tolist()
        [0, 2, 1]
        """
        if seed is None:
            return self.order
        count = len(self.starts) - 1
        shuffled = Permutation(count, seed)(np.arange(count))
        starts = self.starts[shuffled]
        sizes = np.diff(self.starts)[shuffled]
        before = np.cumsum(sizes) - sizes  # rows of the groups before, in the new order
        moved = np.repeat(starts - before, sizes)
        return np.asarray(self.order[moved + np.arange(len(self.order))])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Which row stands at each position of each epoch.

    `draw` is what an epoch consists of, `views` turns records into rows, `groups` keeps rows
    together. `blocks` (the row group of each row) is for data that can only be read in whole
    blocks: blocks are shuffled, and rows only within windows of `window` blocks, so that each block
    is read once. Where every row of runs is drawn, no more than the runs is kept in memory.

    >>> plan = Plan(draw=Every(1000), shuffle=True)
    >>> sorted(plan.rows(0, np.arange(1000)).tolist()) == list(range(1000))
    True
    """

    draw: Draw
    seed: int = 0
    shuffle: bool = False
    views: ViewSampler | None = None
    groups: Groups | None = None
    blocks: Blocks | None = None
    window: int = 1
    _orders: dict[int, Permutation] = field(default_factory=dict, init=False, repr=False)
    _sequences: dict[int, Rows] = field(default_factory=dict, init=False, repr=False)
    _windows: dict[int, Windows] = field(default_factory=dict, init=False, repr=False)

    @property
    def length(self) -> int:
        """Positions in an epoch."""
        return self.draw.length

    @property
    def in_order(self) -> bool:
        """Whether position i always is row i."""
        return isinstance(self.draw, Every) and not (self.shuffle or self.views or self.groups)

    def rows(self, epoch: int, positions: Rows) -> Rows:
        """The rows int64 [k] at these positions."""
        windows = self._in_windows(epoch)
        if windows is not None:
            return windows.rows(positions)
        if self.groups is not None or (self.shuffle and self.blocks is not None):
            return np.asarray(self._sequence(epoch)[positions])
        return self._drawn(epoch, positions)

    def block_order(self, epoch: int) -> list[int]:
        """The blocks of an epoch, in the order in which they are needed."""
        assert self.blocks is not None
        windows = self._in_windows(epoch)
        if windows is not None:
            return list(windows.numbers.tolist())
        numbers = self.blocks.of(self.rows(epoch, np.arange(self.length)))
        found, first = np.unique(numbers, return_index=True)
        return list(found[np.argsort(first)].tolist())

    def _in_windows(self, epoch: int) -> Windows | None:
        """The epoch, where every row of runs is drawn; of the one asked for last it is kept."""
        blocks = self.blocks
        whole = isinstance(self.draw, Every) and self.views is None and self.groups is None
        if not (self.shuffle and whole and isinstance(blocks, Runs)):
            return None
        found = self._windows.get(epoch)
        if found is None:
            found = Windows(blocks, self.window, self.seed, epoch)
            self._windows.clear()
            self._windows[epoch] = found
        return found

    def _drawn(self, epoch: int, positions: Rows) -> Rows:
        slots = positions
        if self.shuffle:
            slots = self._order(epoch)(positions)
        units = self.draw.units(slots, epoch)
        return units if self.views is None else self.views.rows(units, epoch)

    def _order(self, epoch: int) -> Permutation:
        """The shuffled order of what is drawn; of the epoch that was asked for last it is kept."""
        found = self._orders.get(epoch)
        if found is None:
            found = Permutation(self.length, key(self.seed, epoch, "shuffle"))
            self._orders.clear()
            self._orders[epoch] = found
        return found

    def _sequence(self, epoch: int) -> Rows:
        """All rows of an epoch in order; of the epoch that was asked for last it is kept."""
        found = self._sequences.get(epoch)
        if found is None:
            found = self._windowed(epoch) if self.groups is None else self._grouped(epoch)
            self._sequences.clear()
            self._sequences[epoch] = found
        return found

    def _grouped(self, epoch: int) -> Rows:
        assert self.groups is not None
        seed = key(self.seed, epoch, "groups") if self.shuffle else None
        return self.groups.sequence(seed)

    def _windowed(self, epoch: int) -> Rows:
        assert self.blocks is not None
        rows = self._drawn(epoch, np.arange(self.length))
        numbers = self.blocks.of(rows)
        count = int(numbers.max()) + 1
        shuffled = Permutation(count, key(self.seed, epoch, "blocks"))(np.arange(count))
        window = (shuffled // self.window).astype(np.int16)  # of each block
        # Stable: within a window rows keep the shuffled order. On int16 NumPy sorts by radix.
        order = np.argsort(window[numbers], kind="stable")
        return np.asarray(rows[order])
