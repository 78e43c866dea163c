"""Features changed live and normalized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.dataset.dataset import Dataset
from tests.loader.conftest import ROWS
from tests.support.making_rows import features, made


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_g2_the_same_batches_whatever_the_threads(ds: Dataset, workers: int) -> None:
    """G2: forked workers drew equal augmentation there."""
    augment = [{"noise": 0.1}, {"dropout": 0.2}]
    options: dict[str, Any] = {"batch_size": 7, "shuffle": True, "seed": 3, "augment": augment}
    expected = np.concatenate(list(ds.loader(**options, workers=0)))
    assert np.array_equal(np.concatenate(list(ds.loader(**options, workers=workers))), expected)
    assert len(np.unique(expected)) > ROWS * 3


def test_normalized_by_the_train_split(ds: Dataset) -> None:
    train = features(ROWS)[:150].astype(np.float64)
    expected = (features(ROWS)[150:] - train.mean(0)) / train.std(0)
    found = np.concatenate(list(ds.split("valid").loader(normalize="train")))
    assert np.allclose(found, expected, atol=1e-5)
    own = np.concatenate(list(ds.split("train").loader(normalize=(train.mean(0), train.std(0)))))
    assert np.allclose(own.mean(0), 0, atol=1e-5) and np.allclose(own.std(0), 1, atol=1e-5)


def test_noise_dropout_and_mixtures(ds: Dataset) -> None:
    plain = features(ROWS)
    noisy = np.concatenate(list(ds.loader(augment={"noise": 0.5}))) - plain
    assert abs(noisy.mean()) < 0.1 and noisy.std() == pytest.approx(0.5, rel=0.15)
    dropped = np.concatenate(list(ds.loader(augment={"dropout": 0.25})))[1:]
    assert (dropped == 0).mean() == pytest.approx(0.25, abs=0.06)
    assert np.allclose(dropped[dropped != 0], (plain[1:] / 0.75)[dropped != 0])
    x, y = next(iter(ds.loader(batch_size=ROWS, target="label", augment={"mixup": 0.4})))
    assert y.shape == (ROWS, 3) and y.dtype == np.float32 and np.allclose(y.sum(1), 1)
    assert (y[np.arange(ROWS), np.arange(ROWS) % 3] >= 0.5).all() and not np.array_equal(x, plain)
    x, y = next(iter(ds.loader(batch_size=ROWS, target="age", augment={"mixup": 0.4})))
    assert y.ndim == 1 and ((y >= 20) & (y < 80)).all()


def test_interpolation_stays_within_the_class(tmp_path: Path) -> None:
    label = (np.arange(ROWS) >= 100).astype(np.int64)
    ds = made(tmp_path / "two.parquet", ROWS, label=label)
    x, y = next(
        iter(ds.loader(batch_size=ROWS, shuffle=True, target="label", augment={"interpolate": 1.0}))
    )
    assert ((x[:, 0] >= 100) == y).all() and y.dtype == np.int64
    assert (x[:, 0] % 1 != 0).mean() > 0.8


def test_augmentation_depends_on_seed_epoch_and_position_alone(ds: Dataset) -> None:
    augment = [{"noise": 0.1}, {"mixup": 0.3}, {"dropout": 0.1}]

    def epoch(**options: Any) -> np.ndarray:
        return np.concatenate(list(ds.loader(shuffle=True, augment=augment, **options)))

    expected = epoch(batch_size=64)
    assert np.array_equal(epoch(batch_size=9), expected)
    assert not np.array_equal(epoch(seed=1), expected)
    options: dict[str, Any] = {"shuffle": True, "augment": augment, "batch_size": 10}
    ranks = [ds.loader(**options, rank=rank, world_size=2) for rank in range(2)]
    both = [np.concatenate(pair) for pair in zip(*ranks, strict=True)]
    assert np.array_equal(np.concatenate(both), expected)
