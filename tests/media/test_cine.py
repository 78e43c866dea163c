"""DICOM cines: their own times, one grey scale, and nothing of what stands beside the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.errors import PictureError, SourceError, UsageError
from dof_arrow.extraction.extract import extract
from dof_arrow.media.cine import Cine
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import Sampling, Watched
from dof_arrow.sources.clip import open_clip
from dof_arrow.sources.sample import Sample
from tests.support.dicoms import CANARY, dicom, sequence
from tests.support.pictures import KEY, core

pytest.importorskip("pydicom")

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (5, 24, 32, 3), np.uint8)
GREY = RANDOM.integers(0, 256, (5, 24, 32), np.uint8)


def region(left: int, top: int, right: int, bottom: int, kind: int = 1) -> Any:
    """A region tag; the corners belong to the region."""
    return sequence(
        RegionSpatialFormat=kind,
        RegionLocationMinX0=left,
        RegionLocationMinY0=top,
        RegionLocationMaxX1=right,
        RegionLocationMaxY1=bottom,
    )


def watched(data: bytes, **options: Any) -> list[Any]:
    sampling = Sampling(**options)
    return list(Watched(open_clip(Sample(key="x", data=data), sampling), sampling))


def test_every_frame_as_it_is_with_its_time() -> None:
    frames = watched(dicom(COLOUR, frames=5, FrameTime="40"))
    assert [frame.time for frame in frames] == [0, 0.04, 0.08, 0.12, 0.16]
    assert all(np.array_equal(f.pixels, c) for f, c in zip(frames, COLOUR, strict=True))


@pytest.mark.parametrize(
    ("said", "times"),
    [
        ({"FrameTimeVector": ["0", "40", "20", "40", "20"]}, [0, 0.04, 0.06, 0.1, 0.12]),
        ({"CineRate": "10"}, [0, 0.1, 0.2, 0.3, 0.4]),
        ({"RecommendedDisplayFrameRate": "20"}, [0, 0.05, 0.1, 0.15, 0.2]),
        ({}, [0, 1, 2, 3, 4]),
    ],
)
def test_times(said: dict[str, Any], times: list[float]) -> None:
    assert [frame.time for frame in watched(dicom(COLOUR, frames=5, **said))] == times
    assert [
        frame.number for frame in watched(dicom(COLOUR, frames=5, FrameTime="40"), fps=12.5)
    ] == [0, 2, 4]


def test_grey_frames_are_on_one_scale() -> None:
    dim = GREY // 4
    assert all(
        np.array_equal(f.pixels[..., 0], d)
        for f, d in zip(watched(dicom(dim, frames=5)), dim, strict=True)
    )
    deep = GREY.astype(np.uint16) * 3
    deep[0] //= 2
    frames = [frame.pixels[..., 0] for frame in watched(dicom(deep, frames=5))]
    assert frames[0].max() in (127, 128) and max(frame.max() for frame in frames) == 255


def test_only_the_regions_are_seen() -> None:
    """Ultrasound machines write the patient's name into the banner above the picture."""
    data = dicom(COLOUR, frames=5, SequenceOfUltrasoundRegions=region(4, 6, 19, 21))
    assert all(
        np.array_equal(f.pixels, c[6:22, 4:20]) for f, c in zip(watched(data), COLOUR, strict=True)
    )
    assert watched(data, crop="all")[0].pixels.shape == (24, 32, 3)
    assert np.array_equal(watched(data, crop="0,2,30,20")[1].pixels, COLOUR[1, 2:20, :30])
    several = region(4, 6, 9, 9)
    several.append(region(6, 10, 19, 21)[0])
    several.append(region(0, 0, 31, 23, kind=3)[0])  # a spectrum
    assert Cine(dicom(COLOUR, frames=5, SequenceOfUltrasoundRegions=several)).region == (
        4,
        6,
        20,
        22,
    )


def test_crops_that_cannot_be() -> None:
    for wrong in ("1,2,3", "5,5,5,9", "-1,0,4,4", "banner"):
        with pytest.raises(UsageError, match="no such crop"):
            Sampling(crop=wrong)
    with pytest.raises(PictureError, match="smaller than the crop") as caught:
        watched(dicom(COLOUR, frames=5), crop="0,0,100,10")
    assert caught.value.rule == "crop"


def test_burned_in_text_is_refused_unless_allowed() -> None:
    data = dicom(COLOUR, frames=5, BurnedInAnnotation="YES")
    with pytest.raises(PictureError, match="burned"):
        watched(data)
    seen = open_clip(Sample(key="x", data=data), reading=ReadingOptions(allow=("burned-in",)))
    assert len(list(Watched(seen))) == 5


def test_what_is_damaged_is_refused() -> None:
    data = dicom(COLOUR, frames=5)
    with pytest.raises(PictureError):
        watched(data[: len(data) // 2])
    with pytest.raises(PictureError):
        watched(bytes(128) + b"DICM" + bytes(range(200)))


def test_extraction_of_cines_lets_nothing_else_out(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for number in range(3):
        (tmp_path / "d" / f"{CANARY}{number}.dcm").write_bytes(
            dicom(
                COLOUR, frames=5, FrameTime="40", SequenceOfUltrasoundRegions=region(4, 6, 19, 21)
            )
        )
    ds = extract(tmp_path / "d", core=core(), out=tmp_path / "x.parquet", id_key=KEY, clips=True)
    assert len(ds) == 15 and ds.to_numpy("time")[:5].tolist() == [0, 0.04, 0.08, 0.12, 0.16]
    expected = core()([np.ascontiguousarray(frame[6:22, 4:20]) for frame in COLOUR])
    np.testing.assert_allclose(ds.to_numpy()[5:10], expected, atol=1e-5)
    assert CANARY.encode() not in ds.path.read_bytes()
    with pytest.raises(SourceError, match="no input gave features"):
        extract(
            tmp_path / "d", core=core(), out=tmp_path / "y.parquet", id_key=KEY, crop="0,0,99,99"
        )
