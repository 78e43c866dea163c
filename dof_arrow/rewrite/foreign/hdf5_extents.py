"""Where the values of an HDF5 dataset lie in its file, so that they are read as bytes.

TRIDENT and CLAM store each row as a chunk of its own, which HDF5 looks up one by one; most lie one
behind the other. (HDF5 file format, III.A; values that pass through a filter have no such place.)
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Extent:
    """The bytes of an array in the order of its rows: where each run starts, and its length."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    runs: Sequence[tuple[int, int]]

    def read(self, file: BinaryIO) -> Array:
        """The array; EOFError where the file ends before it."""
        values = np.empty(self.shape, self.dtype)
        view = values.reshape(-1).view(np.uint8)
        done = 0
        for start, length in self.runs:
            part: Any = view[done : done + length]
            if os.preadv(file.fileno(), [part], start) != length:
                raise EOFError
            done += length
        return values


def extent(item: Any) -> Extent | None:
    """Where the values of a dataset lie; None where HDF5 itself has to read them."""
    size = math.prod(item.shape) * item.dtype.itemsize
    if item.file.userblock_size or item.dtype.kind not in "iuf" or not size:
        return None
    if item.chunks is None:
        start = item.id.get_offset()
        return None if start is None else Extent(item.shape, item.dtype, [(start, size)])
    starts = _chunk_starts(item)
    if starts is None:
        return None
    return Extent(item.shape, item.dtype, _runs(starts, size // len(starts)))


def _chunk_starts(item: Any) -> Array | None:
    """Where each chunk starts, int64 [chunks]; None unless each holds whole rows, unfiltered."""
    shape, chunks = item.shape, item.chunks  # asked once: HDF5 takes long to answer
    whole_rows = chunks[1:] == shape[1:] and shape[0] % chunks[0] == 0
    if not whole_rows or not hasattr(item.id, "chunk_iter"):
        return None
    if item.id.get_create_plist().get_nfilters():
        return None
    found: list[Any] = []
    item.id.chunk_iter(found.append)
    if len(found) * chunks[0] != shape[0]:
        return None
    rows = np.array([chunk.chunk_offset[0] for chunk in found], np.int64)
    starts = np.array([chunk.byte_offset for chunk in found], np.int64)
    sizes = {chunk.size for chunk in found}
    wanted = np.arange(0, shape[0], chunks[0])
    order = np.argsort(rows, kind="stable")
    if sizes != {math.prod(chunks) * item.dtype.itemsize}:
        return None
    return starts[order] if np.array_equal(rows[order], wanted) else None


def _runs(starts: Array, size: int) -> list[tuple[int, int]]:
    """Chunks of one size that lie one behind the other, as runs.

    >>> _runs(np.array([100, 108, 300]), 8)
    [(100, 16), (300, 8)]
    """
    firsts = np.flatnonzero(np.diff(starts, prepend=starts[0] - size - 1) != size)
    counts = np.diff(firsts, append=len(starts))
    return list(zip(starts[firsts].tolist(), (counts * size).tolist(), strict=True))
