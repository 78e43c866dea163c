"""The members of a zip archive, and their bytes, read where they lie (PKWARE's APPNOTE.TXT).

The directory at the archive's end is read once, by `zipfile`; a member when it is asked for, from
any thread. Members that are stored or deflated are read; others, and encrypted ones, fail alone.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dof_arrow.errors import PictureError, SourceError
from dof_arrow.sources.member_names import member_name
from dof_arrow.sources.sample import check_size, file_stamp
from dof_arrow.system import open_file

_HEADER = b"PK\3\4"
# Bytes of a member's own header, before its name (APPNOTE 4.3.7); the last four are the lengths of
# the name and of the extra field, which may differ from those in the archive's directory.
_LENGTH = 30
_OTHER_METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz"}
_ENCRYPTED = 1  # a flag (APPNOTE 4.4.4)
_UTF8 = 1 << 11
_METHOD = 8  # bits by which the flags stand above the method, in `how`


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A member of an archive: where its header lies, and what the directory says of its bytes.

    `size` and `packed` are its lengths inflated and as stored; `how` its method, with the flags
    above it.
    """

    path: Path
    offset: int
    size: int
    packed: int
    crc: int
    how: int

    def read(self) -> bytes:
        """The member's bytes.

        Raises PictureError where it is encrypted, damaged, too large, or packed in another way.
        """
        self._check()
        packed = self._packed()
        data = packed if self._method == zipfile.ZIP_STORED else _inflated(packed, self.size)
        if len(data) != self.size or zlib.crc32(data) != self.crc:
            raise PictureError("the member of the archive is damaged")
        return data

    def stamp(self) -> tuple[int, ...]:
        """What the directory says of it, and the file's size and time."""
        return self.offset, self.size, self.crc, *file_stamp(self.path)

    @property
    def _method(self) -> int:
        return self.how & ((1 << _METHOD) - 1)

    def _check(self) -> None:
        if (self.how >> _METHOD) & _ENCRYPTED:
            raise PictureError(
                "the member of the archive is encrypted",
                hint="Unpack the archive with its password.",
                rule="encrypted",
            )
        if self._method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise PictureError(
                "the member of the archive is packed in a way that is not read",
                expected="stored or deflated",
                found=_OTHER_METHODS.get(self._method, str(self._method)),
                hint="Make the archive again: zip -0 -r FILE.zip FOLDER",
                rule="unsupported-format",
            )
        check_size(self.size)
        check_size(self.packed)

    def _packed(self) -> bytes:
        """The bytes as they are stored."""
        with open_file(self.path) as file:
            handle = file.fileno()
            header = os.pread(handle, _LENGTH, self.offset)
            if not header.startswith(_HEADER) or len(header) < _LENGTH:
                raise PictureError("the archive has changed, or is damaged")
            name, extra = struct.unpack_from("<HH", header, _LENGTH - 4)
            data = os.pread(handle, self.packed, self.offset + _LENGTH + name + extra)
        if len(data) < self.packed:
            raise PictureError("the archive ends too early", rule="truncated")
        return data


def members(path: Path, left_out: Counter[str]) -> Iterator[tuple[str, int, int, int, int, int]]:
    """The name of each plain file in an archive that is not hidden, and the numbers of its member.

    `left_out` counts the others, by kind. Raises SourceError where the directory is damaged.
    """
    for info in _directory(path):
        name = _name(info)
        if name.endswith("/"):
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            left_out["links"] += 1
            continue
        known = member_name(name, left_out)
        if known is not None:
            how = info.flag_bits << _METHOD | info.compress_type
            place = (info.header_offset, info.file_size, info.compress_size)
            yield known, *place, info.CRC, how


def holds_arrays(path: Path) -> bool:
    """Whether an archive is an .npz: it holds .npy files alone."""
    names = [info.filename for info in _directory(path)]
    return bool(names) and all(name.endswith(".npy") for name in names)


def _directory(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except OSError as error:
        raise SourceError(
            "the archive cannot be read", str(path), found=error.strerror or ""
        ) from None
    # Besides its own, `zipfile` raises what its parsing of damaged entries does.
    except Exception:
        raise SourceError(
            "the archive is damaged",
            str(path),
            "a zip file",
            hint="Make it again, or mend it: zip -FF FILE.zip --out NEW.zip",
        ) from None


def _name(info: zipfile.ZipInfo) -> str:
    """A member's name; one without the mark of UTF-8 that is UTF-8 all the same is read so."""
    name = info.filename
    if not info.flag_bits & _UTF8 and not name.isascii():
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    on_dos = info.create_system == 0
    return name.replace("\\", "/") if on_dos else name


def _inflated(packed: bytes, size: int) -> bytes:
    """The bytes inflated; never many more than the directory says there are."""
    state = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = state.decompress(packed, size + 1)
    except zlib.error:
        raise PictureError("the member of the archive is damaged") from None
    if len(data) > size:
        raise PictureError(
            "the member of the archive holds more than its directory says", rule="too-large"
        )
    return data
