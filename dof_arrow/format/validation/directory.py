"""A dataset of several files: its manifest, its parts, whether they fit together (SPEC 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pyarrow as pa

from dof_arrow.errors import DofError, Problem, UsageError
from dof_arrow.format import merge_metadata
from dof_arrow.format.directory import MANIFEST
from dof_arrow.format.file import File
from dof_arrow.format.parquet.row_groups import content_uuid
from dof_arrow.format.spec.column_types import told_type
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.spec.metadata import Part
from dof_arrow.format.spec.rules import problem

Check = Callable[[Path], list[Problem]]
# The same in all parts.
_SHARED = ("primary_column", "columns", "cores", "claimed_cores", "record", "targets")


def problems(folder: Path, check: Check, deep: bool) -> Iterator[Problem]:
    """Every problem of the dataset in a folder; `check` gives those of one file.

    Raises UsageError if there is no manifest.
    """
    if not (folder / MANIFEST).is_file():
        message = "not a file, and no dataset: a folder without a manifest"
        raise UsageError(message, str(folder), MANIFEST, "none")
    yield from _of_file(folder / MANIFEST, check)
    with suppress(DofError):  # a file that cannot be opened has its problems already
        manifest = File(folder / MANIFEST)
        yield from _listing(folder, manifest)
        parts = yield from _parts(folder, manifest, check)
        if len(parts) == len(manifest.metadata.parts):
            yield from _whole(manifest, parts, deep)


def _of_file(path: Path, check: Check) -> Iterator[Problem]:
    for told in check(path):
        where = f"{path.name}: {told.where}"
        yield replace(told, where=where)


def _listing(folder: Path, manifest: File) -> Iterator[Problem]:
    """Parts that are missing or listed twice, and files that are not listed."""
    groups = manifest.parquet.num_row_groups
    if groups:
        yield problem("manifest-rows", MANIFEST, "no row groups", groups)
    names = [part.name for part in manifest.metadata.parts]
    for name, count in Counter(names).items():
        if count > 1:
            yield problem("part-repeated", f"{MANIFEST}: $.parts", name, f"{count} times")
        if not (folder / name).is_file():
            yield problem("part-missing", name, "a file", "nothing")
    listed = {*names, MANIFEST}
    there = {path.name for path in folder.iterdir()}
    for name in sorted(there - listed):
        expected = "parts that the manifest lists"
        yield problem("directory-stray", name, expected, "another file")


def _parts(folder: Path, manifest: File, check: Check) -> Generator[Problem, None, list[File]]:
    """The problems of each part that is there; returns the parts that can be opened."""
    parts: list[File] = []
    for about in dict.fromkeys(manifest.metadata.parts):
        path = folder / about.name
        if path.is_file():
            yield from _of_file(path, check)
            with suppress(DofError):
                part = File(path)
                parts.append(part)
                yield from _part(part, about, manifest)
    return parts


def _part(part: File, about: Part, manifest: File) -> Iterator[Problem]:
    """A part that is not what the manifest says of it, or that does not fit beside the others."""
    stated = (about.bytes, about.rows, about.seal)
    actual = (part.size, part.rows, part.seal)
    for expected, found in zip(stated, actual, strict=True):
        if expected != found:
            yield problem("part-changed", about.name, expected, found)
    if not part.schema.equals(manifest.schema):
        yield problem(
            "part-columns",
            where=about.name,
            expected=_told(manifest.schema),
            found=_told(part.schema),
        )
        return
    ours = to_json(manifest.metadata)
    theirs = to_json(part.metadata)
    for name in _SHARED:
        if ours.get(name) != theirs.get(name):
            where = f"{about.name}: $.{name}"
            yield problem("part-metadata", where, "that of the manifest", "another")


def _told(schema: pa.Schema) -> str:
    columns = [f"{field.name} {told_type(field)}" for field in schema]
    return ", ".join(columns)


def _whole(manifest: File, parts: Sequence[File], deep: bool) -> Iterator[Problem]:
    """The manifest against all of its parts."""
    about = manifest.metadata
    cores = [core.sha256 for core in about.cores.values()]
    contents = [UUID(part.metadata.uuid).bytes for part in parts]
    uuid = content_uuid(contents, cores)
    if uuid != about.uuid:
        yield problem("metadata-uuid", f"{MANIFEST}: $.uuid", uuid, about.uuid)
    if deep:
        splits = [to_json(part.metadata.splits) for part in parts]
        sizes = merge_metadata.split_sizes(splits)
        stated = to_json(about.splits)
        if sizes != stated:
            yield problem("split-count", f"{MANIFEST}: $.splits", sizes, stated)
        yield from _in_several("id-repeated", about.record.id, parts)
        yield from _in_several("bag-scattered", about.record.bag, parts)


def _in_several(rule: str, name: str | None, parts: Sequence[File]) -> Iterator[Problem]:
    """Records or bags that lie in several parts; `name` is their column."""
    import pyarrow.compute as pc

    if not parts or name is None:
        return
    ids = [pc.unique(part.arrow(name)) for part in parts]
    counts = pa.concat_arrays(ids).value_counts()
    is_double = pc.greater(counts.field("counts"), 1)
    double = counts.field("values").filter(is_double)
    if len(double):
        yield problem(
            rule,
            where=f"column {name} of several parts",
            expected="each of them in one part",
            found=f"{len(double)} in several, the first {double[0]}",
        )
