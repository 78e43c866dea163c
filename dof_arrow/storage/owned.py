"""What stands beside an output already is used only if it is ours and closed to all others.

In a folder that several people write to, somebody else can make `.x.partial` or `.x.staging` before
we do. They would receive what we write there, or could change it. So files and folders are made
exclusively, links are never followed, and what stands there already is examined through its open
descriptor, which nobody can exchange any more.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dof_arrow.errors import OutputError

# Modes of what is for us alone.
FILE = 0o600
FOLDER = 0o700
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a named pipe would wait for its other end
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}
_changing_umask = threading.Lock()


def make(path: Path, folder: int | None = None) -> int:
    """Make a file for us alone, and open it; FileExistsError if anything stands there.

    `folder`: the folder that it is in, open; it is then found by its name in there, here as below.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(_name(path, folder), flags, FILE, dir_fd=folder)


def opened(
    path: Path, folder: int | None = None, flags: int = os.O_RDONLY, *, kind: int = stat.S_IFREG
) -> int:
    """Open what stands there, links not followed; `refuse_others` is still to look at it.

    Raises FileNotFoundError if nothing stands there, OutputError if it cannot be opened and is not
    ours.
    """
    try:
        return os.open(_name(path, folder), flags | _SAFE, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError:  # a link, a folder, or a file of somebody else: say which
        refuse_others(path, _standing(path, folder), kind=kind, folder=folder)
        raise


def refuse_others(
    path: Path,
    found: os.stat_result,
    *,
    kind: int = stat.S_IFREG,
    names: int = 1,
    folder: int | None = None,
) -> None:
    """Raise OutputError unless what was found at `path` is this user's and closed to all others.

    It has to be a file, or what `kind` says. A file may have at most so many `names` (hard links):
    what is written to it would be written to all of them.
    """
    user = os.geteuid()
    plain = stat.S_IFMT(found.st_mode) == kind and _names(found) <= names
    if plain and (_is_closed(found, user) or _is_as_made_there(path, found, folder)):
        return
    expected = f"nothing, or {_KINDS[kind]} of your own that nobody else may write to"
    hint = "Ask its owner to remove it if it is not in use, or give the output another name."
    if found.st_uid == user:
        hint = "Remove it, and repeat the command."
    raise OutputError("what stands there is not used", str(path), expected, _told(found), hint)


def stands(path: Path, file: int, folder: int | None = None) -> bool:
    """Whether an open file is still the one that stands at `path`."""
    with suppress(FileNotFoundError):
        found = _standing(path, folder)
        return os.path.samestat(found, os.fstat(file))
    return False


@contextmanager
def ours(
    path: Path, folder: int | None = None, *, kind: int = stat.S_IFREG, names: int = 1
) -> Iterator[int]:
    """A file of ours, open for reading. Raises as `opened` and `refuse_others` do."""
    file = opened(path, folder, kind=kind)
    try:
        refuse_others(path, os.fstat(file), kind=kind, names=names, folder=folder)
        yield file
    finally:
        os.close(file)


def read(path: Path, folder: int | None = None) -> bytes:
    """The bytes of a file of ours. Raises as `ours` does."""
    with ours(path, folder) as file, open(file, "rb", closefd=False) as binary:
        return binary.read()


def remove(path: Path, folder: int | None = None) -> None:
    """Remove a file if it is there. Raises OutputError if it cannot be removed and is not ours."""
    try:
        os.unlink(_name(path, folder), dir_fd=folder)
    except FileNotFoundError:
        return
    except OSError:
        refuse_others(path, _standing(path, folder), folder=folder)
        raise


def open_folder(path: Path) -> int:
    """Open a folder of ours. Raises FileNotFoundError, or OutputError if it is not ours."""
    with ours(path, kind=stat.S_IFDIR) as file:
        return os.dup(file)


def make_folder(path: Path) -> int:
    """Open a folder of ours, made for us alone if nothing stands there; raises as `open_folder`."""
    with suppress(FileExistsError):
        os.mkdir(path, FOLDER)
    return open_folder(path)


def make_folder_anew(path: Path) -> None:
    """Make an empty folder for us alone, in place of one of ours; OutputError if it is not ours."""
    with suppress(FileNotFoundError):
        os.close(open_folder(path))
        shutil.rmtree(path)
    os.mkdir(path, FOLDER)


def usual_mode(folder: Path, most: int = 0o666) -> int:
    """The mode that the system gives a new file in a folder, by umask or by its access list."""
    with suppress(OSError, AttributeError):  # a file without a name, where the system knows such
        file = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, most)
        try:
            return stat.S_IMODE(os.fstat(file).st_mode)
        finally:
            os.close(file)
    return most & ~_umask()


def closed(mode: int) -> int:
    """A mode that lets no others write, and lets the owner do so.

    Until an output is in its place a kill may leave it beside, and only what is closed is taken up
    again.

    >>> oct(closed(0o464))
    '0o644'
    """
    return (mode | stat.S_IRUSR | stat.S_IWUSR) & ~_OTHERS_WRITE


def give_mode(file: int, mode: int) -> None:
    """Give an open file or folder a mode, where there are modes; folders keep special bits."""
    with suppress(OSError):
        known = os.fstat(file).st_mode
        if stat.S_ISDIR(known):
            mode |= known & _SPECIAL
        if stat.S_IMODE(known) != mode:
            os.fchmod(file, mode)


def _name(path: Path, folder: int | None) -> str | Path:
    return path if folder is None else path.name


def _standing(path: Path, folder: int | None) -> os.stat_result:
    return os.stat(_name(path, folder), dir_fd=folder, follow_symlinks=False)


def _names(found: os.stat_result) -> int:
    """Hard links of a file; a folder's are something else."""
    return 1 if stat.S_ISDIR(found.st_mode) else found.st_nlink


def _is_closed(found: os.stat_result, owner: int, allowed: int = 0) -> bool:
    """Whether it is the owner's, and others may write to it by the `allowed` mode bits at most."""
    return found.st_uid == owner and not found.st_mode & _OTHERS_WRITE & ~allowed


def _is_as_made_there(path: Path, found: os.stat_result, folder: int | None) -> bool:
    """Whether a new file of ours looks the same: some filesystems keep no owners, or no modes."""
    probe = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        file = make(probe, folder)
    except OSError:
        return False
    try:
        like = os.fstat(file)
        return _is_closed(found, like.st_uid, like.st_mode)
    finally:
        os.close(file)
        os.unlink(_name(probe, folder), dir_fd=folder)


def _told(found: os.stat_result) -> str:
    """What was found, whose it is, and what is wrong with it."""
    mode = found.st_mode
    kind = _KINDS.get(stat.S_IFMT(mode), "a device")
    told = f"{kind} of {_user(found.st_uid)}"
    if _names(found) > 1:
        told += f" with {found.st_nlink} names (hard links)"
    if mode & _OTHERS_WRITE and not stat.S_ISLNK(mode):
        told += f" that others may write to (mode {stat.S_IMODE(mode):04o})"
    return told


def _user(number: int) -> str:
    import pwd

    with suppress(KeyError):
        return f"{pwd.getpwuid(number).pw_name} (user {number})"
    return f"user {number}"


def _umask() -> int:
    with _changing_umask:  # the system tells it only in exchange for another
        known = os.umask(0o077)
        os.umask(known)
    return known
