"""The arrays at the root of an HDF5 file, and its attributes, read from its bytes.

To open a file, its datasets and attributes costs HDF5 as much time as to read the vectors of a
small slide. Read here is what h5py writes where it is not told otherwise (HDF5 file format 3.0,
II.A, III.A to IV.A): little-endian numbers that pass no filter. Whatever else stands in a file
raises OtherForm: of such a file HDF5 is asked, so that nothing is read otherwise than by HDF5.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from dof_arrow.rewrite.foreign.hdf5_extents import Extent, Placed, runs
from dof_arrow.rewrite.foreign.hdf5_header import FileBytes, OtherForm, messages
from dof_arrow.rewrite.foreign.hdf5_index import (
    CHUNKED,
    LAYOUT_MESSAGE,
    Chunks,
    DamagedIndex,
    index_at,
    starts_in,
)
from dof_arrow.rewrite.foreign.hdf5_numbers import number_type

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_VERSIONS = bytes([0, 0, 0, 0, 0, 8, 8, 0])  # of a file's parts; bytes of an address, of a length
_NOWHERE = (1 << 64) - 1
_WITH_TREE = 1  # an entry of a group tells where its tree and its names are

_SUPERBLOCK = struct.Struct("<8s8sHHIQQQQ")  # half of the entries of nodes; begin, free, end, more
_ENTRY = struct.Struct("<QQI4xQQ")  # of a group: its name, its header, what it tells, and this
_GROUP_PARTS = struct.Struct("<QQ")  # its tree and its names
_TREE = struct.Struct("<4sBBH16xQQQ")  # signature, kind, level, entries; of one: where it is
_HEAP = struct.Struct("<4sB3xQQQ")  # signature, version, bytes, first free ones, where it is
_FREE = struct.Struct("<QQ")  # the next free bytes, and how many these are
_NODE = struct.Struct("<4sBxH")  # signature, version, entries
_LAST_FREE = 1

_SPACE, _TYPE, _FILL, _ATTRIBUTE, _GROUP, _CHANGED = 1, 3, 5, 12, 17, 18
_DESCRIBED_BY = (_SPACE, _TYPE, _FILL, LAYOUT_MESSAGE)
# Zeros, as h5py writes it of values in one piece, and of chunks.
_FILLS = (bytes([2, 2, 2, 1, 0, 0, 0, 0]), bytes([2, 3, 2, 1, 0, 0, 0, 0]))
_AXES = struct.Struct("<BBB5x")  # version, axes, whether greatest lengths follow
_MOST_AXES = 4
_PIECE = struct.Struct("<BBQQ")  # version, class, where it is, bytes
_CUT_AT = 11  # where a layout tells the lengths of chunks
_ONE_PIECE = 1


Attributes = Sequence[bytes]  # the messages that tell them


class DirectFile:
    """The root of an open file; raises OtherForm, here and later, where HDF5 has to be asked."""

    def __init__(self, file: int) -> None:
        self.data = FileBytes(file)
        leaf, inner, header, root = self._begun()
        self.attributes: list[bytes] = []
        groups = []
        for kind, message in messages(self.data, header):
            if kind == _ATTRIBUTE:
                self.attributes.append(message)
            elif kind == _GROUP:
                groups.append(message[: len(root)])
            else:
                raise OtherForm
        if groups != [root]:
            raise OtherForm
        tree, names = _GROUP_PARTS.unpack(root)
        self._headers = self._entries(tree, self._letters(names), leaf, inner)

    def array(self, name: str, most: int) -> tuple[Placed, Attributes] | None:
        """The array of a name, of at most so many bytes; None if there is none."""
        header = self._headers.get(name.encode())
        if header is None:
            return None
        parts: dict[int, bytes] = {}
        attributes: list[bytes] = []
        for kind, message in messages(self.data, header):
            if kind == _ATTRIBUTE:
                attributes.append(message)
            elif kind in _DESCRIBED_BY and kind not in parts:
                parts[kind] = message
            elif kind != _CHANGED:
                raise OtherForm
        if len(parts) < len(_DESCRIBED_BY) or parts[_FILL] not in _FILLS:
            raise OtherForm
        dtype = number_type(parts[_TYPE])
        shape, grows = _shape(parts[_SPACE])
        if dtype is None or math.prod(shape) * dtype.itemsize > most:
            raise OtherForm
        extent = self._extent(parts[LAYOUT_MESSAGE], shape, dtype, grows)
        return Placed(name, shape, dtype, extent), attributes

    def _begun(self) -> tuple[int, int, int, bytes]:
        """Entries of the nodes of groups, the header of the root, its tree and its names."""
        found = _SUPERBLOCK.unpack(self.data.read(0, _SUPERBLOCK.size))
        signature, versions, leaf, inner, flags, begin, free, end, driver = found
        if (signature, versions, flags, begin) != (_SIGNATURE, _VERSIONS, 0, 0):
            raise OtherForm
        if (free, driver) != (_NOWHERE, _NOWHERE) or end > self.data.end:
            raise OtherForm
        self.data.end = end
        _, header, tells, *root = _ENTRY.unpack(self.data.read(_SUPERBLOCK.size, _ENTRY.size))
        if tells != _WITH_TREE:
            raise OtherForm
        return 2 * leaf, 2 * inner, header, _GROUP_PARTS.pack(*root)

    def _entries(self, tree: int, letters: bytes, leaf: int, inner: int) -> dict[bytes, int]:
        """Where the headers of the root's objects are, by their names: of one node of a tree."""
        branch = self.data.read(tree, _TREE.size + 16 * inner - 16)
        signature, kind, level, count, first, at, last = _TREE.unpack_from(branch)
        if (signature, kind, level, count) != (b"TREE", 0, 0, 1) or _text(letters, first):
            raise OtherForm
        node = self.data.read(at, _NODE.size + leaf * _ENTRY.size)
        signature, version, count = _NODE.unpack_from(node)
        if (signature, version) != (b"SNOD", 1) or not 1 <= count <= leaf:
            raise OtherForm
        found: dict[bytes, int] = {}
        before = b""
        for number in range(count):
            name, header, tells, _, _ = _ENTRY.unpack_from(node, _NODE.size + number * _ENTRY.size)
            here = _text(letters, name)
            # HDF5 finds a name by halves: it has to be in its place.
            if here <= before or tells not in (0, _WITH_TREE):
                raise OtherForm
            found[here] = header
            before = here
        if _text(letters, last) != before:
            raise OtherForm
        return found

    def _letters(self, names: int) -> bytes:
        """The names of a group one behind the other."""
        heap = self.data.read(names, _HEAP.size)
        signature, version, size, free, at = _HEAP.unpack(heap)
        if (signature, version) != (b"HEAP", 0):
            raise OtherForm
        letters = self.data.read(at, size)
        if free != _LAST_FREE and _FREE.unpack_from(letters, free) != (_LAST_FREE, size - free):
            raise OtherForm
        return letters

    def _extent(
        self, layout: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], grows: bool
    ) -> Extent:
        size = math.prod(shape) * dtype.itemsize
        if layout[1:2] == bytes([CHUNKED]):
            return Extent(shape, dtype, self._chunks(layout, shape, dtype.itemsize))
        version, kind, start, length = _PIECE.unpack_from(layout)
        if (version, kind, length) != (3, _ONE_PIECE, size) or grows:
            raise OtherForm
        if not 0 < start <= self.data.end - size:
            raise OtherForm
        return Extent(shape, dtype, [(start, size)])

    def _chunks(self, layout: bytes, shape: tuple[int, ...], item: int) -> list[tuple[int, int]]:
        """The runs of chunks that are whole rows."""
        root = index_at(layout, len(shape))
        lengths = struct.unpack_from(f"<{len(shape) + 1}I", layout, _CUT_AT)
        if lengths[1:] != (*shape[1:], item) or not lengths[0] or shape[0] % lengths[0]:
            raise OtherForm
        cut = Chunks(rows=shape[0], lengths=lengths)
        try:
            starts = starts_in(self.data, root, cut)
        except DamagedIndex:
            raise OtherForm from None
        if int(starts.max()) + cut.size > self.data.end:
            raise OtherForm
        return runs(starts, cut.size)


def _shape(space: bytes) -> tuple[tuple[int, ...], bool]:
    """The lengths of the axes, and whether there may become more."""
    version, axes, has_most = _AXES.unpack_from(space)
    if version != 1 or not 1 <= axes <= _MOST_AXES or has_most not in (0, 1):
        raise OtherForm
    lengths = struct.unpack_from(f"<{axes}Q", space, _AXES.size)
    most = struct.unpack_from(f"<{axes}Q", space, _AXES.size + 8 * axes) if has_most else lengths
    if not all(0 < length <= limit for length, limit in zip(lengths, most, strict=True)):
        raise OtherForm
    return lengths, most != lengths


def _text(letters: bytes, at: int) -> bytes:
    end = letters.find(b"\0", at)
    if end < 0:
        raise OtherForm
    return letters[at:end]
