"""Clips -> frames with their times, one by one: videos, folders of pictures, arrays; memory does not grow with length.

A frame is shown from its time until the next frame's, the last one for as long as its container says. Time 0 is when
the first frame that can be shown is shown. Pictures in a folder and frames of an array have no clock: frame k is shown
from k / fps on, from second k on where no `fps` is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError, UsageError
from dof_arrow.format.spec import json_model
from dof_arrow.format.spec.json_model import Json, spec
from dof_arrow.media import array, intensity
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.image import Pixels

Array = npt.NDArray[Any]
T = TypeVar("T")
Box = tuple[
    int, int, int, int
]  # left, top, right, bottom in pixels; the last two lie beyond the box


class Still(NamedTuple):
    """A frame of a clip, not yet turned into pixels: seconds at which it appears and is gone, and how to get it."""

    start: Fraction
    stop: Fraction
    pixels: Callable[[], Pixels]


class Frame(NamedTuple):
    """A frame that was chosen: its number in the clip, its time in seconds, uint8 [h, w, 3] or [h, w, 1]."""

    number: int
    time: float
    pixels: Pixels


class Footage(Protocol):
    """What a clip is like, and its frames in the order in which they are shown."""

    @property
    def facts(self) -> PictureFacts: ...

    def stills(self) -> Iterator[Still]:
        """All frames; PictureError where the clip is broken. Closing the iterator closes the clip."""

    def times(self) -> Iterator[Still]:
        """The same, as far as it is known without decoding: frames without pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which frames of a clip are taken.

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
        _ = self.box
        if self.stride and not self.window:
            raise UsageError(
                "a stride is from window to window",
                hint="Give the window's length too: --window 16.",
            )

    @property
    def box(self) -> Box | None:
        """The box that is asked for, if there is one; UsageError for what is none."""
        if self.crop in (None, "all"):
            return None
        try:
            left, top, right, bottom = map(int, (self.crop or "").split(","))
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
        return {
            name: value for name, value in json_model.to_json(self).items() if value is not None
        }


EVERY = Sampling()


class Watched:
    """The frames that are taken of a clip, streamed; `broken` says, once they are through, why they end too early."""

    def __init__(self, clip: Footage, sampling: Sampling = EVERY) -> None:
        self.clip, self.sampling, self.broken = clip, sampling, ""

    def __iter__(self) -> Iterator[Frame]:
        """The frames; PictureError for a clip that has none, or is broken where that is not to be kept."""
        count = 0
        with closing(self.clip.stills()) as stills:  # type: ignore[type-var]
            try:
                for number, time, still in chosen(stills, self.sampling):
                    yield Frame(number, float(time), still.pixels())
                    count += 1
            except PictureError as error:
                if self.sampling.on_break == "fail" or not count:
                    raise
                self.broken = str(error)
        if not count:
            raise PictureError("a clip without frames", rule="empty")


def chosen(stills: Iterable[Still], sampling: Sampling) -> Iterator[tuple[int, Fraction, Still]]:
    """The frames that are taken, each with its number and the time at which it is."""
    every = ((number, still.start, still) for number, still in enumerate(stills))
    taken = shown_at(stills, Fraction(sampling.fps)) if sampling.fps else every
    for count, each in enumerate(taken, 1):
        yield each
        if count == sampling.max_frames:
            return


def shown_at(stills: Iterable[Still], fps: Fraction) -> Iterator[tuple[int, Fraction, Still]]:
    """For each k / fps the frame that is shown then, with its number; a frame may be taken twice, or not at all.

    >>> third = Fraction(1, 3)
    >>> stills = [Still(k * third, (k + 1) * third, lambda: None) for k in range(5)]
    >>> [number for number, _, _ in shown_at(stills, Fraction(2))]
    [0, 1, 3, 4]
    """
    for number, still in enumerate(stills):
        for k in range(max(ceil(still.start * fps), 0), ceil(still.stop * fps)):
            yield number, k / fps, still


def windows(items: Iterable[T], length: int, step: int) -> Iterator[tuple[T, ...]]:
    """Each `length` neighbours, `step` apart; what remains at the end is too few for a window and left out.

    >>> list(windows("abcdef", 3, 2))
    [('a', 'b', 'c'), ('c', 'd', 'e')]
    """
    kept: deque[T] = deque(maxlen=length)
    for number, item in enumerate(items):
        kept.append(item)
        if number + 1 >= length and (number + 1 - length) % step == 0:
            yield tuple(kept)


def with_ends(starts: Iterable[tuple[Fraction, Fraction, Callable[[], Pixels]]]) -> Iterator[Still]:
    """Frames, each shown until the next one is; a tuple is when a frame appears, how long it lasts at the end, and it.

    Time begins with the first. A frame that would appear before its forerunner appears when that one's time is over.
    Where the clip breaks, the last frame before that is shown as long as it lasts.
    """
    begin: Fraction | None = None
    held: Still | None = None
    broken: PictureError | None = None
    try:
        for start, lasts, see in starts:
            begin = start if begin is None else begin
            at = start - begin
            if held is not None:
                at = at if at > held.start else held.stop
                yield held._replace(stop=at)
            held = Still(at, at + lasts, see)
    except PictureError as error:
        broken = error
    if held is not None:
        yield held
    if broken is not None:
        raise broken


@dataclass(frozen=True, slots=True)
class Cropped:
    """A clip of which only a box is seen; PictureError where it does not lie within the frame."""

    clip: Footage
    box: Box

    @property
    def facts(self) -> PictureFacts:
        """Those of the whole clip."""
        return self.clip.facts

    def stills(self) -> Iterator[Still]:
        """What the box holds of each frame."""
        with closing(self.clip.stills()) as stills:  # type: ignore[type-var]
            for still in stills:
                yield still._replace(pixels=partial(self._seen, still.pixels))

    def times(self) -> Iterator[Still]:
        """Those of the whole clip."""
        return self.clip.times()

    def _seen(self, see: Callable[[], Pixels]) -> Pixels:
        frame, (left, top, right, bottom) = see(), self.box
        if right > frame.shape[1] or bottom > frame.shape[0]:
            raise PictureError(
                "the frame is smaller than the crop",
                expected=f"at least {right} x {bottom}",
                found=f"{frame.shape[1]} x {frame.shape[0]}",
                hint="Give another --crop.",
                rule="crop",
            )
        return np.ascontiguousarray(frame[top:bottom, left:right])


@dataclass(frozen=True, slots=True)
class PictureFrames:
    """A clip that is a folder of pictures, in the order of their names; `decode` makes pixels of one."""

    paths: Sequence[Path]
    decode: Callable[[Path], tuple[Pixels, PictureFacts]]
    fps: float | None = None

    @property
    def facts(self) -> PictureFacts:
        """Those of the first picture, but for how many there are, and their bytes."""
        first = self.decode(self.paths[0])[1]
        size = sum(path.stat().st_size for path in self.paths)
        return PictureFacts(
            **{**json_model.to_json(first), "frames": len(self.paths), "bytes": size}
        )

    def stills(self) -> Iterator[Still]:
        """One frame a picture."""
        return steady(len(self.paths), self.fps, lambda k: self.decode(self.paths[k])[0])

    times = stills


@dataclass(frozen=True, slots=True)
class Frames:
    """A clip that is an array [frames, h, w] or [frames, h, w, c], mapped or in memory.

    Numbers that are not of 8 bits become so by the rules of `pixels`, by the range of the whole clip.
    """

    values: Array
    mode: Literal["RGB", "L"] = "RGB"
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.values.ndim not in (3, 4) or not self.values.size:
            raise PictureError(
                "an array that is no clip",
                expected="[frames, h, w] or [frames, h, w, c]",
                found=str(list(self.values.shape)),
                rule="unsupported-mode",
            )

    @property
    def facts(self) -> PictureFacts:
        """Of the first frame, but for their number and bytes."""
        first = array.decode(self.values[0], mode=self.mode)[1]
        return PictureFacts(
            **{**json_model.to_json(first), "frames": len(self.values), "bytes": self.values.nbytes}
        )

    def stills(self) -> Iterator[Still]:
        """One frame a row."""
        shown = _in_bytes(self.values)
        return steady(
            len(self.values),
            self.fps,
            lambda k: array.decode(shown(self.values[k]), mode=self.mode)[0],
        )

    def times(self) -> Iterator[Still]:
        """The same, without looking at the values."""
        return steady(len(self.values), self.fps, unseen)


def _in_bytes(values: Array) -> Callable[[Array], Array]:
    """How numbers become 8 bits: the same way in all frames, or a clip would flicker."""
    kind = values.dtype.kind
    if values.dtype in (np.uint8, np.bool_) or kind not in "uif":
        return lambda frame: frame
    if kind == "u":
        unused = max(max(int(frame.max()) for frame in values).bit_length() - 8, 0)
        return lambda frame: (frame >> frame.dtype.type(unused)).astype(np.uint8)
    low, high = extremes(frame[np.isfinite(frame)] if kind == "f" else frame for frame in values)
    return lambda frame: intensity.stretch(frame, low, high)


def extremes(frames: Iterable[Array]) -> tuple[float, float]:
    """The lowest and highest number in all frames; 0 and 0 where there is none."""
    found = [(float(frame.min()), float(frame.max())) for frame in frames if frame.size]
    return min((low for low, _ in found), default=0.0), max(
        (high for _, high in found), default=0.0
    )


def steady(count: int, fps: float | None, see: Callable[[int], Pixels]) -> Iterator[Still]:
    """Frames without a clock, which `see` gives by their numbers."""
    each = 1 / Fraction(fps or 1)
    for k in range(count):
        yield Still(k * each, (k + 1) * each, partial(see, k))


def unseen(*_: object) -> Pixels:
    """The pixels of a frame that was not decoded."""
    raise UsageError("the frame was not decoded")


def load_array(path: Path) -> Array:
    """The array of an .npy file, mapped, or the only clip in an .npz; nothing is unpickled."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            return _only_clip({name: found[name] for name in found.files})
    except (OSError, ValueError, EOFError, KeyError):
        raise PictureError("the array cannot be read") from None


def _only_clip(arrays: dict[str, Array]) -> Array:
    fitting = [values for values in arrays.values() if values.ndim in (3, 4)]
    if len(fitting) != 1:
        raise PictureError(
            "the file holds no clip, or several",
            expected="one array of 3 or 4 axes",
            found=str(len(fitting)),
            rule="unsupported-mode",
        )
    return fitting[0]
