"""Stored pictures are decoded upright, within bounds, or refused with a reason."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from dof_arrow.errors import PictureError
from dof_arrow.media.bounds import MEMORY
from dof_arrow.media.image import decode, inspect
from tests.media.stored import grey, raised, stored
from tests.support.shared import shared_data

BAD = {
    "broken.png": "undecodable",
    "broken_data_stream.png": "undecodable",
    "crash-0da013a13571cc8eb457a39fee8db18f8a3c7127.tif": "undecodable",
    "crash-338516dbd2f0e83caddb8ce256c22db3bd6dc40f.tif": "undecodable",
    "decompression_bomb.gif": "too-large",
    "decompression_bomb.ico": "unsupported-format",
    "hopper.psd": "unsupported-format",
    "oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif": "undecodable",
    "truncated_image.png": "truncated",
    "truncated_jpeg.jpg": "truncated",
}


def nasty() -> list[Path]:
    return sorted((shared_data() / "corpora" / "images-nasty").iterdir())


def test_every_nasty_picture_is_read_or_refused_by_rule(capfd: pytest.CaptureFixture[str]) -> None:
    refused = {}
    for path in nasty():
        try:
            pixels, facts = decode(path.read_bytes())
        except PictureError as error:
            refused[path.name] = error.rule
            assert path.name not in str(error) and (
                error.__suppress_context__ or not error.__context__
            )
        else:
            turned = facts.orientation >= 5
            assert pixels.shape == (
                (facts.width, facts.height) if turned else (facts.height, facts.width)
            ) + (3,)
            assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert refused == BAD
    assert capfd.readouterr() == ("", "")


def test_all_real_pictures_decode_in_both_modes() -> None:
    folder = shared_data() / "images"
    for path in [
        *(folder / "chest-xray" / "images").iterdir(),
        *(folder / "imagenet-sample").glob("*.JPEG"),
    ]:
        data = path.read_bytes()
        colour, facts = decode(data)
        assert decode(data, mode="L")[0].shape == (*colour.shape[:2], 1) and facts == inspect(data)


def test_eight_orientations_are_one_picture() -> None:
    folder = shared_data() / "corpora" / "exif-orientation"
    pictures = [
        decode(path.read_bytes())[0].astype(int) for path in sorted(folder.glob("Landscape_*.jpg"))
    ]
    assert len(pictures) == 9 and {p.shape for p in pictures} == {(1200, 1800, 3)}
    assert all(np.abs(p - pictures[1]).mean() < 5 for p in pictures)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_or_ignored_in_every_format(format: str, orientation: int) -> None:
    upright = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)[:, :3] * 5
    undo = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    turns: dict[int, Any] = {
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 3),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: np.rot90,
    }
    lying = turns[undo[orientation]](upright) if orientation > 1 else upright
    exif = Image.Exif()
    exif[274] = orientation
    data = stored(np.ascontiguousarray(lying), format, exif=exif, lossless=True)
    pixels, facts = decode(data)
    assert np.array_equal(pixels, upright) and facts.orientation == orientation
    assert (facts.height, facts.width) == lying.shape[:2]
    assert np.array_equal(decode(data, orientation="ignore")[0], lying)


def test_an_orientation_that_cannot_be_is_none() -> None:
    exif = Image.Exif()
    exif[274] = 77
    assert decode(stored(np.array([[1]], np.uint8), "PNG", exif=exif))[1].orientation == 1


def test_the_first_frame_is_taken_and_frames_are_counted() -> None:
    frames = [Image.new("L", (4, 4), level) for level in (10, 200, 90)]
    for format in ("GIF", "PNG"):
        data = stored(frames[0], format, save_all=True, append_images=frames[1:])
        assert grey(data)[0][0] == 10 and inspect(data).frames == 3


def test_draft_decodes_to_the_next_size_that_is_large_enough() -> None:
    data = stored(np.zeros((400, 600, 3), np.uint8), "JPEG")
    shapes = {
        draft: decode(data, draft=draft)[0].shape[:2] for draft in (400, 201, 200, 60, 50, 10)
    }
    assert shapes == {
        400: (400, 600),
        201: (400, 600),
        200: (200, 300),
        60: (100, 150),
        50: (50, 75),
        10: (50, 75),
    }
    assert decode(data, draft=50)[1].width == 600
    assert decode(stored(np.zeros((40, 60), np.uint8)), draft=10)[0].shape == (40, 60, 3)


def test_bytes_that_are_no_picture() -> None:
    assert raised(b"").rule == "empty"
    assert raised(b"hello").rule == "undecodable"
    assert raised(bytes(128) + b"DICM").rule == "unsupported-format"
    assert raised(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").rule == "unsupported-format"
    assert inspect(stored(np.array([[1]], np.uint8), "PNG")).format == "PNG"


def test_every_truncation_of_every_format_is_a_picture_error() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    for format in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000"):
        data = stored(noise, format)
        refused = sum(
            _refused(data[:length]) for length in range(0, len(data), max(1, len(data) // 60))
        )
        assert refused >= 25, format


def test_random_damage_never_escapes() -> None:
    random = np.random.default_rng(1)
    for format in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000"):
        options = {"compression": "tiff_lzw"} if format == "TIFF" else {}
        data = bytearray(
            stored(random.integers(0, 256, (16, 16, 3)).astype(np.uint8), format, **options)
        )
        for _ in range(150):
            broken = bytearray(data)
            for place in random.integers(0, len(data), 3):
                broken[place] = random.integers(0, 256)
            _refused(bytes(broken), max_pixels=1 << 20)


def _refused(data: bytes, **options: Any) -> bool:
    try:
        decode(data, **options)
    except PictureError:
        return True
    return False


def test_size_is_checked_before_pixels() -> None:
    data = stored(np.zeros((100, 100), np.uint8))
    error = raised(data, max_pixels=9_999)
    assert error.rule == "too-large" and error.found == "100 x 100"
    assert decode(data, max_pixels=10_000)[0].shape == (100, 100, 3)
    assert raised(data, max_pixels=0).hint == "Allow more with --max-pixels N."


def header(width: int, height: int, mode: str, format: str) -> bytes:
    """A picture of that size whose pixels are missing."""
    if format == "PPM":
        return f"{'P5' if mode == 'L' else 'P6'} {width} {height} 255 ".encode()
    data = bytearray(stored(np.zeros((8, 8), np.uint8), format, mode))
    place = data.index(bytes([0, 8, 0, 8]))
    data[place : place + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("mode", "format", "megapixels"), [("L", "PPM", 107), ("RGB", "PPM", 67), ("RGB", "JPEG", 67)]
)
def test_as_many_pixels_as_fit_into_memory(mode: str, format: str, megapixels: int) -> None:
    width = 10_000
    assert raised(header(width, megapixels * 100 + 100, mode, format)).rule == "too-large"
    assert inspect(header(width, megapixels * 100 - 100, mode, format)).width == width


def test_a_draft_makes_room() -> None:
    data = header(10_000, 20_000 - 3_000, "RGB", "JPEG")
    assert raised(data).rule == "too-large" and decode(data, draft=1_000)[0].shape == (
        2125,
        1250,
        3,
    )


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("mode", "format"),
    [
        ("RGB", "JPEG"),
        ("RGBA", "PNG"),
        ("F", "TIFF"),
        ("RGB", "WEBP"),
        ("RGB", "JPEG2000"),
        ("I;16", "PNG"),
    ],
)
def test_decoding_takes_no_more_memory_than_is_reckoned(
    mode: str, format: str, tmp_path: Path
) -> None:
    side = 2500
    values = np.arange(side)[:, None] // 16 + np.arange(side)[None] // 16
    picture = Image.fromarray(
        values.astype({"F": np.float32, "I;16": np.uint16}.get(mode, np.uint8))
    )
    (tmp_path / "x").write_bytes(stored(picture, format, None if mode in ("F", "I;16") else mode))
    code = """
import io, pathlib, sys
from PIL import Image
from dof_arrow.media import image as media
def memory(what):
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split(what + ":")[1].split()[0]) << 10
data = pathlib.Path(sys.argv[1]).read_bytes()
small = io.BytesIO()
Image.new("L", (8, 8)).save(small, sys.argv[2])
media.decode(small.getvalue())
before = memory("VmRSS")
media.decode(data)
used = memory("VmHWM") - before - (9 << 20)
with Image.open(io.BytesIO(data)) as picture:
    print(used, picture.width * picture.height * media._cost(picture))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x"), format], capture_output=True, text=True
    )
    used, reckoned = map(int, done.stdout.split())
    assert used <= reckoned < MEMORY


def test_pillow_warnings_stay_inside_in_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Image, "MAX_IMAGE_PIXELS", 60
    )  # 100 pixels are then worth a warning, not an error
    data, failed = stored(np.zeros((10, 10), np.uint8)), []

    def work() -> None:
        try:
            for _ in range(50):
                decode(data)
        except BaseException as error:
            failed.append(error)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert warnings.filters == filters
        warnings.warn("of the caller", stacklevel=1)
    assert not failed and [str(w.message) for w in seen] == ["of the caller"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_bombs_stay_small() -> None:
    folder = shared_data() / "corpora" / "images-nasty"
    code = """
import resource, sys, pathlib
from dof_arrow.errors import PictureError; from dof_arrow.media.image import decode
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        decode(path.read_bytes())
    except PictureError:
        pass
status = pathlib.Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) >> 10)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(folder)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "") and int(done.stdout) < 100


def test_an_error_crosses_processes_with_its_rule() -> None:
    error = pickle.loads(pickle.dumps(raised(b"")))
    assert (error.rule, str(error)) == ("empty", "the file holds 0 bytes")


def test_nothing_that_a_picture_says_of_itself_leaves_it() -> None:
    canary, exif, text = (
        "CANARY Erika Mustermann",
        Image.Exif(),
        TiffImagePlugin.ImageFileDirectory_v2(),
    )
    exif[315], exif[270], text[315], text[270] = [canary] * 4
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    for data in (
        stored(noise, "JPEG", exif=exif, comment=canary),
        stored(noise, "PNG", exif=exif),
        stored(noise, "TIFF", tiffinfo=text),
    ):
        assert canary.encode() in data and "CANARY" not in repr(decode(data))
        for length in range(0, len(data), 97):
            try:
                decode(data[:length])
            except PictureError as error:
                assert "CANARY" not in repr(error) + str(error)
