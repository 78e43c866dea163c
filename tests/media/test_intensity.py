"""One rule makes pixel values of any type 8-bit ones; the bytes are those it has always made."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from dof_arrow.errors import PictureError
from dof_arrow.media import array, image, image_modes
from dof_arrow.media.frame_sequences import ArrayFrames
from dof_arrow.media.frames import Watched
from dof_arrow.media.intensity import extremes, rule_for, stretch, to_bytes, unused_bits

UNSIGNED = ("u2", "u4", "u8")
SIGNED = ("i1", "i2", "i4", "i8")
FLOATS = ("f2", "f4", "f8")
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, 1.0, -1.0)


# What the rule was before it stood in one place: pictures, arrays and clips had formulas of their
# own. The bytes of features depend on every one of them.


def old_array(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u":
        unused = max(int(values.max()).bit_length() - 8, 0)
        return (values >> values.dtype.type(unused)).astype(np.uint8)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return old_stretch(values, low, high)


def old_stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    scaled = (values.astype(np.float64) - low) * 255 / (high - low)
    return np.rint(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255)).astype(np.uint8)


def old_clip(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    if values.dtype == np.uint8:
        return lambda frame: frame
    if values.dtype == np.bool_:
        return old_array
    if values.dtype.kind == "u":
        unused = max(max(int(frame.max()) for frame in values).bit_length() - 8, 0)
        return lambda frame: (frame >> frame.dtype.type(unused)).astype(np.uint8)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return lambda frame: old_stretch(frame, low, high)


def old_picture(values: np.ndarray) -> np.ndarray:
    """Of Pillow's modes I and F."""
    wide = values.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    scale = 255 / (high - low) if high > low else 0.0
    clean = np.nan_to_num(wide, nan=low, posinf=high, neginf=low)
    return np.rint((clean - low) * scale).astype(np.uint8)


def elements(dtype: str) -> st.SearchStrategy[Any]:
    """Values of narrow ranges and wide ones, and all that is special among floats."""
    kind = np.dtype(dtype).kind
    if kind == "f":
        width = 8 * np.dtype(dtype).itemsize
        # Of float64 the ends of the range are left out: there differences are infinite.
        limit = 1e150 if width == 64 else float(np.finfo(dtype).max)
        wide = st.floats(-limit, limit, width=width, allow_subnormal=False)
        return st.one_of(st.sampled_from(SPECIAL), st.integers(-60, 60), wide)
    if kind == "b":
        return st.booleans()
    info = np.iinfo(dtype)
    near = st.integers(max(info.min, -60), min(info.max, 60))
    return st.one_of(near, st.integers(int(info.min), int(info.max)))


@st.composite
def clips(draw: Any, dtypes: tuple[str, ...]) -> np.ndarray:
    """An array [frames, h, w], now and then of one value only."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5)))
    fill = st.nothing() if draw(st.booleans()) else elements(dtype)
    return draw(arrays(dtype, shape, elements=elements(dtype), fill=fill))


def pixels(values: np.ndarray) -> np.ndarray:
    return array.decode(values, mode="L")[0][..., 0]


@settings(max_examples=600, deadline=None)
@given(clips(("?", "u1", *UNSIGNED, *SIGNED, *FLOATS)))
def test_arrays_and_clips_become_the_bytes_that_they_became(values: np.ndarray) -> None:
    assert np.array_equal(to_bytes(values[0]), old_array(values[0]))
    assert np.array_equal(pixels(values[0]), old_array(values[0]))
    old = old_clip(values)
    frames = list(Watched(ArrayFrames(values, "L")))
    for frame, stored in zip(frames, values, strict=True):
        assert np.array_equal(frame.pixels[..., 0], old(stored))


@settings(max_examples=300, deadline=None)
@given(clips(("f4", "i4", "u2")))
def test_stored_pictures_become_the_bytes_that_they_became(values: np.ndarray) -> None:
    file = io.BytesIO()
    Image.fromarray(values[0]).save(file, "TIFF")
    made = image.decode(file.getvalue(), mode="L")[0][..., 0]
    old = old_array if values.dtype.kind == "u" else old_picture
    assert np.array_equal(made, old(values[0]))


def test_every_whole_number_of_many_ranges_rounds_as_it_did() -> None:
    """Where a value lies midway between two levels, pictures and arrays have always differed."""
    differ = 0
    for highest in (*range(1, 300), 1000, 4095, 65_535):
        values = np.arange(highest + 1, dtype=np.int32)
        of_array = stretch(values, 0, highest)
        of_picture = stretch(values, 0, highest, factor_first=True)
        assert np.array_equal(of_array, old_array(values))
        assert np.array_equal(of_picture, old_picture(values))
        differ += int((of_array != of_picture).sum())
    assert differ > 0


@settings(max_examples=200, deadline=None)
@given(clips(("i2", "f4", "f8")), st.floats(-100, 100), st.floats(-100, 100))
def test_a_window_is_stretched_as_it_was(values: np.ndarray, low: float, high: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of windows so narrow that values overflow
        assert np.array_equal(stretch(values, low, high), old_stretch(values, low, high))


@pytest.mark.parametrize("dtype", ["u2", "i2", "f4"])
def test_the_range_of_all_parts_counts(dtype: str) -> None:
    parts = np.array([[0, 100], [0, 1023]], dtype)
    assert rule_for(parts.dtype, parts)(parts[0]).tolist() == [0, 25]
    assert to_bytes(parts[0]).tolist() == ([0, 100] if dtype == "u2" else [0, 255])


def test_bands_of_a_picture_have_one_range(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(40, dtype=np.float32).reshape(10, 4) - 7
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    monkeypatch.setattr(image_modes, "BAND", 8)
    made = image.decode(file.getvalue(), mode="L")[0][..., 0]
    assert np.array_equal(made, old_picture(values))


def test_what_has_no_finite_value_is_black() -> None:
    nothing = np.array([np.nan, np.inf, -np.inf])
    assert extremes([nothing, nothing]) == (0.0, 0.0)
    assert to_bytes(nothing).tolist() == [0, 0, 0]


def test_at_least_8_bits_are_kept() -> None:
    assert [unused_bits([np.array([top], np.uint64)]) for top in (0, 255, 256, 2**64 - 1)] == [
        0,
        0,
        1,
        56,
    ]


@pytest.mark.parametrize("values", [np.array(["a"]), np.zeros(2, complex), np.array([None])])
def test_what_are_no_numbers_is_refused(values: np.ndarray) -> None:
    with pytest.raises(PictureError, match=r"expected numbers, found") as caught:
        to_bytes(values)
    assert caught.value.rule == "unsupported-mode"


def test_the_value_midway_goes_up_in_an_array_and_down_in_a_stored_picture() -> None:
    values = np.array([[0, 25, 50]], np.int32)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    assert pixels(values).tolist() == [[0, 128, 255]]
    assert image.decode(file.getvalue(), mode="L")[0][..., 0].tolist() == [[0, 127, 255]]
