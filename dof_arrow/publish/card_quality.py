"""What a reader should know of the vectors: lengths, dead dimensions, duplicates, lonely rows."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.dataset.duplicates import Pair, duplicates
from dof_arrow.dataset.row_blocks import RowBlocks, row_blocks
from dof_arrow.dataset.similarity import ALIKE, exact
from dof_arrow.publish.card_balance import Histogram, histogram
from dof_arrow.publish.card_rows import DrawnRows
from dof_arrow.sampling.permutation import Permutation, key

Array = NDArray[Any]

_BLOCK = 1 << 24  # bytes of rows at a time
_NAMED = 8  # rows and dimensions that are named
_TRIED = 20_000  # pairs of rows that tell how many are alike
_TRIED_BYTES = 1 << 28  # of them
_MOST_ALIKE = 2_000_000  # pairs, above which they are no longer counted one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRow:
    """A row: its place on the map, what it is called, and a number that is told of it."""

    place: int
    label: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlikePair:
    """Two rows that are alike, their cosine, and in what else they differ."""

    first: str
    second: str
    cosine: float
    differ: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """Pairs of drawn rows that are alike; see `Duplicates` for what is counted."""

    threshold: float
    rows: int
    pairs: int
    equal: int
    across_groups: int | None
    across_splits: int | None
    first: tuple[AlikePair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Of all rows the lengths and the dead dimensions; of drawn ones, twins and lonely rows.

    A dead dimension has one value in all rows; `dead_named` are the first. `zeros` is the share of
    numbers that are 0, `empty` counts rows of zeros alone. `twins` is None where so many rows are
    alike, a share of `alike` pairs, that the search says nothing.
    """

    rows: int
    width: int
    lengths: Histogram
    shortest: float
    longest: float
    empty: int
    zeros: float
    dead: int
    dead_named: tuple[int, ...]
    alike: float
    twins: Twins | None
    lonely: tuple[DrawnRow, ...]


def quality(data: Dataset, drawn: DrawnRows, found: tuple[Array, Array] | None) -> Quality:
    """Measure the vectors; `found` are the places and cosines of drawn rows' neighbours."""
    measured = _Measured(row_blocks(data, drawn.feature))
    lengths = measured.lengths
    dead = np.flatnonzero(measured.low == measured.high) if len(data) > 1 else np.empty(0, int)
    alike = _share_alike(drawn)
    pairs = len(drawn.places) * (len(drawn.places) - 1) / 2
    twins = _twins(drawn) if alike * pairs <= _MOST_ALIKE else None
    return Quality(
        rows=len(data),
        width=len(measured.low),
        lengths=histogram(lengths),
        shortest=float(lengths.min()),
        longest=float(lengths.max()),
        empty=int(np.count_nonzero(lengths == 0)),
        zeros=measured.zeros / (len(lengths) * len(measured.low)),
        dead=len(dead),
        dead_named=tuple(dead[:_NAMED].tolist()),
        alike=alike,
        twins=twins,
        lonely=_lonely(drawn, found),
    )


class _Measured:
    """Lengths float64 [n], lowest and highest value of each dimension, and how many are zero."""

    def __init__(self, blocks: RowBlocks) -> None:
        self.lengths = np.empty(blocks.rows)
        self.low = np.full(blocks.width, np.inf, np.float32)
        self.high = np.full(blocks.width, -np.inf, np.float32)
        self.zeros = 0
        for numbers, values in blocks.blocks(max(_BLOCK // (8 * blocks.width), 1)):
            squares = np.square(values, dtype=np.float64).sum(axis=1)
            self.lengths[numbers] = np.sqrt(squares)
            self.low = np.minimum(self.low, values.min(axis=0))
            self.high = np.maximum(self.high, values.max(axis=0))
            self.zeros += values.size - int(np.count_nonzero(values))


def _share_alike(drawn: DrawnRows) -> float:
    """The share of pairs of rows that are alike, told by some pairs that a seed draws."""
    count = len(drawn.places)
    if count < 2:
        return 0.0
    width = prod(drawn.data.row_shape(drawn.feature))
    fitting = max(_TRIED_BYTES // (4 * width), 2)
    tried = np.arange(min(_TRIED, fitting, count))
    chosen = Permutation(count, key(0, "pairs"))(tried)
    rows = drawn.data.take(chosen).to_numpy(drawn.feature).reshape(len(chosen), -1)
    step = max(_BLOCK // (8 * rows.shape[1]), 1)
    alike = 0
    for start in range(0, len(rows) - 1, step):
        some = rows[start : start + step + 1]
        alike += int(np.count_nonzero(exact("cosine", some[:-1], some[1:]) >= ALIKE))
    return alike / (len(rows) - 1)


def _twins(drawn: DrawnRows) -> Twins:
    found = duplicates(drawn.data, name=drawn.feature)
    return Twins(
        threshold=found.threshold,
        rows=len(drawn.places),
        pairs=found.pairs,
        equal=found.equal,
        across_groups=found.across_groups,
        across_splits=found.across_splits,
        first=tuple(_pair(pair, drawn) for pair in found.first[:_NAMED]),
    )


def _pair(pair: Pair, drawn: DrawnRows) -> AlikePair:
    differ = []
    for kind, (ours, theirs) in (("group", pair.groups), ("split", pair.splits)):
        if None not in (ours, theirs) and ours != theirs:
            differ.append(kind)
    first, second = (drawn.label(row) for row in pair.rows)
    return AlikePair(first=first, second=second, cosine=pair.cosine, differ=" and ".join(differ))


def _lonely(drawn: DrawnRows, found: tuple[Array, Array] | None) -> tuple[DrawnRow, ...]:
    """The rows whose nearest neighbour is farthest."""
    if found is None:
        return ()
    nearest = found[1].max(axis=1)
    order = np.argsort(nearest, kind="stable")[:_NAMED]
    rows = []
    for place in order.tolist():
        row = DrawnRow(place=place, label=drawn.label(place), value=float(nearest[place]))
        rows.append(row)
    return tuple(rows)
