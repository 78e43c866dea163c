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

if TYPE_CHECKING:
    from dof_arrow.loader.clip_loader import ClipLoader
    from dof_arrow.loader.epoch_state import Resumable, State
    from dof_arrow.loader.loader import Loader

_MOST_WORKERS = 1022
_EPOCH, _CONSUMED, _FIRST_WORKER = range(3)  # places in the shared memory


def torch_batches(loader: Loader, device: str | None, pin_memory: bool) -> Any:
    """A torch `IterableDataset` of batches, to be iterated or given to a `DataLoader`.

    Give it to a `DataLoader` with `batch_size=None`. Tensors share the batch's memory. `device`
    moves them and `pin_memory` puts them where a GPU fetches them faster; neither is done in the
    workers of a DataLoader: use its own `pin_memory`. Workers share out the batches and together
    give the loader's order; each pass is an epoch, broken off or not. `state_dict`,
    `load_state_dict` and `set_epoch` are the loader's; with workers, tell `state_dict` how many
    batches were `delivered` in this pass.

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


class _Passes:
    """What a torch dataset and its workers agree on, in shared memory.

    The epoch to begin with, where in it, and how many epochs each worker has begun. A DataLoader
    makes its workers from the dataset again and again, and the dataset sees nothing of them.
    """

    def __init__(self, shared: Any) -> None:
        self.shared = shared

    def restart(self, loader: Resumable) -> None:
        """Begin where the loader stands."""
        state = loader.state_dict()
        self.shared.zero_()
        self.shared[_EPOCH] = state["epoch"]
        self.shared[_CONSUMED] = state["consumed"]

    def next(self, loader: Resumable, worker: int) -> None:
        """Put a worker's loader where its next pass begins."""
        place = _FIRST_WORKER + worker
        self._begin(loader, int(self.shared[place]))
        self.shared[place] += 1  # no other process writes there

    def last(self, loader: Resumable) -> None:
        """Put a loader where the last pass began."""
        passes = int(self.shared[_FIRST_WORKER])
        self._begin(loader, max(passes - 1, 0))

    def _begin(self, loader: Resumable, passes: int) -> None:
        state = loader.state_dict()
        state["epoch"] = int(self.shared[_EPOCH]) + passes
        state["consumed"] = 0 if passes else int(self.shared[_CONSUMED])
        loader.load_state_dict(state)


@cache
def _torch_class() -> type:
    """The class, made when torch is there; it pickles by its maker, so spawned workers find it."""
    torch = require("torch", extra="torch")
    data = require("torch.utils.data", extra="torch")

    class TorchBatches(data.IterableDataset):  # type: ignore[misc,name-defined]
        """Batches of a loader as tensors."""

        def __init__(self, loader: Resumable, form: _Form, shared: Any = None) -> None:
            super().__init__()
            self.loader = loader
            self.form = form
            if shared is None:
                places = _FIRST_WORKER + _MOST_WORKERS
                # Room for any number of workers: the dataset is not told how many there will be.
                memory = torch.zeros(places, dtype=torch.int64).share_memory_()
                self._passes = _Passes(memory)
                self._passes.restart(loader)
            else:
                self._passes = _Passes(shared)

        def __reduce__(self) -> tuple[Any, ...]:
            return _torch_again, (self.loader, self.form, self._passes.shared)

        def __len__(self) -> int:
            return len(self.loader)

        def __iter__(self) -> Iterator[Any]:
            worker = data.get_worker_info()
            if worker is None:
                return map(self.form.here, self.loader.owned_batches())
            return self._part(worker.id, worker.num_workers)

        def set_epoch(self, epoch: int) -> None:
            """Choose the epoch that comes next, from its start."""
            self.loader.set_epoch(epoch)
            self._passes.restart(self.loader)

        def state_dict(self, delivered: int | None = None) -> State:
            """Where the batches stand.

            `delivered`: how many came out of this pass of a DataLoader with workers.
            """
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
            batches = self.loader.owned_batches(threads=0, part=(worker, workers))
            return map(self.form.in_worker, batches)

    return TorchBatches


def _torch_again(loader: Resumable, form: _Form, shared: Any) -> Any:
    return _torch_class()(loader, form, shared)
