"""How closely two versions of the same features agree: arrays in, a few numbers out.

Features are compared as float32 values, whatever type they are stored in. Two rows are close if no
two numbers differ by more than `tolerance` times the row's largest magnitude. A ratio of the two
numbers would not do: beside a feature of 30, a change from 0.001 to 0.002 is rounding, not 100%.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError

Array = NDArray[Any]

# Of a row's largest magnitude. Measured: float32 cores differ by less than this between kinds of
# processor, float16 cores between versions of ONNX Runtime; another way to resize a picture makes
# more of a difference (SPEC section 10).
TOLERANCE = 1e-3
STEP = 1 << 19  # numbers compared at a time: 2 MiB of float32 on each side


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How closely two versions of a feature column agree over `rows` rows.

    `equal` of them are equal bit for bit, `close` within the tolerance. `largest` is the largest
    difference of two numbers, `relative` the largest as a share of a row's largest magnitude,
    `cosine` the lowest cosine similarity of two rows.
    """

    rows: int = 0
    equal: int = 0
    close: int = 0
    largest: float = 0.0
    relative: float = 0.0
    cosine: float = 1.0


class Tally:
    """Gathers the agreement of a column piece by piece.

    >>> tally = Tally(tolerance=0.1)
    >>> tally.add(np.float32([[4, 2], [4, 2]]), np.float32([[4, 2], [4, 1]])).tolist()
    [0.0, 0.25]
    >>> tally.agreement.equal, tally.agreement.largest, tally.agreement.relative
    (1, 1.0, 0.25)
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = within(tolerance)
        self.agreement = Agreement()

    def add(self, ours: Array, theirs: Array) -> Array:
        """Count rows [n, D] of one float type; returns each row's largest relative difference.

        The result is float64 [n]: shares of the row's largest magnitude.
        """
        bits = f"u{ours.dtype.itemsize}"
        other = (ours.view(bits) != theirs.view(bits)).any(axis=1)
        far, share, cosine = _apart(ours[other], theirs[other])
        shares = np.zeros(len(ours))
        shares[other] = share
        old = self.agreement
        self.agreement = Agreement(
            rows=old.rows + len(ours),
            equal=old.equal + len(ours) - len(far),
            close=old.close + int(np.count_nonzero(shares <= self.tolerance)),
            largest=max(old.largest, float(far.max(initial=0.0))),
            relative=max(old.relative, float(share.max(initial=0.0))),
            cosine=min(old.cosine, float(cosine.min(initial=1.0))),
        )
        return shares


def within(tolerance: float) -> float:
    """The tolerance, if it is one; UsageError otherwise.

    >>> within(0.25)
    0.25
    """
    if not 0 <= tolerance < np.inf:
        raise UsageError("no such tolerance", expected="0 or more", found=str(tolerance))
    return tolerance


def _apart(ours: Array, theirs: Array) -> tuple[Array, Array, Array]:
    """For each pair of rows: the largest difference, the same relative, and the cosine.

    Relative means as a share of the largest magnitude. A number that is not finite is infinitely
    far from every other number.
    """
    a = ours.astype(np.float64)
    b = theirs.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        finite = np.isfinite(a) & np.isfinite(b)
        unless_finite = np.where(a == b, 0.0, np.inf)
        far = np.where(finite, abs(a - b), unless_finite).max(axis=1)
        size = np.maximum(abs(a).max(axis=1), abs(b).max(axis=1))
        share = np.where(far == 0, 0.0, far / size)
        lengths = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        cosine = np.clip((a * b).sum(axis=1) / lengths, -1, 1)
    share[np.isnan(share)] = np.inf
    cosine[np.isnan(cosine)] = 0.0  # a row of zeros has no direction
    return far, share, cosine
