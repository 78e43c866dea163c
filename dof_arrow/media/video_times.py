"""When each frame of a video is shown: one account, made of its packets before any is decoded.

Containers say when a packet's frame is shown (its pts), in the order in which packets are decoded.
Some have no place for that: AVI, ASF and MXF know but the order of packets, elementary streams not
even times. There the frames are shown in the order in which the decoder gives them, the k-th at the
k-th time that the container knows, or at k frames' usual duration. Where frames are reordered and
packets do not follow one another evenly, no such container tells when a frame is shown: the clip is
refused.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from dof_arrow.errors import PictureError

_BLIND = ("avi", "asf", "mxf")  # containers that do not say when reordered frames are shown
_EVEN = 1.5  # by which factor steps may differ that were rounded


class Packet(NamedTuple):
    """When a packet's frame is shown and decoded and how long it lasts, in ticks; key frame or not.

    Times are None, and the duration 0, where the container does not say. `opens`: decoding may
    begin at it (`media.video_entry`).
    """

    shown: int | None
    decoded: int | None
    lasts: int
    is_key: bool
    opens: bool = False


class Entry(NamedTuple):
    """A packet at which decoding may begin: the place of its frame, and its times in ticks."""

    place: int
    shown: int
    decoded: int


@dataclass(frozen=True, slots=True)
class Account:
    """When frames are shown, rising, in ticks of `base` seconds, and how long each lasts.

    `told`: frames carry their own times; else the k-th frame is shown at the k-th time. `whole`:
    the first packet is a key frame, and no frame is shown before it: all can be decoded. `uneven`:
    the container does not say when frames are shown, and packets are not spaced evenly.
    `entries`: the packets at which decoding may begin, rising; none unless all times are told.
    """

    starts: Sequence[int]
    durations: Sequence[int]
    base: Fraction
    told: bool
    whole: bool
    uneven: bool = False
    entries: Sequence[Entry] = ()

    @property
    def begin(self) -> Fraction:
        """When the first frame is shown, in seconds."""
        return self.starts[0] * self.base

    def shown_at(self, seconds: Fraction) -> int:
        """The place of the frame that is shown so long after the first one; 0 where none is."""
        return max(bisect_right(self.starts, self._tick(seconds)) - 1, 0)

    def entry(self, seconds: Fraction) -> Entry | None:
        """The last packet from which all is decoded that is shown then; None: the first one."""
        if not self.entries:
            return None
        place = bisect_right([entry.shown for entry in self.entries], self._tick(seconds)) - 1
        return self.entries[place] if place >= 0 and self.entries[place].place else None

    def is_at(self, place: int, frame: Any) -> bool:
        """Whether a decoded frame is the one at a place, by its time."""
        if place >= len(self.starts) or frame.pts is None:
            return False
        base: Fraction = frame.time_base or self.base
        return bool(frame.pts * base == self.starts[place] * self.base)

    def _tick(self, seconds: Fraction) -> Fraction:
        return (self.begin + seconds) / self.base

    def duration(self, place: int) -> Fraction:
        """Seconds that the frame at a place lasts, unless another follows."""
        return self.durations[place] * self.base


def account(
    container: Any,
    stream: Any,
    usual: Fraction,
    *,
    damaged: bool = False,
    opens: Callable[[Any], bool] | None = None,
) -> Account:
    """The account of a stream's packets, of which none is decoded.

    `usual` is how long a frame lasts where nothing is said, in seconds. With `damaged`, it ends
    where packets cannot be read. `opens` says whether decoding may begin at a packet; by default it
    begins at none but the first.
    """
    packets: list[Packet] = []
    try:
        for packet in container.demux(stream):  # which are not kept: they hold the file's bytes
            if packet.size and not packet.is_discard:
                lasts = packet.duration or 0
                key = packet.is_keyframe
                entry = opens is not None and opens(packet)
                packets.append(Packet(packet.pts, packet.dts, lasts, key, entry))
    except Exception:
        if not damaged:
            raise  # else the frames before the damage may be kept
    return _of(packets, stream.time_base or usual, usual, _is_blind(container))


def _is_blind(container: Any) -> bool:
    """Whether a container does not say when reordered frames are shown."""
    return container.format.name.split(",")[0] in _BLIND


def _is_uneven(packets: Sequence[Packet]) -> bool:
    """Whether packets are decoded at times that are no steady ones; False where they are unknown."""
    steps: list[int] = []
    for packet, next_ in pairwise(packets):
        if packet.decoded is not None and next_.decoded is not None:
            steps.append(next_.decoded - packet.decoded)
    return bool(steps) and max(steps) > _EVEN * max(min(steps), 1)


def _of(packets: Sequence[Packet], base: Fraction, usual: Fraction, blind: bool) -> Account:
    shown = [packet.shown for packet in packets]
    if not blind and None not in shown:
        found = _sorted(shown, packets, base, usual, told=True)
        return replace(found, entries=_entries(found, packets))
    # What else is known of showing are guesses of the library that reads the container.
    uneven = _is_uneven(packets)
    if uneven and None not in shown and not _rise(shown):
        raise _not_said()
    decoded = [packet.decoded for packet in packets]
    if _rise(decoded):
        found = _sorted(decoded, packets, base, usual, told=False)
        return replace(found, uneven=uneven, durations=_steps(found))
    even = [packet._replace(lasts=1) for packet in packets]
    return _sorted(range(len(packets)), even, usual, usual, told=False)


def _entries(times: Account, packets: Sequence[Packet]) -> Sequence[Entry]:
    """Where decoding may begin; nowhere unless each frame is told from the others by its time."""
    opening = [packet for packet in packets if packet.opens and packet.decoded is not None]
    if not opening or not times.whole or not _rise(times.starts):
        return ()
    found: list[Entry] = []
    for packet in opening:
        assert packet.shown is not None and packet.decoded is not None
        place = bisect_left(times.starts, packet.shown)
        found.append(Entry(place, packet.shown, packet.decoded))
    return sorted(found)


def _steps(times: Account) -> Sequence[int]:
    """How long each frame is shown; the last one as long as the one before."""
    steps = [next_ - start for start, next_ in pairwise(times.starts)]
    return [*steps, steps[-1]] if steps else times.durations


def _not_said() -> PictureError:
    return PictureError(
        "the container does not say when the clip's frames are shown",
        expected="evenly spaced frames, or a container with times of showing",
        hint="Write the clip again: ffmpeg -i CLIP -c:v libx264 -crf 12 CLIP.mp4",
    )


def _rise(times: Sequence[int | None]) -> bool:
    """Whether each time is known and later than the one before."""
    known = [time for time in times if time is not None]
    return len(known) == len(times) and all(first < next_ for first, next_ in pairwise(known))


def _sorted(
    times: Sequence[Any], packets: Sequence[Packet], base: Fraction, usual: Fraction, *, told: bool
) -> Account:
    usual_ticks = max(round(usual / base), 1)
    timed: list[tuple[int, int]] = []
    for time, packet in zip(times, packets, strict=True):
        timed.append((time, packet.lasts or usual_ticks))
    timed.sort()
    starts = [start for start, _ in timed]
    whole = bool(packets) and packets[0].is_key and times[0] == starts[0]
    return Account(starts, [lasts for _, lasts in timed], base, told, whole)


class Clock:
    """Tells when decoded frames are shown, in the order in which they come.

    `lost` says, once the first frame is through, which frames before it cannot be shown; it is
    empty for a sound clip.
    """

    def __init__(self, times: Account) -> None:
        self._times = times
        self._given = 0
        self._end = Fraction(0)
        self._last: Fraction | None = None
        self._last_pts = -1
        self.lost = ""

    def __call__(self, frame: Any) -> tuple[Fraction, Fraction]:
        """When a frame is shown and how long it lasts, in seconds.

        PictureError for a frame that is shown before the one ahead of it, and where the container
        does not say enough.
        """
        self._check_order(frame)
        start, lasts = self._told(frame) if self._times.told else self._counted(self._given)
        if self._last is None:
            self.lost = self._lost_before(start)
        elif start < self._last:
            raise PictureError(
                "the times of the clip's frames run backwards",
                hint="Write the clip again: ffmpeg -fflags +genpts -i CLIP -c:v libx264 OUT.mp4",
            )
        self._given += 1
        self._last = start
        self._end = start + lasts
        return start, lasts

    def check_count(self) -> None:
        """PictureError where times were counted, and frames and packets differ in number."""
        if not self._times.told and not self.lost and self._given != len(self._times.starts):
            raise PictureError(
                "not every packet of the clip gave a frame, so when frames are shown is not known",
                expected=f"{len(self._times.starts)} frames",
                found=str(self._given),
                hint="Write the clip again: ffmpeg -i CLIP -c:v libx264 -crf 12 CLIP.mp4",
                rule="truncated",
            )

    def _check_order(self, frame: Any) -> None:
        """Refuse reordered frames, whose packets do not follow one another evenly."""
        if not self._times.uneven or frame.pts is None:
            return
        # What is guessed of packets goes back where frames are reordered.
        if frame.pts < self._last_pts:
            raise _not_said()
        self._last_pts = frame.pts

    def _told(self, frame: Any) -> tuple[Fraction, Fraction]:
        """By the frame's own time; one that the decoder lost is where the frame before it ends."""
        base = frame.time_base or self._times.base
        start = self._end if frame.pts is None else frame.pts * base
        tick = start / self._times.base
        place = bisect_left(self._times.starts, tick)
        if place < len(self._times.starts) and self._times.starts[place] == tick:
            return start, self._times.duration(place)
        return start, self._times.duration(-1)

    def _counted(self, place: int) -> tuple[Fraction, Fraction]:
        """By the frame's place; what is beyond the last packet follows it."""
        starts, base = self._times.starts, self._times.base
        if place < len(starts):
            return starts[place] * base, self._times.duration(place)
        return self._end, self._times.duration(-1)

    def _lost_before(self, start: Fraction) -> str:
        if not self._times.told:
            return "" if self._times.whole else "some frames"
        count = bisect_left(self._times.starts, start / self._times.base)
        return f"{count} frames" if count else ""
