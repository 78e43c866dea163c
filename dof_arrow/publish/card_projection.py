"""Features in two dimensions: principal components, and a map of neighbours if one is installed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.dataset.row_blocks import RowBlocks, row_blocks
from dof_arrow.sampling.permutation import Permutation, key

Array = NDArray[Any]

MOST_NEIGHBOURS = 20_000  # rows that a map of neighbours is made of
_WIDEST = 2_048  # numbers a row, up to which the whole covariance is looked at
_KEPT = 50  # principal components that a map of neighbours starts from
_BLOCK = 1 << 24  # bytes of rows at a time
_SOME = 1 << 28  # bytes of rows that tell the axes of very wide ones
_TINY = 1e-30
_NOTHING = 1e-12  # of the largest variance
_SMALL = 1e-9  # the largest number below which, or above whose inverse, another unit is taken
_SEED = 0


@dataclass(frozen=True, slots=True)
class Projection:
    """Places of rows float32 [n, 2], what made them, and a note for the reader."""

    name: str
    places: Array
    note: str


def projections(data: Dataset, feature: str) -> list[Projection]:
    """The first two principal components, and a map of neighbours if PaCMAP or openTSNE is there.

    Everything is drawn from one seed: equal rows, and equal versions of the libraries, give equal
    places.
    """
    blocks = row_blocks(data, feature)
    neighbours = _installed() if 30 <= blocks.rows <= MOST_NEIGHBOURS else None
    count = min(_KEPT if neighbours else 2, blocks.width, blocks.rows)
    unit, varied = _extent(blocks)
    if not varied:
        note = "There is nothing to lay out: all rows are the same." if blocks.rows > 1 else ""
        return [Projection("PCA", np.zeros((blocks.rows, 2), np.float32), note)]
    mean, axes, shares, seen = _axes(blocks, count, unit)
    scores = np.zeros((blocks.rows, max(count, 2)), np.float32)
    for numbers, values in _parts(blocks):
        scores[numbers, :count] = (values / unit - mean) @ axes
    said = [f"{share:.1%}" for share in (*shares, 0.0, 0.0)[:2]]
    note = f"The two axes carry {said[0]} and {said[1]} of the variance."
    if seen < blocks.rows:
        note += f" They were computed from {seen:,} of the rows."
    found = [Projection("PCA", scores[:, :2].copy(), note)]
    if neighbours == "PaCMAP":
        found.append(_pacmap(scores))
    elif neighbours == "t-SNE":
        found.append(_tsne(scores))
    return found


def _installed() -> str | None:
    if find_spec("pacmap"):
        return "PaCMAP"
    return "t-SNE" if find_spec("openTSNE") else None


def _parts(blocks: RowBlocks) -> Iterator[tuple[Array, Array]]:
    return blocks.blocks(max(_BLOCK // (4 * blocks.width), 1))


def _extent(blocks: RowBlocks) -> tuple[np.float32, bool]:
    """What numbers are divided by, so that float32 holds their squares, and whether rows differ.

    It is 1 but for extreme numbers, else a power of two, which costs no digit.
    """
    low = np.full(blocks.width, np.inf, np.float32)
    high = np.full(blocks.width, -np.inf, np.float32)
    for _, values in _parts(blocks):
        low = np.minimum(low, values.min(axis=0))
        high = np.maximum(high, values.max(axis=0))
    varied = bool((low != high).any())
    largest = max(float(np.abs(low).max()), float(np.abs(high).max()))
    if not varied or _SMALL < largest < 1 / _SMALL:
        return np.float32(1), varied
    return np.float32(2.0 ** np.floor(np.log2(largest))), varied


def _axes(blocks: RowBlocks, count: int, unit: np.float32) -> tuple[Array, Array, list[float], int]:
    """The mean [D], axes [D, count], the share of variance of each, and how many rows told them.

    Very wide rows have a covariance that does not fit: some of them, drawn by the seed, tell.
    """
    if blocks.width <= _WIDEST:
        mean, covariance = _covariance(blocks, unit)
        values, vectors = np.linalg.eigh(covariance)
        order = np.argsort(-values, kind="stable")[:count]
        axes = vectors[:, order]
        seen = blocks.rows
    else:
        rows = _some(blocks) / unit
        mean = rows.mean(axis=0)
        rows -= mean
        values, sides = np.linalg.eigh(rows @ rows.T)
        order = np.argsort(-values, kind="stable")[:count]
        # Rows of which few differ span fewer axes: the others are none, not what rounding makes.
        spanned = np.maximum(values[order], _TINY)
        lengths = np.where(spanned > _NOTHING * values.max(), 1 / np.sqrt(spanned), 0.0)
        axes = rows.T @ (sides[:, order] * lengths)
        seen = len(rows)
    # The sign of an axis is free: its largest part is positive, so that equal data look equal.
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(count)] < 0, -1.0, 1.0)
    total = max(float(values.clip(0).sum()), _TINY)
    shares = [float(value) / total for value in values[order].clip(0)]
    return mean.astype(np.float32), axes.astype(np.float32), shares, seen


def _covariance(blocks: RowBlocks, unit: np.float32) -> tuple[Array, Array]:
    """Mean float64 [D] and the sum of products around it, float64 [D, D]."""
    mean = np.zeros(blocks.width)
    for _, values in _parts(blocks):
        mean += (values / unit).sum(axis=0, dtype=np.float64) / blocks.rows
    products = np.zeros((blocks.width, blocks.width))
    for _, values in _parts(blocks):
        centred = (values / unit - mean).astype(np.float32)
        products += centred.T @ centred
    return mean, products


def _some(blocks: RowBlocks) -> Array:
    """At most `_WIDEST` rows float64 [m, D], drawn by the seed, in their order."""
    order = Permutation(blocks.rows, key(_SEED, "axes"))
    fitting = max(_SOME // (8 * blocks.width), _KEPT)
    chosen = np.sort(order(np.arange(min(_WIDEST, fitting, blocks.rows))))
    found = np.empty((len(chosen), blocks.width))
    for numbers, values in _parts(blocks):
        wanted = np.isin(numbers, chosen)
        found[np.searchsorted(chosen, numbers[wanted])] = values[wanted]
    return found


def _pacmap(scores: Array) -> Projection:
    import pacmap

    logging.getLogger("pacmap").setLevel(logging.ERROR)  # it warns of the seed that it is given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = pacmap.PaCMAP(n_components=2, random_state=_SEED, apply_pca=False)
        places = made.fit_transform(scores, init="pca")
    version = getattr(pacmap, "__version__", "")
    note = (
        f"PaCMAP {version}, seed {_SEED}: who is near is kept; how far clusters lie apart is not."
    )
    return Projection("PaCMAP", places.astype(np.float32), note)


def _tsne(scores: Array) -> Projection:
    import openTSNE

    made = openTSNE.TSNE(
        random_state=_SEED, n_jobs=1, neighbors="exact", perplexity=min(30, len(scores) // 4)
    )
    places = np.asarray(made.fit(scores))
    note = (
        f"openTSNE {openTSNE.__version__}, seed {_SEED}: who is near is kept; how far clusters lie "
        "apart is not."
    )
    return Projection("t-SNE", places.astype(np.float32), note)
