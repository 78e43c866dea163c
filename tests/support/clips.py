"""Clips made for tests, the same bytes each time: a textured thing that moves left or right over a textured ground.

Each scene comes twice, as it is and reversed, so that what moves right in one moves left in the other, and the frames
of both are the same: no single frame, and no mean of frames, tells the direction. That holds where the codec loses
nothing (`LOSSLESS`): what a lossy one leaves behind, the first frame being its best, tells the direction to a mean.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av")

Array = np.ndarray[Any, Any]

BITEXACT = {"fflags": "+bitexact"}
OPTIONS = {
    "libx264": {"crf": "18", "preset": "veryfast"},
    "libvpx-vp9": {"crf": "24", "b:v": "0", "cpu-used": "8"},
    "mpeg4": {"qscale": "3"},
    "ffv1": {},
    "gif": {},
}
LOSSLESS = {
    "libx264": {"qp": "0", "preset": "veryfast"},
    "libvpx-vp9": {"lossless": "1", "cpu-used": "8"},
}


def texture(random: np.random.Generator, height: int, width: int, grain: int) -> Array:
    """Coloured noise of a grain in pixels, uint8 [height, width, 3]."""
    coarse = random.integers(0, 256, (-(-height // grain), -(-width // grain), 3), np.uint8)
    return coarse.repeat(grain, 0).repeat(grain, 1)[:height, :width]


def scene(seed: int, frames: int, *, height: int = 64, width: int = 96) -> Array:
    """A thing that moves to the right, uint8 [frames, height, width, 3]."""
    random = np.random.default_rng(seed)
    ground = texture(random, height, width, 4) // 2
    size = int(random.integers(height // 4, height // 2))
    thing = texture(random, size, size, 3)
    top, start = int(random.integers(0, height - size)), int(random.integers(0, width // 8))
    way = width - size - start - int(random.integers(0, width // 8))
    shown = np.repeat(ground[None], frames, 0)
    for number, picture in enumerate(shown):
        left = start + number * way // max(frames - 1, 1)
        picture[top : top + size, left : left + size] = thing
    return shown


def encode(
    frames: Array,
    *,
    fps: int = 25,
    codec: str = "libx264",
    container: str = "mp4",
    pix_fmt: str = "yuv420p",
    ticks: Sequence[int] | None = None,
    base: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """An encoded clip; `ticks` of `base` seconds say when each frame is shown, where not at a steady rate."""
    out = io.BytesIO()
    with av.open(out, "w", format=container, container_options=BITEXACT) as made:
        stream: Any = made.add_stream(
            codec, rate=fps, options=OPTIONS.get(codec, {}) if options is None else options
        )
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        stream.codec_context.time_base = base or Fraction(1, fps)
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = (
                ticks[number] if ticks else number,
                base or Fraction(1, fps),
            )
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return out.getvalue()


def turned(clip: bytes, matrix: Sequence[int]) -> bytes:
    """An mp4 whose track header says that it is to be shown by a display matrix a, b, c, d of whole numbers."""
    at = clip.index(b"tkhd") + 4 + 40  # version 0: the matrix stands 40 bytes behind the box's name
    a, b, c, d = (value << 16 for value in matrix)
    return clip[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + clip[at + 36 :]


def account(clip: bytes | Path) -> list[float]:
    """The times of all frames by PyAV's own account, in seconds from the first."""
    with av.open(io.BytesIO(clip) if isinstance(clip, bytes) else str(clip)) as opened:
        times = [
            frame.pts * frame.time_base for frame in opened.decode(video=0) if frame.pts is not None
        ]
    return [float(time - times[0]) for time in times]


def pairs(
    folder: Path,
    count: int,
    *,
    codecs: Sequence[tuple[str, str]] = (("libx264", "mp4"),),
    lengths: Sequence[int] = (12,),
    rates: Sequence[int] = (25,),
    lossless: bool = False,
    **size: int,
) -> Path:
    """`count` pairs of clips and a table `clips.csv` with file, direction, pair and split (three pairs in four train)."""
    options = LOSSLESS if lossless else OPTIONS
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["file,direction,pair,split"]
    for pair in range(count):
        (codec, container), fps = codecs[pair % len(codecs)], rates[pair % len(rates)]
        right = scene(pair, lengths[pair % len(lengths)], **size)
        for direction, shown in (("right", right), ("left", right[::-1])):
            # The name tells nothing of the direction: names sort, and folds are dealt by order.
            name = f"{pair:04d}{'ab'[(direction == 'left') ^ (pair % 2)]}.{container}"
            (folder / name).write_bytes(
                encode(
                    shown, fps=fps, codec=codec, container=_muxer(container), options=options[codec]
                )
            )
            lines.append(f"{name},{direction},{pair},{'train' if pair % 4 else 'test'}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return folder


def _muxer(container: str) -> str:
    return {"mkv": "matroska"}.get(container, container)
