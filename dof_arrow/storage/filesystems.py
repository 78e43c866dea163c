"""Objects of a filesystem that the user brings: of pyarrow, or of fsspec."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from dof_arrow.errors import OutputError, SourceError, UsageError
from dof_arrow.storage.addresses import Address
from dof_arrow.storage.stores import Answer, Changed, Missing, Passing, room

_LONGEST = 200  # letters of a version
_COPIED = 8 << 20  # bytes at a time


class FilesystemReader:
    """One file of a filesystem of pyarrow or fsspec; looked at before and after each read."""

    def __init__(self, address: Address) -> None:
        self._path = address.url
        self._where = str(address)
        self._system = _system(address.filesystem)

    def end(self, length: int) -> Answer:
        """The last bytes of the file."""
        size, version = self._about()
        length = min(length, size)
        return self.part(size - length, version, room(length))

    def part(self, start: int, version: str, out: memoryview) -> Answer:
        """The bytes of this version of it from `start` on, put into `out`."""
        try:
            data = memoryview(self._system.read(self._path, start, start + len(out)))
            size, found = self._about()
        except (FileNotFoundError, PermissionError):
            raise self._missing() from None
        except (OSError, ValueError) as error:
            raise Passing(type(error).__name__) from None
        if found != version:
            raise Changed()
        if len(data) == len(out):
            out[:] = data
        return Answer(data, start, size, found)

    def _about(self) -> tuple[int, str]:
        try:
            size, version = self._system.about(self._path)
        except FileNotFoundError:
            raise self._missing() from None
        except OSError as error:
            raise SourceError(
                "the filesystem does not give the file", self._where, found=type(error).__name__
            ) from None
        return size, f"{size} {version}"[:_LONGEST]

    def _missing(self) -> UsageError:
        return Missing("no such file in the filesystem", self._where)


def put_new(path: Path, target: Address) -> None:
    """Put a file where nothing stands: it is written beside, then moved into its place.

    Raises OutputError if something stands there, or the filesystem refuses.
    """
    from pyarrow.fs import FileType

    system = _arrow_system(target.filesystem)
    folder, _, name = target.url.rpartition("/")
    part = f"{folder}/.{name}.partial" if folder else f".{name}.partial"
    where = str(target)
    try:
        if system.get_file_info(target.url).type != FileType.NotFound:
            raise OutputError("the output exists already", where, hint="Give another name.")
        if folder:
            system.create_dir(folder, recursive=True)
        with path.open("rb") as source, system.open_output_stream(part) as out:
            shutil.copyfileobj(source, out, _COPIED)
        system.move(part, target.url)
    except (OSError, NotImplementedError) as error:
        raise OutputError(
            "the filesystem does not take the file",
            where,
            found=getattr(error, "strerror", None) or type(error).__name__,
            hint="Repeat the command.",
        ) from None


def _arrow_system(filesystem: Any) -> Any:
    """A filesystem as pyarrow has it; one of fsspec is wrapped."""
    if isinstance(_system(filesystem), _Arrow):
        return filesystem
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return PyFileSystem(FSSpecHandler(filesystem))


class _Arrow:
    def __init__(self, filesystem: Any) -> None:
        self._filesystem = filesystem

    def about(self, path: str) -> tuple[int, str]:
        """The size of a file, and a name for its version."""
        info = self._filesystem.get_file_info(path)
        if not info.is_file:
            raise FileNotFoundError(path)
        return int(info.size), str(info.mtime_ns)

    def read(self, path: str, start: int, stop: int) -> Any:
        """Bytes of a file."""
        with self._filesystem.open_input_file(path) as file:
            return file.read_at(stop - start, start)


class _Fsspec:
    def __init__(self, filesystem: Any) -> None:
        self._filesystem = filesystem

    def about(self, path: str) -> tuple[int, str]:
        """The size of a file, and a name for its version."""
        self._filesystem.invalidate_cache()
        info = self._filesystem.info(path)
        if info.get("type") != "file":
            raise FileNotFoundError(path)
        known = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
        told = [str(info[name]) for name in known if name in info]
        return int(info["size"]), " ".join(told)

    def read(self, path: str, start: int, stop: int) -> Any:
        """Bytes of a file."""
        return self._filesystem.cat_file(path, start, stop)


def _system(filesystem: Any) -> _Arrow | _Fsspec:
    if hasattr(filesystem, "open_input_file"):
        return _Arrow(filesystem)
    if hasattr(filesystem, "cat_file"):
        return _Fsspec(filesystem)
    raise UsageError(
        "no filesystem",
        "filesystem",
        "one of pyarrow.fs or of fsspec",
        type(filesystem).__name__,
    )
