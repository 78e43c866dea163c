"""What a crash left beside an output: listed, and removed if asked.

No finished output needs any of it, because an output appears by one rename. Some of it is work that
the same command continues, so it is removed only when asked. A living process holds a lock (flock),
which dies with it; what is locked is never removed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dof_arrow.errors import DofError, OutputError, UsageError
from dof_arrow.extraction.staging import block_rows, blocks, recorded
from dof_arrow.format import append
from dof_arrow.format.directory import MANIFEST
from dof_arrow.format.file import File
from dof_arrow.storage import owned
from dof_arrow.storage.addresses import on_disk
from dof_arrow.storage.atomic import explained, sibling

_HIDDEN = re.compile(r"\.(?P<of>.+)\.(?P<what>partial|staging|pull|lock|new|part\.parquet)")
# The hidden file of a file in a directory is named after that file: whose it is, is the rest.
_WITHIN = re.compile(r"\.?(.+?)(?:\.part\.parquet|\.manifest\.parquet|\.data-\d+\.parquet)?")
_WHAT = {
    "partial": "the beginning of a file",
    "pull": "files that were fetched; the same command goes on",
    "lock": "a lock that nobody holds",
    "new": "the beginning of a directory",
    "part.parquet": "the beginning of a part",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Something that a run left: where it is, which output it belongs to, what it is, its size.

    `held`: a living process holds its lock.
    """

    path: Path
    of: str
    what: str
    bytes: int
    held: bool


def find(path: str | os.PathLike[str]) -> list[Leftover]:
    """What runs left beside an output, or beside all outputs of a folder.

    Raises UsageError if there is no such folder, and for an address.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, ".x.parquet.partial").write_bytes(b"PAR1")
    ...     [(found.of, found.what) for found in find(Path(folder, "x.parquet"))]
    4
    [('x.parquet', 'the beginning of a file')]
    """
    given = Path(os.path.abspath(on_disk(path)))
    is_output = (given / MANIFEST).is_file() or not given.is_dir()
    folder = given.parent if is_output else given
    if not folder.is_dir():
        raise UsageError("no such folder", str(folder))
    with explained(folder):
        found = list(filter(None, map(_hidden, sorted(folder.iterdir()))))
        if is_output:
            found.extend(_strays(given))
            return [left for left in found if left.of == given.name]
        for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
            found.extend(_strays(manifest.parent))
    return found


def discard(found: Sequence[Leftover]) -> list[Leftover]:
    """Remove what was found, except what a process has locked since; returns what was removed."""
    return [left for left in found if _removed(left)]


def _hidden(path: Path) -> Leftover | None:
    """The leftover that a path is, by its name; None for any other file."""
    match = _HIDDEN.fullmatch(path.name)
    if match is None:
        return None
    inner = _WITHIN.fullmatch(match["of"])
    of = inner[1] if inner else match["of"]
    return _leftover(path, of, _description(path, match["what"]))


def _leftover(path: Path, of: str, what: str) -> Leftover:
    with _free(_locks(path)) as free:
        return Leftover(path=path, of=of, what=what, bytes=_size(path), held=not free)


def _strays(folder: Path) -> Iterator[Leftover]:
    """Parts that no manifest lists."""
    try:
        listed = {part.name for part in File(folder / MANIFEST).metadata.parts}
    except DofError:
        return  # without a manifest nobody knows which parts are its own
    for path in sorted(folder.glob("data-*.parquet")):
        if path.name not in listed:
            yield _leftover(path, folder.name, "a part that the manifest does not list")


def _description(path: Path, kind: str) -> str:
    if kind == "staging":
        return _run(path)
    if kind == "part.parquet":
        with suppress(DofError):
            rows = File(path).rows
            return f"{rows:,} rows extracted and not yet added; the same command adds them"
    return _WHAT[kind]


def _run(folder: Path) -> str:
    """How far an unfinished run came."""
    done = sum(1 for _ in folder.glob("*.arrow"))
    try:
        run = recorded(owned.read(folder / "run.json")) or {}
        inputs = int(run["inputs"])
        whole = len(blocks(inputs, block_rows(inputs, int(run["batch size"]))))
    except (OSError, OutputError, ValueError, KeyError, TypeError):
        return f"an unfinished run, {done:,} blocks done"
    return f"an unfinished run, {done:,} of {whole:,} blocks done; the same command goes on"


def _locks(path: Path) -> list[Path]:
    """The lock files; whoever works on this path holds one of them."""
    if path.suffix in (".partial", ".lock"):
        return [path]
    if path.suffix == ".staging":
        return [path / "lock"]
    if path.suffix == ".pull":
        return [path.with_suffix(".lock")]
    if not path.name.startswith("."):
        return [sibling(path.parent, append.LOCK)]
    name = path.name.removesuffix(f".{append.SPARE}").removesuffix(f".{append.NEW}")
    return [path.with_name(f"{name}.{append.LOCK}"), sibling(path, "staging") / "lock"]


@contextmanager
def _free(locks: Sequence[Path]) -> Iterator[bool]:
    """Hold locks if nobody else does; yields whether that is so. No lock file is created."""
    with ExitStack() as stack:
        yield all(_taken(lock, stack) for lock in locks)


def _taken(lock: Path, stack: ExitStack) -> bool:
    import fcntl

    try:
        file = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return not lock.exists()
    stack.callback(os.close, file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _removed(left: Leftover) -> bool:
    with explained(left.path), _free(_locks(left.path)) as free:
        if free and left.path.is_dir() and not left.path.is_symlink():
            shutil.rmtree(left.path)
        elif free:
            left.path.unlink(missing_ok=True)
        return free


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if it is gone meanwhile."""
    with suppress(OSError):
        files = filter(Path.is_file, [path, *path.rglob("*")])
        return sum(file.stat().st_size for file in files)
    return 0
