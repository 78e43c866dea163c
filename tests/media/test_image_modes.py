"""Pixels of every mode become RGB or grey of 8 bits by the stated rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from dof_arrow.media.array import is_thrice
from dof_arrow.media.image import decode, inspect
from tests.media.stored import grey, rgb, stored


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 256, 65535]], [[0, 1, 255]]),
        ([[0, 2048, 4095]], [[0, 128, 255]]),
        ([[0, 7, 255]], [[0, 7, 255]]),
    ],
)
def test_16_bits_keep_the_upper_8_in_use(
    values: list[list[int]], expected: list[list[int]]
) -> None:
    for format in ("PNG", "TIFF"):
        data = stored(np.array(values, np.uint16), format)
        assert grey(data) == expected and inspect(data).bits == 16


def test_a_pgm_of_12_bits_is_scaled_to_its_maxval() -> None:
    assert grey(b"P5 3 1 4095 " + np.array([0, 2048, 4095], ">u2").tobytes()) == [[0, 128, 255]]


def test_white_is_zero_is_inverted_at_any_depth() -> None:
    assert grey(stored(np.array([[0, 65535]], np.uint16), "TIFF", tiffinfo={262: 0})) == [[255, 0]]
    assert grey(stored(np.array([[0, 255]], np.uint8), "TIFF", tiffinfo={262: 0})) in (
        [[0, 255]],
        [[255, 0]],
    )


def test_numbers_without_a_range_are_stretched() -> None:
    assert grey(stored(np.array([[-1, 0, 3]], np.float32), "TIFF")) == [[0, 64, 255]]
    assert grey(stored(np.array([[np.nan, -np.inf, 0, 1, np.inf]], np.float32), "TIFF")) == [
        [0, 0, 0, 255, 255]
    ]
    assert grey(stored(np.array([[-1000, 0, 3000]], np.int32), "TIFF")) == [[0, 64, 255]]
    assert grey(stored(np.full((1, 2), 7, np.float32), "TIFF")) == [[0, 0]]
    assert grey(stored(np.full((1, 2), np.nan, np.float32), "TIFF")) == [[0, 0]]


def test_what_is_transparent_is_white() -> None:
    clear = stored(np.array([[[9, 9, 9, 0], [10, 20, 30, 255]]], np.uint8))
    assert decode(clear)[0].tolist() == [[[255] * 3, [10, 20, 30]]]
    assert rgb(stored(np.array([[[0, 0, 0, 128]]], np.uint8))) == [127] * 3
    assert grey(stored(np.array([[[0, 0], [40, 255]]], np.uint8))) == [[255, 40]]
    assert grey(stored(np.array([[5, 6]], np.uint8), transparency=5)) == [[255, 6]]
    assert grey(stored(np.array([[5, 600]], np.uint16), transparency=5)) == [[255, 150]]


def test_palettes_with_and_without_transparency() -> None:
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    assert decode(stored(picture))[0].tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert decode(stored(picture, transparency=0))[0].tolist() == [[[255] * 3, [40, 50, 60]]]
    assert decode(stored(picture, transparency=b"\0\xff"))[0].tolist() == [
        [[255] * 3, [40, 50, 60]]
    ]
    assert decode(stored(picture, "GIF", transparency=1))[0].tolist() == [[[10, 20, 30], [255] * 3]]


def test_other_colour_spaces() -> None:
    assert rgb(stored(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")) == [255, 0, 0]
    adobe = rgb(stored(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(np.subtract(adobe, [254, 0, 0])).max() <= 3
    assert (
        np.abs(
            np.subtract(rgb(stored(Image.new("YCbCr", (8, 8), (76, 85, 255)), "TIFF")), [254, 0, 0])
        ).max()
        <= 3
    )
    assert grey(stored(Image.new("1", (2, 1), 1))) == [[255, 255]]
    assert (
        np.abs(
            np.subtract(rgb(stored(Image.new("LAB", (1, 1), (255, 128, 128)), "TIFF")), 255)
        ).max()
        <= 1
    )


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_large_pictures_are_converted_in_bands_to_the_same_pixels(
    mode: Any,
    orientation: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    values = np.random.default_rng(0).integers(0, 256, (23, 31, 4)).astype(np.uint8)
    pictures = [
        stored(Image.fromarray(values, "RGBA"), exif=exif),
        stored(values[..., 0], exif=exif),
        stored(values[..., 0].astype(np.uint16) * 100, exif=exif),
        stored(Image.fromarray(values[..., 0].astype(np.float32)), "TIFF", exif=exif),
    ]
    whole = [decode(data, mode=mode)[0] for data in pictures]
    monkeypatch.setattr("dof_arrow.media.image_modes.BAND", 100)
    for data, expected in zip(pictures, whole, strict=True):
        made = decode(data, mode=mode)[0]
        assert made.flags.c_contiguous and np.array_equal(made, expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("turn", [1, 3, 6])
def test_grey_that_is_kept_once_has_the_same_pixels(mode: str, turn: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
    if mode == "I;16":
        made = Image.fromarray(values.astype(np.uint16) * 200)
    elif mode == "F":
        made = Image.fromarray(values.astype(np.float32))
    else:
        made = Image.fromarray(values).convert(mode)
    exif = Image.Exif()
    exif[274] = turn
    data = stored(made, "TIFF", exif=exif)
    plain, facts = decode(data)
    once, same_facts = decode(data, grey_once=True)
    assert plain.flags.c_contiguous and facts == same_facts
    assert is_thrice(once) == (mode in ("L", "I;16", "F"))
    np.testing.assert_array_equal(once, plain)
