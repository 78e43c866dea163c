"""Encoded video -> frames, by PyAV (extra `video`): upright, with exact times, one by one.

Times are those of `media.video_times`. The first frame's display matrix is applied to all. Wide
pixels are left as they are stored, interlaced lines too. Colours become 8-bit RGB as PyAV's
`to_ndarray` has them, by the matrix and range that the stream states (BT.601 and limited where it
states none); what is transparent lies on white; high dynamic range is not mapped. What is opened at
all says `media.video_stream`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dof_arrow.errors import PictureError, require
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
from dof_arrow.media.video_times import Account, Clock, account

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
# Matrices that are read (ITU-T H.273): BT.709, none stated, FCC, BT.601 twice, SMPTE 240M, BT.2020
_MATRICES = (1, 2, 4, 5, 6, 7, 9)
_LIMITED = 1  # the range 16 to 235
_FULL = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)
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
        self._lost = ""
        self._most = MEMORY // _COST if max_pixels is None else max_pixels

    @cached_property
    def facts(self) -> PictureFacts:
        """Size and bits as stored, of the first frame.

        `frames` is what the container says, 0 where it says nothing.
        """
        with self._opened() as (container, stream):
            first = next(decoded(container, stream))
            return self._facts(container, stream, first)

    @property
    def lost(self) -> str:
        """Which frames at the clip's start cannot be shown, once its first frame is through."""
        return self._lost

    def stills(self) -> Iterator[Still]:
        """The frames, decoded one by one; PictureError where the clip is broken."""
        return with_ends(self._timed())

    def times(self) -> Iterator[Still]:
        """When each frame is shown, by the packets; a clip that begins astray is decoded for it."""
        known = self._account(damaged=False)
        if known.uneven or not known.whole:
            return (still._replace(pixels=unseen) for still in self.stills())
        starts = enumerate(known.starts)
        return with_ends(
            (start * known.base, known.duration(place), unseen) for place, start in starts
        )

    def _account(self, *, damaged: bool) -> Account:
        with self._opened() as (container, stream), explained("the clip is damaged", "truncated"):
            return account(container, stream, usual_duration(stream), damaged=damaged)

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
        clock = Clock(self._account(damaged=True))
        with self._opened() as (container, stream):
            end = Fraction(0)
            look: _Look | None = None
            for frame in decoded(container, stream):
                start, lasts = clock(frame)
                # All facts come of the first frame; they are kept, for asking anew would decode it.
                if look is None:
                    self.facts = self._facts(container, stream, frame)
                    look = self._look()
                    self._lost = clock.lost
                end = start + lasts
                yield start, lasts, partial(look, frame)
            check_end(container, end, usual_duration(stream))
            clock.check_count()

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
        _check_matrix(frame)
        with explained("a frame cannot be converted", "unsupported-mode"):
            form = "rgba" if _may_be_clear(frame.format) else "rgb24"
            made = self._reformatter.reformat(frame, format=form, threads=1)
            seen: Any = made.to_ndarray()
        if _is_limited_grey(frame):  # which is taken for full range
            seen = _FULL[seen]
        upright = orientation.upright(seen, self._turn)
        return array.in_mode(np.ascontiguousarray(upright), self._mode)


def _check_matrix(frame: Any) -> None:
    """Refuse colours that would be turned into others."""
    if not frame.format.is_rgb and int(frame.colorspace) not in _MATRICES:
        raise PictureError(
            "colours of a matrix that is not read",
            expected="BT.601, BT.709, BT.2020, SMPTE 240M or FCC",
            rule="unsupported-mode",
            hint="Convert it: ffmpeg -i CLIP -vf scale=out_color_matrix=bt709 CLIP.mp4",
        )


def _is_limited_grey(frame: Any) -> bool:
    return len(frame.format.components) == 1 and int(frame.color_range) == _LIMITED


def _may_be_clear(form: Any) -> bool:
    """Whether frames of a format may be transparent somewhere."""
    return form.has_palette or any(component.is_alpha for component in form.components)
