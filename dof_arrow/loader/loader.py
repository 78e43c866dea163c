"""Batches for training, epoch after epoch: a plan carried out over a dataset, or over pictures in its place.

Which row is when is the plan's (`dof_arrow.sampling.plan`), how batches are made the maker's (`dof_arrow.loader.batches`). The same seed
gives the same batches whatever the number of workers, and a state taken anywhere goes on there, with another number of
ranks too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.loader.batches import Batch, BatchSource, Maker
from dof_arrow.loader.options import Options, arrange
from dof_arrow.sampling.plan import Share, shares, steps
from dof_arrow.tables.targets import Codes, Flags

State = dict[str, int]


class Loader:
    """Batches of a dataset, epoch after epoch.

    Each iteration is one epoch; one that was broken off begins anew, unless `load_state_dict` says where to go on.
    Batches are float32 `[k, *shape]` (pictures: uint8 or float32), contiguous and the caller's own; only those of an
    unshuffled, mapped, unchanged dataset are read-only views of the file. With `target`, `(x, y)`; with `columns`, a
    dict after them.

    Raises UsageError for options that cannot be, and says what to do.
    """

    def __init__(self, source: BatchSource, options: Options | None = None) -> None:
        self.source, self.options = source, options or Options()
        _check(self.options, len(source), str(source.path))
        self._gather = source.gather(self.options.feature)
        self._maker = Maker(source, self.options, self._gather)
        self.plan = arrange(source, self.options, self._gather)
        _check_ranks(self.plan.length, self.options)
        self.epoch, self._consumed, self._resumed = 0, 0, False

    def __len__(self) -> int:
        """Batches in an epoch."""
        o = self.options
        return steps(
            self.plan.length,
            batch_size=o.batch_size,
            world_size=o.world_size,
            drop_last=o.drop_last,
        )

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def __repr__(self) -> str:
        name, size = self.source.path.name, self.options.batch_size
        return f"<Loader of {name}: {len(self):,} batches of {size}, epoch {self.epoch}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.source, self.options, self.state_dict())

    def batches(
        self,
        *,
        owned: bool = False,
        threads: int | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """One epoch, from its start or from where a loaded state says.

        `owned`: never a view of the file. `part` (i, n): each n-th batch from the i-th on, for worker processes.
        """
        self._consumed, self._resumed = self._consumed if self._resumed else 0, False
        these = islice(self._shares(self._consumed), part[0], None, part[1])
        for share, batch in self._maker.make(
            self.plan, self.epoch, these, owned=owned, threads=threads
        ):
            self._consumed = share.consumed
            yield batch
        self.set_epoch(self.epoch + 1)

    def batch(self, index: int) -> Batch:
        """One batch of this epoch, by its number; IndexError if there is none."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        # Only the last two steps can be smaller than full, so the one before the last begins at a full multiple.
        full = self.options.batch_size * self.options.world_size
        these = islice(self._shares(max(index - 1, 0) * full), min(index, 1), min(index, 1) + 1)
        ((_, batch),) = self._maker.make(self.plan, self.epoch, these, owned=True, threads=0)
        return batch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives, from its start."""
        self.epoch, self._consumed, self._resumed = int(epoch), 0, False

    def state_dict(self) -> State:
        """Where this loader stands: numbers for `load_state_dict`, JSON if one likes."""
        return {
            "seed": self.options.seed,
            "epoch": self.epoch,
            "consumed": self._consumed,
            "length": self.plan.length,
        }

    def state_after(self, batches: int) -> State:
        """Where this loader would stand so many batches after the place where its next iteration begins."""
        begin = self._consumed if self._resumed else 0
        used = [share.consumed for share in islice(self._shares(begin), batches)]
        return self.state_dict() | {"consumed": used[-1] if used else begin}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where a state was taken; batch size, threads and ranks may differ from then.

        Raises UsageError for the state of another dataset or of options that draw other rows.
        """
        if {"seed", "epoch", "consumed", "length"} - set(state) or state[
            "length"
        ] != self.plan.length:
            raise UsageError(
                "the state is of another loader",
                str(self.source.path),
                f"{self.plan.length} rows an epoch",
                str(state.get("length", "none")),
                "Make the loader of the same dataset with the same options, then load it.",
            )
        if state["seed"] != self.options.seed:
            self.options = replace(self.options, seed=state["seed"])
            self.plan = arrange(self.source, self.options, self._gather)
        self.set_epoch(state["epoch"])
        self._consumed, self._resumed = int(state["consumed"]), True
        if (
            self._consumed
            and next(shares(self.plan.length, self._consumed, **self._dealing(rank=0)), None)
            is None
        ):
            self.set_epoch(self.epoch + 1)

    def class_weights(self) -> NDArray[np.float32]:
        """Weights float32 [classes] by which each class counts equally: rows / (classes x rows of the class).

        For a multilabel target the weight of its positives against its negatives. A class without rows weighs 0.
        """
        values, rows = self._maker.target, len(self.source)
        if not isinstance(values, Codes | Flags):
            raise UsageError(
                "only classes have weights",
                "class_weights",
                "target= a category",
                str(self.options.target),
                "For numbers, spread them evenly: uniform={column: bins}.",
            )
        counts = np.bincount(values.codes, minlength=len(values.classes)).astype(np.float64)
        over = (
            rows - counts
            if isinstance(values, Flags)
            else np.full_like(counts, rows / max((counts > 0).sum(), 1))
        )
        return np.divide(over, counts, out=np.zeros_like(counts), where=counts > 0).astype(
            np.float32
        )

    def to_torch(self, *, device: str | None = None, pin_memory: bool = False) -> Any:
        """The batches as a torch `IterableDataset`, see `dof_arrow.loader.frameworks.torch_batches` (extra `torch`)."""
        from dof_arrow.loader import frameworks

        return frameworks.torch_batches(self, device, pin_memory)

    def to_keras(self, **options: Any) -> Any:
        """The batches as a Keras 3 `PyDataset`, see `dof_arrow.loader.frameworks.keras_batches` (extra `keras`)."""
        from dof_arrow.loader import frameworks

        return frameworks.keras_batches(self, options)

    def to_tf(self) -> Any:
        """The batches as a `tf.data.Dataset`, see `dof_arrow.loader.frameworks.tf_batches` (needs tensorflow)."""
        from dof_arrow.loader import frameworks

        return frameworks.tf_batches(self)

    def to_jax(self, *, device: Any = None) -> Any:
        """The batches as JAX arrays, see `dof_arrow.loader.frameworks.JaxBatches` (extra `jax`)."""
        from dof_arrow.loader import frameworks

        return frameworks.JaxBatches(self, device)

    def _shares(self, consumed: int) -> Iterator[Share]:
        return shares(self.plan.length, consumed, **self._dealing())

    def _dealing(self, **changed: int) -> Any:
        o = self.options
        dealt = {
            "batch_size": o.batch_size,
            "rank": o.rank,
            "world_size": o.world_size,
            "drop_last": o.drop_last,
        }
        return dealt | changed


def _restored(source: BatchSource, options: Options, state: State) -> Loader:
    loader = Loader(source, options)
    loader.load_state_dict(state)
    return loader


def _check(options: Options, rows: int, where: str) -> None:
    if not rows:
        raise UsageError(
            "no rows to load",
            where,
            "a split or filter with rows",
            "an empty one",
            "ds.metadata.splits says how many rows each split has.",
        )
    if options.batch_size < 1:
        raise UsageError(
            "batches need rows",
            where,
            "batch_size of 1 or more",
            str(options.batch_size),
            "Write for example batch_size=256.",
        )
    if not 0 <= options.rank < options.world_size:
        raise UsageError(
            "no such rank",
            where,
            f"rank 0 to {options.world_size - 1}",
            str(options.rank),
            "Ranks count from 0 to world_size - 1.",
        )
    if options.workers is not None and options.workers < 0:
        raise UsageError(
            "threads cannot be fewer than none", where, "workers of 0 or more", str(options.workers)
        )


def _check_ranks(length: int, options: Options) -> None:
    full = options.batch_size * options.world_size
    if length < options.world_size:
        raise UsageError(
            "more ranks than rows",
            "world_size",
            f"at most {length}",
            str(options.world_size),
            f"Use world_size={length} or fewer.",
        )
    if options.drop_last and length < full:
        raise UsageError(
            "no full batch",
            "drop_last",
            f"{full} rows or more",
            str(length),
            f"Use batch_size={length // options.world_size}, or drop_last=False.",
        )
