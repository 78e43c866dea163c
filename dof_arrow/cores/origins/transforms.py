"""The preprocessing that other libraries declare with their models: taken exactly, or not at all.

What differs from the library's own result: its resize is Pillow's or torch's and ours is a graph
(see `cores.preprocess`); and where a margin of 3, 7, 11 … rows is cropped, transformers begins one
row earlier than torchvision, timm and we do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import check

_SAY_IT = "Say it yourself: --preprocess with a preset's name or a JSON file."
_PIXEL = 1 / 255

# Processors of transformers that resize, crop, rescale and normalise, and do nothing else.
# `size: 224` in the older form of their configuration means a square, or the shorter side.
_SQUARE = frozenset({"ViT", "DeiT", "Siglip", "Beit", "Blip"})
_SHORTER = frozenset({"CLIP", "Bit", "MobileNetV1", "MobileNetV2", "ConvNext"})
_CROPPED = frozenset({"CLIP", "Bit", "DeiT", "MobileNetV1", "MobileNetV2"})
_STEPS = frozenset({"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"})
_CONVNEXT_SQUASHES = 384

# Steps of torchvision's, timm's and open_clip's pipelines by the name of their class or function.
_TO_RGB = frozenset({"_convert_image_to_rgb", "_convert_to_rgb", "RGB"})
_TO_FLOAT = frozenset({"ToTensor", "MaybeToTensor", "ConvertImageDtype", "ToDtype"})
_TO_TENSOR = frozenset({"PILToTensor", "MaybePILToTensor", "ToImage"})

T = TypeVar("T")


def of_config(config: Mapping[str, Any], where: str = "preprocessor_config.json") -> Preprocessing:
    """What a `preprocessor_config.json` of transformers says.

    Raises UsageError where it says more than resize, centre crop, rescale and normalise, or leaves
    one of them open.

    >>> config = {"image_processor_type": "ViTImageProcessor", "resample": 2,
    ...           "size": {"height": 224, "width": 224},
    ...           "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    >>> of_config(config).resize
    (224, 224)
    """
    return _taken(lambda: _of_config(config), where)


def of_timm(data: Mapping[str, Any], where: str = "timm") -> Preprocessing:
    """What timm's `resolve_data_config` says.

    That is `input_size`, `crop_pct`, `crop_mode`, `interpolation`, `mean`, `std`. Raises UsageError
    where they cannot be taken over.

    >>> data = {"input_size": (3, 224, 224), "crop_pct": 0.875, "crop_mode": "center",
    ...         "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    >>> of_timm(data).resize
    (256,)
    """
    return _taken(lambda: _of_timm(data), where)


def of_transform(transform: Any) -> Preprocessing:
    """What a torchvision or timm transform does, or an image processor of transformers.

    A transform is `weights.transforms()`, or a `Compose` of Resize, CenterCrop, ToTensor,
    Normalize or their like. Raises UsageError where it cannot be taken over.
    """
    transform = getattr(transform, "image_processor", transform)
    where = type(transform).__name__
    if hasattr(transform, "to_dict"):
        return of_config({"image_processor_type": where, **transform.to_dict()}, where)
    if hasattr(transform, "transforms"):
        return _taken(lambda: _of_steps(transform.transforms), where)
    return _taken(lambda: _of_weights(transform), where)


class _Unclear(Exception):
    """Why a declaration is not taken over."""


# What reading a declaration raises where it holds other things than expected.
_UNREADABLE = (
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    ZeroDivisionError,
    OverflowError,
)


def _taken(read: Callable[[], Preprocessing], where: str) -> Preprocessing:
    try:
        spec = read()
        check(spec)
        return spec
    except _Unclear as error:
        found = str(error)
    except _UNREADABLE as error:
        found = f"a value that is not understood ({error})"
    raise UsageError(
        "this preprocessing cannot be taken over",
        where,
        "resize, centre crop, rescale, normalise",
        found,
        _SAY_IT,
    )


def _of_config(config: Mapping[str, Any]) -> Preprocessing:
    kind = _kind(config)
    _check_steps(config)
    fit = _fit(kind, config)
    interpolation = _interpolation(_given(config, "resample"))
    scale = 1.0
    if config.get("do_rescale", True):
        scale = float(config.get("rescale_factor", _PIXEL))
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    if config.get("do_normalize", True):
        mean = _numbers(_given(config, "image_mean"))
        std = _numbers(_given(config, "image_std"))
    return Preprocessing(
        mode="RGB", **fit, interpolation=interpolation, scale=scale, mean=mean, std=std
    )


def _check_steps(config: Mapping[str, Any]) -> None:
    """Raise _Unclear where a processor does more than the known steps, or does not resize."""
    more = []
    for key, value in sorted(config.items()):
        if key.startswith("do_") and value and key not in _STEPS:
            more.append(key)
    more += [key for key in ("rescale_offset", "use_square_size") if config.get(key)]
    if more:
        raise _Unclear(", ".join(more))
    if not config.get("do_resize", True):
        raise _Unclear("pictures that are not resized")


def _kind(config: Mapping[str, Any]) -> str:
    """The model that a processor is for, such as ViT; raises _Unclear for unknown ones."""
    given = config.get("image_processor_type") or config.get("feature_extractor_type")
    named = str(given or "no type")
    kind = re.sub(r"(FeatureExtractor|ImageProcessor)(Fast|Pil)?$", "", named)
    if kind not in _SQUARE | _SHORTER:
        raise _Unclear(f"{named}, whose steps are not known here")
    return kind


def _fit(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """How a picture is given its size."""
    sides = _sides(_given(config, "size"), square=kind in _SQUARE)
    if kind == "ConvNext":
        return _fit_convnext(sides, float(config.get("crop_pct") or 224 / 256))
    crops = config.get("do_center_crop", kind in _CROPPED)
    crop = _sides(_given(config, "crop_size"), square=True) if crops else ()
    if len(sides) == 1 and not crop:
        raise _Unclear("pictures whose longer side is left open")
    return {
        "fit": _fit_of(sides),
        "resize": sides,
        "crop": crop if crop != sides else (),
    }


def _fit_of(resize: Sequence[int]) -> Literal["crop", "squash"]:
    """How a picture is fitted by a resize: one side leaves its proportions as they are."""
    return "crop" if len(resize) == 1 else "squash"


def _both(sides: Sequence[int]) -> tuple[int, ...]:
    """Height and width, where one number stands for both."""
    return (sides[0], sides[0]) if len(sides) == 1 else tuple(sides)


def _as_sides(size: Any) -> tuple[int, ...]:
    """A size of torchvision's as it stands there: a number, or a sequence of one or two."""
    return (size,) if isinstance(size, int) else tuple(size)


def _fit_convnext(sides: tuple[int, ...], share: float) -> dict[str, Any]:
    """Small pictures are cropped, large ones squashed: `ConvNextImageProcessor.resize`."""
    if len(sides) != 1:
        raise _Unclear("a ConvNext without shortest_edge")
    if sides[0] >= _CONVNEXT_SQUASHES:
        return {"fit": "squash", "resize": sides * 2}
    return {"fit": "crop", "resize": (int(sides[0] / share),), "crop": sides * 2}


def _sides(size: Any, *, square: bool) -> tuple[int, ...]:
    """[height, width], or the shorter side alone."""
    if isinstance(size, int):
        return (size, size) if square else (size,)
    given = {key: value for key, value in dict(size).items() if value is not None}
    if given.keys() == {"height", "width"}:
        return int(given["height"]), int(given["width"])
    if given.keys() == {"shortest_edge"}:
        return (int(given["shortest_edge"]),)
    raise _Unclear(f"a size by {', '.join(sorted(given)) or 'nothing'}")


def _of_timm(data: Mapping[str, Any]) -> Preprocessing:
    channels, height, width = data["input_size"]
    size = (height, width)
    mode = _mode(channels)
    box = tuple(math.floor(side / data["crop_pct"]) for side in size)
    how = str(data["crop_mode"])
    fit: dict[str, Any]
    if how == "squash":
        fit = {"fit": "squash", "resize": box, "crop": size if size != box else ()}
    elif how == "center" and height == width:
        fit = {"fit": "crop", "resize": box[:1], "crop": size}
    else:
        raise _Unclear(f"crop mode {how} of {height} x {width}")
    return Preprocessing(
        mode=mode,
        channels=mode,
        **fit,
        interpolation=_interpolation(data["interpolation"]),
        scale=_PIXEL,
        mean=_numbers(data["mean"]),
        std=_numbers(data["std"]),
    )


def _mode(channels: int) -> Literal["RGB", "L"]:
    if channels not in (1, 3):
        raise _Unclear(f"pictures of {channels} channels")
    return "RGB" if channels == 3 else "L"


def _of_weights(transform: Any) -> Preprocessing:
    """torchvision's `ImageClassification`."""
    if type(transform).__name__ != "ImageClassification":
        raise _Unclear("a transform of another kind")
    resize = tuple(transform.resize_size)
    return Preprocessing(
        mode="RGB",
        fit=_fit_of(resize),
        resize=resize,
        crop=_both(tuple(transform.crop_size)),
        interpolation=_interpolation(transform.interpolation),
        scale=_PIXEL,
        mean=_numbers(transform.mean),
        std=_numbers(transform.std),
    )


def _of_steps(steps: Iterable[Any]) -> Preprocessing:
    """A `Compose`: what its steps do, each of which must stand in the usual order."""
    found: dict[str, Any] = {"fit": "none"}
    reached = 0
    for step in steps:
        name = getattr(step, "__name__", type(step).__name__)
        place, facts = _step(step, name)
        if place < reached:
            raise _Unclear(f"{type(step).__name__} after a later step")
        reached = place
        found |= facts
    if "scale" not in found:
        raise _Unclear("no step that makes numbers of pixels")
    return Preprocessing(mode="RGB", **found)


def _step(step: Any, name: str) -> tuple[int, dict[str, Any]]:
    """The place of a step in the usual order, and what it does."""
    if name in _TO_RGB:
        return 0, {}
    if name == "Resize" and getattr(step, "max_size", None) is None:
        size = _as_sides(step.size)
        how = _interpolation(step.interpolation)
        return 1, {"fit": _fit_of(size), "resize": size, "interpolation": how}
    if name == "CenterCrop":
        return 2, {"crop": _both(_as_sides(step.size))}
    if name in _TO_FLOAT:
        return 3, {"scale": _PIXEL if getattr(step, "scale", True) else 1.0}
    if name in _TO_TENSOR:
        return 3, {"scale": 1.0}
    if name == "Normalize":
        return 4, {"mean": _numbers(step.mean), "std": _numbers(step.std)}
    raise _Unclear(f"the step {name}")


def _interpolation(how: Any) -> Literal["linear", "cubic"]:
    """Pillow's number, or a name or torchvision's enumeration of names."""
    text = str(getattr(how, "value", how)).lower()
    if text in ("2", "bilinear"):
        return "linear"
    if text in ("3", "bicubic"):
        return "cubic"
    raise _Unclear(f"interpolation {text}")


def _given(config: Mapping[str, T], key: str) -> T:
    if config.get(key) is None:
        raise _Unclear(f"no {key}")
    return config[key]


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    """Numbers as they were written: torch keeps them as float32, which has seven digits."""
    found = []
    for value in values:
        number = float(value)
        found.append(float(f"{number:.7g}") if hasattr(value, "dtype") else number)
    return tuple(found)
