"""A directory of files made or grown: parts go in, and all of them count from the moment the manifest does (SPEC 8).

A new directory is built beside its place and renamed into it. In one that is there, new parts bear new names, and the
manifest that lists them replaces the old one: a reader finds the old dataset or the new one, never a part of it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from dof_arrow.errors import DofError, FormatError, OutputError, UsageError
from dof_arrow.format import merge_metadata
from dof_arrow.format.directory import MANIFEST, Directory
from dof_arrow.format.file import File
from dof_arrow.format.parquet.layout import SMALL_ALIGNMENT, fixed
from dof_arrow.format.parquet.row_groups import RowGroupWriter, content_uuid, generator
from dof_arrow.format.spec.arrow import with_metadata
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import from_json
from dof_arrow.storage import owned
from dof_arrow.storage.atomic import explained, locked, replacing, sibling, sync_folder
from dof_arrow.storage.copy import copy

LOCK, NEW, SPARE = (
    "lock",
    "new",
    "part.parquet",
)  # what stands beside a directory while it is written
NUMBERED = re.compile(r"data-(\d{6,})\.parquet")


def append(
    folder: str | os.PathLike[str], *files: str | os.PathLike[str], overwrite: bool = False
) -> Directory:
    """Copy DoF files into a directory as its next parts, all or none; the directory is made if it is not there.

    `overwrite`: they replace what it holds. Raises UsageError if a file's columns, cores or targets differ from the
    others', or a record stands in one of them already; FormatError if a file has no true seal; OutputError if another
    process is writing the directory.

    >>> import numpy, tempfile
    >>> from dof_arrow.format.writer import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.parquet")) as w:
    ...         w.write(ids=["a"], vectors={"feature": numpy.eye(1, dtype="f4")})
    ...     append(Path(folder, "set.dof"), Path(folder, "x.parquet")).rows
    1
    """
    with growing(folder, overwrite=overwrite) as growth:
        for file in files:
            growth.add(Path(file))
    return Directory(growth.folder)


@contextmanager
def growing(folder: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Growth]:
    """Hold a directory for writing (no other process writes it meanwhile); what is added counts when the block ends."""
    path = Path(os.path.abspath(folder))
    with explained(path), locked(sibling(path, LOCK), path):
        growth = Growth(path, overwrite=overwrite)
        try:
            yield growth
            growth.commit()
        finally:
            growth.clean()


class Growth:
    """A directory held for writing. `spare` is a path for a part to be written at, before it is added."""

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        refuse_other(folder)
        there = (folder / MANIFEST).exists()
        self.folder, self.spare = folder, sibling(folder, SPARE)
        self.known = Directory(folder) if there and not overwrite else None
        self.parts: list[File] = list(self.known.parts) if self.known else []
        self._taken: list[File] = []
        self._work = folder if there else sibling(folder, NEW)
        if not there:
            owned.make_folder_anew(self._work)
        taken = self._listed() or {path.name for path in self._work.iterdir()}
        self._number = 1 + max((int(m[1]) for m in map(NUMBERED.fullmatch, taken) if m), default=-1)

    def add(self, file: Path, *, take: bool = False, new_ids: bool = False) -> None:
        """Add a DoF file as the next part; `take`: it may be the very file, not a copy. Raises as `append` does.

        `new_ids`: it is known that no other part has its ids. OutputError if a file to be taken is
        not ours.
        """
        new = File(file)
        if take:
            # A kill may leave it under two names, its own and the next part's; it is only read.
            owned.refuse_others(file, os.fstat(new.file), names=2)
        if new.state != "sealed":
            raise FormatError(
                "only a sealed file becomes a part",
                str(file),
                "a true seal",
                new.state,
                f"See what is wrong: dof validate {file}",
            )
        self._check(new, new_ids)
        target = self._work / f"data-{self._number:06d}.parquet"
        if take and _linked(new, target):
            self._taken.append(new)
        else:
            with replacing(target, overwrite=True, beside=self.folder) as out:
                copy(new.file, out, new.size)
        self.parts.append(File(target))
        self._number += 1

    def commit(self) -> None:
        """Write the manifest that lists the parts, and put it, or the new directory, in its place."""
        if not self.parts:
            raise UsageError("a dataset of no parts", str(self.folder), "one part or more", "none")
        if self.known and len(self.parts) == len(self.known.parts):
            return
        sync_folder(self._work)
        _write_manifest(self._work, self.folder, self.known, self.parts)
        if self._work != self.folder:
            _open_up(self._work, self.folder)
        usual = owned.usual_mode(self.folder.parent)
        for part in self._taken:  # which are not taken up from beside the directory any more
            owned.give_mode(part.file, usual)

    def clean(self) -> None:
        """Remove what this growth made and the manifest does not list, and parts that manifests before it listed."""
        if self._work != self.folder:
            shutil.rmtree(self._work, ignore_errors=True)
        listed = self._listed()
        for path in self.folder.glob("data-*.parquet") if listed else ():
            number = NUMBERED.fullmatch(path.name)
            if number and path.name not in listed and int(number[1]) < self._number:
                with suppress(OSError):
                    path.unlink()

    def _check(self, new: File, new_ids: bool) -> None:
        first = self.known.manifest if self.known else self.parts[0] if self.parts else new
        whose = str(self.folder if self.known else first.path)
        merge_metadata.check_alike(
            first.metadata, new.metadata, first.schema, new.schema, str(new.path), whose
        )
        merge_metadata.check_laid_out(first.metadata, new.metadata, str(new.path))
        if not new_ids:
            name = first.metadata.record.id
            merge_metadata.check_new(
                (part.arrow(name) for part in self.parts),
                new.arrow(name),
                str(new.path),
                str(self.folder),
            )

    def _listed(self) -> set[str]:
        """The parts that the manifest lists now; none where there is no manifest that can be read."""
        with suppress(DofError):
            return {part.name for part in File(self.folder / MANIFEST).metadata.parts}
        return set()


def waiting_mode(spare: Path) -> int:
    """The mode of a part that waits beside its directory: nobody else may write it meanwhile."""
    return owned.closed(owned.usual_mode(spare.parent))


def refuse_other(folder: Path) -> None:
    """Raise OutputError if what stands there is neither a dataset of several files nor nothing."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(
            "a file stands there", str(folder), "a folder, or nothing", hint="Give another name."
        )
    if folder.is_dir() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
        raise OutputError(
            "a folder that is no dataset",
            str(folder),
            MANIFEST,
            "other files",
            "Give another name.",
        )


def _open_up(work: Path, folder: Path) -> None:
    """Put a new directory in its place, with the mode that any new folder has there."""
    usual = owned.usual_mode(folder.parent, 0o777)
    with owned.ours(work, kind=stat.S_IFDIR) as file:
        owned.give_mode(file, owned.closed(usual))
        os.rename(work, folder)
        sync_folder(folder.parent)
        owned.give_mode(file, usual)


def _linked(new: File, target: Path) -> bool:
    target.unlink(missing_ok=True)
    try:
        os.link(new.path, target)
    except OSError as error:
        return _cannot_link(error)
    if not owned.stands(target, new.file):
        target.unlink()
        raise OutputError(
            "the part was exchanged while it was added",
            str(new.path),
            hint="Find out who else writes to this folder, or choose another.",
        )
    return True


def _cannot_link(error: OSError) -> bool:
    """False: the filesystem knows no links, and the file is copied. Raises what any copy would meet too."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
        raise error
    return False


def _write_manifest(
    work: Path, folder: Path, known: Directory | None, parts: Sequence[File]
) -> None:
    value, schema = _manifest_json(known, parts), parts[0].schema
    carrying = known.manifest if known else parts[0]
    documents = [
        ({"name": d.name, "media_type": d.media_type}, carrying.attachment(d.offset, d.length))
        for d in carrying.metadata.documents
    ]
    errors = [error for part in parts for error in _errors(part)]
    with (
        replacing(work / MANIFEST, overwrite=True, beside=folder) as out,
        ThreadPoolExecutor(1) as pool,
    ):
        placer = RowGroupWriter(out, pool)
        placer.begin(schema, [column for column in map(fixed, schema) if column], SMALL_ALIGNMENT)
        placed = placer.attach(errors, documents)
        placer.finish(with_metadata(schema, from_json({**value, **placed})))


def _manifest_json(known: Directory | None, parts: Sequence[File]) -> dict[str, Json]:
    speaking = [known.manifest.json] if known else []
    value = merge_metadata.together(
        [*speaking, *(p.json for p in parts[len(known.parts) if known else 0 :])]
    )
    cores = [core["sha256"] for core in value.get("cores", {}).values()]
    listed = [{"name": p.path.name, "rows": p.rows, "bytes": p.size, "seal": p.seal} for p in parts]
    return {
        **value,
        "parts": listed,
        "provenance": {**value["provenance"], "generator": generator()},
        "uuid": content_uuid([uuid.UUID(p.json["uuid"]).bytes for p in parts], cores),
    }


def _errors(part: File) -> list[Json]:
    import json

    where = part.metadata.errors
    return (
        [json.loads(line) for line in part.attachment(where.offset, where.length).splitlines()]
        if where
        else []
    )
