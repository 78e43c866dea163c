"""Outputs on a store: made on this machine, put under names that are new, the last file at the end.

Nothing that stands there is replaced. Of several files the last by name makes the others count, as
the manifest of a directory does: whoever looks before it is there finds no dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dof_arrow.errors import OutputError, UsageError, require
from dof_arrow.storage.addresses import Address
from dof_arrow.storage.stores import Changed, Passing, bucket, refusal

_STORES = ("s3", "gs", "az")
_AT_ONCE = 256 << 20  # bytes of one request, which a store takes only where nothing stands


@contextmanager
def uploaded(out: Address, last: str = "") -> Iterator[Path]:
    """A path to write to; what stands there when the block ends is put on the store.

    `last` is the name of the file that makes a folder count. Raises UsageError for a store that
    takes nothing, OutputError if something stands there already or the store refuses.
    """
    if out.filesystem is not None or out.url.partition("://")[0] not in _STORES:
        raise UsageError("nothing can be written there", str(out), "s3://, gs:// or az://")
    require("obstore", extra="remote")
    _refuse_existing(out / last if last else out)
    with TemporaryDirectory(prefix="dof-upload-") as folder:
        path = Path(folder, out.name)
        yield path
        if last:
            names = sorted(each.name for each in path.iterdir())
            _put_all([(path / name, out / name) for name in names])
        else:
            _put_all([(path, out)])


def put_new(path: Path, target: Address) -> None:
    """Put a file under a name that is new, and compare its size.

    Raises OutputError if something stands there, or the store refuses.
    """
    _put(path, target, is_new=True)


def _refuse_existing(target: Address) -> None:
    import obstore

    store, key = bucket(target)
    with _explained(target), suppress(FileNotFoundError):
        obstore.head(store, key)
        raise _exists(target)


def _exists(target: Address) -> OutputError:
    return OutputError(
        "the output exists already",
        str(target),
        hint="On a store nothing is replaced: give another name.",
    )


def _put_all(files: Sequence[tuple[Path, Address]]) -> None:
    """Put files in their order; where one fails, those before it are removed again."""
    done: list[Address] = []
    try:
        for number, (path, target) in enumerate(files, 1):
            _put(path, target, is_new=number == len(files))
            done.append(target)
    except BaseException:
        for target in done:
            _remove(target)
        raise


def _put(path: Path, target: Address, *, is_new: bool) -> None:
    import obstore
    from obstore.exceptions import AlreadyExistsError

    store, key = bucket(target)
    size = path.stat().st_size
    options: dict[str, Any] = {}
    if is_new and size <= _AT_ONCE:
        options = {"mode": "create"}
    elif is_new:
        _refuse_existing(target)
    with _explained(target):
        try:
            obstore.put(store, key, path, **options)
        except AlreadyExistsError:
            raise _exists(target) from None
        found = obstore.head(store, key)["size"]
    if found != size:
        raise OutputError("the store has another file", str(target), f"{size} bytes", str(found))


def _remove(target: Address) -> None:
    import obstore

    store, key = bucket(target)
    with suppress(Exception):  # what is left there counts for nothing
        obstore.delete(store, key)


@contextmanager
def _explained(target: Address) -> Iterator[None]:
    """Turn a store's refusals into OutputError; FileNotFoundError is let through."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError, ValueError) as error:
        meant = refusal(error, target)
        found = str(meant) if isinstance(meant, Passing | Changed) else "no permission"
        hint = getattr(meant, "hint", "") or "Repeat the command."
        raise OutputError(
            "cannot be put on the store", str(target), found=found, hint=hint
        ) from None
