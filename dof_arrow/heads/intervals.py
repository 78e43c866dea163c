"""95% intervals of scores that keep their promise for few rows, rare errors and rows in groups.

Nothing is resampled: a score's variance comes from how much each group of rows pulls at it (its
influence, summed by group), so a million rows take seconds. A share (accuracy, recall, precision)
has Wilson's interval for as many independent rows as its groups are worth; the mean over classes
joins the intervals of its classes.

E. Wilson, "Probable inference" (1927). J. Rao and A. Scott, "A simple method for the analysis of
clustered binary data" (1992). E. DeLong et al., "Comparing the areas under two or more correlated
receiver operating characteristic curves" (1988), with groups N. Obuchowski (1997). G. Zou and
A. Donner, "Construction of confidence limits about effect measures" (2008).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.heads.metrics import BINS, bins

Array = NDArray[Any]
Ends = tuple[float, float]

_NORMAL = 1.959964
# Student's t at 97.5%, by degrees of freedom; between them 1 / degrees is interpolated.
_STUDENT = {
    1: 12.7062,
    2: 4.3027,
    3: 3.1824,
    4: 2.7764,
    5: 2.5706,
    6: 2.4469,
    8: 2.3060,
    10: 2.2281,
    15: 2.1314,
    20: 2.0860,
    30: 2.0423,
    60: 2.0003,
    120: 1.9799,
    math.inf: _NORMAL,
}
_DRAWS = 1000
_NOTHING = 1e-9  # a width that is rounding


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with the ends of its interval, and by how much each group pulls at it, [G].

    NaN where the score, or an end, is not defined.
    """

    value: float
    low: float
    high: float
    pulls: Array


def share(right: Array, groups: Array, count: int) -> Estimate:
    """The share of `right` bool [k], with the group int [k] of each, below `count`.

    What is right may be told in shares of 0 to 1 too, such as chances.

    >>> found = share(np.ones(30, bool), np.arange(30), 30)
    >>> f"{found.value} from {found.low:.3f} to {found.high:.3f}"
    '1.0 from 0.886 to 1.000'
    """
    if not right.size:
        return _unknown(count)
    value = float(right.mean())
    pulls = np.bincount(groups, right - value, count) / len(right)
    seen = int(np.count_nonzero(np.bincount(groups, minlength=count)))
    return _wilson(value, len(right), seen, pulls)


def accuracy(true: Array, said: Array, groups: Array, count: int) -> Estimate:
    """The share of right answers; of flags bool [n, C], each is an answer, a row's are together."""
    right = true == said
    if right.ndim == 1:
        return share(right, groups, count)
    by_row = right.mean(axis=1)
    value = float(by_row.mean())
    pulls = np.bincount(groups, by_row - value, count) / len(right)
    return _wilson(value, right.size, count, pulls)


def f1(true: Array, said: Array, groups: Array, count: int) -> Estimate:
    """F1 of a class from flags bool [n]: of the rows in either, the share J in both, 2J / (1 + J).

    As J is a share and F1 rises with it, the interval of F1 is that of J, transformed.
    """
    either = true | said
    both = true[either] & said[either]
    found = share(both, groups[either], count)
    slope = 2 / (1 + found.value) ** 2
    value, low, high = (2 * end / (1 + end) for end in (found.value, found.low, found.high))
    return Estimate(value, low, high, slope * found.pulls)


def auc(positive: Array, score: Array, groups: Array, count: int) -> Estimate:
    """The area under the ROC curve, with DeLong's variance by group.

    The area is the share of pairs in the right order; it is treated as a share of as many rows as
    its variance is worth.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return _unknown(count)
    placed = _placements(positive, score)
    value = float(placed[positive].mean())
    rows = np.where(positive, positives, negatives)
    pulls = np.bincount(groups, (placed - value) / rows, count)
    seen = [np.count_nonzero(np.bincount(groups[of])) for of in (positive, ~positive)]
    return _wilson(value, len(positive), int(min(seen)), pulls)


def ece(stated: Array, came: Array, groups: Array, count: int, seed: int = 0) -> Estimate:
    """The expected calibration error of probabilities [n], given what came true, in ten bins.

    Noise alone makes the error larger than it is: it is drawn again around what was found, and
    around no error at all. The low end lies between what these two say, as one takes too little
    noise away and the other too much; the high end takes none away.
    The first is the basic bootstrap (Davison & Hinkley, 1997, section 5.2), of normal sums.
    """
    missed = (came - stated) / len(stated)
    bin_of = bins(stated)
    gaps = np.bincount(bin_of, missed, BINS)
    value = float(np.abs(gaps).sum())
    pulls = np.bincount(groups, missed * np.sign(gaps)[bin_of], count) - value / count
    spread = _covariance(missed, bin_of, gaps, groups, count)
    noise = _drawn(spread, seed)
    around = np.abs(gaps + noise).sum(axis=1)
    none = np.abs(noise).sum(axis=1)
    most, most_noise = np.quantile(around, 0.975), np.quantile(none, 0.975)
    low = max((2 * value - most + value - most_noise) / 2, 0.0)
    high = value + student(max(count - 1, 1)) * float(around.std())
    if high - low <= _NOTHING:  # no row tells how far off the others may be
        high = value + _wilson_ends(0.0, count, _NORMAL)[1]
    return Estimate(value, min(low, value), min(high, 1.0), pulls)


def _drawn(covariance: Array, seed: int) -> Array:
    """Normal numbers of this covariance [10, 10], around 0, [draws, 10]."""
    values, vectors = np.linalg.eigh(covariance)
    standard = np.random.default_rng(seed).standard_normal((_DRAWS, len(values)))
    return np.asarray(standard * np.sqrt(np.maximum(values, 0)) @ vectors.T)


def mae(true: Array, said: Array, groups: Array, count: int) -> Estimate:
    """The mean absolute error; its logarithm has Student's interval."""
    errors = np.abs(true - said)
    value = float(errors.mean())
    pulls = np.bincount(groups, errors - value, count) / len(errors)
    return _positive(value, pulls)


def r2(true: Array, said: Array, groups: Array, count: int, value: float) -> Estimate:
    """R2, given its value; Student's interval is of the logarithm of what is not explained."""
    centred = np.square(true - true.mean())
    total = centred.sum()
    if math.isnan(value) or not total:
        return replace(_unknown(count), value=value)
    found = explained(np.square(true - said), centred, groups, count)
    return replace(found, value=value)


def explained(missed: Array, total: Array, groups: Array, count: int = 0) -> Estimate:
    """One less the ratio of two sums [n]: of what was missed, and of what there was.

    Student's interval is of the logarithm of what is not explained.
    """
    whole = total.sum()
    left = float(missed.sum() / whole)
    pulls = np.bincount(groups, missed - left * total, count) / whole
    found = _positive(left, pulls)
    return Estimate(1 - left, 1 - found.high, 1 - found.low, -pulls)


def mean(estimates: Iterable[Estimate]) -> Estimate:
    """The mean of those estimates that are defined, and its interval from theirs.

    The distances to the ends add up as independent errors do, and more where groups pull several
    scores the same way.
    """
    size = 0
    value = below = above = apart = 0.0
    pulls: Array | float = 0.0
    for each in estimates:
        if math.isnan(each.value):
            continue
        size += 1
        value += each.value
        below += (each.value - each.low) ** 2
        above += (each.high - each.value) ** 2
        apart += float(np.square(each.pulls).sum())
        pulls = pulls + each.pulls
    if not size:
        return _unknown(0)
    together = float(np.square(pulls).sum())
    more = max(together / apart, 1.0) if apart else 1.0
    low = max(value - math.sqrt(more * below), 0.0) / size
    high = min(value + math.sqrt(more * above), float(size)) / size
    return Estimate(value / size, low, high, np.asarray(pulls / size))


def student(degrees: float) -> float:
    """The 97.5% point of Student's t.

    >>> round(student(7), 2), round(student(1000), 2)
    (2.37, 1.96)
    """
    rising = sorted(_STUDENT, reverse=True)
    inverse = [1 / each for each in rising]
    return float(np.interp(1 / degrees, inverse, [_STUDENT[each] for each in rising]))


def _unknown(count: int) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, np.zeros(count))


def _wilson(value: float, size: int, groups: int, pulls: Array) -> Estimate:
    """Wilson's interval for a share of `size` rows in so many groups."""
    worth, quantile = float(size), _NORMAL
    if groups < size:
        worth, quantile = _effective(value, size, groups, pulls)
    low, high = _wilson_ends(value, worth, quantile)
    return Estimate(value, low, high, pulls)


def _effective(value: float, size: int, groups: int, pulls: Array) -> tuple[float, float]:
    """How many independent rows the groups are worth, and the quantile for so few groups."""
    variance = float(np.square(pulls).sum())
    # Where nothing varies between groups, nothing tells how alike their rows are: each is one row.
    if groups < 2 or value * (1 - value) <= 0 or variance <= 0:
        return float(groups), _NORMAL
    variance *= groups / (groups - 1)
    worth = min(value * (1 - value) / variance, float(size))
    return worth, student(_degrees(pulls, groups))


def _degrees(pulls: Array, groups: int) -> float:
    """Degrees of freedom of a variance of groups: few, where few groups make up most of it."""
    squares = np.square(pulls / np.abs(pulls).max())
    alike = float(squares.sum() ** 2 / np.square(squares).sum())
    return min(2 * alike + 2, groups - 1)


def _wilson_ends(value: float, size: float, quantile: float) -> Ends:
    square = quantile**2 / size
    centre = value + square / 2
    half = math.sqrt(square * (value * (1 - value) + square / 4))
    low, high = (centre - half) / (1 + square), (centre + half) / (1 + square)
    return max(min(low, value), 0.0), min(max(high, value), 1.0)


def _placements(positive: Array, score: Array) -> Array:
    """For each row, the share of the other side that it is in the right order with, [n]."""
    order = np.argsort(score, kind="stable")
    ordered, flags = score[order], positive[order]
    first = np.append(True, ordered[1:] != ordered[:-1])
    place = np.cumsum(first) - 1  # equal scores have one place
    up = np.bincount(place, flags)
    down = np.bincount(place) - up
    below = np.cumsum(down) - down / 2
    above = up.sum() - np.cumsum(up) + up / 2
    found = np.empty(len(score))
    found[order] = np.where(flags, below[place] / down.sum(), above[place] / up.sum())
    return found


def _covariance(missed: Array, bin_of: Array, gaps: Array, groups: Array, count: int) -> Array:
    """The covariance [10, 10] of the gaps of bins, from the sums of each group."""
    if count == len(missed):  # each row is a group, in one bin
        products = np.diag(np.bincount(bin_of, np.square(missed), BINS))
    else:
        sums = np.bincount(groups * BINS + bin_of, missed, count * BINS).reshape(count, BINS)
        products = sums.T @ sums
    return np.asarray((products - np.outer(gaps, gaps) / count) * (count / max(count - 1, 1)))


def _positive(value: float, pulls: Array) -> Estimate:
    """The interval of a number above 0, by Student's t of its logarithm."""
    groups = len(pulls)
    variance = float(np.square(pulls).sum())
    if groups < 2 or variance <= 0 or value <= 0:
        return Estimate(value, math.nan, math.nan, pulls)
    error = math.sqrt(variance * groups / (groups - 1)) / value
    reach = math.exp(min(student(_degrees(pulls, groups)) * error, 50.0))
    return Estimate(value, value / reach, value * reach, pulls)
