"""The staged blocks of a run, each a file, and the record of which run they belong to.

A block's content depends on the run and its number alone, so it matters neither who computes it nor
when: a run that was killed goes on with the blocks that are missing, and ends in the same bytes.
Blocks wait beside the output, in a folder of the output's name, until the output is written from
them in order.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain
from pathlib import Path

from dof_arrow.errors import OutputError
from dof_arrow.extraction.block import Block
from dof_arrow.extraction.block_file import BlockFile, Damaged, ScratchFile, write
from dof_arrow.format.spec.json_model import Json, parsed
from dof_arrow.storage import owned
from dof_arrow.storage.atomic import Output, explained, lock, replacing, sibling, sync_folder

_SMALLEST, _LARGEST = 32, 1024  # inputs in a block
_BLOCKS = 2048  # in the folder of a run, as long as they need not be larger than the largest
JOINED_BYTES = 4 << 20  # of small blocks that are read as one
_IDENTITY, _LOCK, _SCRATCH = "run.json", "lock", "sorted"
_LOST = (errno.EIO, errno.ENOENT)  # how a disk tells that it has lost a block


def block_rows(inputs: int, batch: int = 1) -> int:
    """How many inputs a block has: a killed run loses few, and the folder holds few files.

    A block holds a whole batch, as no batch is of two blocks.

    >>> block_rows(600), block_rows(1_000_000), block_rows(600, batch=256)
    (32, 488, 256)
    """
    return max(min(max(_SMALLEST, inputs // _BLOCKS), _LARGEST), batch)


def blocks(inputs: int, size: int | None = None) -> list[range]:
    """The inputs of each block, `size` of them where that is given.

    >>> blocks(70)
    [range(0, 32), range(32, 64), range(64, 70)]
    """
    size = size or block_rows(inputs)
    return [range(start, min(start + size, inputs)) for start in range(0, inputs, size)]


class Staging:
    """The blocks of a run that are done, in a folder beside its output that is for this user alone.

    Raises OutputError while another process works on the same output, or if what stands there
    belongs to another run or another user. The folder is open as long as it is held, so that nobody
    can put another in its place.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = sibling(out, "staging")
        self._file = -1  # the open folder, while it is held
        self._run = b""
        self._damaged: set[int] = set()
        self._open_scratch: list[int] = []

    @contextmanager
    def held(self, identity: Mapping[str, Json], *, fresh: bool = False) -> Iterator[Staging]:
        """Hold the folder for this run, made if missing; `fresh` drops what another run left."""
        with explained(self.out):
            file = self._locked()
            try:
                self._claim(identity, fresh)
                self._run = _digest(identity).encode()
                yield self
            finally:
                self.drop_scratch()
                self._leave(file)

    def sweep(self) -> None:
        """Drop what a run left that was killed after its output was written.

        Nothing is dropped while another process works there.
        """
        with suppress(FileNotFoundError, OutputError):
            self._file = owned.open_folder(self.folder)
            try:
                file = lock(self.folder / _LOCK, self.out, folder=self._file)
            except BaseException:
                os.close(self._file)
                raise
            self.drop()
            self._leave(file)

    def path(self, block: int) -> Path:
        """The file of one block."""
        return self.folder / f"{block:06d}.arrow"

    def numbers(self) -> list[int]:
        """The blocks that are there, whatever they were made of."""
        found = []
        for name in self._names():
            stem, _, suffix = name.partition(".")
            if suffix == "arrow" and stem.isdecimal():
                found.append(int(stem))
        return sorted(found)

    def found(self, block: int, stamp: str) -> int | None:
        """How many inputs failed in a block; None unless it is there and made of these inputs.

        The stamp tells of sizes and times of the files read. Features are not read here: `pieces`
        does so, and checks them.
        """
        try:
            with self._opened(block) as found:
                return found.failed if found.stamp == stamp else None
        except Damaged:
            self._damaged.add(block)
        except OSError:
            pass
        return None

    def put(self, number: int, block: Block, stamp: str) -> None:
        """Keep a block; it is there in full, also after a power cut, or not at all."""
        self.put_pieces(number, iter([block]), stamp)

    def put_pieces(self, number: int, pieces: Iterator[Block], stamp: str) -> None:
        """Keep a block that comes in pieces, of one schema, and is never in memory as a whole."""
        first = next(pieces)  # before a file is begun: what cannot be read at all fails here
        with self._replacing(self.path(number)) as out:
            write(out, chain([first], pieces), stamp, self._whose(number))

    def scratch(self, pieces: Iterator[Block]) -> ScratchFile:
        """Keep rows in pieces for this process alone: a kill leaves nothing of the file.

        It is gone once the folder is let go of.
        """
        path = self.folder / _SCRATCH
        owned.remove(path, self._file)
        file = owned.make(path, self._file)
        self._open_scratch.append(file)
        owned.remove(path, self._file)  # it lives on as long as it is open
        return ScratchFile(path, file, pieces)

    def drop_scratch(self) -> None:
        """Let go of all that `scratch` keeps."""
        while self._open_scratch:
            os.close(self._open_scratch.pop())

    def read(self, numbers: Iterable[int]) -> Iterator[Block]:
        """Blocks in order, small neighbours joined: each block costs a reader time.

        Raises Damaged, and drops the block, where one is not what was put there.
        """
        waiting: list[Block] = []
        size = 0
        for piece in chain.from_iterable(map(self.pieces, numbers)):
            if waiting and size + piece.nbytes > JOINED_BYTES:
                yield Block.joined(waiting)
                waiting.clear()
                size = 0
            waiting.append(piece)
            size += piece.nbytes
        if waiting:
            yield Block.joined(waiting)

    def pieces(self, block: int) -> Iterator[Block]:
        """A block in the pieces that it was put in, each checked. Raises as `read` does."""
        try:
            with self._opened(block) as found:
                yield from found.pieces()
        except Damaged:
            self._drop_damaged(block)
            raise
        except OSError as error:
            if error.errno not in _LOST:
                raise
            self._drop_damaged(block)
            raise Damaged(self.path(block), error.strerror or "") from error

    def drop_damaged(self) -> None:
        """Read all blocks, and drop those that are not what was put there."""
        for block in self.numbers():
            with suppress(Damaged):
                for _ in self.pieces(block):
                    pass

    def take_damaged(self) -> list[int]:
        """The blocks that were found damaged since this was last asked."""
        found = sorted(self._damaged)
        self._damaged.clear()
        return found

    def _drop_damaged(self, block: int) -> None:
        self._damaged.add(block)
        owned.remove(self.path(block), self._file)

    def clear(self) -> None:
        """Drop all blocks, and whose they were."""
        for name in self._names():
            if name != _LOCK:
                owned.remove(self.folder / name, self._file)

    def drop(self) -> None:
        """Drop all blocks once the output is written: what cannot be removed does no harm then."""
        with suppress(OSError, OutputError):
            self.clear()

    def _names(self) -> list[str]:
        return sorted(os.listdir(self._file))

    def _whose(self, block: int) -> bytes:
        return self._run + block.to_bytes(8, "little")

    @contextmanager
    def _opened(self, block: int) -> Iterator[BlockFile]:
        path = self.path(block)
        with owned.ours(path, self._file) as file:
            yield BlockFile(path, file, self._whose(block))

    def _replacing(self, path: Path) -> AbstractContextManager[Output]:
        return replacing(path, overwrite=True, folder=self._file, mode=owned.FILE)

    def _claim(self, identity: Mapping[str, Json], fresh: bool) -> None:
        known = self._recorded()
        if known is not None and known != identity and not fresh:
            raise OutputError(
                "an unfinished run with other inputs or options stands beside this output",
                str(self.out),
                found="a difference in " + ", ".join(differences(known, identity)),
                hint="Repeat the earlier command to finish it, or start anew with --overwrite.",
            )
        if known != identity:
            # First the blocks of the other run go: the record must never claim them for this one.
            self.clear()
            record = {"identity": identity, "sha256": _digest(identity)}
            with self._replacing(self.folder / _IDENTITY) as out:
                out.write(json.dumps(record, indent=1).encode())
            sync_folder(self.folder.parent)

    def _recorded(self) -> Json | None:
        """Whose blocks these are; None where nothing says so, and they can be nobody's."""
        with suppress(FileNotFoundError):
            return recorded(owned.read(self.folder / _IDENTITY, self._file))
        return None

    def _locked(self) -> int:
        """The lock of the open folder; another run may drop the folder while it is being locked."""
        while True:
            self._file = owned.make_folder(self.folder)
            try:
                return lock(self.folder / _LOCK, self.out, folder=self._file)
            except FileNotFoundError:  # the folder was another run's, which has just dropped it
                os.close(self._file)
            except BaseException:
                os.close(self._file)
                raise

    def _leave(self, file: int) -> None:
        """Let go of the folder; drop it where no blocks are left, its lock last and still held."""
        with suppress(OSError, OutputError):
            if set(self._names()) <= {_LOCK, _IDENTITY}:
                self.clear()
                owned.remove(self.folder / _LOCK, self._file)
                self.folder.rmdir()
        os.close(file)
        os.close(self._file)


def recorded(data: bytes) -> Json | None:
    """The identity in the record of a run; None if it is damaged: one bit may make it another's."""
    try:
        record = parsed(data)
        identity = record["identity"]
        return identity if record["sha256"] == _digest(identity) else None
    except (ValueError, KeyError, TypeError):
        return None


def _digest(identity: Json) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def differences(known: Mapping[str, Json], asked: Mapping[str, Json]) -> list[str]:
    """Names of the entries in which two identities differ.

    >>> differences({"core": "a", "dtype": "float32"}, {"core": "b", "dtype": "float32"})
    ['core']
    """
    names = {*known, *asked}
    return sorted(name for name in names if known.get(name) != asked.get(name))
