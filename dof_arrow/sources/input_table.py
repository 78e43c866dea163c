"""All that is known of a run's inputs before any of them is read, as Arrow columns.

A million inputs cost what their text costs; a `Sample` of each would cost fifty times that, and ten
seconds.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow.format.spec.arrow import holds_texts
from dof_arrow.format.spec.metadata import Target
from dof_arrow.format.spec.split_names import standardised
from dof_arrow.media.segment import Bounds
from dof_arrow.sources.folder import Files
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Column, Sample, Source

_AT_ONCE = 65_536
_TYPES = {
    "category": pa.int64(),
    "regression": pa.float64(),
    "multilabel": pa.list_(pa.int64()),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roster:
    """A row for each input: its name, its targets, its group and split if any, its kept columns.

    >>> from dof_arrow.sources.sample import Sample
    >>> class Two:
    ...     targets, kept, has_group, has_split = {}, {"age": "int64"}, False, False
    ...     def __len__(self): return 2
    ...     def __getitem__(self, i): return Sample(key=f"{i}.png", data=b"", kept={"age": 40 + i})
    >>> Roster.of(Two()).kept["age"].to_pylist()
    [40, 41]
    """

    keys: Column
    targets: Mapping[str, Column] = field(default_factory=dict)
    groups: Column = None
    splits: Column = None
    kept: Mapping[str, Column] = field(default_factory=dict)
    refused: Column = None

    @classmethod
    def of(cls, source: Source) -> Roster:
        """What a source knows; the columns of a `Listing` are taken as they are."""
        if isinstance(source, Listing):
            return cls(
                keys=source.keys,
                targets=source.labels,
                groups=source.groups,
                splits=source.splits,
                kept=source.columns,
                refused=source.refused,
            )
        return _gathered(source)

    def digest(self, key: bytes) -> str:
        """A keyed digest of everything here: only who has the key can make or recognise it."""
        state = hmac.new(key, digestmod="sha256")
        for name, column in self._columns():
            state.update(repr((name, len(column))).encode())
            for start in range(0, len(column), _AT_ONCE):
                state.update(_plainly(column.slice(start, _AT_ONCE)))
        return state.hexdigest()

    def _columns(self) -> Iterator[tuple[tuple[str, str], Column]]:
        given = {
            "key": self.keys,
            "group": self.groups,
            "split": self.splits,
            "refused": self.refused,
        }
        for name, column in given.items():
            if column is not None:
                yield ("", name), column
        for name, column in self.targets.items():
            yield ("target", name), column
        for name, column in self.kept.items():
            yield ("kept", name), column


def at_site(keys: Column, site: str | None) -> Column:
    """Names of inputs with that of the site in front, so that two sites may have equal ones.

    >>> at_site(pa.array(["train/1.png"]), "north").to_pylist()
    ['north/train/1.png']
    """
    import pyarrow.compute as pc

    if site is None:
        return keys
    return pc.binary_join_element_wise(pa.scalar(site, keys.type), keys, pa.scalar("/", keys.type))


def target_type(target: Target) -> pa.DataType:
    """The Arrow type of a target's column."""
    return _TYPES[target.kind]


def files(source: Source) -> Iterator[os.stat_result]:
    """The state of each file that inputs lie in, if it is there."""
    for path in _paths(source):
        try:
            yield os.stat(path)
        except OSError:
            continue


def are_segments(source: Source) -> bool:
    """Whether a source's inputs are segments of clips."""
    return isinstance(source, Listing) and source.bounds is not None


def spans(source: Source) -> dict[str, Column]:
    """Where each segment starts and ends, float64 seconds of its clip; no columns where inputs are
    whole clips or pictures.

    A segment that ends with its clip has no end, one whose times cannot be read has neither.
    """
    if not (isinstance(source, Listing) and source.bounds is not None):
        return {}
    found: list[tuple[float | None, float | None]] = []
    for text in source.bounds.to_pylist():
        try:
            bounds = Bounds.parse(text)
        except ValueError:
            found.append((None, None))
            continue
        stop = None if bounds.stop is None else float(bounds.stop)
        found.append((float(bounds.start), stop))
    starts, ends = zip(*found, strict=True) if found else ((), ())
    return {"start": pa.array(starts, pa.float64()), "end": pa.array(ends, pa.float64())}


def sizes(source: Source, inputs: range | None = None) -> Iterator[tuple[str, int]] | None:
    """Name and bytes of the file of each input, or of some; None where inputs are not files.

    A clip of several segments counts once, with the first of them. A missing file has no size.
    """
    return _sizes(source, inputs) if isinstance(source, Files) else None


def _sizes(source: Files, inputs: range | None) -> Iterator[tuple[str, int]]:
    wanted = range(len(source)) if inputs is None else inputs
    seen = set(_names(source, range(wanted.start))) if source.bounds is not None else set()
    for name in _names(source, wanted):
        if source.bounds is not None:
            if name in seen:
                continue
            seen.add(name)
        with suppress(OSError):
            yield name, os.stat(f"{source.root}/{name}").st_size


def _names(source: Files, inputs: range) -> Iterator[str]:
    for start in range(inputs.start, inputs.stop, _AT_ONCE):
        length = min(_AT_ONCE, inputs.stop - start)
        yield from source.names.slice(start, length).to_pylist()


def _plainly(column: Column) -> Any:
    """Bytes that are equal where the values are, whichever types their sources give them in."""
    if pa.types.is_signed_integer(column.type):
        missing = column.is_null().to_numpy(zero_copy_only=False)
        values = column.fill_null(0).cast(pa.int64()).to_numpy()
        return missing.tobytes() + values.tobytes()
    # Integers are compared as int64 and texts as large strings: a source in memory and one of
    # files give them in other types.
    if not holds_texts(column.type):
        return repr(column.to_pylist()).encode()
    whole = pa.concat_arrays([column]).cast(pa.large_string())  # without what lies around a slice
    return pa.record_batch([whole], ["value"]).serialize()


def _paths(source: Source) -> Iterator[str | Path]:
    if isinstance(source, Listing):
        yield from source.files()
        return
    for sample in _samples(source):
        if isinstance(sample.data, Path):
            yield sample.data


def _gathered(source: Source) -> Roster:
    """What the samples of a source say, each asked for once a column."""
    targets = {}
    for name, target in source.targets.items():
        kind = target_type(target)
        targets[name] = _column(source, _entry("target", name), kind)
    kept = {}
    for name, alias in source.kept.items():
        kind = pa.type_for_alias(alias)
        kept[name] = _column(source, _entry("kept", name), kind)
    groups = splits = None
    if source.has_group:
        groups = _column(source, _attribute("group"), pa.string())
    if source.has_split:
        splits = standardised(_column(source, _attribute("split"), pa.string()))
    keys = _column(source, _attribute("key"), pa.large_string())
    return Roster(keys=keys, targets=targets, groups=groups, splits=splits, kept=kept)


def _column(source: Source, value: Callable[[Sample], Any], kind: pa.DataType) -> Column:
    values = map(value, _samples(source))
    parts = [pa.array([], kind)]
    while batch := list(islice(values, _AT_ONCE)):
        parts.append(pa.array(batch, kind))
    return pa.concat_arrays(parts)


def _samples(source: Source) -> Iterator[Sample]:
    for index in range(len(source)):
        yield source[index]


def _attribute(name: str) -> Callable[[Sample], Any]:
    return lambda sample: getattr(sample, name)


def _entry(where: str, name: str) -> Callable[[Sample], Any]:
    return lambda sample: getattr(sample, where).get(name)
