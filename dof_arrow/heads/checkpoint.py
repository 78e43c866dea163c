"""A file from which a training that was killed goes on (extra `torch`)."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dof_arrow.storage import owned
from dof_arrow.storage.atomic import explained, replacing

State = dict[str, Any]
Entry = Mapping[str, Any]

_DIGEST = 32  # bytes of a SHA-256


def ignore_entries(entries: Sequence[Entry]) -> None:
    """A hook that does nothing."""


class Checkpoint:
    """The states of a training's stages, in a file that belongs to one `identity`.

    The identity stands for data and options: a file of another identity, or one that cannot be
    read, is not used. The file is written at most every `every` seconds, and when a stage is done.
    Each time `heard` is called with the entries of all epochs so far. Without a path nothing is
    kept, but `heard` is called all the same.
    """

    def __init__(
        self,
        path: Path | None,
        identity: str,
        *,
        every: float = 5.0,
        heard: Callable[[Sequence[Entry]], None] = ignore_entries,
    ) -> None:
        self.path = path
        self.identity = identity
        self.every = every
        self.heard = heard
        self.stages: State = _load(path, identity) if path else {}
        self._last = time.monotonic()

    def stage(self, name: str) -> State | None:
        """The state that a stage was in, None if it had not begun."""
        return self.stages.get(name)

    def save(self, stage: str, state: State, *, now: bool) -> None:
        """Keep a stage's state; it goes to disk if `now`, or if `every` seconds have passed."""
        self.stages[stage] = state
        since = time.monotonic() - self._last
        if now or since >= self.every:
            self._write()
            self._last = time.monotonic()

    def finish(self) -> None:
        """Report all epochs once more, and remove the file: the training is done."""
        self.heard(self.history)
        if self.path:
            with suppress(FileNotFoundError):
                self.path.unlink()

    @property
    def history(self) -> list[Entry]:
        """The entries of all epochs so far, stage by stage."""
        entries: list[Entry] = []
        for stage in self.stages.values():
            entries += stage["state"]["history"]
        return entries

    def _write(self) -> None:
        import torch

        if self.path:
            content = {"identity": self.identity, "stages": self.stages}
            buffer = io.BytesIO()
            torch.save(content, buffer)
            data = buffer.getvalue()
            with replacing(self.path, overwrite=True, mode=owned.FILE) as file:
                file.write(hashlib.sha256(data).digest(), data)
        self.heard(self.history)


def _load(path: Path, identity: str) -> State:
    """The stages in a checkpoint file; none if it is absent, damaged or of another identity.

    Raises OutputError where the file is not ours: whoever wrote it would decide the weights.
    """
    import torch

    with explained(path):
        data = _undamaged(path)
    try:
        # Tensors and plain values only: nothing in the file can run code.
        found = torch.load(io.BytesIO(data), weights_only=True)
        if found["identity"] == identity:
            stages: State = found["stages"]
            return stages
    except Exception:  # torch raises whatever its parts raise
        return {}
    return {}


def _undamaged(path: Path) -> bytes:
    """The bytes of a checkpoint, behind their digest; none where they are damaged or absent."""
    with suppress(FileNotFoundError):
        known = owned.read(path)
        digest, data = known[:_DIGEST], known[_DIGEST:]
        if hashlib.sha256(data).digest() == digest:
            return data
    return b""
