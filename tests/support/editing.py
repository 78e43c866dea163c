"""A small DoF file to edit, and footers of it that nobody of ours would write, under true seals."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dof_arrow.format.parquet import digests as integrity
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import FileMetaData, Struct, get, items
from dof_arrow.format.writer import Writer
from dof_arrow.rewrite.reassemble import arrow_schema
from tests.support import making

edit = importlib.import_module("dof_arrow.rewrite.edit")  # the package's own `edit` is the function
INFO = {"title": "Lungs", "license": "CC-BY-4.0", "keys": {"ward": "7"}}


def write(path: Path, info: Any = INFO, rows: int = 300, **options: Any) -> Path:
    feature = making.vectors(rows, 16)
    with Writer(path, {"info": info}, overwrite=True, **options) as w:
        w.write(
            ids=making.ids(rows), vectors={"feature": feature}, columns={"label": np.arange(rows)}
        )
        w.fail("lost", "truncated", "the picture ends too soon")
        w.attach("protocol.txt", b"how it was done", "text/plain")
    return path


def parts(path: Path) -> tuple[Struct, int, int]:
    """The footer, the end of the last chunk, the start of the footer."""
    data = path.read_bytes()
    length = footer.footer_length(data[-8:], len(data))
    struct = footer.decode(data[-length:-8])[0]
    return struct, integrity.segments(struct, len(data) - length)[-1][0], len(data) - length


def resealed(path: Path, change: Callable[[Struct], None], tail: bytes = b"") -> None:
    """Write another footer, true seal and all, with more bytes in the tail segment if asked."""
    struct, first, start = parts(path)
    body = path.read_bytes()[:start] + tail
    keys = dict(footer.key_values(struct))
    digests = (integrity.decode_digests(keys[integrity.DIGESTS]) or [])[:-1]
    digests.append(integrity.hashlib.sha256(body[first:]).digest())
    fresh = {
        integrity.DIGESTS: integrity.encode_digests(digests),
        integrity.SEAL: integrity.UNSEALED,
    }
    for pair in items(struct, FileMetaData.KEYS):
        if get(pair, 1) in fresh:
            footer.put(pair, 2, fresh[get(pair, 1)])
    change(struct)
    encoded = footer.encode(struct)
    path.write_bytes(
        body + integrity.seal(encoded + len(encoded).to_bytes(4, "little") + footer.MAGIC)
    )


def with_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    def both(struct: Struct) -> None:
        keys = dict(footer.key_values(struct))
        value = json.loads(keys[b"dof"])
        change(value)
        data = json.dumps(value, separators=(",", ":")).encode()
        for pair in items(struct, FileMetaData.KEYS):
            if get(pair, 1) == b"dof":
                footer.put(pair, 2, data)
            elif get(pair, 1) == b"ARROW:schema":
                footer.put(pair, 2, arrow_schema(keys[b"ARROW:schema"], data))

    resealed(path, both)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
