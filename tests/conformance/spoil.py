"""Files changed in one respect and made whole again in all others: digests, uuid and seal are those of the change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from dof_arrow import footer, integrity, layout
from dof_arrow.footer import BINARY, ColumnMeta, FileMetaData, Page, Struct
from dof_arrow.metadata import Json
from dof_arrow.place import assemble, content_uuid
from dof_arrow.reading import arrow_schema, parquet_metadata

Edit = Callable[[Any], Any]


def split(data: bytes) -> tuple[bytes, bytes]:
    """A file's body, and its footer with length and magic."""
    length = footer.footer_length(data[-8:], len(data))
    return data[:-length], data[-length:]


def spoiled(
    data: bytes, *, body: Edit | None = None, footer: Edit | None = None, meta: Edit | None = None,
    schema: Edit | None = None, keys: Edit | None = None, late: Edit | None = None,
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
    value["uuid"] = content_uuid(digests[:-1], [c["sha256"] for c in value.get("cores", {}).values()])
    if meta:
        meta(value)
    table = arrow_schema(parquet_metadata(tail)).with_metadata({b"dof": encoded(value)})
    made = _decoded(assemble(schema(table) if schema else table, groups_of(struct), digests))
    made[FileMetaData.ROWS] = struct[FileMetaData.ROWS]
    return before + sealed(made, keys, late)


def sealed(struct: Struct, keys: Edit | None = None, late: Edit | None = None) -> bytes:
    """Footer, length and magic with a true seal, if the keys still have one."""
    pairs = [(k, integrity.UNSEALED if k == integrity.SEAL else v) for k, v in _pairs(struct)]
    footer.set_key_values(struct, keys(pairs) if keys else pairs)
    if late:
        late(struct)
    return closed(footer.encode(struct))


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
    return next(m for g, _, m in footer.chunks(struct)
                if g == group and footer.items(m, ColumnMeta.PATH)[0] == column.encode())


def changed(struct: Struct, field: int, change: Callable[[Any], Any]) -> None:
    """Change one field of a struct."""
    footer.put(struct, field, change(footer.get(struct, field)))


def releveled(data: bytes, rows: int, width: int, levels: bytes) -> bytes:
    """A one-group file whose column `feature` (float32) has these levels instead; the padding before takes up the rest."""
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

    return spoiled(data, body=lambda b: b[: b.index(ours) - more] + theirs + b[b.index(ours) + len(ours) :], footer=edit)


def set_created_by(name: str) -> Edit:
    """An edit that puts another program's name into the footer."""
    return lambda struct: struct.update({FileMetaData.CREATED_BY: (BINARY, name.encode())})


def encoded(value: Json) -> bytes:
    """Metadata as the writer encodes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def retyped(name: str, **change: Any) -> Edit:
    """A map of the Arrow schema in which one field is another: its type, name or nullability."""
    def edit(schema: pa.Schema) -> pa.Schema:
        index = schema.get_field_index(name)
        field = schema.field(index)
        new = pa.field(change.get("name", name), change.get("type", field.type), change.get("nullable", field.nullable))
        return schema.set(index, new)
    return edit


def _decoded(tail: bytes) -> Struct:
    return footer.decode(tail[:-8])[0]


def _pairs(struct: Struct) -> list[tuple[bytes, bytes]]:
    return list(footer.key_values(struct))


def _sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
