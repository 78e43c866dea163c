"""Bags of rows, each what one prediction is made for: the tiles of a slide, say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dof_arrow.errors import UsageError
from dof_arrow.tables.clip_bounds import bounds

if TYPE_CHECKING:
    from dof_arrow.dataset.dataset import Dataset


class Bags(Mapping[str, "Dataset"]):
    """The bags of a dataset by name, in the order of their rows; each is a slice of its rows.

    Raises UsageError for a dataset without bags, or if the rows of a bag do not stand together.
    """

    def __init__(self, rows: Dataset) -> None:
        column = rows.metadata.record.bag
        if column is None:
            raise UsageError(
                "a dataset without bags",
                str(rows.path),
                "a column of the role bag",
                "none",
                "Name one when the dataset is made: record={'bag': COLUMN}",
            )
        self._rows = rows
        names = rows.to_arrow([column]).column(0)
        starts, stops = bounds([names], str(rows.path), "bag")
        places = zip(starts.tolist(), stops.tolist(), strict=True)
        self._places = dict(zip(names.take(starts).to_pylist(), places, strict=True))

    def __getitem__(self, name: str) -> Dataset:
        if name not in self._places:
            raise KeyError(name)
        start, stop = self._places[name]
        return self._rows[start:stop]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
