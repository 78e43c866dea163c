"""What the footer says of a mapped column chunk: its storage, its smallest and largest value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dof_arrow.format.parquet.compact import (
    BINARY,
    I32,
    I64,
    LIST,
    STRUCT,
    TRUE,
    Struct,
    structs,
)
from dof_arrow.format.parquet.footer import DATA_PAGE, PLAIN, RLE, UNCOMPRESSED, ColumnMeta
from dof_arrow.format.parquet.layout import Fixed


class Statistics:
    """Field ids of a chunk's statistics."""

    NULLS = 3
    LARGEST = 5
    SMALLEST = 6
    LARGEST_IS_EXACT = 7
    SMALLEST_IS_EXACT = 8


# Parquet counts pages by type and encoding; a mapped chunk has one.
ONE_PLAIN_PAGE: Struct = {1: (I32, DATA_PAGE), 2: (I32, PLAIN), 3: (I32, 1)}


def chunk_meta(
    column: Fixed, rows: int, offset: int, size: int, statistics: Struct | None
) -> Struct:
    """The ColumnMeta struct of a mapped column chunk of `size` bytes at `offset`."""
    encodings = [PLAIN, RLE] if column.nested else [PLAIN]
    path = [part.encode() for part in column.path]
    meta: Struct = {
        ColumnMeta.TYPE: (I32, column.physical),
        ColumnMeta.ENCODINGS: (LIST, (I32, encodings)),
        ColumnMeta.PATH: (LIST, (BINARY, path)),
        ColumnMeta.CODEC: (I32, UNCOMPRESSED),
        ColumnMeta.VALUES: (I64, rows * column.items),
        ColumnMeta.BYTES: (I64, size),
        ColumnMeta.STORED_BYTES: (I64, size),
        ColumnMeta.DATA_PAGE: (I64, offset),
        ColumnMeta.ENCODING_STATS: structs([ONE_PLAIN_PAGE]),
    }
    if statistics:
        meta[ColumnMeta.STATISTICS] = (STRUCT, statistics)
    return meta


def statistics(column: Fixed, pieces: Sequence[np.ndarray]) -> Struct | None:
    """Smallest and largest value of a flat column, so that readers can skip row groups.

    `pieces` are the stored values, in one array or several. None for vectors, for float16 and where
    there is no order: no values, or NaN among them.
    """
    if column.nested or column.memory == np.float16:
        return None
    ends = _ends(column, pieces)
    if ends is None:
        return None
    smallest, largest = ends
    return {
        Statistics.NULLS: (I64, 0),
        Statistics.LARGEST: (BINARY, _plain(largest, column)),
        Statistics.SMALLEST: (BINARY, _plain(smallest, column)),
        Statistics.LARGEST_IS_EXACT: (TRUE, True),
        Statistics.SMALLEST_IS_EXACT: (TRUE, True),
    }


def _ends(column: Fixed, pieces: Sequence[np.ndarray]) -> tuple[Any, Any] | None:
    """The smallest and the largest value, or None."""
    values = [piece for piece in pieces if len(piece)]
    if not values:
        return None
    if column.memory.itemsize == column.stored.itemsize:
        # Unsigned numbers are stored in the bits of signed ones; their order is their own.
        values = [piece.view(column.memory) for piece in values]
    # numpy's min and max let a NaN of any piece through, Python's only that of the first.
    smallest = np.min([piece.min() for piece in values])
    largest = np.max([piece.max() for piece in values])
    if np.isnan(smallest) or np.isnan(largest):
        return None
    if column.memory.kind == "f":
        # -0.0 and 0.0 are equal but have other bits: the ends hold both.
        smallest = -0.0 if smallest == 0 else smallest
        largest = 0.0 if largest == 0 else largest
    return smallest, largest


def _plain(value: Any, column: Fixed) -> bytes:
    """A value in Parquet's PLAIN encoding."""
    return np.asarray(value, column.memory).astype(column.stored).tobytes()
