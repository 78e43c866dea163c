"""Where the chunks of an HDF5 dataset start, read from the index in its file.

HDF5 tells of one chunk at a time, and a slide has one for each row. Read here is the index that
TRIDENT and CLAM leave behind, a B-tree of version 1 (HDF5 file format 3.0: layout message IV.A.2.i,
B-tree III.A.1). Of every other one HDF5 has to be asked.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dof_arrow.rewrite.foreign.hdf5_header import FileBytes, OtherForm, messages

Starts = NDArray[np.int64]

LAYOUT_MESSAGE, CHUNKED = 8, 2

_LAYOUT = struct.Struct("<BBBQ")  # version, class, axes and one more, where the index begins
_NODE = struct.Struct("<4sBBHQQ")  # signature, kind, level, entries, neighbours

_OF_CHUNKS = 1  # the kind of a node
_MOST_LEVELS = 16
_ENTRIES = 64  # of a node at most, where HDF5 was not told otherwise


class DamagedIndex(Exception):
    """An index that is not as it should be: HDF5 makes up what it does not find by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """How a dataset of `rows` rows is cut, unfiltered.

    `lengths`: of a chunk on each axis, which are whole rows, and the bytes of a number.
    """

    rows: int
    lengths: tuple[int, ...]

    @property
    def axes(self) -> int:
        """Of the dataset."""
        return len(self.lengths) - 1

    @property
    def step(self) -> int:
        """Rows of a chunk."""
        return self.lengths[0]

    @property
    def size(self) -> int:
        """Bytes of a chunk."""
        return math.prod(self.lengths)


def chunk_starts(file: int, header: int, chunks: Chunks) -> Starts | None:
    """Where each chunk of an open file starts, int64 [chunks], in the order of their rows.

    `header`: where the dataset's object header is. None for an index of another form; raises
    DamagedIndex where one of this form does not lead to each chunk.
    """
    try:
        data = FileBytes(file)
        found = [part for kind, part in messages(data, header) if kind == LAYOUT_MESSAGE]
        if len(found) != 1:
            return None
        return starts_in(data, index_at(found[0], chunks.axes), chunks)
    except (OtherForm, OSError, OverflowError, struct.error):
        return None


def index_at(layout: bytes, axes: int) -> int:
    """Where the index of a dataset begins, by its layout message; OtherForm for other layouts."""
    version, kind, dimensions, start = _LAYOUT.unpack_from(layout)
    if (version, kind, dimensions) != (3, CHUNKED, axes + 1):
        raise OtherForm
    return int(start)


def starts_in(data: FileBytes, root: int, chunks: Chunks) -> Starts:
    """Where each chunk starts, by the index that begins at `root`.

    Raises OtherForm where HDF5 cannot read it either, or reads it otherwise; DamagedIndex where it
    does not lead to each chunk.
    """
    tree = _Tree(data, chunks)
    tree.walk(root)
    return tree.starts()


@dataclass
class _Tree:
    """A B-tree of chunks, read in the order of their rows."""

    data: FileBytes
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
        if end <= (self.row - self.chunks.step, *([0] * self.chunks.axes)):
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

    def _node(self, at: int) -> tuple[int, bytes, tuple[int, ...]]:
        """The level of a node, its entries, at least one, and the place behind the last of them."""
        entry = 8 * self._words
        # Of any number of entries, a node has room for all; the last one has no start.
        data = self.data.read(at, _NODE.size + (_ENTRIES + 1) * entry - 8)
        signature, kind, level, count, _, _ = _NODE.unpack_from(data)
        if count > _ENTRIES:
            raise OtherForm
        if (signature, kind) != (b"TREE", _OF_CHUNKS) or not count:
            raise DamagedIndex
        end = _NODE.size + count * entry
        return level, data[_NODE.size : end], self._place(data, end)

    def _place(self, data: bytes, at: int) -> tuple[int, ...]:
        """The place on each axis, and one more, that an entry states, which some chunk could have.

        HDF5 refuses others.
        """
        lengths = self.chunks.lengths
        place = struct.unpack_from(f"<8x{len(lengths)}Q", data, at)
        for start, length in zip(place, lengths, strict=True):
            if start % length:
                raise OtherForm
        return place
