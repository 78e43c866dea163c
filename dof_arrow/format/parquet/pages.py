"""Encoded columns decoded within bounds, whatever their page headers claim (SPEC 6.6).

A file of 622 bytes can claim a page of 2 GiB, and a million rows can name one long text of a
dictionary. So our own bounded parser walks the pages of a chunk before pyarrow decodes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.compact import I32, Struct, get
from dof_arrow.format.parquet.footer import (
    DATA_PAGE,
    DATA_PAGE_V2,
    DICTIONARY_PAGE,
    ColumnMeta,
    Page,
)
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.spec.rules import broken

MAX_PAGE = 128 << 20  # pyarrow writes pages of 1 MiB, DuckDB of up to 100 MB
# A column decodes to at most 128 MiB and 64 times the file.
_FLOOR = 128 << 20
_GROWTH = 64
# Most page headers are short; statistics of long texts make them longer.
_SHORT_HEADER = 1 << 10
_LONG_HEADER = 1 << 20
_MAX_ERROR = 200  # letters of pyarrow's error in a message
_WIDTH = {
    "BOOLEAN": 1,
    "INT32": 4,
    "INT64": 8,
    "INT96": 12,
    "FLOAT": 4,
    "DOUBLE": 8,
    "BYTE_ARRAY": 4,
}
_DATA_HEADER = {DATA_PAGE: Page.DATA, DATA_PAGE_V2: Page.DATA_V2}
_PAGE = {
    Page.TYPE: I32,
    Page.BYTES: I32,
    Page.STORED_BYTES: I32,
    Page.DATA: ({Page.VALUES: I32},),
    Page.DATA_V2: ({Page.VALUES: I32},),
    Page.DICTIONARY: ({Page.VALUES: I32, Page.ENCODING: I32},),
}


class Encoded:
    """The encoded columns of a Parquet file of `size` bytes open as `file`, a row group at a time.

    `memory` is the file's bytes (a map of it), `parquet` pyarrow's FileMetaData. Reading raises
    FormatError: `page-bounds` for claims that the file cannot hold, `data-unreadable` for what
    pyarrow cannot decode, and as `Outline.check` does.
    """

    def __init__(
        self, file: int, size: int, memory: Any, parquet: Any, schema: pa.Schema, outline: Outline
    ) -> None:
        self.file = file
        self.size = size
        self.parquet = parquet
        self.schema = schema
        self.outline = outline
        self._memory = memory
        self._reader = None
        self._limit = _FLOOR + _GROWTH * size
        self._names = frozenset(schema.names)
        # By row group and column: entries of its dictionary, once its claims are checked.
        self._entries: dict[tuple[int, str], int] = {}

    def column(self, name: str) -> pa.Array:
        """A whole column as one Arrow array."""
        self._check_claims(name)
        chunks: list[pa.Array] = []
        for group in self.groups(name, checked=True):
            chunks += group.chunks
        if not chunks:
            return pa.array([], self.schema.field(name).type)
        return pa.concat_arrays(chunks)

    def groups(self, name: str, *, checked: bool = False) -> Iterator[pa.ChunkedArray]:
        """A column, row group by row group; `checked` if the claims of its pages are checked."""
        if not checked:
            self._check_claims(name)
        for number in range(self.parquet.num_row_groups):
            yield self.group(number, name)

    def group(self, number: int, name: str) -> pa.ChunkedArray:
        """A column's part of one row group; the claims of its pages are not checked again."""
        try:
            table = self._open().read_row_group(number, columns=[name], use_threads=False)
            if name not in table.column_names:
                raise ValueError("missing from the data")
            if table.num_rows != self.parquet.row_group(number).num_rows:
                raise ValueError(f"{table.num_rows} rows in a row group of others")
            column = table.column(name)
            self._check_entries(column, self._entries.get((number, name), 0))
            column = self._plain(column, name)
            column.validate(full=True)  # texts that are not UTF-8, say
            return column
        except (pa.ArrowException, OSError, ValueError) as error:
            where = f"row group {number}, column {name}"
            raise broken("data-unreadable", where, "", _first_line(error)) from None

    def _check_entries(self, column: pa.ChunkedArray, entries: int) -> None:
        """Raise ValueError if a dictionary has an entry twice: pyarrow mixes up what follows."""
        if pa.types.is_dictionary(column.type) and column.num_chunks:
            found = max(len(chunk.dictionary) for chunk in column.chunks)
            if found < entries:
                raise ValueError(f"a dictionary of {entries} entries, {found} of them different")

    def _open(self) -> Any:
        import pyarrow.parquet as pq

        if self._reader is None:
            leaves = self._leaves()
            texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
            flat = [path for path in texts if path in self._names]
            source = pa.BufferReader(pa.py_buffer(self._memory))
            self._reader = pq.ParquetFile(source, metadata=self.parquet, read_dictionary=flat)
        return self._reader

    def _plain(self, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        """A column as the schema has it.

        Texts come as dictionaries, so that their decoded size is known before they are decoded.
        """
        kind = self.schema.field(name).type
        if column.type == kind:
            return column
        if pa.types.is_dictionary(column.type):
            most = sum(len(chunk) * chunk.dictionary.nbytes for chunk in column.chunks)
            if most > self._limit:  # else no texts can be too long together
                self._check_decoded(name, sum(map(_decoded_bytes, column.chunks)))
        return column.cast(kind)

    def _check_claims(self, name: str) -> None:
        claimed = 0
        for number, leaf in enumerate(self._leaves()):
            if _owner(leaf.path, self._names) == name:
                claimed += self._claim(name, number, leaf)
        self._check_decoded(name, claimed)

    def _check_decoded(self, name: str, size: int) -> None:
        if size > self._limit:
            expected = f"at most {self._limit} bytes decoded"
            raise broken("page-bounds", f"column {name}", expected, size)

    def _claim(self, name: str, number: int, leaf: Any) -> int:
        """Bytes that a leaf's chunks say they decode to."""
        width = _WIDTH.get(leaf.physical_type, 1)
        claimed = 0
        for group, chunk in enumerate(self.outline.column(number)):
            where = f"row group {group}, column {name}"
            found = claim(self.file, self.size, chunk, where)
            claimed += max(found.bytes, found.values * width)
            self._entries[group, name] = found.entries
        return claimed

    def _leaves(self) -> list[Any]:
        schema = self.parquet.schema
        return [schema.column(number) for number in range(len(schema))]


class Claim(NamedTuple):
    """What the pages of a chunk decode to, as they say: bytes, values, entries of a dictionary."""

    bytes: int
    values: int
    entries: int


class PagePlace(NamedTuple):
    """Where a page lies in the file, its header included, and what it says of itself.

    `bytes` and `values` are what it decodes to, `entries` those of a dictionary.
    """

    start: int
    end: int
    is_dictionary: bool
    bytes: int
    values: int
    entries: int


def claim(file: int, size: int, chunk: Struct, where: str) -> Claim:
    """What a column chunk says that it decodes to, found by a walk over its pages.

    `chunk` is its ColumnMeta in the footer of the file of `size` bytes open as `file`. Raises
    FormatError (`page-bounds`) if its pages do not tile it, or claim too much.
    """
    decoded = values = entries = 0
    for page in walked(file, size, chunk, where):
        decoded += page.bytes
        values += page.values
        entries += page.entries
    if values != get(chunk, ColumnMeta.VALUES):
        expected = f"{get(chunk, ColumnMeta.VALUES)} values in its pages"
        raise broken("page-bounds", where, expected, values)
    return Claim(decoded, values, entries)


def walked(file: int, size: int, chunk: Struct, where: str) -> Iterator[PagePlace]:
    """The pages of a column chunk, in order; parameters and errors are those of `claim`."""
    start, end = footer.chunk_range(chunk)
    if not 0 < start <= end <= size:
        expected = f"a chunk in a file of {size} bytes"
        raise broken("page-bounds", where, expected, f"{start} to {end}")
    while start < end:
        header, length = page_header(file, start, end, where)
        stored = get(header, Page.STORED_BYTES)
        claimed = get(header, Page.BYTES)
        after = start + length + stored
        inside = stored >= 0 and after <= end
        if not inside or not 0 <= claimed <= max(MAX_PAGE, stored):
            expected = f"a page of at most {MAX_PAGE} bytes inside its chunk"
            raise broken("page-bounds", where, expected, claimed)
        is_dictionary = get(header, Page.TYPE) == DICTIONARY_PAGE
        entries = int(get(get(header, Page.DICTIONARY, {}), Page.VALUES, 0))
        yield PagePlace(start, after, is_dictionary, claimed, _values(header), entries)
        start = after


def page_header(file: int, start: int, end: int, where: str) -> tuple[Struct, int]:
    """The page header at byte `start` of the open `file`, before byte `end`, and its length.

    Raises FormatError (`page-bounds`) where there is none.
    """
    for window in (_SHORT_HEADER, _LONG_HEADER):
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
    """The number of values in a page; a dictionary has none of the column's own."""
    kind = get(header, Page.TYPE)
    if kind == DICTIONARY_PAGE:
        return 0
    data = get(header, _DATA_HEADER.get(kind, 0), {})
    return max(int(get(data, Page.VALUES, 0)), 0)


def _owner(path: str, names: frozenset[str]) -> str:
    """The column of the schema that a leaf belongs to, or an empty text.

    Names may have dots themselves: `a.b` is a column of that name if there is one, else a part of
    `a`.
    """
    while path and path not in names:
        path = path.rpartition(".")[0]
    return path


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:_MAX_ERROR]


def _decoded_bytes(array: pa.DictionaryArray) -> int:
    """Bytes of the texts that a dictionary-encoded array decodes to."""
    import numpy as np
    import pyarrow.compute as pc

    lengths = pc.binary_length(array.dictionary).fill_null(0).to_numpy(zero_copy_only=False)
    indices = array.indices.drop_null().to_numpy(zero_copy_only=False)
    uses = np.bincount(indices, minlength=len(lengths))
    return int(uses @ lengths.astype(np.int64))
