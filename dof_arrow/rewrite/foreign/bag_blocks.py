"""Bags read into blocks of rows, in their order, one block while the one before it is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from dof_arrow.rewrite.foreign.bag import Array, BagForm, BagRefused, ForeignBag
from dof_arrow.rewrite.foreign.survey import Survey

_BUFFERS = 2  # one is filled while the other one is written
_VALUES = 2  # threads that read values: one waits for a disk while the other one has them
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
    pool = ThreadPoolExecutor(1 + _VALUES)
    reader = _Reader(known, bags, rows, pool)
    try:
        ahead = pool.submit(reader.block)
        while block := ahead.result():
            ahead = pool.submit(reader.block)
            yield block
    finally:
        pool.shutdown(cancel_futures=True)


class _Reader:
    """Reads block after block: one thread looks at inputs, others read those that it has seen."""

    def __init__(
        self, known: Survey, bags: Sequence[ForeignBag], rows: int, pool: ThreadPoolExecutor
    ) -> None:
        self._known = known
        self._bags = bags
        self._rows = rows
        self._pool = pool
        self._left = deque(range(len(bags)) if known.is_sample else known.forms)
        self._buffers = deque(self._buffer() for _ in range(_BUFFERS))
        self._done = 0  # rows of all blocks
        self._held: tuple[int, BagForm] | None = None

    def block(self) -> Block | None:
        """The next one; None at the end."""
        self._buffers.rotate()
        block = Block(self._buffers[0])
        wanted = self._rows - self._done % self._rows
        reading = []
        for number, form in self._forms(block):
            if block.rows and block.rows + form.rows > len(block.vectors):
                self._held = (number, form)
                break
            places = self._pool.submit(_read_into, block, block.rows, self._bags[number], form)
            reading.append((number, form, places))
            block.rows += form.rows
            if block.rows > wanted:
                break
        _gather(block, reading)
        self._done += block.rows
        return block if block.bags or block.refused else None

    def _forms(self, block: Block) -> Iterator[tuple[int, BagForm]]:
        """What inputs are like that were not read yet; those that are unfit are refused."""
        held, self._held = self._held, None
        if held:
            yield held
        while self._left:
            number = self._left.popleft()
            block.looked_at = number + 1
            try:
                form = self._known.forms.get(number) or self._bags[number].form()
            except BagRefused as error:
                block.refused[number] = error.rule
                continue
            if self._known.is_sample and not form.agrees(self._known.first):
                raise NotAlike
            yield number, form

    def _buffer(self) -> Array:
        rows = self._rows + self._rows // _SLACK + 1
        return np.empty((rows, self._known.first.width), self._known.dtype)


def _read_into(block: Block, start: int, bag: ForeignBag, form: BagForm) -> Array | None:
    """Read the vectors of a bag, in the type of all; returns its places. Raises BagRefused."""
    values = bag.values(form)
    if values.vectors.shape != (form.rows, form.width):
        raise BagRefused("unreadable")
    if form.rows > len(block.vectors):  # one that is larger than a block is one, and not copied
        block.vectors = values.vectors.astype(block.vectors.dtype, copy=False)
    else:
        block.vectors[start : start + form.rows] = values.vectors
    return values.places


def _gather(block: Block, reading: Sequence[tuple[int, BagForm, Future[Array | None]]]) -> None:
    """Wait for the bags of a block; where one fails, those behind it move up."""
    start = end = 0
    for number, form, places in reading:
        rows = slice(start, start + form.rows)
        start = rows.stop
        try:
            block.bags.append(TakenBag(number, form, places.result()))
        except BagRefused as error:
            block.refused[number] = error.rule
            continue
        if end < rows.start:
            block.vectors[end : end + form.rows] = block.vectors[rows]
        end += form.rows
    block.rows = end
    block.vectors = block.vectors[:end]
