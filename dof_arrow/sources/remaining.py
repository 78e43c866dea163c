"""Some inputs of a source, as a source: those that are not known yet, say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Column, Sample, Source


def only(source: Source, inputs: Sequence[int]) -> Source:
    """These inputs of a source, by number, in this order.

    Its targets, and what it says of groups that were joined, are those of the whole.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from dof_arrow.sources.folder import in_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.png", "b.png", "c.png"):
    ...         _ = Path(folder, name).write_bytes(b"")
    ...     only(in_folder(Path(folder)), [2, 0])[0].key
    'c.png'
    """
    if not isinstance(source, Listing):
        return _Some(source, tuple(inputs))
    places = pa.array(inputs, pa.int64())
    return replace(
        source,
        names=source.names.take(places),
        place=places if source.place is None else source.place.take(places),
        labels=_taken(source.labels, places),
        groups=_some(source.groups, places),
        splits=_some(source.splits, places),
        columns=_taken(source.columns, places),
        refused=_some(source.refused, places),
        bounds=_some(source.bounds, places),
    )


def _taken(columns: Mapping[str, Column], places: Column) -> dict[str, Column]:
    return {name: column.take(places) for name, column in columns.items()}


def _some(column: Column, places: Column) -> Column:
    return None if column is None else column.take(places)


@dataclass(frozen=True, slots=True)
class _Some:
    """Some inputs of a source that somebody else wrote."""

    source: Source
    inputs: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Sample:
        return self.source[self.inputs[index]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)
