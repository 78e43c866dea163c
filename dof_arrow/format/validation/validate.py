"""Every check of a file or directory, every problem at once (SPEC appendix A): structure, seal, metadata, layout, data.

A file is looked at from the outside in. Where something cannot be read, what lies behind it is not looked at; all
else is. Nothing that a file claims makes this take more memory than a small multiple of the file, or 512 MiB.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa

from dof_arrow.errors import DofError, FormatError, Problem, UsageError
from dof_arrow.format import merge_metadata
from dof_arrow.format.directory import MANIFEST
from dof_arrow.format.file import File, arrow_schema, open_file, parquet_metadata, proved
from dof_arrow.format.parquet import digests as integrity
from dof_arrow.format.parquet import footer
from dof_arrow.format.parquet.footer import FileMetaData, Struct, get
from dof_arrow.format.parquet.layout import ALIGNMENTS, SMALL_ALIGNMENT, fixed, geometry
from dof_arrow.format.parquet.outline import Outline
from dof_arrow.format.parquet.proof import Unproved
from dof_arrow.format.parquet.row_groups import content_uuid
from dof_arrow.format.spec import metadata
from dof_arrow.format.spec.arrow import KEY
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import VERSION, Metadata
from dof_arrow.format.spec.rules import broken, problem
from dof_arrow.format.validation import attachments, contents, references, structure
from dof_arrow.storage.memory_map import Region

Regions = Mapping[str, Sequence[Region]]
_ARROW = b"ARROW:schema"
_MOST = 1000  # problems told of one file
Check = Callable[[Path], list[Problem]]
_SHARED = ("primary_column", "columns", "cores", "record", "targets")


@dataclass(frozen=True, slots=True)
class _Parts:
    """A file taken apart: its last bytes, the footer in them, and the footer's keys."""

    file: int
    size: int
    tail: bytes
    footer: Struct
    keys: dict[bytes, bytes]

    @property
    def start(self) -> int:
        """The footer's first byte."""
        return self.size - len(self.tail)


def validate(path: str | os.PathLike[str], deep: bool = False) -> list[Problem]:
    """Every problem of a DoF file, or of a directory of them, none if it is valid; `deep` also reads every byte.

    A copy that another program rewrote is no valid DoF file: it gets the one problem `derived-copy`, and those of what
    it still says about itself. Raises UsageError if there is no such file.

    >>> validate("no-such.parquet")
    Traceback (most recent call last):
    dof_arrow.errors.UsageError: no-such.parquet: no such file
    """
    if Path(path).is_dir():
        return list(directory_problems(Path(path), lambda file: validate(file, deep), deep))
    found: list[Problem] = []
    with _opened(Path(path)) as file:
        try:
            for told in _problems(file, os.fstat(file).st_size, deep):
                found.append(told)
                if len(found) == _MOST:
                    break
        except FormatError as error:  # what lies behind it cannot be looked at
            found.extend(error.problems)
    return [_printable(p) for p in found]


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = open_file(path)
    try:
        yield file
    finally:
        os.close(file)


def _printable(told: Problem) -> Problem:
    texts = {name: getattr(told, name) for name in ("where", "expected", "found")}
    return replace(
        told, **{k: v[:400].encode("utf-8", "backslashreplace").decode() for k, v in texts.items()}
    )


def _problems(file: int, size: int, deep: bool) -> Iterator[Problem]:
    head = os.pread(file, 4, 0)
    if head != footer.MAGIC:
        yield problem("file-magic", "start of file", footer.MAGIC, head)
    tail = footer.read(file, size)
    struct, slack = structure.parse(tail)
    yield from slack
    yield from structure.problems(struct, size - len(tail))
    parts = _Parts(file, size, tail, struct, dict(footer.key_values(struct)))
    value, unreadable = _json(parts.keys)
    derived = _is_derived(parts, value)
    if derived:
        yield problem("derived-copy", "footer", _generator(value), _creator(parts))
    else:
        yield from _sealed(parts, deep)
    yield from unreadable
    parquet = parquet_metadata(tail)
    outline = Outline(tail)
    misplaced = [*structure.columns(struct, parquet), *_elsewhere(outline)]
    yield from misplaced
    if value is not None:
        yield from _described(parts, outline, parquet, value, derived, deep and not misplaced)


def _elsewhere(outline: Outline) -> Iterator[Problem]:
    return (told for told in outline.misplaced if told.rule == "chunk-elsewhere")


def _json(keys: Mapping[bytes, bytes]) -> tuple[Json | None, Sequence[Problem]]:
    try:
        if KEY not in keys:
            raise broken("metadata-absent", "footer", "a DoF file", "a Parquet file without it")
        return metadata.parse(keys[KEY]), ()
    except FormatError as error:
        return None, error.problems


def _is_derived(parts: _Parts, value: Json | None) -> bool:
    """Whether another program wrote the file: it left its own name in the footer, and no true seal."""
    return (
        value is not None
        and not integrity.read_seal(*_seal(parts))[1]
        and _creator(parts) != _generator(value)
    )


def _creator(parts: _Parts) -> str:
    return str(get(parts.footer, FileMetaData.CREATED_BY, b"").decode("utf-8", "replace"))


def _generator(value: Json) -> str | None:
    provenance = value.get("provenance")
    return provenance.get("generator") if isinstance(provenance, dict) else None


def _seal(parts: _Parts) -> tuple[bytes, bytes | None]:
    return parts.tail, parts.keys.get(integrity.SEAL)


def _sealed(parts: _Parts, deep: bool) -> Iterator[Problem]:
    seal, true = integrity.read_seal(*_seal(parts))
    if integrity.SEAL not in parts.keys:
        yield problem("seal-missing", "footer", "64 hex digits", "nothing")
    elif not true:
        yield problem("seal-false", "footer", "the digest of the footer", seal)
    segments, digests = integrity.segments(parts.footer, parts.start), _digests(parts)
    if digests is None:
        yield problem("digests-form", "footer", "base64 of 32 bytes a segment", "something else")
    elif len(digests) != len(segments):
        yield problem("digests-count", "footer", len(segments), len(digests))
    elif deep:
        for (start, end), digest in zip(segments, digests, strict=True):
            inside = 0 <= start <= end <= parts.start
            if not inside or integrity.digest(parts.file, start, end) != digest:
                yield problem("digest-false", f"bytes {start} to {end}", digest.hex(), "another")


def _digests(parts: _Parts) -> list[bytes] | None:
    return integrity.decode_digests(parts.keys.get(integrity.DIGESTS, b""))


def _described(
    parts: _Parts, outline: Outline, parquet: Any, value: Json, derived: bool, deep: bool
) -> Iterator[Problem]:
    schema = arrow_schema(parquet)
    yield from () if derived else _arrow_copy(parts, schema)
    unknown = list(_unknown(value))
    if unknown:
        raise FormatError("of a later version", problems=unknown)
    meta = metadata.from_json(value, Metadata)
    yield from references.references(meta)
    yield from references.listed(meta, schema)
    if len(set(schema.names)) < len(schema.names) or _ARROW not in parts.keys:
        return  # columns cannot be told apart by name, or have lost their types
    regions: Regions = {}
    manifest = bool(meta.parts) and not parquet.num_row_groups  # it speaks for rows in other files
    if not derived:
        mistyped = list(references.typed(meta, schema))
        yield from mistyped
        yield from attachments.problems(parts.file, parts.footer, parts.start, meta, deep)
        yield from () if manifest else _uuid(parts, meta)
        wrong = {p.where for p in mistyped if p.rule == "vector-type"}
        fields = [f for f in schema if f"column {f.name}" not in wrong]
        regions = yield from _layout(parts, outline, meta, fields)
    if deep:
        told = replace(meta, splits={}) if manifest else meta
        data = contents.Contents(parts.file, parts.size, parquet, schema, outline, regions)
        yield from contents.problems(data, told)


def _unknown(value: Json) -> Iterator[Problem]:
    version, must = str(value.get("version", VERSION)), value.get("must_understand")
    if version.split(".")[0] != VERSION.split(".")[0]:
        yield problem("metadata-version", "$.version", f"{VERSION.split('.')[0]}.x", version)
    for name in map(str, must if isinstance(must, list) else []):
        if name not in Metadata.__dataclass_fields__:
            yield problem(
                "metadata-understand", "$.must_understand", "a field of this version", name
            )


def _arrow_copy(parts: _Parts, schema: pa.Schema) -> Iterator[Problem]:
    if _ARROW not in parts.keys:
        yield problem("schema-arrow", "footer", "an Arrow schema", "nothing")
    elif (schema.metadata or {}).get(KEY) != parts.keys[KEY]:
        yield problem("schema-copy", "footer", "the same metadata", "other metadata")


def _uuid(parts: _Parts, meta: Metadata) -> Iterator[Problem]:
    digests = _digests(parts)
    if digests is not None:
        derived = content_uuid(digests[:-1], [core.sha256 for core in meta.cores.values()])
        if derived != meta.uuid:
            yield problem("metadata-uuid", "$.uuid", derived, meta.uuid)


def _layout(
    parts: _Parts, outline: Outline, meta: Metadata, fields: Sequence[pa.Field]
) -> Generator[Problem, None, Regions]:
    regions: dict[str, Sequence[Region]] = {}
    if outline.misplaced:
        return regions  # nothing can be proved of chunks that are not those of their columns
    claimed = [
        f for f in fields if f.name in meta.columns and meta.columns[f.name].layout == "mapped"
    ]
    for field in claimed:
        try:
            regions[field.name] = _proved(parts, outline, field)
        except Unproved as reason:
            yield problem("layout-claim", f"column {field.name}", "the mapped layout", reason)
    yield from _aligned(
        len(outline.rows), regions, [_width(f) for f in claimed if f.name in regions]
    )
    return regions


def _proved(parts: _Parts, outline: Outline, field: pa.Field) -> Sequence[Region]:
    column = fixed(field)
    if column is None:
        raise Unproved(f"{field.type} cannot be mapped")
    return proved(parts.file, parts.start, outline, column, sum(outline.rows))


def _width(field: pa.Field) -> int:
    column = fixed(field)
    return column.width if column else 0


def _aligned(groups: int, regions: Regions, widths: Sequence[int]) -> Iterator[Problem]:
    several = groups > 1 and geometry(widths).alignment != SMALL_ALIGNMENT
    unit = min(ALIGNMENTS) if several else SMALL_ALIGNMENT
    for name, found in regions.items():
        for number, region in enumerate(found):
            if region.offset % unit:
                yield problem(
                    "layout-alignment",
                    f"row group {number}, column {name}",
                    f"a multiple of {unit}",
                    region.offset,
                )
        for number, region in enumerate(found[:-1] if several else ()):
            if region.length % unit:
                yield problem(
                    "layout-groups",
                    f"row group {number}, column {name}",
                    f"a multiple of {unit} bytes",
                    region.length,
                )


def directory_problems(folder: Path, check: Check, deep: bool) -> Iterator[Problem]:
    """Every problem of the dataset in a folder; `check` gives those of one file.

    Raises UsageError if there is no manifest.
    """
    if not (folder / MANIFEST).is_file():
        raise UsageError(
            "not a file, and no dataset: a folder without a manifest", str(folder), MANIFEST, "none"
        )
    yield from _of_file(folder / MANIFEST, check)
    with suppress(DofError):
        manifest = File(folder / MANIFEST)
        yield from _listing(folder, manifest)
        parts: list[File] = []
        for part in dict.fromkeys(manifest.metadata.parts):
            if (folder / part.name).is_file():
                yield from _of_file(folder / part.name, check)
                with suppress(DofError):
                    parts.append(File(folder / part.name))
                    yield from _part(parts[-1], part, manifest)
        if len(parts) == len(manifest.metadata.parts):
            yield from _whole(manifest, parts, deep)


def _of_file(path: Path, check: Check) -> Iterator[Problem]:
    return (replace(told, where=f"{path.name}: {told.where}") for told in check(path))


def _listing(folder: Path, manifest: File) -> Iterator[Problem]:
    if manifest.parquet.num_row_groups:
        yield problem("manifest-rows", MANIFEST, "no row groups", manifest.parquet.num_row_groups)
    names = Counter(part.name for part in manifest.metadata.parts)
    for name, count in names.items():
        if count > 1:
            yield problem("part-repeated", f"{MANIFEST}: $.parts", name, f"{count} times")
        if not (folder / name).is_file():
            yield problem("part-missing", name, "a file", "nothing")
    for name in sorted({path.name for path in folder.iterdir()} - names.keys() - {MANIFEST}):
        yield problem("directory-stray", name, "parts that the manifest lists", "another file")


def _part(part: File, about: Any, manifest: File) -> Iterator[Problem]:
    for expected, found in (
        (about.bytes, part.size),
        (about.rows, part.rows),
        (about.seal, part.seal),
    ):
        if expected != found:
            yield problem("part-changed", about.name, expected, found)
    if not part.schema.equals(manifest.schema):
        yield problem(
            "part-columns",
            about.name,
            ", ".join(_told(manifest.schema)),
            ", ".join(_told(part.schema)),
        )
        return
    ours, theirs = to_json(manifest.metadata), to_json(part.metadata)
    for name in _SHARED:
        if ours.get(name) != theirs.get(name):
            yield problem(
                "part-metadata", f"{about.name}: $.{name}", "that of the manifest", "another"
            )


def _told(schema: pa.Schema) -> list[str]:
    return [f"{field.name} {field.type}{'' if field.nullable else ' not null'}" for field in schema]


def _whole(manifest: File, parts: Sequence[File], deep: bool) -> Iterator[Problem]:
    about = manifest.metadata
    uuid = content_uuid(
        [UUID(part.metadata.uuid).bytes for part in parts], [c.sha256 for c in about.cores.values()]
    )
    if uuid != about.uuid:
        yield problem("metadata-uuid", f"{MANIFEST}: $.uuid", uuid, about.uuid)
    if deep:
        sizes = merge_metadata.split_sizes([to_json(part.metadata.splits) for part in parts])
        if sizes != to_json(about.splits):
            yield problem("split-count", f"{MANIFEST}: $.splits", sizes, to_json(about.splits))
        yield from _records(about.record.id, parts)


def _records(name: str, parts: Sequence[File]) -> Iterator[Problem]:
    """A record lies in one part."""
    import pyarrow.compute as pc

    ids = (
        pa.concat_arrays([pc.unique(part.arrow(name)) for part in parts])
        if parts
        else pa.array([], pa.string())
    )
    counts = ids.value_counts()
    double = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(double):
        where = f"column {name} of several parts"
        yield problem(
            "id-repeated",
            where,
            "each id in one part",
            f"{len(double)} in several, the first {double[0]}",
        )
