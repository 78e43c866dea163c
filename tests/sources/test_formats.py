"""A folder of pictures of every kind: each told by its content, values as Pillow or pydicom say."""

from __future__ import annotations

import gzip
import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dof_arrow.errors import MissingExtra, PictureError, SourceError
from dof_arrow.sources import folder as folder_module
from dof_arrow.sources.open import open_source
from tests.sources.listed import keys
from tests.support.dicoms import dicom

GREY = np.random.default_rng(1).integers(0, 256, (12, 16), np.uint8)
GREY[0, :2] = 0, 255  # DICOM values without a window are stretched over their range
COLOUR = np.random.default_rng(2).integers(0, 256, (12, 16, 3), np.uint8)


def stored(pixels: Any, format: str, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(file, format, **options)
    return file.getvalue()


def cell(raw: bytes, mode: str = "RGB") -> np.ndarray:
    """What Pillow makes of a picture."""
    with Image.open(io.BytesIO(raw)) as picture:
        return np.asarray(picture.convert(mode)).reshape(picture.height, picture.width, -1)


PICTURES: dict[str, Callable[[], bytes]] = {
    "plain.png": lambda: stored(COLOUR, "PNG"),
    "png.jpg": lambda: stored(COLOUR, "PNG"),
    "jpeg.png": lambda: stored(COLOUR, "JPEG"),
    "jpeg.dcm": lambda: stored(COLOUR, "JPEG"),
    "jpeg.tif": lambda: stored(GREY, "JPEG"),
    "upper.JPEG": lambda: stored(COLOUR, "JPEG", quality=95),
    "progressive.jpe": lambda: stored(COLOUR, "JPEG", progressive=True),
    "photo.jfif": lambda: stored(COLOUR, "JPEG"),
    "big.tif": lambda: stored(COLOUR, "TIFF", big_tiff=True),
    "lzw.tiff": lambda: stored(COLOUR, "TIFF", compression="tiff_lzw"),
    "deflate.tif": lambda: stored(GREY, "TIFF", compression="tiff_adobe_deflate"),
    "webp.png": lambda: stored(COLOUR, "WEBP", lossless=True),
    "gif.bmp": lambda: stored(GREY, "GIF"),
    "bmp.gif": lambda: stored(COLOUR, "BMP"),
    "ppm.pgm": lambda: stored(COLOUR, "PPM"),
    "j2k.jp2": lambda: stored(COLOUR, "JPEG2000"),
    "palette.png": lambda: stored(COLOUR, "PNG", "P"),
    "bits.pbm": lambda: stored(GREY, "PPM", "1"),
    "avif.jpg": lambda: stored(COLOUR, "AVIF"),
}
DICOMS = ("dicom.png", "IM0001", "1.2.840.113", "series/0001", "slice.DCM", "x.dicom")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    root = tmp_path / "mixed"
    (root / "series").mkdir(parents=True)
    for name, make in PICTURES.items():
        (root / name).write_bytes(make())
    for name in DICOMS:
        (root / name).write_bytes(dicom(GREY))
    (root / "DICOMDIR").write_bytes(dicom(GREY))
    (root / "series" / "DICOMDIR").write_bytes(dicom(GREY))
    (root / "LICENSE").write_bytes(b"text")
    (root / "data.123").write_bytes(b"text")
    return root


def test_every_picture_is_read_by_what_it_is(mixed: Path) -> None:
    source = open_source(mixed)
    assert keys(source) == sorted([*PICTURES, *DICOMS])
    assert source.counts == {"dicomdir": 2, "ignored": 2}
    for i in range(len(source)):
        sample = source[i]
        pixels, facts = sample.picture()
        if sample.key in DICOMS:
            assert np.array_equal(pixels, np.repeat(GREY[..., None], 3, 2)), sample.key
            assert facts.format == "DICOM"
        else:
            assert np.array_equal(pixels, cell((mixed / sample.key).read_bytes())), sample.key


def test_attributes_of_dicom_files_beside_pictures(mixed: Path) -> None:
    source = open_source(mixed, keep=["Modality"])
    found = {source[i].key: source[i].kept["Modality"] for i in range(len(source))}
    assert found == {name: "DX" if name in DICOMS else None for name in found}


def test_without_pydicom_dicom_files_fail_by_themselves(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        folder_module, "find_spec", lambda name: None if name == "pydicom" else real(name)
    )
    source = open_source(mixed)
    by_key = {source[i].key: source[i] for i in range(len(source))}
    by_key["plain.png"].picture()
    with pytest.raises(PictureError, match=r"pip install 'dof-arrow\[dicom\]'") as caught:
        by_key["IM0001"].picture()
    assert caught.value.rule == "missing-extra"
    for name in PICTURES:
        (mixed / name).unlink()
    with pytest.raises(MissingExtra, match="dicom"):
        open_source(mixed)


@pytest.mark.parametrize(
    ("name", "data", "reason", "rule"),
    [
        (
            "page.jpg",
            b"<!DOCTYPE html>\n<html>login</html>",
            "no picture: HTML",
            "unsupported-format",
        ),
        ("page.png", b"\xef\xbb\xbf \n<HTML><body>", "no picture: HTML", "unsupported-format"),
        ("note.png", b"<!-- made by x -->\n<html>", "no picture: HTML", "unsupported-format"),
        ("empty.png", b"", "0 bytes", "empty"),
        ("zipped.png", gzip.compress(b"x" * 99, mtime=0), "a gzip archive", "unsupported-format"),
        ("a.jpg", b"BZh91AY", "a bzip2 archive", "unsupported-format"),
        ("a.gif", b"\x28\xb5\x2f\xfd" + bytes(9), "a Zstandard archive", "unsupported-format"),
        ("a.bmp", b"\0\0\0\x18ftypisom" + bytes(20), "a video", "unsupported-format"),
        ("a.tif", b"\x93NUMPY\1\0", "an array", "unsupported-format"),
        ("a.webp", b"%PDF-1.7", "a PDF", "unsupported-format"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(30), "damaged", "undecodable"),
    ],
)
def test_what_is_no_picture_says_what_it_is(
    tmp_path: Path, name: str, data: bytes, reason: str, rule: str
) -> None:
    root = tmp_path / "one"
    root.mkdir()
    (root / name).write_bytes(data)
    (root / "sound.png").write_bytes(stored(GREY, "PNG"))
    source = open_source(root)
    failed = next(source[i] for i in range(2) if source[i].key == name)
    with pytest.raises(PictureError, match=reason) as caught:
        failed.picture()
    assert caught.value.rule == rule
    if not data.startswith((b"\x1f\x8b", b"BZh", b"\x28\xb5", b"\x93N")):
        with pytest.raises(SourceError, match=reason):
            open_source(root / name)


def test_the_first_frame_of_an_animation_is_the_picture(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), (level, 0, 0)) for level in (200, 10)]
    for name, format in (("a.gif", "GIF"), ("b.webp", "WEBP"), ("c.apng", "PNG")):
        frames[0].save(tmp_path / name, format, save_all=True, append_images=frames[1:])
    source = open_source(tmp_path)
    assert len(source) == 3
    for i in range(3):
        pixels, facts = source[i].picture()
        assert abs(int(pixels[0, 0, 0]) - 200) < 3 and facts.frames == 2
