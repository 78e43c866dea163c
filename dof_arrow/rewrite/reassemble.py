"""An edited file put together: the data copied as they are, then attachments, then a new footer.

The system copies the bytes of all chunks, sharing them where it can. Only the tail segment is
digested anew. The digests of the data are kept as they stand, so that damage from before an edit is
still found after it (SPEC sections 4.2, 5 and 7).
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow.errors import FormatError, OutputError
from dof_arrow.format.file import File, open_file
from dof_arrow.format.parquet import digests, footer
from dof_arrow.format.parquet.footer import BINARY, FileMetaData, Struct
from dof_arrow.format.spec import metadata
from dof_arrow.format.spec.arrow import KEY
from dof_arrow.format.spec.json_model import Json
from dof_arrow.rewrite.edit_check import ARROW_SCHEMA, SIGNATURE, known_digests
from dof_arrow.rewrite.edit_documents import EditedDocument, described
from dof_arrow.rewrite.metadata_edit import section
from dof_arrow.storage.atomic import Output
from dof_arrow.storage.copy import blocks, copy


def reassemble(
    source: File,
    struct: Struct,
    value: Json,
    documents: Sequence[EditedDocument],
    output: Output,
) -> None:
    """Write the edited file: the old one's data, then its footer `struct` with other metadata.

    `value` is the metadata but for the places of attachments, which are found while writing.
    Raises FormatError if an attachment to keep is damaged.
    """
    tail_start = digests.segments(struct, source.footer_start)[-1][0]
    copy(source.file, output, max(tail_start, len(footer.MAGIC)))
    # Without chunks the tail segment begins at byte 0, so what was copied may be part of it.
    state = hashlib.sha256(os.pread(source.file, output.size - tail_start, tail_start))
    if value.get("errors") is not None:
        value = {**value, "errors": _keep(source, value["errors"], output, state)}
    entries = []
    for document in documents:
        if isinstance(document, Path):
            entries.append(_attach(document, output, state))
        else:
            entries.append(_keep(source, document, output, state))
    complete: Json = section(value, "documents", entries)
    output.write(_tail(struct, metadata.encode(complete), state.digest()))


def arrow_schema(value: bytes, data: bytes) -> bytes:
    """The value of the key `ARROW:schema` with `data` as its metadata; pyarrow makes the bytes."""
    try:
        schema = pa.ipc.read_schema(pa.BufferReader(b64decode(value, validate=True)))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise footer.unreadable(str(error)[:200], "footer-schema", "ARROW:schema") from None
    keys = {**(schema.metadata or {}), KEY: data}
    return b64encode(schema.with_metadata(keys).serialize().to_pybytes())


def _keep(source: File, about: Json, output: Output, state: Any) -> Json:
    """Append an attachment of the old file once more; FormatError if its digest is false."""
    start = about["offset"]
    where = _append(blocks(source.file, start, start + about["length"]), output, state)
    if where["sha256"] != about["sha256"]:
        name = about.get("name")
        raise FormatError(
            "an attachment is damaged",
            str(source.path),
            about["sha256"],
            where["sha256"],
            f"To go on without it: --detach {name}" if name else "Edit an undamaged copy.",
        )
    return {**about, **where}


def _attach(path: Path, output: Output, state: Any) -> Json:
    file = open_file(path)
    try:
        size = os.fstat(file).st_size
        return described(path, _append(blocks(file, 0, size), output, state))
    finally:
        os.close(file)


def _append(blocks: Iterable[bytes], output: Output, state: Any) -> dict[str, Json]:
    """Write blocks; `state` goes on digesting the tail segment. Says where they lie."""
    start = output.size
    own = hashlib.sha256()
    for block in blocks:
        output.write(block)
        own.update(block)
        state.update(block)
    return {"offset": start, "length": output.size - start, "sha256": own.hexdigest()}


def _tail(struct: Struct, data: bytes, digest: bytes) -> bytes:
    """Footer, length and magic: the old footer with new metadata, the tail's digest and a seal.

    The metadata stands in two places: under its own key and in the Arrow schema.
    """
    keys = dict(footer.key_values(struct))
    new = {
        KEY: data,
        ARROW_SCHEMA: arrow_schema(keys[ARROW_SCHEMA], data),
        digests.SEAL: digests.UNSEALED,
        digests.DIGESTS: digests.encode_digests([*known_digests(keys)[:-1], digest]),
    }
    encoded = footer.encode({**struct, FileMetaData.KEYS: footer.structs(_pairs(struct, new))})
    if len(encoded) + footer.TAIL > footer.MAX_FOOTER:
        raise OutputError(
            "the footer would be too large",
            "",
            f"at most {footer.MAX_FOOTER} bytes",
            str(len(encoded)),
            "Attach long texts as documents instead.",
        )
    return digests.seal(encoded + len(encoded).to_bytes(4, "little") + footer.MAGIC)


def _pairs(struct: Struct, new: dict[bytes, bytes]) -> list[Struct]:
    """The keys and values of a footer in their order, with new values, without a signature."""
    pairs = []
    for pair in footer.items(struct, FileMetaData.KEYS):
        key = footer.get(pair, 1)
        if key in new:
            pairs.append({**pair, 2: (BINARY, new[key])})
        elif key != SIGNATURE:
            pairs.append(pair)
    return pairs
