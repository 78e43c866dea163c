"""The errors table and the documents inside a file: where they lie, and what they hold (SPEC 5)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from dof_arrow.errors import Problem
from dof_arrow.format.parquet import digests, footer
from dof_arrow.format.parquet.compact import Struct
from dof_arrow.format.spec.file_rules import is_error
from dof_arrow.format.spec.metadata import Attachment, Errors, Metadata
from dof_arrow.format.spec.rules import problem
from dof_arrow.format.validation.file_parts import FileParts
from dof_arrow.format.validation.spans import Span, overlaps


def problems(parts: FileParts, metadata: Metadata, deep: bool) -> Iterator[Problem]:
    """Attachments out of place, and (deep) those that are not what the metadata says."""
    first = _end_of_chunks(parts.footer)
    placed = _placed(metadata)
    sound: dict[str, Attachment] = {}
    spans = []
    for where, attachment in placed.items():
        start = attachment.offset
        end = start + attachment.length
        if first <= start <= end <= parts.start:
            sound[where] = attachment
            spans.append(Span(start, end, where))
    for where in sorted(placed.keys() - sound.keys()):
        expected = f"bytes {first} to {parts.start}"
        yield problem("attachment-bounds", where, expected, "others")
    yield from overlaps("attachment-bounds", spans)
    if deep:
        for where, attachment in sound.items():
            yield from _content(parts.file, where, attachment)


def _end_of_chunks(struct: Struct) -> int:
    ends = []
    for _, _, meta in footer.chunks(struct):
        _, end = footer.chunk_range(meta)
        ends.append(end)
    return max(ends, default=len(footer.MAGIC))


def _placed(metadata: Metadata) -> dict[str, Attachment]:
    """Every attachment, by its place in the metadata."""
    placed: dict[str, Attachment] = {}
    if metadata.errors:
        placed["$.errors"] = metadata.errors
    for number, document in enumerate(metadata.documents):
        placed[f"$.documents[{number}]"] = document
    return placed


def _content(file: int, where: str, attachment: Attachment) -> Iterator[Problem]:
    start = attachment.offset
    found = digests.digest(file, start, start + attachment.length).hex()
    if found != attachment.sha256:
        yield problem("attachment-digest", where, attachment.sha256, found)
    if isinstance(attachment, Errors):
        data = os.pread(file, attachment.length, start)
        yield from _errors_table(data.splitlines(), attachment, where)


def _errors_table(lines: Sequence[bytes], attachment: Errors, where: str) -> Iterator[Problem]:
    for number, line in enumerate(lines, 1):
        if not is_error(line):
            expected = "objects of the texts id, rule, reason and, where known, group"
            yield problem("errors-table", where, expected, f"line {number}")
            return
    if len(lines) != attachment.rows:
        expected = f"{attachment.rows} lines"
        yield problem("errors-table", where, expected, len(lines))
