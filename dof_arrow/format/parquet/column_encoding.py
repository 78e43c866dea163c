"""How pyarrow encodes the columns that are not mapped (SPEC section 6)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pyarrow as pa

from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.compact import STRUCT, Struct
from dof_arrow.format.parquet.footer import ColumnMeta
from dof_arrow.format.parquet.layout import MAX_GROUP_ROWS
from dof_arrow.format.parquet.statistics import of_values
from dof_arrow.format.spec.arrow import element_type, is_vector

# Stored plain: pseudonyms have one length, so a file's size is known ahead.
_PLAIN_TEXT = ("id", "group")


def parquet_bytes(table: pa.Table) -> memoryview:
    """A table as a Parquet file in memory, one row group, encoded as ours are."""
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **encoding(table.schema.remove_metadata()))
    return memoryview(sink.getvalue()).cast("B")


def decoded_footer(data: memoryview) -> Struct:
    """The footer of a Parquet file in memory that pyarrow has written."""
    end = bytes(data[-footer.TAIL :])
    length = footer.footer_length(end, len(data))
    struct, _ = footer.decode(data[-length : -footer.TAIL])
    return struct


def encoded_chunks(table: pa.Table) -> Iterator[tuple[Struct, memoryview]]:
    """The column chunks of a table: the ColumnMeta struct and the bytes of each."""
    data = parquet_bytes(table)
    for _, _, meta in footer.chunks(decoded_footer(data)):
        start, end = footer.chunk_range(meta)
        path = footer.items(meta, ColumnMeta.PATH)
        name = path[0].decode()
        if len(path) == 1 and name not in _PLAIN_TEXT:
            meta[ColumnMeta.STATISTICS] = (STRUCT, of_values(table.column(name)))
        yield meta, data[start:end]


@cache
def encoding(schema: pa.Schema) -> dict[str, Any]:
    """pyarrow's options for `write_table`, for columns of this schema.

    Vectors: byte-stream-split for float32, plain for float16 (DuckDB reads no float16
    byte-stream-split), both zstd. Ids and groups: plain, uncompressed. The rest: dictionary and
    zstd.
    """
    compression: dict[str, str] = {}
    split: list[str] = []
    others: list[str] = []
    for field in schema:
        for leaf in _leaves(field):
            compression[leaf] = "ZSTD"
            if is_vector(field):
                if element_type(field) == "float32":
                    split.append(leaf)
            elif field.name in _PLAIN_TEXT:
                compression[leaf] = "NONE"
            else:
                others.append(leaf)
    return {
        "compression": compression or "NONE",
        "use_dictionary": others,
        "use_byte_stream_split": split,
        "write_statistics": False,  # pyarrow's own pass over NaN; ours are of all values
        "row_group_size": MAX_GROUP_ROWS,
    }


def _leaves(field: pa.Field) -> list[str]:
    """The paths of a column's leaves, as pyarrow names them in a Parquet schema."""
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.schema([field]).empty_table(), sink)
    parquet = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    return [parquet.column(number).path for number in range(len(parquet))]
