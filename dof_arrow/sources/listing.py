"""Inputs listed: their names, groups, labels and splits, as Arrow arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources.sample import NOT_THERE, Column, Data, Refused, Sample, Value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listing(ABC):
    """Named pictures in some container, with what is known of them, all as Arrow arrays.

    It is a `Source`. `place` says which of the container's pictures each sample is, null where
    there is none; None: each its own number. `refused` says why a sample cannot be used, null where
    nothing is known against it. Samples of either kind fail to load. `counts` says what became of
    files and rows (`counted.COUNTED`, and `without_file`: rows whose picture is not there),
    `offers` how many more rows of a table further readings of its keys would find. `remarks` are
    sentences on what was chosen where the columns left it open; no name of a picture or group
    stands in them.
    """

    names: Column
    place: Column = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    labels: Mapping[str, Column] = field(default_factory=dict)
    groups: Column = None
    splits: Column = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    offers: Mapping[str, int] = field(default_factory=dict)
    refused: Column = None
    remarks: tuple[str, ...] = ()

    @property
    def kept(self) -> dict[str, str]:
        """The Arrow type name of each kept column."""
        found = {}
        for name, column in self.columns.items():
            found[name] = str(column.type).replace("double", "float64")
        return found

    @property
    def has_group(self) -> bool:
        """Whether groups are known."""
        return self.groups is not None

    @property
    def has_split(self) -> bool:
        """Whether splits are known."""
        return self.splits is not None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        key = self.names[index].as_py()
        return Sample(
            key=key,
            data=self._data(index, key),
            target=_row(self.labels, index),
            group=self.groups[index].as_py() if self.has_group else None,
            split=self.splits[index].as_py() if self.has_split else None,
            kept=_row(self.columns, index),
        )

    def _data(self, index: int, key: str) -> Data:
        reason = None if self.refused is None else self.refused[index].as_py()
        if reason is not None:
            return Refused(reason)
        place = self._place(index)
        return None if place is None else self.stored(key, place)

    def _place(self, index: int) -> int | None:
        if self.place is not None:
            place: int | None = self.place[index].as_py()
            return place
        return range(len(self))[index]  # counts from the end too, and refuses what is outside

    def known_failures(self) -> Counter[str]:
        """How many samples are known to fail, by reason."""
        reasons: Counter[str] = Counter()
        if self.refused is not None:
            reasons.update(self.refused.drop_null().to_pylist())
        if self.place is not None:
            # A row that is refused may have a picture, or none.
            lost = self.place if self.refused is None else self.place.filter(self.refused.is_null())
            reasons[NOT_THERE] = lost.null_count
        return +reasons  # only what occurs

    @abstractmethod
    def stored(self, key: str, place: int) -> Data:
        """One of the container's pictures."""

    @abstractmethod
    def files(self) -> Iterator[str | Path]:
        """The files that the pictures lie in."""

    def within(self) -> Column:
        """The names by which folders are told: without that of an archive in front."""
        return self.names

    def cells(self, names: Sequence[str]) -> dict[str, Column]:
        """Columns that the container itself has: strings, ordered dictionaries or lists of them, or
        structs of strings.

        Raises UsageError where it has none.
        """
        raise UsageError(
            "columns need a table",
            found=", ".join(names),
            hint="Add --table FILE.csv --key COLUMN, or --label folder if pictures lie in a "
            "folder for each class.",
        )

    def classes(self, name: str) -> tuple[str, ...]:
        """The class names of a column, in order, where the container names them."""
        return ()


def numbered(count: int) -> Column:
    """Names for pictures that have none: their numbers, all of one length.

    >>> numbered(11).to_pylist()[::10]
    ['00', '10']
    """
    import pyarrow.compute as pc

    numbers = pa.array(np.arange(count)).cast(pa.large_string())
    width = len(str(max(count - 1, 0)))
    return pc.utf8_lpad(numbers, width, "0")


def _row(columns: Mapping[str, Column], index: int) -> dict[str, Value]:
    return {name: column[index].as_py() for name, column in columns.items()}
