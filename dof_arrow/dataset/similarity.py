"""How alike two vectors are: the exact numbers that are told, and how far a fast product is off.

A product of float32 matrices is rounded in an order that depends on the shape of the matrices. So
it only chooses candidates; what is told, and what decides their order, is computed in float64, row
by row, in one way whatever stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import FormatError, UsageError, few

Array = NDArray[Any]
Metric = Literal["cosine", "l2", "dot"]

METRICS: tuple[str, ...] = get_args(Metric)

# The cosine from which on two pictures are taken for one. Measured on 40 radiographs and
# MobileNetV2: of pictures saved again as JPEG of quality 60, or at half their size, 35 reach it;
# the largest cosine of two different radiographs was 0.961.
ALIKE = 0.98

# Squared lengths between which sums of float32 products neither overflow nor lose what is tiny.
_TINY = 1e-24
_HUGE = 1e30
_NAMED = 5
_AT_ONCE = 1 << 19  # numbers compared in float64 at a time: 4 MiB on each side


def known_metric(metric: str) -> str:
    """The name of a metric, if there is such; UsageError otherwise.

    >>> known_metric("l2")
    'l2'
    """
    if metric not in METRICS:
        raise UsageError("no such metric", expected=" or ".join(METRICS), found=str(metric))
    return metric


def exact(metric: str, ours: Array, theirs: Array) -> Array:
    """The similarity or distance float64 [n] of each row [n, D] with the same row of the other.

    `cosine` lies between -1 and 1, and is exactly 1 for equal rows. A row of zeros has no
    direction: its cosine is 1 with another such row, 0 with any other. `l2` is the distance.

    >>> exact("cosine", np.float32([[3, 4], [0, 0]]), np.float32([[4, 3], [1, 0]])).tolist()
    [0.96, 0.0]
    >>> exact("l2", np.float32([[3, 4]]), np.float32([[0, 0]])).tolist()
    [5.0]
    """
    a = ours.astype(np.float64, copy=False)
    b = theirs.astype(np.float64, copy=False)
    if metric == "l2":
        return np.asarray(np.sqrt(np.square(a - b).sum(axis=1)))
    dots = (a * b).sum(axis=1)
    if metric == "dot":
        return np.asarray(dots)
    left = np.square(a).sum(axis=1)
    right = np.square(b).sum(axis=1)
    without = (left == 0) | (right == 0)
    lengths = np.sqrt(np.where(without, 1.0, left * right))
    cosine = np.clip(dots / lengths, -1.0, 1.0)
    cosine[(left == 0) & (right == 0)] = 1.0
    return np.asarray(cosine)


def in_parts(
    metric: str, ours: Array, theirs: Array, at_ours: Array, at_theirs: Array
) -> Iterator[tuple[slice, Array]]:
    """Which pairs, and their `exact` numbers, for pairs of rows: some at a time."""
    step = max(_AT_ONCE // ours.shape[1], 1)
    for start in range(0, len(at_ours), step):
        some = slice(start, start + step)
        yield some, exact(metric, ours[at_ours[some]], theirs[at_theirs[some]])


def rounding(width: int) -> float:
    """How far a float32 product of two rows may be off, as a share of their lengths' product.

    Twice the bound on a sum of `width` products in any order, which leaves room for the rounding of
    lengths and of scaled rows. N. Higham, Accuracy and Stability of Numerical Algorithms, 2002,
    section 3.1.
    """
    return (width + 16) * 2.0**-23


def within_reach(squares: Array) -> Array:
    """For which squared lengths float32 products are as exact as `rounding` says, bool [n]."""
    return np.asarray((squares > _TINY) & (squares < _HUGE))


class Strange:
    """Gathers rows that are no numbers, to refuse them all at once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._rows: set[int] = set()

    def finite(self, numbers: Array, values: Array) -> Array:
        """Which rows [b, D] are finite, bool [b]; the numbers of the others are kept."""
        mask = np.isfinite(values).all(axis=1)
        self._rows.update(numbers[~mask].tolist())
        return np.asarray(mask)

    def refuse(self) -> None:
        """Raise FormatError if there were such rows."""
        if self._rows:
            first = [f"{row:,}" for row in sorted(self._rows)]
            raise FormatError(
                "features are not finite",
                self._path,
                "numbers",
                f"NaN or infinity in {_rows(first)}",
                "Leave these rows out: ds.take(…). dof validate --deep names what is wrong.",
            )


def _rows(first: Sequence[str]) -> str:
    name = "row" if len(first) == 1 else "rows"
    return f"{name} {', '.join(few(first, _NAMED))}"
