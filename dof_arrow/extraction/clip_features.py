"""The rows of one clip: its frames, or windows of them, through all cores, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dof_arrow.cores.core import Core, wanted
from dof_arrow.errors import PictureError, UsageError
from dof_arrow.extraction.block import vector_name
from dof_arrow.extraction.job import Array, Job
from dof_arrow.extraction.raw_facts import staged
from dof_arrow.format.spec.arrow import vector_array, vector_field
from dof_arrow.media import augment
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.frames import EVERY, Frame, Watched, chosen, windows
from dof_arrow.sources import clip as motion
from dof_arrow.sources.sample import Sample

_PIECE = 4 << 20  # bytes of features that wait in memory to be staged
_PIECE_ROWS = (
    1024  # of narrow features no more rows than these: each waits with what is known of its frame
)


class Stopped(Exception):
    """The run was interrupted in the midst of a clip."""


class _FrameRow(NamedTuple):
    """One frame, or one window of them, and what each core is to see."""

    view: int
    draw: Mapping[str, float]
    frame: int
    time: float
    prepared: Mapping[str, Array]


def pieces(
    number: int, sample: Sample, job: Job, stopped: Callable[[], bool]
) -> Iterator[pa.Table]:
    """The rows of a clip, view by view, as tables to be staged; PictureError where the clip gives none.

    The column `first` marks the clip's first row, `broken` its last ones where the clip is damaged behind them.
    """
    piece, known = _Piece(job, number), _size(job)
    for view, draw in enumerate(job.views.draws(number)):
        watched = _watched(sample, job)
        clip = next(
            iter(watched.values())
        ).clip  # whose facts are known for nothing once a frame was seen
        for row in _rows(watched, job, view, draw):
            if stopped():
                raise Stopped
            if piece.count >= known:  # asked before each row, so that the last piece is never empty
                yield piece.table(clip.facts)
            piece.rows.append(row)
            if len(piece.rows) == job.together:
                piece.run()
        piece.run()
        if not piece.met[view]:
            raise PictureError(
                "the clip is shorter than a window",
                rule="too-short",
                expected=f"{_sampling(job).window} frames",
                hint="Choose a smaller --window.",
            )
    piece.broken = any(w.broken for w in watched.values())
    yield piece.table(clip.facts)


def check(cores: Mapping[str, Core], window: int | None) -> int | None:
    """The window that all cores take, None for cores of single pictures; UsageError where they differ.

    A core whose window is fixed needs none to be named.
    """
    taken = {
        name: core.window or window for name, core in cores.items() if core.time_axis is not None
    }
    if not taken:
        if window is not None:
            raise UsageError(
                "the core takes single pictures, not windows of frames",
                found=f"--window {window}",
                hint="Leave --window out: frames are run one by one.",
            )
        return None
    lengths = {*taken.values(), *([window] if window else [])}
    if len(taken) < len(cores) or len(lengths) > 1:
        raise UsageError(
            "the cores take different windows",
            found=", ".join(f"{n} {w}" for n, w in taken.items()),
            expected=f"{window} frames" if window else "one window",
            hint="Leave --window out, or extract with one core at a time.",
        )
    if None in lengths:
        raise UsageError(
            "the core takes windows of any length", hint="Say how many frames: --window 16."
        )
    return lengths.pop()


def chosen_rows(
    numbers: Collection[int],
    draw: Mapping[str, Any],
    sample: Sample,
    job: Job,
) -> Iterator[tuple[int, Mapping[str, Array]]]:
    """Some rows of one view of a clip, by their numbers, in order: what each core is to see of each.

    PictureError where the clip does not have them all. The clip is read once, up to the last of them.
    """
    left = {*numbers}
    for row in _rows(_watched(sample, job), job, 0, draw, left):
        left.discard(row.frame)
        yield row.frame, row.prepared
        if not left:
            return
    raise PictureError(
        "the clip has become shorter", rule="too-short", expected=f"a row {min(left)}"
    )


def count(sample: Sample, job: Job) -> int:
    """How many rows a clip will have in each view if it is sound, told without decoding it."""
    sampling = _sampling(job)
    times = motion.open_clip(sample, sampling, reading=job.reading).times()
    frames = sum(1 for _ in chosen(times, sampling))
    window = check(job.cores, sampling.window)
    return (
        frames if window is None else max((frames - window) // (sampling.stride or window) + 1, 0)
    )


class _Piece:
    """Rows that wait to be run, and features that wait to be staged.

    Batches are run by threads that all clips share: one long clip keeps every processor busy, and while the rows of one
    are staged, those of another are run.
    """

    def __init__(self, job: Job, number: int) -> None:
        self._job, self._number = job, number
        self.rows: list[_FrameRow] = []
        self._done: list[_FrameRow] = []
        self._features: list[Future[dict[str, Array]]] = []
        self.met = [0] * job.views.count
        self._begun, self.broken = False, False

    @property
    def count(self) -> int:
        """Rows that wait to be staged."""
        return len(self._done)

    def run(self) -> None:
        """Have the rows that wait, if any do, run."""
        if not self.rows:
            return
        inputs = {name: [row.prepared[name] for row in self.rows] for name in self._job.cores}
        self._features.append(self._job.runners.submit(partial(_run, self._job, inputs)))
        for row in self.rows:
            self.met[row.view] += 1
            self._done.append(row._replace(prepared={}))
        self.rows.clear()

    def table(self, facts: PictureFacts) -> pa.Table:
        """What waits to be staged, which then waits no more."""
        rows, count, found = self._done, len(self._done), [each.result() for each in self._features]
        columns = {
            "input": pa.array(np.full(count, self._number), pa.int64()),
            "facts": staged([facts]).take(pa.array(np.zeros(count, np.int64))),
            "first": pa.array([not self._begun and i == 0 for i in range(count)], pa.bool_()),
            "broken": pa.array([self.broken] * count, pa.bool_()),
            "frame": pa.array([row.frame for row in rows], pa.int32()),
            "time": pa.array([row.time for row in rows], pa.float64()),
        }
        if self._job.views.count > 1:
            columns |= self._job.views.drawn_columns(
                [row.view for row in rows], [row.draw for row in rows]
            )
        for name, core in self._job.cores.items():
            field = vector_field(name, core.output_shape, self._job.dtype)
            values = np.concatenate(
                [np.empty((0, *core.output_shape), self._job.dtype), *(f[name] for f in found)]
            )
            columns[vector_name(name)] = vector_array(
                values.reshape(count, field.type.list_size), field
            )
        self._features.clear()
        self._begun, self._done = self._begun or count > 0, []
        return pa.table(columns).replace_schema_metadata({"failed": "[]"})


def _run(job: Job, inputs: Mapping[str, list[Array]]) -> dict[str, Array]:
    """The features of some rows, of each core; PictureError where they are not finite."""
    found = {name: job.features(name, values) for name, values in inputs.items()}
    if not all(np.isfinite(values).all() for values in found.values()):
        raise PictureError(
            f"the core's features are no finite {job.dtype} numbers", rule="not-finite"
        )
    return found


def _sampling(job: Job) -> Any:
    return job.clips or EVERY


def _size(job: Job) -> int:
    """Rows of a piece."""
    row = sum(
        int(np.prod(core.output_shape)) * np.dtype(job.dtype).itemsize
        for core in job.cores.values()
    )
    return max(min(_PIECE // row, _PIECE_ROWS), job.together)


def _watched(sample: Sample, job: Job) -> dict[Any, Watched]:
    """The clip, decoded once for cores that want the same pixels."""
    sampling = _sampling(job)
    return {
        how: Watched(
            motion.open_clip(
                sample, sampling, mode=how[0], orientation=how[1], reading=job.reading
            ),
            sampling,
        )
        for how in dict.fromkeys(wanted(core)[:2] for core in job.cores.values())
    }


def _rows(
    watched: Mapping[Any, Watched],
    job: Job,
    view: int,
    draw: Mapping[str, Any],
    chosen: Collection[int] | None = None,
) -> Iterator[_FrameRow]:
    """The rows of one view, or those of these numbers."""
    together = (
        dict(zip(watched, frames, strict=True)) for frames in zip(*watched.values(), strict=True)
    )
    window = check(job.cores, _sampling(job).window)
    if window is None:
        for number, frames in enumerate(together):
            if chosen is None or number in chosen:
                yield _FrameRow(view, draw, number, _time(frames), _prepared(frames, job, draw))
        return
    ready = ((_time(frames), _prepared(frames, job, draw)) for frames in together)
    for number, run in enumerate(windows(ready, window, _sampling(job).stride or window)):
        if chosen is None or number in chosen:
            whole = {
                n: core.together([each[n] for _, each in run]) for n, core in job.cores.items()
            }
            yield _FrameRow(view, draw, number, run[0][0], whole)


def _time(frames: Mapping[Any, Frame]) -> float:
    return next(iter(frames.values())).time


def _prepared(frames: Mapping[Any, Frame], job: Job, draw: Mapping[str, Any]) -> dict[str, Array]:
    seen = {
        how: augment.apply(frame.pixels, draw) if draw else frame.pixels
        for how, frame in frames.items()
    }
    return {name: core.prepare(seen[wanted(core)[:2]]) for name, core in job.cores.items()}
