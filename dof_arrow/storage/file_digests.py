"""SHA-256 digests of files, remembered: a large file is read once, not at each look.

What is remembered is a hint: whoever uses a file checks the bytes that it has read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dof_arrow.errors import OutputError
from dof_arrow.storage import caches

_NOTES = "digests.json"
_MOST_NOTES = 4096


class FileDigests:
    """Digests of files by what the system says of them; `save` keeps them for the next time."""

    def __init__(self) -> None:
        self._known = _noted()
        self._is_new = False

    def known(self, path: Path, about: os.stat_result) -> str | None:
        """The digest of a file that is as it was when it was read; None if it was not."""
        return self._known.get(_state(path, about))

    def read(self, path: Path, about: os.stat_result) -> str:
        """The digest of a file, read now if need be; OSError where it cannot be."""
        state = _state(path, about)
        if state not in self._known:
            with path.open("rb") as file:
                self._known[state] = hashlib.file_digest(file, "sha256").hexdigest()
            self._is_new = True
        return self._known[state]

    def save(self) -> None:
        """Keep the digests, where there is a place for them."""
        if not self._is_new:
            return
        newest = dict(list(self._known.items())[-_MOST_NOTES:])
        with suppress(OutputError), caches.writing(_NOTES) as out:
            out.write(json.dumps(newest).encode())
        self._is_new = False


def _state(path: Path, about: os.stat_result) -> str:
    """A file as it is now: any change of it changes its times, which nobody can set back."""
    facts: Iterable[int] = (
        about.st_dev,
        about.st_ino,
        about.st_size,
        about.st_mtime_ns,
        about.st_ctime_ns,
    )
    named = os.fsencode(path.resolve())
    return " ".join([hashlib.sha256(named).hexdigest()[:16], *map(str, facts)])


def _noted() -> dict[str, str]:
    """What was kept; nothing where there is none, or what is there cannot be trusted or read."""
    try:
        found = json.loads(caches.read(_NOTES) or b"{}")
    except (OutputError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {state: digest for state, digest in found.items() if isinstance(digest, str)}
