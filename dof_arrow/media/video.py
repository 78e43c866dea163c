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
from functools import lru_cache, partial
from itertools import dropwhile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dof_arrow.errors import PictureError, require
from dof_arrow.media import array, orientation
from dof_arrow.media.bounds import MEMORY
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.frames import Still, unseen, with_ends
from dof_arrow.media.intensity import Pixels
from dof_arrow.media.video_entry import Entries
from dof_arrow.media.video_stream import (
    check_end,
    check_size,
    decoded,
    display_orientation,
    explained,
    opened,
    packets_from,
    size_of,
    usual_duration,
)
from dof_arrow.media.video_times import Account, Clock, Entry, account
from dof_arrow.once import once

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
_REMEMBERED = 8  # clips whose segments are read one after the other

# When a frame appears, how long it lasts if it is the last one, and the function for its pixels.
Timed = tuple[Fraction, Fraction, Callable[[], Pixels]]


class _Astray(Exception):
    """A clip that was entered at a key frame does not go on as its packets say."""


class Video:
    """A clip in a video file, or in its bytes; opened when its facts or frames are asked for.

    Raises PictureError with rule `unsupported-format`, `undecodable`, `too-large`, `truncated`,
    `missing` or `unreadable`, whose text holds neither a path nor anything that the file says;
    MissingExtra without PyAV. With `since`, frames that are gone before so many seconds may be left
    out: decoding begins at a key frame where that surely gives the same pixels and times.
    """

    def __init__(
        self,
        stored: Path | bytes,
        *,
        mode: Literal["RGB", "L"] = "RGB",
        orientation: Literal["exif", "ignore"] = "exif",
        max_pixels: int | None = None,
        since: Fraction | None = None,
    ) -> None:
        require("av", extra="video")
        self._since = since
        self._stored = stored
        self._mode = mode
        self._upright = orientation == "exif"
        self._lost = ""
        self._most = MEMORY // _COST if max_pixels is None else max_pixels

    @once
    def facts(self) -> PictureFacts:
        """Size and bits as stored, of the first frame.

        `frames` is what the container says, 0 where it says nothing.
        """
        return self._start.facts

    @property
    def lost(self) -> str:
        """Which frames at the clip's start cannot be shown, once its first frame is through."""
        return self._lost

    @property
    def is_told(self) -> bool:
        """Whether frames carry their own times; else their number tells at the clip's end if all is
        right.
        """
        return self._account(damaged=True).told

    def stills(self) -> Iterator[Still]:
        """The frames, decoded one by one; PictureError where the clip is broken."""
        if self._since is not None:
            known = self._account(damaged=True)
            entry = known.entry(self._since)
            # Time begins with the first frame that is decoded, which the account has to know.
            if entry is not None and self._start.pts * self._start.base == known.begin:
                yield from with_ends(self._entered(known, entry), known.begin)
                return
        yield from with_ends(self._timed())

    def times(self) -> Iterator[Still]:
        """When each frame is shown, by the packets; a clip that begins astray is decoded for it."""
        known = self._account(damaged=False)
        if known.uneven or not known.whole:
            return (still._replace(pixels=unseen) for still in self.stills())
        first = known.shown_at(self._since or Fraction(0)) if known.entries else 0
        places = range(first, len(known.starts))
        starts = ((known.starts[place] * known.base, known.duration(place)) for place in places)
        return with_ends(((*times, unseen) for times in starts), known.begin)

    def _account(self, *, damaged: bool) -> Account:
        if self._since is None:
            return _account(self._stored, self._most, damaged, enter=False)
        if isinstance(self._stored, bytes):
            return _account(self._stored, self._most, damaged)
        return _remembered_account(self._stored, self._stamp, self._most, damaged)

    @property
    def _start(self) -> _Start:
        if self._since is None or isinstance(self._stored, bytes):
            return _start(self._stored, self._most)
        return _remembered_start(self._stored, self._stamp, self._most)

    @property
    def _stamp(self) -> tuple[int, int]:
        assert isinstance(self._stored, Path)
        with explained("the file cannot be read", "unreadable"):
            status = self._stored.stat()
            return status.st_size, status.st_mtime_ns

    def _opened(self) -> AbstractContextManager[tuple[Any, Any]]:
        return opened(self._stored, self._most)

    def _entered(self, known: Account, entry: Entry) -> Iterator[Timed]:
        """The same as `_timed` from the frame of an entry on.

        Where a frame is not the one that the account says comes next, all is decoded from the start
        after all.
        """
        given = known.starts[entry.place - 1] * known.base
        try:
            for timed in self._from_entry(known, entry):
                given = timed[0]
                yield timed
        except _Astray:
            yield from dropwhile(lambda timed: timed[0] <= given, self._timed())

    def _from_entry(self, known: Account, entry: Entry) -> Iterator[Timed]:
        """The frames from an entry on; raises `_Astray` where they are not those of the account."""
        look, clock = self._look(), Clock(known)
        with self._opened() as (container, stream):
            packets = packets_from(container, stream, entry.shown, entry.decoded)
            if packets is None:
                raise _Astray
            place = entry.place
            end = Fraction(0)
            for frame in decoded(container, stream, packets, place):
                if not known.is_at(place, frame):
                    raise _Astray
                place += 1
                start, lasts = clock(frame)
                end = start + lasts
                yield start, lasts, partial(look, frame)
            if place < len(known.starts):
                raise _Astray
            check_end(container, end, usual_duration(stream))

    def _timed(self) -> Iterator[Timed]:
        """When each frame appears, how long it lasts, and the function that gives its pixels."""
        clock = Clock(self._account(damaged=True))
        with self._opened() as (container, stream):
            end = Fraction(0)
            look: _Look | None = None
            for frame in decoded(container, stream):
                start, lasts = clock(frame)
                # All facts come of the first frame; they are kept, for asking anew would decode it.
                if look is None:
                    self.facts = _facts(self._stored, container, stream, frame)
                    look = self._look()
                    self._lost = clock.lost
                end = start + lasts
                yield start, lasts, partial(look, frame)
            check_end(container, end, usual_duration(stream))
            clock.check_count()

    def _look(self) -> _Look:
        turn = self.facts.orientation if self._upright else orientation.UPRIGHT
        return _Look(self._mode, turn, self._most)


class _Start(NamedTuple):
    """What the first frame of a clip tells: the clip's facts, and when it is shown, in ticks."""

    facts: PictureFacts
    pts: int
    base: Fraction


def _start(stored: Path | bytes, most: int) -> _Start:
    with opened(stored, most) as (container, stream):
        first = next(decoded(container, stream))
        facts = _facts(stored, container, stream, first)
        return _Start(facts, first.pts or 0, first.time_base or Fraction(0))


def _account(stored: Path | bytes, most: int, damaged: bool, enter: bool = True) -> Account:
    with (
        opened(stored, most) as (container, stream),
        explained("the clip is damaged", "truncated"),
    ):
        opens = Entries(container, stream) if enter else None
        return account(container, stream, usual_duration(stream), damaged=damaged, opens=opens)


@lru_cache(_REMEMBERED)
def _remembered_start(path: Path, stamp: object, most: int) -> _Start:
    return _start(path, most)


@lru_cache(_REMEMBERED)
def _remembered_account(path: Path, stamp: object, most: int, damaged: bool) -> Account:
    return _account(path, most, damaged)


def _facts(stored: Path | bytes, container: Any, stream: Any, frame: Any) -> PictureFacts:
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
        bytes=size_of(stored),
    )


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
