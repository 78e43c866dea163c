"""A loader as the frameworks want it: torch, Keras, tf.data and JAX, over the same batches and without a copy where
the framework allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dof_arrow.errors import UsageError, require
from dof_arrow.loader.batches import Padded

if TYPE_CHECKING:
    from dof_arrow.loader.loader import Loader, State

_KEPT = ("U", "S", "O")  # kinds of numpy arrays that are no tensors: texts


def torch_batches(loader: Loader, device: str | None, pin_memory: bool) -> Any:
    """A torch `IterableDataset` of batches: iterate it, or give it to a `DataLoader` with `batch_size=None`.

    Tensors share the batch's memory; `device` moves them, `pin_memory` puts them where a GPU fetches them faster (both
    not in a DataLoader's workers: use its own `pin_memory`). Workers share the batches out; together they give the
    loader's order, and each pass is an epoch, broken off or not. `state_dict`, `load_state_dict` and `set_epoch` are
    the loader's; with workers, tell `state_dict` how many batches were `delivered` in this pass.
    Raises UsageError for a device that is not there, or where there is none to pin memory for.
    """
    torch = require("torch", extra="torch")
    if pin_memory and not torch.accelerator.is_available():
        raise UsageError(
            "nothing to pin memory for",
            "pin_memory",
            "an accelerator",
            "none",
            "Leave pin_memory out.",
        )
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            "no such device",
            "device",
            "one that torch has here",
            str(device),
            str(error).splitlines()[0][:200],
        ) from None
    return _torch_class()(loader, device, pin_memory)


class _Passes:
    """What a torch dataset and its workers agree on, in shared memory: the epoch to begin with, where in it, and how
    many epochs each worker has begun. Workers are made from the dataset again and again, which sees nothing of them."""

    FIRST_WORKER, MOST_WORKERS = 2, 1022

    def __init__(self, shared: Any) -> None:
        self.shared = shared

    def restart(self, loader: Loader) -> None:
        """Begin where the loader stands."""
        state = loader.state_dict()
        self.shared.zero_()
        self.shared[0], self.shared[1] = state["epoch"], state["consumed"]

    def next(self, loader: Loader, worker: int) -> None:
        """Put a worker's loader where its next pass begins."""
        self._begin(loader, int(self.shared[self.FIRST_WORKER + worker]))
        self.shared[self.FIRST_WORKER + worker] += 1

    def last(self, loader: Loader) -> None:
        """Put a loader where the last pass began."""
        self._begin(loader, max(int(self.shared[self.FIRST_WORKER]) - 1, 0))

    def _begin(self, loader: Loader, passes: int) -> None:
        epoch, consumed = self.shared[: self.FIRST_WORKER].tolist()
        loader.load_state_dict(
            loader.state_dict() | {"epoch": epoch + passes, "consumed": 0 if passes else consumed}
        )


@cache
def _torch_class() -> type:
    """The class, made when torch is there; it pickles by its maker, so that spawned workers find it."""
    torch = require("torch", extra="torch")
    data = require("torch.utils.data", extra="torch")

    class TorchBatches(data.IterableDataset):  # type: ignore[misc,name-defined]
        """Batches of a loader as tensors."""

        def __init__(
            self, loader: Loader, device: str | None, pin_memory: bool, shared: Any = None
        ) -> None:
            super().__init__()
            self.loader, self.device, self.pin_memory = loader, device, pin_memory
            places = _Passes.FIRST_WORKER + _Passes.MOST_WORKERS
            self._passes = _Passes(
                torch.zeros(places, dtype=torch.int64).share_memory_() if shared is None else shared
            )
            if shared is None:
                self._passes.restart(loader)

        def __reduce__(self) -> tuple[Any, ...]:
            return _torch_again, (self.loader, self.device, self.pin_memory, self._passes.shared)

        def __len__(self) -> int:
            return len(self.loader)

        def __iter__(self) -> Iterator[Any]:
            worker = data.get_worker_info()
            if worker is None:
                return (_each(batch, self._tensor) for batch in self.loader.batches(owned=True))
            return self._part(worker.id, worker.num_workers)

        def set_epoch(self, epoch: int) -> None:
            """Choose the epoch that comes next, from its start."""
            self.loader.set_epoch(epoch)
            self._passes.restart(self.loader)

        def state_dict(self, delivered: int | None = None) -> State:
            """Where the batches stand; `delivered`: how many came out of this pass of a DataLoader with workers."""
            if delivered is None:
                return self.loader.state_dict()
            self._passes.last(self.loader)
            return self.loader.state_after(delivered)

        def load_state_dict(self, state: Mapping[str, int]) -> None:
            """Go on where a state was taken."""
            self.loader.load_state_dict(state)
            self._passes.restart(self.loader)

        def _part(self, worker: int, workers: int) -> Iterator[Any]:
            self._passes.next(self.loader, worker)
            batches = self.loader.batches(owned=True, threads=0, part=(worker, workers))
            return (_each(batch, torch.from_numpy) for batch in batches)

        def _tensor(self, values: np.ndarray) -> Any:
            tensor = torch.from_numpy(values)
            tensor = tensor.pin_memory() if self.pin_memory else tensor
            return tensor if self.device is None else tensor.to(self.device, non_blocking=True)

    return TorchBatches


def _torch_again(loader: Loader, device: str | None, pin_memory: bool, shared: Any) -> Any:
    return _torch_class()(loader, device, pin_memory, shared)


def keras_batches(loader: Loader, options: Mapping[str, Any]) -> Any:
    """A Keras 3 `PyDataset`, for `model.fit` with any backend: batch i of the epoch, made when it is asked for.

    `options` are the PyDataset's: `workers`, `use_multiprocessing`, `max_queue_size`. With `columns=`, inputs are a
    dict of the features, under the name of their column, and the columns. Keras itself mixes the order of batches
    unless told `shuffle=False`. Clips of different lengths come with `lengths` as an input beside them.
    """
    _refuse_texts(loader)
    return _keras_class()(loader, **options)


@cache
def _keras_class() -> type:
    keras = require("keras", extra="keras")

    class KerasBatches(keras.utils.PyDataset):  # type: ignore[misc,name-defined]
        """Batches of a loader by their number."""

        def __init__(self, loader: Loader, **options: Any) -> None:
            super().__init__(**options)
            self.loader, self._running = loader, False

        def __reduce__(self) -> tuple[Any, ...]:
            options = {"workers": self.workers, "use_multiprocessing": self.use_multiprocessing}
            return keras_batches, (self.loader, options)

        def __len__(self) -> int:
            return len(self.loader)

        def __getitem__(self, index: int) -> Any:
            return _with_inputs(self.loader, self.loader.batch(index))

        def on_epoch_begin(self) -> None:
            """Keras calls this."""
            self._running = True

        def on_epoch_end(self) -> None:
            """Keras calls this, and once more before the first epoch; the next epoch has an order of its own."""
            self.loader.set_epoch(self.loader.epoch + self._running)
            self._running = False

    return KerasBatches


def tf_batches(loader: Loader) -> Any:
    """A `tf.data.Dataset` of batches, one epoch each time it is iterated, with the shapes and types that come."""
    _refuse_texts(loader)
    tensorflow = require("tensorflow", extra="keras")
    first = loader.batch(0)
    sample, longest = (
        _with_inputs(loader, first),
        1 + len(loader.source.shape(loader.options.feature)),
    )
    free = 2 if isinstance(_parts(first)[0], Padded) else 1  # axes that differ from batch to batch

    def spec(values: np.ndarray) -> Any:
        axes = free if values.ndim == longest else 1
        return tensorflow.TensorSpec((*[None] * axes, *values.shape[axes:]), values.dtype)

    def epoch() -> Iterator[Any]:
        return (_with_inputs(loader, batch) for batch in loader.batches(owned=True))

    made = tensorflow.data.Dataset.from_generator(epoch, output_signature=_each(sample, spec))
    return made.apply(tensorflow.data.experimental.assert_cardinality(len(loader)))


class JaxBatches:
    """Batches as JAX arrays over the same memory (it starts at a multiple of 64 bytes), or on another device.

    Each iteration is one epoch.
    """

    def __init__(self, loader: Loader, device: Any = None) -> None:
        self.loader, self.device = loader, device
        self._jax = require("jax", extra="jax")

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return (_each(batch, self._array) for batch in self.loader.batches(owned=True))

    def _array(self, values: np.ndarray) -> Any:
        array = self._jax.numpy.from_dlpack(values)
        return array if self.device is None else self._jax.device_put(array, self.device)


def _each(batch: Any, convert: Callable[[np.ndarray], Any]) -> Any:
    """A batch of the same form with each array of numbers converted; texts stay as they are."""
    if isinstance(batch, tuple):
        return tuple(_each(part, convert) for part in batch)
    if isinstance(batch, dict):
        return {name: _each(part, convert) for name, part in batch.items()}
    return batch if batch.dtype.kind in _KEPT else convert(batch)


def _with_inputs(loader: Loader, batch: Any) -> Any:
    """A batch as Keras takes it: inputs, or (inputs, target); columns and lengths are inputs beside the features."""
    first, *rest = _parts(batch)
    columns = rest.pop() if loader.options.columns else {}
    if not columns and not isinstance(first, Padded):
        return batch
    features, more = (
        (first.features, {"lengths": first.lengths}) if isinstance(first, Padded) else (first, {})
    )
    inputs = {
        loader.options.feature or loader.source.metadata.primary_column: features,
        **more,
        **columns,
    }
    return (inputs, *(each.features if isinstance(each, Padded) else each for each in rest))


def _parts(batch: Any) -> tuple[Any, ...]:
    return batch if isinstance(batch, tuple) and not isinstance(batch, Padded) else (batch,)


def _refuse_texts(loader: Loader) -> None:
    sample = loader.batch(0)
    columns = sample[-1] if loader.options.columns else {}
    texts = [name for name, values in columns.items() if values.dtype.kind in _KEPT]
    if texts:
        raise UsageError(
            "texts are no inputs of a network",
            ", ".join(texts),
            "columns of numbers",
            "texts",
            "Leave them out of columns=, or iterate the loader itself.",
        )
