"""What somebody else may have put in the place of a file or folder that we are about to make."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
SECRET = b"precious"


@dataclass(frozen=True)
class Planted:
    """Something in our way: how it is made at a path, and what is to be said of it."""

    name: str
    make: Callable[[Path], object]
    told: str
    root: bool = False  # only root can make it

    def __call__(self, path: Path) -> Planted:
        if self.root and os.geteuid() != 0:
            pytest.skip("only root can give files away")
        self.make(path)
        return self


def victim(path: Path) -> Path:
    """A file of ours, in another folder, that must not be written to."""
    folder = path.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    (folder / "victim").write_bytes(SECRET)
    return folder / "victim"


def _file(path: Path, mode: int = 0o644, owner: int = -1) -> None:
    path.write_bytes(b"left over")
    path.chmod(mode)
    os.chown(path, owner, -1)


def _folder(path: Path, mode: int = 0o755, owner: int = -1) -> None:
    path.mkdir()
    path.chmod(mode)
    os.chown(path, owner, -1)


def _socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


_COMMON = (
    Planted("link", lambda p: p.symlink_to(victim(p)), "a symbolic link of "),
    Planted("link to nothing", lambda p: p.symlink_to("nothing"), "a symbolic link of "),
    Planted("link to a folder", lambda p: p.symlink_to(victim(p).parent), "a symbolic link of "),
    Planted("pipe", os.mkfifo, "a named pipe of "),
    Planted("socket", _socket, "a socket of "),
)
FOR_FILES = (
    *_COMMON,
    Planted(
        "another's",
        lambda p: _file(p, owner=NOBODY),
        f"a file of .*user {NOBODY}.*Ask its owner",
        root=True,
    ),
    Planted(
        "another's, private",
        lambda p: _file(p, 0o600, NOBODY),
        f"a file of .*user {NOBODY}",
        root=True,
    ),
    Planted(
        "open to the group", lambda p: _file(p, 0o664), r"may write to \(mode 0664\)\. Remove it"
    ),
    Planted("open to all", lambda p: _file(p, 0o602), r"may write to \(mode 0602\)"),
    Planted("second name", lambda p: os.link(victim(p), p), r"with 2 names \(hard links\)"),
    Planted("folder", _folder, "a folder of "),
)
FOR_FOLDERS = (
    *_COMMON,
    Planted(
        "another's",
        lambda p: _folder(p, owner=NOBODY),
        f"a folder of .*user {NOBODY}.*Ask its owner",
        root=True,
    ),
    Planted(
        "open to the group", lambda p: _folder(p, 0o775), r"may write to \(mode 0775\)\. Remove it"
    ),
    Planted("open to all", lambda p: _folder(p, 0o1777), r"may write to \(mode 1777\)"),
    Planted("file", _file, "a file of "),
)
for_files = pytest.mark.parametrize("planted", FOR_FILES, ids=lambda p: p.name)
for_folders = pytest.mark.parametrize("planted", FOR_FOLDERS, ids=lambda p: p.name)


def looks(folder: Path) -> dict[str, Any]:
    """All that is in a folder: what it is, whose, with which mode, and the bytes of files."""
    return {str(p.relative_to(folder)): _look(p) for p in sorted(folder.rglob("*"))}


def _look(path: Path) -> tuple[Any, ...]:
    known = path.lstat()
    data = path.read_bytes() if stat.S_ISREG(known.st_mode) else None
    return known.st_mode, known.st_uid, known.st_nlink, data
