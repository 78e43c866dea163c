"""Files changed in one respect and made whole again in all others: digests, uuid and seal are those of the change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dof_arrow.format.file import arrow_schema, parquet_metadata
from dof_arrow.format.parquet import digests as integrity
from dof_arrow.format.parquet import footer, layout
from dof_arrow.format.parquet.footer import ColumnMeta, FileMetaData, Page, Struct
from dof_arrow.format.parquet.row_groups import assemble, content_uuid
from dof_arrow.format.spec.json_model import Json

Edit = Callable[[Any], Any]


def split(data: bytes) -> tuple[bytes, bytes]:
    """A file's body, and its footer with length and magic."""
    length = footer.footer_length(data[-8:], len(data))
    return data[:-length], data[-length:]


def spoiled(
    data: bytes,
    *,
    body: Edit | None = None,
    footer: Edit | None = None,
    meta: Edit | None = None,
    schema: Edit | None = None,
    keys: Edit | None = None,
    late: Edit | None = None,
) -> bytes:
    """A file changed and sealed again.

    `body` maps its bytes before the footer; `footer` edits the footer struct (chunks, groups) before digests are
    taken; `meta` edits the metadata after the uuid was derived anew; `schema` maps the Arrow schema; `keys` maps the
    list of key-value pairs and `late` edits the footer struct, both before the seal is set.
    """
    before, tail = split(data)
    struct = _decoded(tail)
    before = body(before) if body else before
    if footer:
        footer(struct)
    digests = [_sha(before[a:b]) for a, b in integrity.segments(struct, len(before))]
    value = json.loads(dict(_pairs(struct))[b"dof"])
    value["uuid"] = content_uuid(
        digests[:-1], [c["sha256"] for c in value.get("cores", {}).values()]
    )
    if meta:
        meta(value)
    table = arrow_schema(parquet_metadata(tail))
    made = _composed(schema(table) if schema else table, groups_of(struct), digests, value)
    made[FileMetaData.ROWS] = struct[FileMetaData.ROWS]
    return before + sealed(made, keys, late)


def adopted(table: pa.Table, value: Json) -> bytes:
    """A file whose chunks pyarrow made and whose metadata is `value`, its uuid set right, sealed as if it were ours."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(), sink, compression="NONE")
    body, tail = split(sink.getvalue().to_pybytes())
    struct = _decoded(tail)
    digests = [_sha(body[a:b]) for a, b in integrity.segments(struct, len(body))]
    named = {**value, "uuid": content_uuid(digests[:-1], [])}
    return body + sealed(_composed(table.schema, groups_of(struct), digests, named))


def _composed(schema: pa.Schema, groups: list[Struct], digests: list[bytes], value: Json) -> Struct:
    return _decoded(assemble(schema.with_metadata({b"dof": encoded(value)}), groups, digests))


def sealed(struct: Struct, keys: Edit | None = None, late: Edit | None = None) -> bytes:
    """Footer, length and magic with a true seal, if the keys still have one."""
    pairs = [(k, integrity.UNSEALED if k == integrity.SEAL else v) for k, v in _pairs(struct)]
    footer.set_key_values(struct, keys(pairs) if keys else pairs)
    if late:
        late(struct)
    return closed(footer.encode(struct))


def respelled(data: bytes, spell: Callable[[Any], bytes]) -> bytes:
    """A file with the same body, its footer written by `spell` from the footer's struct, and sealed."""
    body, tail = split(data)
    struct = _decoded(tail)
    unsealed = [(k, integrity.UNSEALED if k == integrity.SEAL else v) for k, v in _pairs(struct)]
    footer.set_key_values(struct, unsealed)
    return body + closed(spell(struct))


def closed(data: bytes) -> bytes:
    """A footer's bytes with length, magic and, where there is a place for it, the seal."""
    tail = data + len(data).to_bytes(4, "little") + footer.MAGIC
    try:
        return integrity.seal(tail)
    except ValueError:
        return tail


def groups_of(struct: Struct) -> list[Struct]:
    """The row groups of a footer, to be changed in place."""
    groups: list[Struct] = struct[FileMetaData.GROUPS][1][1]
    return groups


def chunk(struct: Struct, column: str, group: int = 0) -> Struct:
    """The ColumnMeta of one column chunk, to be changed in place."""
    return next(
        m
        for g, _, m in footer.chunks(struct)
        if g == group and footer.items(m, ColumnMeta.PATH)[0] == column.encode()
    )


def changed(struct: Struct, field: int, change: Callable[[Any], Any]) -> None:
    """Change one field of a struct."""
    footer.put(struct, field, change(footer.get(struct, field)))


def releveled(data: bytes, rows: int, width: int, levels: bytes) -> bytes:
    """A one-group file whose column `feature` (float32) has these levels instead; padding makes up the difference."""
    column = layout.Fixed("feature", width, True, np.dtype("<f4"), np.dtype("<f4"))
    ours = layout.page_start(column, rows)
    old = layout.levels(rows, width)
    header = footer.decode(ours)[0]
    for field in (Page.BYTES, Page.STORED_BYTES):
        changed(header, field, lambda size: size + len(levels) - len(old))
    theirs = footer.encode(header) + levels
    more = len(theirs) - len(ours)

    def edit(struct: Struct) -> None:
        meta = chunk(struct, "feature")
        changed(meta, ColumnMeta.DATA_PAGE, lambda start: start - more)
        for field in (ColumnMeta.BYTES, ColumnMeta.STORED_BYTES):
            changed(meta, field, lambda size: size + more)

    def swap(body: bytes) -> bytes:
        at = body.index(ours)
        return body[: at - more] + theirs + body[at + len(ours) :]

    return spoiled(data, body=swap, footer=edit)


def encoded(value: Json) -> bytes:
    """Metadata as the writer encodes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _decoded(tail: bytes) -> Struct:
    return footer.decode(tail[:-8])[0]


def _pairs(struct: Struct) -> list[tuple[bytes, bytes]]:
    return list(footer.key_values(struct))


def _sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
