"""What a loader reads: a dataset of features, or raw pictures in its place."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dof_arrow.tables.gather import Gather
from dof_arrow.tables.targets import Tabular

Array = NDArray[Any]


class BatchSource(Tabular, Protocol):
    """What a loader needs from a `Dataset`, or from `Pictures` in its place."""

    @property
    def path(self) -> Any:
        """Where it lies: its text and its `name` are shown."""

    def __len__(self) -> int: ...

    def gather(self, name: str | None = None) -> Gather:
        """What fills buffers with the rows of a feature column."""

    def row_shape(self, name: str | None = None) -> tuple[int, ...]:
        """The shape of one row of it."""

    def batch_dtype(self, name: str | None = None) -> np.dtype[Any]:
        """The type of its numbers in a batch."""

    def statistics(self, split: str, name: str | None = None) -> tuple[Array, Array]:
        """Mean and standard deviation over a split.

        Of each number of a row, or of each place along the last axis, such as a colour channel.
        """
