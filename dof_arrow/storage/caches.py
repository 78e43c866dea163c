"""The user's caches, of models and of bytes afar: files that nobody else can have put there.

What is a link, another user's, or open to others' writing is neither taken over nor believed. The
names of the files are of our own making: digests in hexadecimal, never a text of a server.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dof_arrow.errors import OutputError
from dof_arrow.storage.atomic import Output, explained, sync_folder
from dof_arrow.system import own_folder

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_LEFT_BEHIND = 86_400.0  # seconds without a byte, after which nobody is still writing
_LINKS = 8  # in a row
_TO_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe may never open
_TO_FILL = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_OWN = "If it is yours: chmod go-w. Else remove it, or set XDG_CACHE_HOME to a folder of yours."
_SHARED = "If you trust it, make it yours alone: chmod -R go-w. Else set HF_HOME to another folder."


_MODELS = "models"  # the folder of the cache that is meant when none is named


def path_of(name: str, folder: str = _MODELS) -> Path:
    """Where the file of this name lies, or would."""
    return own_folder("XDG_CACHE_HOME", ".cache") / folder / name


def read(name: str, folder: str = _MODELS) -> bytes | None:
    """A file of the cache; None where there is none.

    Raises OutputError where another user may have put it, or the folder, there, or the system
    refuses.
    """
    path = path_of(name, folder)
    with explained(path):
        if not (_is_own_folder(path.parent.parent) and _is_own_folder(path.parent)):
            return None
        return _own_bytes(path)


@contextmanager
def writing(name: str, folder: str = _MODELS, *, durable: bool = True) -> Iterator[Output]:
    """Write a file of the cache, whole or not at all.

    `durable`: also across a power cut; else whoever reads it must see whether it is whole.
    Several processes may at once: what the last one wrote stays.
    Raises OutputError where the folder may be another user's, or the system refuses.
    """
    path = path_of(name, folder)
    with explained(path):
        _make_own(path.parent)
        _remove_left_behind(path)
        file, part = tempfile.mkstemp(prefix=f".{name}.", dir=path.parent)  # exclusively, mode 0600
        try:
            yield Output(Path(part), file)
            if durable:
                os.fsync(file)
            os.rename(part, path)
            if durable:
                sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise
        finally:
            os.close(file)


def make_folder(folder: Path) -> None:
    """Make the folder of a cache, if need be.

    Raises OutputError if it may be another user's, OSError if the system refuses.
    """
    _make_own(folder)


def to_be_filled(path: Path) -> int:
    """A file of a cache to be read and written at any place, made if need be, open.

    Raises OutputError where another user may have put it there, or the system refuses.
    """
    with explained(path):
        file = os.open(path, _TO_FILL, 0o600)
        try:
            _refuse(path, os.fstat(file), "file", {os.geteuid()}, _OWN)
        except BaseException:
            os.close(file)
            raise
        return file


def check_shared(path: Path, top: Path) -> None:
    """Raise OutputError unless only this user or root can have put a file into a shared cache.

    `top` is the cache's folder. It may hold links: each is followed while it stays in the cache.
    """
    owners = {os.geteuid(), 0}
    with explained(path):
        base = top.resolve()
        stations = _stations(base / path.relative_to(top))
        for station in stations:
            if not station.is_relative_to(base):
                raise _doubted(path, "a link that leads out of the cache", _SHARED)
            for folder in station.relative_to(base).parents:
                _check(base / folder, "folder", owners, _SHARED)
        _check(stations[-1], "file", owners, _SHARED)


def _stations(path: Path) -> list[Path]:
    """A path, and what each link that begins there points to."""
    found = [path]
    while found[-1].is_symlink() and len(found) < _LINKS:
        target = found[-1].parent / found[-1].readlink()
        found.append(Path(os.path.normpath(target)))
    return found


def _make_own(folder: Path) -> None:
    folder.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        with suppress(FileExistsError):
            each.mkdir(mode=0o700)
        _is_own_folder(each)


def _is_own_folder(path: Path) -> bool:
    """Whether a folder is there; OutputError where it is not this user's alone."""
    try:
        _check(path, "folder", {os.geteuid()}, _OWN)
        around = path.parent.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if around & stat.S_IWOTH and not around & stat.S_ISVTX:
        mode = f"{stat.S_IMODE(around):04o}"
        raise _doubted(path, f"a place where anybody may replace it, mode {mode}", _OWN)
    return True


def _own_bytes(path: Path) -> bytes | None:
    """The bytes of a file, checked once it is open: so nobody can exchange it in between."""
    try:
        file = os.open(path, _TO_READ)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            return None  # it will be written anew, or that will say why not
        raise _doubted(path, "a link", _OWN) from None
    try:
        _refuse(path, os.fstat(file), "file", {os.geteuid()}, _OWN)
        return _whole(file)
    finally:
        os.close(file)


def _whole(file: int) -> bytes:
    with open(file, "rb", closefd=False) as opened:
        return opened.read()


def _check(path: Path, kind: str, owners: Collection[int], hint: str) -> None:
    _refuse(path, path.lstat(), kind, owners, hint)


def _refuse(
    path: Path, found: os.stat_result, kind: str, owners: Collection[int], hint: str
) -> None:
    why = _doubt(found, kind, owners)
    if why:
        raise _doubted(path, why, hint)


def _doubted(path: Path, why: str, hint: str) -> OutputError:
    return OutputError(
        "another user may have put this there", str(path), "what only you can write to", why, hint
    )


def _doubt(found: os.stat_result, kind: str, owners: Collection[int]) -> str:
    """Why this is not to be believed; empty where it is."""
    is_right = stat.S_ISDIR if kind == "folder" else stat.S_ISREG
    if stat.S_ISLNK(found.st_mode):
        return "a link"
    if not is_right(found.st_mode):
        return f"no {kind}"
    if found.st_uid not in owners:
        return f"a {kind} of user {found.st_uid}"
    if found.st_mode & _OTHERS:
        return f"mode {stat.S_IMODE(found.st_mode):04o}"
    return ""


def _remove_left_behind(path: Path) -> None:
    """Remove what a crash left of an earlier try."""
    for part in path.parent.glob(f".{path.name}.*"):
        with suppress(OSError):
            if time.time() - part.lstat().st_mtime > _LEFT_BEHIND:
                part.unlink()
