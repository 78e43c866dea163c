"""The eight EXIF orientations (EXIF 2.3, tag 0x0112): how stored pixels are turned upright."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

TAG = 274
UPRIGHT = 1
# Orientations from here on are stored lying: width and height change places.
LYING = 5

_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
# A quarter turn is undone by one the other way; every other orientation undoes itself.
_UNDONE_BY = {6: 8, 8: 6}


def exists(value: object) -> bool:
    """Whether a value that stands in a file is an orientation."""
    return value in _TURNS


def undoing(orientation: int) -> int:
    """The orientation that turns upright pixels back to how they are stored.

    >>> undoing(6), undoing(5)
    (8, 5)
    """
    return _UNDONE_BY.get(orientation, orientation)


def upright(stored: Pixels, orientation: int) -> Pixels:
    """A view of stored pixels [h, w, ...] in which the picture is upright.

    >>> upright(np.array([[1, 2]]), 6).tolist()
    [[1], [2]]
    """
    return _TURNS[orientation](stored)


def as_stored(upright: Pixels, orientation: int) -> Pixels:
    """A view of upright pixels, into which stored rows can be written as they come."""
    return _TURNS[undoing(orientation)](upright)
