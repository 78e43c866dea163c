"""What a picture was like before it was decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """What a stored picture is like.

    Width and height in pixels before turning, Pillow mode, bits a channel, format, number of
    frames, EXIF orientation 1 to 8 (1 where absent or invalid), size in bytes. `low` and `high` are
    the values that became 0 and 255, where the picture's type did not say so.
    """

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
