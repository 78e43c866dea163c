"""The nearest rows of given vectors, found exactly: every row is compared, no index is kept.

A product of float32 matrices over a block of rows chooses candidates: all rows that may be among
the nearest, given how far such a product can be off. Those alone are compared in float64, which
decides. So the answer is that of a comparison of every pair in float64, whatever the blocks are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.dataset.row_blocks import RowBlocks, row_blocks
from dof_arrow.dataset.selected_rows import SelectedRows
from dof_arrow.dataset.similarity import (
    Strange,
    in_parts,
    known_metric,
    rounding,
    within_reach,
)
from dof_arrow.errors import UsageError, few
from dof_arrow.tables.union import check_comparable

Array = NDArray[Any]

_BLOCK = 1 << 22  # bytes of rows at a time
_PRODUCTS = 1 << 20  # products of rows with queries at a time
_QUERIES = 1 << 24  # bytes of queries, in float64, that go through the rows together
_MOST_QUERIES = 512
_MANY = 4  # times the candidates that are asked for, from which on fewer are looked for
_NO_ROW = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The nearest rows of each query, the nearest first; of equal ones the lower row.

    `rows` int64 [q, k] are places in the dataset that was searched, `scores` float64 [q, k] cosines
    or dot products (more is nearer), or distances (less is nearer). Both are [k] for one vector.
    """

    rows: Array
    scores: Array


def nearest(
    data: SelectedRows,
    vectors: Any,
    k: int = 10,
    metric: str = "cosine",
    name: str | None = None,
) -> Neighbours:
    """The `k` nearest rows of each of some vectors; see `Dataset.nearest`."""
    known_metric(metric)
    blocks = row_blocks(data, name)
    if not 1 <= k <= blocks.rows:
        possible = f"k of 1 to {blocks.rows:,}, the rows there are"
        if not blocks.rows:
            possible = "rows to search"
        raise UsageError("as many nearest rows cannot be found", str(data.path), possible, f"{k:,}")
    queries = _queries(data, vectors, blocks, name)
    rows = np.empty((queries.rows, k), np.int64)
    scores = np.empty((queries.rows, k))
    strange = Strange(str(data.path))
    for numbers, values in queries.parts():
        best = _Best(values, k, metric, strange)
        step = _step(len(values), blocks.width)
        for found, block in blocks.blocks(step):
            squares = blocks.squared_lengths(found, block)
            best.add(found, block, squares)
        rows[numbers] = best.rows
        scores[numbers] = best.closeness
    strange.refuse()
    if metric == "l2":
        scores = -scores
    if queries.one:
        return Neighbours(rows[0], scores[0])
    return Neighbours(rows, scores)


def _step(queries: int, width: int) -> int:
    """Rows of a block."""
    row_bytes = width * np.dtype(np.float32).itemsize
    fitting = min(_BLOCK // row_bytes, _PRODUCTS // queries)
    return max(fitting, 1)


@dataclass(frozen=True, slots=True)
class _Queries:
    """Vectors to look for: an array [q, D], or the rows of a dataset; `one`: a single vector."""

    rows: int
    width: int
    source: Array | RowBlocks
    strange: Strange
    one: bool = False

    def parts(self) -> Iterator[tuple[Array, Array]]:
        """Numbers and vectors float64 [p, D], as many as go through the rows together."""
        fit = _QUERIES // (self.width * np.dtype(np.float64).itemsize)
        step = max(min(fit, _MOST_QUERIES), 1)
        if isinstance(self.source, RowBlocks):
            for numbers, values in self.source.blocks(step):
                finite = self.strange.finite(numbers, values)
                yield numbers[finite], values[finite].astype(np.float64)
            self.strange.refuse()
            return
        for start in range(0, self.rows, step):
            part = self.source[start : start + step]
            yield np.arange(start, start + len(part)), part.astype(np.float64)


def _queries(data: SelectedRows, vectors: Any, blocks: RowBlocks, name: str | None) -> _Queries:
    if isinstance(vectors, SelectedRows):
        check_comparable(data.table, vectors.table, name)
        source = RowBlocks(vectors, name)
        strange = Strange(str(vectors.path))
        return _Queries(source.rows, source.width, source, strange)
    found = np.asarray(vectors)
    shape = data.row_shape(name)
    one = found.shape in (shape, (blocks.width,))
    flat = found.reshape(1, -1) if one else found
    several = flat.ndim == 2 and flat.shape[1] == blocks.width
    if found.dtype.kind not in "fiu" or not (several or flat.shape[1:] == shape):
        raise UsageError(
            "no vectors to look for",
            str(data.path),
            f"numbers [{blocks.width}] or [q, {blocks.width}], or a dataset of the same core",
            f"{found.dtype} {list(found.shape)}",
        )
    flat = flat.reshape(len(flat), blocks.width)
    wrong = np.flatnonzero(~np.isfinite(flat).all(axis=1))
    if len(wrong):
        first = ", ".join(few([str(row) for row in wrong], 5))
        raise UsageError(
            "vectors to look for are not finite", str(data.path), "numbers", f"vector {first}"
        )
    return _Queries(len(flat), blocks.width, flat, Strange(str(data.path)), one)


class _Best:
    """The nearest rows so far of some queries float64 [q, D].

    `closeness` float64 [q, k] is more for nearer rows: a cosine, a dot product, or a distance with
    its sign turned.
    """

    def __init__(self, queries: Array, k: int, metric: str, strange: Strange) -> None:
        self.rows = np.full((len(queries), k), _NO_ROW)
        self.closeness = np.full((len(queries), k), -np.inf)
        self._k = k
        self._metric = metric
        self._queries = queries
        self._strange = strange
        self._estimate = _Estimate(queries, metric)

    def add(self, numbers: Array, values: Array, squares: Array) -> None:
        """Take a block of rows float32 [b, D] of these squared lengths [b] into account."""
        sure = within_reach(squares)
        if not sure.all():
            finite = self._strange.finite(numbers, values)
            numbers = numbers[finite]
            values = values[finite]
            squares = squares[finite]
            sure = sure[finite]
        if not len(numbers):
            return
        row, query = self._candidates(values, squares, sure)
        if len(row):
            self._compare(numbers, values, row, query)

    def _candidates(self, values: Array, squares: Array, sure: Array) -> tuple[Array, Array]:
        """Places of rows and queries, int64 [c] each, that may be nearer than what was found."""
        estimate = self._estimate
        likely = estimate.closeness(values, squares)
        most = float(squares[sure].max(initial=0.0))
        off = estimate.off(most**0.5)
        bars = estimate.scaled(self.closeness[:, -1]) - off
        likely[~sure] = -np.inf  # they say nothing of what is nearest, and are all compared
        chosen = self._chosen(likely, bars, off)
        chosen[~sure] = True
        chosen[:, ~estimate.sure] = True
        places = np.flatnonzero(chosen)
        row, query = np.divmod(places, len(self._queries))
        return row, query

    def _chosen(self, likely: Array, bars: Array, off: Array) -> Array:
        """Which pairs reach their bars; where many do, those of the block's own k-th nearest."""
        with np.errstate(over="ignore"):
            chosen = likely >= bars.astype(np.float32)
        rows, queries = likely.shape
        if rows > self._k and np.count_nonzero(chosen) > _MANY * self._k * queries:
            place = rows - self._k
            kth = np.partition(likely, place, axis=0)[place]
            bars = np.maximum(bars, kth - 2 * off)
            chosen = likely >= bars.astype(np.float32)
        return np.asarray(chosen)

    def _compare(self, numbers: Array, values: Array, row: Array, query: Array) -> None:
        pairs = in_parts(self._metric, values, self._queries, row, query)
        for some, found in pairs:
            closeness = -found if self._metric == "l2" else found
            self._merge(query[some], numbers[row[some]], closeness)

    def _merge(self, query: Array, rows: Array, closeness: Array) -> None:
        """Keep the k nearest of what was found and of new ones, by closeness, then by row."""
        touched, owner = np.unique(query, return_inverse=True)
        each = np.arange(len(touched))
        before = self.rows[touched].reshape(-1)
        rows = np.concatenate([before, rows])
        before = self.closeness[touched].reshape(-1)
        closeness = np.concatenate([before, closeness])
        owners = np.concatenate([np.repeat(each, self._k), owner])
        order = np.lexsort((rows, -closeness, owners))
        starts = np.searchsorted(owners[order], each)
        kept = order[starts[:, None] + np.arange(self._k)]
        self.rows[touched] = rows[kept]
        self.closeness[touched] = closeness[kept]


class _Estimate:
    """Closeness by one float32 product, on a scale of its own, and how far it may be off.

    The scale is the cosine; the dot product with the query's direction; or, for distances, the
    query's squared length less the squared distance. `sure` bool [q]: queries of lengths for which
    that holds.
    """

    def __init__(self, queries: Array, metric: str) -> None:
        self._metric = metric
        self._rounding = rounding(queries.shape[1])
        squares = np.square(queries).sum(axis=1)
        self.sure = within_reach(squares)
        self._squares = np.where(self.sure, squares, 1.0)
        self._lengths = np.sqrt(self._squares)
        scaled = queries / self._lengths[:, None]
        if metric == "l2":
            scaled = 2 * queries
        scaled[~self.sure] = 0
        self._weights = np.ascontiguousarray(scaled.T, np.float32)
        # What a distance in float64 may be off by itself, where the query is far longer than rows.
        self._far = queries.shape[1] * 2.0**-50 * self._squares

    def closeness(self, values: Array, squares: Array) -> Array:
        """The estimate float32 [b, q] for rows of these squared lengths."""
        with np.errstate(all="ignore"):  # rows out of reach are not judged by it
            products = values @ self._weights
            if self._metric == "l2":
                products -= squares[:, None]
            elif self._metric == "cosine":
                products /= np.sqrt(squares)[:, None]
        return np.asarray(products)

    def off(self, largest: float) -> Array:
        """How far it may be off, float64 [q], for rows of up to this length."""
        if self._metric == "cosine":
            return np.full(len(self._lengths), self._rounding)
        if self._metric == "dot":
            return np.full(len(self._lengths), self._rounding * largest)
        scale = largest + 2 * self._lengths
        scale *= largest
        scale *= self._rounding
        return np.asarray(scale + self._far)

    def scaled(self, closeness: Array) -> Array:
        """Exact closeness float64 [q] on the scale of the estimate."""
        if self._metric == "cosine":
            return closeness
        if self._metric == "dot":
            return np.asarray(closeness / self._lengths)
        return np.asarray(self._squares - np.square(closeness))
