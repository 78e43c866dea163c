"""Encoded video is read as PyAV accounts for it, or refused with a reason.

Nothing is printed, and no other file is opened.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dof_arrow.errors import PictureError
from dof_arrow.media.frames import Frame, Sampling, Watched
from dof_arrow.media.video import Video
from tests.support import clips, making
from tests.support.shared import shared_data

KINDS = (
    ("libx264", "mp4"),
    ("libx264", "mov"),
    ("libx264", "mpegts"),
    ("libvpx-vp9", "webm"),
    ("mpeg4", "avi"),
    ("ffv1", "matroska"),
    ("flv", "flv"),
    ("mpeg2video", "mpegts"),
    ("mjpeg", "avi"),
)


def watched(clip: bytes | Path, sampling: Sampling | None = None) -> list[Frame]:
    return list(Watched(Video(clip), sampling or Sampling()))


@pytest.mark.parametrize(("codec", "container"), KINDS)
def test_frames_and_times_are_pyavs(codec: str, container: str) -> None:
    shown = clips.scene(3, 17)
    clip = clips.encode(
        shown,
        codec=codec,
        container=container,
        pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
    )
    frames = watched(clip)
    times = [frame.time for frame in frames]
    assert times == clips.account(clip) == [number / 25 for number in range(17)]
    assert [frame.number for frame in frames] == [*range(17)]
    for frame, stored in zip(frames, shown, strict=True):
        assert np.abs(frame.pixels.astype(int) - stored).mean() < 32


def test_sixty_clips_of_different_lengths_and_rates(tmp_path: Path) -> None:
    """Rows, times and counts equal PyAV's own account."""
    made = clips.pairs(
        tmp_path,
        30,
        codecs=(("libx264", "mp4"), ("libvpx-vp9", "webm"), ("mpeg4", "avi")),
        lengths=(3, 7, 12, 20, 31),
        rates=(10, 24, 25, 30),
        height=32,
        width=48,
    )
    found = sorted(path for path in made.iterdir() if path.suffix != ".csv")
    assert len(found) == 60
    for path in found:
        times = [frame.time for frame in watched(path)]
        assert times == clips.account(path) and len(times) in (3, 7, 12, 20, 31)


def test_the_clips_of_these_tests_are_the_same_bytes_each_time() -> None:
    for codec, container in KINDS[:6]:
        first, again = (
            clips.encode(clips.scene(5, 8), codec=codec, container=container) for _ in range(2)
        )
        assert first == again


def test_a_variable_frame_rate() -> None:
    ticks = [0, 10, 15, 300, 301, 1000]
    clip = clips.encode(
        clips.scene(0, 6), container="matroska", ticks=ticks, base=Fraction(1, 1000)
    )
    times = [frame.time for frame in watched(clip)]
    assert times == [tick / 1000 for tick in ticks]
    assert [frame.number for frame in watched(clip, Sampling(fps=10))] == [0, 2, 2, 3, *[4] * 6, 5]


@pytest.mark.parametrize(
    ("fps", "chosen"),
    [
        (5, [0, 5, 10, 15]),
        (25, [*range(20)]),
        (50, [k // 2 for k in range(40)]),
    ],
)
def test_fps(fps: float, chosen: list[int]) -> None:
    clip = clips.encode(clips.scene(0, 20))
    frames = watched(clip, Sampling(fps=fps))
    assert [frame.number for frame in frames] == chosen
    times = [frame.time for frame in frames]
    assert times == [tick / fps for tick in range(len(chosen))]
    assert [f.number for f in watched(clip, Sampling(fps=fps, max_frames=3))] == chosen[:3]


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
    ],
)
def test_every_display_matrix(matrix: tuple[int, ...], upright: object) -> None:
    clip = clips.encode(clips.scene(1, 4))
    seen, plain = watched(clips.turned(clip, matrix)), watched(clip)
    assert all(
        np.array_equal(a.pixels, upright(b.pixels)) for a, b in zip(seen, plain, strict=True)
    )  # type: ignore[operator]
    assert Video(clips.turned(clip, matrix)).facts.orientation > 1
    left = [f.pixels for f in Watched(Video(clips.turned(clip, matrix), orientation="ignore"))]
    assert all(np.array_equal(a, b.pixels) for a, b in zip(left, plain, strict=True))


def test_ten_bits_grey_and_transparent() -> None:
    shown = clips.scene(2, 4)
    deep = clips.encode(shown, pix_fmt="yuv420p10le")
    assert Video(deep).facts.bits == 10
    assert np.abs(watched(deep)[0].pixels.astype(int) - shown[0]).mean() < 16
    assert [f.pixels.shape for f in Watched(Video(deep, mode="L"))] == [(64, 96, 1)] * 4
    moving = clips.encode(shown, codec="gif", container="gif", pix_fmt="rgb8")
    assert [f.time for f in watched(moving)] == clips.account(moving) == [0, 0.04, 0.08, 0.12]


def test_everything_nasty_is_read_or_refused() -> None:
    """Each file's frames as PyAV has them; of the broken one those before the break."""
    folder = shared_data() / "video" / "nasty"
    found = sorted(folder.iterdir())
    assert len(found) >= 7
    for path in found:
        if path.name == "corrupted.mp4":
            continue
        assert [frame.time for frame in watched(path)] == clips.account(path)
    assert Video(folder / "h264_10bits.mp4").facts.bits == 10
    assert watched(folder / "video_90.mov")[0].pixels.shape == (568, 320, 3)
    with pytest.raises(PictureError, match="damaged") as caught:
        watched(folder / "corrupted.mp4")
    assert caught.value.rule == "truncated" and "corrupted" not in str(caught.value)
    kept = Watched(Video(folder / "corrupted.mp4"), Sampling(on_break="keep"))
    times = [frame.time for frame in kept]
    assert times == [tick / 10 for tick in range(29)] and kept.broken


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi", "flv", "mpegts"])
def test_clips_cut_short_never_pass_for_whole(container: str) -> None:
    codec = {"avi": "mpeg4", "flv": "flv"}.get(container, "libx264")
    clip = clips.encode(clips.scene(0, 60), codec=codec, container=container)
    if container == "mpegts":  # says nowhere how long it is: what there is, is the clip
        return
    for share in (0.3, 0.6, 0.8):
        with pytest.raises(PictureError):
            watched(clip[: int(len(clip) * share)])


def test_damage_anywhere_is_an_error_or_frames_never_a_crash() -> None:
    clip = clips.encode(clips.scene(0, 12))
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(clip)
        for at in random.integers(0, len(clip), 8):
            damaged[at] ^= 1 << int(random.integers(8))
        try:
            outcomes.add(len(watched(bytes(damaged))) > 0)
        except PictureError as error:
            assert error.rule in (
                "undecodable",
                "unsupported-format",
                "truncated",
                "too-large",
                "unsupported-mode",
            )
            outcomes.add(False)
    assert outcomes == {True, False}


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "undecodable"),
        (b"no video at all", "undecodable"),
        (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
            "undecodable",
        ),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "undecodable"),
    ],
)
def test_what_is_no_video_or_leads_elsewhere(data: bytes, rule: str) -> None:
    with pytest.raises(PictureError) as caught:
        watched(data)
    assert caught.value.rule == rule


def test_the_number_of_pixels_is_bounded(tmp_path: Path) -> None:
    clip = clips.encode(clips.scene(0, 3))
    with pytest.raises(PictureError, match="too many pixels") as caught:
        list(Watched(Video(clip, max_pixels=1000)))
    assert caught.value.rule == "too-large"
    bomb = (
        b"GIF89a"
        + (16_000).to_bytes(2, "little") * 2
        + b"\0\0\0,\0\0\0\0"
        + (16_000).to_bytes(2, "little") * 2
    )
    with pytest.raises(PictureError):
        watched(bomb + b"\0\2\2\4\1\0;")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PictureError) as caught:
        watched(tmp_path / "absent.mp4")
    assert caught.value.rule == "missing" and "absent" not in str(caught.value)


_NOISE = """
import sys
from pathlib import Path
from dof_arrow.media.frames import Watched
from dof_arrow.errors import DofError
from dof_arrow.media.video import Video
for path in map(Path, sys.argv[1:]):
    data = path.read_bytes()
    half = len(data) // 2
    for clip in (data, data[:half], data[:half] + bytes(100) + data[half + 100 :]):
        try:
            list(Watched(Video(clip)))
        except DofError:
            pass
"""


def test_libav_prints_nothing(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(clips.encode(clips.scene(0, 12)))
    done = making.run(_NOISE, clip, *sorted((shared_data() / "video" / "nasty").iterdir()))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


_PEAK = """
import sys
from pathlib import Path
from dof_arrow.media.frames import Watched
from dof_arrow.media.video import Video
assert sum(1 for _ in Watched(Video(Path(sys.argv[1])))) == int(sys.argv[2])
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    shown, peaks = clips.scene(0, 50, height=240, width=320), []
    for times in (8, 32):
        clip = tmp_path / f"{times}.mp4"
        clip.write_bytes(clips.encode(np.tile(shown, (times, 1, 1, 1))))
        done = making.run(_PEAK, clip, 50 * times)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 8 << 10  # KiB; the frames between are 264 MiB
