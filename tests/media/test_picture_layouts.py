"""Rare layouts of TIFF, PNG and BMP, written here byte by byte: the numbers that were written.

A second decoder, ffmpeg's by way of PyAV, is a witness where it reads them.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dof_arrow.errors import PictureError
from dof_arrow.media.image import decode

Array = np.ndarray[Any, Any]

WIDTH, HEIGHT = 8, 6
RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
GREY = RANDOM.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
RGB_16 = RGB.astype(np.uint16) * 257
GREY_16 = (np.arange(48).reshape(HEIGHT, WIDTH) * 1365).astype(np.uint16)
FULL = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
HALF = np.full((HEIGHT, WIDTH, 1), 128, np.uint8)
FLOAT = (GREY_16 / 65535 * 5 - 2).astype(np.float32)
DEEP = GREY_16.astype(np.uint32) * 65537

_TYPES = {"A": 2, "H": 3, "I": 4}
_DEFLATE = 8


def tiff(strips: Sequence[bytes], order: str, tags: dict[int, Any]) -> bytes:
    """A TIFF of these strips; a tag's numbers are shorts, unless they are bytes."""
    entries: dict[int, tuple[str, Any]] = {256: ("I", [WIDTH]), 257: ("I", [HEIGHT])}
    entries.update({259: ("H", [1]), 278: ("I", [HEIGHT])})
    for tag, value in tags.items():
        entries[tag] = ("A", value) if isinstance(value, bytes) else ("H", np.ravel(value).tolist())
    sizes = [len(strip) for strip in strips]
    starts = [8 + sum(sizes[:number]) for number in range(len(sizes))]
    entries[273], entries[279] = ("I", starts), ("I", sizes)
    data = b"".join(strips)
    data += bytes(len(data) % 2)
    directory = struct.pack(order + "H", len(entries))
    behind = 8 + len(data) + 2 + 12 * len(entries) + 4
    extra = b""
    for tag in sorted(entries):
        code, value = entries[tag]
        raw = value if code == "A" else struct.pack(f"{order}{len(value)}{code}", *value)
        directory += struct.pack(order + "HHI", tag, _TYPES[code], len(value))
        if len(raw) <= 4:
            directory += raw.ljust(4, b"\0")
        else:
            directory += struct.pack(order + "I", behind + len(extra))
            extra += raw + bytes(len(raw) % 2)
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(order + "I", 8 + len(data)) + data + directory + bytes(4) + extra


def png(bits: int, kind: int, rows: Sequence[bytes], chunks: Sequence[Any] = ()) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + zlib.crc32(name + data).to_bytes(4)

    head = struct.pack(">IIBBBBB", WIDTH, len(rows), bits, kind, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", head), *chunks, (b"IDAT", lines), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def bmp(bits: int, rows: Sequence[bytes], palette: bytes = b"", masks: Sequence[int] = ()) -> bytes:
    body = b"".join(row.ljust(-(-len(row) // 4) * 4, b"\0") for row in rows)
    size = 56 if len(masks) == 4 else 40
    about = struct.pack(
        "<IiiHHIIiiII", size, WIDTH, len(rows), 1, bits, 3 if masks else 0, len(body), 0, 0, 0, 0
    )
    behind = about + struct.pack(f"<{len(masks)}I", *masks) + palette
    start = 14 + len(behind)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + behind + body


def packed(values: Array, bits: int) -> bytes:
    """Values of 1, 2 or 4 bits, rows filled up to whole bytes."""
    singles = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
    return np.packbits(singles.reshape(len(values), -1), axis=1).tobytes()


def differences(values: Array) -> Array:
    """Predictor 2 of TIFF 6.0, section 14."""
    found = values.copy()
    found[:, 1:] = values[:, 1:] - values[:, :-1]
    return found


def float_differences(values: Array) -> bytes:
    """Predictor 3 (Adobe's TIFF technical note 3): bytes by significance, then differences."""
    lines = []
    for row in values.astype(">f4"):
        by_rank = np.frombuffer(row.tobytes(), np.uint8).reshape(-1, 4).T.ravel()
        lines.append(differences(by_rank[None]).tobytes())
    return b"".join(lines)


def grey(levels: Array) -> Array:
    return np.repeat(np.asarray(levels)[..., None], 3, axis=-1)


def span(values: Array) -> Array:
    values = values.astype(float)
    return grey(np.rint((values - values.min()) * 255 / (values.max() - values.min())))


def shared() -> tuple[bytes, Array]:
    """Colour differences shared by four pixels (section 21), and the RGB that they mean."""
    colours = RGB.astype(float)
    colours[1::2] = colours[::2]
    colours[:, 1::2] = colours[:, ::2]
    luma = colours @ [0.299, 0.587, 0.114]
    blue, red = (colours[..., 2] - luma) / 1.772 + 128, (colours[..., 0] - luma) / 1.402 + 128
    parts = np.clip(np.rint(np.stack([luma, blue, red], axis=-1)), 0, 255).astype(np.uint8)
    units = b""
    for top in range(0, HEIGHT, 2):
        for left in range(0, WIDTH, 2):
            units += parts[top : top + 2, left : left + 2, 0].tobytes()
            units += parts[top, left, 1:].tobytes()
    return units, colours


PALETTE = RANDOM.integers(0, 256, (256, 3))
SMALL = {bits: np.arange(48).reshape(HEIGHT, WIDTH) % (1 << bits) for bits in (1, 2, 4)}


def tiffs(order: str) -> dict[str, tuple[bytes, Array]]:
    """Layouts that are read, in one byte order, and their pixels."""

    def words(values: Array) -> bytes:
        return values.astype(order + "u2").tobytes()

    def made(strips: Any, bits: Any, kind: int, **tags: Any) -> bytes:
        numbers = {258: bits, 262: kind, 277: np.size(bits)}
        numbers.update({int(name[1:]): value for name, value in tags.items()})
        strips = strips if isinstance(strips, list) else [strips]
        if numbers.get(259) == _DEFLATE:
            strips = [zlib.compress(strip) for strip in strips]
        return tiff(strips, order, numbers)

    def planes(values: Array) -> list[bytes]:
        pack = words if values.dtype == np.uint16 else np.ndarray.tobytes
        return [pack(np.ascontiguousarray(values[..., band])) for band in range(values.shape[2])]

    deep, flat = [16] * 3, [8] * 3
    full_16 = np.concatenate([RGB_16, FULL.astype(np.uint16) * 257], axis=-1)
    half = np.concatenate([RGB, HALF], axis=-1)
    on_white = np.rint(RGB * (128 / 255) + 127)
    strips = [words(RGB_16[top : top + 2, :, band]) for band in range(3) for top in (0, 2, 4)]
    units, colours = shared()
    signed_16 = (GREY_16.astype(np.int32) - 32768).astype(np.int16)
    signed_32 = (DEEP.astype(np.int64) - (1 << 31)).astype(np.int32)
    holes = np.where(GREY_16 == 0, 65535, GREY_16 // 32).astype(np.uint16)
    float_holes = FLOAT.copy()
    float_holes[0, 3] = -9999
    whole_floats = np.delete(FLOAT.ravel(), 3)
    stretched = np.rint((FLOAT - whole_floats.min()) * 255 / np.ptp(whole_floats))
    stretched[0, 3] = 0
    inverted = 255 - RGB.astype(int)
    found = {
        "rgb": (made(RGB.tobytes(), flat, 2), RGB),
        "rgb planes": (made(planes(RGB), flat, 2, t284=2), RGB),
        "rgb 16": (made(words(RGB_16), deep, 2), RGB),
        "rgb 16 planes": (made(planes(RGB_16), deep, 2, t284=2), RGB),
        "rgb 16 planes in strips": (made(strips, deep, 2, t284=2, t278=2), RGB),
        "rgb 16 planes deflated": (made(planes(RGB_16), deep, 2, t284=2, t259=_DEFLATE), RGB),
        "rgba 16 planes": (made(planes(full_16), [16] * 4, 2, t284=2, t338=2), RGB),
        "rgb 16 planes and another": (made(planes(full_16), [16] * 4, 2, t284=2, t338=0), RGB),
        "rgb predictor": (made(differences(RGB).tobytes(), flat, 2, t259=_DEFLATE, t317=2), RGB),
        "rgb 16 predictor": (
            made(words(differences(RGB_16)), deep, 2, t259=_DEFLATE, t317=2),
            RGB,
        ),
        "rgb and another": (made(half.tobytes(), [8] * 4, 2, t338=0), RGB),
        "rgba": (made(half.tobytes(), [8] * 4, 2, t338=2), on_white),
        "fourth sample untold but full": (
            made(np.concatenate([RGB, FULL], axis=-1).tobytes(), [8] * 4, 2),
            RGB,
        ),
        "grey 16": (made(words(GREY_16), 16, 1), grey(GREY_16 >> 8)),
        "grey 16 predictor": (
            made(words(differences(GREY_16)), 16, 1, t259=_DEFLATE, t317=2),
            grey(GREY_16 >> 8),
        ),
        "grey 16 with none": (
            made(words(holes), 16, 1, t42113=b"65535\0"),
            grey(np.where(GREY_16 == 0, 0, holes >> 3)),
        ),
        "signed 8": (
            made((GREY.astype(np.int16) - 128).astype(np.int8).tobytes(), 8, 1, t339=2),
            span(GREY),
        ),
        "signed 16": (made(words(signed_16.view(np.uint16)), 16, 1, t339=2), span(signed_16)),
        "signed 16 deflated": (
            made(signed_16.astype(order + "i2").tobytes(), 16, 1, t339=2, t259=_DEFLATE),
            span(signed_16),
        ),
        "signed 32": (
            made(signed_32.astype(order + "i4").tobytes(), 32, 1, t339=2),
            span(signed_32),
        ),
        "signed 32 deflated": (
            made(signed_32.astype(order + "i4").tobytes(), 32, 1, t339=2, t259=_DEFLATE),
            span(signed_32),
        ),
        "float": (made(FLOAT.astype(order + "f4").tobytes(), 32, 1, t339=3), span(FLOAT)),
        "float deflated": (
            made(FLOAT.astype(order + "f4").tobytes(), 32, 1, t339=3, t259=_DEFLATE),
            span(FLOAT),
        ),
        "float predictor": (
            made(float_differences(FLOAT), 32, 1, t339=3, t259=_DEFLATE, t317=3),
            span(FLOAT),
        ),
        "float with none": (
            made(float_holes.astype(order + "f4").tobytes(), 32, 1, t339=3, t42113=b"-9999\0"),
            grey(stretched),
        ),
        "cmyk": (
            made(np.concatenate([RGB, FULL * 0], axis=-1).tobytes(), [8] * 4, 5),
            inverted,
        ),
        "cmyk planes": (
            made(planes(np.concatenate([RGB, FULL * 0], axis=-1)), [8] * 4, 5, t284=2),
            inverted,
        ),
        "lab": (
            made(np.tile(np.uint8([128, 0, 0]), (HEIGHT, WIDTH, 1)).tobytes(), flat, 8),
            np.full(RGB.shape, 119),
        ),
        "shared colour differences": (
            made(units, flat, 6, t530=[2, 2], t259=_DEFLATE),
            colours,
        ),
        "palette": (
            made(GREY.tobytes(), 8, 3, t320=PALETTE.T * 257),
            PALETTE[GREY],
        ),
        "low bit first": (
            made(np.packbits(GREY > 127, axis=1, bitorder="little").tobytes(), 1, 1, t266=2),
            grey(np.where(GREY > 127, 255, 0)),
        ),
    }
    for bits, values in SMALL.items():
        levels = grey(values * 255 // ((1 << bits) - 1))
        found[f"grey {bits}"] = (made(packed(values, bits), bits, 1), levels)
        found[f"white is zero {bits}"] = (made(packed(values, bits), bits, 0), 255 - levels)
        if bits > 1:
            colours_ = PALETTE[: 1 << bits]
            data = made(packed(values, bits), bits, 3, t320=colours_.T * 257)
            found[f"palette {bits}"] = (data, colours_[values])
    if order == "<":
        found["white is zero 16"] = (made(words(GREY_16), 16, 0), 255 - grey(GREY_16 >> 8))
        found["unsigned 32"] = (made(DEEP.astype("<u4").tobytes(), 32, 1, t339=1), span(DEEP))
        found["unsigned 32 untold"] = (made(DEEP.astype("<u4").tobytes(), 32, 1), span(DEEP))
    return found


def pngs() -> dict[str, tuple[bytes, Array]]:
    def rows(values: Array) -> list[bytes]:
        return [row.tobytes() for row in values]

    clear = np.where((RGB[0, 0] == RGB).all(-1)[..., None], 255, RGB)
    opacity = bytes([0, 255, 128, 255])
    colours = PALETTE[:4]
    shares = np.frombuffer(opacity, np.uint8)[:, None] / 255
    seen = np.rint(colours * shares + 255 * (1 - shares))
    with_alpha = np.stack([GREY_16, np.full_like(GREY_16, 65535)], axis=-1)
    palette = (b"PLTE", colours.astype(np.uint8).tobytes())
    return {
        "grey alpha 16": (png(16, 4, rows(with_alpha.astype(">u2"))), grey(GREY_16 >> 8)),
        "rgb 16": (png(16, 2, rows(RGB_16.astype(">u2"))), RGB),
        "one colour clear": (
            png(8, 2, rows(RGB), [(b"tRNS", struct.pack(">3H", *RGB[0, 0].tolist()))]),
            clear,
        ),
        "palette with opacities": (
            png(
                2,
                3,
                [packed(SMALL[2], 2)[2 * y : 2 * y + 2] for y in range(HEIGHT)],
                [palette, (b"tRNS", opacity)],
            ),
            seen[SMALL[2]],
        ),
        "grey 1": (
            png(1, 0, [packed(SMALL[1], 1)[y : y + 1] for y in range(HEIGHT)]),
            grey(SMALL[1] * 255),
        ),
        "a profile is not applied": (
            png(8, 2, rows(RGB), [(b"gAMA", struct.pack(">I", 100_000))]),
            RGB,
        ),
    }


def bmps() -> dict[str, tuple[bytes, Array]]:
    def rows(values: Array) -> list[bytes]:
        return [np.ascontiguousarray(row).tobytes() for row in values[::-1]]

    clear = np.concatenate([RGB[..., ::-1], FULL * 0], axis=-1)
    some = clear.copy()
    some[..., 3] = 128
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    table = np.concatenate([PALETTE[:, ::-1], np.zeros((256, 1))], axis=1).astype(np.uint8)
    five = (RGB >> 3).astype(np.uint16)
    high = five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]
    return {
        "24 bits": (bmp(24, rows(RGB[..., ::-1])), RGB),
        "32 bits": (bmp(32, rows(clear)), RGB),
        "32 bits, opacity all 0": (bmp(32, rows(clear), masks=masks), RGB),
        "32 bits, opacity": (
            bmp(32, rows(some), masks=masks),
            np.rint(RGB * (128 / 255) + 127),
        ),
        "palette": (bmp(8, rows(GREY), table.tobytes()), PALETTE[GREY]),
        "15 bits": (bmp(16, rows(high)), np.rint(five * (255 / 31))),
    }


READ = {
    **{f"tiff <: {name}": case for name, case in tiffs("<").items()},
    **{f"tiff >: {name}": case for name, case in tiffs(">").items()},
    **{f"png: {name}": case for name, case in pngs().items()},
    **{f"bmp: {name}": case for name, case in bmps().items()},
}


@pytest.mark.parametrize("name", READ)
def test_the_numbers_that_were_written(name: str) -> None:
    data, expected = READ[name]
    pixels = decode(data)[0].astype(int)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize(
    "name",
    [
        "tiff <: rgb",
        "tiff <: rgb 16",
        "tiff <: rgb planes",
        "tiff >: rgb 16",
        "tiff <: rgb predictor",
        "tiff <: grey 16",
        "tiff <: grey 4",
        "tiff <: palette",
        "png: rgb 16",
        "bmp: 24 bits",
        "bmp: palette",
    ],
)
def test_ffmpeg_is_a_witness(name: str) -> None:
    av = pytest.importorskip("av")
    data, _ = READ[name]
    kind = name.partition(" ")[0].strip(":")
    with av.open(io.BytesIO(data), format=f"{kind}_pipe") as file:
        frame = next(file.decode(video=0))
    if frame.format.name in ("rgb48le", "rgb48be", "gray16le", "gray16be"):
        stored: Array = frame.to_ndarray() >> 8
    else:
        stored = frame.to_ndarray(format="rgb24")
    shown = stored if stored.ndim == 3 else grey(stored)
    assert np.abs(decode(data)[0].astype(int) - shown).max() <= 1


def _refused(order: str) -> dict[str, bytes]:
    units, _ = shared()
    quarter = np.stack([GREY, GREY, GREY, GREY], axis=-1)
    deep = [GREY_16.astype(order + "u2").tobytes()] * 4
    return {
        "floating bits": tiff(
            [FLOAT.astype(order + "f8").tobytes()], order, {258: 64, 262: 1, 339: 3}
        ),
        "1 sample of 16 floating": tiff(
            [FLOAT.astype(order + "f2").tobytes()], order, {258: 16, 262: 1, 339: 3}
        ),
        "3 samples of 32 bits": tiff(
            [np.repeat(DEEP[..., None], 3, -1).astype(order + "u4").tobytes()],
            order,
            {258: [32] * 3, 262: 2, 277: 3},
        ),
        "2 samples of 16 bits": tiff(
            [np.repeat(GREY_16[..., None], 2, -1).astype(order + "u2").tobytes()],
            order,
            {258: [16] * 2, 262: 1, 277: 2, 338: 2},
        ),
        "planes apart": tiff(deep, order, {258: [16] * 4, 262: 5, 277: 4, 284: 2}),
        "such planes": tiff(
            [GREY.tobytes()] * 2, order, {258: [8] * 2, 262: 1, 277: 2, 284: 2, 338: 2}
        ),
        "shared by several pixels": tiff(
            [units], order, {258: [8] * 3, 262: 6, 277: 3, 530: [2, 2]}
        ),
        "compression 34712": tiff([GREY.tobytes()], order, {258: 8, 259: 34712, 262: 1}),
        "fourth sample": tiff([quarter.tobytes()], order, {258: [8] * 4, 262: 2, 277: 4}),
    }


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("words", _refused("<"))
def test_layouts_that_are_not_read_are_named(words: str, order: str) -> None:
    with pytest.raises(PictureError, match=words) as caught:
        decode(_refused(order)[words])
    assert caught.value.rule == "unsupported-mode" and caught.value.hint
    assert "damaged" not in str(caught.value)


def test_what_is_only_read_in_the_other_byte_order_is_named() -> None:
    data = tiff([DEEP.astype(">u4").tobytes()], ">", {258: 32, 262: 1})
    with pytest.raises(PictureError, match="1 sample of 32 bits, big-endian"):
        decode(data)
    data = tiff([GREY_16.astype(">u2").tobytes()], ">", {258: 16, 262: 0})
    with pytest.raises(PictureError, match="16 bits, 0 is white, big-endian"):
        decode(data)


def test_what_only_begins_like_a_tiff_is_damaged() -> None:
    for data in (
        b"II*\0",
        b"MM\0*\0\0\0\x08",
        b"II*\0" + bytes(30),
        b"II+\0\x08\0\0\0" + bytes(20),
    ):
        with pytest.raises(PictureError, match="damaged"):
            decode(data)


def test_cmyk_of_adobe_is_inverted_in_jpeg_and_not_in_tiff() -> None:
    flat = Image.new("CMYK", (16, 16), (0, 200, 200, 0))
    file = io.BytesIO()
    flat.save(file, "JPEG", quality=100)
    assert np.abs(decode(file.getvalue())[0].astype(int) - [255, 55, 55]).max() <= 3
    file = io.BytesIO()
    flat.save(file, "TIFF")
    assert np.abs(decode(file.getvalue())[0].astype(int) - [255, 55, 55]).max() <= 1
