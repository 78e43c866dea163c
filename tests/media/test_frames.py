"""Frames and their times, whatever the clip is: sampling, windows, folders, arrays."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.errors import PictureError, UsageError
from dof_arrow.media import decode
from dof_arrow.media import frames as footage
from dof_arrow.media.frame_sequences import ArrayFrames, PictureFrames, load_array
from dof_arrow.media.frames import Sampling, Still, Watched
from tests.support.pictures import png


def still(start: Any, stop: Any, value: int = 0) -> Still:
    return Still(Fraction(start), Fraction(stop), lambda: np.full((1, 1, 3), value, np.uint8))


def numbers(stills: list[Still], fps: float) -> list[int]:
    return [number for number, _, _ in footage.shown_at(stills, Fraction(fps))]


def test_each_moment_gets_the_frame_that_is_shown_then() -> None:
    uneven = [still(0, "0.1"), still("0.1", "0.5"), still("0.5", "0.6"), still("0.6", 1)]
    assert numbers(uneven, 10) == [0, 1, 1, 1, 1, 2, 3, 3, 3, 3]
    assert numbers(uneven, 2) == [0, 2]
    assert numbers(uneven, 0.5) == [0]
    assert [float(time) for _, time, _ in footage.shown_at(uneven, Fraction(4))] == [
        0,
        0.25,
        0.5,
        0.75,
    ]


def test_a_clip_at_its_own_rate_gives_each_frame_once() -> None:
    rate = Fraction(30_000, 1001)
    stills = [still(k / rate, (k + 1) / rate) for k in range(300)]
    assert numbers(stills, rate) == [*range(300)]  # type: ignore[arg-type]


def test_times_that_run_backwards_are_mended() -> None:
    given = [
        (Fraction(t), Fraction(1), lambda: np.zeros((1, 1, 3), np.uint8)) for t in (5, 7, 6, 9)
    ]
    assert [(s.start, s.stop) for s in footage.with_ends(given)] == [(0, 2), (2, 3), (3, 4), (4, 5)]


class Broken:
    """Three frames, then the end of the world."""

    facts: Any = None
    lost = ""
    closed = False

    def stills(self) -> Iterator[Still]:
        try:
            for k in range(3):
                yield still(k, k + 1, k)
            raise PictureError("the clip is damaged", rule="truncated")
        finally:
            self.closed = True


def test_a_broken_clip_gives_what_precedes_the_break_or_fails_as_asked() -> None:
    with pytest.raises(PictureError, match="damaged"):
        list(Watched(Broken()))
    kept = Watched(Broken(), Sampling(on_break="keep"))
    assert [frame.pixels[0, 0, 0] for frame in kept] == [0, 1, 2] and "damaged" in kept.broken
    enough = Watched(Broken(), Sampling(max_frames=3))
    assert len(list(enough)) == 3 and not enough.broken


def test_a_clip_that_is_left_early_is_closed() -> None:
    clip = Broken()
    frames = iter(Watched(clip))
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert clip.closed


@pytest.mark.parametrize(
    "wrong",
    [
        {"fps": 0},
        {"max_frames": -1},
        {"window": 0},
        {"stride": 2},
        {"on_break": "hope"},
        {"fps": float("inf")},
        {"fps": float("nan")},
    ],
)
def test_what_cannot_be_asked_for(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Sampling(**wrong)


def test_windows() -> None:
    assert list(footage.windows(range(7), 3, 3)) == [(0, 1, 2), (3, 4, 5)]
    assert list(footage.windows(range(7), 3, 5)) == [(0, 1, 2)]
    assert list(footage.windows(range(2), 3, 1)) == []


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.png" for k in range(4)]
    for k, path in enumerate(paths):
        path.write_bytes(png(k))
    clip = PictureFrames(paths, lambda path: decode.decode(path.read_bytes()))
    assert [frame.time for frame in Watched(clip)] == [0, 1, 2, 3] and clip.facts.frames == 4
    timed = Watched(PictureFrames(paths, clip.decode, fps=10), Sampling(fps=10))
    assert [(frame.number, frame.time) for frame in timed] == [(0, 0), (1, 0.1), (2, 0.2), (3, 0.3)]


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 1), (5, 6, 7, 3)])
def test_arrays(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", clip=values, label=np.arange(5))
    for name in ("a.npy", "a.npz"):
        frames = list(Watched(ArrayFrames(load_array(tmp_path / name))))
        assert len(frames) == 5 and frames[0].pixels.shape == (6, 7, 3)
        assert np.array_equal(frames[3].pixels[..., 0], values[3].reshape(6, 7, -1)[..., 0])


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_numbers_become_8_bits_the_same_way_in_all_frames(dtype: Any) -> None:
    values = np.zeros((2, 2, 2), dtype)
    values[1] = 1023
    values[0, 0, 0] = 511
    dark, bright = (frame.pixels for frame in Watched(ArrayFrames(values)))
    assert bright.max() == 255 and dark.max() == 127


def test_arrays_that_are_no_clip(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 3, 4), np.uint8), b=np.zeros((2, 3, 4), np.uint8))
    (tmp_path / "not.npy").write_bytes(b"\x93NUMPY nothing")
    for name in ("two.npz", "not.npy", "absent.npy"):
        with pytest.raises(PictureError):
            load_array(tmp_path / name)
    with pytest.raises(PictureError):
        ArrayFrames(np.zeros((4, 4), np.uint8))
