"""How the values of an HDF5 dataset are stored: all in the file, and within bounds."""

from __future__ import annotations

import math
from typing import Any

from dof_arrow.rewrite.foreign import hdf5_index
from dof_arrow.rewrite.foreign.bag import MOST_BYTES, BagRefused
from dof_arrow.rewrite.foreign.hdf5_extents import Extent, runs
from dof_arrow.rewrite.foreign.hdf5_file import Item

_FILTERS = {1, 2, 3, 32000}  # deflate, shuffle, Fletcher's checksum and LZF: all are built in
_FREE = 16 << 20  # bytes that values may unpack to, whatever their size in the file
_RATIO = 64  # how many times their size in the file they may be beyond that
_USUAL_SIZES = (8, 8)  # bytes of an address and of a length


def stored(file: Any, item: Item) -> Extent | None:
    """Where the values of a dataset lie in its open file; None where HDF5 has to read them.

    BagRefused unless all are in the file, and unpack to what can be held.
    """
    if item.dtype.hasobject or item.dtype.kind not in "iuf" or not item.shape:
        raise BagRefused("no-vectors")
    declared = math.prod(item.shape) * item.dtype.itemsize
    if declared > MOST_BYTES:
        raise BagRefused("sizes")
    if item.chunks is None:
        if item.id.get_storage_size() < math.prod(item.shape) * item.size:
            raise BagRefused("unwritten")
    elif not item.filters <= _FILTERS:
        raise BagRefused("filter")
    elif math.prod(item.chunks) * item.dtype.itemsize > max(_FREE, 4 * declared):
        raise BagRefused("sizes")
    try:
        known = _extent(file, item, declared)
    except hdf5_index.DamagedIndex:
        _check_chunks(item, declared)
        raise BagRefused("unreadable") from None
    if known is None and item.chunks is not None:
        _check_chunks(item, declared)
    return known


def _check_chunks(item: Item, declared: int) -> None:
    """Raise BagRefused if values unpack to too much, or chunks are missing: HDF5 makes them up."""
    assert item.chunks is not None
    if declared > _FREE + _RATIO * item.id.get_storage_size():
        raise BagRefused("sizes")
    counts = []
    for length, step in zip(item.shape, item.chunks, strict=True):
        counts.append(-(-length // step))
    if item.id.get_num_chunks() < math.prod(counts):
        raise BagRefused("unwritten")


def _extent(file: Any, item: Item, size: int) -> Extent | None:
    plan = file.get_create_plist()
    if not size or not item.as_stored or plan.get_userblock():
        return None
    if item.chunks is None:
        start = item.id.get_offset()
        return None if start is None else Extent(item.shape, item.dtype, [(start, size)])
    rows, step = item.shape[0], item.chunks[0]
    whole_rows = item.chunks[1:] == item.shape[1:] and rows % step == 0
    if not whole_rows or item.filters or plan.get_sizes() != _USUAL_SIZES:
        return None
    cut = hdf5_index.Chunks(rows=rows, lengths=(*item.chunks, item.dtype.itemsize))
    starts = hdf5_index.chunk_starts(file.get_vfd_handle(), item.header, cut)
    if starts is None:
        return None
    # HDF5 walks through the index to the last chunk: it finds damage, and whether it is this index.
    last = (rows - step, *(0 for _ in item.chunks[1:]))
    if item.id.get_chunk_info_by_coord(last).byte_offset != starts[-1]:
        return None
    return Extent(item.shape, item.dtype, runs(starts, cut.size))
