"""Arrays of numbers -> uint8 pixels.

How values become 8 bits says `media.intensity`. Axes: [h, w], [h, w, c] or, where the last axis is
none of 1 to 4 long and the first is, [c, h, w]. Channels: grey, grey with alpha, RGB, RGB with
alpha; what is transparent lies on white.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import PictureError
from dof_arrow.media.bounds import MEMORY, check_pixels
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.intensity import Pixels, to_bytes

Array = npt.NDArray[Any]

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def decode(
    values: Array,
    *,
    mode: Literal["RGB", "L"] = "RGB",
    format: str = "array",
    grey_once: bool = False,
) -> tuple[Pixels, PictureFacts]:
    """Pixels uint8 [h, w, 3] or [h, w, 1], C-contiguous, and what the array was like.

    `grey_once` as in `image.decode`. Raises PictureError for other arrays.

    >>> pixels, facts = decode(np.array([[0, 4095]], np.uint16), mode="L")
    >>> pixels.ravel().tolist(), facts.mode, facts.bits
    ([0, 255], 'L', 16)
    """
    picture = channels_last(values)
    height, width, channels = picture.shape
    facts = PictureFacts(
        width=width,
        height=height,
        mode=_MODES[channels],
        bits=1 if values.dtype == np.bool_ else 8 * values.dtype.itemsize,
        format=format,
        frames=1,
        orientation=1,
        bytes=values.nbytes,
    )
    return in_mode(to_bytes(picture), mode, grey_once=grey_once), facts


def check_size(shape: Sequence[int], dtype: np.dtype[Any], max_pixels: int | None = None) -> None:
    """Refuse an array of too many pixels for a picture, before its values are read.

    By default those that would take more than `bounds.MEMORY` bytes are too many.

    >>> check_size((9, 9), np.dtype(np.uint8), max_pixels=81)
    """
    if len(shape) == 2:
        height, width, channels = *shape, 1
    elif len(shape) == 3 and (shape[2] in _MODES or shape[0] not in _MODES):
        height, width, channels = shape
    elif len(shape) == 3:
        channels, height, width = shape
    else:
        return  # it is no picture, which is said when it is decoded
    # Values of other types than uint8 are scaled as float64.
    working = 0 if dtype.itemsize == 1 else 8
    cost = channels * (dtype.itemsize + working) + 4
    check_pixels((width, height), MEMORY // cost if max_pixels is None else max_pixels)


def channels_last(values: Array) -> Array:
    """A picture [h, w, c] with 1 to 4 channels; PictureError for other arrays.

    >>> channels_last(np.zeros((3, 20, 10))).shape, channels_last(np.zeros((20, 10))).shape
    ((20, 10, 3), (20, 10, 1))
    """
    picture = values[..., None] if values.ndim == 2 else values
    # Channels first, as torch has them, but only where the last axis cannot be channels.
    if picture.ndim == 3 and picture.shape[2] not in _MODES and picture.shape[0] in _MODES:
        picture = np.moveaxis(picture, 0, 2)
    if picture.ndim != 3 or picture.shape[2] not in _MODES or not picture.size:
        raise PictureError(
            "an array that is no picture",
            expected="[h, w], [h, w, c] or [c, h, w], 1 to 4 channels",
            found=str(list(values.shape)),
            rule="unsupported-mode",
        )
    return picture


def in_mode(picture: Pixels, mode: Literal["RGB", "L"], *, grey_once: bool = False) -> Pixels:
    """uint8 pixels [h, w, 1 to 4] as RGB [h, w, 3] or grey [h, w, 1], without alpha.

    `grey_once` as in `image.decode`.

    >>> in_mode(np.array([[[9, 0]]], np.uint8), "RGB").tolist()
    [[[255, 255, 255]]]
    """
    height, width, channels = picture.shape
    if channels in (2, 4):
        picture = _on_white(picture[:, :, :-1], picture[:, :, -1:])
    if mode == "L" and channels > 2:
        return _grey(picture)
    if grey_once and mode == "RGB" and picture.shape[2] == 1:
        return thrice(picture)
    # Grey is repeated for RGB; other pictures have as many channels as are wanted.
    wanted = 1 if mode == "L" else 3
    repeated = np.broadcast_to(picture, (height, width, wanted))
    return np.ascontiguousarray(repeated)


def thrice(grey: Pixels) -> Pixels:
    """Grey [h, w, 1] as RGB [h, w, 3] whose channels are one in memory; nobody can write to it.

    >>> thrice(np.array([[[7]]], np.uint8)).tolist()
    [[[7, 7, 7]]]
    """
    return np.broadcast_to(np.ascontiguousarray(grey), (*grey.shape[:2], 3))


def is_thrice(pixels: Pixels) -> bool:
    """Whether `thrice` made these pixels, or what has the same channel three times as they have."""
    return pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.strides[2] == 0


def _grey(picture: Pixels) -> Pixels:
    """RGB as grey [h, w, 1]; Pillow's weights, which stored pictures get too."""
    from PIL import Image

    colour = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(colour.convert("L"))[..., None]


def _on_white(picture: Pixels, alpha: Pixels) -> Pixels:
    share = alpha / np.float32(255)
    white = 255 * (1 - share)
    return np.rint(picture * share + white).astype(np.uint8)
