"""Models by their SHA-256, never by their name: in folders, and in the user's cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dof_arrow.errors import OutputError
from dof_arrow.storage import caches
from dof_arrow.storage.file_digests import FileDigests

INNER = "cores"  # a folder of cores beside a dataset
MOST_BYTES = 16 << 30  # read to find out digests, at one look

_Listed = tuple[Path, os.stat_result]


@dataclass(slots=True, kw_only=True)
class Looked:
    """What a look into folders brought.

    `found`: files by their digest, as far as they were wanted; `folders` are where was looked,
    `files` how many ONNX files lay there, `skipped` those that were not read because it would have
    been too much, or the system refused.
    """

    found: dict[str, Path] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    files: int = 0
    skipped: list[Path] = field(default_factory=list)


def look(wanted: Collection[str], folders: Sequence[Path], most_bytes: int = MOST_BYTES) -> Looked:
    """Look for files of these digests among the `*.onnx` of folders and of `cores/` in them.

    Small files are read first, no more than `most_bytes` in all; those whose digest is remembered
    are not read at all. It ends when all are found.
    """
    looked = Looked()
    for folder in dict.fromkeys(each.resolve() for each in folders):
        looked.folders += [place for place in (folder, folder / INNER) if place.is_dir()]
    listed = sorted(_listed(looked.folders), key=lambda each: (each[1].st_size, each[0]))
    looked.files = len(listed)
    digests = FileDigests()
    left = most_bytes
    for path, about in listed:
        if len(looked.found) == len(wanted):
            break
        digest = digests.known(path, about)
        if digest is None and about.st_size <= left:
            left -= about.st_size
            with suppress(OSError):
                digest = digests.read(path, about)
        if digest is None:
            looked.skipped.append(path)
        elif digest in wanted:
            looked.found.setdefault(digest, path)
    digests.save()
    return looked


def _listed(folders: Sequence[Path]) -> Iterator[_Listed]:
    """The ONNX files that lie in some folders, with what the system says of them."""
    for folder in folders:
        for path in folder.glob("*.onnx"):
            with suppress(OSError):
                if path.is_file():  # a pipe may never end
                    yield path, path.stat()


def cached(sha256: str) -> Path | None:
    """The file of the cache with this digest, read and checked; None where there is none.

    Raises OutputError where another user may have put it there.
    """
    for name in (f"{sha256}.onnx", *_noted(sha256)):
        data = caches.read(name)
        if data is not None and hashlib.sha256(data).hexdigest() == sha256:
            return caches.path_of(name)
    return None


def keep(data: bytes) -> None:
    """Keep a core in the cache under its digest, where there is a place and it is not there yet."""
    digest = hashlib.sha256(data).hexdigest()
    with suppress(OutputError):
        if cached(digest) is None:
            with caches.writing(f"{digest}.onnx") as out:
                out.write(data)


def cache_folder() -> Path:
    """Where the cache keeps models."""
    return caches.path_of("any").parent


def _noted(sha256: str) -> Iterator[str]:
    """The downloads whose note says that they have this digest (`storage.download`)."""
    for note in sorted(cache_folder().glob("*.sha256")):
        words = (caches.read(note.name) or b"").split()
        if words[:1] == [sha256.encode()]:
            yield f"{note.stem}.onnx"
