"""What a run is: its identity, its inputs cut into blocks, and the blocks done so far, each a file of its own.

A block's content depends on the run and its number alone, so it matters neither who computes it nor when: a run that
was killed goes on with the blocks that are missing, and ends in the same bytes. Blocks wait beside the output, in a
folder of the output's name, until the output is written from them in order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import pyarrow as pa

from dof_arrow.commit import Sink, explained, lock, replacing, sync_folder
from dof_arrow.declare import Json
from dof_arrow.errors import OutputError

_SMALLEST, _LARGEST, _BLOCKS = 32, 1024, 2048
_TABLE = 4 << 20  # bytes of staged blocks that are handled as one
_IDENTITY, _LOCK = "run.json", "lock"


def block_rows(inputs: int) -> int:
    """Inputs in a block: few enough to lose little when a run is killed, many enough to keep a folder small.

    >>> block_rows(600), block_rows(1_000_000)
    (32, 488)
    """
    return min(max(_SMALLEST, inputs // _BLOCKS), _LARGEST)


def blocks(inputs: int, size: int | None = None) -> list[range]:
    """The inputs of each block, `size` of them where that is given.

    >>> blocks(70)
    [range(0, 32), range(32, 64), range(64, 70)]
    """
    size = size or block_rows(inputs)
    return [range(start, min(start + size, inputs)) for start in range(0, inputs, size)]


class Staging:
    """The blocks of a run that are done, in a folder beside its output.

    Raises OutputError while another process works on the same output, or if what stands there belongs to another run.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out.with_name(f".{out.name}.staging")

    @contextmanager
    def held(self, identity: Mapping[str, Json], *, fresh: bool = False) -> Iterator[Staging]:
        """Hold the folder for this run, made if it is missing; `fresh` drops what another run left."""
        with explained(self.out):
            file = self._locked()
            try:
                self._claim(identity, fresh)
                yield self
            finally:
                self._leave(file)

    def sweep(self) -> None:
        """Drop what a run left that was killed after its output was written, unless another process works there."""
        with suppress(FileNotFoundError, OutputError):
            file = lock(self.folder / _LOCK, self.out)
            self.drop()
            self._leave(file)

    def path(self, block: int) -> Path:
        """The file of one block."""
        return self.folder / f"{block:06d}.arrow"

    def numbers(self) -> list[int]:
        """The blocks that are there, whatever they were made of."""
        return sorted(int(path.stem) for path in self.folder.glob("*.arrow") if path.stem.isdecimal())

    def found(self, block: int, stamp: str) -> pa.Table | None:
        """A block, mapped, if it is there and made of inputs with this stamp: sizes and times of the files read."""
        try:
            table = self.read(block)
            return table if table.schema.metadata[b"stamp"] == stamp.encode() else None
        except (OSError, pa.ArrowInvalid, KeyError):
            return None

    def put(self, block: int, table: pa.Table, stamp: str) -> None:
        """Keep a block; it is there in full, also after a power cut, or not at all."""
        self.put_pieces(block, iter([table]), stamp)

    def put_pieces(self, block: int, pieces: Iterator[pa.Table], stamp: str) -> None:
        """The same of a block that comes in pieces, of one schema, and is never in memory as a whole."""
        first = next(pieces)
        schema = first.schema.with_metadata({**(first.schema.metadata or {}), b"stamp": stamp.encode()})
        with replacing(self.path(block), overwrite=True) as out, pa.ipc.new_file(Sink(out), schema) as writer:
            for piece in chain([first], pieces):
                writer.write_table(piece.cast(schema))

    def read(self, block: int) -> pa.Table:
        """A block, mapped."""
        with pa.memory_map(str(self.path(block))) as source:
            return pa.ipc.open_file(source).read_all()

    def tables(self, blocks: Iterable[int]) -> Iterator[pa.Table]:
        """Blocks in order, mapped, as tables of bounded size, neighbours as one: each table costs its reader time."""
        waiting, size = list[pa.Table](), 0
        for piece in chain.from_iterable(map(self._pieces, blocks)):
            if waiting and size + piece.nbytes > _TABLE:
                yield _joined(waiting)
                waiting, size = [], 0
            waiting.append(piece)
            size += piece.nbytes
        if waiting:
            yield _joined(waiting)

    def _pieces(self, block: int) -> Iterator[pa.Table]:
        """A block in the pieces that it was put in; at least one."""
        table = self.read(block)
        batches = table.to_batches()
        return (pa.Table.from_batches([batch]) for batch in batches) if len(batches) > 1 else iter([table])

    def clear(self) -> None:
        """Drop all blocks, and whose they were."""
        for path in self.folder.iterdir():
            if path.name != _LOCK:
                path.unlink()

    def drop(self) -> None:
        """The same as `clear`, once the output is written: what cannot be removed does no harm then."""
        with suppress(OSError):
            self.clear()

    def _claim(self, identity: Mapping[str, Json], fresh: bool) -> None:
        record = self.folder / _IDENTITY
        known = json.loads(record.read_text()) if record.exists() else None
        if known is not None and known != identity and not fresh:
            raise OutputError("an unfinished run with other inputs or options stands beside this output", str(self.out),
                              found="a difference in " + ", ".join(differences(known, identity)),
                              hint="Repeat the earlier command to finish it, or start anew with --overwrite.")
        if known != identity:
            self.clear()
            with replacing(record, overwrite=True) as out:
                out.write(json.dumps(identity, indent=1).encode())
            sync_folder(self.folder.parent)

    def _locked(self) -> int:
        while True:
            self.folder.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # the folder was another run's, which has just dropped it
                return lock(self.folder / _LOCK, self.out)

    def _leave(self, file: int) -> None:
        """Let go of the folder, and drop it where no blocks are left: its lock last, and while that is still held."""
        with suppress(OSError):
            if {path.name for path in self.folder.iterdir()} <= {_LOCK, _IDENTITY}:
                self.clear()
                (self.folder / _LOCK).unlink()
                self.folder.rmdir()
        os.close(file)


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables as one, and all inputs that failed; one without rows may be of inputs whose kind nobody knows."""
    failed = [failure for table in tables for failure in json.loads(table.schema.metadata[b"failed"])]
    rows = pa.concat_tables([table for table in tables if len(table)] or tables[:1])
    return rows.replace_schema_metadata({"failed": json.dumps(failed)})


def differences(known: Mapping[str, Json], asked: Mapping[str, Json]) -> list[str]:
    """Names of the entries in which two identities differ.

    >>> differences({"core": "a", "dtype": "float32"}, {"core": "b", "dtype": "float32"})
    ['core']
    """
    return sorted(name for name in {*known, *asked} if known.get(name) != asked.get(name))
