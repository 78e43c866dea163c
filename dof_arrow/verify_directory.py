"""Every check of a directory: its manifest, each part, and what only all of them together can break (SPEC 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa

from dof_arrow import union
from dof_arrow.declare import to_json
from dof_arrow.directory import MANIFEST
from dof_arrow.errors import DofError, Problem, UsageError
from dof_arrow.place import content_uuid
from dof_arrow.reading import File
from dof_arrow.rules import problem

Check = Callable[[Path], list[Problem]]
_SHARED = ("primary_column", "columns", "cores", "record", "targets")


def problems(folder: Path, check: Check, deep: bool) -> Iterator[Problem]:
    """Every problem of the dataset in a folder; `check` gives those of one file.

    Raises UsageError if there is no manifest.
    """
    if not (folder / MANIFEST).is_file():
        raise UsageError("not a file, and no dataset: a folder without a manifest", str(folder), MANIFEST, "none")
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
    for expected, found in ((about.bytes, part.size), (about.rows, part.rows), (about.seal, part.seal)):
        if expected != found:
            yield problem("part-changed", about.name, expected, found)
    if not part.schema.equals(manifest.schema):
        yield problem("part-columns", about.name, ", ".join(_told(manifest.schema)), ", ".join(_told(part.schema)))
        return
    ours, theirs = to_json(manifest.metadata), to_json(part.metadata)
    for name in _SHARED:
        if ours.get(name) != theirs.get(name):
            yield problem("part-metadata", f"{about.name}: $.{name}", "that of the manifest", "another")


def _told(schema: pa.Schema) -> list[str]:
    return [f"{field.name} {field.type}{'' if field.nullable else ' not null'}" for field in schema]


def _whole(manifest: File, parts: Sequence[File], deep: bool) -> Iterator[Problem]:
    about = manifest.metadata
    uuid = content_uuid([UUID(part.metadata.uuid).bytes for part in parts], [c.sha256 for c in about.cores.values()])
    if uuid != about.uuid:
        yield problem("metadata-uuid", f"{MANIFEST}: $.uuid", uuid, about.uuid)
    if deep:
        sizes = union.split_sizes([to_json(part.metadata.splits) for part in parts])
        if sizes != to_json(about.splits):
            yield problem("split-count", f"{MANIFEST}: $.splits", sizes, to_json(about.splits))
        yield from _records(about.record.id, parts)


def _records(name: str, parts: Sequence[File]) -> Iterator[Problem]:
    """A record lies in one part."""
    import pyarrow.compute as pc

    ids = pa.concat_arrays([pc.unique(part.arrow(name)) for part in parts]) if parts else pa.array([], pa.string())
    counts = ids.value_counts()
    double = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(double):
        where = f"column {name} of several parts"
        yield problem("id-repeated", where, "each id in one part", f"{len(double)} in several, the first {double[0]}")
