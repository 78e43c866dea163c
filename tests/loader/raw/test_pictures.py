"""The loader over raw pictures: the data generator of the G rows, its faults gone."""

from __future__ import annotations

import os
import pickle
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

import dof_arrow as dof
from dof_arrow.loader.raw.pictures import Pictures
from tests.loader.conftest import same
from tests.loader.raw.conftest import CHANGES, ROWS, numbers, shade
from tests.support.pictures import Memory


def test_g1_batches_from_disk_with_a_partial_last_one(pics: Pictures) -> None:
    """G1: the last batch was dropped there."""
    loader = pics.loader(batch_size=16, shuffle=True, target="ill", columns=["age", "id"])
    batches = list(loader)
    assert [len(x) for x, _, _ in batches] == [16, 16, 12] and len(loader) == 3
    for x, y, more in batches:
        assert x.shape[1:] == (24, 32, 3) and x.dtype == np.uint8
        assert x.flags.c_contiguous and x.flags.writeable
        rows = numbers([x])
        assert same(x, map(shade, rows))
        assert y.tolist() == [int(row % 11 == 0) for row in rows]
        assert more["id"].tolist() == [f"{row:02d}.png" for row in rows]
        assert np.allclose(more["age"], 20 + np.square(rows) / 40)
    assert sorted(numbers(batches)) == list(range(ROWS))
    assert [len(x) for x in pics.loader(batch_size=16, drop_last=True)] == [16, 16]


def test_g3_each_epoch_has_its_own_order_and_resumes_midway(pics: Pictures) -> None:
    options: dict[str, Any] = {
        "batch_size": 8,
        "shuffle": True,
        "seed": 1,
        "augment": CHANGES,
        "target": "ill",
    }
    whole = pics.loader(**options)
    first = [x for x, _ in whole]
    second = [x for x, _ in whole]
    assert not np.array_equal(first[0], second[0])
    for stop, workers in ((1, 0), (3, None), (5, 1)):
        loader = pics.loader(**options, workers=workers)
        begun = iter(loader)
        for _ in range(stop):
            next(begun)
        again = pics.loader(**options)
        again.load_state_dict(loader.state_dict())
        assert same([x for x, _ in again], first[stop:])
        assert same([x for x, _ in again], second)


def test_g3_ranks_share_an_epoch(pics: Pictures) -> None:
    parts = []
    for rank in range(3):
        parts.append(numbers(pics.loader(batch_size=4, shuffle=True, rank=rank, world_size=3)))
    assert sorted(chain.from_iterable(parts)) == list(range(ROWS))
    assert set(map(len, parts)) == {14, 15}


def test_g5_uniform_labels_for_regression(pics: Pictures) -> None:
    """G5: its indexes were broken; float labels are kept."""
    loader = pics.loader(shuffle=True, target="age", uniform={"age": 4})
    y = np.concatenate([y for _, y in loader])
    counts = np.histogram(y, 4)[0]
    assert counts.min() == counts.max() and y.dtype.kind == "f" and len(np.unique(y)) == ROWS


def test_g6_over_sampling_to_a_share_and_class_weights(pics: Pictures) -> None:
    """G6: fewer than half the positives were used there."""
    loader = pics.loader(shuffle=True, target="ill", balance={"ill": 0.3}, batch_size=64)
    x, y = (np.concatenate(parts) for parts in zip(*loader, strict=True))
    assert abs(y.mean() - 0.3) < 0.02 and set(numbers([x])) == set(range(ROWS))
    weights = loader.class_weights()
    assert np.allclose(weights, [44 / (2 * 40), 44 / (2 * 4)])


def test_g7_validation_without_shuffle_or_augmentation(pics: Pictures) -> None:
    valid = pics.split("valid")
    assert numbers(valid.loader(shuffle=False)) == [i for i in range(ROWS) if i % 4 == 3]
    assert (
        len(pics.split("train")) + len(valid) == len(pics)
        and pics.metadata.splits["valid"].rows == 11
    )


@pytest.mark.parametrize("target", ["picture", "feature"])
def test_g8_an_autoencoder_gets_its_input_as_target(pics: Pictures, target: str) -> None:
    """G8: that generator had no length."""
    loader = pics.loader(target=target, augment=CHANGES, shuffle=True)
    assert len(loader) == 2 and all(np.array_equal(x, y) for x, y in loader)


@pytest.mark.parametrize("kind", ["npy", "npz", "packed", "h5"])
def test_g9_array_sources_with_cofactors(tmp_path: Path, kind: str) -> None:
    """G9: it crashed without co-factors there."""
    arrays = {
        "x": np.random.default_rng(0).integers(0, 256, (12, 9, 7), np.uint8),
        "age": np.arange(12) + 30,
        "ill": np.arange(12) % 2,
    }
    path = tmp_path / f"x.{kind}"
    if kind == "npy":
        for name, values in arrays.items():
            np.save(tmp_path / f"{name}.npy", values)
    elif kind == "h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    else:
        path = tmp_path / "x.npz"
        (np.savez if kind == "npz" else np.savez_compressed)(path, **arrays)
    pics = dof.pictures(path, label="ill", keep=["age"], mode="L")
    options: dict[str, Any] = {
        "target": "ill",
        "columns": ["age"],
        "workers": 1 if kind == "h5" else None,
    }
    for x, y, more in pics.loader(batch_size=5, shuffle=True, **options):
        rows = more["age"] - 30
        assert np.array_equal(x[..., 0], arrays["x"][rows]) and y.tolist() == (rows % 2).tolist()
    assert next(iter(dof.pictures(path, mode="L").loader())).shape == (12, 9, 7, 1)


def test_g9_one_picture_of_an_array_in_memory_goes_to_a_worker(tmp_path: Path) -> None:
    np.savez_compressed(
        tmp_path / "x.npz", x=np.random.default_rng(0).integers(0, 256, (100, 30, 30), np.uint8)
    )
    sample = dof.pictures(tmp_path / "x.npz", mode="L").source[7]
    sent = pickle.dumps(sample.data)
    assert len(sent) < 2000 and np.array_equal(pickle.loads(sent).read(), sample.load())


def test_g10_splits_by_fraction_and_folds_keep_a_patient_together(folder: Path) -> None:
    """G10: pairs by position there."""
    about: dict[str, Any] = {
        "table": folder / "meta.csv",
        "key": "file",
        "label": "ill",
        "group": "patient",
    }
    pics = dof.pictures(folder, **about, split="train=0.75,valid=0.25")
    parts = [
        set(pics.split(name).to_arrow(["group"]).column(0).to_pylist())
        for name in ("train", "valid")
    ]
    assert not parts[0] & parts[1] and 9 <= len(pics.split("valid")) <= 13
    assert pics.table.equals(
        dof.pictures(folder, **about, split={"train": 0.75, "valid": 0.25}).table
    )
    assert not pics.table.equals(
        dof.pictures(folder, **about, split={"train": 0.75, "valid": 0.25}, seed=1).table
    )
    seen: list[int] = []
    for train, valid in pics.folds(4, stratify="ill"):
        groups = [set(part.to_arrow(["group"]).column(0).to_pylist()) for part in (train, valid)]
        assert not groups[0] & groups[1]
        seen += numbers(valid.loader())
    assert sorted(seen) == list(range(ROWS))


def test_g12_a_keras_model_learns_from_it(pics: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """G12: a PyDataset, with columns as inputs beside the pictures."""
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
    keras = pytest.importorskip("keras")
    batches = pics.loader(
        batch_size=8, shuffle=True, target="ill", columns=["age"], augment=CHANGES
    ).to_keras()
    assert len(batches) == 6 and set(batches[0][0]) == {"picture", "age"}
    picture, age = keras.Input((24, 32, 3), name="picture"), keras.Input((), name="age")
    seen = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(picture))
    both = keras.layers.Concatenate()([seen, keras.layers.Reshape((1,))(age)])
    model = keras.Model({"picture": picture, "age": age}, keras.layers.Dense(1, "sigmoid")(both))
    model.compile("adam", "binary_crossentropy")
    history = model.fit(batches, epochs=2, verbose=0, shuffle=False)
    assert len(history.history["loss"]) == 2 and np.isfinite(history.history["loss"]).all()


def test_g2_torch_workers_give_the_same_order(pics: Pictures) -> None:
    torch = pytest.importorskip("torch")
    loader = pics.loader(batch_size=8, shuffle=True, target="ill", augment=CHANGES)
    expected = [x.copy() for x, _ in loader]
    loader.set_epoch(0)
    for count in (0, 2):
        data = torch.utils.data.DataLoader(
            loader.to_torch(),
            batch_size=None,
            num_workers=count,
            multiprocessing_context="fork" if count else None,
        )
        found = [x.numpy() for x, _ in data]
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        loader.set_epoch(0)


def test_a_loader_pickles_with_its_pictures_and_state(pics: Pictures) -> None:
    loader = pics.loader(batch_size=8, shuffle=True, augment=CHANGES, workers=0)
    epoch = [x.copy() for x in loader]
    loader.set_epoch(0)
    next(iter(loader))
    assert all(
        np.array_equal(a, b)
        for a, b in zip(pickle.loads(pickle.dumps(loader)), epoch[1:], strict=True)
    )


def test_sizes_fits_and_modes(folder: Path, pics: Pictures) -> None:
    for fit in ("crop", "pad", "squash"):
        assert dof.pictures(folder, size=(20, 16), fit=fit).loader().batch(0).shape == (
            32,
            20,
            16,
            3,
        )
    small = dof.pictures(folder, size=16, mode="L")
    assert small[3]["picture"].shape == (16, 16, 1) and small.preprocessing.crop == (16, 16)
    from dof_arrow.cores.preprocess import Preprocess

    own = Preprocess(dof.pictures(folder, size=(20, 16)).preprocessing)(shade(5))
    assert np.array_equal(dof.pictures(folder, size=(20, 16))[5]["picture"], own)
    assert len(pics[2:5]) == 3 and pics[-1]["id"] == "43.png" and len(list(pics[:2])) == 2
    assert len(pics.filter(pc.field("age") > 60)) == sum(20 + i * i / 40 > 60 for i in range(ROWS))
    assert "44, 24 x 32 x 3 uint8" in repr(pics)


def test_a_source_of_ones_own(tmp_path: Path) -> None:
    from dof_arrow.format.spec.metadata import Target

    source = Memory(9, targets={"y": Target(kind="regression")}, target=lambda i: {"y": i / 2})
    for workers in (0, 1):
        x, y = next(iter(dof.pictures(source).loader(target="y", workers=workers)))
        assert x.shape == (9, 4, 4, 3) and y.tolist() == [i / 2 for i in range(9)]
