"""Rows of a feature column as float32, a block at a time, in the order that costs least."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.dataset.selected_rows import SelectedRows
from dof_arrow.tables.gather import Memory

Array = NDArray[Any]

_UNKNOWN = np.float32(-1)


def row_blocks(data: SelectedRows, name: str | None = None) -> RowBlocks:
    """A feature column of selected rows to be read in blocks; mapped once for all searches."""
    column = name or data.primary
    if column not in data._searched:
        data._searched[column] = RowBlocks(data, name)
    found: RowBlocks = data._searched[column]
    return found


class RowBlocks:
    """A feature column of selected rows, to be read in blocks.

    `rows` is how many there are, `width` how many numbers each has. Rows that have to be decoded in
    whole row groups come in the order of these groups, others in their own order.
    """

    def __init__(self, data: SelectedRows, name: str | None = None) -> None:
        self.rows = len(data)
        self.width = prod(data.row_shape(name))
        self._gather = data.gather(name)
        self._squares = np.full(self.rows, _UNKNOWN, np.float32)
        self._order: Array | None = None
        if self._gather.blocks is not None:
            numbers = self._gather.blocks.of(np.arange(self.rows))
            self._order = np.argsort(numbers, kind="stable")

    def read(self, start: int, stop: int) -> tuple[Array, Array]:
        """The numbers int64 [b] of rows, and their vectors float32 [b, width].

        Vectors that lie in memory as float32 are a view of it, others a copy.
        """
        numbers = np.arange(start, min(stop, self.rows))
        gather = self._gather
        if isinstance(gather, Memory):
            stored = gather.view(start, start + len(numbers))
            return numbers, stored.astype(np.float32, copy=False)
        if self._order is not None:
            numbers = self._order[numbers]
        values = np.empty((len(numbers), self.width), np.float32)
        gather.fill(numbers, values)
        return numbers, values

    def squared_lengths(self, numbers: Array, values: Array) -> Array:
        """The squared lengths float32 [b] of rows that were read; they are computed once.

        They are not finite where a row is not, and where float32 cannot hold them.
        """
        found = self._squares[numbers]
        if (found == _UNKNOWN).any():
            with np.errstate(over="ignore", invalid="ignore"):
                found = np.vecdot(values, values)
            self._squares[numbers] = found
        return found

    def blocks(self, step: int) -> Iterator[tuple[Array, Array]]:
        """All rows, `step` at a time, as `read` gives them."""
        if self._order is not None and self._gather.blocks is not None:
            groups = self._gather.blocks.of(self._order)
            self._gather.expect(np.unique(groups).tolist())
        for start in range(0, self.rows, step):
            yield self.read(start, start + step)
