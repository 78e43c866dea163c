"""Rows that can only be read in whole row groups: encoded ones, and those on a store.

Row groups are read in the background, in bounded memory.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.format.file import File
from dof_arrow.format.parquet.layout import Fixed
from dof_arrow.format.parquet.pages import Encoded
from dof_arrow.format.remote_file import RemoteFile
from dof_arrow.format.spec.arrow import numpy_values
from dof_arrow.sampling.blocks import Runs
from dof_arrow.sampling.permutation import Rows
from dof_arrow.storage.memory_map import Region, whole
from dof_arrow.tables.buffers import Room

Array = NDArray[Any]

_DECODED = 128 << 20  # bytes of decoded row groups that are held at a time
_FETCHED = 512 << 20  # bytes of fetched ones; more of them, for they come over a network


class RowGroups(ABC):
    """Rows of row groups of these sizes, `row_bytes` each; `most` bytes are held at a time.

    These are `windows` windows: the one that is read and the next. With a third one no group is got
    twice while threads that lag behind still read the last one.
    """

    threads = 1  # that read row groups

    def __init__(self, sizes: Sequence[int], row_bytes: int, most: int, windows: int = 2) -> None:
        self.blocks = Runs.of_sizes(sizes)
        self.largest = max(sizes) * row_bytes
        self.window = max(1, most // (windows * self.largest))
        # One group where there is no room for several windows.
        self._kept = windows * self.window if windows * self.largest <= most else 1
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(self.threads)
        self._groups: OrderedDict[int, Future[Array]] = OrderedDict()
        self._next: dict[int, Sequence[int]] = {}
        self._order: dict[int, int] = {}

    @abstractmethod
    def read(self, number: int) -> Array:
        """The values of a row group, [n, width]."""

    def expect(self, blocks: Sequence[int]) -> None:
        """While a window of blocks is read, get the rest of it and then the next one, if there is
        room for both."""
        if self._kept == 1:
            return
        starts = range(0, len(blocks), self.window)
        windows = [blocks[start : start + self.window] for start in starts]
        following: dict[int, Sequence[int]] = {}
        for window, after in pairwise([*windows, []]):
            both = tuple([*window, *after])
            following.update(dict.fromkeys(window, both))
        with self._lock:
            self._next = following
            self._order = {block: place for place, block in enumerate(blocks)}

    def fill(self, rows: Rows, out: Array, moment: object = None) -> None:
        """Copy these rows, waiting for their groups."""
        group = self.blocks.of(rows)
        for number in sorted(np.unique(group).tolist(), key=lambda each: self._order.get(each, 0)):
            here = group == number
            values = self._group(number)
            out[here] = values[rows[here] - self.blocks.starts[number]]

    def _group(self, number: int) -> Array:
        with self._lock:
            # Whoever reads a window needs all of it at once, and the next one later.
            ahead = self._next.get(number, ())
            for block in (number, *ahead):
                if block not in self._groups:
                    self._groups[block] = self._thread.submit(self.read, block)
                self._groups.move_to_end(block)
            wanted = self._groups[number]
            while len(self._groups) > self._kept:
                self._groups.popitem(last=False)
        return wanted.result()


class Decoded(RowGroups):
    """Rows of an encoded column."""

    def __init__(self, file: File, name: str) -> None:
        self._file = file
        self._name = name
        self._field = file.schema.field(name)
        footer = file.parquet
        sizes = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        kind = self._field.type
        super().__init__(sizes, int(kind.list_size * kind.value_type.byte_width), _DECODED)
        opened = file.file
        mapped = whole(opened)
        self._encoded = Encoded(opened, file.size, mapped, footer, file.schema, file.outline)

    def read(self, number: int) -> Array:
        """The values of a row group, decoded."""
        stored = self._encoded.group(number, self._name)
        return numpy_values(stored, self._field)


class Stored(RowGroups):
    """Rows of a mapped column of files on a store: each region is fetched and checked whole."""

    threads = 2  # while the end of one arrives, the next is on its way

    def __init__(self, places: Sequence[tuple[RemoteFile, Region]], column: Fixed) -> None:
        sizes = [region.length // column.width for _, region in places]
        super().__init__(sizes, column.width, _FETCHED, windows=3)
        self._places = places
        self._column = column
        self._room = Room()

    def read(self, number: int) -> Array:
        """The values of a row group, from the cache or from the store."""
        file, region = self._places[number]
        return file.group(self._column, region, self._room.take)
