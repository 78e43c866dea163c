"""A directory of files made or grown; all new parts count as soon as the manifest does (SPEC 8).

A new directory is built beside its place and renamed into it. In an existing one, new parts have
new names, and the manifest that lists them replaces the old one: a reader finds the old dataset or
the new one, never something between them.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dof_arrow.errors import DofError, FormatError, OutputError, UsageError
from dof_arrow.format import known_ids, merge_metadata
from dof_arrow.format.directory import MANIFEST, Directory
from dof_arrow.format.file import File
from dof_arrow.format.parquet import layout as layouts
from dof_arrow.format.parquet.row_groups import RowGroupWriter, content_uuid, generator
from dof_arrow.format.remote_directory import directory_at
from dof_arrow.format.remote_file import file_at
from dof_arrow.format.spec import file_rules
from dof_arrow.format.spec.arrow import with_metadata
from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.metadata import Metadata, Part, from_json
from dof_arrow.format.statistics_anew import check_statistics
from dof_arrow.storage import owned
from dof_arrow.storage.addresses import Address, location, on_disk
from dof_arrow.storage.atomic import explained, locked, replacing, sibling, sync_folder
from dof_arrow.storage.copy import copy

# What stands beside a directory while it is written: hidden, with these endings.
LOCK = "lock"
NEW = "new"
SPARE = "part.parquet"
NUMBERED = re.compile(r"data-(\d{6,})\.parquet")


def append(
    folder: str | os.PathLike[str] | Address,
    *files: str | os.PathLike[str] | Address | File,
    overwrite: bool = False,
) -> Directory:
    """Copy DoF files into a directory as its next parts, all or none.

    The directory, on this machine or on a store, is made if it is not there. With `overwrite` the
    files replace what it holds.

    Raises UsageError if a file's columns, cores or targets differ from the others', or a record
    stands in one of them already; FormatError if a file has no true seal; OutputError if another
    process is writing the directory.

    >>> import numpy, tempfile
    >>> from dof_arrow.format.writer import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder, "x.parquet")) as w:
    ...         w.write(ids=["a"], vectors={"feature": numpy.eye(1, dtype="f4")})
    ...     append(Path(folder, "set.dof"), Path(folder, "x.parquet")).rows
    1
    """
    place = location(folder)
    with growing(place, overwrite=overwrite) as growth:
        for file in files:
            growth.add(file if isinstance(file, File) else file_at(location(file)))
    if isinstance(place, Address) or growth.manifest is None:
        return directory_at(place)
    return Directory(place, growth.manifest)


@contextmanager
def growing(
    folder: str | os.PathLike[str] | Address,
    *,
    overwrite: bool = False,
    speaker: File | None = None,
) -> Iterator[Growth]:
    """Hold a directory for writing, so that no other process writes it.

    What is added counts when the block ends; nothing does if it fails. What replaces all that is
    there has the owner's words and documents of `speaker`, where one is given.
    """
    place = location(folder)
    if isinstance(place, Address):
        from dof_arrow.format.store_growth import growing_on_store

        with growing_on_store(place, overwrite=overwrite, speaker=speaker) as growth:
            yield growth
        return
    with growing_here(place, overwrite=overwrite, speaker=speaker) as growth:
        yield growth


@contextmanager
def growing_here(
    folder: Path, *, overwrite: bool = False, speaker: File | None = None
) -> Iterator[Growth]:
    """As `growing`, on this machine."""
    path = Path(os.path.abspath(folder))
    with explained(path), locked(sibling(path, LOCK), path):
        growth = Growth(path, overwrite=overwrite, speaker=speaker)
        try:
            yield growth
            growth.commit()
        finally:
            growth.clean()


class Growth:
    """A directory held for writing.

    `spare` is a path beside it where a part can be written before it is added.
    """

    def __init__(self, folder: Path, *, overwrite: bool, speaker: File | None = None) -> None:
        refuse_other(folder)
        there = (folder / MANIFEST).exists()
        self.folder = folder
        self._shown = str(folder)
        self.spare = sibling(folder, SPARE)
        self.known: Directory | None = None
        self.parts: list[File] = []  # those that are new
        self.manifest: File | None = None  # the new one, once it stands
        self._names: set[str] | None = None  # of the parts that are listed now; None: not known
        self._ids = known_ids.NONE
        self._ids_are_known = True
        if there and not overwrite:
            self.known = Directory(folder)
            self.known.check_sizes()
            self._names = {part.name for part in self.known.metadata.parts}
            self._ids = known_ids.of_directory(self.known)
        self._speaker = speaker
        self._taken: list[File] = []
        self._leaves = False
        self._work = folder
        if not there:
            self._work = sibling(folder, NEW)
            owned.make_folder_anew(self._work)
        self._number = self._next_number()

    def stand_for(self, shown: str, known: Directory | None, names: Iterable[str]) -> None:
        """Grow a directory that lies elsewhere and is `known`; files there have these names."""
        self._shown = shown
        self._number = _after(names)
        if known is not None:
            self.known = known
            self._ids = known_ids.of_directory(known)

    def add(self, file: Path | File, *, take: bool = False, new_ids: bool = False) -> None:
        """Add a DoF file, or one that is open, as the next part. Raises as `append` does.

        `take`: the part may be the very file, not a copy; OutputError if that file is not ours.
        `new_ids`: it is known that no other part has its ids.
        """
        new = file if isinstance(file, File) else File(file)
        if take:
            assert isinstance(file, Path)
            # A kill may leave it under two names, its own and the next part's; it is only read.
            owned.refuse_others(file, os.fstat(new.file), names=2)
        if new.state != "sealed":
            raise FormatError(
                "only a sealed file becomes a part",
                str(new.path),
                "a true seal",
                new.state,
                f"See what is wrong: dof validate {new.path}",
            )
        digests = self._checked(new, new_ids)
        if not take:  # what we have just written ourselves is true
            check_statistics(new)
        target = self._work / f"data-{self._number:06d}.parquet"
        if take and _linked(new, on_disk(new.path), target):
            self._taken.append(new)
        else:
            with replacing(target, overwrite=True, beside=self.folder) as out:
                copy(new.file, out, new.size)
        self.parts.append(File(target))
        self._ids = self._ids.and_part(new.json["uuid"], digests)
        self._number += 1

    def keep(self, part: File) -> None:
        """List a part that is there already, where the new parts are to replace all others."""
        self._ids_are_known = False
        self.parts.append(part)
        self._ids = self._ids.and_part(part.json["uuid"], known_ids.NONE.digests)

    def leave(self) -> None:
        """Change nothing: the directory is as it is to be."""
        self._leaves = True
        self.parts.clear()

    def commit(self) -> None:
        """Write the manifest that lists the parts; put it, or the new directory, in its place."""
        if self._leaves:
            return
        if not self.parts and self.known is None:
            raise UsageError("a dataset of no parts", self._shown, "one part or more", "none")
        if not self.parts:
            return
        sync_folder(self._work)
        manifest = _Manifest(self.known, self.parts, self._ids.uuids, self._speaker)
        self._names = None
        manifest.write(self._work, self.folder)
        if self._work != self.folder:
            _open_up(self._work, self.folder)
        usual = owned.usual_mode(self.folder.parent)
        for part in self._taken:
            # From beside the directory, where only we may write it, nobody takes it up any more.
            owned.give_mode(part.file, usual)
        if self._ids_are_known:
            self.manifest = File(self.folder / MANIFEST)
            before = None if self.known is None else self.known.seal
            known_ids.note(self.manifest.seal, self._ids, before)

    def clean(self) -> None:
        """Remove parts that the manifest does not list: of this growth, and of older manifests."""
        if self._work != self.folder:
            shutil.rmtree(self._work, ignore_errors=True)
        listed = self._listed()
        if not listed:
            return
        for name in os.listdir(self.folder):
            number = NUMBERED.fullmatch(name)
            if number and name not in listed and int(number[1]) < self._number:
                with suppress(OSError):
                    os.unlink(self.folder / name)

    def _checked(self, new: File, new_ids: bool) -> known_ids.Digests:
        """The digests of a new part's ids; none where it is known that they are new.

        Raises UsageError unless the file can be a part beside those that are there.
        """
        first, whose = self._model(new)
        where = str(new.path)
        ours, theirs = first.metadata, new.metadata
        merge_metadata.check_alike(ours, theirs, first.schema, new.schema, where, whose)
        merge_metadata.check_laid_out(ours, theirs, where)
        self._check_bags(ours.record.bag, new)
        if new_ids:
            self._ids_are_known = False
            return known_ids.NONE.digests
        ids = new.arrow(ours.record.id)
        digests = known_ids.digests_of(ids)
        if not self._ids_are_known or self._ids.may_hold(digests):
            standing = [] if self.known is None else self.known.parts
            known = (part.arrow(ours.record.id) for part in [*standing, *self.parts])
            merge_metadata.check_new(known, ids, where, self._shown)
        return digests

    def _check_bags(self, column: str | None, new: File) -> None:
        """Raise UsageError for a bag of which another part has rows: its rows stand together."""
        if column is None:
            return
        standing = [] if self.known is None else self.known.parts
        known = (part.arrow(column) for part in [*standing, *self.parts])
        merge_metadata.check_new(known, new.arrow(column), str(new.path), str(self.folder))

    def _next_number(self) -> int:
        """The number of the next part, above those of all parts that are there."""
        return _after(self._listed() or {path.name for path in self._work.iterdir()})

    def _model(self, new: File) -> tuple[File, str]:
        """The file that new parts have to be like, and whose it is; the first is like itself."""
        if self.known:
            return self.known.manifest, self._shown
        first = self.parts[0] if self.parts else new
        return first, str(first.path)

    def _listed(self) -> set[str]:
        """The parts that the manifest lists now; none where no manifest can be read."""
        if self._names is None:
            self._names = self._read_names()
        return self._names

    def _read_names(self) -> set[str]:
        with suppress(DofError, KeyError, TypeError):
            # Not checked against its declaration: that takes long where parts are many.
            manifest = self.manifest or File(self.folder / MANIFEST)
            return {part["name"] for part in manifest.json["parts"]}
        return set()


def _after(names: Iterable[str]) -> int:
    """The number after those of all parts among these names."""
    numbers = [-1]
    for match in filter(None, map(NUMBERED.fullmatch, names)):
        numbers.append(int(match[1]))
    return 1 + max(numbers)


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


def _linked(new: File, path: Path, target: Path) -> bool:
    """Give an open file a second name; False where the filesystem knows no links."""
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError as error:
        return _cannot_link(error)
    if not owned.stands(target, new.file):
        target.unlink()
        raise OutputError(
            "the part was exchanged while it was added",
            str(path),
            hint="Find out who else writes to this folder, or choose another.",
        )
    return True


def _cannot_link(error: OSError) -> bool:
    """False: the filesystem knows no links. Raises an error that a copy would meet too."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
        raise error
    return False


@dataclass(frozen=True)
class _Manifest:
    """A manifest of the known parts and new ones; `uuids` are those of all."""

    known: Directory | None
    parts: Sequence[File]
    uuids: Sequence[str]
    speaker: File | None

    def write(self, work: Path, folder: Path) -> None:
        """Write it; it takes the place of another one at once."""
        value = self._json()
        schema = self._speaking[0].schema
        documents = _documents(self.speaker or self._speaking[0])
        errors = [error for part in self._speaking for error in _errors(part)]
        fixed = [column for column in map(layouts.fixed, schema) if column]
        with (
            replacing(work / MANIFEST, overwrite=True, beside=folder) as out,
            ThreadPoolExecutor(1) as pool,
        ):
            placer = RowGroupWriter(out, pool)
            placer.begin(schema, fixed, layouts.SMALL_ALIGNMENT)
            placed = placer.attach(errors, documents)
            metadata: Metadata = from_json({**value, **placed})
            # Those that were listed before have been checked when they were read.
            listed = self.known.metadata.parts if self.known else ()
            metadata = replace(metadata, parts=(*listed, *map(_listing, self.parts)))
            placer.finish(with_metadata(schema, metadata))

    @property
    def _speaking(self) -> Sequence[File]:
        """The old manifest speaks for the parts that it lists."""
        return [self.known.manifest, *self.parts] if self.known else self.parts

    def _json(self) -> dict[str, Json]:
        """The metadata but for attachments and the list of parts."""
        value = merge_metadata.together([file.json for file in self._speaking])
        cores = [core["sha256"] for core in value.get("cores", {}).values()]
        if self.speaker is not None:
            value["info"] = self.speaker.json.get("info", {})
        value["provenance"]["generator"] = generator()
        value["uuid"] = content_uuid([uuid.UUID(each).bytes for each in self.uuids], cores)
        return value


def _listing(part: File) -> Part:
    """How the manifest lists a part."""
    return Part(name=part.path.name, rows=part.rows, bytes=part.size, seal=str(part.seal))


def _documents(file: File) -> list[tuple[Json, bytes]]:
    """The documents of a file: name and media type, and the bytes."""
    found = []
    for document in file.metadata.documents:
        about = {"name": document.name, "media_type": document.media_type}
        found.append((about, file.attachment(document.offset, document.length)))
    return found


def _errors(part: File) -> list[dict[str, str]]:
    """The inputs of a part that failed."""
    where = part.metadata.errors
    if where is None:
        return []
    return file_rules.failures(part.attachment(where.offset, where.length), str(part.path))
