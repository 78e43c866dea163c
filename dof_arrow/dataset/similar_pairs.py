"""All pairs of rows whose cosine reaches a threshold, block against block, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.dataset.row_blocks import RowBlocks
from dof_arrow.dataset.similarity import in_parts, rounding, within_reach
from dof_arrow.progress import listening

Array = NDArray[Any]

_BLOCK = 1 << 23  # bytes of rows on either side
_MOST_ROWS = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of rows: numbers int64 [n] on either side, and their cosines float64 [n].

    `equal` bool [n] says whether the two vectors are equal number for number.
    """

    left: Array
    right: Array
    cosines: Array
    equal: Array

    def __len__(self) -> int:
        return len(self.left)

    def where(self, mask: Array) -> Pairs:
        """Those of the pairs for which the mask is true."""
        return Pairs(
            left=self.left[mask],
            right=self.right[mask],
            cosines=self.cosines[mask],
            equal=self.equal[mask],
        )


def similar_pairs(left: RowBlocks, right: RowBlocks | None, threshold: float) -> Iterator[Pairs]:
    """Every pair of two rows of one column, or of rows of two columns, of at least this cosine.

    Cosines are those of `similarity.exact`, whatever the blocks are. All rows must be finite. Pairs
    come some at a time, in an order that depends on the blocks.
    """
    step = max(min(_BLOCK // (left.width * 4), _MOST_ROWS), 1)
    others = left if right is None else right
    total = -(-left.rows // step)
    with listening().progress("comparing blocks of rows") as update:
        for done, start in enumerate(range(0, left.rows, step)):
            update(done, total, 0)
            numbers, values = left.read(start, start + step)
            block = _Block(numbers, values)
            if right is None:
                yield from _between(block, block, threshold)
            first = start + step if right is None else 0
            for other in range(first, others.rows, step):
                numbers, values = others.read(other, other + step)
                against = _Block(numbers, values)
                yield from _between(block, against, threshold)
        update(total, total, 0)


class _Block:
    """Some rows, and their directions: float32 vectors of length 1, of 0 where a row is zeros."""

    def __init__(self, numbers: Array, values: Array) -> None:
        self.numbers = numbers
        self.values = values
        with np.errstate(over="ignore"):
            squares = np.vecdot(values, values)
        sure = within_reach(squares)
        lengths = np.sqrt(np.where(sure, squares, 1))
        self.directions = values / lengths[:, None]
        rest = np.flatnonzero(~sure)
        doubles = values[rest].astype(np.float64)
        far = np.sqrt(np.square(doubles).sum(axis=1))
        none = far == 0
        far[none] = 1
        self.directions[rest] = doubles / far[:, None]
        self.zeros = np.zeros(len(values), bool)
        self.zeros[rest] = none


def _between(ours: _Block, theirs: _Block, threshold: float) -> Iterator[Pairs]:
    """Pairs of two blocks; within one block each pair once, and no row with itself."""
    off = 2 * rounding(ours.values.shape[1])  # directions are rounded too
    products = ours.directions @ theirs.directions.T
    chosen = products >= np.float32(threshold - off)
    if ours.zeros.any() and theirs.zeros.any():
        chosen |= ours.zeros[:, None] & theirs.zeros
    places = np.flatnonzero(chosen)
    row, column = np.divmod(places, len(theirs.numbers))
    if ours is theirs:
        later = row < column
        row = row[later]
        column = column[later]
    for some, cosines in in_parts("cosine", ours.values, theirs.values, row, column):
        left = row[some]
        right = column[some]
        equal = np.zeros(len(cosines), bool)
        same = np.flatnonzero(cosines == 1)
        first = ours.values[left[same]]
        second = theirs.values[right[same]]
        equal[same] = (first == second).all(axis=1)
        found = Pairs(ours.numbers[left], theirs.numbers[right], cosines, equal)
        yield found.where(cosines >= threshold)
