"""Clips whose frames carry their number: a grey level that survives any codec."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import clips

Array = np.ndarray[Any, Any]

STEP = 4  # grey levels from frame to frame
GOP = {  # a key frame each six frames, and B frames where the codec has them
    "libx264": {"crf": "18", "preset": "veryfast", "g": "6", "keyint_min": "6", "bf": "2"},
    "libvpx-vp9": {"crf": "20", "b:v": "0", "cpu-used": "8", "g": "6"},
    "libvpx": {"crf": "10", "b:v": "1M", "cpu-used": "8", "g": "6"},
    "mpeg4": {"qscale": "2", "g": "6"},
    "mjpeg": {"qscale": "2"},
    "ffv1": {},
}


def frames(count: int, *, height: int = 32, width: int = 48) -> Array:
    """Frames of one grey level each, uint8 [count, height, width, 3]."""
    levels = 16 + STEP * np.arange(count, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def clip(count: int = 40, **how: Any) -> bytes:
    """A clip of such frames; `how` as `clips.encode` takes it."""
    codec = how.get("codec", "libx264")
    return clips.encode(frames(count), **{"options": GOP[codec], **how})


def number(pixels: Array) -> int:
    """The number that a frame carries."""
    return round((float(pixels.mean()) - 16) / STEP)


def write(path: Path, count: int = 40, **how: Any) -> Path:
    """The clip as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(clip(count, **how))
    return path


def within(
    times: list[Fraction],
    end: Fraction,
    start: Fraction,
    stop: Fraction | None,
    fps: Fraction | None,
) -> Iterator[tuple[int, Fraction]]:
    """The frames of [start, stop) and their times, by the definition: a reference written apart."""
    stop = end if stop is None else stop
    if fps is None:
        yield from ((k, time) for k, time in enumerate(times) if start <= time < stop)
        return
    tick = 0
    while start + tick / fps < stop:
        time = start + tick / fps
        yield max(k for k, at in enumerate(times) if at <= time), time
        tick += 1
