from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from dof_arrow.dataset.dataset import Dataset, concat
from dof_arrow.errors import DofWarning, FormatError, UsageError
from dof_arrow.tables import gather, targets
from tests.support import making
from tests.support.making_rows import TARGETS, features, made, numbers

ROWS = 200


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made(tmp_path_factory.mktemp("loader") / "x.dof.parquet", ROWS)


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


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_g2_the_same_batches_whatever_the_threads(ds: Dataset, workers: int) -> None:
    """G2: forked workers drew equal augmentation there."""
    augment = [{"noise": 0.1}, {"dropout": 0.2}]
    options: dict[str, Any] = {"batch_size": 7, "shuffle": True, "seed": 3, "augment": augment}
    expected = np.concatenate(list(ds.loader(**options, workers=0)))
    assert np.array_equal(np.concatenate(list(ds.loader(**options, workers=workers))), expected)
    assert len(np.unique(expected)) > ROWS * 3


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


def test_peeking_costs_nothing(ds: Dataset) -> None:
    loader = ds.loader(shuffle=True, batch_size=16)
    first = next(iter(loader))
    assert numbers(loader)[:16] == [int(v) for v in first[:, 0]] and loader.epoch == 1


def test_g5_uniform_labels_keep_floats(ds: Dataset, tmp_path: Path) -> None:
    """G5: indexes were broken there."""
    age = (100 * np.random.default_rng(0).beta(5, 2, 2000)).astype(np.float32)
    skewed = made(tmp_path / "age.parquet", 2000, age=age)
    batches = list(skewed.loader(shuffle=True, target="age", uniform={"age": 20}))
    values = np.concatenate([y for _, y in batches])
    found = np.bincount(
        ((values - age.min()) / (age.max() - age.min()) * 20).astype(int).clip(0, 19), minlength=20
    )
    filled = found[found > 0]
    assert values.dtype == np.float32 and np.ptp(filled) <= 0.01 * filled.max()
    assert set(numbers(batches)) == set(range(2000))
    assert all(np.array_equal(y, age[x[:, 0].astype(int)]) for x, y in batches)


def test_g6_balance_to_equal_and_to_a_chosen_share(ds: Dataset) -> None:
    """G6: fewer than half of the positives were used there."""
    for balance, share in (
        ("ill", 0.5),
        ({"ill": 0.3}, 0.3),
        ({"ill": {"yes": 0.2}}, 0.2),
        ({"ill": 0.05}, 0.05),
    ):
        loader = ds.loader(shuffle=True, target="ill", balance=balance)
        batches = list(loader)
        assert np.concatenate([y for _, y in batches]).mean() == pytest.approx(share, abs=0.01)
        assert (
            set(numbers(batches)) == set(range(ROWS))
            and sum(map(len, numbers_of(batches))) == loader.plan.length
        )


def numbers_of(batches: list[Any]) -> list[Any]:
    return [batch[0] for batch in batches]


def test_g6_balance_by_other_columns(ds: Dataset) -> None:
    labels = np.concatenate(
        [y for _, y in ds.loader(shuffle=True, target="label", balance="label")]
    )
    assert np.ptp(np.bincount(labels)) == 0
    young = ds.filter(pc.field("age") < 40)
    sexes = np.concatenate(
        [c["sex"] for _, c in young.loader(shuffle=True, balance="sex", columns=["sex"])]
    )
    assert (sexes == "f").mean() == 0.5
    flags = np.concatenate(
        [y for _, y in ds.loader(shuffle=True, target="signs", balance={"signs": {"mass": 0.25}})]
    )
    assert flags[:, 1].mean() == pytest.approx(0.25, abs=0.01) and flags.dtype == np.float32
    labels = np.concatenate(
        [y for _, y in ds.loader(shuffle=True, target="label", balance={"label": {"sick": 0.6}})]
    )
    assert (labels == 0).mean() == pytest.approx(0.6, abs=0.01) and abs(
        (labels == 1).sum() - (labels == 2).sum()
    ) <= 2


def test_g6_class_weights(ds: Dataset) -> None:
    assert ds.loader(target="ill").class_weights() == pytest.approx([200 / 2 / 180, 200 / 2 / 20])
    assert ds[:100].loader(target="signs").class_weights() == pytest.approx(
        [50 / 50, 50 / 50, 52 / 48]
    )
    with pytest.raises(UsageError, match="uniform"):
        ds.loader(target="age").class_weights()


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
    assert numbers(chosen.loader()) == [5, 3, 199, 7] and sorted(
        numbers(chosen.loader(shuffle=True))
    ) == [3, 5, 7, 199]
    assert [int(y) for _, ys in chosen.loader(target="label") for y in ys] == [2, 0, 1, 1]
    some = ds[20:40].loader(shuffle=True, target="label")
    assert sorted(numbers(some)) == list(range(20, 40))


def test_d23_resume_at_200_random_stops_with_any_threads(ds: Dataset) -> None:
    """After `load_state_dict`, the batches are those that would have come."""
    options: dict[str, Any] = {
        "batch_size": 17,
        "shuffle": True,
        "target": "ill",
        "balance": "ill",
        "augment": {"noise": 0.5},
    }
    whole = ds.loader(**options)
    epochs = [[(x.copy(), y) for x, y in whole] for _ in range(2)]
    count, random = len(whole), np.random.default_rng(0)
    for trial in range(200):
        stop, workers = int(random.integers(0, count + 1)), trial % 3
        first = ds.loader(**options, workers=int(random.integers(3)))
        batches = iter(first)
        for _ in range(stop):
            next(batches)
        second = ds.loader(**options, workers=workers)
        second.load_state_dict(first.state_dict())
        expected = epochs[0][stop:] or epochs[1]
        found = list(second)
        assert len(found) == len(expected)
        pairs = zip(found, expected, strict=True)
        assert all(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in pairs)


def test_resume_twice_and_then_go_on(ds: Dataset) -> None:
    loader = ds.loader(batch_size=30, shuffle=True)
    expected = [numbers(loader) for _ in range(2)]
    other = ds.loader(batch_size=30, shuffle=True)
    other.load_state_dict({"seed": 0, "epoch": 0, "consumed": 60, "length": ROWS})
    assert other.state_dict()["consumed"] == 60
    assert numbers(other) == expected[0][60:] and numbers(other) == expected[1]


def test_resume_with_another_batch_size_and_seed(ds: Dataset) -> None:
    loader = ds.loader(batch_size=30, shuffle=True, seed=9)
    batches = iter(loader)
    head = numbers([next(batches), next(batches)])
    other = ds.loader(batch_size=11, shuffle=True)
    other.load_state_dict(loader.state_dict())
    assert sorted(head + numbers(other)) == list(range(ROWS))


def test_ranks_from_two_to_three_lose_and_double_nothing(ds: Dataset) -> None:
    two = [ds.loader(batch_size=16, shuffle=True, rank=r, world_size=2) for r in range(2)]
    running = [iter(loader) for loader in two]
    seen = [n for it in running for _ in range(3) for n in numbers([next(it)])]
    states = [loader.state_dict() for loader in two]
    assert states[0] == states[1]
    three = [ds.loader(batch_size=16, shuffle=True, rank=r, world_size=3) for r in range(3)]
    for loader in three:
        loader.load_state_dict(states[0])
    rest = [n for loader in three for n in numbers(loader)]
    assert sorted(seen + rest) == list(range(ROWS))
    assert len({len(loader) for loader in three}) == 1


def test_a_state_of_another_loader_is_refused(ds: Dataset) -> None:
    with pytest.raises(UsageError, match="another loader"):
        ds.loader().load_state_dict(ds[:50].loader().state_dict())
    with pytest.raises(UsageError, match="another loader"):
        ds.loader().load_state_dict({"epoch": 1})


def test_weights_and_groups(ds: Dataset) -> None:
    rows = numbers(ds.loader(shuffle=True, weights=np.arange(ROWS) < 10))
    assert sorted(set(rows)) == list(range(10)) and len(rows) == ROWS
    assert len(numbers(ds.loader(shuffle=True, weights="age"))) == ROWS
    order = numbers(ds.loader(shuffle=True, group="group"))
    assert sorted(order) == list(range(ROWS)) != order
    assert all(order[i : i + 5] == list(range(order[i], order[i] + 5)) for i in range(0, ROWS, 5))


def test_views_first_random_all(tmp_path: Path) -> None:
    ids, view = [f"r{i // 4}" for i in range(80)], np.tile(np.arange(4, dtype=np.int16), 20)
    path = tmp_path / "views.parquet"
    made(path, 80, view=view)
    from dof_arrow.dataset.dataset import open as open_dataset
    from dof_arrow.format.writer import Writer

    with Writer(path, {"targets": {"label": TARGETS["label"]}}, overwrite=True) as writer:
        label = np.arange(80) // 4 % 3
        writer.write(
            ids=ids, vectors={"feature": features(80)}, columns={"view": view, "label": label}
        )
    ds = open_dataset(path)
    assert numbers(ds.loader(views="first")) == list(range(0, 80, 4))
    loader = ds.loader(views="random", shuffle=True, balance="label")
    epochs = [[n // 4 for n in numbers(loader)] for _ in range(5)]
    assert all(set(epoch) == set(range(20)) and len(epoch) == 21 for epoch in epochs)
    one = ds.loader(views="random")
    assert len({tuple(numbers(one)) for _ in range(5)}) == 5
    assert len(numbers(ds.loader(views="all"))) == 80


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
    def epoch(**options: Any) -> np.ndarray:
        augment = [{"noise": 0.1}, {"mixup": 0.3}, {"dropout": 0.1}]
        return np.concatenate(list(ds.loader(shuffle=True, augment=augment, **options)))

    expected = epoch(batch_size=64)
    assert np.array_equal(epoch(batch_size=9), expected) and not np.array_equal(
        epoch(seed=1), expected
    )
    ranks = [
        ds.loader(
            shuffle=True,
            batch_size=10,
            rank=r,
            world_size=2,
            augment=[{"noise": 0.1}, {"mixup": 0.3}, {"dropout": 0.1}],
        )
        for r in range(2)
    ]
    both = [batch for pair in zip(*ranks, strict=True) for batch in pair]
    assert np.array_equal(np.concatenate(both), expected)


_MEMORY = """
import sys
import dof_arrow as dof, numpy, pyarrow.parquet, dof_arrow.loader.loader
def anonymous():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("RssAnon"))
before, most = anonymous(), 0
for x, y in dof.open(sys.argv[1]).loader(shuffle=True, target="label", balance="label"):
    most = max(most, anonymous())
print(most - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the system does not tell private memory"
)
def test_g1_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """G1: a balanced epoch over 134 MB takes a few buffers; `benchmarks/bench_read.py` shows it at 10 GB."""
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


def test_nan_labels_are_refused_at_once_or_by_the_thread_that_meets_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    age = np.full(ROWS, 30, np.float32)
    age[150] = np.nan
    ds = made(tmp_path / "nan.parquet", ROWS, age=age)
    with pytest.raises(
        FormatError, match=r"1 of 200 NaN or infinite. Leave such rows out: ds.filter"
    ):
        ds.loader(target="age")
    assert len(list(ds.filter(pc.is_finite(pc.field("age"))).loader(target="age"))) == 1
    monkeypatch.setattr(targets, "_CHECKED", 0)
    before = threading.active_count()
    batches = iter(ds.loader(batch_size=50, target="age", augment={"noise": 0.1}, workers=2))
    assert len(next(batches)) == 2
    with pytest.raises(FormatError, match="NaN"):
        list(batches)
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


def test_a_loader_goes_to_another_process(ds: Dataset) -> None:
    loader = ds.split("train").loader(batch_size=20, shuffle=True, target="label")
    batches = iter(loader)
    next(batches)
    again = pickle.loads(pickle.dumps(loader))
    assert numbers(again) == numbers(batches)


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


def test_d16_compact_files_are_decoded_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "IN_MEMORY", 1000)
    monkeypatch.setattr(gather, "_DECODED", 4 * 50 * 16)
    ds = made(tmp_path / "c.parquet", 1000, layout="compact", group_rows=50)
    with pytest.warns(DofWarning, match="dof convert"):
        loader = ds.loader(batch_size=32, shuffle=True, target="label")
    for _ in range(2):
        batches = list(loader)
        assert sorted(numbers(batches)) == list(range(1000))
        assert all(np.array_equal(y, x[:, 0].astype(int) % 3) for x, y in batches)
    assert len({n // 50 for n in numbers(batches)[:100]}) == 2
    with pytest.warns(DofWarning, match="each epoch decodes it.*dof convert"):
        assert numbers(ds.loader()) == list(range(1000))
    inner = loader._gather
    assert len(inner._groups) <= 2 * inner.window


def test_d16_of_row_groups_that_fill_the_memory_one_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "IN_MEMORY", 1000)
    monkeypatch.setattr(gather, "_DECODED", 50 * 16)
    ds = made(tmp_path / "c.parquet", 1000, layout="compact", group_rows=50)
    with pytest.warns(DofWarning, match="windows of 1 row groups"):
        loader = ds.loader(batch_size=32, shuffle=True, workers=2)
    decoded: list[int] = []
    decode = loader._gather._decode
    monkeypatch.setattr(
        loader._gather, "_decode", lambda number: decoded.append(number) or decode(number)
    )
    assert sorted(numbers(loader)) == list(range(1000)) and len(loader._gather._groups) == 1
    assert set(decoded) == set(range(20)) and len(decoded) < 40


def test_d16_block_shuffle_balances_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "IN_MEMORY", 1000)
    ds = made(tmp_path / "c.parquet", 400, layout="compact", group_rows=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DofWarning)
        options: dict[str, Any] = {
            "batch_size": 32,
            "shuffle": True,
            "target": "ill",
            "balance": "ill",
        }
        whole, part = ds.loader(**options), ds.loader(**options)
        with pytest.raises(UsageError, match="convert"):
            ds.loader(shuffle=True, augment={"mixup": 0.2})
    batches = list(whole)
    assert np.concatenate([y for _, y in batches]).mean() == pytest.approx(0.5)
    part.load_state_dict({"seed": 0, "epoch": 0, "consumed": 96, "length": whole.plan.length})
    assert numbers(part) == numbers(batches[3:])


def test_small_compact_files_shuffle_fully(tmp_path: Path) -> None:
    ds = made(tmp_path / "c.parquet", 300, layout="compact", group_rows=50)
    order = numbers(ds.loader(shuffle=True))
    assert sorted(order) == list(range(300)) and len({n // 50 for n in order[:40]}) == 6


def test_chained_and_joined_datasets_load(tmp_path: Path, ds: Dataset) -> None:
    other = made(tmp_path / "b.parquet", 60)
    both = concat([ds, other[10:40]])
    assert numbers(both.loader()) == [*range(ROWS), *range(10, 40)]
    rows = numbers(both.loader(shuffle=True, target="label"))
    assert sorted(rows) == sorted([*range(ROWS), *range(10, 40)])
    joined = ds.join(other)
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
    assert x.shape == (8, *ds.shape()) and sorted(y.tolist()) == [0] * 4 + [1] * 4


def test_c6_reading_needs_the_base_packages_only(ds: Dataset) -> None:
    """C6: pyarrow and numpy; a framework or pandas would be loaded for nothing."""
    code = (
        "import sys, dof_arrow as dof\n"
        f"for x, y in dof.open({str(ds.path)!r}).loader(shuffle=True, target='label', balance='label'): pass\n"
        "heavy = {'torch', 'keras', 'tensorflow', 'jax', 'pandas', 'polars', 'sklearn', 'onnxruntime', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_d21_larger_batches_than_the_data(ds: Dataset) -> None:
    """D21: larger batches; `benchmarks/bench_read.py` and `bench_train.py` measure what they gain."""
    (batch,) = ds.loader(batch_size=1_000_000, shuffle=True)
    assert sorted(numbers([batch])) == list(range(ROWS))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "lable"}, "no such column: expected id, label"),
        ({"columns": ["sxe"]}, "no such column"),
        ({"balance": "sxe", "shuffle": True}, "no such column"),
        ({"feature": "label"}, "not a feature column: expected feature"),
        (
            {"balance": {"ill": 1.5}, "shuffle": True},
            "between 0 and 1, found 1.5. Write for example",
        ),
        ({"balance": {"ill": 0.0}, "shuffle": True}, "between 0 and 1"),
        ({"balance": {"label": 0.3}, "shuffle": True}, "two classes.*Name the class"),
        (
            {"balance": {"label": {"dead": 0.3}}, "shuffle": True},
            "no such class: expected sick, well, unsure, found dead",
        ),
        ({"balance": {"label": {"sick": 0.9, "well": 0.9}}, "shuffle": True}, "above 1 in sum"),
        (
            {"balance": {"label": {"sick": 0.5, "well": 0.5}}, "shuffle": True},
            "rows without a share",
        ),
        ({"balance": {"ill": 0.3, "sex": 0.3}, "shuffle": True}, "one column decides"),
        ({"balance": "age", "shuffle": True}, "uniform"),
        ({"balance": "ill"}, "Add shuffle=True"),
        ({"balance": {"signs": 0.3}, "shuffle": True}, "label: share"),
        ({"balance": {"signs": {"mess": 0.3}}, "shuffle": True}, "edema, mass, nodule"),
        ({"balance": "ill", "uniform": {"age": 3}, "shuffle": True}, "only one of these"),
        ({"uniform": {"label": 3}, "shuffle": True}, "only numbers have bins"),
        ({"uniform": {"age": 0}, "shuffle": True}, "1 or more"),
        ({"target": "sex"}, "cannot be learned.*label, ill, signs, age"),
        ({"weights": [1.0], "shuffle": True}, "one weight a row"),
        ({"views": "some"}, "all, first or random"),
        ({"group": "group", "views": "first"}, "Leave out views"),
        ({"rank": 2, "world_size": 2}, "rank 0 to 1"),
        (
            {"world_size": 201},
            "more ranks than rows: expected at most 200, found 201. Use world_size=200",
        ),
        ({"batch_size": 0}, "1 or more"),
        ({"batch_size": 300, "drop_last": True}, "Use batch_size=200, or drop_last=False"),
        ({"workers": -1}, "0 or more"),
        ({"augment": {"blur": 1}}, "interpolate, mixup, noise, dropout"),
        ({"augment": {"dropout": 1.0}}, "below 1"),
        ({"augment": [{"noise": 0.1}, {"noise": 0.2}]}, "twice"),
        ({"augment": {"interpolate": 0.5}}, "target= a category"),
        ({"normalize": "trian"}, "no such split: expected train, valid"),
    ],
)
def test_wrong_use_says_what_to_do(ds: Dataset, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ds.loader(**options)


def test_an_empty_dataset_is_refused(ds: Dataset) -> None:
    with pytest.raises(UsageError, match=r"metadata\.splits"):
        ds[5:5].loader()


def test_missing_labels_are_refused_with_the_filter_that_helps(tmp_path: Path) -> None:
    label = pa.array([None if i % 7 == 0 else i % 3 for i in range(ROWS)], pa.int64())
    ds = made(tmp_path / "m.parquet", ROWS, label=label)
    with pytest.raises(UsageError, match=r"29 of 200 rows without one. Leave them out: ds.filter"):
        ds.loader(target="label")
    known = ds.filter(pc.field("label").is_valid())
    assert len(numbers(known.loader(target="label", balance="label", shuffle=True))) >= 171


def test_labels_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    ds = made(tmp_path / "w.parquet", ROWS, label=np.full(ROWS, 7))
    with pytest.raises(FormatError, match="0 to 2, one for each class, found 7"):
        next(iter(ds.loader(target="label")))
