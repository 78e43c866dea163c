"""What rows of clips were made of: single frames, or windows of frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from dof_arrow.cores.core_input import window
from dof_arrow.errors import DofError
from dof_arrow.extraction.recompute import Row
from dof_arrow.format.spec.metadata import CoreMetadata
from dof_arrow.media.frames import Sampling, Watched, windows
from dof_arrow.sources.clip import open_clip
from dof_arrow.sources.sample import Sample, Source

Array = NDArray[Any]


class Shown(NamedTuple):
    """The rows, by place, that are made of these frames uint8 [h, w, c]."""

    places: Sequence[int]
    frames: Sequence[Array]


def shown(
    rows: Sequence[Row], source: Source, sampling: Sampling, about: CoreMetadata | None
) -> Iterator[Shown]:
    """The frames behind rows, clip by clip; rows whose frames cannot be read are left out.

    Frames are decoded as for the core that it is `about`, grey without one. Views of a row have the
    same frames.
    """
    by_input: dict[int, dict[int, list[int]]] = {}
    for place, row in enumerate(rows):
        if row.input is not None and row.frame is not None:
            of_clip = by_input.setdefault(row.input, {})
            of_clip.setdefault(row.frame, []).append(place)
    for number, wanted in by_input.items():
        try:
            yield from _of_clip(source[number], wanted, sampling, about)
        except DofError:
            continue  # the rest of a clip that is gone, broken, or shorter than it was


def _of_clip(
    sample: Sample,
    wanted: Mapping[int, Sequence[int]],
    sampling: Sampling,
    about: CoreMetadata | None,
) -> Iterator[Shown]:
    length = sampling.window
    if about is None:
        clip = open_clip(sample, sampling, mode="L")
    else:
        how = about.preprocessing
        clip = open_clip(sample, sampling, mode=how.mode, orientation=how.orientation)
        length = length or window(how, about.input)  # one that is fixed need not be named
    length = length or 1
    frames = (frame.pixels for frame in Watched(clip, sampling, sample.begin))
    runs = windows(frames, length, sampling.stride or length)
    last = max(wanted)
    for number, run in enumerate(runs):
        if number in wanted:
            yield Shown(wanted[number], run)
        if number == last:
            return
