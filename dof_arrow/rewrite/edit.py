"""The information section of a file rewritten, its data untouched and not read again (SPEC sections 4.2, 5 and 7).

A new file is made beside the old one: the bytes of all chunks are copied by the system (shared, where it can share
them), the attachments follow, then a footer with the same row groups, new metadata and a new seal; the rename puts
it in the old one's place. Only the tail segment is digested anew. The data's digests are kept as they stand, so that
damage from before an edit is still found after it; and a file whose seal is false is not edited, for a new seal would
hide that.
"""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning, FormatError, OutputError, Problem, UsageError
from dof_arrow.format.file import File, open_file
from dof_arrow.format.parquet import digests, footer
from dof_arrow.format.parquet.footer import BINARY, FileMetaData, Struct
from dof_arrow.format.spec import metadata
from dof_arrow.format.spec.arrow import KEY
from dof_arrow.format.spec.json_diff import Change, changes
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import Contact
from dof_arrow.format.spec.rules import problem
from dof_arrow.format.validation import references, structure
from dof_arrow.rewrite.metadata_edit import Wanted, remarks, revised, section
from dof_arrow.storage.atomic import Output, replacing
from dof_arrow.storage.copy import blocks, copy

SIGNATURE = b"dof.signature"
_ARROW = b"ARROW:schema"
_MEDIA_TYPES = {
    ".bib": "application/x-bibtex",
    ".csv": "text/csv",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".gif": "image/gif",
    ".html": "text/html",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".tex": "application/x-tex",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
}  # not the system's own table: equal edits give equal bytes on every machine


@dataclass(frozen=True, slots=True, kw_only=True)
class EditPlan:
    """An edit that may be carried out: what it changes, and all that the new file is made of.

    `documents` are the attachments to keep, as the metadata describes them, and the files to attach, in their order.
    """

    source: File
    footer: Struct
    value: Json
    documents: Sequence[Json | Path]
    changes: Sequence[Change]

    @property
    def segments(self) -> list[tuple[int, int]]:
        """The segments of the old file."""
        return digests.segments(self.footer, self.source.footer_start)


def edit(
    path: str | os.PathLike[str],
    *,
    set: Mapping[str, Json] | None = None,
    unset: Sequence[str] = (),
    info: Mapping[str, Json] | str | os.PathLike[str] | None = None,
    contacts: Sequence[Contact | Mapping[str, Json]] = (),
    training: Mapping[str, Json] | str | os.PathLike[str] | None = None,
    performance: Mapping[str, Json] | str | os.PathLike[str] | None = None,
    attach: Sequence[str | os.PathLike[str]] = (),
    detach: Sequence[str] = (),
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    drop_signature: bool = False,
) -> Dataset:
    """Rewrite what a file says of itself, in place or as `out`; returns the file, opened.

    `Wanted` says what each argument does; sections may be given as JSON files. Data are copied as bytes and neither
    read nor digested, and damage in them stays detectable. uuid, provenance, mode bits and, where the system allows
    it, the owner are kept. An edit that changes nothing writes nothing.

    Raises UsageError for what cannot be set, FormatError for a file that is not whole (its seal is false or absent,
    an attachment is damaged), OutputError if the new file cannot be written or the old one is signed and
    `drop_signature` is not given.

    >>> import numpy, tempfile
    >>> from dof_arrow.format.writer import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.dof.parquet")) as w:
    ...         w.write(ids=["a"], vectors={"feature": numpy.eye(1, dtype="f4")})
    ...     edit(Path(folder, "x.dof.parquet"), set={"title": "One row"}).metadata.info.title
    'One row'
    """
    wanted = Wanted(
        info=_mapping(info),
        unset=unset,
        set=set or {},
        contacts=contacts,
        training=_mapping(training),
        performance=_mapping(performance),
        detach=detach,
        attach=attach,
    )
    return carry_out(prepare(path, wanted, drop_signature=drop_signature), out, overwrite=overwrite)


def prepare(
    path: str | os.PathLike[str], wanted: Wanted, *, drop_signature: bool = False
) -> EditPlan:
    """What an edit would change; nothing is written. Warns (DofWarning) of licences and sections of unusual form.

    Raises as `edit` does.
    """
    source = File(Path(os.path.realpath(path)))  # a link goes on pointing at the file
    struct = _whole(source, drop_signature)
    documents = _documents(source, wanted)
    value = _checked(revised(source.json, wanted), documents, source.path)
    found = changes(_told(source.json, source.json.get("documents", [])), _told(value, documents))
    if _signed(struct):
        found.append(Change(where="signature", old="signed", new=None))
    for remark in remarks(found, value):
        warnings.warn(remark, DofWarning, stacklevel=2)
    return EditPlan(source=source, footer=struct, value=value, documents=documents, changes=found)


def carry_out(
    plan: EditPlan, out: str | os.PathLike[str] | None = None, *, overwrite: bool = False
) -> Dataset:
    """Write the edited file in the old one's place, or as `out`, atomically; returns it, opened."""
    target = plan.source.path if out is None else Path(out)
    if out is None and not plan.changes:
        return dataset.open(target)
    mode = stat.S_IMODE(os.fstat(plan.source.file).st_mode)
    with replacing(target, overwrite=overwrite or out is None, mode=mode) as output:
        if out is None:
            _refuse_replaced(plan.source)
        _write(plan, output)
        _give_owner(plan.source.file, output.file)
    return dataset.open(target)


def read_json(path: str | os.PathLike[str]) -> dict[str, Json]:
    """The JSON object in a file; UsageError if there is none."""
    file = open_file(Path(path))
    try:
        data = b"".join(blocks(file, 0, min(os.fstat(file).st_size, metadata.MAX_BYTES + 1)))
        return dict(metadata.parse(data))
    except FormatError as error:
        raise UsageError(
            "not readable as JSON", str(path), "an object", error.problems[0].found
        ) from None
    finally:
        os.close(file)


def _mapping(
    given: Mapping[str, Json] | str | os.PathLike[str] | None,
) -> Mapping[str, Json] | None:
    return given if given is None or isinstance(given, Mapping) else read_json(given)


def _whole(source: File, drop_signature: bool) -> Struct:
    """The footer of a file that may be edited: sealed, sound, its attachments in their places, no signature lost."""
    look = f"dof validate --deep {source.path}"
    if source.state != "sealed":
        what = (
            "its seal is false: it was changed after it was written, or is damaged"
            if source.seal
            else ("it has no seal: another program rewrote it")
        )
        raise FormatError(
            f"a new seal would hide what became of this file: {what}",
            str(source.path),
            hint=f"Edit the original, or see what is wrong: {look}",
        )
    struct, found = structure.parse(footer.read(source.file, source.size))
    if found := [*found, *_flaws(source, struct)]:
        raise FormatError(
            "not laid out as the specification says",
            str(source.path),
            problems=found,
            hint=f"See what else is wrong: {look}",
        )
    if _signed(struct) and not drop_signature:
        raise OutputError(
            "the file is signed, and an edited file is another",
            str(source.path),
            hint="Give --drop-signature, and sign it anew.",
        )
    return struct


def _flaws(source: File, struct: Struct) -> Iterator[Problem]:
    """What stands in the way of putting this file together again without losing anything."""
    yield from structure.problems(struct, source.footer_start)
    keys, segments = dict(footer.key_values(struct)), digests.segments(struct, source.footer_start)
    if _ARROW not in keys:
        yield problem("schema-arrow", "footer")
    if len(_digests(keys)) != len(segments):
        yield problem("digests-count", "footer", len(segments), len(_digests(keys)))
    known, at = source.metadata, max(segments[-1][0], len(footer.MAGIC))
    for attachment in filter(None, [known.errors, *known.documents]):
        if attachment.offset != at:
            yield problem("attachment-bounds", "an attachment", f"byte {at}", attachment.offset)
        at = attachment.offset + attachment.length
    if at != source.footer_start:
        yield problem(
            "attachment-bounds", "the tail segment", "attachments alone", "other bytes behind them"
        )


def _signed(struct: Struct) -> bool:
    return SIGNATURE in dict(footer.key_values(struct))


def _digests(keys: Mapping[bytes, bytes]) -> list[bytes]:
    return digests.decode_digests(keys.get(digests.DIGESTS, b"")) or []


def _documents(source: File, wanted: Wanted) -> list[Json | Path]:
    """The documents to keep and the files to attach; a file takes the place of a detached document of its name."""
    old = {str(d["name"]): d for d in source.json.get("documents", [])}
    if unknown := [name for name in wanted.detach if name not in old]:
        raise UsageError(
            "no such document", str(source.path), ", ".join(old) or "none", ", ".join(unknown)
        )
    new = [Path(path) for path in wanted.attach]
    for path in new:
        os.close(open_file(path))
        if path.name in old and path.name not in wanted.detach:
            raise UsageError(
                "a document of this name is attached already",
                str(source.path),
                found=path.name,
                hint=f"To replace it: --detach {path.name} --attach {path}",
            )
    places: dict[str, list[Json | Path]] = {
        name: [] if name in wanted.detach else [d] for name, d in old.items()
    }
    for path in new:
        places.setdefault(path.name, []).append(path)
    return list(chain.from_iterable(places.values()))


def _checked(value: Json, documents: Sequence[Json | Path], path: Path) -> Json:
    """The new metadata as JSON, checked as a reader will check it, documents included."""
    described = [
        _described(d, {"offset": 4, "length": 0, "sha256": "0" * 64}) if isinstance(d, Path) else d
        for d in documents
    ]
    complete: Json = section(value, "documents", described)
    try:
        metadata.parse(metadata.encode(complete))
        found: list[Problem] = list(metadata.problems(complete))
        found += [] if found else references.references(metadata.from_json(complete))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError("a value that is no JSON", str(path), found=str(error)[:200]) from None
    if found:
        raise FormatError("the metadata would not be valid", str(path), problems=found)
    return value


def _described(path: Path, where: Mapping[str, Json]) -> Json:
    return {
        **where,
        "name": path.name,
        "media_type": _MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream"),
    }


def _told(value: Mapping[str, Json], documents: Iterable[Json | Path]) -> Json:
    """The metadata for comparing: documents by name, each by its type and size."""
    return {**value, "documents": dict(map(_label, documents))}


def _label(document: Json | Path) -> tuple[str, str]:
    if isinstance(document, Path):
        about = _described(document, {"length": document.stat().st_size})
        return about["name"], f"{about['media_type']}, {about['length']:,} bytes, from {document}"
    return document["name"], f"{document['media_type']}, {document['length']:,} bytes"


def _refuse_replaced(source: File) -> None:
    # Another edit may have been committed between opening the file and locking it; its changes must not be lost.
    if not os.path.samestat(os.stat(source.path), os.fstat(source.file)):
        raise OutputError(
            "the file was replaced by another process meanwhile",
            str(source.path),
            hint="Repeat the command.",
        )


def _give_owner(old: int, new: int) -> None:
    """Give a new file the owner and group of an old one where the system allows it.

    That comes last: what a kill leaves while it is written is ours, or else the next edit would
    be refused.
    """
    like = os.fstat(old)
    for user, group in ((-1, like.st_gid), (like.st_uid, -1)):
        with suppress(OSError):
            os.fchown(new, user, group)


def _write(plan: EditPlan, output: Output) -> None:
    first = plan.segments[-1][0]
    copy(plan.source.file, output, max(first, len(footer.MAGIC)))
    state = hashlib.sha256(os.pread(plan.source.file, output.size - first, first))
    value = plan.value
    if (errors := value.get("errors")) is not None:
        value = {**value, "errors": _keep(plan.source, errors, output, state)}
    documents = [
        _attach(d, output, state) if isinstance(d, Path) else _keep(plan.source, d, output, state)
        for d in plan.documents
    ]
    complete: Json = section(value, "documents", documents)
    output.write(_tail(plan.footer, metadata.encode(complete), state.digest()))


def _keep(source: File, about: Json, output: Output, state: Any) -> Json:
    """Append an attachment of the old file once more; FormatError if it is not what its digest says."""
    where = _append(
        blocks(source.file, about["offset"], about["offset"] + about["length"]), output, state
    )
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
        return _described(path, _append(blocks(file, 0, os.fstat(file).st_size), output, state))
    finally:
        os.close(file)


def _append(blocks: Iterable[bytes], output: Output, state: Any) -> dict[str, Json]:
    start, own = output.size, hashlib.sha256()
    for block in blocks:
        output.write(block)
        own.update(block)
        state.update(block)
    return {"offset": start, "length": output.size - start, "sha256": own.hexdigest()}


def _tail(struct: Struct, data: bytes, digest: bytes) -> bytes:
    """Footer, length and magic: the old footer with the metadata in both its places, the tail's digest and the seal."""
    keys = dict(footer.key_values(struct))
    new = {
        KEY: data,
        _ARROW: _arrow_schema(keys[_ARROW], data),
        digests.SEAL: digests.UNSEALED,
        digests.DIGESTS: digests.encode_digests([*_digests(keys)[:-1], digest]),
    }
    pairs = [
        {**pair, 2: (BINARY, new[footer.get(pair, 1)])} if footer.get(pair, 1) in new else pair
        for pair in footer.items(struct, FileMetaData.KEYS)
        if footer.get(pair, 1) != SIGNATURE
    ]
    encoded = footer.encode({**struct, FileMetaData.KEYS: footer.structs(pairs)})
    if len(encoded) + footer.TAIL > footer.MAX_FOOTER:
        raise OutputError(
            "the footer would be too large",
            "",
            f"at most {footer.MAX_FOOTER} bytes",
            str(len(encoded)),
            "Attach long texts as documents instead.",
        )
    return digests.seal(encoded + len(encoded).to_bytes(4, "little") + footer.MAGIC)


def _arrow_schema(value: bytes, data: bytes) -> bytes:
    """The key `ARROW:schema` with other metadata in it; pyarrow makes its bytes."""
    try:
        schema = pa.ipc.read_schema(pa.BufferReader(b64decode(value, validate=True)))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise footer.unreadable(str(error)[:200], "footer-schema", "ARROW:schema") from None
    return b64encode(
        schema.with_metadata({**(schema.metadata or {}), KEY: data}).serialize().to_pybytes()
    )
