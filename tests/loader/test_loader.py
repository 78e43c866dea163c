"""Batches of a dataset: whole, shuffled each epoch, in bounded memory."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dof_arrow.dataset.dataset import Dataset, concat
from tests.loader.conftest import ROWS
from tests.support import making
from tests.support.making_rows import features, made, numbers


def test_g1_batches_contiguous_with_a_partial_last_one(ds: Dataset) -> None:
    """G1: the last batch was dropped there."""
    batches = list(ds.loader(batch_size=64, shuffle=True, target="label"))
    assert [len(x) for x, _ in batches] == [64, 64, 64, 8]
    assert all(
        x.flags.c_contiguous and x.dtype == np.float32 and x.flags.writeable for x, _ in batches
    )
    assert len(ds.loader(batch_size=64)) == 4 and len(ds.loader(batch_size=64, drop_last=True)) == 3
    assert sorted(numbers(batches)) == list(range(ROWS))


def test_rows_and_labels_belong_together(ds: Dataset) -> None:
    for x, y, more in ds.loader(
        batch_size=30, shuffle=True, target="label", columns=["age", "sex", "id", "signs"]
    ):
        row = x[:, 0].astype(int)
        assert np.array_equal(x, features(ROWS)[row]) and np.array_equal(y, row % 3)
        assert np.array_equal(more["age"], 20 + row * 7 % 60)
        assert (
            more["sex"].tolist() == [("f", "m")[i % 2] for i in row]
            and more["id"][0] == f"r{row[0]:05d}"
        )
        assert np.array_equal(more["signs"], (row[:, None] >> np.arange(3)) & 1)


@pytest.mark.parametrize("shuffle", [False, True])
def test_any_batch_of_any_rank_has_its_own_labels_and_columns(ds: Dataset, shuffle: bool) -> None:
    seen: list[int] = []
    for size, rank in ((1, 0), (1, 1), (7, 0), (7, 1)):
        loader = ds.loader(
            batch_size=size,
            shuffle=shuffle,
            target="label",
            columns=["age"],
            rank=rank,
            world_size=2,
        )
        for x, y, more in loader:
            row = x[:, 0].astype(int)
            assert len(row) == size or len(row) < 7 == size
            assert np.array_equal(y, row % 3) and np.array_equal(more["age"], 20 + row * 7 % 60)
            seen += row.tolist()
    assert sorted(seen) == sorted([*range(ROWS)] * 2)


def test_g3_each_epoch_has_its_own_order_and_seeds_differ(ds: Dataset) -> None:
    """G3: shuffled anew each epoch, and any epoch again from its number."""
    loader = ds.loader(shuffle=True, seed=1)
    epochs = [numbers(loader) for _ in range(3)]
    assert (
        all(sorted(epoch) == list(range(ROWS)) for epoch in epochs)
        and len(set(map(tuple, epochs))) == 3
    )
    again = ds.loader(shuffle=True, seed=1)
    again.set_epoch(2)
    assert numbers(again) == epochs[2] and numbers(ds.loader(shuffle=True, seed=2)) != epochs[0]


def test_each_pass_is_an_epoch_broken_off_or_not(ds: Dataset) -> None:
    loader = ds.loader(shuffle=True, batch_size=16)
    expected = [numbers(loader) for _ in range(3)]
    loader.set_epoch(0)
    assert numbers([next(iter(loader))]) == expected[0][:16] and loader.epoch == 0
    first, second = iter(loader), iter(loader)  # the one that begins first is the first epoch
    assert numbers(second) == expected[2] and numbers(first) == expected[1]
    assert loader.epoch == 3
    loader.set_epoch(1)
    assert np.array_equal(loader.batch(2)[:, 0], expected[1][32:48])  # no pass begins
    assert numbers(loader) == expected[1]


def test_an_epoch_ends_with_its_last_batch(ds: Dataset) -> None:
    loader = ds.loader(shuffle=True, batch_size=16)
    batches = iter(loader)
    for _ in range(len(loader)):
        assert loader.epoch == 0
        next(batches)
    assert loader.epoch == 1 and loader.state_dict()["consumed"] == 0
    assert next(batches, None) is None and loader.epoch == 1


def test_g7_validation_in_order_and_unchanged(ds: Dataset) -> None:
    """G7: validation and test without shuffling or augmentation."""
    valid = ds.split("valid")
    x = np.concatenate(list(valid.loader(batch_size=16)))
    assert np.array_equal(x, features(ROWS)[150:])
    assert np.array_equal(np.concatenate(list(valid.loader(batch_size=16))), x)


def test_unshuffled_batches_are_views_of_the_file(ds: Dataset) -> None:
    values = ds.to_numpy()
    batches = list(ds.loader(batch_size=50, target="label"))
    assert all(not (x.flags.owndata or x.flags.writeable) for x, _ in batches)
    assert all(np.array_equal(x, values[i * 50 : i * 50 + 50]) for i, (x, _) in enumerate(batches))
    assert numbers(batches) == list(range(ROWS))


def test_g8_autoencoders_have_a_length(ds: Dataset) -> None:
    """G8: the generator had no length there."""
    loader = ds.loader(batch_size=32, shuffle=True, target="feature")
    assert len(loader) == 7 and all(np.array_equal(x, y) for x, y in loader)
    for x, y in ds.loader(shuffle=True, target="feature", augment={"noise": 1.0}):
        assert not np.array_equal(x, y) and np.array_equal(y, features(ROWS)[y[:, 0].astype(int)])


def test_d14_d15_subsets_load_their_own_rows(ds: Dataset) -> None:
    chosen = ds.take([5, 3, 199, 7])
    assert numbers(chosen.loader()) == [5, 3, 199, 7]
    assert sorted(numbers(chosen.loader(shuffle=True))) == [3, 5, 7, 199]
    ((_, labels),) = chosen.loader(target="label")
    assert labels.tolist() == [2, 0, 1, 1]
    some = ds[20:40].loader(shuffle=True, target="label")
    assert sorted(numbers(some)) == list(range(20, 40))


_MEMORY = """
import sys
import dof_arrow as dof, numpy, pyarrow.parquet, dof_arrow.loader.loader
def held():
    status = open("/proc/self/status").read()
    return int(status.split("RssAnon:")[1].split()[0]) << 10
before, most = held(), 0
for x, y in dof.open(sys.argv[1]).loader(shuffle=True, target="label", balance="label"):
    most = max(most, held())
print(most - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the system does not tell private memory"
)
def test_g1_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """G1: a balanced epoch over 134 MB takes a few buffers; `benchmarks/bench_read.py`: 10 GB."""
    path = made(tmp_path / "x.parquet", 1 << 16, 512).path
    done = making.run(_MEMORY, path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40 << 20 < path.stat().st_size // 3


def test_batches_may_be_kept_and_buffers_go_round_if_they_are_not(ds: Dataset) -> None:
    kept = list(ds.loader(batch_size=8, shuffle=True, workers=2))
    assert sorted(numbers(kept)) == list(range(ROWS))
    loader = ds.loader(batch_size=ROWS, shuffle=True, workers=0)
    places = set()
    for _ in range(5):
        for x in loader:
            places.add(x.ctypes.data)
            assert x.ctypes.data % 64 == 0
        del x
        gc.collect()
    assert len(places) <= 2


def test_threads_end_with_the_iteration(ds: Dataset) -> None:
    before = threading.active_count()
    for _ in ds.loader(shuffle=True, batch_size=4, workers=2):
        break
    gc.collect()
    assert threading.active_count() == before


def test_a_batch_by_its_number(ds: Dataset) -> None:
    for world, rank, size in ((1, 0, 64), (3, 2, 33), (7, 1, 4)):
        loader = ds.loader(
            batch_size=size, shuffle=True, world_size=world, rank=rank, target="label"
        )
        batches = list(loader)
        loader.set_epoch(0)
        for i, (x, y) in enumerate(batches):
            assert np.array_equal(loader.batch(i)[0], x) and np.array_equal(loader.batch(i)[1], y)
        with pytest.raises(IndexError):
            loader.batch(len(batches))


def test_a_tensor_keeps_its_shape_and_float16_comes_as_float32(tmp_path: Path) -> None:
    from dof_arrow.dataset.dataset import open as open_dataset
    from dof_arrow.format.writer import Writer

    x = np.random.default_rng(0).normal(size=(50, 2, 3)).astype(np.float16)
    with Writer(tmp_path / "t.parquet") as writer:
        writer.write(
            ids=[str(i) for i in range(50)], vectors={"map": x, "other": x[:, 0].astype(np.float32)}
        )
    ds = open_dataset(tmp_path / "t.parquet")
    for shuffle in (True, False):
        batch = next(iter(ds.loader(batch_size=50, shuffle=shuffle)))
        assert batch.shape == (50, 2, 3) and batch.dtype == np.float32
    assert np.array_equal(batch, x.astype(np.float32))
    assert next(iter(ds.loader(feature="other"))).shape == (50, 3)


def test_chained_and_joined_datasets_load(tmp_path: Path, ds: Dataset) -> None:
    other = made(tmp_path / "b.parquet", 60)
    both = concat([ds, other[10:40]])
    assert numbers(both.loader()) == [*range(ROWS), *range(10, 40)]
    rows = numbers(both.loader(shuffle=True, target="label"))
    assert sorted(rows) == sorted([*range(ROWS), *range(10, 40)])
    joined = ds.join(other.drop_columns("split"))
    assert numbers(joined.loader(feature="feature_right", shuffle=True)) != list(range(60))
    assert sorted(numbers(joined.loader(shuffle=True))) == list(range(60))


def test_c2_features_of_any_core_load(tmp_path: Path) -> None:
    """C2: a headless model on ONNX Runtime made them."""
    import dof_arrow as dof

    random = np.random.default_rng(0)
    for kind in ("a", "b"):
        for i in range(4):
            (tmp_path / "in" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (32, 32), np.uint8)).save(
                tmp_path / "in" / kind / f"{i}.png"
            )
    ds = dof.extract(
        tmp_path / "in",
        core="builtin",
        out=tmp_path / "x.dof.parquet",
        label="folder",
        id_key=tmp_path / "k",
    )
    x, y = next(iter(ds.loader(shuffle=True, target="label", balance="label")))
    assert x.shape == (8, *ds.row_shape()) and sorted(y.tolist()) == [0] * 4 + [1] * 4


_READING = """
import sys
import dof_arrow as dof
for x, y in dof.open(sys.argv[1]).loader(shuffle=True, target="label", balance="label"):
    pass
print(" ".join(sys.modules))
"""


def test_c6_reading_needs_the_base_packages_only(ds: Dataset) -> None:
    """C6: pyarrow and numpy; a framework or pandas would be loaded for nothing."""
    done = making.run(_READING, ds.path)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "keras", "tensorflow", "jax", "pandas", "polars", "sklearn"}
    assert not {*heavy, "onnxruntime", "PIL"} & {*done.stdout.split()}


def test_d21_larger_batches_than_the_data(ds: Dataset) -> None:
    """D21: `benchmarks/bench_read.py` and `bench_train.py` measure what larger batches gain."""
    (batch,) = ds.loader(batch_size=1_000_000, shuffle=True)
    assert sorted(numbers([batch])) == list(range(ROWS))
