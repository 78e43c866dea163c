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
from dof_arrow.media.segment import Bounds
from dof_arrow.sources.sample import NOT_THERE, ClipPart, Column, Data, Refused, Sample, Value

SEGMENT = "#t="  # between a clip and the bounds of a segment, as in a W3C media fragment


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listing(ABC):
    """Named pictures in some container, with what is known of them, all as Arrow arrays.

    It is a `Source`. `place` says which of the container's pictures each sample is, null where
    there is none; None: each its own number. `refused` says why a sample cannot be used, null where
    nothing is known against it. Samples of either kind fail to load. `bounds` says which segment of
    its clip each sample is (`sources.segments`); None: all of it. `counts` says what became of
    files and rows (`counted.COUNTED`, and `without_file`: rows whose picture is not there),
    `offers` how many more rows of a table further readings of its keys would find. `remarks` are
    sentences on what was chosen where the columns left it open; no name of a picture or group
    stands in them. `united_groups` gives, for each group that others were joined to because they
    share a picture, the names of all of them.
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
    bounds: Column = None
    united_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def keys(self) -> Column:
        """The samples' own names: with its bounds behind it where a sample is a segment."""
        import pyarrow.compute as pc

        if self.bounds is None:
            return self.names
        return pc.binary_join_element_wise(
            self.names, self.bounds, pa.scalar(SEGMENT, self.names.type)
        )

    @property
    def stored_names(self) -> Column:
        """The names in the container, each once."""
        return self.names if self.bounds is None else self.names.unique()

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
        name = self.names[index].as_py()
        return Sample(
            key=name if self.bounds is None else f"{name}{SEGMENT}{self.bounds[index]}",
            data=self._data(index, name),
            target=_row(self.labels, index),
            group=self.groups[index].as_py() if self.has_group else None,
            split=self.splits[index].as_py() if self.has_split else None,
            kept=_row(self.columns, index),
        )

    def _data(self, index: int, name: str) -> Data:
        reason = None if self.refused is None else self.refused[index].as_py()
        if reason is not None:
            return Refused(reason)
        place = self._place(index)
        if place is None:
            return None
        stored = self.stored(name, place)
        if self.bounds is None:
            return stored
        return ClipPart(stored, Bounds.parse(self.bounds[index].as_py()))

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
            reasons[NOT_THERE] = self._lost()
        return +reasons  # only what occurs

    def _lost(self) -> int:
        """How many samples are not there, of those that nothing else is known against."""
        import pyarrow.compute as pc

        lost = self.place.is_null()
        if self.refused is not None:
            lost = pc.and_(lost, self.refused.is_null())
        return int(lost.true_count)

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
