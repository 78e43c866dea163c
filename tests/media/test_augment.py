"""Views are drawn from a declaration, and made again from their numbers alone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.media import augment
from dof_arrow.media.augment import Augmentation, apply, columns, draw, from_mapping, load, presets
from tests.support.speed import slowness

EVERYTHING = Augmentation(
    seed=3,
    crop=(0.5, 0.9),
    crop_ratio=(0.8, 1.25),
    flip_x=0.5,
    flip_y=0.5,
    scale=(0.8, 1.2),
    rotate=(-30.0, 30.0),
    shift_x=(-0.2, 0.2),
    shift_y=(-0.2, 0.2),
    fill=7,
    normalize=0.5,
    brightness=(0.7, 1.3),
    contrast=(0.7, 1.3),
    blur=(0.0, 0.03),
    noise=(0.0, 0.05),
)


def picture(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    random = np.random.default_rng(0)
    coarse = (
        random.integers(0, 256, (5, 5, shape[-1]))
        .repeat(shape[-3] // 5 + 1, 0)
        .repeat(shape[-2] // 5 + 1, 1)
    )
    one = coarse[: shape[-3], : shape[-2]].astype(np.uint8)
    pixels = np.broadcast_to(one, shape).copy()
    return pixels if dtype == np.uint8 else (pixels / 255).astype(dtype)


def views(declared: Augmentation, count: int = 200, name: str = "") -> list[Any]:
    return [draw(declared, i, 1)[name] for i in range(count)]


# what is drawn


def test_view_0_is_the_plain_picture() -> None:
    pixels = picture(20, 30, 3)
    assert draw(EVERYTHING, 5, 0) == {}
    assert np.array_equal(apply(pixels, {}), pixels)


def test_a_draw_depends_on_seed_operation_index_and_view_and_nothing_else() -> None:
    first = draw(EVERYTHING, 4, 2)
    assert first == draw(EVERYTHING, 4, 2) and set(first) == set(columns(EVERYTHING))
    for other in (
        draw(EVERYTHING, 5, 2),
        draw(EVERYTHING, 4, 3),
        draw(from_mapping({**to_json(EVERYTHING), "seed": 4}), 4, 2),
    ):
        assert all(
            other[name] != first[name] for name in ("rotate", "scale", "noise_seed", "crop_top")
        )


def test_an_operation_more_leaves_the_draws_of_the_others() -> None:
    alone = draw(Augmentation(rotate=(-9.0, 9.0)), 1, 1)
    both = draw(Augmentation(rotate=(-9.0, 9.0), crop=(0.5, 1.0)), 1, 1)
    assert both["rotate"] == alone["rotate"]


@pytest.mark.parametrize("name", ["shift_x", "shift_y", "rotate"])
def test_row_G4_shifts_and_turns_go_both_ways_evenly(name: str) -> None:
    """Row G4: there it was only right, and only one way."""
    drawn = views(
        Augmentation(shift_x=(-0.5, 0.5), shift_y=(-0.5, 0.5), rotate=(-0.5, 0.5)), 400, name
    )
    assert -0.5 <= min(drawn) < -0.45 and 0.45 < max(drawn) <= 0.5 and abs(np.mean(drawn)) < 0.05


def test_probabilities_and_ranges_are_kept() -> None:
    flips = views(Augmentation(flip_x=0.25), 1000, "flip_x")
    assert set(flips) == {0, 1} and 0.2 < np.mean(flips) < 0.3
    for i in range(200):
        box = draw(Augmentation(crop=(0.25, 0.5), crop_ratio=(0.5, 2.0)), i, 1)
        assert (
            0 <= box["crop_top"] <= 1 - box["crop_height"]
            and 0 <= box["crop_left"] <= 1 - box["crop_width"]
        )
        assert 0.249 < box["crop_width"] * box["crop_height"] < 0.501


def test_a_draw_survives_json_and_a_numeric_column() -> None:
    drawn = draw(EVERYTHING, 1, 1)
    assert json.loads(json.dumps(drawn)) == drawn == {n: v for n, v in drawn.items()}
    assert {n: "int64" if isinstance(v, int) else "float64" for n, v in drawn.items()} == columns(
        EVERYTHING
    )


# what is done


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(40, 60, 3), (40, 60, 1), (3, 40, 60, 3), (2, 1, 1, 1), (17, 23, 4)]
)
def test_row_D8_a_view_is_made_again_bit_for_bit_from_its_numbers(
    shape: tuple[int, ...], dtype: Any
) -> None:
    for view in range(1, 6):
        pixels, facts = picture(*shape, dtype=dtype), draw(EVERYTHING, 2, view)
        before = pixels.copy()
        made = apply(pixels, facts)
        again = apply(pixels.copy(), json.loads(json.dumps(facts)))
        assert made.dtype == dtype and made.ndim == len(shape) and made.flags.c_contiguous
        assert (
            made.tobytes() == again.tobytes()
            and np.isfinite(made).all()
            and np.array_equal(pixels, before)
        )


def test_shifts_are_by_whole_pixels_and_exact() -> None:
    pixels = picture(10, 20, 3)
    right_down = apply(pixels, {"shift_x": 0.1, "shift_y": 0.2})
    assert np.array_equal(right_down[2:, 2:], pixels[:-2, :-2]) and not right_down[:2].any()
    left_up = apply(pixels, {"shift_x": -0.1, "shift_y": -0.2, "fill": 9})
    assert np.array_equal(left_up[:-2, :-2], pixels[2:, 2:]) and (left_up[-2:] == 9).all()


def test_turns_are_counter_clockwise_and_right_angles_exact() -> None:
    pixels = picture(20, 20, 3)
    assert np.array_equal(apply(pixels, {"rotate": 90.0}), np.rot90(pixels))
    assert np.array_equal(apply(pixels, {"rotate": -90.0}), np.rot90(pixels, -1))


def test_flips_and_crops_are_exact() -> None:
    pixels = picture(10, 20, 3)
    assert np.array_equal(apply(pixels, {"flip_x": 1, "flip_y": 0}), pixels[:, ::-1])
    assert np.array_equal(apply(pixels, {"flip_x": 0, "flip_y": 1}), pixels[::-1])
    box = {"crop_top": 0.2, "crop_left": 0.1, "crop_height": 0.5, "crop_width": 0.25}
    assert np.array_equal(apply(pixels, box), pixels[2:7, 2:7])


def test_scale_enlarges_about_the_centre() -> None:
    pixels = np.zeros((40, 40, 1), np.uint8)
    pixels[14:26, 14:26] = 200
    assert (apply(pixels, {"scale": 2.0}) > 100).sum() == 576
    assert (apply(pixels, {"scale": 0.5}) > 100).sum() == 36


def test_tone_is_one_rounding() -> None:
    pixels = np.array([[[50], [100], [150]]], np.uint8)
    assert apply(pixels, {"brightness": 1.5}).ravel().tolist() == [75, 150, 225]
    assert apply(pixels, {"contrast": 2.0}).ravel().tolist() == [0, 100, 200]
    assert apply(pixels, {"normalize": 1}).ravel().tolist() == [0, 128, 255]
    both = apply(pixels, {"normalize": 1, "brightness": 0.5, "contrast": 0.5}).ravel().tolist()
    assert both == [32, 64, 96]
    floats = apply(pixels / 255, {"normalize": 1})
    assert np.allclose(floats.ravel(), [0, 0.5, 1])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_row_G4_black_frames_stay_numbers(dtype: Any) -> None:
    """Row G4: normalising them gave NaN there."""
    black = np.zeros((4, 12, 12, 3), dtype)
    every = {"normalize": 1, "contrast": 1.3, "brightness": 1.2, "blur": 0.1, "rotate": 12.0}
    assert (
        not apply(black, every).any()
        and np.isfinite(apply(black, every | {"noise": 0.1, "noise_seed": 1})).all()
    )


def test_row_G4_one_draw_for_a_clip() -> None:
    """Row G4: but noise is every frame's own."""
    clip = np.stack([picture(24, 24, 3), picture(24, 24, 3)[::-1]])
    facts = draw(
        Augmentation(rotate=(5.0, 9.0), shift_x=(0.1, 0.2), crop=(0.5, 0.6), blur=(0.01, 0.02)),
        0,
        1,
    )
    made = apply(clip, facts)
    assert all(np.array_equal(made[t], apply(clip[t], facts)) for t in range(2))
    noisy = apply(clip * 0 + 100, {"noise": 0.1, "noise_seed": 5})
    assert not np.array_equal(noisy[0], noisy[1])


def test_blur_and_noise_have_the_declared_size() -> None:
    flat = np.full((200, 200, 1), 128, np.uint8)
    assert abs(apply(flat, {"noise": 0.05, "noise_seed": 1}).astype(float).std() - 0.05 * 255) < 0.2
    dot = np.zeros((101, 101, 1), np.float32)
    dot[50, 50] = 1
    spread = apply(dot, {"blur": 0.04})[:, :, 0].sum(0)
    sigma = np.sqrt((spread * (np.arange(101) - 50) ** 2).sum() / spread.sum())
    assert abs(sigma - 4.04) < 0.1
    eight = apply((dot * 255).astype(np.uint8).repeat(9, 0)[450 - 50 : 450 + 51], {"blur": 0.04})
    assert eight.max() < 255 and abs(int(eight.sum()) - 9 * 255) < 255


def test_floats_and_bytes_tell_the_same_picture() -> None:
    pixels = picture(60, 60, 3)
    facts = draw(
        Augmentation(rotate=(4.0, 9.0), brightness=(0.8, 0.9), blur=(0.02, 0.03), flip_x=1.0), 0, 1
    )
    difference = apply(pixels / 255.0, facts) * 255 - apply(pixels, facts).astype(float)
    assert np.abs(difference).mean() < 1.5


def test_it_keeps_up_with_decoding() -> None:
    pixels = picture(1000, 1000, 3)
    facts = draw(presets()["photo"], 0, 1)
    apply(pixels, facts)
    before = time.process_time()
    for _ in range(5):
        apply(pixels, facts)
    assert (time.process_time() - before) / 5 < 0.25 * slowness()


# declarations


def test_declarations_are_read_from_names_files_and_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"shift_x": [-0.1, 0.1]}')
    assert (
        load(str(tmp_path / "a.json"))
        == load('{"shift_x": [-0.1, 0.1]}')
        == Augmentation(shift_x=(-0.1, 0.1))
    )
    for declared in (*presets().values(), EVERYTHING):
        assert from_mapping(to_json(declared)) == declared


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("absent.json", "cannot be read.*xray, photo or a JSON file"),
        ('{"rotat": [1, 2]}', "rotat"),
        ('{"rotate": 3}', "rotate"),
        ('{"rotate": [3, 1], "crop": [0.1]}', "rotate needs two.*|crop needs two"),
        ('{"crop": [0, 1]}', "crop is above 0"),
        ('{"crop": [0.5, 1.5]}', "at most 1"),
        ('{"fill": 300}', "at most 255"),
        ('{"flip_x": 2}', "probability"),
        ('{"noise": [-1, 1]}', "noise is not below 0"),
        ('{"scale": [0, 1]}', "above 0"),
        ("[1]", "cannot be read"),
        ('{"seed": -1}', "seed"),
        ('{"blur": [0, 2]}', "blur"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(text)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.int32), np.zeros((0, 2, 3))]
)
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(UsageError, match="not a picture or clip"):
        augment.apply(pixels, {})


def test_json_that_is_nested_deeply_is_refused() -> None:
    with pytest.raises(UsageError, match="is no JSON: found nested too deeply"):
        load('{"rotate": ' + "[" * 100_000)
