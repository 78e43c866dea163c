"""Batches for training, epoch after epoch: a plan carried out over a dataset or over raw pictures.

`dof_arrow.sampling.plan` says which row is when, `dof_arrow.loader.batches` makes the batches. The
same seed gives the same batches whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError, whole_number
from dof_arrow.loader.arrange import arrange
from dof_arrow.loader.batch_source import BatchSource
from dof_arrow.loader.batches import Batch, BatchMaker, Made
from dof_arrow.loader.epoch_state import Resumable
from dof_arrow.loader.options import Options, check_length, check_options
from dof_arrow.sampling.permutation import Rows
from dof_arrow.sampling.plan import Share
from dof_arrow.tables.targets import Codes, Flags


class Loader(Resumable):
    """Batches of a dataset, epoch after epoch.

    Each pass is one epoch, broken off or not, unless `load_state_dict` says where to go on; see
    `dof_arrow.loader.epoch_state`. Batches are float32 `[k, *shape]` (pictures: uint8 or float32),
    contiguous and the caller's own. Only those of an unshuffled, mapped, unchanged dataset are
    read-only views of the file. With `target` a batch is `(x, y)`; with `columns` a dict comes
    after them.

    Raises UsageError for options that cannot be, and says what to do.
    """

    unit = "rows"
    options: Options

    def __init__(self, source: BatchSource, options: Options | None = None) -> None:
        super().__init__(str(source.path))
        self.source = source
        self.options = options or Options()
        check_options(self.options, len(source), str(source.path))
        _check_workers(self.options.workers, str(source.path))
        self._gather = source.gather(self.options.feature)
        self._maker = BatchMaker(source, self.options, self._gather)
        self.plan = arrange(source, self.options, self._gather)
        check_length(self.options, self.length, self.unit)

    @property
    def length(self) -> int:
        """Rows in an epoch."""
        return self.plan.length

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def __repr__(self) -> str:
        name = self.source.path.name
        size = self.options.batch_size
        return f"<Loader of {name}: {len(self):,} batches of {size}, epoch {self.epoch}>"

    def batches(
        self,
        *,
        owned: bool = False,
        threads: int | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """One pass, from the start of its epoch or from where a loaded state says.

        `owned`: never a view of the file. `part` (i, n): each n-th batch from the i-th on, for
        worker processes.
        """
        plan = self.plan

        def make(dealt: Iterator[Share], epoch: int) -> Made:
            return self._maker.make(plan, epoch, dealt, owned=owned, threads=threads)

        return self._one_pass(make, part)

    def owned_batches(
        self, *, threads: int | None = None, part: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """One pass of batches that are never views of the file."""
        return self.batches(owned=True, threads=threads, part=part)

    def batch(self, index: int) -> Batch:
        """One batch of this epoch by its number, always the caller's own; no pass begins.

        Raises IndexError if there is none.
        """
        this_one = iter([self._share(index)])
        ((_, batch),) = self._maker.make(self.plan, self.epoch, this_one, owned=True, threads=0)
        return batch

    def at(self, rows: Rows) -> Batch:
        """These rows of the dataset, whatever is drawn in an epoch, unchanged but normalized."""
        return self._maker.at(rows)

    def class_weights(self) -> NDArray[np.float32]:
        """Weights float32 [classes] by which each class counts equally: rows / (classes x its
        rows).

        For a multilabel target each class has the weight of its positives against its negatives. A
        class without rows weighs 0. Raises UsageError for a target that has no classes.
        """
        values = self._maker.target
        if not isinstance(values, Codes | Flags):
            raise UsageError(
                "only classes have weights",
                "class_weights",
                "target= a category",
                str(self.options.target),
                "For numbers, spread them evenly: uniform={column: bins}.",
            )
        rows = len(self.source)
        counts = np.bincount(values.codes, minlength=len(values.classes)).astype(np.float64)
        if isinstance(values, Flags):
            wanted = rows - counts
        else:
            present = max((counts > 0).sum(), 1)
            wanted = np.full_like(counts, rows / present)
        weights = np.zeros_like(counts)
        np.divide(wanted, counts, out=weights, where=counts > 0)
        return weights.astype(np.float32)

    def to_torch(self, *, device: str | None = None, pin_memory: bool = False) -> Any:
        """The batches as a torch `IterableDataset` (extra `torch`).

        See `dof_arrow.loader.torch_batches.torch_batches`.
        """
        from dof_arrow.loader.torch_batches import torch_batches

        return torch_batches(self, device, pin_memory)

    def to_keras(self, **options: Any) -> Any:
        """The batches as a Keras 3 `PyDataset` (extra `keras`).

        See `dof_arrow.loader.frameworks.keras_batches`.
        """
        from dof_arrow.loader import frameworks

        return frameworks.keras_batches(self, options)

    def to_tf(self) -> Any:
        """The batches as a `tf.data.Dataset` (needs tensorflow).

        See `dof_arrow.loader.frameworks.tf_batches`.
        """
        from dof_arrow.loader import frameworks

        return frameworks.tf_batches(self)

    def to_jax(self, *, device: Any = None) -> Any:
        """The batches as JAX arrays (extra `jax`).

        See `dof_arrow.loader.frameworks.JaxBatches`.
        """
        from dof_arrow.loader import frameworks

        return frameworks.JaxBatches(self, device)

    def _take_seed(self, seed: int) -> None:
        if seed != self.options.seed:
            self.options = replace(self.options, seed=seed)
            self.plan = arrange(self.source, self.options, self._gather)


def _check_workers(workers: int | None, where: str) -> None:
    if workers is not None and whole_number("workers", workers) < 0:
        raise UsageError(
            "threads cannot be fewer than none", where, "workers of 0 or more", str(workers)
        )
