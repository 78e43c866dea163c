"""Augmented views of a picture or clip: numbers drawn by (seed, operation, index, view), pixels made from them alone.

A declaration (`Augmentation`) says from which ranges numbers are drawn; `draw` draws those of one view; `apply` makes
the view. Lengths are shares of the picture's sides, so that a draw suits a picture decoded at any size. Whatever a
declaration names, the order is

    crop        a box of that share of the area, of the picture's own proportions times `crop_ratio`
    flip        left to right (`flip_x`), top to bottom (`flip_y`)
    warp        about the centre: `scale` (above 1: nearer), `rotate` (degrees, counter-clockwise), then `shift_x` (to
                the right) and `shift_y` (down), in whole pixels; one cubic interpolation, `fill` where nothing was
    tone        `normalize` (lowest value to 0, highest to full scale), `brightness` (factor), `contrast` (factor about
                the mean), in one rounding
    blur        Gaussian, its sigma a share of the shorter side
    noise       Gaussian, independent, its sigma a share of full scale

Full scale is 255 for uint8, 1 for floats. A clip [t, h, w, c] takes one draw: each frame is treated alike, though noise
differs from frame to frame. View 0 is the plain picture: nothing is drawn.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec.json_model import from_json, spec, to_json

Array = npt.NDArray[Any]
Facts = Mapping[str, float]
Range = tuple[float, ...]

_WHOLE = ("fill", "flip_x", "flip_y", "normalize", "noise_seed")
_PLACE = (0.0, 0.0)
_SAME = (1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What may happen to a view: ranges [lowest, highest], and probabilities of what either happens or not."""

    seed: int = spec("what all draws start from", default=0, minimum=0)
    crop: Range = spec("share of the area that is kept", default=_SAME)
    crop_ratio: Range = spec(
        "the kept box's width over height, in units of the picture's own", default=_SAME
    )
    flip_x: float = spec("probability of left and right exchanged", default=0.0, minimum=0)
    flip_y: float = spec("probability of top and bottom exchanged", default=0.0, minimum=0)
    scale: Range = spec("factor of enlargement", default=_SAME)
    rotate: Range = spec("degrees, counter-clockwise", default=_PLACE)
    shift_x: Range = spec("share of the width, to the right", default=_PLACE)
    shift_y: Range = spec("share of the height, down", default=_PLACE)
    fill: int = spec("grey level 0-255 where a warp leaves nothing", default=0, minimum=0)
    normalize: float = spec(
        "probability of values stretched to the full scale", default=0.0, minimum=0
    )
    brightness: Range = spec("factor on the values", default=_SAME)
    contrast: Range = spec("factor on the distance from the mean", default=_SAME)
    blur: Range = spec("sigma as a share of the shorter side", default=_PLACE)
    noise: Range = spec("sigma as a share of full scale", default=_PLACE)


def presets() -> dict[str, Augmentation]:
    """Declarations known by name: `xray` never exchanges left and right and stays mild, `photo` does more.

    >>> presets()["xray"].flip_x
    0.0
    """
    return {
        "xray": Augmentation(
            scale=(0.95, 1.1),
            rotate=(-7.0, 7.0),
            shift_x=(-0.05, 0.05),
            shift_y=(-0.05, 0.05),
            brightness=(0.9, 1.1),
            contrast=(0.85, 1.15),
            noise=(0.0, 0.01),
        ),
        "photo": Augmentation(
            crop=(0.5, 1.0),
            crop_ratio=(0.8, 1.25),
            flip_x=0.5,
            rotate=(-10.0, 10.0),
            brightness=(0.8, 1.2),
            contrast=(0.8, 1.2),
            blur=(0.0, 0.005),
        ),
    }


def load(text: str) -> Augmentation:
    """A checked declaration from a preset's name, a JSON file's path or JSON text; UsageError names every mistake.

    >>> load('{"rotate": [-10, 10], "flip_x": 0.5}').rotate
    (-10.0, 10.0)
    """
    return presets().get(text) or from_mapping(_parsed(text))


def from_mapping(value: Any) -> Augmentation:
    """A checked declaration from its JSON form, as it stands in a file's metadata."""
    unknown = (
        sorted({*value} - {f.name for f in fields(Augmentation)}) if isinstance(value, dict) else []
    )
    if unknown:
        raise UsageError(
            "the augmentation names what is not known",
            expected=", ".join(f.name for f in fields(Augmentation)),
            found=", ".join(unknown),
            hint="Leave it out, or correct its name.",
        )
    try:
        made = from_json(value, Augmentation)
    except FormatError as error:
        raise UsageError(
            "the augmentation is not valid: " + "; ".join(map(str, error.problems)),
            hint='Write for example {"rotate": [-10, 10], "flip_x": 0.5}',
        ) from None
    if wrong := list(_mistakes(made)):
        raise UsageError(
            "the augmentation cannot be done: " + "; ".join(wrong), hint="Correct these numbers."
        )
    return made


def columns(declared: Augmentation) -> dict[str, str]:
    """The numbers that a draw holds, with their Arrow type names.

    >>> columns(Augmentation(rotate=(-5.0, 5.0)))
    {'rotate': 'float64', 'fill': 'int64'}
    """
    return {name: "int64" if name in _WHOLE else "float64" for name in _drawn(declared, 0, 1)}


def draw(declared: Augmentation, index: int, view: int) -> dict[str, float]:
    """The numbers of one view of one input; `apply` needs nothing else. Empty for view 0, the plain picture.

    Each operation has a stream of its own: adding one leaves the draws of the others as they are.

    >>> draw(Augmentation(flip_x=1.0), 7, 0), draw(Augmentation(flip_x=1.0), 7, 1)
    ({}, {'flip_x': 1})
    """
    return _drawn(declared, index, view) if view else {}


def apply(pixels: Array, facts: Facts) -> Array:
    """The view of a picture [h, w, c] or a clip [t, h, w, c], uint8 or float, that these numbers stand for.

    Equal numbers make equal bits (by one version of Pillow and numpy). Raises UsageError for other arrays.

    >>> apply(np.array([[[1], [2]]], np.uint8), {"flip_x": 1}).tolist()
    [[[2], [1]]]
    """
    if (
        pixels.ndim not in (3, 4)
        or not pixels.size
        or (pixels.dtype != np.uint8 and pixels.dtype.kind != "f")
    ):
        raise UsageError(
            "not a picture or clip",
            expected="uint8 or float [h, w, c] or [t, h, w, c]",
            found=f"{pixels.dtype} {list(pixels.shape)}",
        )
    frames = pixels if pixels.ndim == 4 else pixels[None]
    for step in (_cropped, _flipped, _warped, _toned, _blurred, _noised):
        frames = step(frames, facts)
    return np.ascontiguousarray(frames if pixels.ndim == 4 else frames[0])


def _parsed(text: str) -> Any:
    where, data = "--augment", text
    try:
        if not text.lstrip().startswith("{"):
            where, data = text, Path(text).read_text("utf-8")
        return json.loads(data)
    except OSError as error:
        raise UsageError(
            "the augmentation cannot be read",
            where,
            f"{', '.join(presets())} or a JSON file",
            error.strerror or "",
        ) from None
    except ValueError as error:
        raise UsageError("the augmentation is no JSON", where, found=str(error)) from None


def _mistakes(declared: Augmentation) -> Iterator[str]:
    value = {name: v for name, v in to_json(declared).items() if isinstance(v, list)}
    for name, pair in value.items():
        if len(pair) != 2 or pair[0] > pair[1]:
            yield f"{name} needs two numbers, the lower first"
    positive = [
        name
        for name in ("crop", "crop_ratio", "scale")
        if min(getattr(declared, name), default=1) <= 0
    ]
    yield from (f"{name} is above 0" for name in positive)
    yield from (
        f"{name} is not below 0"
        for name in ("brightness", "contrast", "blur", "noise")
        if min(getattr(declared, name), default=0) < 0
    )
    yield from (
        f"{name} is a probability, at most 1"
        for name in ("flip_x", "flip_y", "normalize")
        if getattr(declared, name) > 1
    )
    if max(declared.crop, default=0) > 1:
        yield "crop is a share, at most 1"
    if max(declared.blur, default=0) > 1:
        yield "blur is a share, at most 1"
    if declared.fill > 255:
        yield "fill is at most 255"


def _drawn(declared: Augmentation, index: int, view: int) -> dict[str, float]:
    facts: dict[str, float] = {}
    if declared.crop != _SAME or declared.crop_ratio != _SAME:
        facts |= _box(declared, _stream(declared.seed, "crop", index, view))
    for name, none in (
        ("flip_x", 0.0),
        ("flip_y", 0.0),
        ("scale", _SAME),
        ("rotate", _PLACE),
        ("shift_x", _PLACE),
        ("shift_y", _PLACE),
        ("normalize", 0.0),
        ("brightness", _SAME),
        ("contrast", _SAME),
        ("blur", _PLACE),
        ("noise", _PLACE),
    ):
        if (asked := getattr(declared, name)) != none:
            number = _stream(declared.seed, name, index, view).random()
            facts[name] = (
                _between(asked, number) if isinstance(asked, tuple) else int(number < asked)
            )
    if not facts.keys().isdisjoint(("scale", "rotate", "shift_x", "shift_y")):
        facts["fill"] = declared.fill
    if "noise" in facts:
        facts["noise_seed"] = int(
            _stream(declared.seed, "noise_seed", index, view).integers(1 << 31)
        )
    return facts


def _stream(seed: int, operation: str, index: int, view: int) -> np.random.Generator:
    words = np.random.SeedSequence([seed, zlib.crc32(operation.encode()), index, view])
    return np.random.Generator(np.random.Philox(words))


def _between(limits: Range, number: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * number


def _box(declared: Augmentation, random: np.random.Generator) -> dict[str, float]:
    area, ratio, top, left = random.random(4).tolist()
    area = _between(declared.crop, area)
    ratio = math.exp(
        _between((math.log(declared.crop_ratio[0]), math.log(declared.crop_ratio[1])), ratio)
    )
    height, width = min(math.sqrt(area / ratio), 1.0), min(math.sqrt(area * ratio), 1.0)
    return {
        "crop_top": top * (1 - height),
        "crop_left": left * (1 - width),
        "crop_height": height,
        "crop_width": width,
    }


def _cropped(frames: Array, facts: Facts) -> Array:
    if "crop_width" not in facts:
        return frames
    _, height, width, _ = frames.shape
    top, bottom = _span(height, facts["crop_top"], facts["crop_height"])
    left, right = _span(width, facts["crop_left"], facts["crop_width"])
    return frames[:, top:bottom, left:right]


def _span(side: int, start: float, length: float) -> tuple[int, int]:
    """
    >>> _span(10, 0.26, 0.5), _span(10, 0.9, 0.5), _span(1, 0.5, 0.1)
    ((3, 8), (5, 10), (0, 1))
    """
    size = min(max(round(length * side), 1), side)
    first = min(max(round(start * side), 0), side - size)
    return first, first + size


def _flipped(frames: Array, facts: Facts) -> Array:
    frames = frames[:, :, ::-1] if facts.get("flip_x") else frames
    return frames[:, ::-1] if facts.get("flip_y") else frames


def _warped(frames: Array, facts: Facts) -> Array:
    warp = [
        facts.get(name, same)
        for name, same in (("scale", 1), ("rotate", 0), ("shift_x", 0), ("shift_y", 0))
    ]
    if warp == [1, 0, 0, 0]:
        return frames
    from PIL import Image

    _, height, width, _ = frames.shape
    inverse = _inverse(width, height, *warp)
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
    """From where each pixel of the view comes, as Pillow wants it: x = a x' + b y' + c, y = d x' + e y' + f.

    >>> _inverse(10, 20, 1, 0, 0.1, 0.1)
    (1.0, -0.0, -1.0, 0.0, 1.0, -2.0)
    """
    turn = math.radians(rotate)
    a, b = (
        round(math.cos(turn), 12) / scale,
        -round(math.sin(turn), 12) / scale,
    )  # right angles stay exact
    d, e = -b, a
    x, y = width / 2 + round(shift_x * width), height / 2 + round(shift_y * height)
    return a, b, width / 2 - a * x - b * y, d, e, height / 2 - d * x - e * y


def _by_pillow(frames: Array, change: Any) -> Array:
    """Every frame changed by Pillow, in one piece where it is grey or RGB in 8 bits, else channel by channel."""
    from PIL import Image

    if frames.dtype == np.uint8 and frames.shape[3] == 3:
        return np.stack(
            [np.asarray(change(Image.fromarray(frame))) for frame in np.ascontiguousarray(frames)]
        )
    planes = frames if frames.dtype == np.uint8 else frames.astype(np.float32)
    made = [
        [
            np.asarray(change(Image.fromarray(np.ascontiguousarray(plane))))
            for plane in np.moveaxis(frame, 2, 0)
        ]
        for frame in planes
    ]
    return np.moveaxis(np.array(made), 1, 3).astype(frames.dtype)


def _toned(frames: Array, facts: Facts) -> Array:
    normalize, bright, contrast = (
        facts.get("normalize", 0),
        facts.get("brightness", 1),
        facts.get("contrast", 1),
    )
    if (normalize, bright, contrast) == (0, 1, 1):
        return frames
    values = np.arange(256.0) if frames.dtype == np.uint8 else frames.astype(np.float64)
    low, high, mean = _levels(frames)
    full = _full(frames)
    if normalize and high > low:  # a black frame stays black
        values, mean = (values - low) * full / (high - low), (mean - low) * full / (high - low)
    values = bright * (mean + contrast * (values - mean))
    if frames.dtype == np.uint8:
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)[frames]
    return values.astype(frames.dtype)


def _levels(frames: Array) -> tuple[float, float, float]:
    """Lowest value, highest value and mean."""
    if frames.dtype != np.uint8:
        return float(frames.min()), float(frames.max()), float(frames.mean(dtype=np.float64))
    counts = np.bincount(frames.reshape(-1), minlength=256)
    there = np.flatnonzero(counts)
    return float(there[0]), float(there[-1]), float(counts @ np.arange(256) / frames.size)


def _blurred(frames: Array, facts: Facts) -> Array:
    sigma = facts.get("blur", 0.0) * min(frames.shape[1:3])
    if sigma <= 0:
        return frames
    if frames.dtype != np.uint8:
        return _smooth(_smooth(frames, sigma, 1), sigma, 2)
    from PIL import ImageFilter

    return _by_pillow(frames, lambda plane: plane.filter(ImageFilter.GaussianBlur(sigma)))


def _smooth(frames: Array, sigma: float, axis: int) -> Array:
    """Floats weighed with a Gaussian along one axis; beyond the edge stands the edge's value."""
    reach = math.ceil(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    side = frames.shape[axis]
    places = np.clip(np.arange(-reach, side + reach), 0, side - 1)
    padded = np.take(frames, places, axis).astype(np.float64)
    total = sum(
        weight * np.take(padded, np.arange(at, at + side), axis)
        for at, weight in enumerate(weights.tolist())
    )
    return np.asarray(total / weights.sum()).astype(frames.dtype)


def _noised(frames: Array, facts: Facts) -> Array:
    sigma = facts.get("noise", 0.0) * _full(frames)
    if sigma <= 0:
        return frames
    random = np.random.Generator(np.random.Philox(int(facts["noise_seed"])))
    noisy = random.standard_normal(frames.shape, np.float32) * np.float32(sigma) + frames
    return (
        np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        if frames.dtype == np.uint8
        else noisy.astype(frames.dtype)
    )


def _full(frames: Array) -> float:
    return 255.0 if frames.dtype == np.uint8 else 1.0
