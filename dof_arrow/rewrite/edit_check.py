"""Whether a file may be edited: sealed, sound, its attachments in their places, not signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dof_arrow.errors import FormatError, OutputError, Problem
from dof_arrow.format.file import File
from dof_arrow.format.parquet import digests, footer
from dof_arrow.format.parquet.footer import Struct
from dof_arrow.format.spec.rules import problem
from dof_arrow.format.validation import structure

SIGNATURE = b"dof.signature"
ARROW_SCHEMA = b"ARROW:schema"


def editable_footer(source: File, *, drop_signature: bool) -> Struct:
    """The footer of a file that may be edited.

    Raises FormatError if the file is not sealed or not sound, OutputError if it is signed and
    `drop_signature` is false.
    """
    look = f"dof validate --deep {source.path}"
    if source.state != "sealed":
        raise FormatError(
            f"a new seal would hide what became of this file: {_why_unsealed(source)}",
            str(source.path),
            hint=f"Edit the original, or see what is wrong: {look}",
        )
    struct, found = structure.parse(footer.read(source.file, source.size))
    found = [*found, *_flaws(source, struct)]
    if found:
        raise FormatError(
            "not laid out as the specification says",
            str(source.path),
            problems=found,
            hint=f"See what else is wrong: {look}",
        )
    if is_signed(struct) and not drop_signature:
        raise OutputError(
            "the file is signed, and an edited file is another",
            str(source.path),
            hint="Give --drop-signature, and sign it anew.",
        )
    return struct


def is_signed(struct: Struct) -> bool:
    """Whether a footer holds a signature."""
    return SIGNATURE in dict(footer.key_values(struct))


def known_digests(keys: Mapping[bytes, bytes]) -> list[bytes]:
    """The digests among the keys of a footer; none where they are missing or malformed."""
    return digests.decode_digests(keys.get(digests.DIGESTS, b"")) or []


def _why_unsealed(source: File) -> str:
    if source.seal:
        return "its seal is false: it was changed after it was written, or is damaged"
    return "it has no seal: another program rewrote it"


def _flaws(source: File, struct: Struct) -> Iterator[Problem]:
    """What keeps this file from being put together again without loss."""
    yield from structure.problems(struct, source.footer_start)
    keys = dict(footer.key_values(struct))
    segments = digests.segments(struct, source.footer_start)
    if ARROW_SCHEMA not in keys:
        yield problem("schema-arrow", "footer")
    stated = len(known_digests(keys))
    if stated != len(segments):
        yield problem("digests-count", "footer", len(segments), stated)
    tail_start = segments[-1][0]
    yield from _attachment_flaws(source, max(tail_start, len(footer.MAGIC)))


def _attachment_flaws(source: File, at: int) -> Iterator[Problem]:
    """Attachments that do not fill the file from byte `at` to the footer, one after the other."""
    known = source.metadata
    for attachment in filter(None, [known.errors, *known.documents]):
        if attachment.offset != at:
            yield problem("attachment-bounds", "an attachment", f"byte {at}", attachment.offset)
        at = attachment.offset + attachment.length
    if at != source.footer_start:
        yield problem(
            "attachment-bounds", "the tail segment", "attachments alone", "other bytes behind them"
        )
