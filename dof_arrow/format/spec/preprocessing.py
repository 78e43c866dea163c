"""Preprocessing as declared: presets, JSON, and what a declaration must keep to (SPEC 4.4)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from dof_arrow.errors import FormatError, UsageError
from dof_arrow.format.spec import metadata
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.system import open_file

Fit = Literal["crop", "pad", "squash", "none"]
Decode = Literal["full", "reduced"]

MAX_SIDE = 1 << 13
LUMA = (0.299, 0.587, 0.114)  # the shares of red, green and blue in grey

_IMAGENET: dict[str, Any] = {
    "scale": 1 / 255,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
_CLIP: dict[str, Any] = {
    "scale": 1 / 255,
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}


def presets() -> dict[str, Preprocessing]:
    """The declarations known by name, as the model families of that name were trained.

    >>> presets()["imagenet"].crop
    (224, 224)
    """
    return {
        "imagenet": _square(256, 224, **_IMAGENET),
        "imagenet-cubic": _square(256, 224, interpolation="cubic", **_IMAGENET),
        "clip": _square(224, 224, interpolation="cubic", **_CLIP),
        "caffe": _square(256, 224, channels="BGR", mean=(104.0, 117.0, 123.0)),
        "inception": _square(342, 299, scale=2 / 255, mean=(1.0, 1.0, 1.0)),
        "vit": Preprocessing(
            mode="RGB", fit="squash", resize=(224, 224), scale=2 / 255, mean=(1.0, 1.0, 1.0)
        ),
        "xray": _square(224, 224, mode="L", channels="L", scale=2048 / 255, mean=(1024.0,)),
        "unit": _square(256, 224, scale=1 / 255),
        "raw": _square(256, 224),
    }


def load_spec(text: str, *, fit: Fit | None = None) -> Preprocessing:
    """A checked declaration, from a preset's name, a JSON file's path or JSON text.

    `fit` changes only how pictures are fitted into the final size.

    Raises UsageError for an unknown name, and for JSON that is wrong, naming every mistake.

    >>> load_spec('{"mode": "RGB", "fit": "none"}').fit
    'none'
    >>> load_spec("imagenet", fit="pad").resize
    (224, 224)
    """
    spec = presets().get(text)
    if spec is None:
        spec = _from_json(*_json_bytes(text))
    if fit:
        spec = with_fit(spec, fit)
    check(spec)
    return spec


def with_fit(spec: Preprocessing, fit: Fit) -> Preprocessing:
    """The same declaration with another way to fit a picture into the same final size.

    >>> with_fit(presets()["imagenet"], "squash").resize
    (224, 224)
    """
    if fit == spec.fit:
        return spec
    size = output_size(spec)
    if fit == "none":
        return dataclasses.replace(spec, fit="none", resize=(), crop=(), as_is=False)
    if size is None:
        raise UsageError(
            "a picture left as it is has no size to fit",
            expected='"resize" in the preprocessing',
            hint=f"Give the sizes: --preprocess '{as_text(with_size(spec, 224, 224))}'",
        )
    crop = () if fit == "squash" else size
    return dataclasses.replace(spec, fit=fit, resize=size, crop=crop, as_is=False)


def with_decode(spec: Preprocessing, decode: Decode) -> Preprocessing:
    """The same declaration with JPEGs decoded in full, or reduced: as small as the resize allows.

    >>> with_decode(presets()["imagenet"], "reduced").draft
    256
    """
    if decode == "full":
        return dataclasses.replace(spec, draft=None)
    if decode != "reduced":
        raise UsageError("no such decoding", expected="full or reduced", found=str(decode))
    if not spec.resize:
        raise UsageError(
            "a picture left as it is cannot be decoded smaller",
            expected='"resize" in the preprocessing',
            hint="Leave --decode out, or give it a --fit that resizes.",
        )
    # The shorter side stays as long as the longest of the box: nothing is ever enlarged for this.
    return dataclasses.replace(spec, draft=max(resize_box(spec)))


def with_size(spec: Preprocessing, height: int, width: int) -> Preprocessing:
    """The same declaration for another final size; a margin cropped away keeps its share.

    A picture that has this size already keeps its margin, too.

    >>> with_size(presets()["imagenet"], 448, 448).resize
    (512, 512)
    """
    old = output_size(spec)
    if old is None:
        return dataclasses.replace(spec, fit="squash", resize=(height, width))
    box = resize_box(spec)
    resize = round(box[0] * height / old[0]), round(box[1] * width / old[1])
    crop = (height, width) if spec.crop else ()
    as_is = bool(crop) and resize != crop
    return dataclasses.replace(spec, resize=resize, crop=crop, as_is=as_is)


def parse_size(size: str | int | Sequence[int]) -> tuple[int, int]:
    """Height and width out of "H,W", of one number for both, or of two numbers.

    >>> parse_size("256,128"), parse_size(32)
    ((256, 128), (32, 32))
    """
    text = (
        size
        if isinstance(size, str)
        else ",".join(map(str, [size] if isinstance(size, int) else size))
    )
    sides = [side.strip() for side in text.split(",")]
    good = all(side.isascii() and side.isdigit() for side in sides) and len(sides) in (1, 2)
    if not good or not all(1 <= int(side) <= MAX_SIDE for side in sides):
        raise UsageError(
            "no size of a picture",
            "size",
            f"H,W in pixels, or one number for both, from 1 to {MAX_SIDE}",
            str(size),
            "Try --size 224 or --size 256,128.",
        )
    return int(sides[0]), int(sides[-1])


def as_grey(spec: Preprocessing) -> Preprocessing:
    """The same declaration for pictures of one grey channel.

    Grey is 0.299 R + 0.587 G + 0.114 B, so the mean of a grey channel is the mean of the three in
    these shares, and so is its deviation where the three rise and fall together, as grey pictures'
    do.

    >>> [round(number, 4) for number in (*as_grey(presets()["imagenet"]).mean, 1.0)]
    [0.459, 1.0]
    """
    if spec.mode == "L":
        return spec
    shares = LUMA[::-1] if spec.channels == "BGR" else LUMA
    return dataclasses.replace(
        spec,
        mode="L",
        channels="L",
        mean=_weighed(spec.mean, shares),
        std=_weighed(spec.std, shares),
    )


def as_colour(spec: Preprocessing) -> Preprocessing:
    """The same declaration for pictures of three channels, each treated as the grey one is."""
    if spec.mode != "L":
        return spec
    return dataclasses.replace(
        spec, mode="RGB", channels="RGB", mean=spec.mean * 3, std=spec.std * 3
    )


def as_text(spec: Preprocessing) -> str:
    """The declaration as JSON text, which `load_spec` reads back.

    >>> load_spec(as_text(presets()["clip"])) == presets()["clip"]
    True
    """
    return metadata.encode(spec).decode()  # type: ignore[arg-type]


def check(spec: Preprocessing) -> None:
    """Raise UsageError, naming every mistake, where a declaration contradicts itself."""
    found = list(_mistakes(spec))
    if found:
        raise UsageError(
            "the preprocessing cannot be done: " + "; ".join(found),
            hint=f"Mend the JSON, or name a preset: {', '.join(presets())}.",
        )


def channel_count(spec: Preprocessing) -> int:
    """Channels of the picture and of the core's input: 3, or 1 for grey pictures."""
    return 1 if spec.mode == "L" else 3


def output_size(spec: Preprocessing) -> tuple[int, int] | None:
    """Height and width of the core's input, or None where pictures are left as they are."""
    if spec.crop:
        return spec.crop[0], spec.crop[1]
    return resize_box(spec) if spec.resize else None


def resize_box(spec: Preprocessing) -> tuple[int, int]:
    """The [height, width] that a resized picture covers, lies in or fills.

    One number in the declaration stands for a square.
    """
    return spec.resize[0], spec.resize[-1]


def _square(
    resize: int, crop: int, mode: Literal["RGB", "L"] = "RGB", **rest: Any
) -> Preprocessing:
    return Preprocessing(mode=mode, fit="crop", resize=(resize,), crop=(crop, crop), **rest)


def _weighed(numbers: tuple[float, ...], shares: Sequence[float]) -> tuple[float, ...]:
    """One number of three, in these shares; none of none."""
    if len(numbers) != len(shares):
        return numbers
    return (sum(number * share for number, share in zip(numbers, shares, strict=True)),)


def _json_bytes(text: str) -> tuple[bytes, str]:
    if text.lstrip().startswith("{"):
        return text.encode(), "--preprocess"
    path = Path(text)
    try:
        with open_file(path) as file:
            return file.read(), path.name
    except (OSError, ValueError):
        raise UsageError(
            "unknown preprocessing",
            expected=f"{', '.join(presets())}, or a JSON file",
            found=text,
            hint="For your own: --preprocess spec.json, with the fields of SPEC section 4.4.",
        ) from None


def _from_json(data: bytes, where: str) -> Preprocessing:
    try:
        value = metadata.parse(data)
        known = [field.name for field in dataclasses.fields(Preprocessing)]
        unknown = sorted(value.keys() - set(known))
        if unknown:
            raise UsageError(
                "unknown field of a preprocessing",
                where,
                ", ".join(known),
                ", ".join(unknown),
                hint="Correct its name.",
            )
        return metadata.from_json(value, Preprocessing)
    except FormatError as error:
        raise UsageError(
            "the preprocessing is not valid: " + "; ".join(map(str, error.problems)),
            where,
            hint=f"An example: {as_text(presets()['imagenet'])}",
        ) from None


def _mistakes(spec: Preprocessing) -> Iterator[str]:
    yield from _channel_mistakes(spec)
    yield from _size_mistakes(spec)
    if spec.as_is and not spec.resize:
        yield "as_is needs resize: without it every picture is left as it is"
    if not 0 <= spec.fill <= 255:
        yield f"fill is a grey level from 0 to 255, not {spec.fill}"
    if spec.dtype == "uint8" and (spec.scale != 1 or spec.mean or spec.std):
        yield "a core that takes uint8 takes pixels as they are: leave out scale, mean and std"
    numbers = (spec.scale, *spec.mean, *spec.std)
    if not all(map(math.isfinite, numbers)) or 0 in (spec.scale, *spec.std):
        yield "scale, mean and std are finite, scale and std not zero"


def _channel_mistakes(spec: Preprocessing) -> Iterator[str]:
    count = channel_count(spec)
    if (spec.mode == "L") != (spec.channels == "L"):
        yield (
            f"mode {spec.mode} cannot give channels {spec.channels}: "
            "grey pictures decoded as RGB have three equal channels"
        )
    for name, values in (("mean", spec.mean), ("std", spec.std)):
        if len(values) not in (0, count):
            yield f"{name} has {len(values)} numbers for {count} channels"


def _size_mistakes(spec: Preprocessing) -> Iterator[str]:
    if len(spec.resize) > 2 or len(spec.crop) not in (0, 2):
        yield "resize is one side or [height, width], crop is [height, width]"
    elif any(not 1 <= side <= MAX_SIDE for side in (*spec.resize, *spec.crop)):
        yield f"sides lie between 1 and {MAX_SIDE}"
    elif spec.fit == "none":
        if spec.resize or spec.crop:
            yield (
                "fit none leaves pictures as they are: "
                "leave out resize and crop, or name another fit"
            )
    elif not spec.resize:
        yield f"fit {spec.fit} needs resize"
    else:
        yield from _crop_mistakes(spec)


def _crop_mistakes(spec: Preprocessing) -> Iterator[str]:
    box, crop = resize_box(spec), spec.crop
    if not crop:
        if spec.fit != "squash":
            yield f"fit {spec.fit} needs crop, the final [height, width]"
    elif spec.fit == "pad" and (crop[0] < box[0] or crop[1] < box[1]):
        yield f"padding cannot shrink: crop {list(crop)} is smaller than resize {list(box)}"
    elif spec.fit != "pad" and (crop[0] > box[0] or crop[1] > box[1]):
        yield f"crop {list(crop)} is larger than resize {list(box)}"
