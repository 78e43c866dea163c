"""The features of a clip: its rows run through all cores, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from math import prod

import numpy as np

from dof_arrow.errors import CoreError, PictureError, SourceError, UsageError
from dof_arrow.extraction import clip_rows
from dof_arrow.extraction.block import Block, ClipRow
from dof_arrow.extraction.clip_rows import ClipInput, Draw, Prepared
from dof_arrow.extraction.job import Array, Job
from dof_arrow.media.facts import PictureFacts
from dof_arrow.sources.sample import Sample

# What a clip that cannot be used raises: it fails, and the run goes on.
FAILURES = (SourceError, UsageError, CoreError)

_PIECE_BYTES = 4 << 20  # of features that wait in memory to be staged
_PIECE_ROWS = 1024  # no more of narrow features: each row waits with what is known of its frame


class Stopped(Exception):
    """The run was interrupted in the midst of a clip."""


def pieces(number: int, sample: Sample, job: Job, stopped: Callable[[], bool]) -> Iterator[Block]:
    """The rows of a clip, view by view, as pieces of one block.

    Raises PictureError where the clip gives no rows, Stopped as soon as `stopped()` is true.
    """
    piece = _Piece(job, number)
    most = _rows_of_a_piece(job)
    for view, draw in enumerate(job.draws(sample)):
        clips = clip_rows.watch(sample, job)
        clip = next(iter(clips.values())).clip
        for row in clip_rows.rows(clips, job, draw):
            if stopped():
                raise Stopped
            if piece.count >= most:  # asked before each row, so that the last piece is never empty
                yield piece.block(clip.facts)
            piece.add(row, view, draw)
        piece.run()
        if not piece.rows_of_view[view]:
            raise clip_rows.too_short(job)
    # The facts of a clip cost nothing once one of its frames was seen.
    broken = any(watched.broken for watched in clips.values())
    yield piece.block(clip.facts, broken=broken)


class _Piece:
    """Rows that wait to be run, and features that wait to be staged.

    Batches are run by threads that all clips share: one long clip keeps every processor busy, and
    while the rows of one are staged, those of another are run.
    """

    def __init__(self, job: Job, number: int) -> None:
        self._job = job
        self._number = number
        self._waiting: list[Prepared] = []
        self._rows: list[ClipRow] = []  # those whose features wait, then those that wait to be run
        self._features: list[Future[dict[str, Array]]] = []
        self._begun = False
        self.rows_of_view = [0] * job.views.count

    @property
    def count(self) -> int:
        """Rows whose features wait to be staged."""
        return len(self._rows) - len(self._waiting)

    def add(self, row: ClipInput, view: int, draw: Draw) -> None:
        """Have a row wait to be run; run those that wait once they are a few batches."""
        self._waiting.append(row.prepared)
        self._rows.append(ClipRow(row.frame, row.time, view, draw))
        self.rows_of_view[view] += 1
        if len(self._waiting) == self._job.together:
            self.run()

    def run(self) -> None:
        """Have the rows that wait, if any do, run."""
        if not self._waiting:
            return
        inputs = {}
        for name in self._job.cores:
            inputs[name] = [prepared[name] for prepared in self._waiting]
        self._features.append(self._job.runners.submit(partial(_run, self._job, inputs)))
        self._waiting.clear()

    def block(self, facts: PictureFacts, *, broken: bool = False) -> Block:
        """The rows whose features wait to be staged, which then wait no more."""
        staged = self._rows[: self.count]
        found = [each.result() for each in self._features]
        features = {}
        for name, core in self._job.cores.items():
            parts = [np.empty((0, *core.output_shape), self._job.dtype)]
            parts += [each[name] for each in found]
            features[name] = np.concatenate(parts)
        block = Block.of_clip(
            self._number,
            staged,
            features,
            self._job.views,
            facts,
            first=not self._begun,
            broken=broken,
        )
        # What waits now begins the next piece.
        del self._rows[: len(staged)]
        self._features.clear()
        self._begun = self._begun or bool(staged)
        return block


def _run(job: Job, inputs: Mapping[str, list[Array]]) -> dict[str, Array]:
    """The features of some rows, of each core; PictureError where they are not finite."""
    found = {name: job.features(name, values) for name, values in inputs.items()}
    if not all(np.isfinite(values).all() for values in found.values()):
        raise PictureError(
            f"the core's features are no finite {job.dtype} numbers", rule="not-finite"
        )
    return found


def _rows_of_a_piece(job: Job) -> int:
    row = 0
    for core in job.cores.values():
        row += prod(core.output_shape) * np.dtype(job.dtype).itemsize
    return max(min(_PIECE_BYTES // row, _PIECE_ROWS), job.together)
