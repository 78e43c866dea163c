"""Segments of a file on a store, fetched whole, checked and kept at their places (SPEC 7.1)."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Sequence

import numpy as np

from dof_arrow.errors import FormatError, SourceError
from dof_arrow.format.parquet import digests as integrity
from dof_arrow.format.parquet import footer
from dof_arrow.format.spec.rules import broken
from dof_arrow.once import once
from dof_arrow.storage.addresses import Address
from dof_arrow.storage.block_cache import Blocks
from dof_arrow.storage.remote import RemoteObject, Span

_TOGETHER = 64 << 20  # bytes that are held in memory before they are written
_FETCHES = 2  # of a segment whose digest is wrong: it may have been damaged on its way


class Fetched:
    """The segments of one object: a block each, compared with its digest where the file has one.

    `seal` names the blocks in the cache; without one, bytes are fetched for this process alone.
    """

    def __init__(self, source: RemoteObject, tail: bytes, seal: str | None) -> None:
        self._source = source
        self._tail = tail
        self._seal = seal or ""
        self._here: set[int] = set()
        self._absent: set[int] = set()  # those that no earlier process has left in the cache
        struct = footer.decode_footer(tail)[0]
        self.segments = integrity.segments(struct, source.size - len(tail))
        self._digests: list[bytes] = []
        if seal:
            keys = dict(footer.key_values(struct))
            self._digests = integrity.decode_digests(keys.get(integrity.DIGESTS, b"")) or []
            if len(self._digests) != len(self.segments):
                raise FormatError(
                    "the file has not one digest for each of its segments",
                    str(source.address),
                    str(len(self.segments)),
                    str(len(self._digests)),
                )
        self._ends = np.array([end for _, end in self.segments], np.int64)

    @property
    def is_sealed(self) -> bool:
        """Whether every byte that is fetched is compared with a digest."""
        return bool(self._seal)

    @once
    def blocks(self) -> Blocks:
        """Where segments are kept; the end of the file stands there from the beginning."""
        blocks = Blocks(self._seal, self._source.size)
        blocks.write(self._source.size - len(self._tail), memoryview(self._tail))
        return blocks

    def holding(self, spans: Iterable[Span]) -> list[int]:
        """The numbers of the segments that hold these bytes."""
        found: set[int] = set()
        for start, stop in spans:
            if stop > self._ends[-1]:
                expected = f"below {self._ends[-1]:,}, where the footer begins"
                raise broken("chunk-elsewhere", "footer", expected, f"bytes up to {stop:,}")
            first = int(np.searchsorted(self._ends, start, side="right"))
            last = int(np.searchsorted(self._ends, stop, side="left"))
            found.update(range(first, last + 1))
        return sorted(found)

    def are_here(self, numbers: Iterable[int]) -> bool:
        """Whether these segments need not be fetched."""
        return all(self._is_here(number) for number in numbers)

    def fetch(self, numbers: Iterable[int]) -> None:
        """Have these segments in `blocks`.

        Raises FormatError if their bytes are not those that were digested, and as
        `RemoteObject.read` does.
        """
        missing = [number for number in numbers if not self._is_here(number)]
        while missing:
            some = [missing.pop(0)]
            size = self._size(some[0])
            while missing and size + self._size(missing[0]) <= _TOGETHER:
                size += self._size(missing[0])
                some.append(missing.pop(0))
            for number, data in zip(some, self._checked(some), strict=True):
                self.blocks.write(self.segments[number][0], data)
                self._here.add(number)

    def segment(self, number: int, data: memoryview) -> memoryview:
        """`data`, filled with the bytes of a segment; they are kept where the cache has space.

        They are digested while the rest of them arrives.
        """
        start, _ = self.segments[number]
        if self._is_here(number):
            _read_into(self.blocks.file, start, data)
            return data
        if not self._streams(number, data):  # asked for again: it may be damaged on its way
            (again,) = self._checked([number])
            data[:] = again
        if self.blocks.is_kept:
            self.blocks.write(start, data)
            self._here.add(number)
        return data

    def read(self, spans: Sequence[Span]) -> list[memoryview]:
        """Exact ranges, from the store; from segments where these are here."""
        if not self._source.version:
            # Nothing tells whether the object changed in between, but the segments' digests do.
            self.fetch(self.holding(spans))
        if not self.are_here(self.holding(spans)):
            return self._source.read(spans)
        file = self.blocks.file
        return [memoryview(os.pread(file, stop - start, start)) for start, stop in spans]

    def _size(self, number: int) -> int:
        start, stop = self.segments[number]
        return stop - start

    def _is_here(self, number: int) -> bool:
        """Whether a segment was fetched, by this process or by one before it."""
        if number in self._here:
            return True
        start, stop = self.segments[number]
        if start == stop:
            return True
        if number in self._absent or not self.blocks.is_kept:
            return False
        is_true = self.blocks.holds_bytes(start, stop) and (
            integrity.digest(self.blocks.file, start, stop) == self._digests[number]
        )
        (self._here if is_true else self._absent).add(number)
        return is_true

    def _streams(self, number: int, out: memoryview) -> bool:
        """Put the bytes of a segment from the store into `out`; whether their digest is right."""
        start, _ = self.segments[number]
        digest = hashlib.sha256()
        for piece in self._source.read_into(start, out):
            digest.update(piece)
        return self._is_right(number, digest.digest())

    def _checked(self, numbers: Sequence[int]) -> list[memoryview]:
        """The bytes of segments, from the store, once their digests are right."""
        found: dict[int, memoryview] = {}
        for _ in range(_FETCHES):
            wanted = [number for number in numbers if number not in found]
            data = self._source.read([self.segments[number] for number in wanted])
            for number, body in zip(wanted, data, strict=True):
                if self._is_true(number, body):
                    found[number] = body
            if len(found) == len(numbers):
                return [found[number] for number in numbers]
        damaged = [self.segments[number] for number in numbers if number not in found]
        start, stop = damaged[0]
        raise FormatError(
            "damaged: bytes are not those that were digested",
            str(self._source.address),
            found=f"others in {start:,} to {stop:,}",
            hint="Ask whoever published it to upload it again.",
        )

    def _is_true(self, number: int, body: memoryview) -> bool:
        return self._is_right(number, hashlib.sha256(body).digest() if self._digests else b"")

    def _is_right(self, number: int, digest: bytes) -> bool:
        if self._digests:
            return digest == self._digests[number]
        if not self._source.version:
            raise SourceError(
                "the server does not say which version of the file it gives, and it has no seal",
                str(self._source.address),
                "an ETag or a time of its last change",
                hint="Download it whole, and open the copy.",
            )
        return True


def _read_into(file: int, start: int, out: memoryview) -> None:
    """Fill memory with the bytes of a file from `start` on."""
    while out:
        done = os.preadv(file, [out], start)
        if not done:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        start += done
        out = out[done:]


def object_of(address: Address) -> tuple[RemoteObject, bytes]:
    """An object that is a Parquet file, and its last bytes from the footer on.

    Raises FormatError as `footer.read` does.
    """
    source = RemoteObject(address, footer.GUESS)
    length = footer.footer_length(source.end, source.size)
    tail = source.end[-length:]
    missing = length - len(tail)
    if missing > 0:
        start = source.size - length
        tail = bytes(source.read([(start, start + missing)])[0]) + tail
    return source, tail
