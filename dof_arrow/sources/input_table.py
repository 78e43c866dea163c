"""All that is known of a run's inputs before any of them is read, as Arrow columns.

A million inputs cost what their text costs; a `Sample` of each would cost fifty times that, and ten seconds.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow.format.spec.arrow import holds_texts
from dof_arrow.format.spec.metadata import Target
from dof_arrow.sources.folder import Files
from dof_arrow.sources.listing import Listing
from dof_arrow.sources.sample import Source

Column = Any  # pyarrow.Array, which comes without types

_AT_ONCE = 65_536
_TYPES = {"category": pa.int64(), "regression": pa.float64(), "multilabel": pa.list_(pa.int64())}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roster:
    """A row for each input: its own name, its targets, its group and split if there are any, its kept columns.

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

    @classmethod
    def of(cls, source: Source) -> Roster:
        """What a source knows; the columns of a `Listing` are taken as they are."""
        if isinstance(source, Listing):
            return cls(
                keys=source.names,
                targets=source.labels,
                groups=source.groups,
                splits=source.splits,
                kept=source.columns,
            )
        return cls(
            keys=_gathered(source, lambda s: s.key, pa.large_string()),
            targets={
                n: _gathered(source, _entry("target", n), target_type(t))
                for n, t in source.targets.items()
            },
            groups=_gathered(source, lambda s: s.group, pa.string()) if source.has_group else None,
            splits=_gathered(source, lambda s: s.split, pa.string()) if source.has_split else None,
            kept={
                n: _gathered(source, _entry("kept", n), pa.type_for_alias(t))
                for n, t in source.kept.items()
            },
        )

    def digest(self, key: bytes) -> str:
        """A keyed digest of everything here: only who has the key can make or recognise it."""
        state = hmac.new(key, digestmod="sha256")
        for name, column in self._columns():
            state.update(repr((name, len(column))).encode())
            for start in range(0, len(column), _AT_ONCE):
                state.update(_plainly(column.slice(start, _AT_ONCE)))
        return state.hexdigest()

    def _columns(self) -> Iterator[tuple[tuple[str, str], Column]]:
        given = {"key": self.keys, "group": self.groups, "split": self.splits}
        yield from ((("", name), column) for name, column in given.items() if column is not None)
        yield from ((("target", name), column) for name, column in self.targets.items())
        yield from ((("kept", name), column) for name, column in self.kept.items())


def _plainly(column: Column) -> Any:
    """Bytes that are equal where the values are, whichever types their sources give them in."""
    if pa.types.is_signed_integer(column.type):
        missing, values = column.is_null(), column.fill_null(0).cast(pa.int64())
        return missing.to_numpy(zero_copy_only=False).tobytes() + values.to_numpy().tobytes()
    if not holds_texts(column.type):
        return repr(column.to_pylist()).encode()
    whole = pa.concat_arrays([column]).cast(pa.large_string())  # without what lies around a slice
    return pa.record_batch([whole], ["value"]).serialize()


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


def size(source: Source) -> int | None:
    """Bytes of all pictures, where each is a file of its own."""
    return sum(status.st_size for status in files(source)) if isinstance(source, Files) else None


def _paths(source: Source) -> Iterator[str | Path]:
    if isinstance(source, Listing):
        return iter(source.files())
    return (data for i in range(len(source)) if isinstance(data := source[i].data, Path))


def _gathered(source: Source, value: Callable[[Any], Any], kind: pa.DataType) -> Column:
    values = (value(source[i]) for i in range(len(source)))
    parts = [pa.array([], kind)]
    while batch := list(islice(values, _AT_ONCE)):
        parts.append(pa.array(batch, kind))
    return pa.concat_arrays(parts)


def _entry(where: str, name: str) -> Callable[[Any], Any]:
    return lambda sample: getattr(sample, where).get(name)
