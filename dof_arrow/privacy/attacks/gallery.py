"""How often the right picture comes first in a gallery, from how many others score higher."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SIZES = (10, 100, 1000)
FALSE_ALARMS = 1e-3


def sizes(most: int) -> list[int]:
    """The sizes of galleries that can be filled, the largest among them.

    >>> sizes(320)
    [10, 100, 320]
    """
    return [*(size for size in SIZES if size < most), most]


def first(higher: Array, others: int, size: int) -> Array:
    """The chance float64 [n] that a picture comes first among `size`, itself among them.

    The gallery is drawn from `others` pictures, of which `higher` int64 [n] score as high or more.

    >>> first(np.array([0, 1, 9]), 9, 2).round(3).tolist()
    [1.0, 0.889, 0.0]
    """
    return np.asarray(_table(others, size)[higher])


@lru_cache(maxsize=64)
def _table(others: int, size: int) -> Array:
    """The chance for each number of higher ones, 0 to `others`: none of them is drawn."""
    drawn = size - 1
    steps = np.arange(others, dtype=np.float64)
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(others - drawn - steps, 0) / (others - steps))
    sums = np.concatenate([[0.0], np.cumsum(logs)])
    return np.asarray(np.exp(sums))


def directions(features: Array) -> Array:
    """Rows of length 1, float32 [n, D], whose products are cosines; zeros stay zeros."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1)
    lengths[lengths == 0] = 1
    scaled = features / lengths[:, None]
    return np.asarray(scaled, np.float32)


def alarm(impostors: Array) -> tuple[float, float]:
    """The score that at most 0.1% of pairs of strangers exceed, and the share that does.

    >>> alarm(np.arange(2000.0))
    (1997.0, 0.001)
    """
    allowed = int(FALSE_ALARMS * len(impostors))
    place = len(impostors) - 1 - allowed
    threshold = np.partition(impostors, place)[place]
    return float(threshold), float((impostors > threshold).mean())
