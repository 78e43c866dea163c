"""Rows that can only be read in whole row groups: encoded ones, and those on a store.

Row groups are read in the background, in bounded memory. Small parts on a store are one group each.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.format.file import File
from dof_arrow.format.parquet.layout import fixed
from dof_arrow.format.parquet.pages import Encoded
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.remote_file import RemoteFile
from dof_arrow.format.spec.arrow import numpy_values
from dof_arrow.sampling.blocks import Runs
from dof_arrow.sampling.permutation import Rows
from dof_arrow.storage.memory_map import Region, whole
from dof_arrow.tables.buffers import Room, copy_rows

Array = NDArray[Any]

_DECODED = 128 << 20  # bytes of decoded row groups that are held at a time
_FETCHED = 512 << 20  # bytes of fetched ones; more of them, for they come over a network
_WINDOWS = 3  # of fetched ones that are held
_IN_FLIGHT = 128 << 20  # bytes that are asked for at a time
_MOST_THREADS = 32  # that ask for them


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
        within = rows - self.blocks.starts[group]
        if len(rows) and within.min() < 0:
            raise IndexError(f"no row {rows.min()}")
        found, which = np.unique(group, return_inverse=True)
        numbers = found.tolist()
        arrays: dict[int, Array] = {}
        for number in sorted(numbers, key=lambda each: self._order.get(each, 0)):
            arrays[number] = self._group(number)
        copy_rows([arrays[number] for number in numbers], which, within, out)

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
    """Rows of a column of files on a store, in blocks that are fetched and checked whole.

    A block is a region of a mapped column, or all rows of a file: of these nothing but how many
    there are needs to be known before they are read.
    """

    def __init__(self, places: Sequence[tuple[RemoteFile, Region | None]], name: str) -> None:
        field = places[0][0].schema.field(name)
        kind = field.type
        self._name = name
        self._width = int(kind.list_size * kind.value_type.byte_width)
        self._column = fixed(field)
        self._places = places
        self._room = Room()
        sizes = [self._rows(file, region) for file, region in places]
        # While the end of one large block arrives, the next is on its way.
        self.threads = max(2, min(_IN_FLIGHT // (max(sizes) * self._width), _MOST_THREADS))
        super().__init__(sizes, self._width, _FETCHED, windows=_WINDOWS)

    @staticmethod
    def takes_whole(files: Sequence[RemoteFile], name: str) -> bool:
        """Whether the files are so small that two of them are a window."""
        kind = files[0].schema.field(name).type
        largest = max(file.rows for file in files) * kind.list_size * kind.value_type.byte_width
        return bool(2 * _WINDOWS * largest <= _FETCHED)

    def read(self, number: int) -> Array:
        """The values of a block, from the cache or from the store."""
        file, region = self._places[number]
        if region is not None:
            return self._region(file, region)
        try:
            if self._column is None:
                raise Unproved("not of one width")
            parts = [self._region(file, region) for region in file.regions(self._column)]
        except Unproved:
            parts = [file.copy_with(self._name).numpy(self._name)]
        if len(parts) == 1:
            return parts[0]
        room = self._room.take(file.rows * self._width, row=self._width)
        values = room.view(parts[0].dtype).reshape(file.rows, -1)
        return np.concatenate(parts, out=values)

    def _region(self, file: RemoteFile, region: Region) -> Array:
        assert self._column is not None
        return file.group(self._column, region, partial(self._room.take, row=self._width))

    def _rows(self, file: RemoteFile, region: Region | None) -> int:
        return file.rows if region is None else region.length // self._width
