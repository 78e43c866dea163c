"""Preprocessing graphs against plain numpy and Pillow, and the declarations they are made from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from dof_arrow.cores import preprocess_graph
from dof_arrow.cores.preprocess import Preprocess, build, resized_size
from dof_arrow.errors import CoreError, SourceError, UsageError
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import (
    as_colour,
    as_grey,
    as_text,
    channel_count,
    load_spec,
    output_size,
    parse_size,
    presets,
    with_fit,
    with_size,
)
from dof_arrow.media.array import is_thrice, thrice
from tests.support.shared import shared_data

RESAMPLING = {"linear": Image.Resampling.BILINEAR, "cubic": Image.Resampling.BICUBIC}


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def plain(**fields: Any) -> Preprocessing:
    """A declaration whose output is the pixels themselves, channels last."""
    return Preprocessing(
        **{"mode": "RGB", "fit": "none", "layout": "NHWC", "dtype": "uint8", **fields}
    )


def torchvision_size(height: int, width: int, side: int) -> tuple[int, int]:
    short, long = sorted((height, width))
    free = int(side * long / short)
    return (side, free) if height <= width else (free, side)


def torchvision_crop(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    top = round((pixels.shape[0] - height) / 2.0)
    left = round((pixels.shape[1] - width) / 2.0)
    return pixels[top : top + height, left : left + width]


def pillow_road(pixels: np.ndarray, spec: Preprocessing) -> np.ndarray:
    """Resize and crop as Pillow and torchvision do."""
    height, width = torchvision_size(*pixels.shape[:2], spec.resize[0])
    resized = Image.fromarray(pixels).resize((width, height), RESAMPLING[spec.interpolation])
    return torchvision_crop(np.asarray(resized), *spec.crop)


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("fit", ["crop", "pad", "squash", "none"])
def test_every_preset_gives_a_valid_graph_and_takes_any_picture(name: str, fit: Any) -> None:
    spec = with_fit(presets()[name], fit)
    onnx.checker.check_model(build(spec), full_check=True)
    prepare, channels = Preprocess(spec), channel_count(spec)
    for height, width in [(1, 1), (1, 40), (40, 1), (333, 500), (500, 333), (256, 256)]:
        expected = (channels, *(output_size(spec) or (height, width)))
        prepared = prepare(picture(height, width, channels))
        assert prepared.shape == expected
        assert np.isfinite(prepared).all()


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_resize_is_pillows_within_a_hundredth_of_a_grey_level(interpolation: Any) -> None:
    spec = plain(fit="crop", resize=(256,), crop=(224, 224), interpolation=interpolation)
    prepare = Preprocess(spec)
    files = sorted((shared_data() / "images" / "imagenet-sample").glob("*.JPEG"))[:12]
    for file in files:
        pixels = np.asarray(Image.open(file).convert("RGB"))
        difference = np.abs(prepare(pixels).astype(int) - pillow_road(pixels, spec))
        assert difference.mean() < 0.02
        assert (difference <= 1).mean() > 0.999
    assert len(files) == 12


def by_the_words(pixels: np.ndarray, sides: tuple[int, int], interpolation: str) -> np.ndarray:
    """The resize as SPEC 4.4 says it, in float64: rows, whole levels, columns, whole levels."""
    levels = pixels.astype(float)
    for axis in (1, 0):
        weights = kernel_weights(levels.shape[axis], sides[axis], interpolation)
        resized = np.moveaxis(np.tensordot(weights, levels, (1, axis)), 0, axis)
        levels = np.floor(np.clip(resized + 0.5, 0, 255))
    return levels.astype(np.uint8)


def kernel_weights(old: int, new: int, interpolation: str) -> np.ndarray:
    """[new, old]: what each old place gives to each new one; wider where the side shrinks."""
    scale = old / new
    width = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(old)) / width
    weights = np.maximum(1 - distance, 0)
    if interpolation == "cubic":
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    return np.asarray(weights / weights.sum(1, keepdims=True))


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("most", [1, 1 << 21], ids=["large", "small"])
def test_both_ways_of_resizing_are_what_the_words_say(
    interpolation: Any, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess_graph, "MOST_IN_FLOAT", most)
    rng = np.random.default_rng(0)
    off = []
    for _ in range(40):
        height, width, new_height, new_width = map(int, rng.integers(1, 120, 4))
        sides = (new_height, new_width)
        pixels = picture(height, width)
        prepare = Preprocess(plain(fit="squash", resize=sides, interpolation=interpolation))
        found = prepare(pixels).astype(int)
        difference = np.abs(found - by_the_words(pixels, sides, interpolation))
        assert difference.max() <= 1
        off.append(difference.mean())
    assert np.mean(off) < 0.01


def test_a_large_picture_takes_the_way_of_whole_numbers() -> None:
    """Where the larger of the stored and the new size, side by side, is above 2 million pixels."""
    spec = plain(fit="squash", resize=(8, 8))
    names = {True: "kept_of_large", False: "kept_of_small"}
    for height, width in [(1 << 18, 8), ((1 << 18) + 1, 8), (1, 1 << 18), (1, (1 << 18) + 1)]:
        pixels = picture(height, width, 3)
        is_large = max(height, 8) * max(width, 8) > 1 << 21
        np.testing.assert_array_equal(
            Preprocess(spec)(pixels), only_branch(spec, names[is_large], pixels)
        )


def only_branch(spec: Preprocessing, kept: str, pixels: np.ndarray) -> np.ndarray:
    """What a graph gives that has one of the two ways alone."""
    model = build(spec)
    (choice,) = [node for node in model.graph.node if node.op_type == "If"]
    branches = {attribute.g.output[0].name: attribute.g for attribute in choice.attribute}
    chosen = onnx.GraphProto()
    chosen.CopyFrom(branches[kept])
    for attribute in choice.attribute:
        attribute.g.CopyFrom(chosen)
    return Preprocess(spec, model.SerializeToString())(pixels)


def test_squash_is_pillows_resize_of_rows_then_columns() -> None:
    prepare = Preprocess(plain(fit="squash", resize=(224, 224)))
    for file in sorted((shared_data() / "images" / "imagenet-sample").glob("*.JPEG"))[:7]:
        stored = Image.open(file).convert("RGB")
        rows_first = stored.resize((224, stored.height), RESAMPLING["linear"]).resize(
            (224, 224), RESAMPLING["linear"]
        )
        difference = np.abs(prepare(np.asarray(stored)).astype(int) - np.asarray(rows_first))
        assert difference.mean() < 0.05


def test_resized_size_is_torchvisions_rule_and_the_graphs() -> None:
    rng = np.random.default_rng(0)
    spec = plain(fit="crop", resize=(61,), crop=(1, 1))
    for height, width in rng.integers(1, 4000, (2000, 2)).tolist():
        assert resized_size(spec, height, width) == torchvision_size(height, width, 61)
    for height, width in rng.integers(1, 200, (40, 2)).tolist():
        assert graph_size(spec, height, width) == resized_size(spec, height, width)
        padded = plain(fit="pad", resize=(61,), crop=(61, 61))
        assert graph_size(padded, height, width) == resized_size(padded, height, width)


def graph_size(spec: Preprocessing, height: int, width: int) -> tuple[int, ...]:
    """The size that the graph itself computes, read from its inner tensor `size`."""
    import onnxruntime

    model = build(spec)
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("size", onnx.TensorProto.INT64, [2])
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return tuple(session.run(["size"], {"picture": picture(height, width)})[0].tolist())


@pytest.mark.parametrize("extra", range(8))
def test_centre_crop_rounds_as_torchvision(extra: int) -> None:
    pixels = picture(10 + extra, 10)
    prepare = Preprocess(plain(fit="crop", resize=(10,), crop=(7, 4)))
    np.testing.assert_array_equal(prepare(pixels), torchvision_crop(pixels, 7, 4))


def test_pad_centres_and_fills() -> None:
    pixels = picture(9, 4)
    padded = Preprocess(plain(fit="pad", resize=(9,), crop=(10, 9), fill=7))(pixels)
    assert padded.shape == (10, 9, 3)
    np.testing.assert_array_equal(padded[:9, 2:6], pixels)
    assert (np.delete(padded.reshape(10, 9, 3)[:9], slice(2, 6), axis=1) == 7).all()
    assert (padded[9] == 7).all()


def test_squash_fills_the_box_and_may_crop_it() -> None:
    pixels = picture(30, 50)
    squashed = Preprocess(plain(fit="squash", resize=(20, 24)))(pixels)
    cropped = Preprocess(plain(fit="squash", resize=(20, 24), crop=(10, 12)))(pixels)
    np.testing.assert_array_equal(cropped, torchvision_crop(squashed, 10, 12))


def test_a_box_of_two_sides_is_covered_or_filled() -> None:
    cover, contain = (
        plain(fit="crop", resize=(20, 40), crop=(20, 40)),
        plain(fit="pad", resize=(20, 40), crop=(20, 40)),
    )
    assert resized_size(cover, 100, 100) == (40, 40)
    assert resized_size(contain, 100, 100) == (20, 20)
    assert resized_size(contain, 1, 1000) == (1, 40)


def test_values_are_scaled_centred_and_divided_as_torch_does() -> None:
    scale, mean, std = 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = picture(5, 6)
    spec = plain(dtype="float32", scale=scale, mean=mean, std=std)
    expected = (pixels.astype(np.float32) * np.float32(scale) - np.float32(mean)) / np.float32(std)
    np.testing.assert_array_equal(Preprocess(spec)(pixels), expected)
    channels_first = dataclasses.replace(spec, layout="NCHW")
    np.testing.assert_array_equal(Preprocess(channels_first)(pixels), expected.transpose(2, 0, 1))


def test_channel_order_and_element_types() -> None:
    pixels = picture(5, 6)
    np.testing.assert_array_equal(Preprocess(plain(channels="BGR"))(pixels), pixels[..., ::-1])
    half = Preprocess(plain(dtype="float16", scale=1 / 255))(pixels)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(
        half, (pixels.astype(np.float32) * np.float32(1 / 255)).astype(np.float16)
    )
    grey = picture(5, 6, 1)
    np.testing.assert_array_equal(Preprocess(plain(mode="L", channels="L"))(grey), grey)


def test_equal_declarations_give_equal_bytes() -> None:
    for spec in presets().values():
        assert Preprocess(spec).graph == build(dataclasses.replace(spec)).SerializeToString(
            deterministic=True
        )


def test_a_view_that_is_not_contiguous_is_read_rightly() -> None:
    pixels = picture(40, 50)
    prepare = Preprocess(presets()["unit"])
    np.testing.assert_array_equal(prepare(pixels[:, ::-1]), prepare(pixels[:, ::-1].copy()))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        b"\xff\xd8",
    ],
)
def test_what_is_no_picture_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"expected a uint8 array \[h, w, 3\]"):
        Preprocess(presets()["unit"])(wrong)


def test_a_sliver_is_refused_before_it_takes_gigabytes() -> None:
    with pytest.raises(SourceError, match="too elongated"):
        Preprocess(presets()["unit"])(np.zeros((1, 100_000, 3), np.uint8))
    assert Preprocess(with_fit(presets()["unit"], "pad"))(
        np.zeros((1, 100_000, 3), np.uint8)
    ).shape == (3, 224, 224)


def test_load_spec_reads_a_name_a_path_and_text(tmp_path: Path) -> None:
    spec = presets()["clip"]
    file = tmp_path / "spec.json"
    file.write_text(as_text(spec))
    assert load_spec("clip") == load_spec(str(file)) == load_spec(as_text(spec)) == spec
    assert load_spec("clip", fit="squash") == dataclasses.replace(
        spec, fit="squash", resize=(224, 224), crop=()
    )


def test_an_unknown_name_lists_the_presets() -> None:
    with pytest.raises(UsageError, match=r"imagenet, .*found imagnet"):
        load_spec("imagnet")


def test_every_mistake_in_the_json_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        load_spec('{"mode": "CMYK", "resize": ["big"], "scale": "half"}')
    for place in ("$.mode", "$.fit", "$.resize[0]", "$.scale"):
        assert place in str(caught.value)
    with pytest.raises(UsageError, match="reszie"):
        load_spec('{"mode": "RGB", "fit": "none", "reszie": [3]}')
    with pytest.raises(UsageError, match="JSON"):
        load_spec("{mode}")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fit": "crop", "resize": [8]}, "needs crop"),
        ({"fit": "crop", "crop": [8, 8]}, "needs resize"),
        ({"fit": "crop", "resize": [8], "crop": [9, 8]}, "larger than resize"),
        ({"fit": "pad", "resize": [9], "crop": [9, 8]}, "padding cannot shrink"),
        ({"fit": "none", "crop": [8, 8]}, "leave out resize and crop"),
        ({"fit": "squash", "resize": [8, 8, 8]}, "one side or"),
        ({"fit": "squash", "resize": [1 << 20]}, "sides lie between"),
        ({"fit": "none", "mean": [1.0]}, "mean has 1 numbers for 3 channels"),
        ({"fit": "none", "std": [1.0, 0.0, 1.0]}, "not zero"),
        ({"fit": "none", "mode": "L"}, "mode L cannot give channels RGB"),
        ({"fit": "none", "fill": 256}, "fill"),
        ({"fit": "none", "dtype": "uint8", "scale": 0.5}, "takes uint8"),
    ],
)
def test_contradictions_are_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_spec(json.dumps({"mode": "RGB", **fields}))


def test_a_picture_left_as_it_is_has_no_size_to_fit() -> None:
    spec = with_fit(presets()["imagenet"], "none")
    with pytest.raises(UsageError, match="no size to fit") as caught:
        with_fit(spec, "pad")
    assert load_spec(caught.value.hint.split("'")[1]).resize == (224, 224)


def test_with_size_keeps_the_margin() -> None:
    spec = with_size(presets()["inception"], 448, 336)
    assert (spec.crop, spec.resize) == ((448, 336), (512, 384))


def test_a_graph_that_does_not_fit_its_declaration_is_refused() -> None:
    other = build(presets()["xray"]).SerializeToString()
    half = dataclasses.replace(presets()["xray"], dtype="float16")
    with pytest.raises(CoreError, match="does not fit its declaration"):
        Preprocess(half, other)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_picture_of_the_final_size_keeps_its_margin_where_the_spec_says_so(
    fit: Any, interpolation: Any
) -> None:
    resize = (37, 40) if fit == "crop" else (20, 20)
    spec = plain(fit=fit, resize=resize, crop=(32, 36), interpolation=interpolation, as_is=True)
    onnx.checker.check_model(build(spec), full_check=True)
    exact, other = picture(32, 36), picture(36, 32)
    np.testing.assert_array_equal(Preprocess(spec)(exact), exact)
    assert resized_size(spec, 32, 36) == (32, 36)
    trimmed = Preprocess(dataclasses.replace(spec, as_is=False))
    assert (trimmed(exact) != exact).any()
    np.testing.assert_array_equal(Preprocess(spec)(other), trimmed(other))


def test_a_preset_of_another_size_trims_nothing_from_pictures_of_that_size() -> None:
    small = with_size(presets()["imagenet"], 32, 32)
    assert (small.resize, small.crop, small.as_is) == ((37, 37), (32, 32), True)
    assert not presets()["imagenet"].as_is
    assert not with_size(presets()["clip"], 64, 64).as_is  # which has no margin


def test_grey_takes_the_shares_of_the_channels() -> None:
    grey = as_grey(presets()["imagenet"])
    assert (grey.mode, grey.channels) == ("L", "L")
    assert grey.mean == pytest.approx([0.299 * 0.485 + 0.587 * 0.456 + 0.114 * 0.406])
    assert grey.std == pytest.approx([0.299 * 0.229 + 0.587 * 0.224 + 0.114 * 0.225])
    blue_first = as_grey(presets()["caffe"])
    assert blue_first.mean == pytest.approx([0.114 * 104 + 0.587 * 117 + 0.299 * 123])
    assert as_grey(presets()["xray"]) == presets()["xray"]
    assert as_colour(presets()["xray"]).mean == (1024.0,) * 3


@pytest.mark.parametrize("size", ["0", "1,2,3", "", "a", "-3", "9999", "1.5", "\u0663"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(UsageError, match=r"no size of a picture.*--size 224"):
        parse_size(size)


GREY_KINDS: dict[str, dict[str, Any]] = {
    "crop": {"fit": "crop", "resize": (40,), "crop": (32, 32)},
    "cubic": {"fit": "crop", "resize": (40,), "crop": (32, 32), "interpolation": "cubic"},
    "pad": {"fit": "pad", "resize": (32, 32), "crop": (32, 32), "fill": 7},
    "squash": {"fit": "squash", "resize": (24, 40)},
    "as it is": {"fit": "none"},
    "turned": {"fit": "squash", "resize": (32, 32), "channels": "BGR", "layout": "NHWC"},
    "half": {"fit": "squash", "resize": (32, 32), "dtype": "float16"},
    "whole numbers": {"fit": "squash", "resize": (32, 32), "dtype": "uint8", "scale": 1.0},
}


@pytest.mark.parametrize("kind", GREY_KINDS)
def test_grey_pictures_are_resized_once_to_the_same_bits(kind: str) -> None:
    """One channel resized and repeated is what three equal channels give."""
    numbers = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    fields = {"mode": "RGB", **numbers, **GREY_KINDS[kind]}
    if fields.get("dtype") == "uint8":
        fields |= {"mean": (), "std": ()}
    prepare = Preprocess(Preprocessing(**fields))
    for seed, (height, width) in enumerate([(50, 70), (71, 33), (24, 40), (200, 150), (9, 12)]):
        once = thrice(picture(height, width, 1, seed))
        assert is_thrice(once)
        expected = prepare(np.ascontiguousarray(once))
        found = prepare(once)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        out = np.empty_like(expected)
        np.testing.assert_array_equal(prepare(once, out), expected)


def test_a_graph_of_three_channels_is_given_three() -> None:
    """As earlier versions made them."""
    spec = presets()["imagenet"]
    older = build(spec)
    older.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 3
    prepare = Preprocess(spec, older.SerializeToString())
    once = thrice(picture(60, 50, 1))
    np.testing.assert_array_equal(prepare(once), Preprocess(spec)(once))


@pytest.mark.parametrize("channels", [2, 4])
def test_the_graph_itself_takes_one_channel_or_three(channels: int) -> None:
    """It is run without us too: opacity is not ignored in silence."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        build(presets()["imagenet"]).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    with pytest.raises(Exception, match="Expand"):
        session.run(None, {"picture": picture(60, 50, channels)})
