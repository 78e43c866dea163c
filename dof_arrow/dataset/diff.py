"""What differs between two datasets: what they say of themselves, which rows they have, what those rows hold.

Rows meet by id, and by view and frame where both have them, in whatever order they stand. Values are compared, not the
way they are stored: layout, parts, and types that hold the same values are told, but are no difference.
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
from dof_arrow.dataset.agreement import STEP, Agreement, Tally
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from dof_arrow.format.spec.arrow import element_type, holds_texts, is_vector
from dof_arrow.format.spec.json_diff import Change, changes
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import Metadata
from dof_arrow.tables.join import record_keys, row_names

Array = NDArray[Any]
Mask = NDArray[Any]
Words = tuple[Sequence[str], Sequence[str]]
PathLike = str | os.PathLike[str]

_AT_ONCE = 65_536  # rows of flat columns compared at a time
_NAMED = 5
_OWN = (
    "version",
    "uuid",
    "integrity",
    "parts",
    "provenance",
)  # what a file says of itself, not of its rows
_STORED = ("dtype", "layout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Some:
    """How many rows there are of a kind, and what the first met are called: `id`, or `id/view/frame`."""

    rows: int
    first: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between two datasets.

    `rows` of each, `both` of them in both, `only` in one; `reordered`: those in both stand in another order. `columns`
    that only one has, `metadata` that differs. `values`: for each other column, and for each of features, rows in both
    that differ, of features by more than `tolerance`; columns without such rows are left out. `features` says how
    closely each of them agrees. `stored`, and the order of rows, are told but are no differences.
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
        return not (
            self.metadata
            or self.values
            or any(self.columns)
            or any(some.rows for some in self.only)
        )


def diff(a: Dataset | PathLike, b: Dataset | PathLike, *, tolerance: float = 0.0) -> Difference:
    """Compare two datasets, files or directories, in whatever layout, in bounded memory.

    Features differ where a number is off by more than `tolerance` times the largest magnitude of its row; float16 is
    the same as float32 within 0.001. Categories are compared by their names. Raises UsageError where several rows have
    one id, view and frame, and what `open` raises.

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
    left, right = (each if isinstance(each, Dataset) else dataset.open(each) for each in (a, b))
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
        columns=tuple([n for n in each.columns if n not in shared] for each in (left, right)),  # type: ignore[arg-type]
        metadata=changes(_meaning(left.metadata, shared), _meaning(right.metadata, shared)),
        values=comparison.values,
        features=comparison.features,
        tolerance=tolerance,
        stored=changes(_storage(left.metadata, shared), _storage(right.metadata, shared)),
    )


class _Pairs(NamedTuple):
    """How many rows are in both, their places on either side (None: all, in order); rows of either side alone."""

    rows: int
    left: Array | None
    right: Array | None
    only: tuple[Some, Some]

    @property
    def reordered(self) -> bool:
        return self.right is not None and bool((np.diff(self.right) < 0).any())

    def by_blocks(self, ours: Array | None, theirs: Array | None) -> _Pairs:
        """The same pairs in an order in which rows that are only read in whole blocks have theirs read seldom."""
        if self.left is None or self.right is None or (ours is None and theirs is None):
            return self
        sides = ((theirs, self.right), (ours, self.left))  # the last counts first
        order = np.lexsort([blocks[at] for blocks, at in sides if blocks is not None])
        return self._replace(left=self.left[order], right=self.right[order])

    def pieces(self, step: int) -> Iterator[tuple[Array, Array]]:
        """Their places, `step` pairs at a time."""
        for start in range(0, self.rows, step):
            rows = np.arange(start, min(start + step, self.rows))
            yield tuple(rows if at is None else at[rows] for at in (self.left, self.right))  # type: ignore[misc]


class _Comparison:
    """Compares the columns of rows in both, one after the other."""

    def __init__(self, left: Dataset, right: Dataset, pairs: _Pairs, tolerance: float) -> None:
        self._left, self._right, self._pairs, self._tolerance = left, right, pairs, tolerance
        self._keys = [pair[0] for pair in record_keys(left.metadata.record, right.metadata.record)]
        self.values: dict[str, Some] = {}
        self.features: dict[str, Agreement] = {}

    def compare(self, name: str) -> None:
        """Compare one column that both have; features of other widths are no numbers to compare."""
        fields = [each.schema.field(name) for each in (self._left, self._right)]
        if not all(map(is_vector, fields)):
            self._count(name, self._values(name))
        elif fields[0].type.list_size == fields[1].type.list_size:
            self._count(name, self._vectors(name, [element_type(field) for field in fields]))

    def _count(self, name: str, found: Iterator[Array]) -> None:
        """Count rows of the left that differ, and keep the first of them."""
        count, first = 0, np.empty(0, np.int64)
        for rows in found:
            count += len(rows)
            first = np.concatenate([first, rows[: _NAMED - len(first)]])
        if count:
            self.values[name] = Some(rows=count, first=_names(self._left.take(first), self._keys))

    def _vectors(self, name: str, types: Sequence[str]) -> Iterator[Array]:
        width, kind = self._left.schema.field(name).type.list_size, np.result_type("f4", *types)
        sides = [self._left.gather(name), self._right.gather(name)]
        buffers = np.empty((2, max(STEP // width, 1), width), kind)
        tally = Tally(self._tolerance)
        for places in self._pairs.by_blocks(sides[0].blocks, sides[1].blocks).pieces(
            buffers.shape[1]
        ):
            parts = [buffer[: len(places[0])] for buffer in buffers]
            for side, rows, part in zip(sides, places, parts, strict=True):
                side.fill(rows, part)
            yield places[0][tally.add(*parts) > self._tolerance]
        self.features[name] = tally.agreement

    def _values(self, name: str) -> Iterator[Array]:
        sides = [each.to_arrow([name]).column(0) for each in (self._left, self._right)]
        targets = [each.metadata.targets.get(name) for each in (self._left, self._right)]
        classes = [target.classes if target else () for target in targets]
        words = None if classes[0] == classes[1] else (classes[0], classes[1])
        for places in self._pairs.pieces(_AT_ONCE):
            ours, theirs = (_taken(side, rows) for side, rows in zip(sides, places, strict=True))
            yield places[0][differing(ours, theirs, words)]


def _paired(left: Dataset, right: Dataset) -> _Pairs:
    keys = record_keys(left.metadata.record, right.metadata.record)
    names = [[pair[side] for pair in keys] for side in (0, 1)]
    ours, theirs = (
        each.to_arrow(own).columns for each, own in zip((left, right), names, strict=True)
    )
    none = Some(rows=0, first=[])
    if all(a.type == b.type and a.equals(b) for a, b in zip(ours, theirs, strict=True)):
        return _Pairs(len(left), None, None, (none, none))
    return _met(
        *(_unique(row_names(columns), each) for columns, each in ((ours, left), (theirs, right)))
    )


def _met(ours: pa.Array, theirs: pa.Array) -> _Pairs:
    import pyarrow.compute as pc

    place = pc.index_in(ours, value_set=theirs)
    here = place.is_valid().to_numpy(zero_copy_only=False)
    there = place.drop_null().to_numpy().astype(np.int64)
    alone = np.ones(len(theirs), bool)
    alone[there] = False
    return _Pairs(
        len(there), np.flatnonzero(here), there, (_some(ours, ~here), _some(theirs, alone))
    )


def _some(names: pa.Array, mask: Array) -> Some:
    rows = np.flatnonzero(mask)
    return Some(rows=len(rows), first=names.take(pa.array(rows[:_NAMED])).to_pylist())


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
    together = len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all()
    some = column.slice(int(rows[0]), len(rows)) if together else column.take(pa.array(rows))
    return some.combine_chunks()


def _meaning(about: Metadata, shared: Sequence[str]) -> dict[str, Json]:
    """What metadata say of the rows, of the columns that both sides have."""
    value = {name: item for name, item in to_json(about).items() if name not in _OWN}
    value["columns"] = {
        name: {k: v for k, v in column.items() if k not in (*_STORED, "statistics")}
        for name, column in value["columns"].items()
        if name in shared
    }
    attached = {
        f"documents.{d.name}": {"media_type": d.media_type, "sha256": d.sha256}
        for d in about.documents
    }
    errors = {"rows": about.errors.rows, "sha256": about.errors.sha256} if about.errors else None
    return {**value, "documents": None, "errors": errors, **attached}


def _storage(about: Metadata, shared: Sequence[str]) -> dict[str, Json]:
    """How a file stores its rows, and what wrote it."""
    columns = {
        name: {k: v for k, v in to_json(column).items() if k in _STORED}
        for name, column in about.columns.items()
        if name in shared
    }
    provenance = to_json(about.provenance) if about.provenance else {}
    return {
        "columns": columns,
        "parts": len(about.parts) or None,
        "provenance": {k: provenance.get(k) for k in ("generator", "libraries")},
    }


def differing(ours: Any, theirs: Any, words: Words | None = None) -> Mask:
    """Which rows differ, bool [n]; NaN equals NaN, a missing value only a missing one.

    Numbers of other types, and texts, are equal if their values are; lists and structs if all in them are. `words`:
    integers are codes of these names on either side, and the names are compared.

    >>> differing(pa.array([1, 2, None]), pa.array([1.0, 2.5, 3.0])).tolist()
    [False, True, True]
    >>> differing(pa.array([[1], [1, 2]]), pa.array([[1], [1, 3]])).tolist()
    [False, True]
    >>> differing(pa.array([0, 1]), pa.array([1, 1]), (["cat", "dog"], ["ant", "cat"])).tolist()
    [False, True]
    """
    ours, theirs = _plain(ours), _plain(theirs)
    mask: Mask = _numpy(ours.is_valid()) != _numpy(theirs.is_valid())
    if _is_list(ours.type) and _is_list(theirs.type):
        return mask | _lists(ours, theirs, words)
    if pa.types.is_struct(ours.type) and pa.types.is_struct(theirs.type):
        return mask | _structs(ours, theirs, words)
    if words:
        ours, theirs = _named(ours, words[0]), _named(theirs, words[1])
    return mask | _leaves(ours, theirs)


def _lists(ours: pa.Array, theirs: pa.Array, words: Words | None) -> Mask:
    import pyarrow.compute as pc

    lengths, others = (_numpy(pc.list_value_length(side).fill_null(0)) for side in (ours, theirs))
    mask: Mask = lengths != others
    alike = ~mask & (lengths > 0) & _numpy(ours.is_valid()) & _numpy(theirs.is_valid())
    inner = differing(
        ours.filter(pa.array(alike)).flatten(), theirs.filter(pa.array(alike)).flatten(), words
    )
    mask[np.repeat(np.flatnonzero(alike), lengths[alike])[inner]] = True
    return mask


def _structs(ours: pa.Array, theirs: pa.Array, words: Words | None) -> Mask:
    left, right = (
        dict(zip((f.name for f in side.type), side.flatten(), strict=True))
        for side in (ours, theirs)
    )
    mask, none = np.zeros(len(ours), bool), pa.nulls(len(ours))
    for name in {**left, **right}:
        mask |= differing(left.get(name, none), right.get(name, none), words)
    return mask


def _leaves(ours: pa.Array, theirs: pa.Array) -> Mask:
    """Rows that both have, and that differ."""
    import pyarrow.compute as pc

    if ours.type != theirs.type:
        try:
            ours, theirs = (side.cast(_common(ours.type, theirs.type)) for side in (ours, theirs))
        except (pa.ArrowException, NotImplementedError):
            return _numpy(ours.is_valid()) & _numpy(theirs.is_valid())
    if pa.types.is_null(ours.type):
        return np.zeros(len(ours), bool)
    mask: Mask = _numpy(pc.not_equal(ours, theirs).fill_null(False))
    if pa.types.is_floating(ours.type):
        mask &= ~(
            _numpy(pc.is_nan(ours).fill_null(False)) & _numpy(pc.is_nan(theirs).fill_null(False))
        )
    return mask


def _common(ours: pa.DataType, theirs: pa.DataType) -> pa.DataType:
    """A type that holds the values of both."""
    if pa.types.is_null(ours) or pa.types.is_null(theirs):
        return theirs if pa.types.is_null(ours) else ours
    if all(map(holds_texts, (ours, theirs))):
        return pa.large_string()
    return pa.from_numpy_dtype(np.result_type(ours.to_pandas_dtype(), theirs.to_pandas_dtype()))


def _named(codes: pa.Array, names: Sequence[str]) -> pa.Array:
    """Codes as the names that they stand for; what stands for none is missing."""
    import pyarrow.compute as pc

    if not names or not pa.types.is_integer(codes.type):
        return codes
    known = pc.and_(pc.greater_equal(codes, 0), pc.less(codes, len(names)))
    return pa.array(names, pa.string()).take(pc.if_else(known, codes, pa.scalar(None, codes.type)))


def _plain(array: pa.Array) -> pa.Array:
    """Without dictionary; maps as the lists of pairs that they are."""
    kind = array.type
    if pa.types.is_map(kind):
        return array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    return array.dictionary_decode() if pa.types.is_dictionary(kind) else array


def _is_list(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    )


def _numpy(array: Any) -> Mask:
    return np.asarray(array.to_numpy(zero_copy_only=False))
