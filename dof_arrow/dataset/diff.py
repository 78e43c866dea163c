"""How two datasets differ: in their metadata, in which rows they have, and in their values.

Rows meet by id, and by view and frame where both have them, whatever their order. Values are
compared, not how they are stored: another layout, other parts, or another type that holds the same
values is reported, but is no difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.dataset import dataset
from dof_arrow.dataset.column_values import Words, differing
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.format.spec.arrow import element_type, is_vector
from dof_arrow.format.spec.json_diff import Change, changes
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.sampling.blocks import Blocks
from dof_arrow.tables.agreement import STEP, Agreement, Tally
from dof_arrow.tables.join import record_keys, row_names

Array = NDArray[Any]
PathLike = str | os.PathLike[str]

_AT_ONCE = 65_536  # rows of columns that are no vectors, compared at a time
_NAMED = 5  # rows that differ, of which the names are kept
_ABOUT_THE_FILE = ("version", "uuid", "integrity", "parts", "provenance")
_STORED = ("dtype", "layout")
_NOT_MEANT = (*_STORED, "statistics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Some:
    """How many rows of a kind there are, and the names of the first: `id`, or `id/view/frame`."""

    rows: int
    first: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between two datasets.

    - `rows` of each; `both`: rows that are in both; `only`: rows that are in one alone;
    - `reordered`: the rows in both stand in another order;
    - `columns` that only one has; `metadata` that differs;
    - `values`: for each column, rows in both whose values differ, those of features by more than
      `tolerance`; a column without such rows is left out;
    - `features`: how closely each feature column agrees;
    - `stored`: how the rows are stored differently.

    `stored` and `reordered` are reported, but do not make datasets unequal.
    """

    rows: tuple[int, int]
    both: int
    only: tuple[Some, Some]
    reordered: bool
    columns: tuple[Sequence[str], Sequence[str]]
    metadata: Sequence[Change]
    values: Mapping[str, Some]
    features: Mapping[str, Agreement]
    stored: Sequence[Change]
    tolerance: float

    @property
    def equal(self) -> bool:
        """Whether both hold the same rows, columns and metadata."""
        if self.metadata or self.values or any(self.columns):
            return False
        return not any(some.rows for some in self.only)


def diff(a: Dataset | PathLike, b: Dataset | PathLike, *, tolerance: float = 0.0) -> Difference:
    """Compare two datasets, files or directories, in whatever layout, in bounded memory.

    Features differ where a number is off by more than `tolerance` times the largest magnitude of
    its row; float16 agrees with float32 within 0.001. Categories are compared by their names.
    Raises UsageError where several rows have one id, view and frame, and what `open` raises.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from dof_arrow.format.writer import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, ids in (("x.parquet", ["a", "b"]), ("y.parquet", ["b", "c"])):
    ...         with Writer(Path(folder, name)) as w:
    ...             w.write(ids=ids, vectors={"feature": np.eye(2, dtype="f4")})
    ...     found = diff(Path(folder, "x.parquet"), Path(folder, "y.parquet"))
    >>> found.both, found.only[1].first, found.values["feature"].rows
    (1, ['c'], 1)
    """
    left = _opened(a)
    right = _opened(b)
    pairs = _paired(left, right)
    shared = [name for name in left.columns if name in right.columns]
    comparison = _Comparison(left, right, pairs, tolerance)
    for name in shared:
        comparison.compare(name)
    return Difference(
        rows=(len(left), len(right)),
        both=pairs.rows,
        only=pairs.only,
        reordered=pairs.reordered,
        columns=(_others(left, shared), _others(right, shared)),
        metadata=changes(_meaning(left.metadata, shared), _meaning(right.metadata, shared)),
        values=comparison.values,
        features=comparison.features,
        tolerance=tolerance,
        stored=changes(_storage(left.metadata, shared), _storage(right.metadata, shared)),
    )


def _opened(data: Dataset | PathLike) -> Dataset:
    return data if isinstance(data, Dataset) else dataset.open(data)


def _others(data: Dataset, shared: Sequence[str]) -> list[str]:
    return [name for name in data.columns if name not in shared]


class _Pairs(NamedTuple):
    """The rows that are in both: how many, and their places on either side.

    Places are None where all rows are in both, in the same order. `only`: rows of one side alone.
    """

    rows: int
    left: Array | None
    right: Array | None
    only: tuple[Some, Some]

    @property
    def reordered(self) -> bool:
        return self.right is not None and bool((np.diff(self.right) < 0).any())

    def by_blocks(self, ours: Blocks | None, theirs: Blocks | None) -> _Pairs:
        """The same pairs, sorted by the blocks that either side is read in, the left's first.

        Blocks are read whole, so this order reads each of the left's once.
        """
        if self.left is None or self.right is None:
            return self
        # The last key of `lexsort` counts first.
        keys = []
        if theirs is not None:
            keys.append(theirs.of(self.right))
        if ours is not None:
            keys.append(ours.of(self.left))
        if not keys:
            return self
        order = np.lexsort(keys)
        return self._replace(left=self.left[order], right=self.right[order])

    def pieces(self, step: int) -> Iterator[tuple[Array, Array]]:
        """The places of `step` pairs at a time."""
        for start in range(0, self.rows, step):
            rows = np.arange(start, min(start + step, self.rows))
            ours = rows if self.left is None else self.left[rows]
            theirs = rows if self.right is None else self.right[rows]
            yield ours, theirs


class _Comparison:
    """Compares the columns of the rows in both, one column after the other."""

    def __init__(self, left: Dataset, right: Dataset, pairs: _Pairs, tolerance: float) -> None:
        self._left = left
        self._right = right
        self._pairs = pairs
        self._tolerance = tolerance
        keys = record_keys(left.metadata.record, right.metadata.record)
        self._keys = [own for own, _ in keys]
        self.values: dict[str, Some] = {}
        self.features: dict[str, Agreement] = {}

    def compare(self, name: str) -> None:
        """Compare a column that both have; feature columns of different widths are skipped."""
        ours = self._left.schema.field(name)
        theirs = self._right.schema.field(name)
        if not (is_vector(ours) and is_vector(theirs)):
            self._count(name, self._differing_values(name))
        elif ours.type.list_size == theirs.type.list_size:
            self._count(name, self._differing_vectors(name, ours, theirs))

    def _count(self, name: str, found: Iterator[Array]) -> None:
        """Count rows of the left that differ, and keep the names of the first."""
        count = 0
        first = np.empty(0, np.int64)
        for rows in found:
            count += len(rows)
            missing = _NAMED - len(first)
            first = np.concatenate([first, rows[:missing]])
        if count:
            self.values[name] = Some(rows=count, first=_names(self._left.take(first), self._keys))

    def _differing_vectors(self, name: str, ours: pa.Field, theirs: pa.Field) -> Iterator[Array]:
        width = ours.type.list_size
        kind = np.result_type("f4", element_type(ours), element_type(theirs))
        left = self._left.gather(name)
        right = self._right.gather(name)
        step = max(STEP // width, 1)
        buffers = np.empty((2, step, width), kind)
        tally = Tally(self._tolerance)
        for at_left, at_right in self._pairs.by_blocks(left.blocks, right.blocks).pieces(step):
            pieces = buffers[:, : len(at_left)]
            left.fill(at_left, pieces[0])
            right.fill(at_right, pieces[1])
            shares = tally.add(pieces[0], pieces[1])
            yield at_left[shares > self._tolerance]
        self.features[name] = tally.agreement

    def _differing_values(self, name: str) -> Iterator[Array]:
        left = self._left.to_arrow([name]).column(0)
        right = self._right.to_arrow([name]).column(0)
        words = self._words(name)
        for at_left, at_right in self._pairs.pieces(_AT_ONCE):
            mask = differing(_taken(left, at_left), _taken(right, at_right), words)
            yield at_left[mask]

    def _words(self, name: str) -> Words | None:
        """The class names of a target on either side, where its codes do not mean the same."""
        ours = _classes(self._left, name)
        theirs = _classes(self._right, name)
        alike = self._left.schema.field(name).type == self._right.schema.field(name).type
        return None if alike and ours == theirs else (ours, theirs)


def _classes(data: Dataset, name: str) -> Sequence[str]:
    target = data.metadata.targets.get(name)
    return target.classes if target else ()


def _paired(left: Dataset, right: Dataset) -> _Pairs:
    keys = record_keys(left.metadata.record, right.metadata.record)
    own_names = [own for own, _ in keys]
    other_names = [other for _, other in keys]
    ours = left.to_arrow(own_names).columns
    theirs = right.to_arrow(other_names).columns
    if all(_same(a, b) for a, b in zip(ours, theirs, strict=True)):
        none = Some(rows=0, first=[])
        return _Pairs(len(left), None, None, (none, none))
    return _met(_unique(row_names(ours), left), _unique(row_names(theirs), right))


def _same(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> bool:
    return bool(ours.type == theirs.type and ours.equals(theirs))


def _met(ours: pa.Array, theirs: pa.Array) -> _Pairs:
    import pyarrow.compute as pc

    place = pc.index_in(ours, value_set=theirs)
    met = place.is_valid().to_numpy(zero_copy_only=False)
    there = place.drop_null().to_numpy().astype(np.int64)
    alone = np.ones(len(theirs), bool)
    alone[there] = False
    only = (_some(ours, ~met), _some(theirs, alone))
    return _Pairs(len(there), np.flatnonzero(met), there, only)


def _some(names: pa.Array, mask: Array) -> Some:
    rows = np.flatnonzero(mask)
    first = names.take(pa.array(rows[:_NAMED]))
    return Some(rows=len(rows), first=first.to_pylist())


def _unique(names: pa.Array, data: Dataset) -> pa.Array:
    import pyarrow.compute as pc

    if pc.count_distinct(names).as_py() < len(names):
        raise UsageError(
            "rows to compare are not told apart by id, view and frame",
            str(data.path),
            "each once",
            "several rows of one",
            "See which: dof validate --deep",
        )
    return names


def _names(rows: Dataset, keys: Sequence[str]) -> list[str]:
    return list(row_names(rows.to_arrow(keys).columns).to_pylist())


def _taken(column: pa.ChunkedArray, rows: Array) -> pa.Array:
    """Some rows of a column, without a copy where they stand together."""
    if len(rows) and (np.diff(rows) == 1).all():
        some = column.slice(int(rows[0]), len(rows))
    else:
        some = column.take(pa.array(rows))
    return some.combine_chunks()


def _meaning(about: Metadata, shared: Sequence[str]) -> dict[str, Json]:
    """What metadata say of the rows, and of the columns that both sides have."""
    value = dict(to_json(about))
    for name in _ABOUT_THE_FILE:
        value.pop(name, None)
    columns = {}
    for name, column in value["columns"].items():
        if name in shared:
            columns[name] = {fact: column[fact] for fact in column if fact not in _NOT_MEANT}
    value["columns"] = columns
    value["documents"] = None
    value["errors"] = None
    if about.errors:
        value["errors"] = {"rows": about.errors.rows, "sha256": about.errors.sha256}
    for document in about.documents:
        facts = {"media_type": document.media_type, "sha256": document.sha256}
        value[f"documents.{document.name}"] = facts
    return value


def _storage(about: Metadata, shared: Sequence[str]) -> dict[str, Json]:
    """How a file stores its rows, and what wrote it."""
    columns = {}
    for name, column in about.columns.items():
        if name in shared:
            facts = to_json(column)
            columns[name] = {fact: facts[fact] for fact in _STORED if fact in facts}
    provenance = to_json(about.provenance) if about.provenance else {}
    return {
        "columns": columns,
        "parts": len(about.parts) or None,
        "provenance": {name: provenance.get(name) for name in ("generator", "libraries")},
    }
