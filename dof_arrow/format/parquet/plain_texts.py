"""Short columns of plain texts, such as ids, read without pyarrow's reader.

Its set-up takes far longer than the texts of a small file, and a directory has thousands of files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet.compact import Struct, get
from dof_arrow.format.parquet.footer import (
    DATA_PAGE,
    PLAIN,
    UNCOMPRESSED,
    ColumnMeta,
    Page,
    chunk_range,
)
from dof_arrow.format.parquet.names_chunk import BYTE_ARRAY
from dof_arrow.format.parquet.pages import page_header

_MOST = 1 << 16  # bytes of a chunk: pyarrow reads larger ones sooner
_LENGTH = 4  # bytes of a text's length, which stands before it


def plain_texts(
    file: int, size: int, chunks: Sequence[Struct], rows: Sequence[int]
) -> pa.StringArray | None:
    """The texts of a required column in the open `file` of `size` bytes; None for other columns.

    `chunks` is what the footer says of them, `rows` counts the rows, of each row group. None also
    for what is not quite right: then pyarrow's reader, within its bounds, says what is wrong.
    """
    found = []
    for chunk, count in zip(chunks, rows, strict=True):
        texts = _texts(file, size, chunk, count)
        if texts is None:
            return None
        found.append(texts)
    return pa.concat_arrays(found) if found else None


def _texts(file: int, size: int, chunk: Struct, count: int) -> pa.StringArray | None:
    told = (get(chunk, ColumnMeta.TYPE), get(chunk, ColumnMeta.CODEC))
    start, end = chunk_range(chunk)
    if told != (BYTE_ARRAY, UNCOMPRESSED) or ColumnMeta.DICTIONARY_PAGE in chunk:
        return None
    if not 0 < start < end <= size or end - start > _MOST:
        return None
    if count < 1 or get(chunk, ColumnMeta.VALUES) != count:
        return None
    try:
        header, length = page_header(file, start, end, "")
    except FormatError:
        return None
    page = get(header, Page.DATA, {})
    kinds = (get(header, Page.TYPE), get(page, Page.ENCODING), get(page, Page.VALUES))
    stored = end - start - length
    sizes = (get(header, Page.BYTES), get(header, Page.STORED_BYTES))
    if kinds != (DATA_PAGE, PLAIN, count) or sizes != (stored, stored):
        return None
    return _decoded(os.pread(file, stored, start + length), count)


def _decoded(data: bytes, count: int) -> pa.StringArray | None:
    split = _of_one_length(data, count) or _of_any_length(data, count)
    if split is None:
        return None
    ends, texts = split
    array = pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(texts))
    try:
        array.validate(full=True)
    except pa.ArrowException:  # no UTF-8
        return None
    return array


def _of_one_length(data: bytes, count: int) -> tuple[bytes, bytes] | None:
    """Where texts end, and the texts, if all are as long as the first."""
    length = int.from_bytes(data[:_LENGTH], "little")
    if len(data) != count * (_LENGTH + length):
        return None
    cells = np.frombuffer(data, np.uint8).reshape(count, _LENGTH + length)
    if not (cells[:, :_LENGTH] == cells[0, :_LENGTH]).all():
        return None
    ends = length * np.arange(count + 1, dtype=np.int32)
    return ends.tobytes(), cells[:, _LENGTH:].tobytes()


def _of_any_length(data: bytes, count: int) -> tuple[bytes, bytes] | None:
    texts = []
    at = 0
    while at < len(data):
        first = at + _LENGTH
        at = first + int.from_bytes(data[at:first], "little")
        texts.append(data[first:at])
    if at != len(data) or len(texts) != count:
        return None
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    return ends.tobytes(), b"".join(texts)
