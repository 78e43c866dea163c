"""The loader over raw pictures and clips: the data generator of the G rows, its faults gone."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.compute as pc
import pytest
from PIL import Image

import dof_arrow as dof
from dof_arrow.errors import DofWarning, SourceError, UsageError
from dof_arrow.loader.batches import Padded
from dof_arrow.loader.raw import worker_pool
from dof_arrow.loader.raw.pictures import Pictures
from tests.support.making import ROOT
from tests.support.pictures import Memory

ROWS = 44
CHANGES: list[dict[str, Any]] = [
    {"rotate": [-20, 20]},
    {"flip_x": 0.5, "noise": [0.01, 0.05], "crop": [0.5, 1.0]},
]


def _shade(i: int) -> np.ndarray:
    """A picture that says its number: red is 5 times it."""
    picture = np.random.default_rng(i).integers(0, 256, (24, 32, 3), np.uint8)
    picture[..., 0] = 5 * i
    return picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("pictures")
    lines = ["file,ill,patient,age,part"]
    for i in range(ROWS):
        Image.fromarray(_shade(i)).save(where / f"{i:02d}.png")
        part = "valid" if i % 4 == 3 else "train"
        lines.append(
            f"{i:02d}.png,{'yes' if i % 11 == 0 else 'no'},{part}{i // 4},{20 + i * i / 40},{part}"
        )
    (where / "meta.csv").write_text("\n".join(lines) + "\n")
    return where


@pytest.fixture(scope="module")
def pics(folder: Path) -> Pictures:
    return dof.pictures(
        folder,
        table=folder / "meta.csv",
        key="file",
        label="ill",
        group="patient",
        split="part",
        keep=["age"],
    )


def numbers(batches: Any) -> list[int]:
    """The pictures of batches that nothing has changed."""
    return [int(n) // 5 for b in batches for n in (b[0] if isinstance(b, tuple) else b)[:, 0, 0, 0]]


def _running(of: int | None = None) -> list[int]:
    """Processes of one that serve a crew."""
    children = psutil.Process(of).children()
    return [
        child.pid
        for child in children
        if "dof_arrow.loader.raw.worker_pool" in " ".join(child.cmdline())
    ]


def _gone(pids: list[int]) -> bool:
    _, alive = psutil.wait_procs(
        [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=20
    )
    return not alive


def test_g1_batches_from_disk_with_a_partial_last_one(pics: Pictures) -> None:
    """G1: the last batch was dropped there."""
    loader = pics.loader(batch_size=16, shuffle=True, target="ill", columns=["age", "id"])
    batches = list(loader)
    assert [len(x) for x, _, _ in batches] == [16, 16, 12] and len(loader) == 3
    for x, y, more in batches:
        assert (
            x.shape[1:] == (24, 32, 3)
            and x.dtype == np.uint8
            and x.flags.c_contiguous
            and x.flags.writeable
        )
        rows = numbers([x])
        assert all(np.array_equal(seen, _shade(i)) for seen, i in zip(x, rows, strict=True))
        assert y.tolist() == [int(i % 11 == 0) for i in rows] and more["id"].tolist() == [
            f"{i:02d}.png" for i in rows
        ]
        assert np.allclose(more["age"], [20 + i * i / 40 for i in rows])
    assert sorted(numbers(batches)) == list(range(ROWS))
    assert [len(x) for x in pics.loader(batch_size=16, drop_last=True)] == [16, 16]


def test_g2_the_same_batches_whatever_the_workers(pics: Pictures) -> None:
    """G2: forked workers drew equal augmentation there; here a draw is by (seed, epoch, position)."""
    made: dict[int | None, np.ndarray] = {}
    for workers in (0, None, 1, 2):
        loader = pics.loader(batch_size=10, shuffle=True, seed=3, augment=CHANGES, workers=workers)
        made[workers] = np.concatenate([x for _ in range(2) for x in loader])
    assert all(np.array_equal(made[0], other) for other in made.values())
    assert len(np.unique(made[0].reshape(2 * ROWS, -1), axis=0)) == 2 * ROWS


def test_g2_one_picture_drawn_again_is_augmented_anew(folder: Path) -> None:
    one = dof.pictures(folder / "07.png").take([0] * 12)
    (x,) = one.loader(augment={"shift_x": (-0.5, 0.5), "rotate": (-90, 90)})
    assert len(np.unique(x.reshape(12, -1), axis=0)) == 12


def test_g3_each_epoch_has_its_own_order_and_resumes_midway(pics: Pictures) -> None:
    options: dict[str, Any] = {
        "batch_size": 8,
        "shuffle": True,
        "seed": 1,
        "augment": CHANGES,
        "target": "ill",
    }
    whole = pics.loader(**options)
    epochs = [[x.copy() for x, _ in whole] for _ in range(2)]
    assert not np.array_equal(epochs[0][0], epochs[1][0])
    for stop, workers in ((1, 0), (3, None), (5, 1)):
        begun = iter(loader := pics.loader(**options, workers=workers))
        for _ in range(stop):
            next(begun)
        again = pics.loader(**options)
        again.load_state_dict(loader.state_dict())
        assert all(np.array_equal(x, y) for (x, _), y in zip(again, epochs[0][stop:], strict=True))
        assert all(np.array_equal(x, y) for (x, _), y in zip(again, epochs[1], strict=True))


def test_g3_ranks_share_an_epoch(pics: Pictures) -> None:
    parts = [
        numbers(pics.loader(batch_size=4, shuffle=True, rank=r, world_size=3)) for r in range(3)
    ]
    assert sorted(n for part in parts for n in part) == list(range(ROWS)) and {
        len(p) for p in parts
    } == {14, 15}


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
    made = _augmented(tmp_path, _shade(3) // 2 + 20, 16, **augment)
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
    train = np.stack([_shade(i) for i in range(ROWS) if i % 4 != 3]).astype(np.float64) / 255
    mean, deviation = floats.statistics("train")
    assert np.allclose(mean, train.mean((0, 1, 2)), atol=1e-6)
    assert np.allclose(deviation, train.std((0, 1, 2)), atol=1e-6)
    x = np.concatenate(list(floats.split("train").loader(normalize="train")))
    assert x.dtype == np.float32 and np.allclose(x.mean((0, 1, 2)), 0, atol=1e-4)
    assert np.allclose(x.std((0, 1, 2)), 1, atol=1e-4)
    with pytest.raises(UsageError, match="float32"):
        pics.loader(normalize="train")


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

    own = Preprocess(dof.pictures(folder, size=(20, 16)).preprocessing)(_shade(5))
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


class Shy(Memory):
    """A source whose pictures are of a class that no other process knows."""

    def data(self, index: int) -> Any:
        class Own:
            read = staticmethod(lambda: b"P6 4 4 255 " + bytes(48))
            stamp = staticmethod(lambda: index)

        return Own()


def test_what_cannot_be_sent_to_a_process_is_said(tmp_path: Path) -> None:
    pics = dof.pictures(Shy(3))
    assert next(iter(pics.loader())).shape == (3, 4, 4, 3)
    loader = pics.loader(workers=1)
    for _ in range(2):
        with pytest.raises(UsageError, match=r"worker process.*leave out workers="):
            list(loader)
    script = (
        "import dof_arrow as dof\nclass Own:\n def read(self): return b'P6 4 4 255 ' + bytes(48)\n"
        " def stamp(self): return 0\nfrom tests.support.pictures import Memory\nMemory.data = lambda *_: Own()\n"
        "try: list(dof.pictures(Memory(3)).loader(workers=1))\nexcept dof.UsageError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert "leave out workers=" in done.stdout and not done.stderr, done.stderr
    with pytest.raises(UsageError, match="label"):
        dof.pictures(Shy(3), label="x")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    for i in range(6):
        Image.fromarray(_shade(i)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n, it says")
    return tmp_path


@pytest.mark.parametrize("workers", [0, None, 1])
def test_a_broken_picture_is_named_or_left_out(broken: Path, workers: int | None) -> None:
    with pytest.raises(SourceError, match=r"2\.png.*on_error"):
        list(dof.pictures(broken).loader(workers=workers))
    pics = dof.pictures(broken, on_error="skip")
    loader = pics.loader(batch_size=4, columns=["id"], workers=workers, augment={"flip_x": 1.0})
    with pytest.warns(DofWarning, match=r"2\.png is left out"):
        batches = list(loader)
    assert [len(x) for x, _ in batches] == [3, 2] and list(pics.errors) == ["2.png"]
    assert (
        numbers([b for b, _ in batches])
        == [0, 1, 3, 4, 5]
        == [int(n[0]) for _, c in batches for n in c["id"]]
    )


def test_what_is_left_out_disturbs_no_numbers(broken: Path) -> None:
    pics = dof.pictures(broken, on_error="skip", dtype="float32")
    for _ in range(2):
        np.full((6, 24, 32, 3), np.nan, np.float32)  # what the next buffer may find in its memory
        with pytest.warns(DofWarning) if not pics.errors else nullcontext():
            (x,) = pics.loader(normalize=(0.5, 0.1), workers=0)
        assert len(x) == 5 and np.isfinite(x).all()


def test_a_batch_of_nothing_but_broken_pictures_is_an_error(broken: Path) -> None:
    pics = dof.pictures(broken, on_error="skip").take([2, 2])
    with pytest.warns(DofWarning), pytest.raises(SourceError, match="no picture of a batch"):
        list(pics.loader())
    with pytest.raises(SourceError, match=r"2\.png"):
        _ = pics[0]


def test_pictures_of_different_sizes_need_one(tmp_path: Path) -> None:
    for i, side in enumerate((8, 8, 9)):
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / f"{i}.png")
    with pytest.raises(SourceError, match=r"2\.png.*8 x 8.*9 x 9.*size="):
        list(dof.pictures(tmp_path).loader())
    assert next(iter(dof.pictures(tmp_path, size=8).loader())).shape == (3, 8, 8, 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ({"augment": {"twist": 1}}, "twist"),
        ({"augment": [{"flip_x": 1.0}, {"flip_x": 0.5}]}, "twice"),
        ({"augment": {"rotate": [3]}}, "two numbers"),
        ({"augment": "sepia"}, "xray, photo"),
        ({"target": "age2"}, "age2"),
        ({"feature": "feature"}, "picture"),
        ({"balance": {"ill": 2.0}}, "between 0 and 1"),
        ({"workers": -1}, "workers"),
        ({"batch_size": 0}, "batch_size"),
        ({"rank": 2}, "rank"),
        ({"world_size": 99}, "ranks"),
    ],
)
def test_wrong_options_say_what_to_do(pics: Pictures, call: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        pics.loader(**({"shuffle": True} | call))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ({"fit": "crop"}, "size="),
        ({"size": (0, 3)}, "sides"),
        ({"dtype": "int8"}, "dtype"),
        ({"on_error": "x"}, "skip"),
        ({"fps": 3.0}, "max_frames"),
        ({"frames": 0}, "frames"),
        ({"split": "train=0.5"}, "add up"),
        ({"size": 8, "fit": "none"}, "leaves"),
    ],
)
def test_wrong_calls_say_what_to_do(folder: Path, call: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        dof.pictures(folder, **call)
    with pytest.raises(SourceError):
        dof.pictures(folder / "nowhere")


def test_what_is_not_there(pics: Pictures) -> None:
    for wrong in (
        lambda: pics.split("holdout"),
        lambda: pics.take([99]),
        lambda: pics.filter(pc.field("x") > 1),
        lambda: pics.take([True]),
        lambda: list(pics[:0].loader()),
    ):
        with pytest.raises(UsageError):
            wrong()
    with pytest.raises(IndexError):
        _ = pics[ROWS]


# Clips


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
        [10 * c + f if f < n else 0 for f in range(5)] for c, n in enumerate((3, 4, 5, 5))
    ]
    assert next(iter(pics[:2].loader())).features.shape[1] == 4 and pics[1]["clip"].shape == (
        4,
        8,
        10,
        3,
    )


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


# Processes


def test_g2_no_process_outlives_its_loader(pics: Pictures) -> None:
    """Dropped midway, at an error, at the end: none is left; between epochs they are kept."""
    before = set(_running())
    loader = pics.loader(batch_size=8, workers=2)
    begun = iter(loader)
    next(begun)
    pids = [pid for pid in _running() if pid not in before]
    assert len(pids) == 2
    del begun
    list(loader)
    assert [pid for pid in _running() if pid not in before] == pids
    del loader
    gc.collect()
    assert _gone(pids)


def test_a_process_that_dies_is_an_error(pics: Pictures) -> None:
    before = set(_running())
    loader = pics.loader(batch_size=8, workers=1)
    list(loader)
    (pid,) = set(_running()) - before
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SourceError, match=r"worker process has ended.*-9"):
        list(loader)


def test_what_work_raises_reaches_the_caller(pics: Pictures) -> None:
    helper = worker_pool.Helper(_fails, 1 << 12)
    with pytest.raises(UsageError, match="no such thing"):
        helper([1], np.zeros((1, 4), np.uint8))
    assert helper([], np.zeros((0, 4), np.uint8)) == []


def _fails(tasks: Any, out: Any) -> list[Any]:
    print("printed text is no answer")
    if tasks:
        raise UsageError("no such thing")
    return []


_SCRIPT = """
import sys, time
import dof_arrow as dof
loader = dof.pictures(sys.argv[1]).loader(batch_size=4, workers=2, shuffle=True, augment="photo")
print("begun", flush=True)
while True:
    for x in loader:
        print("batch", flush=True)
"""


@pytest.fixture
def endless(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A script without a main guard that trains on and on."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_owner(
    endless: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert endless.stdout is not None
    while endless.stdout.readline() != "batch\n":
        assert endless.poll() is None
    pids = _running(endless.pid)
    assert len(pids) == 2
    os.killpg(endless.pid, number)
    _, said = endless.communicate(timeout=30)
    assert _gone(pids) and said.count("Traceback") == (number == signal.SIGINT), said


_MEMORY = """
import sys, dof_arrow as dof
from pathlib import Path
def held():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])
pics = dof.pictures(sys.argv[1], size=(400, 600)).take(list(range(44)) * 10)
loader = pics.loader(batch_size=16, shuffle=True, workers=1)
before, most = held(), 0
for x in loader:
    most = max(most, held())
print(x[0].nbytes * len(loader) * 16 >> 20, (most - before) >> 10)
"""


def test_g1_memory_is_bounded_by_batches_not_by_the_epoch(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(folder)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    epoch, held = map(int, done.stdout.split())
    assert epoch > 280 and held < 100
