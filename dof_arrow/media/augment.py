"""Augmented views of a picture or clip: numbers drawn by (seed, operation, index, view).

A declaration (`Augmentation`) says from which ranges numbers are drawn; `draw` draws those of one
view; `apply` makes the view from them alone (`media.augment_pixels` has the operations and their
order). Lengths are shares of the picture's sides, so that a draw suits a picture decoded at any
size. View 0 is the plain picture: nothing is drawn.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec.json_model import from_json, parsed, spec, to_json
from dof_arrow.media.augment_pixels import WARPS, Array, Facts, changed
from dof_arrow.system import open_file

Range = tuple[float, ...]

_WHOLE = ("fill", "flip_x", "flip_y", "normalize", "noise_seed")
_PROBABILITIES = ("flip_x", "flip_y", "normalize")
_PLACE = (0.0, 0.0)
_SAME = (1.0, 1.0)
# What each operation stands at when it is not declared, in the order in which numbers are drawn.
_UNDECLARED: dict[str, float | Range] = {
    "flip_x": 0.0,
    "flip_y": 0.0,
    "scale": _SAME,
    "rotate": _PLACE,
    "shift_x": _PLACE,
    "shift_y": _PLACE,
    "normalize": 0.0,
    "brightness": _SAME,
    "contrast": _SAME,
    "blur": _PLACE,
    "noise": _PLACE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What may happen to a view: ranges [lowest, highest], and probabilities of yes or no."""

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
    """Declarations known by name.

    `xray` stays mild and never exchanges left and right; `photo` does more.

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
    """A checked declaration from a preset's name, a JSON file's path or JSON text.

    Raises UsageError, which names every mistake.

    >>> load('{"rotate": [-10, 10], "flip_x": 0.5}').rotate
    (-10.0, 10.0)
    """
    return presets().get(text) or from_mapping(_parsed(text))


def from_mapping(value: Any) -> Augmentation:
    """A checked declaration from its JSON form, as it stands in a file's metadata.

    Raises UsageError, which names every mistake.
    """
    if isinstance(value, dict):
        _check_names(value)
    try:
        made = from_json(value, Augmentation)
    except FormatError as error:
        raise UsageError(
            "the augmentation is not valid: " + "; ".join(map(str, error.problems)),
            hint='Write for example {"rotate": [-10, 10], "flip_x": 0.5}',
        ) from None
    # What is valid one by one may still make no picture: all such mistakes are told at once.
    wrong = list(_mistakes(made))
    if wrong:
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
    """The numbers of one view of one input; `apply` needs nothing else.

    Empty for view 0, the plain picture. Each operation has a stream of its own: adding one leaves
    the draws of the others as they are.

    >>> draw(Augmentation(flip_x=1.0), 7, 0), draw(Augmentation(flip_x=1.0), 7, 1)
    ({}, {'flip_x': 1})
    """
    return _drawn(declared, index, view) if view else {}


def apply(pixels: Array, facts: Facts) -> Array:
    """The view of a picture [h, w, c] or a clip [t, h, w, c], uint8 or float, by a draw's numbers.

    Equal numbers make equal bits (by one version of Pillow and numpy). Raises UsageError for other
    arrays.

    >>> apply(np.array([[[1], [2]]], np.uint8), {"flip_x": 1}).tolist()
    [[[2], [1]]]
    """
    fits = pixels.ndim in (3, 4) and pixels.size
    if not fits or (pixels.dtype != np.uint8 and pixels.dtype.kind != "f"):
        raise UsageError(
            "not a picture or clip",
            expected="uint8 or float [h, w, c] or [t, h, w, c]",
            found=f"{pixels.dtype} {list(pixels.shape)}",
        )
    if pixels.ndim == 4:
        return np.ascontiguousarray(changed(pixels, facts))
    return np.ascontiguousarray(changed(pixels[None], facts)[0])


def _parsed(text: str) -> Any:
    where = "--augment"
    data = text
    try:
        if not text.lstrip().startswith("{"):
            where = text
            with open_file(text) as file:
                data = file.read().decode("utf-8")
        return parsed(data)
    except OSError as error:
        raise UsageError(
            "the augmentation cannot be read",
            where,
            f"{', '.join(presets())} or a JSON file",
            error.strerror or "",
        ) from None
    except ValueError as error:
        raise UsageError("the augmentation is no JSON", where, found=str(error)) from None


def _check_names(value: dict[str, Any]) -> None:
    known = [field.name for field in fields(Augmentation)]
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise UsageError(
            "the augmentation names what is not known",
            expected=", ".join(known),
            found=", ".join(unknown),
            hint="Leave it out, or correct its name.",
        )


def _mistakes(declared: Augmentation) -> Iterator[str]:
    for name, value in to_json(declared).items():
        if isinstance(value, list) and (len(value) != 2 or value[0] > value[1]):
            yield f"{name} needs two numbers, the lower first"
    for name in ("crop", "crop_ratio", "scale"):
        if min(getattr(declared, name), default=1) <= 0:
            yield f"{name} is above 0"
    for name in ("brightness", "contrast", "blur", "noise"):
        if min(getattr(declared, name), default=0) < 0:
            yield f"{name} is not below 0"
    for name in _PROBABILITIES:
        if getattr(declared, name) > 1:
            yield f"{name} is a probability, at most 1"
    for name in ("crop", "blur"):
        if max(getattr(declared, name), default=0) > 1:
            yield f"{name} is a share, at most 1"
    if declared.fill > 255:
        yield "fill is at most 255"


def _drawn(declared: Augmentation, index: int, view: int) -> dict[str, float]:
    def stream(operation: str) -> np.random.Generator:
        return _stream(declared.seed, operation, index, view)

    facts: dict[str, float] = {}
    if declared.crop != _SAME or declared.crop_ratio != _SAME:
        facts |= _box(declared, stream("crop"))
    for name, undeclared in _UNDECLARED.items():
        asked = getattr(declared, name)
        if asked == undeclared:
            continue
        # One draw a stream, so that the number does not depend on what else is declared.
        number = stream(name).random()
        if name in _PROBABILITIES:
            facts[name] = int(number < asked)
        else:
            facts[name] = _between(asked, number)
    if not facts.keys().isdisjoint(WARPS):
        facts["fill"] = declared.fill
    if "noise" in facts:
        facts["noise_seed"] = int(stream("noise_seed").integers(1 << 31))
    return facts


def _stream(seed: int, operation: str, index: int, view: int) -> np.random.Generator:
    words = [seed, zlib.crc32(operation.encode()), index, view]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


def _between(limits: Range, number: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * number


def _box(declared: Augmentation, random: np.random.Generator) -> dict[str, float]:
    """A box of the declared area and proportions, anywhere within the picture; all in shares."""
    area_number, ratio_number, top, left = random.random(4).tolist()
    area = _between(declared.crop, area_number)
    # Between logarithms, so that twice as wide is as likely as twice as high.
    narrow, wide = declared.crop_ratio
    ratio = math.exp(_between((math.log(narrow), math.log(wide)), ratio_number))
    height = min(math.sqrt(area / ratio), 1.0)
    width = min(math.sqrt(area * ratio), 1.0)
    return {
        "crop_top": top * (1 - height),
        "crop_left": left * (1 - width),
        "crop_height": height,
        "crop_width": width,
    }
