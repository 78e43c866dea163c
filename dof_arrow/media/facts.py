"""What a picture was like before it was decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """What a stored picture is like: size before turning (pixels), Pillow mode, bits a channel, format, frames,
    EXIF orientation 1-8 (1 where absent or invalid), size in bytes; `low` and `high` are the values that became 0 and
    255 where the picture did not say so by its type."""

    width: int
    height: int
    mode: str
    bits: int
    format: str
    frames: int
    orientation: int
    bytes: int
    low: float | None = None
    high: float | None = None
