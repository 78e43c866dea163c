"""Encoded video -> frames, by PyAV (extra `video`): upright, with exact times, one by one.

Times are the frames' own, pts x time base; a frame without one follows the frame before it by the
frame rate. The first frame's display matrix is applied to all. Wide pixels are left as they are
stored, interlaced lines too. Colours become 8-bit RGB as PyAV's `to_ndarray` has them, by the
matrix that the stream states (BT.601 where it states none); what is transparent lies on white; high
dynamic range is not mapped. What is opened at all says `media.video_stream`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dof_arrow.errors import require
from dof_arrow.media import array, orientation
from dof_arrow.media.bounds import MEMORY
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.frames import Still, unseen, with_ends
from dof_arrow.media.intensity import Pixels
from dof_arrow.media.video_stream import (
    check_end,
    check_size,
    decoded,
    display_orientation,
    explained,
    opened,
    size_of,
    usual_duration,
)

SUFFIXES = (
    ".3gp",
    ".apng",
    ".asf",
    ".avi",
    ".flv",
    ".gif",
    ".h264",
    ".hevc",
    ".ivf",
    ".m2ts",
    ".m4v",
    ".mj2",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".mxf",
    ".nut",
    ".ogv",
    ".ts",
    ".webm",
    ".wmv",
    ".y4m",
)
# Bytes that a pixel takes at the most: the frames that the decoder refers to, and the picture.
_COST = 40


class Video:
    """A clip in a video file, or in its bytes; opened when its facts or frames are asked for.

    Raises PictureError with rule `unsupported-format`, `undecodable`, `too-large`, `truncated`,
    `missing` or `unreadable`, whose text holds neither a path nor anything that the file says;
    MissingExtra without PyAV.
    """

    def __init__(
        self,
        stored: Path | bytes,
        *,
        mode: Literal["RGB", "L"] = "RGB",
        orientation: Literal["exif", "ignore"] = "exif",
        max_pixels: int | None = None,
    ) -> None:
        require("av", extra="video")
        self._stored = stored
        self._mode = mode
        self._upright = orientation == "exif"
        self._most = MEMORY // _COST if max_pixels is None else max_pixels

    @cached_property
    def facts(self) -> PictureFacts:
        """Size and bits as stored, of the first frame.

        `frames` is what the container says, 0 where it says nothing.
        """
        with self._opened() as (container, stream):
            first = next(decoded(container, stream))
            return self._facts(container, stream, first)

    def stills(self) -> Iterator[Still]:
        """The frames, decoded one by one; PictureError where the clip is broken."""
        return with_ends(self._timed())

    def times(self) -> Iterator[Still]:
        """When each frame is shown, by the packets, which are not decoded."""
        with self._opened() as (container, stream), explained("the clip is damaged", "truncated"):
            usual = usual_duration(stream)
            starts = _packet_times(container, stream, usual)
        return with_ends((start, lasts, unseen) for start, lasts in starts)

    def _opened(self) -> AbstractContextManager[tuple[Any, Any]]:
        return opened(self._stored, self._most)

    def _facts(self, container: Any, stream: Any, frame: Any) -> PictureFacts:
        codec = stream.codec_context.codec.canonical_name
        container_name = container.format.name.split(",")[0]
        return PictureFacts(
            width=frame.width,
            height=frame.height,
            mode=frame.format.name,
            bits=max(component.bits for component in frame.format.components),
            format=f"{codec} in {container_name}",
            frames=stream.frames,
            orientation=display_orientation(frame),
            bytes=size_of(self._stored),
        )

    def _timed(self) -> Iterator[tuple[Fraction, Fraction, Callable[[], Pixels]]]:
        """When each frame appears, how long it lasts, and the function that gives its pixels."""
        with self._opened() as (container, stream):
            usual = usual_duration(stream)
            next_start = Fraction(0)
            look: _Look | None = None
            for frame in decoded(container, stream):
                # All facts come of the first frame; they are kept, for asking anew would decode it.
                if look is None:
                    self.facts = self._facts(container, stream, frame)
                    look = self._look()
                base = frame.time_base or stream.time_base
                start = next_start if frame.pts is None or base is None else frame.pts * base
                lasts = frame.duration * base if frame.duration and base else usual
                next_start = start + lasts
                yield start, lasts, partial(look, frame)
            check_end(container, next_start, usual)

    def _look(self) -> _Look:
        turn = self.facts.orientation if self._upright else orientation.UPRIGHT
        return _Look(self._mode, turn, self._most)


class _Look:
    """Frames as pixels; what converts them is made once for all frames."""

    def __init__(self, mode: Literal["RGB", "L"], turn: int, most: int) -> None:
        from av.video.reformatter import VideoReformatter

        self._mode = mode
        self._turn = turn
        self._most = most
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> Pixels:
        """Pixels uint8 [h, w, 3] or [h, w, 1], C-contiguous."""
        # A stream may change its size; the header has been checked, this frame has not.
        check_size(frame.width, frame.height, self._most)
        with explained("a frame cannot be converted", "unsupported-mode"):
            form = "rgba" if _may_be_clear(frame.format) else "rgb24"
            made = self._reformatter.reformat(frame, format=form, threads=1)
            seen: Any = made.to_ndarray()
        upright = orientation.upright(seen, self._turn)
        return array.in_mode(np.ascontiguousarray(upright), self._mode)


def _may_be_clear(form: Any) -> bool:
    """Whether frames of a format may be transparent somewhere."""
    return form.has_palette or any(component.is_alpha for component in form.components)


def _packet_times(container: Any, stream: Any, usual: Fraction) -> list[tuple[Fraction, Fraction]]:
    """When each packet's frame appears and how long it lasts, in order of appearance."""
    base = stream.time_base
    count = 0
    known: list[tuple[Fraction, Fraction]] = []
    for packet in container.demux(stream):  # which are not kept: they hold the file's bytes
        if not packet.size or packet.is_discard:
            continue
        count += 1
        if packet.pts is not None:
            lasts = (packet.duration or 0) * base
            known.append((packet.pts * base, lasts or usual))
    # If one packet has no time, the times of the others do not tell where it belongs.
    if len(known) == count:
        return sorted(known)
    return [(number * usual, usual) for number in range(count)]
