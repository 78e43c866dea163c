"""Where the chunks of an HDF5 dataset start, read from the index in its file.

HDF5 tells of one chunk at a time, and a slide has one for each row. Read here is the index that
TRIDENT and CLAM leave behind, a B-tree of version 1 (HDF5 file format 3.0: object header IV.A.1.a,
layout message IV.A.2.i, B-tree III.A.1). Of every other one HDF5 has to be asked.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Starts = NDArray[np.int64]

_HEADER = struct.Struct("<BxHII4x")  # version, messages, references, bytes of the messages
_MESSAGE = struct.Struct("<HHB3x")  # type, bytes, flags
_BLOCK = struct.Struct("<QQ")  # where messages go on, and how many bytes of them
_LAYOUT = struct.Struct("<BBBQ")  # version, class, axes and one more, where the index begins
_NODE = struct.Struct("<4sBBHQQ")  # signature, kind, level, entries, neighbours
_PLACE = struct.Struct("<8xQQ")  # of a chunk, on the first two axes

_LAYOUT_MESSAGE, _CONTINUED = 8, 16
_CHUNKED = 2
_OF_CHUNKS = 1  # the kind of a node
_MOST_HEADER = 1 << 16  # bytes
_MOST_LEVELS = 16
_USUAL_ENTRIES = 64  # of a node, as HDF5 makes them


class DamagedIndex(Exception):
    """An index that is not as it should be: HDF5 makes up what it does not find by it."""


class _OtherForm(Exception):
    """An index of another form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """How a dataset of `rows` rows is cut: `step` rows a chunk, of `size` bytes, unfiltered."""

    rows: int
    step: int
    axes: int
    size: int


def chunk_starts(file: int, header: int, chunks: Chunks) -> Starts | None:
    """Where each chunk of an open file starts, int64 [chunks], in the order of their rows.

    `header`: where the dataset's object header is. None for an index of another form; raises
    DamagedIndex where one of this form does not lead to each chunk.
    """
    try:
        root = _index_at(file, header, chunks.axes)
    except (_OtherForm, OSError, OverflowError, struct.error):
        return None
    tree = _Tree(file, chunks)
    try:
        tree.walk(root)
        return tree.starts()
    except (OSError, OverflowError, struct.error):
        raise DamagedIndex from None


def _index_at(file: int, header: int, axes: int) -> int:
    """Where the index begins, by the one layout message in the dataset's object header."""
    version, left, _, size = _HEADER.unpack(_bytes(file, header, _HEADER.size))
    if version != 1:
        raise _OtherForm
    found = []
    blocks = [(header + _HEADER.size, size)]
    for start, length in blocks:  # which grows
        if length > _MOST_HEADER:
            raise _OtherForm
        data = _bytes(file, start, length)
        at = 0
        while left and at < length:
            kind, size, _ = _MESSAGE.unpack_from(data, at)
            at += _MESSAGE.size
            left -= 1
            if kind == _LAYOUT_MESSAGE:
                found.append(_root(data, at, axes))
            elif kind == _CONTINUED:
                blocks.append(_BLOCK.unpack_from(data, at))
            at += size
    if len(found) != 1:
        raise _OtherForm
    return found[0]


def _root(data: bytes, at: int, axes: int) -> int:
    version, kind, dimensions, start = _LAYOUT.unpack_from(data, at)
    if (version, kind, dimensions) != (3, _CHUNKED, axes + 1):
        raise _OtherForm
    return int(start)


@dataclass
class _Tree:
    """A B-tree of chunks, read in the order of their rows."""

    file: int
    chunks: Chunks
    leaves: list[bytes] = field(default_factory=list)
    row: int = 0  # the first one of the next chunk

    @property
    def _words(self) -> int:
        """Of eight bytes, of an entry: its size, its place on each axis and one more, its start."""
        return self.chunks.axes + 3

    def walk(self, at: int, level: int | None = None) -> None:
        """Read the node at a place, and all nodes under it.

        HDF5 finds a chunk by the places that nodes state: those above say where those below begin,
        and each says where it ends.
        """
        found, entries, end = self._node(at)
        if found > _MOST_LEVELS or (level is not None and found != level):
            raise DamagedIndex
        if found:
            self._descend(entries, found - 1)
        # A node is read once, however many name it: the second time other rows are expected.
        elif int.from_bytes(entries[8:16], "little") != self.row:
            raise DamagedIndex
        else:
            self.leaves.append(entries)
            self.row += len(entries) // (8 * self._words) * self.chunks.step
        if end <= (self.row - self.chunks.step, 0):
            raise DamagedIndex

    def _descend(self, entries: bytes, level: int) -> None:
        words = np.frombuffer(entries, "<u8").reshape(-1, self._words)
        if words[:, 2:-1].any():
            raise DamagedIndex
        for row, child in words[:, [1, -1]].tolist():
            if row != self.row:
                raise DamagedIndex
            self.walk(child, level)

    def starts(self) -> Starts:
        """Where the chunks start, if there is each of them."""
        words = np.frombuffer(b"".join(self.leaves), "<i8").reshape(-1, self._words)
        wanted = np.arange(0, self.chunks.rows, self.chunks.step)
        starts = words[:, -1]
        if len(words) != len(wanted) or (words[:, 0] != self.chunks.size).any():
            raise DamagedIndex
        if (words[:, 1] != wanted).any() or words[:, 2:-1].any():
            raise DamagedIndex
        if int(starts.min()) < 0:  # of one that was never written, all bits are set
            raise DamagedIndex
        return starts.astype(np.int64)

    def _node(self, at: int) -> tuple[int, bytes, tuple[int, int]]:
        """The level of a node, its entries, at least one, and the place behind the last of them."""
        entry = 8 * self._words
        usual = _NODE.size + (_USUAL_ENTRIES + 1) * entry
        data = os.pread(self.file, usual, at)
        signature, kind, level, count, _, _ = _NODE.unpack_from(data)
        if (signature, kind) != (b"TREE", _OF_CHUNKS) or not count:
            raise DamagedIndex
        end = _NODE.size + count * entry
        if end + entry > len(data):
            data = os.pread(self.file, end + entry - 8, at)  # the last one has no start
        return level, data[_NODE.size : end], _PLACE.unpack_from(data, end)


def _bytes(file: int, at: int, size: int) -> bytes:
    data = os.pread(file, size, at)
    if len(data) != size:
        raise _OtherForm
    return data
