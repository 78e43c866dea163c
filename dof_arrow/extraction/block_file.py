"""A staged block as a file: its pieces, each an Arrow stream, then a trailer with their digests.

The trailer is JSON, followed by its length (8 bytes, little-endian) and its own digest (32 bytes),
which covers whose block it is too. All digests are SHA-256. A piece is read into memory as a whole
and checked there: what was checked is what is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from dof_arrow.errors import OutputError
from dof_arrow.extraction.block import Block
from dof_arrow.format.spec.json_model import parsed
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
        state = hashlib.sha256()
        length = _write_piece(out, piece.table.cast(schema), state)
        digests.append((length, state.hexdigest()))
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
        about = parsed(trailer)
        self.stamp = str(about["stamp"])
        self.failed = int(about["failed"])
        self._pieces: list[tuple[int, str]] = about["pieces"]
        lengths = (length for length, _ in self._pieces)
        self._starts = list(accumulate(lengths, initial=0))
        if self._starts[-1] != end - length:
            raise Damaged(path, "another length")

    def pieces(self) -> Iterator[Block]:
        """The pieces in order. Raises Damaged where one is not what was written."""
        for number in range(len(self._pieces)):
            yield self.piece(number)

    def piece(self, number: int) -> Block:
        """One piece. Raises Damaged where it is not what was written."""
        start = self._starts[number]
        length, digest = self._pieces[number]
        data = self._read(start, length)
        if hashlib.sha256(data).hexdigest() != digest:
            raise _other_bytes(self._path, start, length)
        return _block(data)

    def _read(self, start: int, length: int) -> bytearray:
        return _read(self._path, self._file, start, length)


class ScratchFile:
    """Pieces that are written to an open file and read again while this process lives.

    What was written is known to this object alone, so a checksum tells of damage; whoever could
    forge one could change the memory as well.
    """

    def __init__(self, path: Path, file: int, pieces: Iterable[Block]) -> None:
        self._path, self._file = path, file
        self._pieces: list[tuple[int, int, int]] = []  # start, length and CRC-32 of each
        out = Output(path, file)
        for piece in pieces:
            start, state = out.size, _Crc()
            length = _write_piece(out, piece.table, state)
            self._pieces.append((start, length, state.value))

    def piece(self, number: int) -> Block:
        """One piece. Raises Damaged where it is not what was written."""
        start, length, check = self._pieces[number]
        data = _read(self._path, self._file, start, length)
        if zlib.crc32(data) != check:
            raise _other_bytes(self._path, start, length)
        return _block(data)


def _read(path: Path, file: int, start: int, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    done = 0
    while done < length:
        count = os.preadv(file, [view[done:]], start + done)
        if not count:
            raise Damaged(path, "another length")
        done += count
    return data


def _block(data: bytearray) -> Block:
    return Block(pa.ipc.open_stream(pa.BufferReader(pa.py_buffer(data))).read_all())


def _other_bytes(path: Path, start: int, length: int) -> Damaged:
    return Damaged(path, f"other bytes in {start:,} to {start + length:,}")


class _State(Protocol):
    """Takes in all that is written."""

    def update(self, data: Any, /) -> None:
        """Take the next bytes."""


class _Crc:
    """A CRC-32 of what has been taken in."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, data: Any, /) -> None:
        self.value = zlib.crc32(data, self.value)


class _Digesting(Sink):
    """A sink that digests what goes through it; positions count from where it began."""

    def __init__(self, out: Output, state: _State) -> None:
        super().__init__(out)
        self._start = out.size
        self._state = state

    def write(self, data: Any) -> int:
        self._state.update(data)
        return super().write(data)

    def tell(self) -> int:
        return super().tell() - self._start


def _write_piece(out: Output, piece: pa.Table, state: _State) -> int:
    """Write a piece, have `state` take in its bytes; how many they are."""
    sink = _Digesting(out, state)
    with pa.ipc.new_stream(sink, piece.schema) as writer:
        writer.write_table(piece)
    return sink.tell()


def _digest(whose: bytes, trailer: bytes) -> bytes:
    return hashlib.sha256(whose + trailer).digest()
