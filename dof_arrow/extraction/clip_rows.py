"""The rows of a clip: which frames or windows of frames they are, and what each core is to see."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from dof_arrow.cores.core import Core, wanted
from dof_arrow.errors import PictureError, UsageError
from dof_arrow.extraction.job import Array, Job
from dof_arrow.media import augment
from dof_arrow.media.frames import EVERY, Frame, Sampling, Watched, chosen, windows
from dof_arrow.sources import clip
from dof_arrow.sources.sample import Sample

Draw = Mapping[str, Any]  # the numbers that a view is made with
Clips = Mapping[Any, Watched]  # a clip by the way in which it is decoded
Prepared = Mapping[str, Array]  # what each core is to see


class ClipInput(NamedTuple):
    """A frame or window by its number and time in seconds, and what each core is to see of it."""

    frame: int
    time: float
    prepared: Prepared


def window_of(cores: Mapping[str, Core], window: int | None) -> int | None:
    """The window that all cores take, None for cores of single pictures.

    A core whose window is fixed needs none to be named. Raises UsageError where they differ.
    """
    taken: dict[str, int | None] = {}
    for name, core in cores.items():
        if core.time_axis is not None:
            taken[name] = core.window or window
    if not taken:
        if window is not None:
            raise UsageError(
                "the core takes single pictures, not windows of frames",
                found=f"--window {window}",
                hint="Leave --window out: frames are run one by one.",
            )
        return None
    lengths = set(taken.values())
    if window is not None:
        lengths.add(window)
    if len(taken) < len(cores) or len(lengths) > 1:
        raise UsageError(
            "the cores take different windows",
            found=", ".join(f"{name} {length}" for name, length in taken.items()),
            expected="one window" if window is None else f"{window} frames",
            hint="Leave --window out, or extract with one core at a time.",
        )
    if None in lengths:
        raise UsageError(
            "the core takes windows of any length", hint="Say how many frames: --window 16."
        )
    return lengths.pop()


def watch(sample: Sample, job: Job) -> Clips:
    """The clip, decoded once for cores that want the same pixels."""
    sampling = _sampling(job)
    found: dict[Any, Watched] = {}
    for core in job.cores.values():
        how = _how(core)
        if how not in found:
            mode, orientation = how
            opened = clip.open_clip(
                sample, sampling, mode=mode, orientation=orientation, reading=job.reading
            )
            found[how] = Watched(opened, sampling, sample.begin)
    return found


def rows(
    clips: Clips, job: Job, draw: Draw, numbers: Collection[int] | None = None
) -> Iterator[ClipInput]:
    """The rows of one view of a clip in order, or those of these numbers."""
    sampling = _sampling(job)
    window = window_of(job.cores, sampling.window)
    if window is None:
        yield from _single_frames(clips, job, draw, numbers)
    else:
        yield from _windows(clips, job, draw, numbers, window)


def chosen_rows(
    numbers: Collection[int], draw: Draw, sample: Sample, job: Job
) -> Iterator[ClipInput]:
    """Some rows of one view of a clip, by their numbers, in order.

    The clip is read once, up to the last of them. Raises PictureError where it lacks some.
    """
    left = set(numbers)
    for row in rows(watch(sample, job), job, draw, left):
        left.discard(row.frame)
        yield row
        if not left:
            return
    raise PictureError(
        "the clip has become shorter", rule="too-short", expected=f"a row {min(left)}"
    )


def count(sample: Sample, job: Job) -> int:
    """How many rows a clip will have in each view if it is sound; it is not decoded for this."""
    sampling = _sampling(job)
    times = clip.open_clip(sample, sampling, reading=job.reading).times()
    frames = sum(1 for _ in chosen(times, sampling))
    window = window_of(job.cores, sampling.window)
    if window is None:
        return frames
    step = sampling.stride or window
    return max((frames - window) // step + 1, 0)


def too_short(job: Job) -> PictureError:
    """The error for a clip that has not one window."""
    return PictureError(
        "the clip is shorter than a window",
        rule="too-short",
        expected=f"{_sampling(job).window} frames",
        hint="Choose a smaller --window.",
    )


def _single_frames(
    clips: Clips, job: Job, draw: Draw, numbers: Collection[int] | None
) -> Iterator[ClipInput]:
    for number, frames in enumerate(_together(clips)):
        if numbers is None or number in numbers:
            yield ClipInput(number, _time(frames), _prepared(frames, job, draw))


def _windows(
    clips: Clips, job: Job, draw: Draw, numbers: Collection[int] | None, window: int
) -> Iterator[ClipInput]:
    # Each frame is prepared once, though windows may overlap.
    ready = ((_time(frames), _prepared(frames, job, draw)) for frames in _together(clips))
    step = _sampling(job).stride or window
    for number, run in enumerate(windows(ready, window, step)):
        if numbers is not None and number not in numbers:
            continue
        whole = {}
        for name, core in job.cores.items():
            whole[name] = core.together([prepared[name] for _, prepared in run])
        yield ClipInput(number, run[0][0], whole)


def _together(clips: Clips) -> Iterator[Mapping[Any, Frame]]:
    """Frame by frame, in all the ways in which the clip is decoded."""
    for frames in zip(*clips.values(), strict=True):
        yield dict(zip(clips, frames, strict=True))


def _time(frames: Mapping[Any, Frame]) -> float:
    return next(iter(frames.values())).time


def _prepared(frames: Mapping[Any, Frame], job: Job, draw: Draw) -> Prepared:
    seen = {}
    for how, frame in frames.items():
        seen[how] = augment.apply(frame.pixels, draw) if draw else frame.pixels
    prepared = {}
    for name, core in job.cores.items():
        prepared[name] = core.prepare(seen[_how(core)])
    return prepared


def _how(core: Core) -> tuple[Any, Any]:
    """What of decoding a clip matters to a core: mode and orientation."""
    mode, orientation, _ = wanted(core)
    return mode, orientation


def _sampling(job: Job) -> Sampling:
    return job.clips or EVERY
