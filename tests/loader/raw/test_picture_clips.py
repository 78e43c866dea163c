"""Clips loaded raw: padded or spread evenly, one draw a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.loader.padded import Padded


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four folders of 3 to 6 frames; a frame says its clip and its number."""
    where = tmp_path_factory.mktemp("clips")
    for clip in range(4):
        (where / f"c{clip}").mkdir()
        for frame in range(3 + clip):
            Image.fromarray(np.full((8, 10, 3), 10 * clip + frame, np.uint8)).save(
                where / f"c{clip}" / f"{frame}.png"
            )
    return where


def test_g14_clips_padded_with_their_lengths(clips: Path) -> None:
    pics = dof.pictures(clips, max_frames=5)
    (batch,) = pics.loader(workers=1)
    assert isinstance(batch, Padded) and batch.features.shape == (4, 5, 8, 10, 3)
    assert batch.lengths.tolist() == [3, 4, 5, 5] and batch.features.flags.c_contiguous
    assert batch.features[:, :, 0, 0, 0].tolist() == [
        [0, 1, 2, 0, 0],
        [10, 11, 12, 13, 0],
        [20, 21, 22, 23, 24],
        [30, 31, 32, 33, 34],
    ]
    assert next(iter(pics[:2].loader())).features.shape[1] == 4
    assert pics[1]["clip"].shape == (4, 8, 10, 3)


def test_g14_so_many_frames_spread_evenly(clips: Path) -> None:
    x = next(iter(dof.pictures(clips, frames=3, size=(4, 4)).loader()))
    assert x.shape == (4, 3, 4, 4, 3) and x[..., 0, 0, 0].tolist() == [
        [0, 1, 2],
        [10, 12, 13],
        [20, 22, 24],
        [31, 33, 35],
    ]
    x = next(iter(dof.pictures(clips, frames=6).loader()))
    assert (x[0, :, 0, 0, 0] % 10).tolist() == [0, 0, 1, 1, 2, 2]


def test_g4_a_clip_takes_one_draw(clips: Path) -> None:
    """G4: live augmentation of clips, one draw a clip."""
    dots = np.zeros((6, 16, 16, 3), np.uint8)
    dots[:, 8, 8] = 255
    np.save(clips / "dots.npy", dots)
    pics = dof.pictures(clips / "dots.npy", frames=6).take([0] * 8)
    (x,) = pics.loader(
        augment={"shift_x": [-0.4, 0.4], "shift_y": [-0.4, 0.4], "brightness": [0.5, 1.0]}
    )
    assert (
        all((clip == clip[0]).all() for clip in x) and len(np.unique(x.reshape(8, -1), axis=0)) > 4
    )
    (clips / "dots.npy").unlink()


def test_normalized_clips_are_zero_behind_their_end(clips: Path) -> None:
    (batch,) = dof.pictures(clips, max_frames=9, dtype="float32").loader(normalize=(0.5, 0.5))
    assert not batch.features[~batch.mask].any() and (batch.features[batch.mask] < 0).all()


def test_clips_in_the_frameworks(clips: Path) -> None:
    torch = pytest.importorskip("torch")
    loader = dof.pictures(clips, max_frames=9, keep=[]).loader(target="clip", batch_size=3)
    (features, lengths), _ = next(iter(loader.to_torch()))
    assert isinstance(features, torch.Tensor) and lengths.tolist() == [3, 4, 5]
    from dof_arrow.loader.frameworks import _with_inputs

    inputs, target = _with_inputs(loader, loader.batch(0))
    assert set(inputs) == {"clip", "lengths"} and target is inputs["clip"]


def test_videos(tmp_path: Path) -> None:
    made = pytest.importorskip("tests.support.clips")
    made.pairs(tmp_path, 2, lengths=(9, 12), height=32, width=48)
    pics = dof.pictures(
        tmp_path,
        table=tmp_path / "clips.csv",
        key="file",
        label="direction",
        frames=4,
        size=(16, 24),
    )
    x, y = next(iter(pics.loader(target="direction")))
    assert x.shape == (4, 4, 16, 24, 3) and sorted(y.tolist()) == [0, 0, 1, 1]
    padded = next(iter(dof.pictures(tmp_path, max_frames=10, fps=25).loader()))
    assert padded.lengths.tolist() == [9, 9, 10, 10]
