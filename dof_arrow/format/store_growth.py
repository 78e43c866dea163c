"""A directory on a store, grown: new parts under new names, then the manifest, over the old one.

What is new is made on this machine first. The manifest is put only over the very version that was
read, so of two who write at a time one is refused; readers find the old dataset or the new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.append import Growth, growing_here
from dof_arrow.format.directory import MANIFEST, is_directory
from dof_arrow.format.file import File
from dof_arrow.format.remote_directory import RemoteDirectory
from dof_arrow.storage import upload
from dof_arrow.storage.addresses import Address


@contextmanager
def growing_on_store(
    folder: Address,
    *,
    overwrite: bool = False,
    speaker: File | None = None,
    beside: Path | None = None,
) -> Iterator[Growth]:
    """As `format.append.growing`; what is new is made in the folder `beside`, or a temporary one.

    Raises OutputError, with nothing changed, if another process writes there meanwhile; UsageError
    for an address that would be opened as that of a file.
    """
    upload.check_takes(folder)
    if not is_directory(folder):
        raise UsageError(
            "not the address of a directory", str(folder), "one that ends in .dof or a slash"
        )
    known = standing(folder)
    sizes = upload.sizes_below(folder)
    if known is not None:
        _check_sizes(known, sizes)
    with TemporaryDirectory(prefix="dof-upload-", dir=beside) as name:
        here = Path(name, "new.dof")
        with growing_here(here, speaker=speaker) as growth:
            growth.stand_for(str(folder), None if overwrite else known, sizes)
            yield growth
        if here.exists():
            _put(here, folder, known)


def standing(folder: Address) -> RemoteDirectory | None:
    """The directory at an address; None where there is none. Raises as `RemoteDirectory` does."""
    try:
        return RemoteDirectory(folder)
    except UsageError:
        upload.refuse_standing(folder / MANIFEST)  # the address itself may be no good
        return None


def _check_sizes(known: RemoteDirectory, sizes: dict[str, int]) -> None:
    """Raise FormatError unless all parts are there, with their sizes."""
    for about in known.metadata.parts:
        found = sizes.get(about.name)
        if found != about.bytes:
            raise FormatError(
                "a part is missing or has another size than the manifest says",
                str(known.path / about.name),
                f"{about.bytes} bytes",
                "none" if found is None else f"{found} bytes",
                "Restore the part from a backup.",
            )


def _put(here: Path, folder: Address, known: RemoteDirectory | None) -> None:
    """Put the new parts there, and the manifest last; then remove parts that it lists no more."""
    names = sorted(path.name for path in here.iterdir() if path.name != MANIFEST)
    files = [(here / name, folder / name) for name in (*names, MANIFEST)]
    upload.put(files, "" if known is None else known.version)
    if known is None:
        return
    listed = {part.name for part in File(here / MANIFEST).metadata.parts}
    for part in known.metadata.parts:
        if part.name not in listed:
            upload.remove(folder / part.name)
