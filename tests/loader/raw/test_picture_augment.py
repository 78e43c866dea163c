"""Live augmentation of pictures: each way, by (seed, epoch, position), and normalization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.errors import UsageError
from dof_arrow.loader.raw.pictures import Pictures
from tests.loader.raw.conftest import CHANGES, ROWS, shade


def test_g2_the_same_batches_whatever_the_workers(pics: Pictures) -> None:
    """G2: forked workers drew equal augmentation there; here (seed, epoch, position) decides."""
    made: dict[int | None, np.ndarray] = {}
    for workers in (0, None, 1, 2):
        loader = pics.loader(batch_size=10, shuffle=True, seed=3, augment=CHANGES, workers=workers)
        made[workers] = np.concatenate([*loader, *loader])
    assert all(np.array_equal(made[0], other) for other in made.values())
    assert len(np.unique(made[0].reshape(2 * ROWS, -1), axis=0)) == 2 * ROWS


def test_g2_one_picture_drawn_again_is_augmented_anew(folder: Path) -> None:
    one = dof.pictures(folder / "07.png").take([0] * 12)
    (x,) = one.loader(augment={"shift_x": (-0.5, 0.5), "rotate": (-90, 90)})
    assert len(np.unique(x.reshape(12, -1), axis=0)) == 12


def _augmented(tmp_path: Path, picture: np.ndarray, count: int = 64, **augment: Any) -> np.ndarray:
    Image.fromarray(picture).save(tmp_path / "one.png")
    (x,) = (
        dof.pictures(tmp_path / "one.png")
        .take([0] * count)
        .loader(batch_size=count, augment=augment)
    )
    return np.asarray(x)


def test_g4_shifts_and_turns_go_both_ways(tmp_path: Path) -> None:
    """G4: shifted only to the right and turned only one way there."""
    dot = np.zeros((33, 33, 3), np.uint8)
    dot[16, 16] = 255
    made = _augmented(tmp_path, dot, shift_x=[-0.3, 0.3], shift_y=[-0.3, 0.3])[..., 0]
    places = np.array([np.unravel_index(p.argmax(), p.shape) for p in made]) - 16
    assert (places.min(0) < -5).all() and (places.max(0) > 5).all() and np.abs(places).max() <= 10
    dot[16, 26] = 254
    turned = _augmented(tmp_path, dot, rotate=[-45, 45])[..., 0].astype(int)
    turned[:, 14:19, 14:19] = 0
    rows = np.array([np.unravel_index(p.argmax(), p.shape)[0] for p in turned]) - 16
    assert rows.min() < -4 and rows.max() > 4


@pytest.mark.parametrize(
    "augment",
    [
        {"flip_x": 0.5},
        {"flip_y": 0.5},
        {"crop": [0.3, 0.6]},
        {"scale": [0.7, 1.4]},
        {"brightness": [0.5, 0.9]},
        {"contrast": [0.5, 0.9]},
        {"blur": [0.02, 0.1]},
        {"noise": [0.02, 0.1]},
        {"normalize": 0.5},
    ],
)
def test_g4_every_change_is_live(tmp_path: Path, augment: dict[str, Any]) -> None:
    made = _augmented(tmp_path, shade(3) // 2 + 20, 16, **augment)
    assert made.shape == (16, 24, 32, 3) and len(np.unique(made.reshape(16, -1), axis=0)) > 1


def test_g4_g15_a_black_picture_stays_black(tmp_path: Path) -> None:
    """G4: normalizing a black frame gave NaN there."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "black.png")
    pics = dof.pictures(tmp_path, dtype="float32")
    (x,) = pics.loader(augment={"normalize": 1.0, "contrast": [0.5, 2.0]})
    assert x.dtype == np.float32 and not x.any()
    (x,) = pics.loader(normalize=([0.0] * 3, [0.0] * 3))
    assert not x.any()


def test_g15_float_pictures_normalized_by_the_train_split(pics: Pictures, folder: Path) -> None:
    floats = dof.pictures(
        folder, table=folder / "meta.csv", key="file", split="part", dtype="float32"
    )
    train = np.stack([shade(i) for i in range(ROWS) if i % 4 != 3]).astype(np.float64) / 255
    mean, deviation = floats.statistics("train")
    assert np.allclose(mean, train.mean((0, 1, 2)), atol=1e-6)
    assert np.allclose(deviation, train.std((0, 1, 2)), atol=1e-6)
    x = np.concatenate(list(floats.split("train").loader(normalize="train")))
    assert x.dtype == np.float32 and np.allclose(x.mean((0, 1, 2)), 0, atol=1e-4)
    assert np.allclose(x.std((0, 1, 2)), 1, atol=1e-4)
    with pytest.raises(UsageError, match="float32"):
        pics.loader(normalize="train")
