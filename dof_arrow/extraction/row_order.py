"""The staged rows in the order of the output, however many there are.

Blocks are staged in the order of the inputs. Names of files, sizes or times sorted in that order
would undo pseudonyms, so the output has its rows in another. Rows that fit in memory are sorted
there; more go through scratch files, each of them with a piece for each range of the output, so
that the rows of a range are read at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from dof_arrow.extraction.block import Block
from dof_arrow.extraction.block_file import ScratchFile
from dof_arrow.extraction.job import Array
from dof_arrow.extraction.staging import JOINED_BYTES, Staging

HELD_BYTES = 128 << 20  # of rows that wait in memory
_RUNS = 256  # scratch files, all of them open at a time
_SHARE = 4  # ranges of which all would fit in memory: small ones are read into memory that is there


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
    """First `add` every block, then ask once for `blocks` in the order of the output.

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
        self._runs: list[ScratchFile] = []

    def add(self, block: Block) -> None:
        """Take the next rows, in any order of inputs."""
        if not len(block):
            return
        self._held.append(block.contiguous())
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
            pieces = [run.piece(number).contiguous() for run in self._runs]
            yield from self._in_order([piece for piece in pieces if len(piece)])

    def _in_order(self, blocks: Sequence[Block]) -> Iterator[Block]:
        """The rows of some blocks in order, a few megabytes at a time."""
        if not blocks:
            return
        places = np.concatenate([self._places[block.inputs] for block in blocks])
        order = np.argsort(places, kind="stable")
        size = sum(block.nbytes for block in blocks)
        rows = max(JOINED_BYTES * len(order) // max(size, 1), 1)
        for start in range(0, len(order), rows):
            yield _taken(blocks, order[start : start + rows])

    def _write_run(self) -> None:
        """Put what is held into a scratch file, a piece for each range."""
        if self._bounds is None:
            self._bounds = self._ranges()
        ranges = []
        for block in self._held:
            ranges.append(np.searchsorted(self._bounds, self._places[block.inputs], side="right"))
        pieces = (self._piece(ranges, number) for number in range(len(self._bounds) + 1))
        self._runs.append(self._staging.scratch(pieces))
        self._held.clear()
        self._size = 0

    def _piece(self, ranges: Sequence[Array], number: int) -> Block:
        """The held rows of one range, in no order."""
        parts = []
        for block, of_row in zip(self._held, ranges, strict=True):
            parts.append(block.take(np.flatnonzero(of_row == number)))
        return Block.joined(parts)

    def _ranges(self) -> Array:
        """Where ranges begin, so that the rows of each fit in memory if all are like the first.

        Where there would be too many scratch files, more is held in memory from now on.
        """
        seen = {number for block in self._held for number in block.inputs.tolist()}
        total = self._size * len(self._places) // len(seen)
        self._most = max(self._most, total // _RUNS)
        count = total // (self._most // _SHARE) + 1
        return np.arange(1, count) * len(self._places) // count


def _taken(blocks: Sequence[Block], rows: Array) -> Block:
    """Some rows of blocks, by their numbers as if the blocks were one.

    Rows are taken from each block by itself: together the blocks would be in memory twice.
    """
    ends = np.cumsum([len(block) for block in blocks])
    owner = np.searchsorted(ends, rows, side="right")
    parts = []
    for number in np.unique(owner).tolist():
        block = blocks[number]
        parts.append(block.take(rows[owner == number] - (ends[number] - len(block))))
    return Block.joined(parts).take(inverse(np.argsort(owner, kind="stable")))


def inverse(order: Array) -> Array:
    """Where each number stands in an order of all numbers, int64 [n].

    >>> inverse(np.array([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places
