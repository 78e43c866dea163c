"""How closely two versions of the same features agree: arrays in, a few numbers out.

Features are compared as float32 values, whatever type they are stored in. Two rows are close if no number of theirs
differs by more than `tolerance` times the row's largest magnitude: beside a feature of 30, one of 0.001 that became
0.002 is rounding, which a ratio of the two would call 100%.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError

Array = NDArray[Any]

# What float32 cores were measured to differ by between kinds of processor, and float16 ones between versions of ONNX
# Runtime, is less than this; what another resize of the same picture makes of them is more (SPEC section 10).
TOLERANCE = 1e-3
STEP = 1 << 19  # numbers compared at a time: 2 MiB of float32 a side


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How closely two versions of a feature column agree over `rows` rows.

    `equal` of them are equal bit for bit, `close` within the tolerance. `largest` is the largest difference of two
    numbers, `relative` the same as a share of the row's largest magnitude, `cosine` the lowest of two rows.
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
        """Count rows [n, D], float, of one type; returns their largest differences as shares, float64 [n]."""
        bits = f"u{ours.dtype.itemsize}"
        same = (ours.view(bits) == theirs.view(bits)).all(axis=1)
        far, share, cosine = _apart(ours[~same], theirs[~same])
        shares = np.zeros(len(ours))
        shares[~same] = share
        old = self.agreement
        self.agreement = Agreement(
            rows=old.rows + len(ours),
            equal=old.equal + int(same.sum()),
            close=old.close + int((shares <= self.tolerance).sum()),
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
    """Of each pair of rows: the largest difference, the same as a share of the largest magnitude, the cosine.

    Numbers that are not finite are infinitely far from all others.
    """
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        far = np.where(
            np.isfinite(a) & np.isfinite(b), abs(a - b), np.where(a == b, 0.0, np.inf)
        ).max(axis=1)
        size = np.maximum(abs(a).max(axis=1), abs(b).max(axis=1))
        share = np.where(far == 0, 0.0, far / size)
        cosine = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return (
        far,
        np.where(np.isnan(share), np.inf, share),
        np.nan_to_num(np.clip(cosine, -1, 1), nan=0.0),
    )
