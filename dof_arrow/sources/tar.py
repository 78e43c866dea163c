"""Tar shards in the WebDataset layout: files of one name with different endings are one sample.

The name ends at the first dot behind the last slash: `a/7.jpg`, `a/7.cls` and `a/7.json` are the
sample `a/7`. Headers are read once; pictures where they lie, in any order. A column is an ending
whose files hold one short text (`cls`), or else an entry of the `json` files. Source:
github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dof_arrow.errors import PictureError, SourceError, UsageError
from dof_arrow.sources.columns import place as column_place
from dof_arrow.sources.folder import SUFFIXES
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import MAX_FILE_BYTES, Column, file_stamp

Place = tuple[int, int, int]  # shard, offset and size of a member

_MAX_TEXT = 1 << 20  # bytes of a member that is a cell of a column


@dataclass(frozen=True, slots=True)
class TarMember:
    """Some bytes of a file: a member of an archive that is not compressed."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """These bytes; PictureError where the file ends before them, or they are too many."""
        if self.size > MAX_FILE_BYTES:
            raise PictureError(
                "the file is too large",
                expected=f"at most {MAX_FILE_BYTES} bytes",
                found=f"{self.size} bytes",
                rule="too-large",
            )
        with self.path.open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), self.size, self.offset)
        if len(data) != self.size:
            raise PictureError("the archive ends too early", rule="truncated")
        return data

    def stamp(self) -> tuple[int, ...]:
        """Where they lie, and the file's size and time."""
        return self.offset, self.size, *file_stamp(self.path)


class Lies(NamedTuple):
    """Where members lie: shard, offset and size of each, int64 [n, 3]."""

    rows: npt.NDArray[np.int64]

    def part(self, shards: Sequence[Path], index: int) -> TarMember:
        """One of them."""
        shard, offset, size = self.rows[index].tolist()
        return TarMember(shards[shard], offset, size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Members(Listing):
    """Pictures in tar shards, in the order in which they lie there, by the names of their members.

    `lie` says where they lie; `beside`, by ending, the samples and places of the other members.
    """

    shards: tuple[Path, ...]
    lie: Lies
    beside: Mapping[str, tuple[npt.NDArray[np.int64], Lies]]

    def stored(self, key: str, place: int) -> TarMember:
        """One of the members."""
        return self.lie.part(self.shards, place)

    def files(self) -> Iterator[Path]:
        """The shards."""
        yield from self.shards

    def cells(self, names: Sequence[str]) -> dict[str, Column]:
        """The texts of endings, and entries of the `json` members."""
        found: dict[str, Column] = {}
        entries = []
        for name in names:
            if name in self.beside:
                found[name] = self._texts(name)
            else:
                entries.append(name)
        return found | self._entries(entries) if entries else found

    def _texts(self, ending: str) -> Column:
        samples, lie = self.beside[ending]
        # A sample may have no member of this ending.
        texts: list[str | None] = [None] * len(self.lie.rows)
        for index, sample in enumerate(samples.tolist()):
            texts[sample] = _text(lie.part(self.shards, index))
        return pa.array(texts, pa.string())

    def _entries(self, names: Sequence[str]) -> dict[str, Column]:
        texts = self._texts("json").to_pylist() if "json" in self.beside else []
        values = [_parsed(text) for text in texts]
        known: dict[str, None] = {}
        for value in values:
            known.update(dict.fromkeys(value))
        found: dict[str, Column] = {}
        for name in names:
            column_place(name, [*self.beside, *known], self.shards[0])
            cells = [_cell(value.get(name)) for value in values]
            found[name] = pa.array(cells, pa.string())
        return found


class _Member(NamedTuple):
    """A plain file in a shard."""

    name: str
    offset: int
    size: int


@dataclass(slots=True)
class _Index:
    """What was found in the shards so far."""

    names: list[str] = field(default_factory=list)
    lie: list[Place] = field(default_factory=list)
    beside: dict[str, tuple[list[int], list[Place]]] = field(default_factory=dict)
    ignored: int = 0

    def add(self, shard: int, members: Sequence[_Member], pictures: str | None) -> None:
        """The members of one name: a sample if one of them is a picture.

        `pictures` is the ending of pictures; None for any of `SUFFIXES`.
        """
        picture = _picture(members, pictures)
        if picture is None:
            self.ignored += len(members)
            return
        for member in members:
            if member.name != picture.name:
                ending = _ending(member.name)
                samples, lie = self.beside.setdefault(ending, ([], []))
                samples.append(len(self.names))
                lie.append((shard, member.offset, member.size))
        self.names.append(picture.name)
        self.lie.append((shard, picture.offset, picture.size))


def open_shards(paths: Sequence[Path], pictures: str | None = None) -> Members:
    """The pictures in some tar files; `pictures` chooses an ending where samples have several.

    Where two members have one name, all names begin with their shard's. Raises SourceError for
    archives that are damaged, compressed or hold no picture, UsageError where a choice is needed.
    """
    index = _Index()
    for shard, path in enumerate(paths):
        for _, members in groupby(_members(path), key=_stem_of):
            index.add(shard, list(members), pictures)
    if not index.names:
        raise SourceError(
            "no picture in the archive",
            str(paths[0]),
            " ".join(SUFFIXES),
            f"{index.ignored} other files",
            "Name the ending of the pictures with --pictures.",
        )
    beside = {}
    for ending, (samples, lie) in index.beside.items():
        beside[ending] = (np.array(samples), _lies(lie))
    return Members(
        names=_named(index, paths),
        shards=tuple(paths),
        lie=_lies(index.lie),
        beside=beside,
        counts={"ignored": index.ignored},
    )


def _members(path: Path) -> Iterator[_Member]:
    """Each plain file in an archive that is not hidden."""
    try:
        length = path.stat().st_size
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
                hidden = member.name.rpartition("/")[2].startswith(".")
                # Links could lead out of the archive; a sparse file does not lie in one piece.
                if member.isreg() and not member.issparse() and not hidden:
                    # `tarfile` passes over a last member that is cut off.
                    if member.offset_data + member.size > length:
                        raise tarfile.ReadError
                    name = member.name.removeprefix("./")
                    yield _Member(name, member.offset_data, member.size)
    except tarfile.TarError:
        raise SourceError(
            "the archive is damaged or compressed",
            str(path),
            "a tar file that is not compressed",
            hint="Unpack it: gunzip FILE.tar.gz, or make it again.",
        ) from None
    except OSError as error:
        raise SourceError(
            "the archive cannot be read", str(path), found=error.strerror or ""
        ) from None


def _picture(members: Sequence[_Member], ending: str | None) -> _Member | None:
    """The picture among the members of one name, if there is one; UsageError for several."""
    if ending:
        chosen = [member for member in members if _ending(member.name) == ending]
    else:
        chosen = [member for member in members if _is_picture(member.name)]
    if len(chosen) > 1:
        endings = sorted({_ending(member.name) for member in chosen})
        raise UsageError(
            "several pictures of one name in the archive",
            found=", ".join(endings),
            hint=f"Choose with --pictures {endings[0]}",
        )
    return chosen[0] if chosen else None


def _stem_of(member: _Member) -> str:
    return _stem(member.name)


def _stem(name: str) -> str:
    """
    >>> _stem("a.b/7.seg.png")
    'a.b/7'
    """
    folder, slash, base = name.rpartition("/")
    # The first character is part of the name, even if it is a dot.
    first, others = base[:1], base[1:]
    return folder + slash + first + others.partition(".")[0]


def _ending(name: str) -> str:
    """
    >>> _ending("a.b/7.seg.PNG")
    'seg.png'
    """
    return name[len(_stem(name)) + 1 :].lower()


def _is_picture(name: str) -> bool:
    """
    >>> _is_picture("a/7.seg.PNG"), _is_picture("a/7.cls")
    (True, False)
    """
    endings = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
    return _ending(name).endswith(endings) and name.lower().endswith(SUFFIXES)


def _named(index: _Index, paths: Sequence[Path]) -> Column:
    """The members' names, with their shard's where two have one name."""
    names = index.names
    if len(set(names)) < len(names):
        names = []
        for name, (shard, _, _) in zip(index.names, index.lie, strict=True):
            names.append(f"{paths[shard].name}/{name}")
    if len(set(names)) < len(names):
        raise SourceError(
            "two members of one name in an archive",
            str(paths[0]),
            hint="Give each a name of its own.",
        )
    try:
        return pa.array(names, pa.large_string())
    except UnicodeEncodeError:
        raise SourceError(
            "a member's name is not UTF-8", str(paths[0]), hint="Make the archive again."
        ) from None


def _lies(rows: Sequence[Place]) -> Lies:
    return Lies(np.array(rows, np.int64).reshape(-1, 3))  # three columns, even of no rows


def _text(part: TarMember) -> str | None:
    if part.size > _MAX_TEXT:
        raise SourceError(
            "a member is too long for a column",
            str(part.path),
            f"at most {_MAX_TEXT} bytes",
            str(part.size),
        )
    try:
        return part.read().decode("utf-8-sig").strip() or None
    except UnicodeDecodeError:
        raise SourceError(
            "a member of the archive is no text",
            str(part.path),
            hint="Name an ending that holds texts, as cls, or an entry of the json files.",
        ) from None


def _parsed(text: str | None) -> Mapping[str, Any]:
    """A JSON member's entries; none where it is no JSON object."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    return json.dumps(value)
