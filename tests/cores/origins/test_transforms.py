"""Preprocessing taken over from torchvision, timm and transformers, against these libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.cores.origins import torch_export, transforms
from dof_arrow.cores.preprocess import Preprocess
from dof_arrow.format.spec.metadata import Preprocessing

SIZES = [(300, 400), (230, 310), (512, 210), (224, 224)]  # height, width
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
CONFIG = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 16, "width": 16},
    "resample": 2,
    "image_mean": MEAN,
    "image_std": STD,
}


def _pictures() -> list[Image.Image]:
    """Edges, gradients and a little noise, as photographs have them; seeded."""
    rng = np.random.default_rng(0)
    made = []
    for height, width in SIZES:
        y, x = np.mgrid[:height, :width] / 40
        planes = [np.sin(x + k) * np.cos(y - k) + (np.hypot(x - 3, y - 2) < 1.5) for k in range(3)]
        noisy = 128 + 60 * np.stack(planes, -1) + rng.normal(0, 4, (height, width, 3))
        made.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    return made


def _compare(spec: Preprocessing, own: Callable[[Image.Image], Any]) -> None:
    """Both give the same: 0.0001 grey levels apart on average, 0.3 where the other resizes columns
    before rows. A shift by one pixel would make it three."""
    ours = Preprocess(spec)
    scale = 255 * np.array(spec.std).reshape(3, 1, 1)
    for picture in _pictures():
        theirs = np.asarray(own(picture), np.float32).reshape(3, *spec.crop or spec.resize)
        assert np.abs((ours(np.asarray(picture)) - theirs) * scale).mean() < 0.3, picture.size


def _torchvision() -> Any:
    pytest.importorskip("torch")
    try:
        return torch_export.torchvision()
    except dof.MissingExtra:
        pytest.skip("torchvision is not installed")


def test_weights_of_torchvision() -> None:
    """D8: what `weights.transforms()` does, on pictures of several shapes."""
    vision = _torchvision()
    for weights in (
        vision.models.ResNet50_Weights.IMAGENET1K_V2,
        vision.models.ViT_B_16_Weights.IMAGENET1K_V1,
    ):
        spec = transforms.of_transform(weights.transforms())
        assert spec.resize == ((232,) if "ResNet" in str(weights) else (256,)) and spec.crop == (
            224,
            224,
        )
        _compare(spec, weights.transforms())


@pytest.mark.parametrize("name", ["resnet50", "vit_base_patch16_224", "test_vit"])
def test_configurations_of_timm(name: str) -> None:
    _torchvision()
    timm = pytest.importorskip("timm")
    data = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    own = timm.data.create_transform(**data)
    spec = transforms.of_timm(data)
    assert spec == transforms.of_transform(own)
    _compare(spec, own)


def test_squashed_by_timm() -> None:
    _torchvision()
    timm = pytest.importorskip("timm")
    data = {
        "input_size": (3, 192, 224),
        "crop_pct": 0.9,
        "crop_mode": "squash",
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
    _compare(transforms.of_timm(data), timm.data.create_transform(**data))
    with pytest.raises(dof.UsageError, match="crop mode center of 192 x 224"):
        transforms.of_timm({**data, "crop_mode": "center"})
    with pytest.raises(dof.UsageError, match="pictures of 4 channels"):
        transforms.of_timm({**data, "input_size": (4, 224, 224)})


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ViT", {}),
        ("CLIP", {}),
        ("DeiT", {}),
        ("Siglip", {}),
        ("Bit", {"size": {"shortest_edge": 256}}),
        ("MobileNetV2", {}),
        ("ConvNext", {}),
        ("ConvNext", {"size": {"shortest_edge": 224}}),
        ("CLIP", {"size": 224, "crop_size": 224}),
    ],
)
def test_image_processors_of_transformers(kind: str, options: dict[str, Any]) -> None:
    """D8: what the processor itself does to pictures, from the object and from its file."""
    _torchvision()
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, f"{kind}ImageProcessor")(**options)
    spec = transforms.of_transform(processor)
    assert transforms.of_config({**processor.to_dict(), "feature_extractor_type": "x"}) == spec
    _compare(spec, lambda picture: processor(picture, return_tensors="np")["pixel_values"][0])


def test_older_configurations() -> None:
    old = {key: value for key, value in CONFIG.items() if key != "image_processor_type"}
    clip = {**old, "feature_extractor_type": "CLIPFeatureExtractor", "size": 16, "crop_size": 16}
    assert transforms.of_config(clip).resize == (16,) and transforms.of_config(clip).crop == (
        16,
        16,
    )
    square = transforms.of_config(
        {**old, "feature_extractor_type": "ViTFeatureExtractor", "size": 16}
    )
    assert square.resize == (16, 16) and square == transforms.of_config(CONFIG)
    plain = transforms.of_config({**CONFIG, "do_normalize": False, "do_rescale": False})
    assert (plain.scale, plain.mean, plain.std) == (1.0, (), ())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"resample": 0}, "interpolation 0"),
        ({"resample": None}, "no resample"),
        ({"size": None}, "no size"),
        ({"size": {"longest_edge": 8}}, "a size by longest_edge"),
        ({"image_mean": None}, "no image_mean"),
        ({"do_pad": True}, "do_pad"),
        ({"do_resize": False}, "not resized"),
        ({"do_center_crop": True}, "no crop_size"),
        ({"image_processor_type": "LevitImageProcessor"}, "LevitImageProcessor"),
        ({"image_processor_type": None}, "no type"),
        ({"size": {"shortest_edge": 8}}, "longer side is left open"),
        ({"size": "big"}, "not understood"),
        ({"image_mean": [0.5, "x", 0.5]}, "not understood"),
        ({"image_mean": [0.5, 0.5]}, "mean has 2 numbers"),
        ({"size": {"height": 1e9, "width": 8}}, "sides lie between"),
        ({"image_std": [0, 0, 0]}, "not zero"),
        ({"rescale_offset": True}, "rescale_offset"),
        ({"rescale_factor": float("nan")}, "finite"),
    ],
)
def test_what_is_not_clear_is_not_taken_over(change: dict[str, Any], found: str) -> None:
    with pytest.raises(dof.UsageError, match=found):
        transforms.of_config({**CONFIG, **change})


class ToTensor:
    """A step by the name of torchvision's."""


class Step:
    def __init__(self, **facts: Any) -> None:
        vars(self).update(facts)


def _named(name: str, **facts: Any) -> Any:
    return type(name, (Step,), {})(**facts)


def test_pipelines_step_by_step() -> None:
    resize = _named("Resize", size=256, interpolation="bicubic")
    normal = _named("Normalize", mean=MEAN, std=STD)
    steps = [resize, _named("CenterCrop", size=(224, 224)), ToTensor(), normal]
    spec = transforms.of_transform(Step(transforms=steps))
    assert (spec.resize, spec.crop, spec.interpolation, spec.scale) == (
        (256,),
        (224, 224),
        "cubic",
        1 / 255,
    )
    for wrong, said in (
        ([normal, resize], "after a later step"),
        ([_named("RandomCrop")], "the step RandomCrop"),
        ([resize, normal], "numbers of pixels"),
        ([], "numbers of pixels"),
        ([_named("Resize", size=8, interpolation="bicubic", max_size=9)], "the step Resize"),
    ):
        with pytest.raises(dof.UsageError, match=said):
            transforms.of_transform(Step(transforms=wrong))
    with pytest.raises(dof.UsageError, match="another kind"):
        transforms.of_transform(ToTensor())
