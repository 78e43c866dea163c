"""Whether a file is what its writer sealed: seal, digests and uuid (SPEC 4.2 and 7)."""

from __future__ import annotations

from collections.abc import Iterator

from dof_arrow.errors import Problem
from dof_arrow.format.parquet import digests as integrity
from dof_arrow.format.parquet.compact import get
from dof_arrow.format.parquet.footer import FileMetaData
from dof_arrow.format.parquet.row_groups import content_uuid
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.format.spec.rules import problem
from dof_arrow.format.validation.file_parts import FileParts

Segment = tuple[int, int]  # start and end in bytes


def is_derived(parts: FileParts, value: Json | None) -> bool:
    """Whether another program wrote the file: it left its own name there, and no true seal.

    `value` is the metadata, or None if it cannot be read.
    """
    if value is None:
        return False
    _, is_true = _seal(parts)
    return not is_true and creator(parts) != generator(value)


def creator(parts: FileParts) -> str:
    """The program that wrote the file, as Parquet has it."""
    stated: bytes = get(parts.footer, FileMetaData.CREATED_BY, b"")
    return stated.decode("utf-8", "replace")


def generator(value: Json) -> str | None:
    """The program that wrote the file, as the metadata has it."""
    provenance = value.get("provenance")
    return provenance.get("generator") if isinstance(provenance, dict) else None


def problems(parts: FileParts, deep: bool) -> Iterator[Problem]:
    """A false seal, digests that do not fit the file, and (deep) bytes that do not fit them."""
    seal, is_true = _seal(parts)
    if integrity.SEAL not in parts.keys:
        yield problem("seal-missing", "footer", "64 hex digits", "nothing")
    elif not is_true:
        yield problem("seal-false", "footer", "the digest of the footer", seal)
    segments = integrity.segments(parts.footer, parts.start)
    digests = _digests(parts)
    if digests is None:
        yield problem("digests-form", "footer", "base64 of 32 bytes a segment", "something else")
    elif len(digests) != len(segments):
        yield problem("digests-count", "footer", len(segments), len(digests))
    elif deep:
        yield from _false_digests(parts, segments, digests)


def _false_digests(
    parts: FileParts, segments: list[Segment], digests: list[bytes]
) -> Iterator[Problem]:
    for (start, end), digest in zip(segments, digests, strict=True):
        inside = 0 <= start <= end <= parts.start
        if not inside or integrity.digest(parts.file, start, end) != digest:
            yield problem(
                "digest-false",
                where=f"bytes {start} to {end}",
                expected=digest.hex(),
                found="another",
            )


def uuid_problems(parts: FileParts, metadata: Metadata) -> Iterator[Problem]:
    """A uuid that does not derive from the content."""
    digests = _digests(parts)
    if digests is None:
        return
    cores = [core.sha256 for core in metadata.cores.values()]
    derived = content_uuid(digests[:-1], cores)  # the tail is no content
    if derived != metadata.uuid:
        yield problem("metadata-uuid", "$.uuid", derived, metadata.uuid)


def _seal(parts: FileParts) -> tuple[str | None, bool]:
    stated = parts.keys.get(integrity.SEAL)
    return integrity.read_seal(parts.tail, stated)


def _digests(parts: FileParts) -> list[bytes] | None:
    stated = parts.keys.get(integrity.DIGESTS, b"")
    return integrity.decode_digests(stated)
