"""Files that are published: their names, sizes and digests, and the list of all of them.

The list, `SHA256SUMS`, is what `sha256sum --check` reads. It comes last: where it stands, all else
is there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dof_arrow.errors import FormatError

SUMS = "SHA256SUMS"
MOST_BYTES = 1 << 20  # of the list
_LINE = re.compile(r"([0-9a-f]{64})  ((?:core/)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """A file that is to be published: its name there, where it lies here, its size and digest."""

    name: str
    path: Path
    size: int
    sha256: str

    @classmethod
    def of(cls, name: str, path: Path) -> PublishedFile:
        """A file as it is now; OSError where it cannot be read."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(name=name, path=path, size=path.stat().st_size, sha256=sha256)


def list_text(files: Sequence[PublishedFile]) -> str:
    """The list of files, a line each."""
    return "".join(f"{file.sha256}  {file.name}\n" for file in files)


def listed(data: bytes, where: str) -> dict[str, str]:
    """The digest of each file that a list names, in its order.

    Raises FormatError for what is no such list, or names a file of another folder.

    >>> listed(b"0" * 64 + b"  README.md", "x")["README.md"][:4]
    '0000'
    """
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in found:
            raise FormatError(
                "this is no list of published files",
                where,
                "lines of a SHA-256, two spaces and a name, each name once",
                f"line {number}: {line[:80]}",
            )
        found[match[2]] = match[1]
    return found
