"""The object headers of an HDF5 file, read from its bytes: what describes a dataset or a group.

Read are headers of version 1, as h5py writes them where it is not told otherwise (HDF5 file format
3.0, IV.A.1.a). Whatever is not as it usually is raises OtherForm: of that file HDF5 is asked.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

Message = tuple[int, bytes]  # its type, and what stands in it

_HEADER = struct.Struct("<BxHII4x")  # version, messages, references, bytes of the messages
_MESSAGE = struct.Struct("<HHB3x")  # type, bytes, flags
_BLOCK = struct.Struct("<QQ")  # where messages go on, and how many bytes of them

_NOTHING, _CONTINUED = 0, 16
_CONSTANT = 1  # the flag of what never changes
_ALIGNED = 8  # bytes
_MOST = 1 << 16  # bytes read at a time
_MOST_BLOCKS = 16
_AHEAD = 4096  # bytes: most headers are among the first ones of a file


class OtherForm(Exception):
    """Bytes of another form than the usual one."""


class FileBytes:
    """The bytes of an open file, up to where it is said to end."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.end = os.fstat(file).st_size
        self._first = os.pread(file, _AHEAD, 0)

    def read(self, start: int, size: int) -> bytes:
        """Bytes at a place; OtherForm where there are not so many."""
        end = start + size
        if end > self.end or size > _MOST:
            raise OtherForm
        if end <= len(self._first):
            return self._first[start:end]
        found = os.pread(self.file, size, start)
        if len(found) != size:
            raise OtherForm
        return found


def messages(data: FileBytes, header: int) -> list[Message]:
    """The messages of an object header in their order, without those that hold nothing."""
    version, count, references, size = _HEADER.unpack(data.read(header, _HEADER.size))
    if version != 1 or references != 1:
        raise OtherForm
    found: list[Message] = []
    blocks = [(header + _HEADER.size, size)]
    for number, (start, length) in enumerate(blocks):  # which grow
        if number == _MOST_BLOCKS or not length:
            raise OtherForm
        for kind, message in _parted(data.read(start, length)):
            count -= 1
            if kind == _CONTINUED:
                blocks.append(_BLOCK.unpack_from(message))
            elif kind != _NOTHING:
                found.append((kind, message))
    if count:
        raise OtherForm
    return found


def _parted(block: bytes) -> Iterator[Message]:
    at = 0
    while at < len(block):
        kind, size, flags = _MESSAGE.unpack_from(block, at)
        at += _MESSAGE.size
        end = at + size
        if flags not in (0, _CONSTANT) or size % _ALIGNED or end > len(block):
            raise OtherForm
        yield kind, block[at:end]
        at = end
