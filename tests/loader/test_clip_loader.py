"""Batches of clips: every clip once an epoch, padded, in buckets, in pieces, on several ranks."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import DofWarning, UsageError
from dof_arrow.format.parquet.layout import Geometry
from dof_arrow.format.writer import Writer
from dof_arrow.loader.clip_loader import ClipLoader
from dof_arrow.loader.padded import Padded
from dof_arrow.tables import gather, row_groups

LENGTHS = tuple(int(n) for n in np.random.default_rng(0).integers(1, 30, 53))
WIDTH = 6


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Clips whose every number is the clip's own, and counts its frames after the point."""
    path = tmp_path_factory.mktemp("clips") / "x.parquet"
    about = {"targets": {"way": {"kind": "category", "classes": ["left", "right"]}}}
    with Writer(path, about) as writer:
        for clip, length in enumerate(LENGTHS):
            frames = np.arange(length)
            features = np.repeat((clip + frames / 100).astype(np.float32)[:, None], WIDTH, 1)
            writer.write(
                ids=[f"clip{clip:03d}"] * length,
                vectors={"feature": features},
                columns={
                    "frame": frames.astype(np.int32),
                    "time": frames / 25,
                    "way": [clip % 2] * length,
                    "age": [clip * 1.0] * length,
                },
            )
    return dataset.open(path)


def seen(loader: ClipLoader) -> list[tuple[int, int]]:
    """The number and length of each clip, in the order in which they come."""
    found = []
    for batch in loader:
        padded = batch if isinstance(batch, Padded) else batch[0]
        found += [
            (int(f[0, 0]), int(n)) for f, n in zip(padded.features, padded.lengths, strict=True)
        ]
    return found


@pytest.mark.parametrize(
    "options", [{}, {"shuffle": True}, {"shuffle": True, "bucket": 4}, {"bucket": 3}]
)
def test_every_clip_once_an_epoch_whole_and_padded_with_zeros(
    ds: Dataset, options: dict[str, Any]
) -> None:
    loader = ds.clip_loader(batch_size=8, **options)
    assert len(loader) == 7 and sorted(seen(loader)) == [*enumerate(LENGTHS)]
    for padded in loader:
        assert padded.features.shape == (len(padded.lengths), padded.lengths.max(), WIDTH)
        assert not padded.features[~padded.mask].any() and padded.mask.sum() == padded.lengths.sum()
        for features, length in zip(padded.features, padded.lengths, strict=True):
            expected = int(features[0, 0]) + np.arange(length) / 100
            np.testing.assert_allclose(features[:length, 0], expected, atol=1e-5)


def test_d16_clips_of_compact_files_are_decoded_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row group is decoded for its clips and for the one that reaches into it, not for each."""
    monkeypatch.setattr(gather, "IN_MEMORY", 100)
    monkeypatch.setattr(row_groups, "_DECODED", 4 * 50 * 4 * WIDTH)
    with Writer(tmp_path / "x.parquet", layout="compact", geometry=Geometry(50, 4096)) as writer:
        for clip in range(100):
            writer.write(
                ids=[f"clip{clip:03d}"] * 7,
                vectors={"feature": np.full((7, WIDTH), clip, np.float32)},
                columns={"frame": np.arange(7, dtype=np.int32)},
            )
    with pytest.warns(DofWarning, match="dof convert"):
        loader = dataset.open(tmp_path / "x.parquet").clip_loader(batch_size=8, shuffle=True)
    decoded: list[int] = []
    decode = loader._gather.read
    monkeypatch.setattr(
        loader._gather, "read", lambda number: decoded.append(number) or decode(number)
    )
    first, second = seen(loader), seen(loader)
    assert sorted(first) == sorted(second) == [(clip, 7) for clip in range(100)]
    assert first != second
    assert len(decoded) <= 2 * 2 * 14


def test_targets_and_columns_come_once_a_clip(ds: Dataset) -> None:
    for padded, way, others in ds.clip_loader(
        batch_size=8, shuffle=True, target="way", columns=["age", "id"]
    ):
        number = padded.features[:, 0, 0].astype(int)
        assert way.tolist() == (number % 2).tolist() and others["age"].tolist() == number.tolist()
        assert list(others["id"]) == [f"clip{n:03d}" for n in number]


def test_epochs_differ_and_repeat(ds: Dataset) -> None:
    loader = ds.clip_loader(shuffle=True, seed=3)
    first, second = seen(loader), seen(loader)
    again = seen(ds.clip_loader(shuffle=True, seed=3))
    assert first == again != second and sorted(first) == sorted(second)


def test_buckets_waste_less(ds: Dataset) -> None:
    def waste(bucket: int) -> float:
        batches = list(ds.clip_loader(batch_size=4, shuffle=True, bucket=bucket))
        mask = np.concatenate([batch.mask.ravel() for batch in batches])
        return 1 - mask.mean()

    assert waste(13) < 0.15 < waste(1)


@pytest.mark.parametrize("bucket", [1, 3])
@pytest.mark.parametrize("stop", [0, 1, 5, 6])
def test_a_state_goes_on_where_it_was_taken(ds: Dataset, bucket: int, stop: int) -> None:
    options: dict[str, Any] = {
        "batch_size": 8,
        "shuffle": True,
        "bucket": bucket,
        "augment": [{"noise": 0.1}],
    }
    whole = [b.features for b in ds.clip_loader(**options)]
    loader = ds.clip_loader(**options)
    parted = [batch.features for batch in islice(loader, stop)]
    again = ds.clip_loader(**options)
    again.load_state_dict(loader.state_dict())
    rest = [b.features for b in again]
    assert all(np.array_equal(a, b) for a, b in zip(whole, [*parted, *rest], strict=True))


def test_ranks_share_the_clips(ds: Dataset) -> None:
    found = [
        seen(ds.clip_loader(batch_size=3, shuffle=True, bucket=2, rank=r, world_size=3))
        for r in range(3)
    ]
    assert sorted(chain.from_iterable(found)) == [*enumerate(LENGTHS)]


def test_long_clips_in_pieces(ds: Dataset) -> None:
    loader = ds.clip_loader(chunk=10, batch_size=5)
    lengths = np.concatenate([padded.lengths for padded in loader])
    assert lengths.max() == 10 and lengths.sum() == sum(LENGTHS)
    assert len(lengths) == np.ceil(np.array(LENGTHS) / 10).sum()


def test_one_draw_a_clip(ds: Dataset) -> None:
    """Live augmentation of features too is drawn once a clip (row G4)."""
    for padded in ds.clip_loader(augment=[{"noise": 1.0}], batch_size=4):
        for features, length in zip(padded.features, padded.lengths, strict=True):
            steps = features[:length] - np.arange(length)[:, None] / 100
            np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=1e-4)


def test_a_split_and_statistics(ds: Dataset) -> None:
    some = ds[: sum(LENGTHS[:10])]
    assert [n for n, _ in seen(some.clip_loader())] == [*range(10)]
    mean, deviation = np.full(WIDTH, 2.0), np.full(WIDTH, 4.0)
    plain, scaled = (
        next(iter(some.clip_loader(**o))) for o in ({}, {"normalize": (mean, deviation)})
    )
    np.testing.assert_allclose(
        scaled.features[scaled.mask], (plain.features[plain.mask] - 2) / 4, atol=1e-6
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"bucket": 0},
        {"chunk": 0},
        {"rank": 1},
        {"augment": [{"mixup": 0.5}]},
        {"target": "absent"},
    ],
)
def test_options_that_cannot_be(ds: Dataset, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ds.clip_loader(**wrong)


def test_clips_in_pieces_and_foreign_states_are_refused(ds: Dataset) -> None:
    with pytest.raises(UsageError, match="stand together"):
        ds.take([0, len(ds) - 1, 1]).clip_loader()
    with pytest.raises(UsageError, match="another loader"):
        ds.clip_loader().load_state_dict({"seed": 1, "epoch": 0, "consumed": 0, "length": 53})


def test_torch_gets_tensors_or_packed_sequences(ds: Dataset) -> None:
    torch = pytest.importorskip("torch")
    loader = ds.clip_loader(batch_size=8, target="way")
    for (packed, way), (padded, expected) in zip(loader.to_torch(packed=True), loader, strict=True):
        features, lengths = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
        assert (
            np.array_equal(features.numpy(), padded.features)
            and lengths.tolist() == padded.lengths.tolist()
        )
        assert way.tolist() == expected.tolist()
    (features, lengths), _ = next(iter(loader.to_torch()))
    assert features.shape[1] == lengths.max()


def test_tensorflow_gets_ragged_tensors(ds: Dataset) -> None:
    pytest.importorskip("tensorflow")
    loader = ds.clip_loader(batch_size=20, target="way")
    for (ragged, way), (padded, expected) in zip(loader.to_tf(), loader, strict=True):
        assert ragged.row_lengths().numpy().tolist() == padded.lengths.tolist()
        assert (
            np.array_equal(ragged.to_tensor().numpy(), padded.features)
            and way.numpy().tolist() == expected.tolist()
        )
