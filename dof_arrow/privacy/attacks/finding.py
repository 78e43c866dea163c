"""What an attack found: its score with an interval, beside a control and what chance would give."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads.intervals import Estimate, student

Array = NDArray[Any]

FEWEST_GROUPS = 4  # of which some teach an attacker and others are attacked


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A score and the ends of its 95% interval, which counts groups, not rows."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one attacker reached in one attack.

    - `attack`, what it is `of`, by which `attacker`, who `knows` what, told by which `metric`;
    - `reached`: the attacker's score; `control`: the same attacker's with features that were dealt
      to other rows; `baseline`: what is reached without any features;
    - `rows` and `groups` that were attacked, the `seed` of all draws, the `seconds` it took.
    """

    attack: str
    of: str
    attacker: str
    knows: str
    metric: str
    reached: Measured
    control: Measured
    baseline: float
    rows: int
    groups: int
    seed: int
    seconds: float

    @property
    def found(self) -> bool:
        """Whether the attacker did better than chance, by more than chance explains."""
        return self.reached.low > max(self.baseline, self.control.high)

    @property
    def advantage(self) -> float:
        """How much of what there is to gain over the baseline was gained, 0 to 1."""
        if self.baseline >= 1:
            return 0.0
        gained = (self.reached.value - self.baseline) / (1 - self.baseline)
        return max(gained, 0.0)


class Clock:
    """The seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """How many have passed."""
        return time.perf_counter() - self._start


def measured(estimate: Estimate) -> Measured:
    """An estimate as it is told; an end that is not known is the value itself, and never finds."""
    low = estimate.value if math.isnan(estimate.low) else estimate.low
    high = estimate.value if math.isnan(estimate.high) else estimate.high
    return Measured(value=estimate.value, low=low, high=high)


def mean_of(values: Array, groups: Array) -> Measured:
    """The mean of numbers float64 [n], with Student's interval over groups int64 [n].

    >>> found = mean_of(np.array([0.0, 1.0, 0.0, 1.0]), np.arange(4))
    >>> f"{found.value} from {found.low:.2f} to {found.high:.2f}"
    '0.5 from -0.42 to 1.42'
    """
    value = float(values.mean())
    pulls = np.bincount(groups, values - value) / len(values)
    count = int(np.count_nonzero(np.bincount(groups)))
    if count < 2:
        return Measured(value=value, low=-math.inf, high=math.inf)
    variance = float(np.square(pulls).sum()) * count / (count - 1)
    reach = student(count - 1) * math.sqrt(variance)
    return Measured(value=value, low=value - reach, high=value + reach)


def numbered(groups: Array) -> tuple[Array, int]:
    """Groups as codes int64 [n] from 0, and how many there are; UsageError for too few to attack.

    >>> numbered(np.array([7, 3, 7, 9, 8]))
    (array([1, 0, 1, 3, 2]), 4)
    """
    names, codes = np.unique(groups, return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        raise UsageError(
            "too few groups to attack",
            expected=f"{FEWEST_GROUPS} or more patients, or records",
            found=str(len(names)),
        )
    return codes.astype(np.int64), len(names)


def dealt(count: int, seed: int) -> Array:
    """Places int64 [count] by which features are dealt to other rows, for a control."""
    return np.random.default_rng([seed, 1]).permutation(count)
