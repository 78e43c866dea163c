"""Segments of clips: the frames of [start, stop), equal whether decoding begins there or before."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from dof_arrow.errors import PictureError
from dof_arrow.media import video
from dof_arrow.media.frames import Sampling, Still, Watched, chosen
from dof_arrow.media.segment import Bounds, Segment
from dof_arrow.media.video import Video
from dof_arrow.media.video_times import Account
from tests.support import clips, numbered

F = Fraction
FORMS = [
    ("libx264", "mp4", True),
    ("libx264", "matroska", True),
    ("libx264", "mov", True),
    ("libvpx-vp9", "webm", True),
    ("libvpx", "webm", True),
    ("mjpeg", "mov", True),
    ("mpeg4", "mp4", False),
    ("libx264", "mpegts", False),
    ("libx264", "avi", False),
    ("ffv1", "matroska", False),
]


def encoded(codec: str, container: str, count: int = 40) -> bytes:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    return numbered.clip(count, codec=codec, container=container, pix_fmt=pix_fmt)


def shown(stills: Sequence[Still]) -> list[tuple[Fraction, Fraction, bytes]]:
    return [(still.start, still.stop, still.pixels().tobytes()) for still in stills]


@pytest.mark.parametrize(("codec", "container", "entered"), FORMS)
def test_entered_at_a_key_frame_or_not_the_frames_are_equal(
    codec: str, container: str, entered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip"
    path.write_bytes(encoded(codec, container))
    whole = shown(list(Video(path).stills()))
    decoded: list[int] = []
    of_packet = video.decoded.__globals__["_of_packet"]

    def counted(packet: Any, stream: Any) -> Any:
        decoded.append(packet.size > 0)
        return of_packet(packet, stream)

    monkeypatch.setitem(video.decoded.__globals__, "_of_packet", counted)
    for since in (F(0), F("0.1"), F("0.24"), F("0.9"), F("1.2"), F("1.59"), F(7)):
        decoded.clear()
        clip = Video(path, since=since)
        found = shown(list(clip.stills()))
        assert found == whole[-len(found) :] and clip.facts == Video(path).facts
        assert [each[:2] for each in found if each[1] > since] == [
            (still.start, still.stop) for still in clip.times() if still.stop > since
        ]
        # All that is shown from `since` on is there; what is not needed is mostly not decoded.
        assert [each for each in whole if each[1] > since] == [
            each for each in found if each[1] > since
        ]
        if entered and since >= F("0.9"):
            assert sum(decoded) <= 40 - 18 + 4  # the first frame tells the facts


@pytest.mark.parametrize("fps", [None, 25, 10, 7.5, 60])
@pytest.mark.parametrize(("start", "stop"), [("0", "0.4"), ("0.24", "0.6"), ("0.25", "0.26")])
def test_frames_by_the_definition(start: str, stop: str, fps: float | None, tmp_path: Path) -> None:
    path = numbered.write(tmp_path / "c.mp4")
    rate = None if fps is None else F(fps)
    times = [F(k, 25) for k in range(40)]
    expected = list(numbered.within(times, F(40, 25), F(start), F(stop), rate))
    segment = Segment(Video(path, since=F(start)), Bounds(F(start), F(stop)))
    if not expected:
        with pytest.raises(PictureError, match="no frame appears within"):
            list(Watched(segment, Sampling(fps=fps), F(start)))
        return
    seen = list(Watched(segment, Sampling(fps=fps), F(start)))
    assert [numbered.number(frame.pixels) for frame in seen] == [k for k, _ in expected]
    assert [frame.time for frame in seen] == [float(time) for _, time in expected]
    taken = chosen(segment.times(), Sampling(fps=fps))
    assert [F(start) + time for _, time, _ in taken] == [time for _, time in expected]


def test_segments_side_by_side_are_the_whole(tmp_path: Path) -> None:
    """Uneven times, bounds between frames: no frame is lost, none comes twice."""
    ticks = [0, 40, 41, 90, 200, 203, 400, 640, 641, 900, 1300, 1400]
    path = numbered.write(
        tmp_path / "c.mkv", 12, container="matroska", ticks=ticks, base=F(1, 1000)
    )
    whole = [(frame.time, frame.pixels.tobytes()) for frame in Watched(Video(path))]
    cuts = [F(0), F("0.0405"), F("0.2"), F("0.5"), F("0.9"), None]
    parts = []
    for start, stop in pairwise(cuts):
        assert start is not None
        segment = Segment(Video(path, since=start), Bounds(start, stop))
        parts += [(f.time, f.pixels.tobytes()) for f in Watched(segment, begin=start)]
    assert parts == whole


@pytest.mark.parametrize(
    ("bounds", "said"),
    [("2", "starts where the clip is over"), ("1,1.7", "ends behind"), ("5,6", "over")],
)
@pytest.mark.parametrize("on_break", ["fail", "keep"])
def test_segments_beyond_the_end(bounds: str, said: str, on_break: Any, tmp_path: Path) -> None:
    path = numbered.write(tmp_path / "c.mp4")
    its = Bounds.parse(bounds)
    segment = Segment(Video(path, since=its.start), its)
    with pytest.raises(PictureError, match=said) as told:
        list(Watched(segment, Sampling(on_break=on_break), its.start))
    assert told.value.rule == "segment" and "1.6 seconds" in str(told.value)


def test_decoding_that_goes_astray_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account that does not fit what is decoded: the frames are those from the start."""
    path = numbered.write(tmp_path / "c.mp4")
    whole = shown(list(Video(path).stills()))
    account = Video(path, since=F(1))._account(damaged=True)
    entry = account.entry(F(1))
    assert entry is not None and 0 < entry.place <= 25

    for lost in (entry.place, entry.place + 3, 39):
        asked: list[int] = []

        def is_at(
            self: Account,
            place: int,
            frame: Any,
            lost: int = lost,
            asked: list[int] = asked,
        ) -> bool:
            asked.append(place)
            return place != lost

        monkeypatch.setattr(Account, "is_at", is_at)
        assert shown(list(Video(path, since=F(1)).stills())) == whole[entry.place :]
        assert asked == [*range(entry.place, lost + 1)]


def test_an_open_group_is_not_entered(tmp_path: Path) -> None:
    """Key frames that are no IDR pictures, as of open groups and of gradual refresh."""
    for options in ("open-gop=1:keyint=6:bframes=2", "intra-refresh=1:keyint=6"):
        data = clips.encode(
            clips.scene(1, 40, height=32, width=48),
            options={"crf": "23", "x264-params": options},
        )
        path = tmp_path / "c.mp4"
        path.write_bytes(data)
        whole = shown(list(Video(path).stills()))
        for since in (F("0.5"), F("1.3")):
            found = shown(list(Video(path, since=since).stills()))
            assert found == whole[-len(found) :]


def test_bounds_are_written_exactly() -> None:
    for text in ("0", "1.5,3", "0.05,90", "3600.001,3600.002"):
        assert str(Bounds.parse(text)) == text
    assert str(Bounds(F(1, 8), F(5, 2))) == "0.125,2.5"
    assert np.all([Bounds.parse(str(Bounds(F(k, 1000)))).start == F(k, 1000) for k in range(50)])
