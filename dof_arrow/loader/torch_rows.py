"""Rows, clips or pictures by their number, as a map-style torch `Dataset`.

torch's samplers say which rows come when, and its `DataLoader` makes the batches, as do the
trainers of Hugging Face and Lightning. Nothing is shuffled, balanced or augmented here: a `Loader`
does that, faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dof_arrow.errors import UsageError, require
from dof_arrow.loader.padded import Padded

if TYPE_CHECKING:
    from dof_arrow.loader.clip_loader import ClipLoader
    from dof_arrow.loader.loader import Loader

_LENGTHS = "lengths"


def torch_rows(loader: Loader | ClipLoader) -> Any:
    """A map-style torch `Dataset` of the rows, clips or pictures that a loader has, in their order.

    Each is a dict: the features or pictures under the name of their column, the target and the
    columns under theirs; clips have their length under `lengths`. Numbers are tensors, texts as
    they are. `__getitems__` reads the rows of a batch at once. For clips of different lengths give
    the DataLoader `collate_fn=dataset.collate`, which pads them. It pickles for spawned workers.
    """
    return _torch_class()(loader)


@cache
def _torch_class() -> type:
    """The class, made when torch is there; it pickles by its maker, so spawned workers find it."""
    torch = require("torch", extra="torch")
    data = require("torch.utils.data", extra="torch")

    class TorchRows(data.Dataset):  # type: ignore[misc,name-defined]
        """Rows by their number."""

        def __init__(self, loader: Loader | ClipLoader) -> None:
            self.loader = loader
            options = loader.options
            self._feature = options.feature or loader.source.metadata.primary_column
            names = [self._feature, *options.columns]
            if options.target is not None:
                names.insert(1, options.target)
            _refuse_twice(names, str(loader.source.path))

        def __reduce__(self) -> tuple[Any, ...]:
            return torch_rows, (self.loader,)

        def __len__(self) -> int:
            return self.loader.length

        def __getitem__(self, index: int) -> dict[str, Any]:
            return self.__getitems__([index])[0]

        def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
            rows = _checked(indices, len(self))
            columns = self._columns(self.loader.at(rows))
            return [self._one(columns, place) for place in range(len(rows))]

        def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
            """A batch of clips: zeros behind the end of each, and their `lengths` int64 [k]."""
            batch = data.default_collate([_without(row, self._feature) for row in rows])
            pad = torch.nn.utils.rnn.pad_sequence
            batch[self._feature] = pad([row[self._feature] for row in rows], batch_first=True)
            return batch  # type: ignore[no-any-return]

        def _columns(self, batch: Any) -> dict[str, Any]:
            """The parts of a batch by their names."""
            is_bare = isinstance(batch, (np.ndarray, Padded))
            first, *others = (batch,) if is_bare else batch
            known: dict[str, Any] = {}
            if isinstance(first, Padded):
                known[_LENGTHS] = first.lengths.astype(np.int64)
                first = first.features
            known[self._feature] = first
            if self.loader.options.target is not None:
                known[self.loader.options.target] = others.pop(0)
            for columns in others:
                known |= columns
            return {name: _tensor(values) for name, values in known.items()}

        def _one(self, columns: dict[str, Any], place: int) -> dict[str, Any]:
            row = {name: values[place] for name, values in columns.items()}
            if _LENGTHS in row:
                row[self._feature] = row[self._feature][: int(row[_LENGTHS])]
            return row

    def _tensor(values: np.ndarray) -> Any:
        return torch.from_numpy(values) if values.dtype.kind in "biuf" else values.tolist()

    return TorchRows


def _checked(indices: Sequence[int], length: int) -> np.ndarray:
    """Numbers of rows int64 [k], counted from the end where negative; IndexError if one is none."""
    rows = np.asarray(indices, np.int64)
    rows = np.where(rows < 0, rows + length, rows)
    wrong = (rows < 0) | (rows >= length)
    if wrong.any():
        raise IndexError(f"row {np.asarray(indices)[wrong][0]} of {length}")
    return rows


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def _refuse_twice(names: list[str], where: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            "two values of one name in each row",
            where,
            "columns that differ from the feature and the target",
            ", ".join(twice),
            "For autoencoders leave out target: the features are there.",
        )
