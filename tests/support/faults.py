"""The fault harness: every file operation of an action counted, killed at, failed at, or recorded for a power cut.

Every output of this project is written through `os.writev`, `os.fsync`, `os.rename` and their kin, by `commit` and
`work`. Here those calls are watched. A `Scenario` is an action on a folder, with the state before and after; later
commands join the table in `scenarios.py`, and all faults are tried on each.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from dof_arrow.dataset import dataset

WATCHED = (
    "open",
    "writev",
    "copy_file_range",
    "fsync",
    "rename",
    "unlink",
    "rmdir",
    "mkdir",
    "ftruncate",
    "link",
)
FAILING = ("writev", "fsync", "rename")


@dataclass(frozen=True)
class Scenario:
    """An action that changes `folder` from one whole state to another.

    `prepare` makes the state before, `act` does the work and may be repeated after a fault, `outputs` are the files
    that must be old or new, whole: in their bytes, or in what `look` finds in the folder.
    """

    name: str
    prepare: Callable[[Path], None]
    act: Callable[[Path], None]
    outputs: tuple[str, ...]
    look: Callable[[Path], Any] | None = None

    def contents(self, folder: Path) -> Any:
        if self.look:
            return self.look(folder)
        return {
            name: (folder / name).read_bytes() if (folder / name).exists() else None
            for name in self.outputs
        }

    def before_and_after(self, folder: Path) -> tuple[Any, Any, int]:
        """The outputs before and after an undisturbed run, and how many operations it takes."""
        self.prepare(folder)
        before = self.contents(folder)
        with watched() as trace:
            self.act(folder)
        return before, self.contents(folder), len(trace)


@dataclass
class Trace:
    """The operations of a run, in order; `at` is called with the number and name of each before it happens."""

    at: Callable[[int, str], None] = lambda number, name: None
    operations: list[tuple[Any, ...]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __len__(self) -> int:
        return len(self.operations)


@contextmanager
def watched(
    at: Callable[[int, str], None] = lambda number, name: None, root: Path | None = None
) -> Iterator[Trace]:
    """Watch the file operations of this process; `root` limits what is recorded to one folder."""
    trace = Trace(at)
    real = {name: getattr(os, name) for name in WATCHED if hasattr(os, name)}
    for name, call in real.items():
        setattr(os, name, _watching(name, call, trace, root))
    try:
        yield trace
    finally:
        for name, call in real.items():
            setattr(os, name, call)


def _watching(
    name: str, call: Callable[..., Any], trace: Trace, root: Path | None
) -> Callable[..., Any]:
    def watching(*args: Any, **options: Any) -> Any:
        with trace.lock:
            described = _described(name, args, options)
            if described is None or (
                root is not None and not str(described[1]).startswith(str(root))
            ):
                return call(*args, **options)
            trace.at(len(trace), name)
            result = call(*args, **options)
            trace.operations.append((*described, result) if described[0] == "write" else described)
            return result

    return watching


def _described(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...] | None:
    if name == "open":
        writes = args[1] & (os.O_CREAT | os.O_TRUNC) if len(args) > 1 else 0
        return ("create", _full(args[0], options)) if writes else None
    if name == "writev":
        return "write", _path(args[0]), b"".join(bytes(memoryview(b).cast("B")) for b in args[1])
    if name == "copy_file_range":
        return "write", _path(args[1]), os.pread(args[0], args[2], args[3])
    if name == "fsync":
        return "fsync", _path(args[0])
    if name == "ftruncate":
        return "truncate", _path(args[0])
    if name in ("rename", "link"):
        source, target = ({"dir_fd": options.get(f"{end}_dir_fd")} for end in ("src", "dst"))
        return name, _full(args[0], source), _full(args[1], target)
    return name, _full(args[0], options)


def _path(file: int) -> str:
    return os.readlink(f"/proc/self/fd/{file}")


def _full(path: Any, options: dict[str, Any]) -> str:
    folder = options.get("dir_fd")
    base = _path(folder) if isinstance(folder, int) and folder >= 0 else os.getcwd()
    return os.path.join(base, os.fspath(path))


def killed_at(scenario: Scenario, folder: Path, operation: int, *, staged: bool = False) -> bool:
    """Run the action in a child that kills itself (SIGKILL) before an operation; whether it was killed.

    `staged`: operations count from the first block that is there for good, whenever its thread comes to that.
    """

    def act() -> None:
        with watched() as trace:
            trace.at = _killer(trace, operation, staged)
            scenario.act(folder)

    return _in_child(act) == -signal.SIGKILL


def _killer(trace: Trace, operation: int, staged: bool) -> Callable[[int, str], None]:
    begun = None if staged else 0

    def at(number: int, name: str) -> None:
        nonlocal begun
        if begun is None and ends_a_block(trace.operations):
            begun = number
        if begun is not None and number - begun >= operation:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


def ends_a_block(operations: list[tuple[Any, ...]]) -> bool:
    """Whether the last operation is the fsync of a folder in which a block had got its name."""
    kind, path = operations[-1][:2] if operations else ("", "")
    return kind == "fsync" and any(
        o[0] == "rename" and o[2].endswith(".arrow") and o[2].startswith(f"{path}/")
        for o in operations
    )


def killed_after(scenario: Scenario, folder: Path, seconds: float) -> bool:
    """Run the action in a child and kill it from outside after a while; whether it was still running."""
    return _in_child(lambda: scenario.act(folder), kill_after=seconds) == -signal.SIGKILL


def kills(scenario: Scenario, root: Path, count: int) -> Iterator[tuple[Path, bool]]:
    """Folders in which the action was killed at random, and whether that came, by construction, after a staged block.

    Where there are blocks, every other kill does; of the others half come from outside, at a random time.
    """
    trace, took = _measured(scenario, root / "timed")
    first = next((n for n in range(len(trace)) if ends_a_block(trace.operations[:n])), None)
    draw, folder = random.Random(scenario.name), root / "killed"
    for number in range(count):
        staged = first is not None and number % 2 == 0
        rest = len(trace) - (first or 0) * staged
        for _ in range(
            50
        ):  # threads do not keep time: a run may end before the point that was drawn for it
            shutil.rmtree(folder, ignore_errors=True)
            scenario.prepare(folder)
            if (
                killed_after(scenario, folder, draw.uniform(0, took))
                if number % 4 == 1
                else killed_at(scenario, folder, draw.randrange(rest), staged=staged)
            ):
                break
        else:
            raise AssertionError(f"{scenario.name}: it ended before it could be killed, 50 times")
        yield folder, staged


def litter(folder: Path, scenario: Scenario) -> set[str]:
    """Names that should not be left in a folder, nor in a dataset of several files there."""
    left = {p.name for p in folder.iterdir()} - set(scenario.outputs)
    for manifest in folder.glob("*/manifest.parquet"):
        listed = {part.name for part in dataset.open(manifest.parent).metadata.parts}
        left |= {p.name for p in manifest.parent.iterdir()} - listed - {manifest.name}
    return left


def holds_work(folder: Path) -> bool:
    """Whether blocks are staged there, or the part that was made of them waits to be added."""
    return any(folder.rglob("*.arrow")) or any(folder.glob(".*.part.parquet"))


def _measured(scenario: Scenario, folder: Path) -> tuple[Trace, float]:
    scenario.prepare(folder)
    start = time.perf_counter()
    with watched() as trace:
        scenario.act(folder)
    return trace, time.perf_counter() - start


def _in_child(action: Callable[[], None], kill_after: float | None = None) -> int:
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def failing_at(operation: int, code: int) -> Iterator[Trace]:
    """Let one write, fsync or rename fail with an error number; count only those."""
    seen = 0

    def at(number: int, name: str) -> None:
        nonlocal seen
        if name in FAILING:
            if seen == operation:
                seen += 1
                raise OSError(code, os.strerror(code))
            seen += 1

    with watched(at) as trace:
        yield trace


ERRORS = (errno.ENOSPC, errno.EIO)


class PowerCut:
    """The states that a power cut can leave, from a recorded run: what was not yet synced may be there or not.

    The model is harsher than the filesystems in use: the bytes of a file are durable only after its fsync, and before
    that any part of them may be lost; a name, a folder's too, is durable only after the fsync of the folder it is in,
    and before that the changes to one folder may be lost from any point on, each folder by itself. A rename within
    one folder is one change.
    """

    def __init__(self, root: Path, operations: list[tuple[Any, ...]]) -> None:
        self.root, self.operations = str(root), operations
        self.start = {
            str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()
        }
        self.folders = [str(p.relative_to(root)) for p in sorted(root.rglob("*")) if p.is_dir()]

    def states(self, seed: int, count: int, at: int | None = None) -> Iterator[dict[str, bytes]]:
        """Different states, drawn from all that the recording allows: file name -> content; `at`: cut just there."""
        draw = random.Random(seed)
        seen: set[int] = set()
        for _ in range(count * 20):
            state = self._state(draw, at)
            key = hash(tuple(sorted(state.items())))
            if key not in seen:
                seen.add(key)
                yield state
            if len(seen) == count:
                return

    @property
    def _just_written(self) -> list[int]:
        return [n + 1 for n, operation in enumerate(self.operations) if operation[0] == "write"]

    def _state(self, draw: random.Random, cut: int | None) -> dict[str, bytes]:
        if cut is None:
            cut = (
                draw.choice(self._just_written)
                if draw.random() < 0.7
                else draw.randint(0, len(self.operations))
            )
        disk = _Disk(self.start, self.folders)
        for operation in self.operations[:cut]:
            disk.apply(*(self._local(o) for o in operation))
        return disk.after_power_cut(draw)

    def _local(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith(self.root):
            return os.path.relpath(value, self.root)
        return value


_FOLDER = -1  # what the name of a new folder stands for


class _Disk:
    """Names and bytes, each with what is durable and what is pending."""

    def __init__(self, files: dict[str, bytes], folders: list[str]) -> None:
        self.inodes: dict[int, tuple[bytes, list[bytes]]] = {
            i: (data, []) for i, data in enumerate(files.values())
        }
        self.names = {name: i for i, name in enumerate(files)}
        self.durable = dict(self.names)
        self.pending: dict[str, list[list[tuple[str, int | str | None]]]] = {}
        self.folders = set(folders)

    def apply(self, kind: str, path: str, *rest: Any) -> None:
        if kind == "create":
            if path not in self.names:
                self.inodes[number := len(self.inodes)] = (b"", [])
                self._name(path, number)
        elif kind == "write" and path in self.names:
            self.inodes[self.names[path]][1].append(rest[0][: rest[1]])
        elif kind == "truncate" and path in self.names:
            self.inodes[self.names[path]] = (b"", [])
        elif kind == "fsync":
            self._fsync(path)
        elif kind == "rename" and self.names.get(path, _FOLDER) != _FOLDER:
            self._names((rest[0], self.names[path]), (path, None))
        elif kind == "rename":
            assert not self.pending.get(path), "a folder renamed before the names in it are durable"
            self._name(path, rest[0])
        elif kind == "link":
            self._name(rest[0], self.names[path])
        elif kind == "mkdir":
            self._name(path, _FOLDER)
        elif kind in ("unlink", "rmdir"):
            self._name(path, None)

    def _name(self, path: str, number: int | str | None) -> None:
        self._names((path, number))

    def _names(self, *changes: tuple[str, int | str | None]) -> None:
        """Change names: those in one folder become durable together, as a rename within it does."""
        together: dict[str, list[tuple[str, int | str | None]]] = {}
        for path, number in changes:
            _set(self.names, path, number)
            together.setdefault(os.path.dirname(path) or ".", []).append((path, number))
        for folder, changed in together.items():
            self.pending.setdefault(folder, []).append(changed)

    def _fsync(self, path: str) -> None:
        if self.names.get(path, _FOLDER) != _FOLDER:
            durable, pending = self.inodes[self.names[path]]
            self.inodes[self.names[path]] = (durable + b"".join(pending), [])
        else:
            for name, number in chain.from_iterable(self.pending.pop(path, [])):
                _set(self.durable, name, number)

    def after_power_cut(self, draw: random.Random) -> dict[str, bytes]:
        names = dict(self.durable)
        for changes in self.pending.values():
            for name, number in chain.from_iterable(changes[: draw.randint(0, len(changes))]):
                _set(names, name, number)
        return {
            name: self._bytes(number, draw)
            for name, number in names.items()
            if number != _FOLDER and self._reachable(name, names)
        }

    def _reachable(self, name: str, names: dict[str, int]) -> bool:
        """Whether the folders that a file is in were there from the beginning, or their names are left."""
        above = [str(folder) for folder in Path(name).parents if str(folder) != "."]
        return all(folder in self.folders or folder in names for folder in above)

    def _bytes(self, number: int, draw: random.Random) -> bytes:
        durable, pending = self.inodes[number]
        unsynced = b"".join(pending)
        kept = draw.choice((0, len(unsynced), draw.randint(0, len(unsynced))))
        lost = draw.random() < 0.2  # the length may be durable where the bytes are not
        return durable + (bytes(kept) if lost else unsynced[:kept])


def _set(names: dict[str, int], name: str, number: int | str | None) -> None:
    """Give a name to a file, take it away, or (text) give a folder another name."""
    if number is None:
        names.pop(name, None)
    elif isinstance(number, str):
        for inner in [n for n in names if n == name or n.startswith(f"{name}/")]:
            names[number + inner.removeprefix(name)] = names.pop(inner)
    else:
        names[name] = number


def restore(state: dict[str, bytes], folder: Path) -> None:
    """Make a folder hold exactly a state."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in state.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
