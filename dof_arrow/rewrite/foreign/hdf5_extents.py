"""Where the values of an HDF5 dataset lie in its file, so that they are read as bytes.

TRIDENT and CLAM store each row as a chunk of its own, which HDF5 looks up one by one; most lie one
behind the other. (HDF5 file format, III.A; values that pass through a filter have no such place.)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
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
        view: Any = values.reshape(-1).view(np.uint8)
        done = 0
        for start, length in self.runs:
            _fill(file.fileno(), view[done : done + length], start)
            done += length
        return values


@dataclass(frozen=True, slots=True)
class Placed:
    """An array of a file; `extent` is None where HDF5 has to read it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    extent: Extent | None


def runs(starts: NDArray[np.int64], size: int) -> list[tuple[int, int]]:
    """Chunks of one size that lie one behind the other, as runs.

    >>> runs(np.array([100, 108, 300]), 8)
    [(100, 16), (300, 8)]
    """
    firsts = np.flatnonzero(starts[1:] - starts[:-1] != size) + 1
    bounds = [0, *firsts.tolist(), len(starts)]
    return [(int(starts[first]), (end - first) * size) for first, end in pairwise(bounds)]


def _fill(file: int, part: Any, start: int) -> None:
    while len(part):  # the system reads two gigabytes at most at a time
        count = os.preadv(file, [part], start)
        if not count:
            raise EOFError
        part = part[count:]
        start += count
