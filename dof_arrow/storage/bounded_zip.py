"""The members of a zip archive of which nothing is known, read within bounds.

Refused are archives that are made to deceive or to overwhelm: members of one name, names that lead
out of a folder, encrypted members, members that share bytes, that unpack to more than their
directory says or to too much in all. Nothing is ever written to a disk by a member's name.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dof_arrow.errors import SourceError, few
from dof_arrow.system import open_file

ZIPPED = b"PK\3\4"
_HEADER = 30  # bytes of a member's own header before its name (APPNOTE 4.3.7)
_ENCRYPTED = 1 | 1 << 6 | 1 << 13  # flags: of the member, strongly, with its directory
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an archive may hold: members, and bytes of all of them unpacked.

    `ratio` is how many times its own size all of it may be, beyond the first 16 MiB.
    """

    members: int = 4_000_000
    bytes: int = 1 << 40
    ratio: int = 100


LIMITS = Limits()
_FREE = 16 << 20


class Archive:
    """The members of an archive by name, read while it is open."""

    def __init__(self, file: BinaryIO, where: str, members: dict[str, zipfile.ZipInfo]) -> None:
        self._file = file
        self._where = where
        self._members = members

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all members but folders, in the order of the archive's directory."""
        return tuple(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def size(self, name: str) -> int:
        """How many bytes a member has."""
        return self._members[name].file_size

    def read(self, name: str) -> bytes:
        """A member's bytes; SourceError where it is missing, damaged or not what it claims."""
        info = self._members.get(name)
        if info is None:
            raise _refused("a member of the archive is missing", self._where, found=name)
        packed = self._packed(info)
        stored = info.compress_type == zipfile.ZIP_STORED
        data = packed if stored else self._inflated(packed, info)
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise _refused("a member of the archive is damaged", self._where, found=name)
        return data

    def _packed(self, info: zipfile.ZipInfo) -> bytes:
        handle = self._file.fileno()
        header = os.pread(handle, _HEADER, info.header_offset)
        if len(header) < _HEADER or not header.startswith(ZIPPED):
            raise _refused("a member of the archive is damaged", self._where, found=info.filename)
        name, extra = struct.unpack_from("<HH", header, _HEADER - 4)
        start = info.header_offset + _HEADER + name + extra
        data = os.pread(handle, info.compress_size, start)
        if len(data) < info.compress_size:
            raise _refused("the archive ends too early", self._where, found=info.filename)
        return data

    def _inflated(self, packed: bytes, info: zipfile.ZipInfo) -> bytes:
        state = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            return state.decompress(packed, info.file_size + 1)
        except zlib.error:
            raise _refused(
                "a member of the archive is damaged", self._where, found=info.filename
            ) from None


@contextmanager
def opened(path: Path, limits: Limits = LIMITS) -> Iterator[Archive]:
    """The archive in a file.

    Raises SourceError where it cannot be read, is damaged, or is not to be trusted.
    """
    where = str(path)
    try:
        with open_file(path) as file:
            infos = _directory(file, where)
            _check(infos, os.fstat(file.fileno()).st_size, where, limits)
            kept = {info.filename: info for info in infos if not info.is_dir()}
            yield Archive(file, where, kept)
    except OSError as error:
        raise _refused("the archive cannot be read", where, found=error.strerror or "") from None


def _directory(file: BinaryIO, where: str) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except OSError:
        raise
    # Besides its own, `zipfile` raises what its parsing of damaged entries does.
    except Exception:
        raise _refused("the archive is damaged", where, expected="a zip file") from None


def _check(infos: list[zipfile.ZipInfo], size: int, where: str, limits: Limits) -> None:
    if len(infos) > limits.members:
        raise _refused("too many members", where, f"at most {limits.members:,}", f"{len(infos):,}")
    _refuse_any("members of one name", where, _doubles(infos))
    _refuse_any("names that lead out of the archive", where, _leading_out(infos))
    _refuse_any("encrypted members", where, _names(infos, lambda i: i.flag_bits & _ENCRYPTED))
    odd = _names(infos, lambda i: i.compress_type not in _PLAIN)
    _refuse_any("members that are packed in a way that is not read", where, odd)
    _refuse_any("members with sizes that cannot be", where, _names(infos, _is_lying))
    total = sum(info.file_size for info in infos)
    most = min(limits.bytes, max(_FREE, limits.ratio * size))
    if total > most:
        raise _refused(
            "the archive would unpack to too much", where, f"at most {most:,} bytes", f"{total:,}"
        )
    _refuse_any("members that share bytes", where, _overlapping(infos, size))


def _names(
    infos: list[zipfile.ZipInfo], is_wrong: Callable[[zipfile.ZipInfo], bool | int]
) -> list[str]:
    return [info.filename for info in infos if is_wrong(info)]


def _is_lying(info: zipfile.ZipInfo) -> bool:
    stored = info.compress_type == zipfile.ZIP_STORED
    return stored and info.compress_size != info.file_size


def _doubles(infos: list[zipfile.ZipInfo]) -> list[str]:
    counts = Counter(info.filename for info in infos)
    return [name for name, count in counts.items() if count > 1]


def _leading_out(infos: list[zipfile.ZipInfo]) -> list[str]:
    """Names that are no plain relative ones; the part behind a zero byte is cut off by others."""
    found = []
    for info in infos:
        name = info.orig_filename
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or "\\" in name or "\0" in name or ":" in parts[0]:
            found.append(name)
    return found


def _overlapping(infos: list[zipfile.ZipInfo], size: int) -> list[str]:
    """Members whose bytes begin within another one's, or reach beyond the archive."""
    found = []
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            found.append(info.filename)
        end = info.header_offset + _HEADER + info.compress_size
        if end > size:
            found.append(info.filename)
    return found


def _refuse_any(what: str, where: str, names: list[str]) -> None:
    if names:
        raise _refused(what, where, found=", ".join(few([ascii(name) for name in names], _SHOWN)))


def _refused(what: str, where: str, expected: str = "", found: str = "") -> SourceError:
    return SourceError(what, where, expected, found)
