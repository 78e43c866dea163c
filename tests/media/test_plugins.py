"""HEIF and JPEG XL, with their plugins and without them."""

from __future__ import annotations

import io
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dof_arrow.errors import PictureError
from dof_arrow.media import plugins
from dof_arrow.media.image import decode, inspect
from dof_arrow.media.plugins import jxl_size, plugin_format

RNG = np.random.default_rng(0)
SMOOTH = np.add.outer(np.arange(60), 2 * np.arange(80)).astype(np.uint8)


def jxl(pixels: Any, **options: Any) -> bytes:
    pytest.importorskip("pillow_jxl")
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(file, "JXL", lossless=True, **options)
    return file.getvalue()


def heif(pixels: Any, **options: Any) -> bytes:
    heif_library = pytest.importorskip("pillow_heif")
    heif_library.register_heif_opener()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "HEIF", **options)
    return file.getvalue()


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (256, 256), (300, 400, 3), (1, 1)])
def test_jpeg_xl_without_loss(shape: tuple[int, ...], container: bool) -> None:
    pixels = RNG.integers(0, 256, shape, np.uint8)
    data = jxl(pixels, use_container=container)
    found, facts = decode(data, mode="L" if len(shape) == 2 else "RGB")
    assert np.array_equal(found, pixels.reshape(*shape[:2], -1))
    assert (facts.format, facts.bits, facts.width) == ("JXL", 8, shape[1])
    assert jxl_size(data) == (shape[1], shape[0])


@pytest.mark.parametrize(
    "size", [(8, 8), (256, 128), (264, 8), (600, 600), (9000, 3), (1280, 720), (5, 4), (1200, 1000)]
)
def test_the_size_of_a_jpeg_xl_is_told_by_its_header(size: tuple[int, int]) -> None:
    assert jxl_size(jxl(np.zeros((size[1], size[0]), np.uint8), effort=1)) == size


def test_grey_of_16_bits_and_transparency_in_jpeg_xl() -> None:
    grey = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
    assert np.array_equal(decode(jxl(grey), mode="L")[0][..., 0], grey >> 8)
    glass = np.zeros((4, 4, 4), np.uint8)
    assert decode(jxl(glass))[0].min() == 255


def test_a_turned_jpeg_xl_is_turned_once() -> None:
    pixels = RNG.integers(0, 256, (6, 4), np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    data = jxl(pixels, exif=exif.tobytes())
    with Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(picture)
    assert np.array_equal(decode(data, mode="L")[0][..., 0], expected)


def test_heif_is_close_to_what_was_stored_and_as_its_library_says() -> None:
    data = heif(SMOOTH, quality=100)
    found, facts = decode(data, mode="L")
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(found[..., 0], np.asarray(picture.convert("L")))
    assert np.abs(found[..., 0].astype(int) - SMOOTH).max() < 40
    assert (facts.format, facts.width, facts.height) == ("HEIF", 80, 60)


def test_avif_is_read_by_pillow_itself() -> None:
    file = io.BytesIO()
    Image.fromarray(SMOOTH).save(file, "AVIF", quality=100)
    assert plugin_format(file.getvalue()) is None and inspect(file.getvalue()).format == "AVIF"


@pytest.mark.parametrize(
    ("module", "extra", "data"),
    [
        ("pillow_heif", "heif", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(80)),
        ("pillow_heif", "heif", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix" + bytes(80)),
        ("pillow_jxl", "jxl", b"\xff\x0a" + bytes(80)),
        ("pillow_jxl", "jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(80)),
    ],
)
def test_without_its_plugin_a_picture_fails_and_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, extra: str, data: bytes
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    plugins._load_heif.cache_clear()
    with pytest.raises(PictureError, match=rf"pip install 'dof-arrow\[{extra}\]'") as caught:
        decode(data)
    assert caught.value.rule == "missing-extra"
    plugins._load_heif.cache_clear()


def test_damaged_ones_are_picture_errors_and_huge_ones_are_refused_unread() -> None:
    pytest.importorskip("pillow_jxl")
    pytest.importorskip("pillow_heif")
    for data in (jxl(SMOOTH), heif(SMOOTH)):
        for cut in range(13, len(data), max(len(data) // 7, 1)):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    decode(data[:cut])
                except PictureError:
                    continue
        with pytest.raises(PictureError) as caught:
            decode(data, max_pixels=4799)
        assert caught.value.rule == "too-large" and decode(data, max_pixels=4800)
    bomb = jxl(np.zeros((7000, 7000), np.uint8), effort=1)
    with pytest.raises(PictureError, match="found 7000 x 7000"):
        decode(bomb)
