"""The errors table and the documents that lie inside a file: where they are, and what they hold (SPEC section 5)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import pairwise

from dof_arrow.errors import Problem
from dof_arrow.format.parquet import digests, footer
from dof_arrow.format.parquet.footer import Struct
from dof_arrow.format.spec.metadata import Attachment, Errors, Metadata
from dof_arrow.format.spec.rules import problem

_MAX_LINE = 1 << 16


def problems(
    file: int, struct: Struct, start: int, metadata: Metadata, deep: bool
) -> Iterator[Problem]:
    """Attachments out of place, or (deep) other than they are said to be; the footer begins at byte `start`."""
    placed = _placed(metadata)
    gap = max(
        (footer.chunk_range(meta)[1] for _, _, meta in footer.chunks(struct)),
        default=len(footer.MAGIC),
    )
    sound = {
        where: a for where, a in placed.items() if gap <= a.offset <= a.offset + a.length <= start
    }
    for where in sorted(placed.keys() - sound.keys()):
        yield problem("attachment-bounds", where, f"bytes {gap} to {start}", "others")
    spans = sorted((a.offset, a.offset + a.length, where) for where, a in sound.items())
    for (_, end, _), (first, _, where) in pairwise(spans):
        if first < end:
            yield problem("attachment-bounds", where, f"a start at {end} or later", first)
    if deep:
        for where, attachment in sound.items():
            yield from _content(file, where, attachment)


def _placed(metadata: Metadata) -> dict[str, Attachment]:
    documents: dict[str, Attachment] = {
        f"$.documents[{i}]": d for i, d in enumerate(metadata.documents)
    }
    return {"$.errors": metadata.errors, **documents} if metadata.errors else documents


def _content(file: int, where: str, attachment: Attachment) -> Iterator[Problem]:
    found = digests.digest(file, attachment.offset, attachment.offset + attachment.length).hex()
    if found != attachment.sha256:
        yield problem("attachment-digest", where, attachment.sha256, found)
    if isinstance(attachment, Errors):
        lines = os.pread(file, attachment.length, attachment.offset).splitlines()
        wrong = next((n for n, line in enumerate(lines, 1) if not _is_error(line)), None)
        if wrong is not None:
            yield problem(
                "errors-table", where, "objects of the texts id, rule and reason", f"line {wrong}"
            )
        elif len(lines) != attachment.rows:
            yield problem("errors-table", where, f"{attachment.rows} lines", len(lines))


def _is_error(line: bytes) -> bool:
    try:
        value = json.loads(line) if len(line) <= _MAX_LINE else None
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("id", "rule", "reason")
    )
