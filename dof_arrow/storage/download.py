"""A file from the web, kept in the user's cache: continued where it was cut off, then checked.

Credentials in an address are used, and never repeated: neither in what is recorded, nor in
messages, nor in file names.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dof_arrow.errors import CoreError
from dof_arrow.progress import NOBODY, Update, listening, size
from dof_arrow.storage import caches
from dof_arrow.storage.addresses import split_digest
from dof_arrow.storage.atomic import Output
from dof_arrow.storage.transfer import YOURSELF, Asked, CutOff, Transfer

_TRIES = 4  # in a row that bring nothing
_MOST = 100  # tries in all
_WAIT = 0.5  # seconds, longer each time


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file as it was sent: bytes, their SHA-256, its name, its address without credentials."""

    data: bytes
    sha256: str
    name: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file in the cache, its bytes and their SHA-256."""

    path: Path
    data: bytes
    sha256: str


def fetch(address: str) -> Download:
    """The file at `https://…` or `http://…`; with `#sha256=HEX` behind, only one of that digest.

    A copy stays under `$XDG_CACHE_HOME/dof-arrow` or `~/.cache/dof-arrow`, and is used while its
    own digest is right. Raises UsageError for what is no address, CoreError if the file cannot be
    had or is another, OutputError if no copy can be written, or another user may have put one
    there.
    """
    url, expected = split_digest(address)
    asked = Asked.of(url)
    file = f"{expected or asked.key}.onnx"
    copy = kept(file, expected)
    if copy:
        _tell_of_copy(asked, copy, expected)
    else:
        copy = keep(asked, file, expected)
        _tell(asked, copy, expected)
    return Download(data=copy.data, sha256=copy.sha256, name=asked.name, source=asked.source)


def check_digest(found: str, expected: str | None, where: str) -> None:
    """Raise CoreError where a file is not the one whose SHA-256 was given."""
    if expected not in (None, found):
        raise CoreError(
            "this is another file than the one asked for",
            where,
            f"SHA-256 {expected}",
            found,
            "Ask whoever published it which is right; do not use it until you know.",
        )


def kept(file: str, expected: str | None = None) -> Copy | None:
    """The copy of this name, if its digest is the expected one, or else the one noted beside it.

    Raises OutputError where another user may have put it there.
    """
    known = expected or _noted(file)
    if known is None:
        return None
    data = caches.read(file)
    if data is None or hashlib.sha256(data).hexdigest() != known:
        return None
    return Copy(path=caches.path_of(file), data=data, sha256=known)


def keep(asked: Asked, file: str, expected: str | None = None) -> Copy:
    """Fetch a file into the cache, with a note of its digest beside it; see `fetch` for errors."""
    digest = _received(asked, file, expected)
    with caches.writing(_note_of(file)) as note:  # as `sha256sum --check` reads it
        note.write(f"{digest}  {file}\n".encode())
    copy = kept(file, digest)
    if copy is None:
        raise CoreError(
            "the copy is not what was written", str(caches.path_of(file)), hint="Check the disk."
        )
    return copy


def _tell_of_copy(asked: Asked, copy: Copy, expected: str | None) -> None:
    anew = "" if expected else "; remove it to have the file fetched anew"
    listening().say(f"{asked.source}: the copy in {copy.path}, SHA-256 {copy.sha256}{anew}")


def _tell(asked: Asked, copy: Copy, expected: str | None) -> None:
    checked = f"to have it checked, name it {asked.source}#sha256={copy.sha256}"
    if expected:
        checked = "as asked for"
    listening().say(f"{asked.source}: {size(len(copy.data))}, SHA-256 {copy.sha256}, {checked}")


def _note_of(file: str) -> str:
    return f"{PurePosixPath(file).stem}.sha256"


def _noted(file: str) -> str | None:
    words = (caches.read(_note_of(file)) or b"").split()
    return words[0].decode("ascii", "replace") if words else None


def _received(asked: Asked, file: str, expected: str | None) -> str:
    """Write what is sent to a file, whole or not at all; returns its digest."""
    listener = NOBODY if asked.quiet else listening()
    title = f"downloading {asked.name}, kB"
    with caches.writing(file) as out, listener.progress(title) as update:
        reception = _Reception(asked, out, update)
        digest = reception.complete()
        check_digest(digest, expected, asked.source)
        return digest


class _Reception:
    """A file that is being received, in as many tries as bring it further."""

    def __init__(self, asked: Asked, out: Output, update: Update) -> None:
        self.source = asked.source
        self.transfer = Transfer(asked)
        self.out = out
        self.update = update
        self.digest = hashlib.sha256()

    def complete(self) -> str:
        """Receive all of it, and return its digest; CoreError where it does not come."""
        farthest = 0
        vain = 0
        for _ in range(_MOST):
            try:
                self._go_on()
                return self.digest.hexdigest()
            except CutOff as cut:
                why = str(cut)
            vain = 0 if self.out.size > farthest else vain + 1
            if vain == _TRIES:
                break
            farthest = max(farthest, self.out.size)
            if not self.transfer.version:
                self._start_again()
            time.sleep(_WAIT * vain)
        raise CoreError("cannot be downloaded", self.source, found=why, hint=YOURSELF)

    def _go_on(self) -> None:
        for piece in self.transfer.pieces(self.out.size):
            self.out.write(piece)
            self.digest.update(piece)
            total = self.transfer.total
            self.update(self.out.size // 1000, None if total is None else total // 1000, 0)

    def _start_again(self) -> None:
        os.ftruncate(self.out.file, 0)
        os.lseek(self.out.file, 0, os.SEEK_SET)
        self.out.size = 0
        self.digest = hashlib.sha256()
