"""Rows, clips and pictures by their number, for torch's samplers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dof_arrow as dof
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.format.writer import Writer
from tests.loader.conftest import ROWS
from tests.support.making_rows import features
from tests.support.pictures import folder_of


@pytest.fixture
def data() -> Any:
    return pytest.importorskip("torch.utils.data")


def test_a_row_is_a_dict(ds: Dataset, data: Any) -> None:
    rows = ds.to_torch_dataset(target="label", columns=["age", "sex", "signs"])
    assert isinstance(rows, data.Dataset) and len(rows) == ROWS
    row = rows[7]
    assert list(row) == ["feature", "label", "age", "sex", "signs"]
    assert np.array_equal(row["feature"], features(ROWS)[7]) and int(row["label"]) == 1
    assert row["sex"] == "m" and row["signs"].tolist() == [1, 1, 1]
    assert [int(each["feature"][0]) for each in rows.__getitems__([5, -1, 5])] == [5, ROWS - 1, 5]
    for wrong in (ROWS, -ROWS - 1):
        with pytest.raises(IndexError, match=f"of {ROWS}"):
            rows[wrong]
    chosen = ds.take([9, 3]).to_torch_dataset()
    assert [int(row["feature"][0]) for row in chosen] == [9, 3]


def test_torch_samplers_choose_rows(ds: Dataset, data: Any) -> None:
    rows = ds.to_torch_dataset(target="label", columns=["age"])
    samplers = {
        data.RandomSampler(rows): ROWS,
        data.WeightedRandomSampler([1.0, 0.0] * (ROWS // 2), 30): 30,
        data.DistributedSampler(rows, 3, 1): 67,
    }
    for sampler, count in samplers.items():
        seen: list[int] = []
        for batch in data.DataLoader(rows, batch_size=16, sampler=sampler):
            own = batch["feature"][:, 0].long()
            assert batch["label"].tolist() == (own % 3).tolist()
            assert batch["age"].tolist() == (20 + own * 7 % 60).tolist()
            seen += own.tolist()
        assert len(seen) == count
        if isinstance(sampler, data.WeightedRandomSampler):
            assert not any(row % 2 for row in seen)


def test_it_goes_to_spawned_workers(ds: Dataset, data: Any) -> None:
    rows = ds.to_torch_dataset(target="label", normalize="train")
    loaded = data.DataLoader(rows, batch_size=64, num_workers=1, multiprocessing_context="spawn")
    mean, deviation = ds.statistics("train")
    found = np.concatenate([batch["feature"].numpy() for batch in loaded])
    np.testing.assert_allclose(found, (features(ROWS) - mean) / deviation, rtol=1e-5)


def test_clips_are_padded_by_its_own_collate(tmp_path: Path, data: Any) -> None:
    lengths = [3, 1, 4]
    with Writer(tmp_path / "c.parquet") as writer:
        for clip, length in enumerate(lengths):
            writer.write(
                ids=[f"c{clip}"] * length,
                vectors={"feature": np.full((length, 2), clip + 1, np.float32)},
                columns={"frame": np.arange(length, dtype=np.int32)},
            )
    clips = pickle.loads(
        pickle.dumps(dof.open(tmp_path / "c.parquet").to_torch_dataset(clips=True))
    )
    assert [clip["feature"].shape[0] for clip in clips] == lengths
    (batch,) = data.DataLoader(clips, batch_size=3, collate_fn=clips.collate)
    assert batch["lengths"].tolist() == lengths and batch["feature"].shape == (3, 4, 2)
    assert batch["feature"][:, :, 0].tolist() == [[1, 1, 1, 0], [2, 0, 0, 0], [3, 3, 3, 3]]


def test_pictures_by_their_number(tmp_path: Path, data: Any) -> None:
    folder = folder_of(tmp_path / "in", 6, ("a", "b"))
    pictures = dof.pictures(folder, label="folder", size=8)
    rows = pictures.to_torch_dataset(target="label")
    expected, labels = next(iter(pictures.loader(target="label")))
    (batch,) = data.DataLoader(rows, batch_size=6)
    assert np.array_equal(batch["picture"].numpy(), expected)
    assert batch["label"].tolist() == labels.tolist()


def test_two_values_of_one_name_are_refused(ds: Dataset, data: Any) -> None:
    with pytest.raises(UsageError, match="two values of one name"):
        ds.to_torch_dataset(target="age", columns=["age"])
    with pytest.raises(UsageError, match="two values of one name"):
        ds.to_torch_dataset(target="feature")
