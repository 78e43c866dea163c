"""Small encoded chunks of one column in many files, decoded as row groups of one file in memory.

pyarrow's set-up for a file takes far longer than a few kilobytes of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet.column_encoding import decoded_footer, parquet_bytes
from dof_arrow.format.parquet.compact import I64, LIST, STRUCT, Struct, encode, get, items, put
from dof_arrow.format.parquet.footer import (
    MAGIC,
    Chunk,
    ColumnMeta,
    FileMetaData,
    RowGroup,
    SchemaElement,
    chunk_range,
)
from dof_arrow.format.parquet.pages import claim
from dof_arrow.format.spec.arrow import holds_texts

SMALL = 1 << 16  # bytes of a chunk: of larger ones the set-up is a small part
_MOST = 64 << 20  # bytes that all chunks together may decode to
_TAKEN_OVER = (
    ColumnMeta.TYPE,
    ColumnMeta.ENCODINGS,
    ColumnMeta.PATH,
    ColumnMeta.CODEC,
    ColumnMeta.VALUES,
    ColumnMeta.BYTES,
    ColumnMeta.STORED_BYTES,
)


class SmallChunk(NamedTuple):
    """A column chunk of `rows` rows, its bytes read and its claims checked.

    `meta` is its ColumnMeta, `schema` has the bytes of the file's schema elements. `entries` is how
    many entries its dictionary says that it has.
    """

    meta: Struct
    rows: int
    schema: bytes
    data: bytes
    entries: int


def read(file: int, size: int, meta: Struct, rows: int, schema: bytes) -> SmallChunk | None:
    """A chunk of the open `file` of `size` bytes; None where it is not quite right, or large."""
    start, end = chunk_range(meta)
    if end - start > SMALL or get(meta, ColumnMeta.VALUES) != rows or not rows:
        return None
    try:
        claimed = claim(file, size, meta, "")
    except FormatError:
        return None
    if claimed.bytes > _MOST:
        return None
    data = os.pread(file, end - start, start)
    if len(data) != end - start:
        return None
    # Without the descriptor, which would keep the file open.
    return SmallChunk(meta, rows, schema, data, claimed.entries)


def decoded(chunks: Sequence[SmallChunk], field: pa.Field) -> list[pa.Array] | None:
    """The values of each chunk of a flat column.

    None where there is any doubt: then each file is read by itself, and says what is wrong.
    """
    model = _footer(field)
    leaf = items(model, FileMetaData.SCHEMA)[-1]
    if not all(_is_stored_as(leaf, each) for each in chunks):
        return None
    coded = [ColumnMeta.DICTIONARY_PAGE in each.meta for each in chunks]
    if any(coded) and not all(coded):
        return None
    try:
        column = _column(_file(chunks, model), field, coded=any(coded))
        if not _has_its_entries(column, chunks):
            return None
        whole = column.cast(field.type)
        whole.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):
        return None
    return list(_cut(whole, [each.rows for each in chunks]))


def _is_stored_as(leaf: Struct, chunk: SmallChunk) -> bool:
    """Whether a file's schema says of the column just what this element does."""
    physical = get(leaf, SchemaElement.TYPE)
    return get(chunk.meta, ColumnMeta.TYPE) == physical and encode(leaf) in chunk.schema


@lru_cache(maxsize=64)
def _footer(field: pa.Field) -> Struct:
    return decoded_footer(parquet_bytes(pa.schema([field]).empty_table()))


def _file(chunks: Sequence[SmallChunk], model: Struct) -> bytes:
    """A Parquet file of these chunks, a row group each."""
    groups = []
    at = len(MAGIC)
    for chunk in chunks:
        groups.append(_group(chunk, at))
        at += len(chunk.data)
    made = dict(model)
    put(made, FileMetaData.ROWS, sum(each.rows for each in chunks))
    put(made, FileMetaData.GROUPS, (STRUCT, groups))
    tail = encode(made)
    stored = [each.data for each in chunks]
    return b"".join([MAGIC, *stored, tail, len(tail).to_bytes(4, "little"), MAGIC])


def _group(chunk: SmallChunk, at: int) -> Struct:
    start, _ = chunk_range(chunk.meta)
    meta: Struct = {field: chunk.meta[field] for field in _TAKEN_OVER}
    for field in (ColumnMeta.DATA_PAGE, ColumnMeta.DICTIONARY_PAGE):
        if field in chunk.meta:
            meta[field] = (I64, get(chunk.meta, field) - start + at)
    only: Struct = {Chunk.OFFSET: (I64, at), Chunk.META: (STRUCT, meta)}
    return {
        RowGroup.COLUMNS: (LIST, (STRUCT, [only])),
        RowGroup.BYTES: (I64, len(chunk.data)),
        RowGroup.ROWS: (I64, chunk.rows),
    }


def _column(data: bytes, field: pa.Field, *, coded: bool) -> pa.ChunkedArray:
    """The one column of a file.

    Texts that are `coded` come as dictionaries, whose size is known before they are texts.
    """
    import pyarrow.parquet as pq

    names = [field.name] if coded and holds_texts(field.type) else []
    reader: Any = pq.ParquetFile(pa.BufferReader(data), read_dictionary=names)
    groups = list(range(reader.metadata.num_row_groups))
    return reader.read_row_groups(groups, use_threads=False).column(0)


def _has_its_entries(column: pa.ChunkedArray, chunks: Sequence[SmallChunk]) -> bool:
    """Whether each dictionary has as many entries as it says, and all texts are of bounded size.

    Of a dictionary with an entry twice pyarrow mixes up what follows.
    """
    if len(column) != sum(each.rows for each in chunks):
        return False
    if not pa.types.is_dictionary(column.type):
        return not any(each.entries for each in chunks) or not holds_texts(column.type)
    if [len(chunk) for chunk in column.chunks] != [each.rows for each in chunks]:
        return False
    most = sum(len(chunk) * chunk.dictionary.nbytes for chunk in column.chunks)
    pairs = zip(column.chunks, chunks, strict=True)
    return most <= _MOST and all(len(one.dictionary) >= each.entries for one, each in pairs)


def _cut(column: pa.ChunkedArray, rows: Sequence[int]) -> Iterator[pa.Array]:
    if [len(chunk) for chunk in column.chunks] == list(rows):
        yield from column.chunks
        return
    whole = pa.concat_arrays(column.chunks)
    for start, count in zip(np.cumsum([0, *rows]).tolist(), rows, strict=False):
        yield whole.slice(start, count)
