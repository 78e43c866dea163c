"""DICOM pictures look as a viewer shows them, and nothing else leaves the file."""

from __future__ import annotations

import io
import pickle
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dof_arrow.errors import PictureError
from dof_arrow.media.bounds import MEMORY
from dof_arrow.media.dicom import decode
from dof_arrow.media.dicom_attributes import attributes
from dof_arrow.media.dicom_file import is_dicom, transfer_syntax
from tests.support.dicoms import CANARY, dicom, sequence

pytest.importorskip("pydicom")

RAMP = np.arange(200 * 200, dtype=np.uint16).reshape(200, 200) % 4096


def grey(data: bytes, **options: Any) -> list[int]:
    return [int(v) for v in decode(data, mode="L", **options)[0].ravel()]


def row(*values: int, dtype: Any = np.uint16) -> np.ndarray:
    return np.array([values], dtype)


def words(*values: int) -> bytes:
    return np.array(values, "<u2").tobytes()


def refused(data: bytes, **options: Any) -> PictureError:
    with pytest.raises(PictureError) as caught:
        decode(data, **options)
    assert CANARY not in str(caught.value) and (
        caught.value.__suppress_context__ or not caught.value.__context__
    )
    return caught.value


def encapsulated(
    frames: list[bytes], syntax: str, shape: tuple[int, ...], **attributes: Any
) -> bytes:
    import pydicom
    from pydicom.encaps import encapsulate

    made = pydicom.dcmread(io.BytesIO(dicom(np.zeros(shape, np.uint8), **attributes)))
    made.PixelData = encapsulate(frames)
    made["PixelData"].VR = "OB"
    made.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


# grey


def test_a_picture_of_200_by_200_without_a_window_spans_its_own_values() -> None:
    pixels, facts = decode(dicom(RAMP, BitsStored=12, HighBit=11))
    expected = np.rint(RAMP.astype(float) * 255 / 4095).astype(np.uint8)
    assert pixels.shape == (200, 200, 3) and pixels.flags.c_contiguous
    assert np.array_equal(pixels, np.repeat(expected[..., None], 3, 2))
    assert (facts.format, facts.mode, facts.bits, facts.frames) == ("DICOM", "MONOCHROME2", 12, 1)
    assert (facts.low, facts.high, facts.width, facts.height) == (0, 4095, 200, 200)


def test_slope_and_intercept_come_before_the_window() -> None:
    data = dicom(
        row(0, 924, 1024, 1124, 2000),
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=0.5,
        WindowWidth=201,
    )
    assert grey(data) == [0, 0, 128, 255, 255]
    assert decode(data)[1].low == -100 and decode(data)[1].high == 100
    halves = dicom(
        row(0, 2048), RescaleSlope="0.5", RescaleIntercept=0, WindowCenter=512.5, WindowWidth=1025
    )
    assert grey(halves) == [0, 255]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", [0, 0, 64, 128, 191, 255, 255]),
        ("LINEAR_EXACT", [0, 0, 64, 128, 191, 255, 255]),
        ("SIGMOID", [5, 30, 69, 128, 186, 225, 250]),
    ],
)
def test_the_three_windows_of_the_standard(function: str, expected: list[int]) -> None:
    values = row(0, 50, 75, 100, 125, 150, 200)
    linear = function == "LINEAR"
    data = dicom(
        values,
        VOILUTFunction=function,
        WindowCenter=100.5 if linear else 100,
        WindowWidth=101 if linear else 100,
    )
    assert np.abs(np.array(grey(data)) - expected).max() <= 1


def test_of_several_windows_the_first_and_none_that_cannot_be() -> None:
    assert grey(dicom(row(0, 100, 200), WindowCenter=[100.5, 5], WindowWidth=[201, 1])) == [
        0,
        128,
        255,
    ]
    assert grey(dicom(row(0, 100, 200), WindowCenter=50, WindowWidth=0)) == [0, 128, 255]


def test_monochrome1_is_inverted() -> None:
    assert grey(dicom(row(0, 100, 200), PhotometricInterpretation="MONOCHROME1")) == [255, 127, 0]


def test_signed_values_and_padding() -> None:
    assert grey(dicom(row(-100, 0, 100, dtype=np.int16))) == [0, 128, 255]
    padded = dicom(row(-2000, 0, 50, 100, dtype=np.int16), PixelPaddingValue=-2000)
    assert grey(padded) == [0, 0, 128, 255]


def test_tables_of_values() -> None:
    table = sequence(
        LUTDescriptor=[4, 0, 8], LUTData=words(0, 200, 100, 255), LUTExplanation=CANARY
    )
    assert grey(dicom(row(0, 1, 2, 3, 9), VOILUTSequence=table)) == [0, 200, 100, 255, 255]
    modality = sequence(LUTDescriptor=[3, 0, 16], LUTData=words(0, 1000, 500), ModalityLUTType="US")
    assert grey(dicom(row(0, 1, 2), ModalityLUTSequence=modality)) == [0, 255, 128]


def test_of_several_frames_the_one_asked_for() -> None:
    data = dicom(
        np.array([[[0, 10]], [[20, 20]], [[5, 9]]], np.uint8),
        frames=3,
        WindowCenter=10.5,
        WindowWidth=21,
    )
    assert refused(data).rule == "several-pages"
    assert grey(data, frame=0) == [0, 128] and decode(data, frame=0)[1].frames == 3
    assert grey(data, frame=1) == [255, 255]
    assert refused(data, frame=3).rule == "undecodable"


def test_functional_groups_say_how_a_frame_is_shown() -> None:
    groups = sequence(
        PixelValueTransformationSequence=sequence(
            RescaleSlope=2, RescaleIntercept=0, RescaleType="US"
        ),
        FrameVOILUTSequence=sequence(WindowCenter=100.5, WindowWidth=201),
    )
    data = dicom(
        np.array([[[0, 50, 100]]], np.uint8), frames=1, SharedFunctionalGroupsSequence=groups
    )
    assert grey(data) == [0, 128, 255]


# colour


def test_colour_in_8_and_16_bits() -> None:
    colours = np.array([[[255, 0, 10], [1, 2, 3]]], np.uint8)
    assert np.array_equal(decode(dicom(colours))[0], colours)
    assert np.array_equal(decode(dicom(colours.astype(np.uint16) * 257))[0], colours)
    planar = dicom(
        np.array([[[255, 1], [0, 2], [10, 3]]], np.uint8).reshape(1, 2, 3), PlanarConfiguration=1
    )
    assert np.array_equal(decode(planar)[0], colours)
    assert grey(dicom(np.full((1, 1, 3), 77, np.uint8))) == [77]


def test_ybr_and_palettes_become_rgb() -> None:
    ybr = np.array(Image.new("RGB", (4, 4), (200, 30, 60)).convert("YCbCr"))
    pixels = decode(dicom(ybr, PhotometricInterpretation="YBR_FULL"))[0]
    assert np.abs(pixels.astype(int) - [200, 30, 60]).max() <= 2
    tables: dict[str, Any] = {}
    for name, values in (("Red", [0, 65535]), ("Green", [0, 256]), ("Blue", [65535, 0])):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [2, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = np.array(values, np.uint16).tobytes()
    palette = dicom(row(0, 1, dtype=np.uint8), PhotometricInterpretation="PALETTE COLOR", **tables)
    assert decode(palette)[0].tolist() == [[[0, 0, 255], [255, 1, 0]]]


# compressed


def test_compressed_syntaxes_with_a_decoder() -> None:
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 2)
    for syntax, format, options in (
        ("1.2.840.10008.1.2.4.50", "JPEG", {"quality": 95}),
        ("1.2.840.10008.1.2.4.90", "JPEG2000", {"irreversible": False}),
    ):
        file = io.BytesIO()
        picture.save(file, format, **options)
        data = encapsulated([file.getvalue()], syntax, (8, 8), WindowCenter=64, WindowWidth=127)
        assert np.abs(np.array(grey(data)).reshape(8, 8) - np.asarray(picture) * 2.0).max() < 12


def test_a_missing_decoder_is_said_with_what_to_install() -> None:
    from pydicom.pixels import get_decoder

    syntax = "1.2.840.10008.1.2.4.70"
    if get_decoder(syntax).is_available:
        pytest.skip("a decoder for lossless JPEG is installed")
    error = refused(encapsulated([b"\xff\xd8\xff\xd9"], syntax, (8, 8)))
    assert (
        error.rule == "unsupported-format"
        and "JPEG Lossless" in str(error)
        and "pip install" in error.hint
    )
    video = refused(encapsulated([b"\0\0"], "1.2.840.10008.1.2.4.102", (8, 8)))
    assert video.rule == "unsupported-format"


# what is refused


def test_burned_in_text_is_refused_unless_allowed() -> None:
    data = dicom(row(0, 1), BurnedInAnnotation="YES")
    assert refused(data).rule == "burned-in" and "--allow burned-in" in refused(data).hint
    assert (
        grey(data, allow=["burned-in"])
        == [0, 255]
        == grey(dicom(row(0, 1), BurnedInAnnotation="NO"))
    )


def test_deflated_files_are_refused_unless_allowed_and_never_inflated_without_bound() -> None:
    data = dicom(row(0, 1, 2), syntax="1.2.840.10008.1.2.1.99")
    assert refused(data).rule == "deflated" and grey(data, allow=["deflated"]) == [0, 128, 255]
    header = data[: len(data) - len(deflated(data))]
    state = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = header + state.compress(bytes(MEMORY // 2)) + state.flush()
    assert refused(bomb, allow=["deflated"]).rule == "too-large"


def deflated(data: bytes) -> bytes:
    return data[transfer_syntax(data)[1] :]


def test_size_is_checked_before_pixels() -> None:
    assert refused(dicom(row(0, 1), Rows=65000, Columns=65000)).rule == "too-large"
    error = refused(dicom(RAMP), max_pixels=100)
    assert error.rule == "too-large" and "200 x 200" in str(error) and "--max-pixels" in error.hint


def test_files_without_a_picture_and_damage() -> None:
    import pydicom

    about = pydicom.dcmread(io.BytesIO(dicom(RAMP)))
    del about.PixelData, about.Rows
    file = io.BytesIO()
    about.save_as(file)
    assert refused(file.getvalue()).rule == "unsupported-format"
    assert refused(dicom(row(0, 1), PhotometricInterpretation="HSV")).rule == "unsupported-mode"
    data = dicom(np.arange(100, dtype=np.uint8).reshape(10, 10))
    random = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(
            data[: random.integers(140, len(data))] if random.random() < 0.5 else data
        )
        for place in random.integers(132, len(damaged), 4):
            damaged[place] = random.integers(256)
        try:
            decode(bytes(damaged))
        except PictureError as error:
            assert CANARY not in str(error)


# attributes


def test_attributes_are_those_of_the_list_in_the_form_that_they_must_have() -> None:
    data = dicom(RAMP, BodyPartExamined="CHEST", KVP="80.5", ViewPosition="PA")
    asked = [
        "Modality",
        "BodyPartExamined",
        "KVP",
        "ViewPosition",
        "PatientAge",
        "PatientID",
        "EchoTime",
    ]
    assert list(attributes(data, asked).values()) == [
        "DX",
        "CHEST",
        "80.5",
        "PA",
        "61",
        f"{CANARY}ID",
        None,
    ]
    assert attributes(data, ["PatientName", "InstitutionName"]) == {
        "PatientName": None,
        "InstitutionName": None,
    }
    free = data.replace(b"CHEST ", b"(Max!)")
    assert free != data and attributes(free, ["BodyPartExamined"]) == {"BodyPartExamined": None}


def test_nothing_of_the_patient_leaves_with_the_pixels(capfd: pytest.CaptureFixture[str]) -> None:
    pixels, facts = decode(dicom(RAMP, WindowCenter=2000, WindowWidth=4000))
    assert CANARY.encode() not in pickle.dumps((pixels, facts))
    assert capfd.readouterr() == ("", "")


def test_what_is_dicom_is_told_by_content() -> None:
    assert is_dicom(dicom(RAMP)) and not is_dicom(b"\x89PNG") and not is_dicom(b"")
