"""Row groups written as the mapped layout wants them, closed by a sealed footer (SPEC 6 and 7)."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import FormatError, OutputError
from dof_arrow.format.parquet import digests as integrity
from dof_arrow.format.parquet import footer, layout
from dof_arrow.format.parquet.column_encoding import decoded_footer, encoded_chunks, parquet_bytes
from dof_arrow.format.parquet.compact import (
    I16,
    I64,
    MAX_VALUES,
    STRUCT,
    Struct,
    count_values,
    encode,
    get,
    items,
    put,
)
from dof_arrow.format.parquet.footer import Chunk, ColumnMeta, FileMetaData, RowGroup
from dof_arrow.format.parquet.mapped_chunk import chunk_meta
from dof_arrow.format.parquet.names_chunk import NamesColumn, names_chunk
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.parquet.statistics import of_numbers, restated
from dof_arrow.format.parquet.stored_chunk import StoredChunk
from dof_arrow.format.spec.json_model import Json
from dof_arrow.storage.atomic import Output
from dof_arrow.storage.copy import blocks, copy_range

# For each column its values, piece by piece: stored arrays if it is mapped, else Arrow arrays.
Pieces = Mapping[str, Sequence[Any]]

_KEYS = 16  # values of a footer for its keys


class RowGroupWriter:
    """Writes row groups, attachments and the footer of one file to an output.

    Every byte is digested, in a thread of the `pool` if there is one; a dry run needs no digests.
    """

    def __init__(self, out: Output, pool: ThreadPoolExecutor | None) -> None:
        self.out = out
        self.pool = pool
        self.groups: list[Struct] = []
        self.digests: list[bytes] = []
        self.fixed: dict[str, layout.Fixed] = {}
        self.names: dict[str, NamesColumn] = {}
        self._state = hashlib.sha256()
        self._values = 0  # in the footer, as far as it is known

    @property
    def mapped(self) -> set[str]:
        """The names of the columns to be mapped."""
        names = {name for name, column in self.names.items() if column.mapped}
        return names | self.fixed.keys()

    def begin(
        self,
        schema: pa.Schema,
        fixed: Sequence[layout.Fixed],
        alignment: int,
        names: Sequence[NamesColumn] = (),
    ) -> None:
        """Begin the file.

        `fixed` are the columns of fixed width to be mapped, `names` all columns of names;
        `alignment` is that of vectors in a file with more than one row group, in bytes.
        """
        self.fixed = {column.name: column for column in fixed}
        self.names = {column.name: column for column in names}
        self.alignment = alignment
        self._names = schema.names
        mapped = self.mapped
        encoded = [field for field in schema if field.name not in mapped]
        self._encoded = pa.schema(encoded)
        # The keys come to it at the end.
        self._values = count_values(decoded_footer(parquet_bytes(schema.empty_table()))) + _KEYS
        self._emit(footer.MAGIC)

    def place(self, pieces: Pieces, rows: int, *, alone: bool) -> None:
        """Append one row group; the only one of a file needs no more than a small alignment.

        Raises OutputError if there are too many.
        """
        alignment = layout.SMALL_ALIGNMENT if alone else self.alignment
        encoded = self._encode(pieces)
        chunks: list[Struct] = []
        for name in self._names:
            if name in self.fixed:
                column = self.fixed[name]
                chunks.append(self._place_fixed(column, pieces[name], rows, alignment))
                continue
            if name not in encoded:
                chunks.append(self._place_names(self.names[name], pieces[name]))
                continue
            for meta, data in encoded[name]:
                chunks.append(self._place_encoded(meta, data))
        self._append(chunks, rows)

    def copy(
        self, file: int, group: Struct, alignment: int, statistics: Mapping[str, Struct]
    ) -> None:
        """Append a row group of another open file; `group` is what its own footer says of it.

        What that says of the values is not taken over: `statistics` are made of them anew.
        """
        rows = get(group, RowGroup.ROWS)
        chunks = []
        for chunk in items(group, RowGroup.COLUMNS):
            meta = restated(get(chunk, Chunk.META), statistics)
            start, end = footer.chunk_range(meta)
            name = _column_name(meta)
            column = self.fixed.get(name)
            if column:
                values = end - rows * column.width  # its values are the chunk's last bytes
                self._align(values - start, _alignment(column, alignment))
            elif name in self.mapped:
                # As far behind a multiple as before: then so are the codes in it.
                self._align(-start, layout.SMALL_ALIGNMENT)
            chunks.append(_moved(meta, self.out.size))
            for block in blocks(file, start, end):
                self._emit(block)
            self._end_segment()
        self._append(chunks, rows)

    def splice(self, chunks: Sequence[StoredChunk], rows: int) -> None:
        """Append a row group made of chunks of other open files, in the order of the schema.

        A chunk that comes to stand as it stood keeps its digest, and is neither read nor digested.
        Raises FormatError for one that is digested anew and is damaged.
        """
        placed = [self._splice(chunk) for chunk in chunks]
        self._append(placed, rows)

    def attach(
        self, errors: Sequence[Json], documents: Sequence[tuple[Json, bytes]]
    ) -> dict[str, Json]:
        """Write the errors table and the documents behind the last chunk.

        Returns where they lie, as the metadata has it.
        """
        placed: dict[str, Json] = {}
        if errors:
            where = self._attach(b"".join(map(error_line, errors)))
            placed["errors"] = {**where, "rows": len(errors)}
        if documents:
            placed["documents"] = []
        for about, data in documents:
            placed["documents"].append({**about, **self._attach(data)})
        return placed

    def finish(self, schema: pa.Schema) -> None:
        """Write the footer; `schema` carries the metadata.

        Raises OutputError if readers would refuse it.
        """
        self._end_segment()
        tail = assemble(schema, self.groups, self.digests)
        _check_readable(tail)
        self.out.write(tail)

    def _append(self, chunks: list[Struct], rows: int) -> None:
        """Add a row group to the footer; OutputError as soon as that would hold too much."""
        group = _row_group(chunks, rows, len(self.groups))
        self._values += count_values(group)
        if len(self.groups) == layout.MAX_GROUPS or self._values > MAX_VALUES:
            raise OutputError(
                "more row groups than one file may have",
                expected=f"at most {layout.MAX_GROUPS:,}, fewer with many columns",
                found=f"{len(self.groups) + 1:,} of {len(chunks):,} columns",
                hint="Write a directory of several files: NAME.dof",
            )
        self.groups.append(group)

    def _splice(self, chunk: StoredChunk) -> Struct:
        first, end = footer.chunk_range(chunk.meta)
        if chunk.fits(self.out.size, is_first=not self.digests):
            copy_range(chunk.file, chunk.start, end, self.out)
            self._state = hashlib.sha256()
            self.digests.append(chunk.digest)
        else:
            chunk.check()
            self._emit(bytes(chunk.gap(self.out.size)))
            for block in blocks(chunk.file, first, end):
                self._emit(block)
            self._end_segment()
        return _moved(chunk.meta, self.out.size - (end - first))

    def _attach(self, data: bytes) -> Json:
        where = {
            "offset": self.out.size,
            "length": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        self._emit(data)
        return where

    def _place_fixed(
        self, column: layout.Fixed, pieces: Sequence[np.ndarray], rows: int, alignment: int
    ) -> Struct:
        before = layout.page_start(column, rows)
        self._align(len(before), _alignment(column, alignment))
        start = self.out.size
        self._emit(before, *pieces)
        self._end_segment()
        size = self.out.size - start
        meta = chunk_meta(column, rows, start, size, of_numbers(column, pieces))
        return {Chunk.OFFSET: (I64, start), Chunk.META: (STRUCT, meta)}

    def _place_names(self, column: NamesColumn, pieces: Sequence[pa.Array]) -> Struct:
        names, codes = column.group(pieces)
        chunk = names_chunk(column.name, names, codes)
        self._align(len(chunk.dictionary) + len(chunk.before), layout.SMALL_ALIGNMENT)
        start = self.out.size
        self._emit(chunk.dictionary, chunk.before, chunk.codes)
        self._end_segment()
        return {Chunk.OFFSET: (I64, start), Chunk.META: (STRUCT, chunk.placed(start))}

    def _place_encoded(self, meta: Struct, data: memoryview) -> Struct:
        chunk = _moved(meta, self.out.size)
        self._emit(data)
        self._end_segment()
        return chunk

    def _encode(self, pieces: Pieces) -> dict[str, list[tuple[Struct, memoryview]]]:
        """The chunks of one row group's other columns, made by pyarrow in memory."""
        chunks: dict[str, list[tuple[Struct, memoryview]]] = {}
        if not self._encoded.names:
            return chunks
        columns = []
        for field in self._encoded:
            values = pieces[field.name]
            if field.name in self.names:
                values = [self.names[field.name].encoded(values)]
            columns.append(pa.chunked_array(values, field.type))
        table = pa.table(columns, schema=self._encoded)
        for meta, data in encoded_chunks(table):
            chunks.setdefault(_column_name(meta), []).append((meta, data))
        return chunks

    def _align(self, before: int, alignment: int) -> None:
        """Fill up with zeros, so that what comes `before` bytes later is aligned."""
        missing = -(self.out.size + before) % alignment
        self._emit(bytes(missing))

    def _emit(self, *buffers: Any) -> None:
        # hashlib and writev both release the interpreter lock: digesting costs no time of its own.
        hashed = self.pool.submit(_update, self._state, buffers) if self.pool else None
        self.out.write(*buffers)
        if hashed:
            hashed.result()

    def _end_segment(self) -> None:
        self.digests.append(self._state.digest())
        self._state = hashlib.sha256()


def error_line(error: Json) -> bytes:
    """A line of the errors table."""
    return (json.dumps(error, ensure_ascii=False) + "\n").encode()


def assemble(schema: pa.Schema, groups: Sequence[Struct], digests: Sequence[bytes]) -> bytes:
    """Footer, length and magic of a file with these row groups, sealed.

    The schema is written by pyarrow, the rest by us.
    """
    struct = decoded_footer(parquet_bytes(schema.empty_table()))
    keys = dict(footer.key_values(struct))
    pairs = [
        (b"ARROW:schema", keys[b"ARROW:schema"]),
        (b"dof", keys[b"dof"]),
        (integrity.DIGESTS, integrity.encode_digests(digests)),
        (integrity.SEAL, integrity.UNSEALED),
    ]
    rows = sum(get(group, RowGroup.ROWS) for group in groups)
    put(struct, FileMetaData.ROWS, rows)
    put(struct, FileMetaData.GROUPS, (STRUCT, list(groups)))
    put(struct, FileMetaData.CREATED_BY, generator().encode())
    footer.set_key_values(struct, pairs)
    data = encode(struct)
    length = len(data).to_bytes(4, "little")
    return integrity.seal(data + length + footer.MAGIC)


def _check_readable(tail: bytes) -> None:
    """Raise OutputError for a footer that no reader takes: what we write, we open."""
    found = f"{len(tail):,} bytes"
    try:
        if len(tail) <= footer.MAX_FOOTER:
            Outline(tail).check()
            return
    except FormatError as error:
        found = str(error.problems[0])
    raise OutputError(
        "a footer that readers refuse",
        expected=f"at most {footer.MAX_FOOTER:,} bytes and {MAX_VALUES:,} values",
        found=found,
        hint="Write fewer columns or row groups, or a directory of several files.",
    )


def content_uuid(digests: Sequence[bytes], cores: Sequence[str]) -> str:
    """The identity of a file's content, from the digests of its chunks and its cores (SPEC 4.2)."""
    cores = sorted(cores)
    content = b"dof-uuid-1\n" + b"".join(digests) + "".join(cores).encode()
    raw = bytearray(hashlib.sha256(content).digest()[:16])
    # RFC 9562: four bits say version 8, two bits the variant.
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


def generator() -> str:
    """Program and version that write a file, with the versions that its bytes depend on."""
    from dof_arrow._version import __version__

    return f"dof-arrow version {__version__} (pyarrow {pa.__version__})"


def _alignment(column: layout.Fixed, wanted: int) -> int:
    """Vectors are mapped group behind group, other columns each group by itself."""
    return wanted if column.nested else layout.SMALL_ALIGNMENT


def _column_name(meta: Struct) -> str:
    first: bytes = items(meta, ColumnMeta.PATH)[0]
    return first.decode()


def _moved(meta: Struct, start: int) -> Struct:
    """The description of a chunk that was made at another place and now begins at `start`."""
    shift = start - footer.chunk_range(meta)[0]
    for position in (ColumnMeta.DATA_PAGE, ColumnMeta.DICTIONARY_PAGE):
        if position in meta:
            put(meta, position, get(meta, position) + shift)
    return {Chunk.OFFSET: (I64, start), Chunk.META: (STRUCT, meta)}


def _row_group(chunks: list[Struct], rows: int, number: int) -> Struct:
    metas = [get(chunk, Chunk.META) for chunk in chunks]
    size = sum(get(meta, ColumnMeta.BYTES) for meta in metas)
    stored = sum(get(meta, ColumnMeta.STORED_BYTES) for meta in metas)
    first, _ = footer.chunk_range(metas[0])
    return {
        RowGroup.COLUMNS: footer.structs(chunks),
        RowGroup.BYTES: (I64, size),
        RowGroup.ROWS: (I64, rows),
        RowGroup.OFFSET: (I64, first),
        RowGroup.STORED_BYTES: (I64, stored),
        RowGroup.ORDINAL: (I16, number),
    }


def _update(state: Any, buffers: Sequence[Any]) -> None:
    for buffer in buffers:
        state.update(buffer)
