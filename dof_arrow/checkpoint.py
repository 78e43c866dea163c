"""What a killed training needs to go on: one file beside the output, replaced whole, gone when all is done."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dof_arrow.commit import replacing

State = dict[str, Any]


class Checkpoint:
    """The states of a training's stages, in a file that belongs to one `identity` of data and options.

    A file of another identity, or one that cannot be read, is not used. It is written at most every `every` seconds,
    and when a stage is done; `heard` gets the entries of all epochs so far each time. Without a path nothing is kept.
    """

    def __init__(
        self, path: Path | None, identity: str, *, every: float = 5.0,
        heard: Callable[[Sequence[Mapping[str, Any]]], None] = lambda entries: None,
    ) -> None:
        self.path, self.identity, self.every, self.heard = path, identity, every, heard
        self.stages: State = _load(path, identity) if path else {}
        self._last = time.monotonic()

    def stage(self, name: str) -> State | None:
        """The state that a stage was in, if it had begun."""
        return self.stages.get(name)

    def save(self, stage: str, state: State, *, now: bool) -> None:
        """Keep a stage's state; on disk `now`, or when it is time."""
        self.stages[stage] = state
        if now or time.monotonic() - self._last >= self.every:
            self._write()
            self._last = time.monotonic()

    def finish(self) -> None:
        """All is done: tell the whole course, and take the file away."""
        self.heard(self.history)
        if self.path:
            with suppress(FileNotFoundError):
                self.path.unlink()

    @property
    def history(self) -> list[Mapping[str, Any]]:
        """The entries of all epochs so far."""
        return [entry for stage in self.stages.values() for entry in stage["state"]["history"]]

    def _write(self) -> None:
        import torch

        if self.path:
            held = io.BytesIO()
            torch.save({"identity": self.identity, "stages": self.stages}, held)
            with replacing(self.path, overwrite=True) as file:
                file.write(held.getvalue())
        self.heard(self.history)


def _load(path: Path, identity: str) -> State:
    """The stages in a checkpoint file; none of another's, of an older program's, or of a damaged one."""
    import torch

    try:
        found = torch.load(path, weights_only=True)  # tensors and plain values only: nothing in it can run
        return found["stages"] if found["identity"] == identity else {}
    except Exception:  # torch raises whatever its parts raise; a checkpoint that cannot be read is none
        return {}
