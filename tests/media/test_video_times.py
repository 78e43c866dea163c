"""Every clip's frames come in their order and at their times, or with the reason why not.

Frames carry their number as a grey level, so that order and times are checked against what was
written, by extraction's reader, by `times`, by `dof.pictures`' reader; ffprobe is a witness.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dof_arrow.errors import PictureError
from dof_arrow.format.spec.preprocessing import Preprocessing
from dof_arrow.loader.raw.picture_form import PictureForm
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import Sampling, Watched, chosen
from dof_arrow.media.video import Video
from dof_arrow.media.video_times import Account, Clock
from dof_arrow.sources.sample import Sample

av = pytest.importorskip("av")

B_FRAMES = {"bf": "2", "qp": "4", "x264-params": "b-adapt=0:keyint=6:scenecut=0:open-gop=0"}
HEVC = {"x265-params": "bframes=2:b-adapt=0:keyint=50:qp=4:log-level=none"}
OPTIONS = {"libx264": B_FRAMES, "libx265": HEVC}
WIDTH, HEIGHT = 64, 48
COUNT = 12

KINDS = [
    *[("libx264", name) for name in ("mp4", "mov", "matroska", "avi", "mpegts", "flv", "nut")],
    *[("libx264", name) for name in ("mxf", "asf", "h264")],
    *[("libx265", name) for name in ("mp4", "mpegts", "hevc")],
    *[("mpeg4", name) for name in ("avi", "mp4", "matroska")],
    *[("mpeg2video", name) for name in ("mpegts", "mpeg", "mxf")],
    *[("libvpx-vp9", name) for name in ("webm", "ivf")],
    *[("ffv1", name) for name in ("avi", "nut")],
    *[("mjpeg", name) for name in ("avi", "mov")],
    ("wmv2", "asf"),
    ("flv", "flv"),
]


def grey(number: int, width: int = WIDTH, height: int = HEIGHT) -> Any:
    """A frame whose luma tells its number."""
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = 16 + 10 * number
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def encoded(
    codec: str = "libx264",
    container: str = "mp4",
    *,
    count: int = COUNT,
    rate: Any = 25,
    first: int = 0,
    ticks: Sequence[int] | None = None,
    base: Fraction | None = None,
    options: dict[str, str] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    **container_options: str,
) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=container_options) as made:
        stream: Any = made.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = OPTIONS.get(codec, {}) if options is None else options
        stream.codec_context.thread_count = 1
        if codec in ("mpeg4", "mpeg2video"):
            stream.codec_context.max_b_frames = 2
        stream.codec_context.gop_size = 12
        stream.bit_rate = 2_000_000
        if base:
            stream.codec_context.time_base = base
        for number in range(count):
            frame = grey(number, *size)
            frame.pts = ticks[number] if ticks else number + first
            frame.time_base = base or 1 / Fraction(rate)
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return file.getvalue()


def remuxed(
    clip: bytes, container: str, keep: Callable[[int, Any], bool] = lambda number, packet: True
) -> bytes:
    """The same packets, or some of them, in another container."""
    file = io.BytesIO()
    with av.open(io.BytesIO(clip)) as source, av.open(file, "w", format=container) as made:
        stream = made.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.size and keep(number, packet):
                packet.stream = stream
                made.mux(packet)
    return file.getvalue()


def number_of(pixels: np.ndarray[Any, Any]) -> int:
    return round(float(pixels[:, :, 0].mean()) * 219 / 255 / 10)


def seen(clip: bytes | Path, **sampling: Any) -> list[tuple[float, int]]:
    """Time and number of each frame as extraction and prediction see them."""
    frames = Watched(Video(clip), Sampling(**sampling))
    return [(round(frame.time, 5), number_of(frame.pixels)) for frame in frames]


def counted(clip: bytes | Path, **sampling: Any) -> list[float]:
    """Times by the packets alone."""
    taken = chosen(Video(clip).times(), Sampling(**sampling))
    return [round(float(time), 5) for _, time, _ in taken]


def pictured(clip: bytes, frames: int | None, **sampling: Any) -> list[int]:
    """Numbers of the frames that `dof.pictures` gives."""
    wanted = Preprocessing(mode="RGB", fit="squash", resize=(HEIGHT, WIDTH))
    length = frames or 64
    form = PictureForm(
        wanted=wanted,
        shape=(length, HEIGHT, WIDTH, 3),
        dtype="uint8",
        reading=ReadingOptions(),
        sampling=Sampling(**sampling),
        frames=frames,
    )
    out = np.zeros(form.shape, np.uint8)
    count = form.write(Sample(key="", data=clip), out, {})
    return [number_of(picture) for picture in out[:count]]


def steady(count: int = COUNT, rate: float = 25) -> list[tuple[float, int]]:
    return [(round(number / rate, 5), number) for number in range(count)]


@pytest.mark.parametrize(("codec", "container"), KINDS)
def test_order_and_times_in_every_container(codec: str, container: str) -> None:
    clip = encoded(codec, container)
    assert seen(clip) == steady()
    assert counted(clip) == [time for time, _ in steady()]


@pytest.mark.parametrize(("codec", "container"), KINDS)
def test_extraction_pictures_and_the_count_agree(codec: str, container: str) -> None:
    clip = encoded(codec, container)
    for sampling in ({}, {"fps": 10.0}, {"fps": 60.0}, {"max_frames": 5}, {"fps": 7.0}):
        frames = seen(clip, **sampling)
        assert [time for time, _ in frames] == counted(clip, **sampling)
        numbers = [number for _, number in frames]
        assert pictured(clip, None, **sampling) == numbers
        # The middle of each quarter of what is taken.
        middles = [(2 * part + 1) * len(numbers) // 8 for part in range(4)]
        assert pictured(clip, 4, **sampling) == [numbers[middle] for middle in middles]
    expected = [min(int(tick * 2.5 + 1e-9), COUNT - 1) for tick in range(5)]
    assert [number for _, number in seen(clip, fps=10.0)] == expected


@pytest.mark.parametrize("container", ["mp4", "matroska", "nut", "mpegts"])
@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(15, 2)])
def test_odd_rates(rate: Fraction, container: str) -> None:
    frames = seen(encoded(container=container, rate=rate))
    assert [number for _, number in frames] == [*range(COUNT)]
    # Matroska counts milliseconds, a transport stream 90,000 parts of a second.
    steps = {"matroska": 1e-3, "mpegts": 2 / 90_000}
    for number, (time, _) in enumerate(frames):
        assert abs(time - float(number / rate)) <= steps.get(container, 1e-5)


@pytest.mark.parametrize("container", ["mp4", "matroska", "nut"])
def test_times_that_are_not_steady(container: str) -> None:
    ticks = [0, 10, 15, 300, 301, 1000, 1001, 1500, 1700, 1710, 2000, 2500]
    clip = encoded(container=container, ticks=ticks, base=Fraction(1, 1000))
    assert seen(clip) == [(tick / 1000, number) for number, tick in enumerate(ticks)]
    assert counted(clip) == [tick / 1000 for tick in ticks]


UNEVEN = [0, 1, 2, 6, 7, 8, 9, 15]


@pytest.mark.parametrize(
    ("codec", "container"), [("mjpeg", "avi"), ("ffv1", "avi"), ("libvpx", "avi"), ("wmv2", "asf")]
)
def test_gaps_in_containers_of_steps(codec: str, container: str) -> None:
    clip = encoded(codec, container, count=8, ticks=UNEVEN)
    assert seen(clip) == [(round(tick / 25, 5), number) for number, tick in enumerate(UNEVEN)]
    assert counted(clip) == [round(tick / 25, 5) for tick in UNEVEN]


@pytest.mark.parametrize(
    ("codec", "container"), [("libx264", "avi"), ("mpeg4", "avi"), ("libx264", "asf")]
)
def test_gaps_between_reordered_frames_are_refused(codec: str, container: str) -> None:
    """Such a container knows but when packets are decoded."""
    clip = encoded(codec, container, count=8, ticks=UNEVEN)
    for read in (seen, counted):
        with pytest.raises(PictureError, match="does not say when the clip's frames are shown"):
            read(clip)


def test_gaps_in_avi_without_reordering() -> None:
    options = {"bf": "0", "qp": "4"}
    clip = encoded("libx264", "avi", count=8, ticks=UNEVEN, options=options)
    assert seen(clip) == [(round(tick / 25, 5), number) for number, tick in enumerate(UNEVEN)]
    assert counted(clip) == [round(tick / 25, 5) for tick in UNEVEN]


def test_what_an_edit_list_leaves_out_is_not_shown() -> None:
    clip = encoded(first=-5, avoid_negative_ts="disabled", options={**B_FRAMES, "g": "50"})
    expected = [(round(number / 25, 5), number + 5) for number in range(7)]
    assert seen(clip) == expected
    assert counted(clip) == [time for time, _ in expected]
    assert Video(clip).lost == ""


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "flv"])
def test_a_clip_that_begins_between_key_frames(container: str) -> None:
    clip = remuxed(encoded(), container, keep=lambda number, _: number > 0)
    with pytest.raises(PictureError, match="begins between key frames") as caught:
        seen(clip)
    assert caught.value.rule == "truncated" and "5 frames" in str(caught.value)
    with pytest.raises(PictureError, match="begins between key frames"):
        pictured(clip, 4)
    expected = [(round(number / 25, 5), number + 6) for number in range(6)]
    assert seen(clip, on_break="keep") == expected
    assert counted(clip) == [time for time, _ in expected]
    assert pictured(clip, 6, on_break="keep") == [*range(6, 12)]
    kept = Watched(Video(clip), Sampling(on_break="keep", max_frames=1))
    assert len(list(kept)) == 1 and "5 frames" in kept.broken


def test_frames_that_run_backwards_are_refused() -> None:
    times = Account([0, 40, 80], [40] * 3, Fraction(1, 1000), told=True, whole=True)
    clock = Clock(times)
    frames = [SimpleNamespace(pts=tick, time_base=times.base) for tick in (0, 80, 40)]
    assert [float(clock(frame)[0]) for frame in frames[:2]] == [0, 0.08]
    with pytest.raises(PictureError, match="run backwards"):
        clock(frames[2])


def test_fewer_frames_than_packets_without_times_are_refused() -> None:
    clock = Clock(Account([0, 1, 2], [1] * 3, Fraction(1, 25), told=False, whole=True))
    for _ in range(2):
        clock(SimpleNamespace(pts=None, time_base=None))
    with pytest.raises(PictureError, match="when frames are shown is not known"):
        clock.check_count()
    clock(SimpleNamespace(pts=None, time_base=None))
    clock.check_count()


def test_a_size_that_changes() -> None:
    small = encoded(container="h264", count=4)
    large = encoded(container="h264", count=4, size=(96, 64))
    frames = list(Watched(Video(small + large)))
    shapes = [frame.pixels.shape for frame in frames]
    assert shapes == [(48, 64, 3)] * 4 + [(64, 96, 3)] * 4
    assert [number_of(frame.pixels) for frame in frames] == [0, 1, 2, 3] * 2
    assert [frame.time for frame in frames] == [number / 25 for number in range(8)]


# Colours

PATCHES = np.array(
    [[81, 90, 200], [145, 54, 70], [41, 200, 110], [200, 60, 146], [235, 128, 128], [16, 128, 128]]
)
WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    2: (0.299, 0.114),  # none stated
}


def by_the_matrix(matrix: int, full: bool) -> np.ndarray[Any, Any]:
    """ITU-T H.273, 8.3: RGB of the patches."""
    red, blue = WEIGHTS[matrix]
    luma, cb, cr = PATCHES.astype(float).T
    if full:
        luma, cb, cr = luma / 255, (cb - 128) / 255, (cr - 128) / 255
    else:
        luma, cb, cr = (luma - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    r = luma + 2 * (1 - red) * cr
    b = luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], axis=1) * 255, 0, 255)


def patched(codec: str, form: str, matrix: int, range_: int, bits: int = 8) -> bytes:
    """A clip of the patches, 16 pixels wide each."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as made:
        stream: Any = made.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 16 * len(PATCHES), 32, form
        stream.options = {"qp": "0", "preset": "ultrafast"} if codec == "libx264" else {}
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = range_
        frame = av.VideoFrame(stream.width, stream.height, form)
        dtype = np.uint16 if bits > 8 else np.uint8
        for number, plane in enumerate(frame.planes):
            levels = PATCHES[:, number] << (bits - 8)
            line = np.repeat(levels, plane.width // len(PATCHES)).astype(dtype).tobytes()
            plane.update(line.ljust(plane.line_size, b"\0") * plane.height)
        frame.colorspace, frame.color_range, frame.pts = matrix, range_, 0
        made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return file.getvalue()


def patches(clip: bytes) -> np.ndarray[Any, Any]:
    pixels = next(iter(Watched(Video(clip)))).pixels
    return pixels[16, 8::16].astype(float)


@pytest.mark.parametrize("range_", [1, 2])
@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize(
    ("codec", "form", "bits", "off"),
    [
        ("libx264", "yuv444p", 8, 1),
        ("libx264", "yuv420p", 8, 3),
        ("libx264", "yuv422p10le", 10, 4),
        ("ffv1", "yuv444p12le", 12, 2),
    ],
)
def test_colours_by_matrix_and_range(
    codec: str, form: str, bits: int, off: int, matrix: int, range_: int
) -> None:
    found = patches(patched(codec, form, matrix, range_, bits))
    assert np.abs(found - by_the_matrix(matrix, full=range_ == 2)).max() <= off


@pytest.mark.parametrize("matrix", [8, 10])
def test_matrices_that_are_not_read_are_named(matrix: int) -> None:
    with pytest.raises(PictureError, match="matrix that is not read") as caught:
        patches(patched("ffv1", "yuv444p", matrix, 1))
    assert caught.value.rule == "unsupported-mode"


@pytest.mark.parametrize("range_", [0, 1, 2])
def test_grey_by_its_range(range_: int) -> None:
    luma = PATCHES[:, 0].astype(float)
    expected = np.clip((luma - 16) * 255 / 219, 0, 255) if range_ == 1 else luma
    found = patches(patched("ffv1", "gray", 2, range_))
    assert np.abs(found - expected[:, None]).max() <= 1


# Witnesses that need the programs of ffmpeg, which nothing else does.

needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="ffmpeg is not installed"
)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("codec", "container"),
    [kind for kind in KINDS if kind[1] in ("mp4", "matroska", "mpegts", "webm", "nut", "flv")],
)
def test_ffprobe_tells_the_same_times(codec: str, container: str, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(encoded(codec, container, rate=Fraction(25)))
    asked = ["-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "json"]
    done = subprocess.run(["ffprobe", "-v", "error", *asked, path], capture_output=True, text=True)
    times = [float(frame["pts_time"]) for frame in json.loads(done.stdout)["frames"]]
    assert np.allclose([time - times[0] for time in times], counted(path), atol=2e-3)


@needs_ffmpeg
def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    clip, cover, both = tmp_path / "a.mp4", tmp_path / "c.png", tmp_path / "b.mp4"
    clip.write_bytes(encoded())
    grey(20).to_image().save(cover)
    asked = ["-map", "1", "-map", "0", "-c", "copy", "-disposition:v:0", "attached_pic"]
    command = ["ffmpeg", "-v", "error", "-i", clip, "-i", cover, *asked, both]
    subprocess.run(command, check=True)
    assert seen(both) == steady()
    assert counted(both) == [time for time, _ in steady()]
