"""The same picture twice: under two patients, in two splits, or in two datasets."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.dataset import dataset
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.dataset.row_blocks import RowBlocks
from dof_arrow.dataset.similar_pairs import Pairs, similar_pairs
from dof_arrow.dataset.similarity import ALIKE, Strange
from dof_arrow.errors import UsageError
from dof_arrow.format.spec.split_names import standard_or_own
from dof_arrow.tables.join import row_names
from dof_arrow.tables.union import check_comparable

Array = NDArray[Any]
PathLike = str | os.PathLike[str]

_NAMED = 20  # pairs that are named
_STEP = 1 << 12  # rows looked at together


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two rows that are alike: their cosine, and of each its name, group and split, if known.

    `rows` are their numbers in their datasets.
    """

    cosine: float
    rows: tuple[int, int]
    names: tuple[str, str]
    groups: tuple[str | None, str | None]
    splits: tuple[str | None, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """How many pairs of rows are alike, and the worst of them.

    - `rows` of the dataset, or of each of two; `threshold`: the cosine from which on pairs count;
    - `pairs` of so similar rows, of which `equal` have the same vector, number for number;
    - `across_groups`, `across_splits`: those of two groups, of two splits; None where the rows have
      none;
    - `first`: the worst, those across splits or groups before others, then by their cosine.

    Views and frames of one record are not compared with one another.
    """

    rows: Sequence[int]
    threshold: float
    pairs: int
    equal: int
    across_groups: int | None
    across_splits: int | None
    first: Sequence[Pair]

    @property
    def found(self) -> bool:
        """Whether there are pairs where none should be: across groups, splits or datasets."""
        if len(self.rows) == 2:
            return self.pairs > 0
        return bool(self.across_groups or self.across_splits)


def duplicates(
    a: Dataset | PathLike,
    b: Dataset | PathLike | None = None,
    *,
    threshold: float = ALIKE,
    name: str | None = None,
    each: Callable[[Sequence[Pair]], None] | None = None,
) -> Duplicates:
    """Compare every row with every other one, or with every row of a second dataset.

    All pairs are compared, in bounded memory; `each` is given those that are found, some at a time.
    `name` is the feature column, by default the primary one. Raises UsageError for a threshold
    outside 0 to 1 and for datasets of different cores, FormatError for rows that are not finite.
    """
    if not 0 < threshold <= 1:
        raise UsageError("no such threshold", "", "a cosine above 0, up to 1", f"{threshold:g}")
    sides = [_opened(each_side) for each_side in (a, b) if each_side is not None]
    if len(sides) == 2:
        check_comparable(sides[0].table, sides[1].table, name)
    blocks = [RowBlocks(side, name) for side in sides]
    for side, rows in zip(sides, blocks, strict=True):
        _refuse_strange(side, rows)
    rows_of = _Rows(sides)
    tally = _Tally(rows_of)
    others = blocks[1] if len(blocks) == 2 else None
    for pairs in similar_pairs(blocks[0], others, threshold):
        counted = rows_of.counted(pairs)
        tally.add(counted)
        if each is not None and len(counted):
            each(rows_of.named(counted))
    return Duplicates(
        rows=[side.rows for side in blocks],
        threshold=threshold,
        pairs=tally.pairs,
        equal=tally.equal,
        across_groups=tally.across["group"],
        across_splits=tally.across["split"],
        first=rows_of.named(tally.worst),
    )


def _opened(data: Dataset | PathLike) -> Dataset:
    return data if isinstance(data, Dataset) else dataset.open(data)


def _refuse_strange(side: Dataset, blocks: RowBlocks) -> None:
    strange = Strange(str(side.path))
    for numbers, values in blocks.blocks(_STEP):
        strange.finite(numbers, values)
    strange.refuse()


class _Rows:
    """What is known of the rows of one dataset or two: their names, groups and splits."""

    def __init__(self, sides: Sequence[Dataset]) -> None:
        self._alone = len(sides) == 1
        self._names = [_names(side) for side in sides]
        self._records = _Texts(sides, "id")
        self._texts = {"group": _Texts(sides, "group"), "split": _Texts(sides, "split")}

    def counted(self, pairs: Pairs) -> Pairs:
        """Pairs of one dataset: the lower row first, none of views or frames of one record."""
        if not self._alone:
            return pairs
        # Rows that are decoded in whole groups need not come in their own order.
        left = np.minimum(pairs.left, pairs.right)
        right = np.maximum(pairs.left, pairs.right)
        pairs = Pairs(left, right, pairs.cosines, pairs.equal)
        ours, theirs = self._records.codes(pairs)
        return pairs.where(ours != theirs)

    def across(self, role: str, pairs: Pairs) -> Array | None:
        """Which pairs have two groups or two splits; None where either side has none at all."""
        texts = self._texts[role]
        if not texts.known:
            return None
        ours, theirs = texts.codes(pairs)
        return np.asarray((ours != theirs) & (ours >= 0) & (theirs >= 0))

    def named(self, pairs: Pairs) -> list[Pair]:
        """The pairs, with what their rows are called."""
        ours = self._names[0].take(pa.array(pairs.left)).to_pylist()
        theirs = self._names[-1].take(pa.array(pairs.right)).to_pylist()
        groups = self._texts["group"].of(pairs)
        splits = self._texts["split"].of(pairs)
        found = []
        for place, cosine in enumerate(pairs.cosines.tolist()):
            names = (ours[place], theirs[place])
            pair = Pair(
                cosine=cosine,
                rows=(int(pairs.left[place]), int(pairs.right[place])),
                names=names,
                groups=groups[place],
                splits=splits[place],
            )
            found.append(pair)
        return found


class _Texts:
    """A column of texts of both sides, by its role: equal codes where texts are, -1 for none."""

    def __init__(self, sides: Sequence[Dataset], role: str) -> None:
        self.known = True
        chunks = []
        for side in sides:
            column = _column(side, role)
            if column is None:
                self.known = False
                column = pa.nulls(len(side), pa.large_string())
            chunks.append(column)
        texts = pa.chunked_array(chunks).combine_chunks()
        encoded = texts.dictionary_encode()
        words = encoded.dictionary.to_pylist()
        indices = encoded.indices.fill_null(-1)
        codes = np.asarray(indices.to_numpy(), np.int64)
        if role == "split":  # all spellings of one split are one
            words, codes = _standard(words, codes)
        self._words = words
        self._left = codes[: len(sides[0])]
        self._right = codes[-len(sides[-1]) :]

    def codes(self, pairs: Pairs) -> tuple[Array, Array]:
        """Codes int64 [n] of the rows on either side."""
        return self._left[pairs.left], self._right[pairs.right]

    def of(self, pairs: Pairs) -> list[tuple[str | None, str | None]]:
        """The texts on either side."""
        ours, theirs = self.codes(pairs)
        words = [*self._words, None]  # which the code -1 leads to
        both = zip(ours.tolist(), theirs.tolist(), strict=True)
        return [(words[left], words[right]) for left, right in both]


def _standard(words: Sequence[str], codes: Array) -> tuple[list[str], Array]:
    plain = [standard_or_own(word) for word in words]
    names = sorted(set(plain))
    places = np.array([*(names.index(word) for word in plain), -1])
    return names, places[codes]


def _column(side: Dataset, role: str) -> pa.Array | None:
    name = getattr(side.metadata.record, role)
    if name is None or name not in side.columns:
        return None
    column = side.to_arrow([name]).column(0).cast(pa.large_string())
    return column.combine_chunks()


def _names(side: Dataset) -> pa.Array:
    """One text a row: its id, with view and frame where there are such."""
    record = side.metadata.record
    keys = [name for name in (record.id, record.view, record.frame) if name in side.columns]
    return row_names(side.to_arrow(keys).columns)


class _Tally:
    """Counts pairs as they come, and keeps the worst."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows
        self.pairs = 0
        self.equal = 0
        no_rows = np.empty(0, np.int64)
        self.worst = Pairs(no_rows, no_rows, np.empty(0), np.empty(0, bool))
        self.across: dict[str, int | None] = {}
        for role in ("group", "split"):
            known = rows.across(role, self.worst) is not None
            self.across[role] = 0 if known else None

    def add(self, pairs: Pairs) -> None:
        """Count some pairs."""
        self.pairs += len(pairs)
        self.equal += int(np.count_nonzero(pairs.equal))
        for role, before in self.across.items():
            crossing = self._rows.across(role, pairs)
            if before is not None and crossing is not None:
                self.across[role] = before + int(np.count_nonzero(crossing))
        self.worst = self._first(_joined(self.worst, pairs))

    def _first(self, pairs: Pairs) -> Pairs:
        """The worst pairs, in an order that does not depend on how they came."""
        crossing = np.zeros(len(pairs), bool)
        for role in self.across:
            mask = self._rows.across(role, pairs)
            if mask is not None:
                crossing |= mask
        order = np.lexsort((pairs.right, pairs.left, -pairs.cosines, ~crossing))
        return pairs.where(order[:_NAMED])


def _joined(ours: Pairs, theirs: Pairs) -> Pairs:
    return Pairs(
        np.concatenate([ours.left, theirs.left]),
        np.concatenate([ours.right, theirs.right]),
        np.concatenate([ours.cosines, theirs.cosines]),
        np.concatenate([ours.equal, theirs.equal]),
    )
