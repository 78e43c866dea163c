"""The files below a folder, links followed, with a count of what is left out and why.

Links to files are followed wherever they lead: data farms, DVC, git-annex and model hubs keep their
files so. So are links to folders, each real folder once, after all that lies in the tree itself. A
link to a folder of the tree is not, for that is read where it lies. Nothing here opens a file: what
a link leads to is read as a picture later, or refused as none.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path

import pyarrow as pa

from dof_arrow.errors import SourceError
from dof_arrow.sources.sample import Column
from dof_arrow.sources.table import ROWS_AT_ONCE


def files_below(root: Path) -> tuple[Column, dict[str, int]]:
    """The relative names of all files but hidden ones, sorted by their UTF-8 bytes.

    Links that lead nowhere are among them. Beside them, how many of each kind in `counted.COUNTED`
    there were. Raises SourceError where the folder itself cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.png", ".c.png"):
    ...         Path(folder, name).touch()
    ...     names, counts = files_below(Path(folder))
    >>> names.to_pylist(), counts
    (['a.png', 'b.png'], {'hidden': 1})
    """
    import pyarrow.compute as pc

    walk = _Walk(root)
    names = walk.names()
    parts = [pa.array([], pa.large_string())]
    while batch := list(islice(names, ROWS_AT_ONCE)):
        parts.append(_column(batch, walk.left_out))
    found = pa.concat_arrays(parts)
    return found.take(pc.sort_indices(found)), dict(sorted(walk.left_out.items()))


def _column(names: list[str], left_out: Counter[str]) -> Column:
    """The names as an array, without those that are not UTF-8."""
    try:
        return pa.array(names, pa.large_string())
    except UnicodeEncodeError:
        # Python stands halves of surrogate pairs for bytes that are not UTF-8.
        sound = [name for name in names if is_utf8(name)]
        left_out["not_utf8"] += len(names) - len(sound)
        return pa.array(sound, pa.large_string())


def is_utf8(name: str) -> bool:
    r"""Whether a name as the system gave it is UTF-8.

    >>> is_utf8("\xfc.png"), is_utf8("\udcff.png")
    (True, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Walk:
    """One way through a folder and what its links lead to; `left_out` counts as it goes."""

    def __init__(self, root: Path) -> None:
        self.left_out: Counter[str] = Counter()
        self._root = root
        self._real = Path(os.path.realpath(root))
        self._seen: set[tuple[int, int]] = set()  # device and inode of each folder that was read
        self._linked: list[str] = []  # links to folders; a heap, so that their order is no accident

    def names(self) -> Iterator[str]:
        """The relative names of all files, in any order."""
        self._check_root()
        yield from self._below("")
        while self._linked:
            yield from self._below(heappop(self._linked) + "/")

    def _check_root(self) -> None:
        try:
            os.scandir(self._root).close()
        except OSError as error:
            raise SourceError(
                "the folder cannot be read", str(self._root), found=error.strerror or ""
            ) from None

    def _below(self, prefix: str) -> Iterator[str]:
        # A stack, since folders may lie deeper than calls may nest.
        folders = [prefix]
        while folders:
            prefix = folders.pop()
            path = f"{self._root}/{prefix}"
            try:
                if self._is_new(path):
                    with os.scandir(path) as entries:
                        yield from self._files(entries, prefix, folders)
                else:
                    self.left_out["linked_folders"] += 1
            except OSError:  # it may not be read, or is gone by now
                self.left_out["unreadable"] += 1

    def _is_new(self, path: str) -> bool:
        status = os.stat(path)
        own = (status.st_dev, status.st_ino)
        new = own not in self._seen
        self._seen.add(own)
        return new

    def _files(
        self, entries: Iterator[os.DirEntry[str]], prefix: str, folders: list[str]
    ) -> Iterator[str]:
        """The files among some entries; folders are noted."""
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                self.left_out["hidden"] += 1
            elif entry.is_file(follow_symlinks=False):
                yield prefix + name
            elif entry.is_dir(follow_symlinks=False):
                folders.append(f"{prefix}{name}/")
            elif not entry.is_symlink():
                self.left_out["special"] += 1
            elif self._is_file_or_nothing(entry, prefix):
                yield prefix + name

    def _is_file_or_nothing(self, link: os.DirEntry[str], prefix: str) -> bool:
        """Whether a link leads to a file or nowhere; one to a folder is noted."""
        try:
            mode = os.stat(link.path).st_mode
        except OSError:  # it will be listed among the failures
            return True
        if stat.S_ISDIR(mode):
            self._note_folder(link, prefix + link.name)
        elif not stat.S_ISREG(mode):
            self.left_out["special"] += 1
        return stat.S_ISREG(mode)

    def _note_folder(self, link: os.DirEntry[str], name: str) -> None:
        real = Path(os.path.realpath(link.path))
        holder = Path(os.path.realpath(os.path.dirname(link.path)))
        # Above the root lies the tree itself, and all else that the user did not mean.
        if holder.is_relative_to(real) or self._real.is_relative_to(real):
            self.left_out["loops"] += 1
        elif self._lies_in_tree(real):
            self.left_out["linked_folders"] += 1
        else:
            heappush(self._linked, name)

    def _lies_in_tree(self, real: Path) -> bool:
        """Whether a folder is read where it lies: in the tree, and in no hidden part of it."""
        if not real.is_relative_to(self._real):
            return False
        parts = real.relative_to(self._real).parts
        return not any(part.startswith(".") for part in parts)
