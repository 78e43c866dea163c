"""Passes of Keras are passes of the loader, whatever its workers, steps and validation do."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from tests.support.making_rows import made, numbers

ROWS, BATCH = 40, 4


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
    return pytest.importorskip("keras")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made(tmp_path_factory.mktemp("keras") / "x.parquet", ROWS)


def fitted(keras: Any, batches: Any, **how: Any) -> tuple[list[list[int]], list[list[int]]]:
    """The rows of each epoch in training and in validation, as the model sees them."""
    seen: list[list[int]] = []
    tested: list[list[int]] = []

    class Spy(keras.Model):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(3, "softmax")

        def call(self, x: Any) -> Any:
            return self.dense(x)

        def train_step(self, data: Any) -> Any:
            seen[-1].extend(numbers([data[0]]))
            return super().train_step(data)

        def test_step(self, data: Any) -> Any:
            tested[-1].extend(numbers([data[0]]))
            return super().test_step(data)

    def begin(epoch: int, logs: Any = None) -> None:
        seen.append([])
        tested.append([])

    model = Spy()
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(
        batches, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=begin)], **how
    )
    return seen, tested


def _orders(ds: Dataset, count: int) -> list[list[int]]:
    loader = ds.loader(batch_size=BATCH, shuffle=True)
    return [numbers(loader) for _ in range(count)]


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({}, {}),
        ({"workers": 2}, {"shuffle": False}),
        ({"workers": 2, "use_multiprocessing": True}, {}),
    ],
)
def test_each_epoch_has_the_order_of_the_seed(
    small: Dataset, keras: Any, options: Any, how: Any
) -> None:
    batches = small.loader(batch_size=BATCH, shuffle=True, target="label").to_keras(**options)
    seen, _ = fitted(keras, batches, epochs=2, **how)
    assert seen == _orders(small, 2) and batches.loader.epoch == 2
    assert batches.workers == 1 and not batches.use_multiprocessing


@pytest.mark.parametrize("validates", [False, True])
def test_fewer_steps_go_on_where_the_last_epoch_stopped(
    small: Dataset, keras: Any, validates: bool
) -> None:
    batches = small.loader(batch_size=BATCH, shuffle=True, target="label").to_keras(workers=2)
    how = {"validation_data": batches} if validates else {}
    if validates and keras.backend.backend() == "tensorflow":
        # It reads ahead, so each pass would take rows of the other. It wraps errors in its own.
        with pytest.raises(Exception, match="Give validation_data a loader of its own"):
            fitted(keras, batches, epochs=4, steps_per_epoch=5, **how)
        return
    seen, tested = fitted(keras, batches, epochs=4, steps_per_epoch=5, **how)
    assert [len(epoch) for epoch in seen] == [20] * 4
    orders = _orders(small, 6)
    assert seen[0] + seen[1] == orders[0]
    assert seen[2] + seen[3] == orders[3 if validates else 1]
    if validates:
        assert tested == [orders[1], orders[2], orders[4], orders[5]]


def test_a_loader_of_its_own_validates_epochs_of_fewer_steps(small: Dataset, keras: Any) -> None:
    """What the refusal on the TensorFlow backend advises."""
    batches = small.loader(batch_size=BATCH, shuffle=True, target="label").to_keras()
    other = small.loader(batch_size=BATCH, target="label").to_keras()
    seen, tested = fitted(keras, batches, epochs=4, steps_per_epoch=5, validation_data=other)
    orders = _orders(small, 2)
    assert [*seen[0], *seen[1], *seen[2], *seen[3]] == [*orders[0], *orders[1]]
    assert tested == [list(range(ROWS))] * 4


def test_a_fit_that_was_broken_off_begins_anew(small: Dataset, keras: Any) -> None:
    batches = small.loader(batch_size=BATCH, shuffle=True, target="label").to_keras()
    fitted(keras, batches, epochs=1, steps_per_epoch=5)
    batches.set_epoch(0)
    assert fitted(keras, batches, epochs=1)[0] == _orders(small, 1)


def test_one_dataset_trains_and_validates(small: Dataset, keras: Any) -> None:
    batches = small.loader(batch_size=BATCH, shuffle=True, target="label").to_keras()
    seen, tested = fitted(keras, batches, epochs=2, validation_data=batches)
    orders = _orders(small, 4)
    assert seen == [orders[0], orders[2]] and tested == [orders[1], orders[3]]


def test_training_goes_on_with_a_later_epoch(small: Dataset, keras: Any) -> None:
    batches = small.loader(batch_size=BATCH, shuffle=True, target="label").to_keras()
    batches.set_epoch(1)
    seen, _ = fitted(keras, batches, epochs=3, initial_epoch=1)
    assert seen == _orders(small, 3)[1:]
    taken = iter(batches.loader)
    next(taken)
    batches.loader.load_state_dict(batches.loader.state_dict())
    # TensorFlow wraps it in an error of its own.
    with pytest.raises(Exception, match=r"whole epochs only.*set_epoch\(3\)"):
        fitted(keras, batches, epochs=1)
    with pytest.raises(UsageError, match=r"no such option: .*Did you mean workers"):
        batches.loader.to_keras(worker=2)


def test_clips_have_their_lengths_as_an_input(small: Dataset, keras: Any) -> None:
    loader = small.clip_loader(batch_size=8, shuffle=True, target="label", balance="label")
    inputs, label = loader.to_keras()[0]
    assert inputs["feature"].shape == (8, 1, 4) and inputs["lengths"].tolist() == [1] * 8
    assert np.array_equal(label, inputs["feature"][:, 0, 0].astype(int) % 3)
