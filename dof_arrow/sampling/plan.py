"""Which row goes where, and when: pure functions of names, seeds and positions, tested without any file.

An epoch is a sequence of positions. `Plan.rows` says which row stands at each; `shares` deals the positions out to
ranks in batches. So what comes next follows from seed, epoch and positions used up, whoever asks and with how many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dof_arrow.sampling.permutation import Permutation, Rows, key
from dof_arrow.sampling.samplers import Draw, Every, ViewSampler


@dataclass(frozen=True, slots=True)
class Share:
    """One batch of one rank: its positions [start, stop), and how many are used up by all ranks once it is done."""

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
    """The batches of one rank from a position of the epoch on.

    Every position goes to one rank once, and all ranks get equally many batches: what is left at the end is dealt out
    evenly, so that only the sizes of the last two batches may differ by one between ranks. With `drop_last` all batches
    are full, and what does not fill one on every rank is left out. Where fewer positions are left than there are ranks
    (an epoch taken up again with more of them), some get no batch.

    >>> [(s.start, s.stop) for s in shares(10, batch_size=4)]
    [(0, 4), (4, 8), (8, 10)]
    >>> [(s.start, s.stop) for s in shares(9, batch_size=4, rank=1, world_size=2)]
    [(4, 7), (8, 9)]
    """
    while consumed < length:
        size = _step(length - consumed, batch_size, world_size, drop_last)
        if not size:
            return
        each, more = divmod(size, world_size)
        start = consumed + rank * each + min(rank, more)
        stop = start + each + (rank < more)
        consumed += size
        if stop > start:
            yield Share(start, stop, consumed)


def steps(length: int, *, batch_size: int, world_size: int = 1, drop_last: bool = False) -> int:
    """How many batches each rank gets of so many positions.

    >>> steps(10, batch_size=4), steps(10, batch_size=4, drop_last=True), steps(9, batch_size=4, world_size=2)
    (3, 2, 2)
    """
    full, left = divmod(length, batch_size * world_size)
    alone = left and not (batch_size == 1 and full)  # see _step
    return full + (1 if alone and not drop_last else 0)


def _step(left: int, batch_size: int, world_size: int, drop_last: bool) -> int:
    """Positions that all ranks take together next; one row for each of them stays for a step after it."""
    full = batch_size * world_size
    if left < full:
        return 0 if drop_last else left
    if full < left < full + world_size and not drop_last:
        return left - world_size if batch_size > 1 else left
    return full


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Rows that stay together, in the order of the file: group g has `order[starts[g]:starts[g + 1]]`."""

    order: Rows
    starts: Rows

    def sequence(self, seed: int | None) -> Rows:
        """All rows, group after group, the groups shuffled unless `seed` is None.

        >>> Groups(np.array([0, 2, 1]), np.array([0, 2, 3])).sequence(None).tolist()
        [0, 2, 1]
        """
        if seed is None:
            return self.order
        chosen = Permutation(len(self.starts) - 1, seed)(np.arange(len(self.starts) - 1))
        sizes = np.diff(self.starts)[chosen]
        skipped = np.repeat(self.starts[chosen] - (np.cumsum(sizes) - sizes), sizes)
        return np.asarray(self.order[skipped + np.arange(len(self.order))])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Which row stands at each position of each epoch.

    `draw` is what an epoch consists of, `views` turns records into rows, `groups` keeps rows together. `blocks` (the
    row group of each row) is for data that can only be read in whole blocks: those are shuffled, and rows within
    windows of `window` blocks, so that each is read once.

    >>> plan = Plan(draw=Every(1000), shuffle=True)
    >>> sorted(plan.rows(0, np.arange(1000)).tolist()) == list(range(1000))
    True
    """

    draw: Draw
    seed: int = 0
    shuffle: bool = False
    views: ViewSampler | None = None
    groups: Groups | None = None
    blocks: Rows | None = None
    window: int = 1
    _sequences: dict[int, Rows] = field(default_factory=dict, init=False, repr=False)

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
        if self.groups is not None or (self.shuffle and self.blocks is not None):
            return np.asarray(self._sequence(epoch)[positions])
        return self._drawn(epoch, positions)

    def _drawn(self, epoch: int, positions: Rows) -> Rows:
        seed = key(self.seed, epoch, "shuffle")
        slots = Permutation(self.length, seed)(positions) if self.shuffle else positions
        units = self.draw.units(slots, epoch)
        return units if self.views is None else self.views.rows(units, epoch)

    def _sequence(self, epoch: int) -> Rows:
        found = self._sequences.get(epoch)
        if found is None:
            found = self._grouped(epoch) if self.groups is not None else self._windowed(epoch)
            self._sequences.clear()
            self._sequences[epoch] = found
        return found

    def _grouped(self, epoch: int) -> Rows:
        assert self.groups is not None
        return self.groups.sequence(key(self.seed, epoch, "groups") if self.shuffle else None)

    def _windowed(self, epoch: int) -> Rows:
        assert self.blocks is not None
        rows, count = self._drawn(epoch, np.arange(self.length)), int(self.blocks.max()) + 1
        place = Permutation(count, key(self.seed, epoch, "blocks"))(np.arange(count)) // self.window
        return np.asarray(
            rows[np.argsort(place[self.blocks[rows]].astype(np.int16), kind="stable")]
        )
