"""The documents of an edited file: which stay, which are attached, how each is described."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dof_arrow.errors import UsageError
from dof_arrow.format.file import File, open_file
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.media_types import media_type
from dof_arrow.rewrite.metadata_edit import Wanted

# A document to keep, as the metadata describes it, or a file to attach.
EditedDocument = Json | Path


def edited_documents(source: File, wanted: Wanted) -> list[EditedDocument]:
    """The documents to keep and the files to attach, in the order in which the new file has them.

    A file takes the place of a detached document of its name. Raises UsageError for an unknown
    document, a file that cannot be read, or a name that is attached already.
    """
    old = {str(document["name"]): document for document in source.json.get("documents", [])}
    unknown = [name for name in wanted.detach if name not in old]
    if unknown:
        known = ", ".join(old) or "none"
        raise UsageError("no such document", str(source.path), known, ", ".join(unknown))
    places: dict[str, list[EditedDocument]] = {}
    for name, document in old.items():
        places[name] = [] if name in wanted.detach else [document]
    for path in map(Path, wanted.attach):
        os.close(open_file(path))
        if path.name in old and path.name not in wanted.detach:
            raise UsageError(
                "a document of this name is attached already",
                str(source.path),
                found=path.name,
                hint=f"To replace it: --detach {path.name} --attach {path}",
            )
        places.setdefault(path.name, []).append(path)
    return [document for place in places.values() for document in place]


def described(path: Path, where: Mapping[str, Json]) -> dict[str, Json]:
    """The entry of `documents` for an attached file: where it lies, its name, its media type."""
    return {**where, "name": path.name, "media_type": media_type(path.name)}


def expected_entries(documents: Sequence[EditedDocument]) -> list[Json]:
    """The entries of `documents` before the new file is written: valid, but places are made up."""
    made_up = {"offset": 4, "length": 0, "sha256": "0" * 64}
    entries = []
    for document in documents:
        is_new = isinstance(document, Path)
        entries.append(described(document, made_up) if is_new else document)
    return entries


def comparable(value: Mapping[str, Json], documents: Iterable[EditedDocument]) -> Json:
    """The metadata for comparing: documents by name, each by its type and size."""
    return {**value, "documents": dict(map(_label, documents))}


def _label(document: EditedDocument) -> tuple[str, str]:
    if isinstance(document, Path):
        length = document.stat().st_size
        about = described(document, {})
        return about["name"], f"{about['media_type']}, {length:,} bytes, from {document}"
    return document["name"], f"{document['media_type']}, {document['length']:,} bytes"
