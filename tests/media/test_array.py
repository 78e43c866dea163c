"""Arrays become pixels as stored pictures do; what is no picture is refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dof_arrow.errors import PictureError, UsageError
from dof_arrow.media import array, decode, image
from dof_arrow.media.decode import ReadingOptions
from tests.support.dicoms import dicom


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[False, True]]), [0, 255]),
        (np.array([[7, 255]], np.uint8), [7, 255]),
        (np.array([[0, 4080]], np.uint16), [0, 255]),
        (np.array([[0, 255]], np.uint16), [0, 255]),
        (np.array([[0, 1 << 31]], np.uint32), [0, 128]),
        (np.array([[-5, 0, 5]], np.int16), [0, 128, 255]),
        (np.array([[0.0, np.nan, np.inf, 2.0, -np.inf]], np.float16), [0, 0, 255, 255, 0]),
        (np.array([[np.nan, 3.0]]), [0, 0]),
    ],
)
def test_every_type_becomes_8_bits_by_the_stated_rule(
    values: np.ndarray, expected: list[int]
) -> None:
    assert array.decode(values, mode="L")[0].ravel().tolist() == expected


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("stored_mode", ["L", "LA", "RGB", "RGBA"])
def test_arrays_and_stored_pictures_give_the_same_pixels(mode: Any, stored_mode: str) -> None:
    values = random(9, 7, len(stored_mode))
    file = io.BytesIO()
    Image.fromarray(values[..., 0] if stored_mode == "L" else values, stored_mode).save(file, "PNG")
    made, facts = array.decode(values, mode=mode)
    expected = image.decode(file.getvalue(), mode=mode)[0]
    assert made.flags.c_contiguous and np.abs(made.astype(int) - expected).max() <= 1
    assert facts.mode == stored_mode and (facts.width, facts.height) == (7, 9)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(3),
        np.zeros((5, 2, 9)),
        np.zeros((0, 3)),
        np.zeros((2, 2, 2, 2)),
        np.array([["a", "b"]]),
        np.zeros((2, 2), complex),
    ],
)
def test_other_arrays_are_refused_by_rule(values: np.ndarray) -> None:
    with pytest.raises(PictureError) as caught:
        array.decode(values)
    assert caught.value.rule == "unsupported-mode"


def test_a_picture_is_told_by_content() -> None:
    assert decode.decode(random(4, 4))[1].format == "array"
    assert decode.decode(dicom(random(4, 4)))[1].format == "DICOM"
    assert decode.decode(b"P5 2 1 255 ab")[1].format == "PPM"
    with pytest.raises(PictureError, match="too many pixels"):
        decode.decode(b"P5 2 1 255 ab", reading=ReadingOptions(max_pixels=1))


def test_permissions_that_are_not_known_are_refused() -> None:
    with pytest.raises(UsageError, match="burned-in or deflated, found everything"):
        ReadingOptions(allow=["everything"])
