"""How large a picture may be."""

from __future__ import annotations

from dof_arrow.errors import PictureError

MEMORY = 512 << 20  # bytes that decoding one picture may take


def check_pixels(size: tuple[int, int], most: int) -> None:
    """Refuse a picture of more than `most` pixels; `size` is its width and height."""
    width, height = size
    if width * height > most:
        raise PictureError(
            "too many pixels",
            expected=f"at most {most}",
            rule="too-large",
            found=f"{width} x {height}",
            hint="Allow more with --max-pixels N.",
        )
