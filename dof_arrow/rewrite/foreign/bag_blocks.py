"""Bags read into blocks of rows, in their order, one block while the one before it is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from dof_arrow.rewrite.foreign.bag import Array, BagForm, BagRefused, BagValues, ForeignBag
from dof_arrow.rewrite.foreign.survey import Survey

_BUFFERS = 2  # one is filled while the other one is written
_SLACK = 4  # a quarter of a block's rows more, so that its last bag has place


class NotAlike(Exception):
    """An input that differs from those that were looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class TakenBag:
    """A bag that was read: which input it was, and what it has beside its vectors."""

    number: int
    form: BagForm
    places: Array | None


@dataclass(slots=True, eq=False)
class Block:
    """Some bags, and their vectors [n, D] one behind the other; why others were refused.

    The vectors change when the block after the next one is read.
    """

    vectors: Array
    bags: list[TakenBag] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    rows: int = 0
    looked_at: int = 0  # inputs up to here


def blocks(known: Survey, bags: Sequence[ForeignBag], rows: int) -> Iterator[Block]:
    """All inputs that fit, in blocks that end where another `rows` rows are full, or soon after.

    Raises NotAlike where only some were looked at before, and another one differs.
    """
    reader = _Reader(known, bags, rows)
    pool = ThreadPoolExecutor(1)
    try:
        ahead = pool.submit(reader.block)
        while block := ahead.result():
            ahead = pool.submit(reader.block)
            yield block
    finally:
        pool.shutdown(cancel_futures=True)


class _Reader:
    """Reads block after block."""

    def __init__(self, known: Survey, bags: Sequence[ForeignBag], rows: int) -> None:
        self._known = known
        self._bags = bags
        self._rows = rows
        self._left = deque(range(len(bags)) if known.is_sample else known.forms)
        self._buffers = deque(self._buffer() for _ in range(_BUFFERS))
        self._done = 0  # rows of all blocks
        self._held: tuple[int, BagForm, BagValues] | None = None

    def block(self) -> Block | None:
        """The next one; None at the end."""
        self._buffers.rotate()
        block = Block(self._buffers[0])
        wanted = self._rows - self._done % self._rows
        if self._held:
            self._put(block, *self._held)
            self._held = None
        while self._left and not self._held and block.rows <= wanted:
            self._take(block, self._left.popleft())
        self._done += block.rows
        block.vectors = block.vectors[: block.rows]
        return block if block.bags or block.refused else None

    def _take(self, block: Block, number: int) -> None:
        """Read an input into the block; one for which there is no room left is held back."""
        block.looked_at = number + 1
        try:
            form, values = self._read(number)
        except BagRefused as error:
            block.refused[number] = error.rule
            return
        if block.rows and block.rows + form.rows > len(block.vectors):
            self._held = (number, form, values)
        else:
            self._put(block, number, form, values)

    def _put(self, block: Block, number: int, form: BagForm, values: BagValues) -> None:
        if form.rows > len(block.vectors):  # one that is larger than a block is one
            block.vectors = values.vectors.astype(self._known.dtype, copy=False)
        else:
            block.vectors[block.rows : block.rows + form.rows] = values.vectors
        block.rows += form.rows
        block.bags.append(TakenBag(number, form, values.places))

    def _read(self, number: int) -> tuple[BagForm, BagValues]:
        bag = self._bags[number]
        form = self._known.forms.get(number) or bag.form()
        if self._known.is_sample and not form.agrees(self._known.first):
            raise NotAlike
        values = bag.values(form)
        if values.vectors.shape != (form.rows, form.width):
            raise BagRefused("unreadable")
        return form, values

    def _buffer(self) -> Array:
        rows = self._rows + self._rows // _SLACK + 1
        return np.empty((rows, self._known.first.width), self._known.dtype)
