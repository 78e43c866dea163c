"""What an epoch draws: every row once, classes in given shares, rows by weight, one view a record.

A draw has `length` slots; `units(slots, epoch)` says which unit each slot stands for. It is a pure
function, so any part of any epoch is known without what came before. Units are rows, or records
where one view of each is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.sampling.permutation import Rows, key, scatter

Numbers = NDArray[Any]


class Draw(Protocol):
    """What is drawn in an epoch."""

    @property
    def length(self) -> int:
        """Slots in an epoch."""

    def units(self, slots: Rows, epoch: int) -> Rows:
        """The units int64 [k] that these slots stand for."""


@dataclass(frozen=True, slots=True)
class Every:
    """Every unit once.

    >>> Every(3).units(np.arange(3), epoch=0).tolist()
    [0, 1, 2]
    """

    length: int

    def units(self, slots: Rows, epoch: int) -> Rows:
        """The slots themselves."""
        return slots


@dataclass(frozen=True, slots=True, eq=False)
class Balanced:
    """Units by stratum; stratum s has `quotas[s]` slots.

    Every unit is drawn, those of small strata several times: where a stratum has n units and q
    slots, each is drawn `q // n` or `q // n + 1` times. Which ones get the extra draw changes from
    epoch to epoch, so that in the long run all are drawn equally often.

    Stratum s has the units `order[starts[s]:starts[s + 1]]`.
    """

    order: Rows
    starts: Rows
    quotas: Rows
    seed: int

    @property
    def length(self) -> int:
        """Slots in an epoch."""
        return int(self.quotas.sum())

    def units(self, slots: Rows, epoch: int) -> Rows:
        """The units of these slots; slots of one stratum stand together."""
        ends = np.cumsum(self.quotas)
        stratum = np.searchsorted(ends, slots, side="right")
        sizes = np.diff(self.starts)[stratum]
        turn, place = np.divmod(slots - (ends - self.quotas)[stratum], sizes)
        turns, extra = np.divmod(self.quotas[stratum], sizes)
        # The last turn has only `extra` slots. They start at a random unit in the first epoch, and
        # in each later one where those of the epoch before ended.
        first = scatter(stratum, sizes, key(self.seed, "extra"))
        in_last_turn = (place + first + epoch * extra) % sizes
        place = np.where(turn == turns, in_last_turn, place)
        return np.asarray(self.order[self.starts[stratum] + place])


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """As many slots as units, in proportion to weights: a unit gets its share, rounded up or down.

    `edges` float64 [n] are the cumulative weights.

    Source: systematic sampling, Madow, On the Theory of Systematic Sampling, Ann. Math. Statist.
    20, 1949.
    """

    edges: NDArray[np.float64]
    seed: int

    @property
    def length(self) -> int:
        """Slots in an epoch."""
        return len(self.edges)

    def units(self, slots: Rows, epoch: int) -> Rows:
        """The units of these slots, in order."""
        offset = key(self.seed, epoch, "weights") / 2**64
        marks = (slots + offset) * (self.edges[-1] / self.length)
        units = np.searchsorted(self.edges, marks, side="right")
        return np.asarray(np.minimum(units, self.length - 1))  # a mark may be rounded to the end


@dataclass(frozen=True, slots=True, eq=False)
class ViewSampler:
    """One row for each record.

    Record r has the rows `order[starts[r]:starts[r + 1]]`, its plain view first.
    """

    order: Rows
    starts: Rows
    seed: int
    random: bool

    @property
    def records(self) -> int:
        """How many records there are."""
        return len(self.starts) - 1

    @property
    def plain(self) -> Rows:
        """The first view of each record."""
        return np.asarray(self.order[self.starts[:-1]])

    def rows(self, records: Rows, epoch: int) -> Rows:
        """One row of each of these records: its first, or one drawn anew in each epoch."""
        place = self.starts[records]
        if self.random:
            sizes = self.starts[records + 1] - place
            place = place + scatter(records, sizes, key(self.seed, epoch, "view"))
        return np.asarray(self.order[place])


def views(records: Numbers, number: Numbers, *, random: bool, seed: int) -> ViewSampler:
    """The views of each record, from the record (any values) and the view number of each row.

    >>> views(np.array([5, 5, 7]), np.array([1, 0, 0]), random=False, seed=0).plain.tolist()
    [1, 2]
    """
    _, first, code = np.unique(records, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[code]  # records in the order of the file
    order, starts = by_code(rank, len(first), number)
    return ViewSampler(order, starts, seed, random)


def by_code(codes: Numbers, count: int, then: Numbers | None = None) -> tuple[Rows, Rows]:
    """Rows sorted by code, and where the rows of each code start: `count + 1` numbers.

    Rows of one code are in the order of `then`, or else in their own.

    >>> [each.tolist() for each in by_code(np.array([1, 0, 1]), 2)]
    [[1, 0, 2], [0, 1, 3]]
    """
    order = np.argsort(codes, kind="stable") if then is None else np.lexsort((then, codes))
    sizes = np.bincount(codes, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return order.astype(np.int64), starts.astype(np.int64)


def balanced(
    codes: Numbers, shares: Mapping[int, float] | None, seed: int, where: str = "balance"
) -> Balanced:
    """Units of codes int [n] drawn in equal shares, or in given ones: for each code, 1 in sum.

    Over-sampling only: the stratum furthest above its share sets the length of the epoch, the
    others are drawn more often. Raises UsageError for a share of a stratum without units.

    >>> draw = balanced(np.array([0, 0, 0, 1]), None, seed=0)
    >>> np.bincount(draw.units(np.arange(draw.length), epoch=0)).tolist()
    [1, 1, 1, 3]
    """
    present, codes = np.unique(codes, return_inverse=True)
    if shares is None:
        shares = dict.fromkeys(present.tolist(), 1 / len(present))
    missing = set(shares) ^ set(present.tolist())
    if missing:
        raise UsageError(
            "a share without rows, or rows without a share",
            where,
            "a share for each class that has rows",
            ", ".join(map(str, sorted(missing))),
            "Leave that class out, or give the others less.",
        )
    order, starts = by_code(codes, len(present))
    counts = np.diff(starts)
    wanted = np.array([shares[code] for code in present.tolist()])
    total = (counts / wanted).max()
    quotas = np.rint(total * wanted).astype(np.int64)
    return Balanced(order, starts, np.maximum(quotas, counts), seed)


def bins(values: Numbers, count: int) -> Rows:
    """The bin of each value, of `count` equal ones between the smallest value and the largest.

    >>> bins(np.array([0.0, 1.0, 9.0, 10.0]), 5).tolist()
    [0, 0, 4, 4]
    """
    if count < 1:
        raise UsageError(
            "uniform needs bins",
            "uniform",
            "1 or more",
            str(count),
            'Write for example {"age": 20}.',
        )
    low = float(values.min())
    high = float(values.max())
    if high == low:
        return np.zeros(len(values), np.int64)
    scaled = (values.astype(np.float64) - low) * (count / (high - low))
    return np.minimum(scaled.astype(np.int64), count - 1)


def weighted(weights: Numbers, seed: int) -> Weighted:
    """Units drawn in proportion to weights `[n]`, none of them negative.

    >>> draw = weighted(np.array([1.0, 3.0, 0.0, 0.0]), seed=0)
    >>> np.bincount(draw.units(np.arange(4), epoch=0)).tolist()
    [1, 3]
    """
    weights = np.asarray(weights, np.float64)
    usable = np.isfinite(weights) & (weights >= 0)
    if not usable.all() or not weights.any():
        raise UsageError(
            "weights that cannot be",
            "weights",
            "finite numbers of 0 or more, not all 0",
            "others",
            "Replace NaN and negative weights by 0.",
        )
    return Weighted(np.cumsum(weights), seed)
