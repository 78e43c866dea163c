"""The pixels of an augmented view, made from its numbers alone. Whatever is declared, the order is

    crop        a box of that share of the area, of the picture's own proportions times `crop_ratio`
    flip        left to right (`flip_x`), top to bottom (`flip_y`)
    warp        about the centre: `scale` (above 1: nearer), `rotate` (degrees, counter-clockwise),
                then `shift_x` (to the right) and `shift_y` (down), in whole pixels; one cubic
                interpolation, `fill` where nothing was
    tone        `normalize` (lowest value to 0, highest to full scale), `brightness` (factor),
                `contrast` (factor about the mean), in one rounding
    blur        Gaussian, its sigma a share of the shorter side
    noise       Gaussian, independent, its sigma a share of full scale

Full scale is 255 for uint8, 1 for floats. A clip [t, h, w, c] takes one draw: each frame is treated
alike, though noise differs from frame to frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

Array = npt.NDArray[Any]
Facts = Mapping[str, float]

WARPS = ("scale", "rotate", "shift_x", "shift_y")


def changed(frames: Array, facts: Facts) -> Array:
    """Frames [t, h, w, c], uint8 or float, after every operation that `facts` has numbers for."""
    for step in (_cropped, _flipped, _warped, _toned, _blurred, _noised):
        frames = step(frames, facts)
    return frames


def _full(frames: Array) -> float:
    return 255.0 if frames.dtype == np.uint8 else 1.0


def _cropped(frames: Array, facts: Facts) -> Array:
    if "crop_width" not in facts:
        return frames
    _, height, width, _ = frames.shape
    top, bottom = _span(height, facts["crop_top"], facts["crop_height"])
    left, right = _span(width, facts["crop_left"], facts["crop_width"])
    return frames[:, top:bottom, left:right]


def _span(side: int, start: float, length: float) -> tuple[int, int]:
    """First pixel and the one after the last, at least one pixel within the side.

    >>> _span(10, 0.26, 0.5), _span(10, 0.9, 0.5), _span(1, 0.5, 0.1)
    ((3, 8), (5, 10), (0, 1))
    """
    size = _within(round(length * side), 1, side)
    first = _within(round(start * side), 0, side - size)
    return first, first + size


def _within(number: int, lowest: int, highest: int) -> int:
    return min(max(number, lowest), highest)


def _flipped(frames: Array, facts: Facts) -> Array:
    if facts.get("flip_x"):
        frames = frames[:, :, ::-1]
    if facts.get("flip_y"):
        frames = frames[:, ::-1]
    return frames


def _warped(frames: Array, facts: Facts) -> Array:
    scale = facts.get("scale", 1)
    rotate = facts.get("rotate", 0)
    shift_x = facts.get("shift_x", 0)
    shift_y = facts.get("shift_y", 0)
    if (scale, rotate, shift_x, shift_y) == (1, 0, 0, 0):
        return frames
    from PIL import Image

    _, height, width, _ = frames.shape
    inverse = _inverse(width, height, scale, rotate, shift_x, shift_y)
    fill = facts.get("fill", 0) * _full(frames) / 255

    def warped(plane: Image.Image) -> Image.Image:
        colour = fill if plane.mode == "F" else (int(fill),) * len(plane.getbands())
        return plane.transform(
            (width, height),
            Image.Transform.AFFINE,
            inverse,
            Image.Resampling.BICUBIC,
            fillcolor=colour,
        )

    return _by_pillow(frames, warped)


def _inverse(
    width: int, height: int, scale: float, rotate: float, shift_x: float, shift_y: float
) -> tuple[float, ...]:
    """From where each pixel of the view comes: x = a x' + b y' + c, y = d x' + e y' + f.

    In the order in which Pillow wants them, a to f.

    >>> _inverse(10, 20, 1, 0, 0.1, 0.1)
    (1.0, -0.0, -1.0, 0.0, 1.0, -2.0)
    """
    turn = math.radians(rotate)
    # Rounded, so that right angles stay exact.
    a = round(math.cos(turn), 12) / scale
    b = -round(math.sin(turn), 12) / scale
    d, e = -b, a
    # The centre of the picture comes to lie at (x, y) in the view, since shifts come last.
    x = width / 2 + round(shift_x * width)
    y = height / 2 + round(shift_y * height)
    c = width / 2 - a * x - b * y
    f = height / 2 - d * x - e * y
    return a, b, c, d, e, f


def _by_pillow(frames: Array, change: Callable[[Image.Image], Image.Image]) -> Array:
    """Every frame changed by Pillow: in one piece if grey or RGB in 8 bits, else by channels."""
    from PIL import Image

    def changed(pixels: Array) -> Array:
        return np.asarray(change(Image.fromarray(np.ascontiguousarray(pixels))))

    if frames.dtype == np.uint8 and frames.shape[3] == 3:
        return np.stack([changed(frame) for frame in frames])
    if frames.dtype != np.uint8:
        planes = np.moveaxis(frames.astype(np.float32), 3, 1)
    else:
        planes = np.moveaxis(frames, 3, 1)
    made = []
    for channels in planes:
        made.append([changed(plane) for plane in channels])
    return np.moveaxis(np.array(made), 1, 3).astype(frames.dtype)


def _toned(frames: Array, facts: Facts) -> Array:
    normalize = facts.get("normalize", 0)
    bright = facts.get("brightness", 1)
    contrast = facts.get("contrast", 1)
    if (normalize, bright, contrast) == (0, 1, 1):
        return frames
    eight_bits = frames.dtype == np.uint8
    # Of 8 bits only 256 values are toned, and each pixel looked up among them.
    values = np.arange(256.0) if eight_bits else frames.astype(np.float64)
    low, high, mean = _levels(frames)
    full = _full(frames)
    if normalize and high > low:  # a black frame stays black
        values = (values - low) * full / (high - low)
        mean = (mean - low) * full / (high - low)
    values = bright * (mean + contrast * (values - mean))
    if not eight_bits:
        return values.astype(frames.dtype)
    table = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return table[frames]


def _levels(frames: Array) -> tuple[float, float, float]:
    """Lowest value, highest value and mean."""
    if frames.dtype != np.uint8:
        mean = frames.mean(dtype=np.float64)
        return float(frames.min()), float(frames.max()), float(mean)
    counts = np.bincount(frames.reshape(-1), minlength=256)
    levels = np.flatnonzero(counts)
    mean = counts @ np.arange(256) / frames.size
    return float(levels[0]), float(levels[-1]), float(mean)


def _blurred(frames: Array, facts: Facts) -> Array:
    sigma = facts.get("blur", 0.0) * min(frames.shape[1:3])
    if sigma <= 0:
        return frames
    if frames.dtype != np.uint8:
        return _smooth(_smooth(frames, sigma, 1), sigma, 2)
    from PIL import ImageFilter

    gaussian = ImageFilter.GaussianBlur(sigma)
    return _by_pillow(frames, lambda plane: plane.filter(gaussian))


def _smooth(frames: Array, sigma: float, axis: int) -> Array:
    """Floats weighed with a Gaussian along one axis; beyond the edge stands the edge's value."""
    reach = math.ceil(3 * sigma)
    distances = np.arange(-reach, reach + 1) / sigma
    weights = np.exp(-0.5 * distances**2)
    side = frames.shape[axis]
    places = np.clip(np.arange(-reach, side + reach), 0, side - 1)
    padded = np.take(frames, places, axis).astype(np.float64)
    total: Any = 0
    for start, weight in enumerate(weights.tolist()):
        neighbours = np.take(padded, np.arange(start, start + side), axis)
        total = total + weight * neighbours
    return np.asarray(total / weights.sum()).astype(frames.dtype)


def _noised(frames: Array, facts: Facts) -> Array:
    sigma = facts.get("noise", 0.0) * _full(frames)
    if sigma <= 0:
        return frames
    random = np.random.Generator(np.random.Philox(int(facts["noise_seed"])))
    noise = random.standard_normal(frames.shape, np.float32) * np.float32(sigma)
    noisy = noise + frames
    if frames.dtype != np.uint8:
        return noisy.astype(frames.dtype)
    rounded: Array = np.clip(np.rint(noisy), 0, 255)
    return rounded.astype(np.uint8)
