"""DICOM values against the standard's formulas, worked out here apart from the code.

Where pydicom's own pipeline is right it is a second witness.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dof_arrow.errors import PictureError
from dof_arrow.media.dicom import decode
from tests.support.dicoms import dicom, sequence

pydicom = pytest.importorskip("pydicom")

BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
RAMP_12 = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
SIGNED = RAMP.astype(np.int16) - 128
COLOURS = np.stack([RAMP, 255 - RAMP, RAMP // 2], axis=-1)

Array = np.ndarray[Any, Any]


def level(values: Array, low: float, high: float) -> Array:
    """The straight line from low (0) to high (255)."""
    return np.rint(np.clip((values.astype(float) - low) * 255 / (high - low), 0, 255))


def span(values: Array) -> Array:
    return level(values, float(values.min()), float(values.max()))


def words(values: Any, order: str = "<") -> bytes:
    return np.asarray(values).astype(f"{order}u2").tobytes()


def table(values: Any, first: int, bits: int, data: Any = None) -> Any:
    """A sequence of one lookup table, in words unless `data` says otherwise."""
    count = len(values) % 65536
    data = words(values) if data is None else data
    return sequence(LUTDescriptor=[count, first, bits], LUTData=data)


def of_numbers(values: Array, bits: int) -> Any:
    """A table whose data are of value representation US, not bytes."""
    made = table(values, 0, bits)
    made[0]["LUTData"] = pydicom.DataElement("LUTData", "US", values.tolist())
    return made


def palette(
    channels: Any, first: int = 0, bits: int = 8, packed: bool = False, segmented: bool = False
) -> dict[str, Any]:
    """The attributes of a palette whose three channels are given."""
    made: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, values in zip(("Red", "Green", "Blue"), channels, strict=True):
        data = np.asarray(values).astype(np.uint8).tobytes() if packed else words(values)
        data += bytes(len(data) % 2)
        about = f"{name}PaletteColorLookupTable"
        made[f"{about}Descriptor"] = [256 if segmented else len(values) % 65536, first, bits]
        made[f"{'Segmented' * segmented}{about}Data"] = data
    return made


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    about = pydicom.dcmread(io.BytesIO(data))
    change(about)
    file = io.BytesIO()
    about.save_as(file)
    return file.getvalue()


def without(data: bytes, *names: str) -> bytes:
    def drop(about: Any) -> None:
        for name in names:
            delattr(about, name)

    return changed(data, drop)


def encapsulated(stream: bytes, pixels: Array, syntax: str, **attributes: Any) -> bytes:
    from pydicom.encaps import encapsulate

    def change(about: Any) -> None:
        about.PixelData = encapsulate([stream])
        about["PixelData"].VR = "OB"
        about.file_meta.TransferSyntaxUID = syntax

    return changed(dicom(pixels, **attributes), change)


def rle(data: bytes, **attributes: Any) -> bytes:
    def change(about: Any) -> None:
        about.compress(RLE)
        for name, value in attributes.items():
            setattr(about, name, value)

    return changed(data, change)


def saved(picture: Array, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format, **options)
    return file.getvalue()


def j2k(pixels: Array, **attributes: Any) -> bytes:
    stream = saved(pixels, "JPEG2000", irreversible=False, no_jp2=True)
    return encapsulated(stream, pixels, JPEG_2000, **attributes)


def big(data: bytes, pixels: Array, vr: str = "OW") -> bytes:
    about = pydicom.dcmread(io.BytesIO(data))
    about.file_meta.TransferSyntaxUID = BIG
    if pixels.itemsize == 1 and vr == "OW":
        about.PixelData = pixels.reshape(-1, 2)[:, ::-1].tobytes()
    else:
        about.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    about["PixelData"].VR = vr
    file = io.BytesIO()
    pydicom.dcmwrite(file, about, little_endian=False, implicit_vr=False)
    return file.getvalue()


def floats(values: Array, **attributes: Any) -> bytes:
    name = "FloatPixelData" if values.itemsize == 4 else "DoubleFloatPixelData"

    def change(about: Any) -> None:
        del about.PixelData, about.BitsStored, about.HighBit, about.PixelRepresentation
        setattr(about, name, values.tobytes())

    return changed(dicom(values, **attributes), change)


LUT_12 = (4095 - np.arange(4096)) ** 2 // 4095
FALLING = 255 - np.arange(256)
OVERLAY = RAMP_12 | np.where(RAMP % 7 == 0, 0xA000, 0).astype(np.uint16)
OVERLAY_SIGNED = (SIGNED.view(np.uint16) & 0x0FFF | np.where(RAMP % 5 == 0, 0x7000, 0)).astype(
    np.uint16
)
SHIFTED = (RAMP_12 << 4) | (RAMP % 16)
TRIPLE = (np.arange(256), FALLING, np.arange(256) // 2)
SEGMENTS = [0, 2, 10, 20, 1, 126, 146, 0, 2, 200, 100, 1, 126, 226]
EXPANDED = np.concatenate(
    [[10, 20], np.rint(20 + np.arange(1, 127)), [200, 100], np.rint(100 + np.arange(1, 127))]
).astype(int)

WINDOW = {"WindowCenter": "100", "WindowWidth": "50"}


def linear(values: Array, centre: float, width: float) -> Array:
    """C.11.2.1.2.1, as the standard writes it."""
    values = values.astype(float)
    line = ((values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255
    line = np.where(values <= centre - 0.5 - (width - 1) / 2, 0, line)
    return np.rint(np.where(values > centre - 0.5 + (width - 1) / 2, 255, line))


def exact(values: Array, centre: float, width: float) -> Array:
    """C.11.2.1.3.2."""
    return level(values, centre - width / 2, centre + width / 2)


def sigmoid(values: Array, centre: float, width: float) -> Array:
    """C.11.2.1.3.1."""
    return np.rint(255 / (1 + np.exp(-4 * (values.astype(float) - centre) / width)))


GREY: dict[str, tuple[bytes, Array]] = {
    # Modality tables.
    **{
        f"modality table of {bits} bits": (
            dicom(RAMP_12, BitsStored=12, HighBit=11, ModalityLUTSequence=table(LUT_12, 0, bits)),
            span(LUT_12[RAMP_12]),
        )
        for bits in (12, 14, 16)
    },
    "modality table, 8 bits packed": (
        dicom(RAMP, ModalityLUTSequence=table(FALLING, 0, 8, bytes(FALLING.tolist()))),
        255 - RAMP.astype(int),
    ),
    "modality table, 8 bits in words": (
        dicom(RAMP, ModalityLUTSequence=table(FALLING, 0, 8)),
        255 - RAMP.astype(int),
    ),
    "modality table that begins below zero": (
        dicom(SIGNED, ModalityLUTSequence=table(np.arange(256) * 100, -128, 16)),
        RAMP.astype(int),
    ),
    "modality table, then a window": (
        dicom(RAMP, ModalityLUTSequence=table(FALLING, 0, 16), **WINDOW),
        linear(255 - RAMP.astype(int), 100, 50),
    ),
    "modality table shorter than the values": (
        dicom(RAMP, ModalityLUTSequence=table(np.arange(100) * 3, 50, 16)),
        span(np.clip(RAMP.astype(int) - 50, 0, 99)),
    ),
    # Tables of values of interest.
    **{
        f"value table of {bits} bits": (
            dicom(RAMP, VOILUTSequence=table(FALLING << (bits - 8), 0, bits)),
            level(FALLING[RAMP] << (bits - 8), 0, (1 << bits) - 1),
        )
        for bits in (8, 10, 12, 14, 16)
    },
    "value table of 8 bits, packed, odd": (
        dicom(RAMP, VOILUTSequence=table(range(5), 0, 8, bytes([9, 8, 200, 6, 5, 0]))),
        np.array([9, 8, 200, 6, 5])[np.clip(RAMP, 0, 4)],
    ),
    "value table of 65536 entries": (
        dicom(RAMP_12, VOILUTSequence=table(np.arange(65536), 0, 16)),
        level(RAMP_12, 0, 65535),
    ),
    "value table as numbers": (
        dicom(RAMP, VOILUTSequence=of_numbers(FALLING, 8)),
        FALLING[RAMP],
    ),
    "value table after an intercept below zero": (
        dicom(
            RAMP,
            RescaleSlope="1",
            RescaleIntercept="-128",
            VOILUTSequence=table(np.arange(256), 65408, 8),
        ),
        RAMP.astype(int),
    ),
    "value table after a slope of one half": (
        dicom(
            RAMP,
            RescaleSlope="0.5",
            RescaleIntercept="0",
            VOILUTSequence=table(np.arange(128) * 2, 0, 8),
        ),
        RAMP // 2 * 2,
    ),
    "value table of words that need more bits than it states": (
        dicom(RAMP, VOILUTSequence=table(FALLING * 257, 0, 8)),
        FALLING[RAMP],
    ),
    "of several value tables the first that holds data": (
        dicom(
            RAMP,
            VOILUTSequence=[sequence(LUTExplanation="x")[0], table(FALLING, 0, 8)[0]],
        ),
        FALLING[RAMP],
    ),
    # What is empty is absent.
    "empty slope": (dicom(RAMP, RescaleSlope=None, RescaleIntercept="5"), RAMP),
    "empty intercept": (
        dicom(RAMP, RescaleSlope="2", RescaleIntercept=None, **WINDOW),
        linear(RAMP.astype(int) * 2, 100, 50),
    ),
    "empty width": (dicom(RAMP, WindowCenter="5", WindowWidth=None), RAMP),
    "empty value table beside a window": (
        dicom(RAMP, VOILUTSequence=sequence(LUTDescriptor=[256, 0, 8], LUTData=b""), **WINDOW),
        linear(RAMP, 100, 50),
    ),
    "empty sequences": (dicom(RAMP, VOILUTSequence=[], ModalityLUTSequence=[]), RAMP),
    "empty padding": (dicom(RAMP, PixelPaddingValue=None), RAMP),
    "empty number of frames": (dicom(RAMP, NumberOfFrames=None), RAMP),
    "slope without intercept": (
        dicom(RAMP, RescaleSlope="2", **WINDOW),
        linear(RAMP.astype(int) * 2, 100, 50),
    ),
    "falling slope": (dicom(RAMP, RescaleSlope="-1", RescaleIntercept="255"), 255 - RAMP),
    # Windows.
    "window": (dicom(RAMP, **WINDOW), linear(RAMP, 100, 50)),
    "window of width 1": (dicom(RAMP, WindowCenter="128", WindowWidth="1"), linear(RAMP, 128, 1)),
    "window of width 2": (dicom(RAMP, WindowCenter="128", WindowWidth="2"), linear(RAMP, 128, 2)),
    "exact window": (dicom(RAMP, VOILUTFunction="LINEAR_EXACT", **WINDOW), exact(RAMP, 100, 50)),
    "exact window of width 1": (
        dicom(RAMP, VOILUTFunction="LINEAR_EXACT", WindowCenter="100", WindowWidth="1"),
        exact(RAMP, 100, 1),
    ),
    "sigmoid": (dicom(RAMP, VOILUTFunction="SIGMOID", **WINDOW), sigmoid(RAMP, 100, 50)),
    "narrow sigmoid": (
        dicom(RAMP_12, VOILUTFunction="SIGMOID", WindowCenter="100", WindowWidth="0.5"),
        np.where(RAMP_12 > 100, 255, 0),
    ),
    "the first of several windows": (
        dicom(RAMP, WindowCenter=["100", "40"], WindowWidth=["50", "1"]),
        linear(RAMP, 100, 50),
    ),
    "inverted window": (
        dicom(RAMP, PhotometricInterpretation="MONOCHROME1", **WINDOW),
        255 - linear(RAMP, 100, 50),
    ),
    # Bits.
    "overlay above the stored bits": (dicom(OVERLAY, BitsStored=12, HighBit=11), span(RAMP_12)),
    "overlay above signed bits": (
        dicom(OVERLAY_SIGNED, BitsStored=12, HighBit=11, PixelRepresentation=1),
        RAMP.astype(int),
    ),
    "overlay below the stored bits": (dicom(SHIFTED, BitsStored=12, HighBit=15), span(RAMP_12)),
    "overlay above, run lengths": (
        rle(dicom(OVERLAY), BitsStored=12, HighBit=11),
        span(RAMP_12),
    ),
    "overlay below, run lengths": (
        rle(dicom(SHIFTED), BitsStored=12, HighBit=15),
        span(RAMP_12),
    ),
    "overlay above, JPEG 2000": (j2k(OVERLAY, BitsStored=12, HighBit=11), span(RAMP_12)),
    "overlay below, JPEG 2000": (j2k(SHIFTED, BitsStored=12, HighBit=15), span(RAMP_12)),
    "overlay in bytes": (
        dicom(RAMP % 16 | 0xF0, BitsStored=4, HighBit=3),
        level(RAMP % 16, 0, 15),
    ),
    "5 bits with a sign": (
        dicom(RAMP % 32, BitsStored=5, HighBit=4, PixelRepresentation=1),
        level(((RAMP % 32).astype(int) + 16) % 32 - 16, -16, 15),
    ),
    "signed": (dicom(SIGNED), RAMP),
    "one bit": (
        changed(
            dicom(RAMP, BitsAllocated=1, BitsStored=1, HighBit=0),
            lambda about: setattr(
                about, "PixelData", np.packbits(RAMP % 3 == 0, bitorder="little").tobytes()
            ),
        ),
        np.where(RAMP % 3 == 0, 255, 0),
    ),
    "32 bits": (dicom(RAMP.astype(np.uint32) * 70_000), RAMP),
    "big endian": (big(dicom(RAMP_12), RAMP_12), span(RAMP_12)),
    "big endian overlay": (
        big(dicom(OVERLAY, BitsStored=12, HighBit=11), OVERLAY),
        span(RAMP_12),
    ),
    "big endian bytes in words": (big(dicom(RAMP), RAMP), RAMP),
    "big endian bytes": (big(dicom(RAMP), RAMP, "OB"), RAMP),
    "big endian table": (
        big(
            dicom(RAMP, VOILUTSequence=table(FALLING, 0, 16, words(FALLING * 257, ">"))),
            RAMP,
        ),
        FALLING[RAMP],
    ),
    # Padding.
    "signed padding called unsigned": (
        changed(
            dicom(np.where(RAMP < 16, -2000, SIGNED).astype(np.int16)),
            lambda about: about.add_new(0x00280120, "US", 63536),
        ),
        level(np.where(RAMP < 16, -2000, SIGNED), -112, 127),
    ),
    "a range of padding": (
        dicom(RAMP, PixelPaddingValue=0, PixelPaddingRangeLimit=15),
        level(RAMP, 16, 255),
    ),
    # Floats.
    "floats": (floats(RAMP.astype(np.float32) / 7 - 3), RAMP),
    "doubles": (floats(RAMP.astype(np.float64) / 7 - 3), RAMP),
    "floats and a window": (floats(RAMP.astype(np.float32), **WINDOW), linear(RAMP, 100, 50)),
    "floats that are none": (
        floats(np.where(RAMP == 9, np.nan, RAMP).astype(np.float32)),
        np.where(RAMP == 9, 0, RAMP),
    ),
    "floats of which some are padding": (
        floats(
            np.where(RAMP < 16, -1e6, RAMP).astype(np.float32),
            FloatPixelPaddingValue=-1e6,
        ),
        np.where(RAMP < 16, 0, level(RAMP, 16, 255)),
    ),
    # What files leave out.
    "no sign stated of bytes": (without(dicom(RAMP), "PixelRepresentation"), RAMP),
    "no samples stated": (without(dicom(RAMP), "SamplesPerPixel"), RAMP),
    "no highest bit stated": (
        without(dicom(OVERLAY, BitsStored=12, HighBit=11), "HighBit"),
        span(RAMP_12),
    ),
    "no preamble": (dicom(RAMP)[132:], RAMP),
    # Compressed streams.
    "JPEG 2000": (j2k(RAMP), RAMP),
    "JPEG in 16 bits allocated": (
        encapsulated(
            saved(RAMP, "JPEG", quality=100),
            RAMP.astype(np.uint16),
            JPEG,
            BitsStored=8,
            HighBit=7,
            WindowCenter="128",
            WindowWidth="256",
        ),
        np.asarray(Image.open(io.BytesIO(saved(RAMP, "JPEG", quality=100)))),
    ),
    "JPEG 2000 whose sign cannot matter": (
        j2k(RAMP // 2, PixelRepresentation=1, WindowCenter="64", WindowWidth="128"),
        linear(RAMP // 2, 64, 128),
    ),
}


@pytest.mark.parametrize("name", GREY)
def test_grey(name: str) -> None:
    data, expected = GREY[name]
    shown = decode(data, mode="L")[0][..., 0].astype(int)
    assert np.abs(shown - expected).max() <= 1
    # Only where a level lies midway between two may the formulas round otherwise.
    assert (shown != expected).mean() < 0.02


def ybr(colours: Array) -> Array:
    """C.7.6.3.1.2."""
    matrix = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    differences = colours.astype(float) @ np.array(matrix).T + [0, 128, 128]
    return np.clip(np.rint(differences), 0, 255).astype(np.uint8)


PAIRED = np.repeat(COLOURS[:, ::2], 2, axis=1)
PAIRED_YBR = ybr(PAIRED)
SHARED = np.stack(
    [PAIRED_YBR[:, 0::2, 0], PAIRED_YBR[:, 1::2, 0], PAIRED_YBR[:, ::2, 1], PAIRED_YBR[:, ::2, 2]],
    axis=-1,
)
TABLE = np.stack(TRIPLE, axis=-1)

COLOUR: dict[str, tuple[bytes, Array]] = {
    "palette of 16 bits": (dicom(RAMP, **palette([c * 257 for c in TRIPLE], bits=16)), TABLE[RAMP]),
    "palette of 8 bits in words": (dicom(RAMP, **palette(TRIPLE)), TABLE[RAMP]),
    "palette of 8 bits packed": (dicom(RAMP, **palette(TRIPLE, packed=True)), TABLE[RAMP]),
    "palette of 8 bits whose words need 16": (
        dicom(RAMP, **palette([c * 256 for c in TRIPLE])),
        TABLE[RAMP],
    ),
    "palette that begins at 100": (
        dicom(RAMP, **palette([c[:50] for c in TRIPLE], first=100)),
        TABLE[np.clip(RAMP.astype(int) - 100, 0, 49)],
    ),
    "palette that begins below zero": (
        dicom(SIGNED, **palette(TRIPLE, first=-128)),
        TABLE[RAMP],
    ),
    "palette of 65536 entries": (
        dicom(
            RAMP_12, **palette([np.arange(65536), 65535 - np.arange(65536), [7] * 65536], bits=16)
        ),
        np.stack([RAMP_12 >> 8, (65535 - RAMP_12) >> 8, RAMP_12 * 0], axis=-1),
    ),
    "palette, an odd number packed": (
        dicom(RAMP, **palette([[9, 8, 7], [1, 2, 3], [4, 5, 6]], packed=True)),
        np.array([[9, 1, 4], [8, 2, 5], [7, 3, 6]])[np.clip(RAMP, 0, 2)],
    ),
    "palette, indexes of 16 bits": (
        dicom(RAMP.astype(np.uint16), **palette(TRIPLE)),
        TABLE[RAMP],
    ),
    "segmented palette of 8 bits": (
        dicom(RAMP, **palette([SEGMENTS] * 3, packed=True, segmented=True)),
        np.stack([EXPANDED[RAMP]] * 3, axis=-1),
    ),
    "segmented palette of 16 bits": (
        dicom(RAMP, **palette([[0, 1, 512, 1, 255, 65535]] * 3, bits=16, segmented=True)),
        np.stack([(np.rint(512 + RAMP.astype(float) * 65023 / 255) // 256)] * 3, axis=-1),
    ),
    "segmented palette that points back": (
        # The linear segment at byte 6 again: up to 30000 from whatever came last.
        dicom(
            RAMP,
            **palette(
                [[0, 1, 512, 1, 127, 30000, 0, 1, 60000, 2, 1, 6, 0]] * 3,
                bits=16,
                segmented=True,
            ),
        ),
        np.stack(
            [
                np.concatenate(
                    [
                        np.rint(512 + np.arange(128) * 29488 / 127),
                        np.rint(60000 - np.arange(128) * 30000 / 127),
                    ]
                )[RAMP]
                // 256
            ]
            * 3,
            axis=-1,
        ),
    ),
    "palette of an overlay above": (
        dicom(RAMP % 16 | 0x50, BitsStored=4, HighBit=3, **palette(TRIPLE)),
        TABLE[RAMP % 16],
    ),
    "planes apart": (
        changed(
            dicom(COLOURS, PlanarConfiguration=1),
            lambda about: setattr(about, "PixelData", np.moveaxis(COLOURS, -1, 0).tobytes()),
        ),
        COLOURS,
    ),
    "YBR_FULL": (dicom(ybr(COLOURS), PhotometricInterpretation="YBR_FULL"), COLOURS),
    "YBR_FULL_422": (
        changed(
            dicom(PAIRED, PhotometricInterpretation="YBR_FULL_422"),
            lambda about: setattr(about, "PixelData", SHARED.tobytes()),
        ),
        PAIRED,
    ),
    "RGB of 16 bits": (dicom(COLOURS.astype(np.uint16) * 257), COLOURS),
    "RGB of 12 bits": (
        dicom(COLOURS.astype(np.uint16) * 16, BitsStored=12, HighBit=11),
        COLOURS,
    ),
    "RGB of 12 bits with an overlay": (
        dicom(COLOURS.astype(np.uint16) * 16 | 0xC000, BitsStored=12, HighBit=11),
        COLOURS,
    ),
    "RGB of 5 bits": (
        dicom(COLOURS % 32, BitsStored=5, HighBit=4),
        level(COLOURS % 32, 0, 31),
    ),
    "run lengths": (rle(dicom(COLOURS)), COLOURS),
    "run lengths that say planes apart": (rle(dicom(COLOURS), PlanarConfiguration=1), COLOURS),
    "JPEG 2000": (
        encapsulated(
            saved(COLOURS, "JPEG2000", irreversible=False, no_jp2=True, mct=1),
            COLOURS,
            JPEG_2000,
            PhotometricInterpretation="YBR_RCT",
        ),
        COLOURS,
    ),
    "JPEG that says planes apart": (
        encapsulated(
            saved(COLOURS, "JPEG", quality=95, subsampling=0),
            COLOURS,
            JPEG,
            PhotometricInterpretation="YBR_FULL",
            PlanarConfiguration=1,
        ),
        np.asarray(Image.open(io.BytesIO(saved(COLOURS, "JPEG", quality=95, subsampling=0)))),
    ),
    "no planes stated of JPEG": (
        without(
            encapsulated(
                saved(COLOURS, "JPEG", quality=95),
                COLOURS,
                JPEG,
                PhotometricInterpretation="YBR_FULL_422",
            ),
            "PlanarConfiguration",
        ),
        np.asarray(Image.open(io.BytesIO(saved(COLOURS, "JPEG", quality=95)))),
    ),
}


@pytest.mark.parametrize("name", COLOUR)
def test_colour(name: str) -> None:
    data, expected = COLOUR[name]
    shown = decode(data)[0].astype(int)
    assert np.abs(shown - expected).max() <= 2
    assert np.abs(shown - expected).mean() < 0.6


@pytest.mark.parametrize(
    "name",
    [
        "value table of 10 bits",
        "value table of 65536 entries",
        "modality table of 16 bits",
        "window",
        "window of width 2",
        "exact window",
        "sigmoid",
        "signed",
        "falling slope",
    ],
)
def test_pydicom_is_a_witness(name: str) -> None:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    data, _ = GREY[name]
    about = pydicom.dcmread(io.BytesIO(data))
    shown = decode(data, mode="L")[0][..., 0].astype(int)
    values = apply_voi_lut(apply_modality_lut(about.pixel_array, about), about).astype(float)
    if "table of 10" in name:
        values *= 255 / 1023
    elif "65536" in name:
        values *= 255 / 65535
    elif "VOILUTFunction" not in about and "WindowWidth" not in about:
        values = span(values)
    assert np.abs(shown - values).max() <= 1


def test_pydicom_is_a_witness_of_palettes() -> None:
    from pydicom.pixels import apply_color_lut

    for name in (
        "palette of 16 bits",
        "palette that begins at 100",
        "segmented palette of 16 bits",
    ):
        data, _ = COLOUR[name]
        about = pydicom.dcmread(io.BytesIO(data))
        values = apply_color_lut(about.pixel_array, about)
        shift = 0 if "100" in name else 8
        assert np.array_equal(decode(data)[0], values >> shift)


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "a table cut short": (
        dicom(RAMP, VOILUTSequence=table(FALLING, 0, 16, words(FALLING[:100]))),
        "truncated",
        "expected 256 entries, found 100",
    ),
    "a table of 4 bits": (
        dicom(RAMP, VOILUTSequence=table(FALLING, 0, 4)),
        "unsupported-mode",
        "8 to 16 bits an entry",
    ),
    "a palette that is missing": (
        dicom(RAMP, PhotometricInterpretation="PALETTE COLOR"),
        "undecodable",
        "without its palette",
    ),
    "segments of an unknown kind": (
        dicom(RAMP, **palette([[7, 3, 1, 2, 3]] * 3, segmented=True, packed=True)),
        "undecodable",
        "segments that cannot be",
    ),
    "segments that begin with a line": (
        dicom(RAMP, **palette([[1, 255, 9, 0]] * 3, segmented=True, packed=True)),
        "undecodable",
        "segments that cannot be",
    ),
    "segments that make too few": (
        dicom(RAMP, **palette([[0, 3, 1, 2, 3, 0]] * 3, segmented=True, packed=True)),
        "undecodable",
        "expected 256, found 3",
    ),
    "no sign stated of 16 bits": (
        without(dicom(RAMP_12), "PixelRepresentation"),
        "undecodable",
        "missing: found PixelRepresentation",
    ),
    "no bits stated": (without(dicom(RAMP), "BitsStored"), "undecodable", "found BitsStored"),
    "more bits stored than there are": (
        dicom(RAMP, BitsStored=12, HighBit=11),
        "undecodable",
        "contradict one another",
    ),
    "a highest bit below the stored ones": (
        dicom(RAMP_12, BitsStored=12, HighBit=7),
        "undecodable",
        "contradict one another",
    ),
    "12 bits allocated": (
        dicom(RAMP_12, BitsAllocated=12, BitsStored=12, HighBit=11),
        "unsupported-mode",
        "1, 8, 16, 32 or 64",
    ),
    "grey of three samples": (
        dicom(COLOURS, PhotometricInterpretation="MONOCHROME2"),
        "undecodable",
        "samples of each",
    ),
    "planes not stated": (
        without(dicom(COLOURS), "PlanarConfiguration"),
        "undecodable",
        "PlanarConfiguration",
    ),
    "deep luminance": (
        dicom(COLOURS.astype(np.uint16), PhotometricInterpretation="YBR_FULL"),
        "unsupported-mode",
        "8 bits, or JPEG 2000",
    ),
    "YBR_RCT without JPEG 2000": (
        dicom(COLOURS, PhotometricInterpretation="YBR_RCT"),
        "unsupported-mode",
        "8 bits, or JPEG 2000",
    ),
    "a window of an unknown function": (
        dicom(RAMP, VOILUTFunction="LOG", **WINDOW),
        "unsupported-mode",
        "LINEAR_EXACT",
    ),
    "a slope of nothing": (
        dicom(RAMP, RescaleSlope="0", RescaleIntercept="0"),
        "undecodable",
        "slope of 0",
    ),
    "JPEG 2000 of the other sign": (
        j2k(RAMP, PixelRepresentation=1),
        "undecodable",
        "found unsigned",
    ),
    "JPEG of fewer bits than stated": (
        encapsulated(saved(RAMP, "JPEG"), RAMP.astype(np.uint16), JPEG, BitsStored=12, HighBit=11),
        "undecodable",
        "fewer bits",
    ),
    "no pixels": (without(dicom(RAMP), "PixelData"), "unsupported-format", "without a picture"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(name: str) -> None:
    data, rule, words_ = REFUSED[name]
    with pytest.raises(PictureError) as caught:
        decode(data)
    assert caught.value.rule == rule and words_ in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_a_decoder_that_is_not_installed_is_named() -> None:
    from pydicom.pixels import get_decoder

    # A frame header of 12 bits, which Pillow does not decode.
    stream = b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x10\0\x10\1\1\x11\0\xff\xd9"
    data = encapsulated(stream, RAMP_12, JPEG_EXTENDED, BitsStored=12, HighBit=11)
    if get_decoder(JPEG_EXTENDED).available_plugins != ("pillow",):
        pytest.skip("another decoder is installed")
    with pytest.raises(PictureError, match="no decoder is installed") as caught:
        decode(data)
    assert caught.value.rule == "unsupported-format" and "pip install" in caught.value.hint
