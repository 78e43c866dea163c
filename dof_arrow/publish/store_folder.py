"""A folder of published files on a store, in a user's filesystem, or on this machine.

Nothing that stands there is replaced. Each file is read back after it was put there, and compared
with its digest; so is one that stands there already.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from dof_arrow.errors import DofError, OutputError, UsageError, require
from dof_arrow.publish.published_files import MOST_BYTES, SUMS, PublishedFile
from dof_arrow.storage import filesystems, upload
from dof_arrow.storage.addresses import Address
from dof_arrow.storage.remote import RemoteObject
from dof_arrow.storage.stores import Missing

_STORES = ("s3", "gs", "az")
_AT_ONCE = 32 << 20  # bytes that are read together


class StoreFolder:
    """The folder at an address; if it only `reads`, that may be on the hub or a web server too."""

    def __init__(self, address: Address, *, reads: bool = False) -> None:
        scheme = address.url.partition("://")[0]
        if address.filesystem is None:
            if scheme not in _STORES and not reads:
                raise UsageError(
                    "nothing can be pushed there",
                    str(address),
                    "hf://OWNER/NAME, s3://, gs:// or az://, or a folder",
                )
            require("obstore", extra="remote")
        self.address = address

    def sums(self) -> bytes | None:
        """The list of files that stands there; None where there is none."""
        found = self._opened(SUMS)
        if found is None:
            return None
        if found.size > MOST_BYTES:
            raise self._other(SUMS)
        return bytes(found.read([(0, found.size)])[0])

    def size(self, name: str) -> int | None:
        """How many bytes a file has there; None where there is none."""
        found = self._opened(name)
        return None if found is None else found.size

    def holds(self, file: PublishedFile) -> bool:
        """Whether a file stands there; OutputError where another one does under its name."""
        found = self._opened(file.name)
        if found is None:
            return False
        if found.size != file.size or _digest(found) != file.sha256:
            raise self._other(file.name)
        return True

    def put(self, file: PublishedFile) -> None:
        """Put a file there, and read it back; OutputError where the store has other bytes."""
        target = self.address / file.name
        if self.address.filesystem is None:
            upload.put([(file.path, target)])
        else:
            filesystems.put_new(file.path, target)
        found = self._opened(file.name)
        if found is None or found.size != file.size or _digest(found) != file.sha256:
            raise OutputError(
                "the store has other bytes than were sent",
                str(target),
                f"SHA-256 {file.sha256}",
                hint="Remove it there, and repeat the command.",
            )

    def _opened(self, name: str) -> RemoteObject | None:
        with suppress(Missing):
            return RemoteObject(self.address / name, 1)
        return None

    def _other(self, name: str) -> DofError:
        return OutputError(
            "another file stands there",
            str(self.address / name),
            hint="Nothing is replaced there: give another name.",
        )


def _digest(found: RemoteObject) -> str:
    """The SHA-256 of an object, read piece by piece."""
    digest = hashlib.sha256()
    for start in range(0, found.size, _AT_ONCE):
        digest.update(found.read([(start, min(start + _AT_ONCE, found.size))])[0])
    return digest.hexdigest()
