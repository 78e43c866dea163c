"""Row groups put where the mapped layout wants them, every byte digested, the footer assembled (SPEC 6 and 7)."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow.errors import OutputError
from dof_arrow.format.parquet import digests as integrity
from dof_arrow.format.parquet import footer, layout
from dof_arrow.format.parquet.footer import (
    I16,
    I64,
    STRUCT,
    Chunk,
    ColumnMeta,
    FileMetaData,
    RowGroup,
    Struct,
)
from dof_arrow.format.spec.arrow import element_type, is_vector
from dof_arrow.format.spec.json_model import Json
from dof_arrow.storage.atomic import Output
from dof_arrow.storage.copy import blocks

Pieces = Mapping[
    str, Sequence[Any]
]  # column -> its values, piece by piece: stored arrays if mapped, else Arrow arrays
_FIXED_TEXT = (
    "id",
    "group",
)  # stored plain: pseudonyms have one length, so a file's size is known ahead


class RowGroupWriter:
    """Puts chunks where the layout wants them, digests every byte (if given a thread for it), assembles the footer."""

    def __init__(self, out: Output, pool: ThreadPoolExecutor | None) -> None:
        self.out, self.pool = out, pool
        self.groups: list[Struct] = []
        self.digests: list[bytes] = []
        self.fixed: dict[str, layout.Fixed] = {}
        self._state = hashlib.sha256()

    def begin(self, schema: pa.Schema, fixed: Sequence[layout.Fixed], alignment: int) -> None:
        """Fix the columns, those to be mapped, and the alignment of a file with more than one row group."""
        self.fixed, self.alignment = {c.name: c for c in fixed}, alignment
        self._names = schema.names
        self._encoded = pa.schema([f for f in schema if f.name not in self.fixed])
        self._emit(footer.MAGIC)

    def place(self, pieces: Pieces, rows: int, *, alone: bool) -> None:
        """Append one row group; the only group of a file needs no more than a small alignment."""
        alignment = layout.SMALL_ALIGNMENT if alone else self.alignment
        if len(self.groups) == layout.MAX_GROUPS:
            raise OutputError(
                "more row groups than one file may have",
                found=f"{layout.MAX_GROUPS} x {rows} rows",
                hint="Write a directory of several files.",
            )
        encoded = self._encode(pieces)
        chunks: list[Struct] = []
        for name in self._names:
            if name in self.fixed:
                chunks.append(self._place_fixed(self.fixed[name], pieces[name], rows, alignment))
            else:
                chunks += [self._place_encoded(meta, data) for meta, data in encoded[name]]
        self.groups.append(_row_group(chunks, rows, len(self.groups)))

    def copy(self, file: int, group: Struct, alignment: int) -> None:
        """Append a row group of another open file as it stands there: `group` is what that file's footer says of it."""
        rows, chunks = footer.get(group, RowGroup.ROWS), list[Struct]()
        for chunk in footer.items(group, RowGroup.COLUMNS):
            meta = footer.get(chunk, Chunk.META)
            column = self.fixed.get(footer.items(meta, ColumnMeta.PATH)[0].decode())
            start, end = footer.chunk_range(meta)
            values = end - rows * column.width if column else start
            self._emit(bytes(-(self.out.size + values - start) % (alignment if column else 1)))
            chunks.append(self._moved(meta, self.out.size))
            for block in blocks(file, start, end):
                self._emit(block)
            self._end_segment()
        self.groups.append(_row_group(chunks, rows, len(self.groups)))

    def attach(
        self, errors: Sequence[Json], documents: Sequence[tuple[Json, bytes]]
    ) -> dict[str, Json]:
        """Write the errors table and the documents behind the last chunk; returns where they lie, for the metadata."""
        placed: dict[str, Json] = {}
        if errors:
            lines = b"".join(json.dumps(e, ensure_ascii=False).encode() + b"\n" for e in errors)
            placed["errors"] = {**self._attach(lines), "rows": len(errors)}
        if documents:
            placed["documents"] = [{**about, **self._attach(data)} for about, data in documents]
        return placed

    def finish(self, schema: pa.Schema) -> None:
        """Write the footer: `schema` carries the metadata."""
        self._end_segment()
        self.out.write(assemble(schema, self.groups, self.digests))

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
        self._emit(bytes(-(self.out.size + len(before)) % alignment))
        start = self.out.size
        self._emit(before, *pieces)
        self._end_segment()
        meta = layout.chunk_meta(
            column, rows, start, self.out.size - start, layout.statistics(column, pieces)
        )
        return {Chunk.OFFSET: (I64, start), Chunk.META: (STRUCT, meta)}

    def _place_encoded(self, meta: Struct, data: memoryview) -> Struct:
        chunk = self._moved(meta, self.out.size)
        self._emit(data)
        self._end_segment()
        return chunk

    @staticmethod
    def _moved(meta: Struct, start: int) -> Struct:
        """What the footer says of a chunk that begins at another place than where it was made."""
        shift = start - footer.chunk_range(meta)[0]
        for position in (ColumnMeta.DATA_PAGE, ColumnMeta.DICTIONARY_PAGE):
            if position in meta:
                footer.put(meta, position, footer.get(meta, position) + shift)
        return {Chunk.OFFSET: (I64, start), Chunk.META: (STRUCT, meta)}

    def _encode(self, pieces: Pieces) -> dict[str, list[tuple[Struct, memoryview]]]:
        """The other columns' chunks of one row group, made by pyarrow in memory."""
        chunks: dict[str, list[tuple[Struct, memoryview]]] = {f.name: [] for f in self._encoded}
        if not chunks:
            return chunks
        columns = [pa.chunked_array(pieces[f.name], f.type) for f in self._encoded]
        data = _parquet(pa.table(columns, schema=self._encoded))
        tail = footer.footer_length(bytes(data[-8:]), len(data))
        for _, _, meta in footer.chunks(footer.decode(data[-tail:-8])[0]):
            start, end = footer.chunk_range(meta)
            chunks[footer.get(meta, ColumnMeta.PATH)[1][0].decode()].append((meta, data[start:end]))
        return chunks

    def _emit(self, *buffers: Any) -> None:
        # hashlib and writev both let go of the interpreter lock, so digesting costs no time of its own.
        hashed = self.pool.submit(_update, self._state, buffers) if self.pool else None
        self.out.write(*buffers)
        if hashed:
            hashed.result()

    def _end_segment(self) -> None:
        self.digests.append(self._state.digest())
        self._state = hashlib.sha256()


def assemble(schema: pa.Schema, groups: Sequence[Struct], digests: Sequence[bytes]) -> bytes:
    """Footer, length and magic of a file with these row groups: schema by pyarrow, the rest by us, sealed."""
    skeleton = _parquet(schema.empty_table())
    tail = footer.footer_length(bytes(skeleton[-8:]), len(skeleton))
    struct = footer.decode(skeleton[-tail:-8])[0]
    keys = dict(footer.key_values(struct))
    footer.put(struct, FileMetaData.ROWS, sum(footer.get(g, RowGroup.ROWS) for g in groups))
    footer.put(struct, FileMetaData.GROUPS, (STRUCT, list(groups)))
    footer.put(struct, FileMetaData.CREATED_BY, generator().encode())
    footer.set_key_values(
        struct,
        [
            (b"ARROW:schema", keys[b"ARROW:schema"]),
            (b"dof", keys[b"dof"]),
            (integrity.DIGESTS, integrity.encode_digests(digests)),
            (integrity.SEAL, integrity.UNSEALED),
        ],
    )
    data = footer.encode(struct)
    return integrity.seal(data + len(data).to_bytes(4, "little") + footer.MAGIC)


def content_uuid(digests: Sequence[bytes], cores: Sequence[str]) -> str:
    """The identity of a file's content: from the digests of its chunks and of its cores (SPEC 4.2)."""
    raw = bytearray(
        hashlib.sha256(
            b"dof-uuid-1\n" + b"".join(digests) + "".join(sorted(cores)).encode()
        ).digest()[:16]
    )
    raw[6], raw[8] = raw[6] & 0x0F | 0x80, raw[8] & 0x3F | 0x80  # RFC 9562: version 8, the variant
    return str(uuid.UUID(bytes=bytes(raw)))


def generator() -> str:
    """Program and version that write a file, with the versions that its bytes depend on."""
    from dof_arrow._version import __version__

    return f"dof-arrow version {__version__} (pyarrow {pa.__version__})"


@cache
def encoding(schema: pa.Schema) -> dict[str, Any]:
    """How pyarrow encodes the columns that are not mapped: its options for `write_table`.

    Vectors: byte-stream-split for float32, plain for float16 (DuckDB reads no float16 byte-stream-split), both zstd.
    Ids and groups: plain, uncompressed. The rest: dictionary and zstd.
    """
    kinds = {leaf: _kind(field) for field in schema for leaf in _leaves(field)}
    of = {
        kind: [leaf for leaf, k in kinds.items() if k == kind]
        for kind in ("float32", "float16", "text", "other")
    }
    return {
        "compression": {leaf: "NONE" if kind == "text" else "ZSTD" for leaf, kind in kinds.items()}
        or "NONE",
        "use_dictionary": of["other"],
        "use_byte_stream_split": of["float32"],
        "write_statistics": of["other"],
        "row_group_size": layout.MAX_GROUP_ROWS,
    }


def _kind(field: pa.Field) -> str:
    if is_vector(field):
        return element_type(field)
    return "text" if field.name in _FIXED_TEXT else "other"


def _leaves(field: pa.Field) -> list[str]:
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.schema([field]).empty_table(), sink)
    parquet = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    return [parquet.column(i).path for i in range(len(parquet))]


def _parquet(table: pa.Table) -> memoryview:
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **encoding(table.schema.remove_metadata()))
    return memoryview(sink.getvalue()).cast("B")


def _row_group(chunks: list[Struct], rows: int, number: int) -> Struct:
    metas = [footer.get(c, Chunk.META) for c in chunks]
    size, stored = (
        sum(footer.get(m, f) for m in metas) for f in (ColumnMeta.BYTES, ColumnMeta.STORED_BYTES)
    )
    return {
        RowGroup.COLUMNS: footer.structs(chunks),
        RowGroup.BYTES: (I64, size),
        RowGroup.ROWS: (I64, rows),
        RowGroup.OFFSET: (I64, footer.chunk_range(metas[0])[0]),
        RowGroup.STORED_BYTES: (I64, stored),
        RowGroup.ORDINAL: (I16, number),
    }


def _update(state: Any, buffers: Sequence[Any]) -> None:
    for buffer in buffers:
        state.update(buffer)
