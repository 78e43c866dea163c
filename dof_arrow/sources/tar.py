"""The members of a tar archive that is not compressed, and their bytes where they lie."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dof_arrow.errors import PictureError, SourceError
from dof_arrow.sources.member_names import member_name
from dof_arrow.sources.sample import check_size, file_stamp
from dof_arrow.system import open_file


@dataclass(frozen=True, slots=True)
class TarMember:
    """Some bytes of a file: a member of an archive that is not compressed."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """These bytes; PictureError where the file ends before them, or they are too many."""
        check_size(self.size)
        with open_file(self.path) as file:
            data = os.pread(file.fileno(), self.size, self.offset)
        if len(data) != self.size:
            raise PictureError("the archive ends too early", rule="truncated")
        return data

    def stamp(self) -> tuple[int, ...]:
        """Where they lie, and the file's size and time."""
        return self.offset, self.size, *file_stamp(self.path)


def members(path: Path, left_out: Counter[str]) -> Iterator[tuple[str, int, int]]:
    """The name, offset and size of each plain file in an archive that is not hidden.

    `left_out` counts the others, by kind. Raises SourceError for what is damaged or compressed.
    """
    try:
        length = path.stat().st_size
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
                kind = _left_out_as(member)
                name = None if kind else member_name(member.name, left_out)
                if kind and not member.isdir():
                    left_out[kind] += 1
                if name is None:
                    continue
                # `tarfile` passes over a last member that is cut off.
                if member.offset_data + member.size > length:
                    raise tarfile.ReadError
                yield name, member.offset_data, member.size
    # `tarfile` lets through what its own parsing of a damaged header raises.
    except (tarfile.TarError, ValueError, OverflowError):
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


def _left_out_as(member: tarfile.TarInfo) -> str:
    """The kind of a member that is no plain file; empty for a plain file."""
    if member.islnk() or member.issym():
        return "links"  # they could lead out of the archive
    if not member.isreg():
        return "special"
    return "sparse" if member.issparse() else ""  # it does not lie in one piece
