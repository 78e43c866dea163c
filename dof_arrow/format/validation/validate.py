"""Every check of a file or directory, every problem at once (SPEC appendix A).

A file is looked at from the outside in: structure, seal, metadata, layout, data. Where something
cannot be read, what lies behind it is not looked at; all else is. Nothing that a file claims makes
this take more memory than a small multiple of the file, or 512 MiB.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa

from dof_arrow.errors import FormatError, Problem
from dof_arrow.format.directory import SUFFIX
from dof_arrow.format.file import arrow_schema, open_file, parquet_metadata
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.remote_file import RemoteFile
from dof_arrow.format.spec import column_types, metadata, references
from dof_arrow.format.spec.arrow import KEY
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import VERSION, Metadata
from dof_arrow.format.spec.rules import problem
from dof_arrow.format.validation import (
    attachments,
    data,
    directory,
    mapped,
    seal,
    structure,
)
from dof_arrow.format.validation.contents import Contents
from dof_arrow.format.validation.file_parts import FileParts
from dof_arrow.storage.addresses import Address, Location, location, on_disk

_ARROW = b"ARROW:schema"
_MOST = 1000  # problems told of one file
_MAX_TOLD = 400  # letters of a text in a problem


def validate(path: str | os.PathLike[str], deep: bool = False) -> list[Problem]:
    """Every problem of a DoF file or of a directory of them, none if it is valid.

    `deep` also reads every byte. A copy that another program rewrote is no valid DoF file: it gets
    the one problem `derived-copy`, and those of what it still says about itself. Raises UsageError
    if there is no such file.

    >>> validate("no-such.parquet")
    Traceback (most recent call last):
    dof_arrow.errors.UsageError: no-such.parquet: no such file
    """

    def check(file: Location) -> list[Problem]:
        return _of_file(file, deep)

    place = location(path)
    if isinstance(place, Address) and place.suffix != SUFFIX:
        return check(place)
    here = on_disk(place)
    if here.is_dir():
        return list(directory.problems(here, check, deep))
    return check(here)


def _of_file(path: Location, deep: bool) -> list[Problem]:
    found: list[Problem] = []
    with _opened(path) as file:
        try:
            for told in _problems(file, os.fstat(file).st_size, deep):
                found.append(told)
                if len(found) == _MOST:
                    break
        except FormatError as error:  # what lies behind it cannot be looked at
            found.extend(error.problems)
    return [_printable(told) for told in found]


@contextmanager
def _opened(path: Location) -> Iterator[int]:
    if isinstance(path, Address):
        yield RemoteFile(path).file  # a copy of all of it
        return
    file = open_file(path)
    try:
        yield file
    finally:
        os.close(file)


def _printable(told: Problem) -> Problem:
    """A problem whose texts can be printed, whatever the file says."""
    return replace(
        told,
        where=_shown(told.where),
        expected=_shown(told.expected),
        found=_shown(told.found),
    )


def _shown(text: str) -> str:
    # JSON may hold half of a surrogate pair, which no encoding has.
    return text[:_MAX_TOLD].encode("utf-8", "backslashreplace").decode()


def _problems(file: int, size: int, deep: bool) -> Iterator[Problem]:
    head = os.pread(file, 4, 0)
    if head != footer.MAGIC:
        yield problem("file-magic", "start of file", footer.MAGIC, head)
    tail = footer.read(file, size)
    struct, slack = structure.parse(tail)
    yield from slack
    yield from structure.problems(struct, size - len(tail))
    keys = dict(footer.key_values(struct))
    parts = FileParts(file, size, tail, struct, keys)
    value, unreadable = _json(parts)
    derived = seal.is_derived(parts, value)
    if derived:
        expected = seal.generator(value)
        yield problem("derived-copy", "footer", expected, seal.creator(parts))
    else:
        yield from seal.problems(parts, deep)
    yield from unreadable
    parquet = parquet_metadata(tail)
    outline = Outline(tail)
    misplaced = list(structure.columns(struct, parquet))
    misplaced += _elsewhere(outline)
    yield from misplaced
    if value is not None:
        deep = deep and not misplaced
        yield from _described(parts, outline, parquet, value, derived, deep)


def _json(parts: FileParts) -> tuple[Json, Sequence[Problem]]:
    """The metadata, or None and the problems that keep it from being read."""
    if KEY not in parts.keys:
        found = "a Parquet file without it"
        return None, [problem("metadata-absent", "footer", "a DoF file", found)]
    try:
        return metadata.parse(parts.keys[KEY]), []
    except FormatError as error:
        return None, error.problems


def _elsewhere(outline: Outline) -> Iterator[Problem]:
    return (told for told in outline.misplaced if told.rule == "chunk-elsewhere")


def _described(
    parts: FileParts, outline: Outline, parquet: Any, value: Json, derived: bool, deep: bool
) -> Iterator[Problem]:
    """What the metadata says, against itself, the table and the bytes."""
    schema = arrow_schema(parquet)
    if not derived:
        yield from _arrow_copy(parts, schema)
    unknown = list(_unknown(value))
    if unknown:
        raise FormatError("of a later version", problems=unknown)
    meta = metadata.from_json(value, Metadata)
    yield from references.references(meta)
    yield from column_types.listed(meta, schema)
    if not _can_be_checked(parts, schema):
        return
    proof = mapped.Proved()
    if not derived:
        proof = yield from _original(parts, outline, meta, schema, deep)
    if deep:
        contents = Contents(parts, parquet, schema, outline, proof)
        yield from data.problems(contents, _about_rows_here(meta, outline))


def _can_be_checked(parts: FileParts, schema: pa.Schema) -> bool:
    """Whether columns can be told apart by name, and have kept their types."""
    names = schema.names
    return len(set(names)) == len(names) and _ARROW in parts.keys


def _original(
    parts: FileParts, outline: Outline, meta: Metadata, schema: pa.Schema, deep: bool
) -> Generator[Problem, None, mapped.Proved]:
    """What a file must keep to that no other program rewrote; returns what is mapped."""
    mistyped = list(column_types.typed(meta, schema))
    yield from mistyped
    yield from attachments.problems(parts, meta, deep)
    if not _is_manifest(meta, outline):
        yield from seal.uuid_problems(parts, meta)
    wrong = [told.where for told in mistyped if told.rule == "vector-type"]
    fields = []
    for field in schema:
        if f"column {field.name}" not in wrong:
            fields.append(field)
    return (yield from mapped.problems(parts, outline, meta, fields))


def _is_manifest(meta: Metadata, outline: Outline) -> bool:
    """Whether a file has no rows of its own, but speaks for those of other files."""
    return bool(meta.parts) and not outline.rows


def _about_rows_here(meta: Metadata, outline: Outline) -> Metadata:
    """The metadata without the splits of other files' rows."""
    if _is_manifest(meta, outline):
        return replace(meta, splits={})
    return meta


def _arrow_copy(parts: FileParts, schema: pa.Schema) -> Iterator[Problem]:
    """An Arrow schema that is missing, or carries other metadata than the footer."""
    if _ARROW not in parts.keys:
        yield problem("schema-arrow", "footer", "an Arrow schema", "nothing")
        return
    copy = schema.metadata or {}
    if copy.get(KEY) != parts.keys[KEY]:
        yield problem("schema-copy", "footer", "the same metadata", "other metadata")


def _unknown(value: Json) -> Iterator[Problem]:
    """What a later version of the specification may have brought."""
    version = str(value.get("version", VERSION))
    if _major(version) != _major(VERSION):
        yield problem("metadata-version", "$.version", f"{_major(VERSION)}.x", version)
    must = value.get("must_understand")
    names = must if isinstance(must, list) else []
    for name in map(str, names):
        if name not in Metadata.__dataclass_fields__:
            where = "$.must_understand"
            yield problem("metadata-understand", where, "a field of this version", name)


def _major(version: str) -> str:
    return version.split(".")[0]
