"""A dataset of several files: a directory of parts and the manifest that lists them (SPEC section 8).

The manifest is the commit point: parts are whole on the disk before it names them. It is a Parquet file without rows
that sorts last, so that ordinary readers of the directory see the parts' rows and nothing else.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow.commit import locked, replacing
from dof_arrow.declare import Json, to_json
from dof_arrow.errors import FormatError, UsageError
from dof_arrow.layout import SMALL_ALIGNMENT, Fixed, Region, fixed
from dof_arrow.metadata import Metadata, from_json
from dof_arrow.place import Placer, content_uuid
from dof_arrow.reading import Columns, File, State
from dof_arrow.schema import with_metadata

MANIFEST = "manifest.parquet"
_SHARED = ("primary_column", "columns", "cores", "record", "targets")  # what all parts and the manifest agree on


class Directory(Columns):
    """The parts of a directory as one table: one mapped array where no part but the last ends within a page.

    Raises FormatError where the manifest is missing, or a part is missing, changed or of another kind.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        if not (path / MANIFEST).is_file():
            raise UsageError("not a file, and no dataset: a folder without a manifest", str(path), MANIFEST, "none")
        self.manifest = File(path / MANIFEST)
        self.parts = [_part(path, about, self.manifest) for about in self.manifest.metadata.parts]
        self.schema: pa.Schema = self.manifest.schema
        self.rows = sum(part.rows for part in self.parts)

    @property
    def metadata(self) -> Metadata:
        """The manifest's metadata, which speaks for the whole."""
        return self.manifest.metadata

    @property
    def state(self) -> State:
        """`sealed` only where the manifest is; the parts' seals are those that it lists."""
        return self.manifest.state

    @property
    def seal(self) -> str | None:
        """The manifest's seal, which covers the parts' seals."""
        return self.manifest.seal

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.manifest.size + sum(part.size for part in self.parts)

    def places(self, column: Fixed) -> list[tuple[int, Region]]:
        return [place for part in self.parts if part.rows for place in part.places(column)]

    def decoded(self, name: str) -> pa.Array:
        parts = [part.arrow(name) for part in self.parts]
        return pa.concat_arrays(parts) if parts else pa.array([], self.schema.field(name).type)

    def attachment(self, offset: int, length: int) -> bytes:
        """The bytes of an attachment of the manifest."""
        return self.manifest.attachment(offset, length)


def append(folder: str | os.PathLike[str], file: str | os.PathLike[str]) -> Directory:
    """Copy a DoF file into a directory as its next part, and commit; the directory is made if it is not there.

    Raises UsageError if the file's columns, cores or targets differ from the parts', or a record stands in one of
    them already; FormatError if the file has no true seal; OutputError if another process is writing the directory.
    """
    path, new = Path(folder), File(Path(file))
    if new.state != "sealed":
        raise FormatError("only a sealed file becomes a part", str(file), "a true seal", new.state,
                          "See what is wrong: dof validate")
    path.mkdir(exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock"), path):
        known = Directory(path) if (path / MANIFEST).exists() else None
        if known is not None:
            _check_joins(known, new)
        name = f"data-{len(known.parts) if known else 0:06d}.parquet"
        with replacing(path / name, overwrite=True) as out:
            _copy(new, out.file)
        _commit(path, known, File(path / name))
    return Directory(path)


def _copy(source: File, file: int) -> None:
    done = 0
    while done < source.size:
        done += os.copy_file_range(source.file, file, source.size - done, done)


def _part(folder: Path, about: Any, manifest: File) -> File:
    part = File(folder / about.name)
    for what, expected, found in (("size", about.bytes, part.size), ("seal", about.seal, part.seal),
                                  ("rows", about.rows, part.rows)):
        if expected != found:
            raise FormatError(f"a part has another {what} than the manifest says", str(part.path), str(expected),
                              str(found), "Restore the part from a backup.")
    if part.state != "sealed" or not part.schema.equals(manifest.schema):
        raise FormatError("a part does not belong to this dataset", str(part.path), "its seal and columns", "others")
    return part


def _check_joins(known: Directory, new: File) -> None:
    ours, theirs = to_json(known.metadata), to_json(new.metadata)
    differing = [name for name in _SHARED if ours.get(name) != theirs.get(name)]
    if differing or not known.schema.equals(new.schema):
        raise UsageError("the file is of another kind than the directory", str(new.path), f"that of {known.path}",
                         "a difference in " + (", ".join(differing) or "the columns"),
                         "Extract it with the same cores, columns and class names.")
    name = known.metadata.record.id
    double = set(known.arrow(name).to_pylist()).intersection(new.arrow(name).to_pylist())
    if double:
        raise UsageError("records that the directory holds already", str(new.path), "new ids", f"{len(double)} old")


def _commit(folder: Path, known: Directory | None, new: File) -> None:
    parts = [*(known.parts if known else []), new]
    value = _manifest_json(known, parts)
    errors = [e for part in parts for e in _errors(part)]
    carrying = known.manifest if known else new
    documents = [({"name": d.name, "media_type": d.media_type}, carrying.attachment(d.offset, d.length))
                 for d in carrying.metadata.documents]
    with replacing(folder / MANIFEST, overwrite=True) as out, ThreadPoolExecutor(1) as pool:
        placer = Placer(out, pool)
        placer.begin(new.schema, [c for c in map(fixed, new.schema) if c], SMALL_ALIGNMENT)
        placed = placer.attach(errors, documents)
        placer.finish(with_metadata(new.schema, from_json({**value, **placed})))


def _manifest_json(known: Directory | None, parts: Sequence[File]) -> dict[str, Json]:
    value = {k: v for k, v in (known.manifest if known else parts[0]).json.items() if k not in ("errors", "documents")}
    cores = [core["sha256"] for core in value.get("cores", {}).values()]
    listed = [{"name": p.path.name, "rows": p.rows, "bytes": p.size, "seal": p.seal} for p in parts]
    counts = {n: sum(p.json.get("provenance", {}).get(n) or 0 for p in parts) for n in ("inputs", "failed")}
    provenance = {k: v for k, v in value.get("provenance", {}).items() if k not in ("run", *counts)}
    return {**value, "parts": listed, "splits": _splits(parts), "provenance": {**provenance, **counts},
            "uuid": content_uuid([uuid.UUID(p.json["uuid"]).bytes for p in parts], cores)}


def _splits(parts: Sequence[File]) -> dict[str, Mapping[str, int]]:
    total: dict[str, dict[str, int]] = {}
    for part in parts:
        for name, split in part.json.get("splits", {}).items():
            old = total.setdefault(name, {"rows": 0, "records": 0})
            total[name] = {key: old[key] + split[key] for key in old}
    return dict(sorted(total.items()))


def _errors(part: File) -> list[Json]:
    import json

    where = part.metadata.errors
    return [json.loads(line) for line in part.attachment(where.offset, where.length).splitlines()] if where else []
