"""Outputs on a store: made on this machine, put under names that are new, the last file at the end.

Of several files the last makes the others count, as the manifest of a directory does: whoever looks
before it is there finds the dataset as it was, or none. It alone may take the place of another one,
and only of the very version that was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dof_arrow.errors import DofError, OutputError, UsageError, require
from dof_arrow.storage.addresses import Address, Location
from dof_arrow.storage.remote import RemoteObject
from dof_arrow.storage.stores import Changed, Passing, bucket, refusal

_STORES = ("s3", "gs", "az")
_AT_ONCE = 256 << 20  # bytes of one request, which a store takes only where nothing stands
_LOOKED_AT = 64 << 10  # last bytes of what was put: of a Parquet file the digests of all others
_WRITTEN = "dofwritten"  # note beside an object: when its file was written, in ns


@contextmanager
def uploaded(out: Address, last: str = "") -> Iterator[Path]:
    """A path to write to; what stands there when the block ends is put on the store.

    `last` is the name of the file that makes a folder count. Raises UsageError for a store that
    takes nothing, OutputError if something stands there already or the store refuses.
    """
    check_takes(out)
    refuse_standing(out / last if last else out)
    with TemporaryDirectory(prefix="dof-upload-") as folder:
        path = Path(folder, "upload.dof" if last else out.name)
        yield path
        if last:
            names = sorted(each.name for each in path.iterdir())
            put([(path / name, out / name) for name in names])
        else:
            put([(path, out)])


def check_takes(out: Address) -> None:
    """Raise UsageError unless this is a store that takes files, MissingExtra without `obstore`."""
    if out.filesystem is not None or out.url.partition("://")[0] not in _STORES:
        raise UsageError("nothing can be written there", str(out), "s3://, gs:// or az://")
    require("obstore", extra="remote")


def refuse_standing(target: Address) -> None:
    """Raise OutputError if an object has this name, or the store does not say."""
    import obstore

    store, key = bucket(target)
    with _explained(target), suppress(FileNotFoundError):
        obstore.head(store, key)
        raise _exists(target)


def sizes_below(folder: Address) -> dict[str, int]:
    """The names of the objects in a folder, and their bytes."""
    import obstore

    store, key = bucket(folder)
    prefix = key.rstrip("/") + "/"
    found = {}
    with _explained(folder):
        for each in obstore.list_with_delimiter(store, prefix)["objects"]:
            found[each["path"].rpartition("/")[2]] = each["size"]
    return found


def written(place: Location) -> int:
    """When a file was written, in ns: noted where it was put on a store, else the store's time."""
    if isinstance(place, Path):
        return place.stat().st_mtime_ns
    import obstore

    store, key = bucket(place)
    with _explained(place):
        found = obstore.get(store, key, options={"range": (0, 1)})
    noted = str(found.attributes.get(_WRITTEN, ""))
    if noted.isascii() and noted.isdigit():
        return int(noted)
    return int(found.meta["last_modified"].timestamp() * 1e9)


def put(files: Sequence[tuple[Path, Address]], replaces: str = "") -> None:
    """Put files in their order under names that are new; the last one makes the others count.

    The last takes the place of its version with the tag `replaces`, where that is given. Where one
    fails, those before it are removed again, unless the last may have come.

    Raises OutputError if a name is taken, another version stands there, or the store refuses.
    """
    done: list[tuple[Address, str]] = []
    path, last = files[-1]
    try:
        for part, target in files[:-1]:
            done.append((target, _put(part, target)))
        _put(path, last, replaces)
    except BaseException as error:
        stands = _stands(path, last, _AT_ONCE)
        if stands and isinstance(error, OutputError):
            return  # it came, and the answer did not
        if stands is False:
            for target, tag in done:
                remove(target, tag)
        raise


def remove(target: Address, tag: str = "") -> None:
    """Remove an object, if it can be and has this tag; what is left there counts for nothing."""
    import obstore

    store, key = bucket(target)
    with suppress(Exception):
        if not tag or obstore.head(store, key)["e_tag"] == tag:
            obstore.delete(store, key)


def _put(path: Path, target: Address, replaces: str = "") -> str:
    """Put a file, and look at what came; the tag of the object."""
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    store, key = bucket(target)
    options: dict[str, Any] = {}
    if replaces:
        options = {"mode": _version(target, replaces)}
    elif path.stat().st_size <= _AT_ONCE:
        options = {"mode": "create"}
    else:
        refuse_standing(target)
    noted = {_WRITTEN: str(path.stat().st_mtime_ns)}
    with _explained(target):
        try:
            made = obstore.put(store, key, path, attributes=noted, **options)
        except AlreadyExistsError:
            raise _exists(target) from None
        except PreconditionError:
            raise _written_by_another(target) from None
    if not _stands(path, target, _LOOKED_AT):
        raise OutputError(
            "the store has another file than was put there", str(target), hint="Repeat the command."
        )
    return str(made["e_tag"] or "")


def _version(target: Address, tag: str) -> dict[str, str]:
    """What a store calls the version with this tag; OutputError where it has another one."""
    import obstore

    store, key = bucket(target)
    with _explained(target):
        try:
            found = obstore.head(store, key)
        except FileNotFoundError:
            raise _written_by_another(target) from None
    if found["e_tag"] != tag:
        raise _written_by_another(target)
    names = {"e_tag": found["e_tag"], "version": found["version"]}
    return {name: value for name, value in names.items() if value is not None}


def _stands(path: Path, target: Address, length: int) -> bool | None:
    """Whether an object has a file's size and last bytes; None where the store does not say."""
    size = path.stat().st_size
    try:
        found = RemoteObject(target, min(length, size))
    except UsageError:  # there is none
        return False
    except DofError:
        return None
    with path.open("rb") as file:
        file.seek(size - len(found.end))
        return found.size == size and found.end == file.read()


def _exists(target: Address) -> OutputError:
    return OutputError(
        "the output exists already",
        str(target),
        hint="On a store nothing is replaced: give another name.",
    )


def _written_by_another(target: Address) -> OutputError:
    return OutputError(
        "another process has written this dataset meanwhile",
        str(target),
        "the version that was read",
        "another one",
        "Nothing was changed: repeat the command.",
    )


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
