"""The staged rows in the order of the output, however many there are.

Blocks are staged in the order of the inputs. Names of files, sizes or times sorted in that order
would undo pseudonyms, so the output has its rows in another. Rows that fit in memory are sorted
there; more go through scratch files, each of them a sorted run with a piece for each range of the
output, so that the rows of a range are read at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import pyarrow as pa

from dof_arrow.extraction.block import Block
from dof_arrow.extraction.block_file import BlockFile
from dof_arrow.extraction.job import Array
from dof_arrow.extraction.staging import JOINED_BYTES, Staging

HELD_BYTES = 128 << 20  # of rows that wait in memory


class Rows(Protocol):
    """Takes each staged block, then gives the rows of all in the order of the output."""

    def add(self, block: Block) -> None:
        """Take the next rows."""

    def blocks(self) -> Iterator[Block]:
        """All rows in the order of the output, as small blocks. Raises Damaged."""


class StagedRows:
    """Rows whose blocks only need to be read in some order: a clip each, or that of the source."""

    def __init__(self, staging: Staging, numbers: Iterable[int]) -> None:
        self._staging = staging
        self._numbers = numbers

    def add(self, block: Block) -> None:
        """Nothing: the block is read once more."""

    def blocks(self) -> Iterator[Block]:
        """The blocks, read again."""
        return self._staging.read(self._numbers)


class RowSorter:
    """First `add` every block, then ask for `blocks` in the order of the output.

    `places` [inputs] is where each input stands among all in the output; the rows of one input stay
    together in their order.
    """

    def __init__(self, staging: Staging, places: Array) -> None:
        self._staging = staging
        self._places = places
        self._most = HELD_BYTES
        self._held: list[Block] = []
        self._size = 0
        self._bounds: Array | None = None  # the first place of each range but the first
        self._runs: list[BlockFile] = []

    def add(self, block: Block) -> None:
        """Take the next rows, in any order of inputs."""
        if not len(block):
            return
        self._held.append(block)
        self._size += block.nbytes
        if self._size > self._most:
            self._write_run()

    def blocks(self) -> Iterator[Block]:
        """All rows in the order of the output, as small blocks.

        Raises Damaged where a scratch file is not what was written.
        """
        if not self._runs:
            yield from self._in_order(self._held)
            return
        if self._held:
            self._write_run()
        assert self._bounds is not None
        for number in range(len(self._bounds) + 1):
            yield from self._in_order([run.piece(number) for run in self._runs])

    def _in_order(self, blocks: Sequence[Block]) -> Iterator[Block]:
        if not blocks:
            return
        whole, places = self._sorted(blocks)
        rows = max(JOINED_BYTES * len(whole) // max(whole.nbytes, 1), 1)
        for start in range(0, len(whole), rows):
            yield whole.take(places[start : start + rows])

    def _sorted(self, blocks: Sequence[Block]) -> tuple[Block, Array]:
        """The rows as one block, and their numbers in the order of the output."""
        whole = Block.joined(blocks).contiguous()
        return whole, np.argsort(self._places[whole.inputs], kind="stable")

    def _write_run(self) -> None:
        """Put what is held into a scratch file, sorted, a piece for each range."""
        whole, order = self._sorted(self._held)
        self._held.clear()
        if self._bounds is None:
            self._bounds = self._ranges(whole)
        places = self._places[whole.inputs][order]
        ends = [0, *np.searchsorted(places, self._bounds).tolist(), len(order)]
        pieces = (whole.take(order[start:end]) for start, end in pairwise(ends))
        self._runs.append(self._staging.scratch(pieces))
        self._size = 0

    def _ranges(self, first: Block) -> Array:
        """Where ranges begin, so that the rows of each fit in memory if all are like the first."""
        inputs = len(pa.array(first.inputs).unique())
        total = first.nbytes * len(self._places) / max(inputs, 1)
        count = int(total // self._most) + 1
        return np.arange(1, count) * len(self._places) // count


def inverse(order: Array) -> Array:
    """Where each number stands in an order of all numbers, int64 [n].

    >>> inverse(np.array([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places
