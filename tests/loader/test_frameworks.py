"""Batches in the form of torch, Keras, tf.data and JAX."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain, islice, zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import MissingExtra, UsageError
from dof_arrow.loader.torch_batches import _Pass
from tests.loader.conftest import ROWS, same
from tests.support.making_rows import features, numbers


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
    return pytest.importorskip("keras")


def test_c3_d23_tensors_share_the_batch(ds: Dataset, torch: Any) -> None:
    """D23: a torch DataLoader over it."""
    rows = []
    for x, y, more in ds.loader(
        batch_size=32, shuffle=True, target="label", columns=["age", "sex"]
    ).to_torch():
        assert isinstance(x, torch.Tensor) and x.dtype == torch.float32 and y.dtype == torch.int64
        assert isinstance(more["age"], torch.Tensor) and more["sex"][0] in ("f", "m")
        assert torch.equal(y, x[:, 0].long() % 3)
        x += 1000  # a batch is the caller's own, even where numpy would get a view of the file
        rows += [int(v) - 1000 for v in x[:, 0]]
    assert sorted(rows) == list(range(ROWS)) and np.array_equal(ds.to_numpy(), features(ROWS))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_d23_worker_processes_give_the_same_order_each_epoch(
    ds: Dataset, torch: Any, workers: int
) -> None:
    loader = ds.loader(
        batch_size=16, shuffle=True, target="ill", balance="ill", augment={"noise": 0.1}
    )
    first = [x for x, _ in loader]
    second = [x for x, _ in loader]
    loader.set_epoch(0)
    batches = loader.to_torch()
    data = torch.utils.data.DataLoader(batches, batch_size=None, num_workers=workers)
    assert len(batches) == len(first) == len(second)
    assert same([x.numpy() for x, _ in data], first)
    assert same([x.numpy() for x, _ in data], second)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_d23_resume_with_worker_processes(ds: Dataset, torch: Any, workers: int) -> None:
    expected = ds.loader(batch_size=16, shuffle=True)
    epochs = [numbers(expected), numbers(expected)]
    for stop in (1, int(np.random.default_rng(workers).integers(2, 13)), 13):
        batches = ds.loader(batch_size=16, shuffle=True).to_torch()
        data = iter(torch.utils.data.DataLoader(batches, batch_size=None, num_workers=workers))
        head = numbers([next(data).numpy() for _ in range(stop)])
        state = batches.state_dict(stop if workers else None)
        del data
        again = ds.loader(batch_size=16, shuffle=True).to_torch()
        again.load_state_dict(state)
        other = torch.utils.data.DataLoader(again, batch_size=None, num_workers=(workers + 1) % 3)
        if stop < 13:
            assert head + numbers(x.numpy() for x in other) == epochs[0]
        assert numbers(x.numpy() for x in other) == epochs[1]


def _delivered(batches: Any, workers: int, seed: int) -> Iterator[Any]:
    """What a DataLoader of so many workers would deliver, without its processes.

    Each has a loader of its own, and shares one memory with the others.
    """
    if not workers:
        return iter(batches)
    make, (loader, *others) = batches.__reduce__()
    copies = [make(pickle.loads(pickle.dumps(loader)), *others) for _ in range(workers)]
    parts = []
    for worker, copy in enumerate(copies):
        info = SimpleNamespace(id=worker, num_workers=workers, seed=seed + worker)
        copy.passes._in_worker = lambda: True
        parts.append(_Pass(copy, info))
    in_turn = chain.from_iterable(zip_longest(*parts))
    return (batch for batch in in_turn if batch is not None)


def test_d23_resume_at_200_random_stops_with_other_workers(ds: Dataset, torch: Any) -> None:
    """After a stop anywhere, at the end of the epoch too, come the batches that would have come."""
    options: dict[str, Any] = {"batch_size": 16, "shuffle": True, "augment": {"noise": 0.5}}
    whole = ds.loader(**options)
    epochs = [list(whole), list(whole)]
    random = np.random.default_rng(0)
    for trial in range(200):
        before = trial % 3
        after = trial // 3 % 3
        stop = int(random.integers(0, 14))
        first = ds.loader(**options, workers=0).to_torch()
        second = ds.loader(**options, workers=0).to_torch()
        head = [x.numpy() for x in islice(_delivered(first, before, trial), stop)]
        second.load_state_dict(first.state_dict(stop if before else None))
        rest = [x.numpy() for x in _delivered(second, after, trial)]
        expected = epochs[0] if stop < 13 else epochs[0] + epochs[1]
        assert same(head + rest, expected)


def test_spawned_workers_find_the_batches(ds: Dataset, torch: Any) -> None:
    batches = ds.split("train").loader(batch_size=50, shuffle=True, target="label").to_torch()
    data = torch.utils.data.DataLoader(
        batches, batch_size=None, num_workers=1, multiprocessing_context="spawn"
    )
    assert sorted(numbers([x for x, _ in data])) == list(range(150))


def test_a_device_and_a_set_epoch(ds: Dataset, torch: Any) -> None:
    batches = ds.loader(shuffle=True, target="age").to_torch(device="meta")
    assert next(iter(batches))[0].device.type == "meta"
    batches = ds.loader(shuffle=True).to_torch()
    batches.set_epoch(1)
    second = numbers(x.numpy() for x in batches)
    loader = ds.loader(shuffle=True)
    assert [numbers(loader), numbers(loader)][1] == second and batches.state_dict()["epoch"] == 2


def test_pinned_batches_go_to_the_device(
    ds: Dataset, torch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tensor is pinned, then handed over; as there is no accelerator, both are only noted."""
    seen: list[Any] = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: seen.append("pin") or self)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, *to, **how: seen.append((*to, *how.items())) or self
    )
    batches = ds.loader(batch_size=100, target="age", columns=["label"]).to_torch(
        device="cpu", pin_memory=True
    )
    assert len(list(batches)) == 2 and seen == ["pin", ("cpu", ("non_blocking", True))] * 6


def test_devices_that_are_not_there_are_named(ds: Dataset, torch: Any) -> None:
    with pytest.raises(
        UsageError, match="no such device: expected one that torch has here, found warp:9"
    ):
        ds.loader().to_torch(device="warp:9")
    if not torch.accelerator.is_available():
        with pytest.raises(UsageError, match=r"nothing to pin memory for.*Leave pin_memory out"):
            ds.loader().to_torch(pin_memory=True)


def test_c5_a_torch_model_trains_an_epoch(ds: Dataset, torch: Any) -> None:
    torch.manual_seed(0)
    loader = ds.loader(batch_size=20, shuffle=True, target="ill", balance="ill", normalize="train")
    model = torch.nn.Sequential(torch.nn.Linear(4, 2))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for x, y in loader.to_torch():
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert len(losses) == len(loader) and all(np.isfinite(losses))


def _one_rank(rank: int, world: int, path: str, folder: str) -> None:
    import torch

    from dof_arrow.dataset import dataset

    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    loader = dataset.open(path).loader(batch_size=16, shuffle=True, rank=rank, world_size=world)
    rows = torch.full((ROWS,), 0)
    for x in loader.to_torch():
        rows[x[:, 0].long()] += 1
        torch.distributed.barrier()  # hangs unless ranks have equally many batches
    torch.distributed.all_reduce(rows)
    if rank == 0:
        Path(folder, "counts").write_text(" ".join(map(str, rows.tolist())))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(sys.platform == "win32", reason="gloo by file")
def test_two_processes_see_every_row_once(ds: Dataset, torch: Any, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_one_rank, (2, str(ds.path), str(tmp_path)), nprocs=2)
    assert (tmp_path / "counts").read_text() == " ".join(["1"] * ROWS)


def test_ranks_with_worker_processes_change_their_number_and_lose_nothing(
    ds: Dataset, torch: Any
) -> None:
    """Two ranks of two workers stop amid an epoch; three of one worker see the rest of it."""
    seen: list[int] = []
    states = []
    for rank in range(2):
        batches = ds.loader(batch_size=16, shuffle=True, rank=rank, world_size=2).to_torch()
        data = iter(torch.utils.data.DataLoader(batches, batch_size=None, num_workers=2))
        seen += numbers(next(data).numpy() for _ in range(3))
        del data
        states.append(batches.state_dict(delivered=3))
    assert states[0] == states[1] and len(set(seen)) == len(seen) == 96
    for rank in range(3):
        batches = ds.loader(batch_size=16, shuffle=True, rank=rank, world_size=3).to_torch()
        batches.load_state_dict(states[0])
        data = torch.utils.data.DataLoader(batches, batch_size=None, num_workers=1)
        seen += numbers(batch.numpy() for batch in data)
    assert sorted(seen) == list(range(ROWS))


def test_g12_a_keras_model_trains_an_epoch(ds: Dataset, keras: Any) -> None:
    """G12: a Keras `Sequence`."""
    loader = ds.loader(
        batch_size=20, shuffle=True, target="label", balance="label", normalize="train"
    )
    batches = loader.to_keras()
    assert isinstance(batches, keras.utils.PyDataset) and len(batches) == len(loader)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    weights = dict(enumerate(loader.class_weights().tolist()))
    history = model.fit(
        batches,
        epochs=2,
        verbose=0,
        class_weight=weights,
        validation_data=ds.split("valid").loader(target="label", normalize="train").to_keras(),
    )
    assert np.isfinite(history.history["loss"]).all() and len(history.history["val_loss"]) == 2
    assert loader.epoch in (2, 3)  # with JAX, Keras begins one more to learn the shapes


_TENSORFLOW = """
import os, sys
os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
import keras, numpy, dof_arrow as dof
loader = dof.open(sys.argv[1]).split("train").loader(
    batch_size=20, shuffle=True, target="label", columns=["age"], normalize="train")
inputs = {"feature": keras.Input((4,)), "age": keras.Input(())}
x = keras.layers.Concatenate()([inputs["feature"], keras.layers.Reshape((1,))(inputs["age"])])
model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
model.compile("sgd", "sparse_categorical_crossentropy")
losses = model.fit(loader.to_keras(), epochs=2, verbose=0).history["loss"]
print(keras.backend.backend(), len(losses), numpy.isfinite(losses).all())
"""


def test_g12_keras_on_tensorflow_trains_an_epoch(ds: Dataset) -> None:
    """G12: the other tests of Keras run on torch."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("keras")
    command = [sys.executable, "-c", _TENSORFLOW, str(ds.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["tensorflow", "2", "True"], done.stderr[-2000:]


def test_keras_takes_columns_as_inputs_and_refuses_texts(ds: Dataset, keras: Any) -> None:
    (inputs, y) = ds.loader(batch_size=20, target="label", columns=["age"]).to_keras()[3]
    assert set(inputs) == {"feature", "age"} and np.array_equal(
        inputs["feature"], features(ROWS)[60:80]
    )
    with pytest.raises(UsageError, match="texts are no inputs"):
        ds.loader(columns=["sex"]).to_keras()
    x = ds.loader(batch_size=20).to_keras()[9]
    assert len(x) == 20 and len(y) == 20


def test_g12_tf_data_trains_an_epoch(ds: Dataset) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    loader = ds.loader(batch_size=24, shuffle=True, target="signs", columns=["age"])
    data = loader.to_tf().prefetch(2)
    assert int(data.cardinality()) == len(loader) == 9
    for _ in range(2):
        rows = numbers([inputs["feature"].numpy() for inputs, _ in data])
        assert sorted(rows) == list(range(ROWS))
    weights = tensorflow.Variable(tensorflow.zeros((4, 3)))
    for x, y in ds.loader(batch_size=24, shuffle=True, target="signs").to_tf():
        with tensorflow.GradientTape() as tape:
            loss = tensorflow.reduce_mean(
                tensorflow.nn.sigmoid_cross_entropy_with_logits(y, x @ weights)
            )
        weights.assign_sub(1e-4 * tape.gradient(loss, weights))
    assert np.isfinite(float(loss))


def test_c3_jax_arrays_lie_in_the_batch(ds: Dataset) -> None:
    jax = pytest.importorskip("jax")
    loader = ds.loader(batch_size=16, shuffle=True, target="label")
    batches = loader.to_jax()
    assert len(batches) == 13
    rows = []
    for x, y in batches:
        assert isinstance(x, jax.Array) and x.dtype == np.float32
        assert np.array_equal(np.asarray(y), np.asarray(x)[:, 0].astype(int) % 3)
        rows += np.asarray(x)[:, 0].astype(int).tolist()
    assert sorted(rows) == list(range(ROWS))
    batch = loader.batch(0)[0]
    assert jax.numpy.from_dlpack(batch).unsafe_buffer_pointer() == batch.ctypes.data
    assert next(iter(loader.to_jax(device=jax.devices()[0])))[0].shape == (16, 4)


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("torch", lambda loader: loader.to_torch()),
        ("keras", lambda loader: loader.to_keras()),
        ("tensorflow", lambda loader: loader.to_tf()),
        ("jax", lambda loader: loader.to_jax()),
    ],
)
def test_a_missing_framework_is_named(
    ds: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    call: Callable[[Any], Any],
) -> None:
    from dof_arrow.loader import frameworks, torch_batches

    torch_batches._torch_class.cache_clear()
    frameworks._keras_class.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'dof-arrow\["):
        call(ds.loader())
    torch_batches._torch_class.cache_clear()
    frameworks._keras_class.cache_clear()


def test_g12_tf_data_of_clips_of_any_length(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from PIL import Image

    import dof_arrow as dof

    for clip, length in enumerate((3, 4, 5, 2)):
        (tmp_path / f"c{clip}").mkdir()
        for frame in range(length):
            Image.fromarray(np.full((8, 10, 3), frame, np.uint8)).save(
                tmp_path / f"c{clip}" / f"{frame}.png"
            )
    data = dof.pictures(tmp_path, max_frames=5).loader(batch_size=2, target="clip").to_tf()
    assert data.element_spec[0]["clip"].shape.as_list() == [None, None, 8, 10, 3]
    assert [(x["clip"].shape[1], x["lengths"].numpy().tolist()) for x, _ in data] == [
        (4, [3, 4]),
        (5, [5, 2]),
    ]
