"""Encoded columns decoded within bounds: no page header makes a reader take more than the file is worth (SPEC 6.6).

A file of 622 bytes can claim a page of 2 GiB, and a dictionary of one long text can be named by a million rows. So
the pages of a chunk are walked by our own bounded parser before pyarrow decodes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import (
    DATA_PAGE,
    DATA_PAGE_V2,
    DICTIONARY_PAGE,
    I32,
    ColumnMeta,
    Page,
    Struct,
    get,
)
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.spec.rules import broken

MAX_PAGE = 128 << 20  # pyarrow writes pages of 1 MiB, DuckDB of up to 100 MB
_FLOOR, _GROWTH = 128 << 20, 64  # a column decodes to at most 128 MiB and 64 times the file
_HEADERS = (
    1 << 10,
    1 << 20,
)  # most page headers are short; statistics of long texts make them longer
_WIDTH = {
    "BOOLEAN": 1,
    "INT32": 4,
    "INT64": 8,
    "INT96": 12,
    "FLOAT": 4,
    "DOUBLE": 8,
    "BYTE_ARRAY": 4,
}
_PAGE = {
    Page.TYPE: I32,
    Page.BYTES: I32,
    Page.STORED_BYTES: I32,
    Page.DATA: ({Page.VALUES: I32},),
    Page.DATA_V2: ({Page.VALUES: I32},),
}


class Encoded:
    """The encoded columns of a Parquet file of `size` bytes open as `file`, decoded one row group at a time.

    `memory` is the file's bytes (a map of it), `parquet` pyarrow's FileMetaData. Raises FormatError: `page-bounds` for
    claims that the file cannot hold, `data-unreadable` for what pyarrow cannot decode, and as `Outline.check` does.
    """

    def __init__(
        self, file: int, size: int, memory: Any, parquet: Any, schema: pa.Schema, outline: Outline
    ) -> None:
        self.file, self.size, self.parquet, self.schema, self.outline = (
            file,
            size,
            parquet,
            schema,
            outline,
        )
        self._memory, self._reader = memory, None
        self._limit, self._names = _FLOOR + _GROWTH * size, frozenset(schema.names)

    def column(self, name: str) -> pa.Array:
        """A whole column as one Arrow array."""
        self._check_claims(name)
        chunks = [chunk for group in self.groups(name, checked=True) for chunk in group.chunks]
        return pa.concat_arrays(chunks) if chunks else pa.array([], self.schema.field(name).type)

    def groups(self, name: str, *, checked: bool = False) -> Iterator[pa.ChunkedArray]:
        """A column, row group by row group."""
        if not checked:
            self._check_claims(name)
        for number in range(self.parquet.num_row_groups):
            yield self.group(number, name)

    def group(self, number: int, name: str) -> pa.ChunkedArray:
        """A column's part of one row group; its claims are not checked again."""
        try:
            table = self._open().read_row_group(number, columns=[name], use_threads=False)
            if name not in table.column_names:
                raise ValueError("missing from the data")
            if table.num_rows != self.parquet.row_group(number).num_rows:
                raise ValueError(f"{table.num_rows} rows in a row group of others")
            column = self._plain(table.column(name), name)
            column.validate(full=True)  # texts that are not UTF-8, say
            return column
        except (pa.ArrowException, OSError, ValueError) as error:
            found = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise broken(
                "data-unreadable", f"row group {number}, column {name}", "", found
            ) from None

    def _open(self) -> Any:
        import pyarrow.parquet as pq

        if self._reader is None:
            texts = [leaf.path for leaf in self._leaves() if leaf.physical_type == "BYTE_ARRAY"]
            flat = [path for path in texts if path in self.schema.names]
            source = pa.BufferReader(pa.py_buffer(self._memory))
            self._reader = pq.ParquetFile(source, metadata=self.parquet, read_dictionary=flat)
        return self._reader

    def _plain(self, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        """Texts come as dictionaries, so that their decoded size is known before they are decoded."""
        kind = self.schema.field(name).type
        if column.type == kind:
            return column
        if pa.types.is_dictionary(column.type):
            size = sum(map(_decoded_bytes, column.chunks))
            if size > self._limit:
                raise broken(
                    "page-bounds", f"column {name}", f"at most {self._limit} bytes decoded", size
                )
        return column.cast(kind)

    def _check_claims(self, name: str) -> None:
        mine = [
            (i, leaf)
            for i, leaf in enumerate(self._leaves())
            if _owner(leaf.path, self._names) == name
        ]
        claimed = sum(self._claim(name, number, leaf) for number, leaf in mine)
        if claimed > self._limit:
            raise broken(
                "page-bounds", f"column {name}", f"at most {self._limit} bytes decoded", claimed
            )

    def _claim(self, name: str, number: int, leaf: Any) -> int:
        chunks = self.outline.column(number)
        claims = [
            claim(self.file, self.size, c, f"row group {g}, column {name}")
            for g, c in enumerate(chunks)
        ]
        return sum(max(size, values * _WIDTH.get(leaf.physical_type, 1)) for size, values in claims)

    def _leaves(self) -> list[Any]:
        parquet = self.parquet.schema
        return [parquet.column(i) for i in range(len(parquet))]


def claim(file: int, size: int, chunk: Struct, where: str) -> tuple[int, int]:
    """Bytes and values that a column chunk says it decodes to, its pages walked.

    `chunk` is its ColumnMeta in the footer of the file of `size` bytes open as `file`. Raises FormatError
    (`page-bounds`) if its pages do not tile it, or claim too much.
    """
    start, end = footer.chunk_range(chunk)
    if not 0 < start <= end <= size:
        raise broken(
            "page-bounds", where, f"a chunk in a file of {size} bytes", f"{start} to {end}"
        )
    total = values = 0
    while start < end:
        header, length = _header(file, start, end, where)
        stored, claimed = get(header, Page.STORED_BYTES), get(header, Page.BYTES)
        start += length + stored
        if stored < 0 or start > end or not 0 <= claimed <= max(MAX_PAGE, stored):
            raise broken(
                "page-bounds",
                where,
                f"a page of at most {MAX_PAGE} bytes inside its chunk",
                claimed,
            )
        total, values = total + claimed, values + _values(header)
    if values != get(chunk, ColumnMeta.VALUES):
        raise broken(
            "page-bounds", where, f"{get(chunk, ColumnMeta.VALUES)} values in its pages", values
        )
    return total, values


def _header(file: int, start: int, end: int, where: str) -> tuple[Struct, int]:
    for window in _HEADERS:
        data = os.pread(file, min(window, end - start), start)
        try:
            header, length = footer.decode_page(data)
        except FormatError:
            continue
        if footer.fits(header, _PAGE):
            return header, length
        break
    raise broken("page-bounds", where, "a page header", f"none at byte {start}")


def _values(header: Struct) -> int:
    kind = get(header, Page.TYPE)
    if kind == DICTIONARY_PAGE:
        return 0
    data = get(header, {DATA_PAGE: Page.DATA, DATA_PAGE_V2: Page.DATA_V2}.get(kind, 0), {})
    return max(int(get(data, Page.VALUES, 0)), 0)


def _owner(path: str, names: frozenset[str]) -> str:
    # Names may have dots themselves: `a.b` is a column of that name if there is one, else a part of `a`.
    ends = [i for i, letter in enumerate(f"{path}.") if letter == "."]
    return next((path[:end] for end in reversed(ends) if path[:end] in names), "")


def _decoded_bytes(array: pa.DictionaryArray) -> int:
    import numpy as np
    import pyarrow.compute as pc

    lengths = pc.binary_length(array.dictionary).fill_null(0).to_numpy(zero_copy_only=False)
    uses = np.bincount(
        array.indices.drop_null().to_numpy(zero_copy_only=False), minlength=len(lengths)
    )
    return int(uses @ lengths.astype(np.int64))
