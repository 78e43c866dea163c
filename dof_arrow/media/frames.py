"""The frames of a clip and when each is shown, taken one by one: memory does not grow with length.

A frame is shown from its time until the next frame's, the last one for as long as its container
says. Time 0 is when the first frame that can be shown is shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil
from typing import Literal, NamedTuple, Protocol, TypeVar

import numpy as np

from dof_arrow.errors import PictureError, UsageError
from dof_arrow.format.spec import json_model
from dof_arrow.format.spec.json_model import Json, spec
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.intensity import Pixels

T = TypeVar("T")
# Left, top, right, bottom in pixels; the last two lie beyond the box.
Box = tuple[int, int, int, int]


class Still(NamedTuple):
    """A frame of a clip, not yet turned into pixels.

    The seconds at which it appears and is gone, and the function that gives its pixels.
    """

    start: Fraction
    stop: Fraction
    pixels: Callable[[], Pixels]


class Frame(NamedTuple):
    """A frame that was taken: its number in the clip, its time in seconds, its pixels.

    The pixels are uint8 [h, w, 3] or [h, w, 1].
    """

    number: int
    time: float
    pixels: Pixels


class Footage(Protocol):
    """What a clip is like, and its frames in the order in which they are shown."""

    @property
    def facts(self) -> PictureFacts: ...

    @property
    def lost(self) -> str:
        """Which frames at the start cannot be shown, once the first frame is through; mostly none.

        Such a clip was cut between key frames.
        """

    def stills(self) -> Iterator[Still]:
        """All frames; PictureError where the clip is broken.

        Closing the iterator closes the clip.
        """

    def times(self) -> Iterator[Still]:
        """The same, as far as it is known without decoding: frames without pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which frames of a clip are taken; UsageError for what cannot be.

    >>> Sampling(crop="0,60,640,480").box
    (0, 60, 640, 480)
    """

    fps: float | None = spec(
        "the frame that is shown at each k / fps seconds; none: each frame once", default=None
    )
    max_frames: int | None = spec("of these the first so many", default=None, minimum=1)
    window: int | None = spec(
        "a row for so many frames together, for cores with a time axis", default=None, minimum=1
    )
    stride: int | None = spec(
        "frames from one window to the next; none: windows do not overlap", default=None, minimum=1
    )
    crop: str | None = spec(
        "what is seen of each frame: `left,top,right,bottom` in pixels, or `all`; none: the "
        "regions that a DICOM file names, else all",
        default=None,
    )
    on_break: Literal["keep", "fail"] = spec(
        "of a damaged clip, keep what precedes the damage, or list it as failed", default="fail"
    )

    def __post_init__(self) -> None:
        for name in ("fps", "max_frames", "window", "stride"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(
                    f"{name} must be above 0", found=str(value), hint="Give another number."
                )
        if self.on_break not in ("keep", "fail"):
            raise UsageError(
                "no such choice for on_break", expected="keep or fail", found=self.on_break
            )
        _ = self.box  # raises for what is no crop
        if self.stride and not self.window:
            raise UsageError(
                "a stride is from window to window",
                hint="Give the window's length too: --window 16.",
            )

    @property
    def box(self) -> Box | None:
        """The box that is asked for, if there is one; UsageError for what is none."""
        if self.crop is None or self.crop == "all":
            return None
        try:
            left, top, right, bottom = map(int, self.crop.split(","))
        except ValueError:
            left = top = right = bottom = -1
        if not (0 <= left < right and 0 <= top < bottom):
            raise UsageError(
                "no such crop",
                expected="LEFT,TOP,RIGHT,BOTTOM in pixels, or all",
                found=str(self.crop),
                hint="Write for example --crop 0,60,640,480",
            )
        return left, top, right, bottom

    def to_json(self) -> dict[str, Json]:
        """What differs from taking every frame."""
        values = json_model.to_json(self)
        return {name: value for name, value in values.items() if value is not None}


EVERY = Sampling()


class Watched:
    """The frames that are taken of a clip, streamed.

    `broken` says, once they are through, why the clip ends too early; it is empty for a sound clip.
    Of a segment of a clip, `begin` is when it starts, in seconds: times are those of the clip.
    """

    def __init__(
        self, clip: Footage, sampling: Sampling = EVERY, begin: Fraction | None = None
    ) -> None:
        self.clip = clip
        self.sampling = sampling
        self.begin = begin
        self.broken = ""

    def __iter__(self) -> Iterator[Frame]:
        """The frames; PictureError for a clip without any, or a broken one that is not kept."""
        count = 0
        with closing(self.clip.stills()) as stills:  # type: ignore[type-var]
            try:
                for number, time, still in chosen(stills, self.sampling):
                    if not count:
                        self.broken = lost_at_start(self.clip, self.sampling)
                    yield Frame(number, float((self.begin or 0) + time), still.pixels())
                    count += 1
            except PictureError as error:
                # A segment that cannot be is no damage, of which a part could be kept.
                if self.sampling.on_break == "fail" or not count or error.rule == "segment":
                    raise
                self.broken = str(error)
        if not count:
            raise self._empty()

    def _empty(self) -> PictureError:
        if self.begin is None:
            return PictureError("a clip without frames", rule="empty")
        return PictureError(
            "no frame appears within the segment",
            rule="empty",
            hint="Take the frames that are shown at steady times: --fps F.",
        )


def lost_at_start(clip: Footage, sampling: Sampling) -> str:
    """Why a clip, whose first frame is through, is broken at its start; empty for a sound clip.

    Raises PictureError instead unless broken clips are kept.
    """
    if not clip.lost:
        return ""
    error = PictureError(
        "the clip begins between key frames",
        expected="a key frame first",
        found=f"{clip.lost} before it, which cannot be shown",
        hint="Keep what can be shown: --on-break keep",
        rule="truncated",
    )
    if sampling.on_break == "fail":
        raise error
    return str(error)


def chosen(stills: Iterable[Still], sampling: Sampling) -> Iterator[tuple[int, Fraction, Still]]:
    """The frames that are taken, each with its number and the time at which it is taken."""
    if sampling.fps:
        taken = shown_at(stills, Fraction(sampling.fps))
    else:
        # A segment of a clip may start while a frame is shown, which appeared before it.
        taken = (
            (number, still.start, still) for number, still in enumerate(stills) if still.start >= 0
        )
    for count, each in enumerate(taken, 1):
        yield each
        if count == sampling.max_frames:
            return


def shown_at(stills: Iterable[Still], fps: Fraction) -> Iterator[tuple[int, Fraction, Still]]:
    """For each k / fps the frame that is shown then, with its number.

    A frame may be taken twice, or not at all.

    >>> third = Fraction(1, 3)
    >>> stills = [Still(k * third, (k + 1) * third, lambda: None) for k in range(5)]
    >>> [number for number, _, _ in shown_at(stills, Fraction(2))]
    [0, 1, 3, 4]
    """
    for number, still in enumerate(stills):
        first = max(ceil(still.start * fps), 0)
        for tick in range(first, ceil(still.stop * fps)):
            yield number, tick / fps, still


def windows(items: Iterable[T], length: int, step: int) -> Iterator[tuple[T, ...]]:
    """Each `length` neighbours, `step` apart; too few at the end are left out.

    >>> list(windows("abcdef", 3, 2))
    [('a', 'b', 'c'), ('c', 'd', 'e')]
    """
    kept: deque[T] = deque(maxlen=length)
    for count, item in enumerate(items, 1):
        kept.append(item)
        if count >= length and (count - length) % step == 0:
            yield tuple(kept)


def with_ends(
    starts: Iterable[tuple[Fraction, Fraction, Callable[[], Pixels]]],
    begin: Fraction | None = None,
) -> Iterator[Still]:
    """Frames, each shown until the next one is.

    A tuple of `starts` is when a frame appears, how long it lasts if it is the last one, and the
    function that gives its pixels. Time begins with the first, or at `begin`. A frame that would
    appear before the one ahead of it appears when that one's time is over. Where the clip breaks,
    the last frame before the break is shown as long as it lasts.
    """
    held: Still | None = None
    broken: PictureError | None = None
    try:
        for start, lasts, pixels in starts:
            if begin is None:
                begin = start
            at = start - begin
            if held is not None:
                at = at if at > held.start else held.stop
                yield held._replace(stop=at)
            held = Still(at, at + lasts, pixels)
    except PictureError as error:
        broken = error
    # A frame is held back until the next one says when it ends; the last has to end by itself.
    if held is not None:
        yield held
    if broken is not None:
        raise broken


def steady(count: int, fps: float | None, see: Callable[[int], Pixels]) -> Iterator[Still]:
    """Frames without a clock, which `see` gives by their numbers: frame k from k / fps on.

    Without `fps`, frame k is shown from second k on.
    """
    lasts = 1 / Fraction(fps or 1)
    for number in range(count):
        yield Still(number * lasts, (number + 1) * lasts, partial(see, number))


def unseen(*_: object) -> Pixels:
    """Stands for the pixels of a frame that was not decoded; raises UsageError."""
    raise UsageError("the frame was not decoded")


@dataclass(frozen=True, slots=True)
class Cropped:
    """A clip of which only a box is seen; PictureError where it does not lie within the frame."""

    clip: Footage
    box: Box

    @property
    def facts(self) -> PictureFacts:
        """Those of the whole clip."""
        return self.clip.facts

    @property
    def lost(self) -> str:
        """That of the whole clip."""
        return self.clip.lost

    def stills(self) -> Iterator[Still]:
        """What the box holds of each frame."""
        with closing(self.clip.stills()) as stills:  # type: ignore[type-var]
            for still in stills:
                yield still._replace(pixels=partial(self._seen, still.pixels))

    def times(self) -> Iterator[Still]:
        """Those of the whole clip."""
        return self.clip.times()

    def _seen(self, see: Callable[[], Pixels]) -> Pixels:
        frame = see()
        height, width = frame.shape[:2]
        left, top, right, bottom = self.box
        if right > width or bottom > height:
            raise PictureError(
                "the frame is smaller than the crop",
                expected=f"at least {right} x {bottom}",
                found=f"{width} x {height}",
                hint="Give another --crop.",
                rule="crop",
            )
        return np.ascontiguousarray(frame[top:bottom, left:right])
