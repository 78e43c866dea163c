"""What the footer says of a mapped column chunk: how and where it is stored."""

from __future__ import annotations

from dof_arrow.format.parquet.compact import (
    BINARY,
    I32,
    I64,
    LIST,
    STRUCT,
    Struct,
    structs,
)
from dof_arrow.format.parquet.footer import DATA_PAGE, PLAIN, RLE, UNCOMPRESSED, ColumnMeta
from dof_arrow.format.parquet.layout import Fixed

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
