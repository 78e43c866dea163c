"""Batches as torch tensors, shared among the worker processes of a `DataLoader`, resumable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dof_arrow.errors import UsageError, require
from dof_arrow.loader.frameworks import converted, with_clips
from dof_arrow.loader.padded import Padded
from dof_arrow.loader.shared_passes import PLACES, SharedPasses

if TYPE_CHECKING:
    from dof_arrow.loader.clip_loader import ClipLoader
    from dof_arrow.loader.epoch_state import Resumable, State
    from dof_arrow.loader.loader import Loader


def torch_batches(loader: Loader, device: str | None, pin_memory: bool) -> Any:
    """A torch `IterableDataset` of batches, to be iterated or given to a `DataLoader`.

    Give it to a `DataLoader` with `batch_size=None`. Tensors share the batch's memory. `device`
    moves them and `pin_memory` puts them where a GPU fetches them faster; neither is done in the
    workers of a DataLoader: use its own `pin_memory`. Workers share out the batches and together
    give the loader's order; each pass is an epoch, broken off or not. `state_dict`,
    `load_state_dict` and `set_epoch` are the loader's. Where workers make the batches only the
    DataLoader knows which ones have arrived: take the state of torchdata's `StatefulDataLoader`, or
    tell `state_dict` how many were `delivered` in this pass.

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
    try:  # torch has no question for it, and each kind of device fails in its own way
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            "no such device",
            "device",
            "one that torch has here",
            str(device),
            str(error).splitlines()[0][:200],
        ) from None
    return _torch_class()(loader, RowTensors(device, pin_memory))


def torch_clips(loader: ClipLoader, packed: bool) -> Any:
    """The same of clips, with (features, lengths) or `packed` sequences of them."""
    return _torch_class()(loader, ClipTensors(packed))


class _Form(Protocol):
    """How a batch is turned into tensors."""

    def here(self, batch: Any) -> Any:
        """In the process that takes the batches."""

    def in_worker(self, batch: Any) -> Any:
        """In a worker process, where no tensor may be on a device."""


@dataclass(frozen=True, slots=True)
class RowTensors:
    """Tensors over the same memory, pinned or moved to a device where that is asked for."""

    device: str | None
    pin_memory: bool

    def here(self, batch: Any) -> Any:
        """A batch as tensors on the device."""
        return converted(batch, self._tensor)

    def in_worker(self, batch: Any) -> Any:
        """A batch as tensors in the processor's memory."""
        return converted(batch, require("torch", extra="torch").from_numpy)

    def _tensor(self, values: np.ndarray) -> Any:
        tensor = require("torch", extra="torch").from_numpy(values)
        if self.pin_memory:
            tensor = tensor.pin_memory()
        return tensor if self.device is None else tensor.to(self.device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class ClipTensors:
    """Tensors of padded clips and their lengths, or packed sequences of them."""

    packed: bool

    def here(self, batch: Any) -> Any:
        """A batch as tensors."""
        return with_clips(batch, self._clips, require("torch", extra="torch").from_numpy)

    in_worker = here

    def _clips(self, padded: Padded) -> Any:
        torch = require("torch", extra="torch")
        features = torch.from_numpy(padded.features)
        lengths = torch.from_numpy(padded.lengths).long()
        if not self.packed:
            return features, lengths
        pack = torch.nn.utils.rnn.pack_padded_sequence
        return pack(features, lengths, batch_first=True, enforce_sorted=False)


class _Pass:
    """One pass over an epoch: all of its batches, or in a worker process each n-th.

    torchdata's `StatefulDataLoader` takes the state of it with each batch.
    """

    def __init__(self, dataset: Any, worker: Any) -> None:
        self._loader: Resumable = dataset.loader
        self._form: _Form = dataset.form
        self._passes: SharedPasses = dataset.passes
        self._worker = worker
        if worker is not None:
            epoch, consumed = self._passes.join(worker.id, worker.seed - worker.id)
            self._loader.load_place(epoch, consumed)
        self._begin(0)

    def __iter__(self) -> _Pass:
        return self

    def __next__(self) -> Any:
        batch = next(self._batches)
        self._done += 1
        return batch

    def state_dict(self) -> State:
        """Where the pass has begun, and how many batches it has given, here or in this worker."""
        return self._start | {"done": self._done}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on with the next batch of a pass that a state was taken of."""
        self._loader.load_state_dict(state)
        if self._worker is not None:
            self._passes.move(self._worker.id, self._loader.epoch)
        self._begin(int(state["done"]))

    def _begin(self, done: int) -> None:
        self._start = self._loader.start_state()
        self._done = done
        if self._worker is None:
            batches = self._loader.owned_batches(part=(done, 1))
            self._batches = map(self._form.here, batches)
            return
        workers = self._worker.num_workers
        first = self._worker.id + done * workers
        batches = self._loader.owned_batches(threads=0, part=(first, workers))
        self._batches = map(self._form.in_worker, batches)


@cache
def _torch_class() -> type:
    """The class, made when torch is there; it pickles by its maker, so spawned workers find it."""
    torch = require("torch", extra="torch")
    data = require("torch.utils.data", extra="torch")

    class TorchBatches(data.IterableDataset):  # type: ignore[misc,name-defined]
        """Batches of a loader as tensors."""

        def __init__(
            self, loader: Resumable, form: _Form, shared: Any = None, lock: str = ""
        ) -> None:
            super().__init__()
            self.loader = loader
            self.form = form
            if shared is None:
                memory = torch.zeros(PLACES, dtype=torch.int64).share_memory_()
                self.passes = SharedPasses(memory, data.get_worker_info)
                self.passes.restart(*loader.next_place())
            else:
                self.passes = SharedPasses(shared, data.get_worker_info, lock)
            loader.follow(self.passes)

        def __reduce__(self) -> tuple[Any, ...]:
            return _torch_again, (self.loader, self.form, self.passes.shared, self.passes.lock)

        def __len__(self) -> int:
            return len(self.loader)

        def __iter__(self) -> Iterator[Any]:
            worker = data.get_worker_info()
            begun = self.passes.count()
            if worker is None and begun:  # passes that the loader here saw nothing of
                self.loader.load_place(*self.passes.place(begun + 1))
            return _Pass(self, worker)

        def set_epoch(self, epoch: int) -> None:
            """Choose the epoch that comes next, from its start."""
            self.loader.set_epoch(epoch)

        def state_dict(self, delivered: int | None = None) -> State:
            """Where the batches stand.

            `delivered`: how many came out of this pass of a DataLoader with workers. Raises
            UsageError where workers have made batches and it is not told.
            """
            begun = self.passes.count()
            if not begun or data.get_worker_info() is not None:
                return self.loader.state_dict()
            if delivered is None:
                raise _delivered_by_others(str(self.loader.source.path))
            return self.loader.state_after(delivered, self.passes.place(begun))

        def load_state_dict(self, state: Mapping[str, int]) -> None:
            """Go on where a state was taken."""
            self.loader.load_state_dict(state)

    return TorchBatches


def _torch_again(loader: Resumable, form: _Form, shared: Any, lock: str) -> Any:
    return _torch_class()(loader, form, shared, lock)


def _delivered_by_others(where: str) -> UsageError:
    return UsageError(
        "only the DataLoader knows which batches of its workers have arrived",
        where,
        "the state of a StatefulDataLoader, or how many batches were delivered",
        "state_dict() of the dataset",
        "Use torchdata.stateful_dataloader.StatefulDataLoader and its own state_dict(), or "
        "state_dict(delivered=N) after N batches of this pass.",
    )
