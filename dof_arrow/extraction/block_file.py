"""A staged block as a file: its pieces, each an Arrow stream, then a trailer with their digests.

The trailer is JSON, followed by its length (8 bytes, little-endian) and its own digest (32 bytes),
which covers whose block it is too. All digests are SHA-256. A piece is read into memory as a whole
and checked there: what was checked is what is used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow.errors import OutputError
from dof_arrow.extraction.block import Block
from dof_arrow.storage.atomic import Output, Sink

_LENGTH = 8
_DIGEST = 32
_TAIL = _LENGTH + _DIGEST


class Damaged(OutputError):
    """A staged block is not, or no longer, what was written."""

    def __init__(self, path: Path, found: str = "") -> None:
        super().__init__(
            "a staged block is not what was written",
            str(path),
            found=found,
            hint="Check the disk. The same command makes the block again.",
        )


def write(out: Output, pieces: Iterator[Block], stamp: str, whose: bytes) -> None:
    """Write a block that comes in pieces of one schema, one or more, never all in memory."""
    first = next(pieces)
    schema = first.table.schema
    digests = []
    for piece in chain([first], pieces):
        digests.append(_write_piece(out, piece.table.cast(schema)))
    about = {"stamp": stamp, "failed": len(first.failures), "pieces": digests}
    trailer = json.dumps(about).encode()
    out.write(trailer, len(trailer).to_bytes(_LENGTH, "little"), _digest(whose, trailer))


class BlockFile:
    """A block in an open file: of which inputs it was made (`stamp`), and how many of them failed.

    Raises Damaged where its trailer is not what was written for this block of this run.
    """

    def __init__(self, path: Path, file: int, whose: bytes) -> None:
        self._path, self._file = path, file
        end = os.fstat(file).st_size - _TAIL
        if end < 0:
            raise Damaged(path, "another length")
        tail = self._read(end, _TAIL)
        length = int.from_bytes(tail[:_LENGTH], "little")
        if length > end:  # before memory is asked for
            raise Damaged(path, "another length")
        trailer = bytes(self._read(end - length, length))
        if tail[_LENGTH:] != _digest(whose, trailer):
            raise Damaged(path, "another trailer")
        about = json.loads(trailer)
        self.stamp = str(about["stamp"])
        self.failed = int(about["failed"])
        self._pieces: list[tuple[int, str]] = about["pieces"]
        if sum(size for size, _ in self._pieces) != end - length:
            raise Damaged(path, "another length")

    def pieces(self) -> Iterator[Block]:
        """The pieces in order. Raises Damaged where one is not what was written."""
        for number in range(len(self._pieces)):
            yield self.piece(number)

    def piece(self, number: int) -> Block:
        """One piece. Raises Damaged where it is not what was written."""
        start = sum(length for length, _ in self._pieces[:number])
        length, digest = self._pieces[number]
        data = self._read(start, length)
        if hashlib.sha256(data).hexdigest() != digest:
            raise Damaged(self._path, f"other bytes in {start:,} to {start + length:,}")
        return Block(pa.ipc.open_stream(pa.BufferReader(pa.py_buffer(data))).read_all())

    def _read(self, start: int, length: int) -> bytearray:
        data = bytearray(length)
        view = memoryview(data)
        done = 0
        while done < length:
            count = os.preadv(self._file, [view[done:]], start + done)
            if not count:
                raise Damaged(self._path, "another length")
            done += count
        return data


class _Digesting(Sink):
    """A sink that digests what goes through it."""

    def __init__(self, out: Output) -> None:
        super().__init__(out)
        self._start = out.size
        self._state = hashlib.sha256()

    def write(self, data: Any) -> int:
        self._state.update(data)
        return super().write(data)

    def tell(self) -> int:
        return super().tell() - self._start

    def told(self) -> tuple[int, str]:
        return self.tell(), self._state.hexdigest()


def _write_piece(out: Output, piece: pa.Table) -> tuple[int, str]:
    sink = _Digesting(out)
    with pa.ipc.new_stream(sink, piece.schema) as writer:
        writer.write_table(piece)
    return sink.told()


def _digest(whose: bytes, trailer: bytes) -> bytes:
    return hashlib.sha256(whose + trailer).digest()
