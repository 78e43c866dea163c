"""The preprocessing that other libraries declare with their models, as ours: taken over exactly, or not at all.

What differs from the library's own result: its resize is Pillow's or torch's and ours is a graph (see `preprocess`);
and where a margin of 3, 7, 11 … rows is cropped, transformers begins one row earlier than torchvision, timm and we do.
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

# Processors of transformers that resize, crop, rescale and normalise, and do nothing else. `size: 224` in the older
# form of their configuration means a square, or the shorter side.
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

    Raises UsageError where it says more than resize, centre crop, rescale and normalise, or leaves one of them open.

    >>> of_config({"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}, "resample": 2,
    ...            "image_mean": [0.5] * 3, "image_std": [0.5] * 3}).resize
    (224, 224)
    """
    return _taken(lambda: _of_config(config), where)


def of_timm(data: Mapping[str, Any], where: str = "timm") -> Preprocessing:
    """What timm's `resolve_data_config` says: `input_size`, `crop_pct`, `crop_mode`, `interpolation`, `mean`, `std`.

    >>> of_timm({"input_size": (3, 224, 224), "crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic",
    ...          "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}).resize
    (256,)
    """
    return _taken(lambda: _of_timm(data), where)


def of_transform(transform: Any) -> Preprocessing:
    """What a torchvision or timm transform does, or an image processor of transformers.

    A transform is `weights.transforms()`, or a `Compose` of Resize, CenterCrop, ToTensor, Normalize or their like.
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


def _taken(read: Callable[[], Preprocessing], where: str) -> Preprocessing:
    try:
        spec = read()
        check(spec)
        return spec
    except (
        _Unclear,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        ZeroDivisionError,
        OverflowError,
    ) as error:
        found = (
            str(error)
            if isinstance(error, _Unclear)
            else f"a value that is not understood ({error})"
        )
        raise UsageError(
            "this preprocessing cannot be taken over",
            where,
            "resize, centre crop, rescale, normalise",
            found,
            _SAY_IT,
        ) from None


def _of_config(config: Mapping[str, Any]) -> Preprocessing:
    kind = _kind(config)
    more = sorted(
        key
        for key, value in config.items()
        if key.startswith("do_") and value and key not in _STEPS
    )
    more += [key for key in ("rescale_offset", "use_square_size") if config.get(key)]
    if more or not config.get("do_resize", True):
        raise _Unclear(", ".join(more) or "pictures that are not resized")
    normal = config.get("do_normalize", True)
    return Preprocessing(
        mode="RGB",
        **_fit(kind, config),
        interpolation=_interpolation(_given(config, "resample")),
        scale=float(config.get("rescale_factor", _PIXEL))
        if config.get("do_rescale", True)
        else 1.0,
        mean=_numbers(_given(config, "image_mean")) if normal else (),
        std=_numbers(_given(config, "image_std")) if normal else (),
    )


def _kind(config: Mapping[str, Any]) -> str:
    named = str(
        config.get("image_processor_type") or config.get("feature_extractor_type") or "no type"
    )
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
        "fit": "crop" if len(sides) == 1 else "squash",
        "resize": sides,
        "crop": crop if crop != sides else (),
    }


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
    channels, *size = data["input_size"]
    mode = _mode(channels)
    box = tuple(math.floor(side / data["crop_pct"]) for side in size)
    how = str(data["crop_mode"])
    if how == "squash":
        fit = {"fit": "squash", "resize": box, "crop": tuple(size) if tuple(size) != box else ()}
    elif how == "center" and size[0] == size[1]:
        fit = {"fit": "crop", "resize": box[:1], "crop": tuple(size)}
    else:
        raise _Unclear(f"crop mode {how} of {size[0]} x {size[1]}")
    return Preprocessing(
        mode=mode,
        channels=mode,
        **fit,  # type: ignore[arg-type]
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
    resize, crop = tuple(transform.resize_size), tuple(transform.crop_size)
    return Preprocessing(
        mode="RGB",
        fit="crop" if len(resize) == 1 else "squash",
        resize=resize,
        crop=crop * 2 if len(crop) == 1 else crop,
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
        place, facts = _step(step, getattr(step, "__name__", type(step).__name__))
        if place < reached:
            raise _Unclear(f"{type(step).__name__} after a later step")
        reached, found = place, found | facts
    if "scale" not in found:
        raise _Unclear("no step that makes numbers of pixels")
    return Preprocessing(mode="RGB", **found)


def _step(step: Any, name: str) -> tuple[int, dict[str, Any]]:
    """The place of a step in the usual order, and what it does."""
    if name in _TO_RGB:
        return 0, {}
    if name == "Resize" and getattr(step, "max_size", None) is None:
        size = (step.size,) if isinstance(step.size, int) else tuple(step.size)
        return 1, {
            "fit": "crop" if len(size) == 1 else "squash",
            "resize": size,
            "interpolation": _interpolation(step.interpolation),
        }
    if name == "CenterCrop":
        size = (step.size,) if isinstance(step.size, int) else tuple(step.size)
        return 2, {"crop": size * 2 if len(size) == 1 else size}
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
    return tuple(
        float(f"{float(value):.7g}") if hasattr(value, "dtype") else float(value)
        for value in values
    )
