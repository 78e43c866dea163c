"""How good predictions are, as pure functions of arrays.

A metric takes what is true, what was predicted, and weights float64 [b, n]: one row of weights for
each score wanted. It gives `b` scores, or [b, C] with one for each class. True and
predicted are class codes int [n], flags bool [n, C] or values float [n]; metrics of probabilities
take `outputs` float [n, C]. A score that is not defined is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Metric = Callable[[Array, Array, Array], Array]

BINS = 10
_CONSTANT = 1e-12  # a variance below this part of the whole is rounding


def accuracy(true: Array, predicted: Array, weights: Array) -> Array:
    """Share of right answers; for flags bool [n, C], of right flags.

    >>> accuracy(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), np.ones((1, 4)))
    array([0.75])
    """
    right = true == predicted
    if right.ndim > 1:
        return _mean(right.mean(axis=1), weights)
    return _mean(right.astype(np.float64), weights)


def balanced_accuracy(true: Array, predicted: Array, weights: Array) -> Array:
    """Mean over the classes of the share of right answers in each.

    Classes without weight are left out. Each flag is a question of two classes, and the mean is
    taken over the flags.
    Source: Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010.

    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), np.ones((1, 4)))
    array([0.5])
    """
    if true.ndim == 1:
        recall = class_recall(true, predicted, weights, _classes(true))
        return _nanmean(recall)
    by_flag = []
    for true_flag, predicted_flag in zip(true.T, predicted.T, strict=True):
        by_flag.append(balanced_accuracy(true_flag, predicted_flag, weights))
    return _nanmean(np.stack(by_flag, axis=1))


def f1(true: Array, predicted: Array, weights: Array) -> Array:
    """Mean over the classes, or the flags, of the harmonic mean of precision and recall.

    Classes that are neither true nor predicted are left out.

    >>> f1(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), np.ones((1, 4))).round(3)
    array([0.733])
    """
    classes = _classes(true, predicted)
    return _nanmean(class_f1(true, predicted, weights, classes))


def r2(true: Array, predicted: Array, weights: Array) -> Array:
    """Share of the variance explained, 1 - SSE / SST; NaN where what is true does not vary.

    >>> r2(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]), np.ones((1, 3)))
    array([1.])
    """
    # Centred first: far from zero, the difference of two mean squares would lose its digits.
    centred = true - true.mean()
    squares = centred**2
    variance = _mean(squares, weights) - _mean(centred, weights) ** 2
    constant = variance <= _CONSTANT * np.mean(squares)
    variance[constant] = 0.0
    errors = (true - predicted) ** 2
    return 1.0 - _divide(_mean(errors, weights), variance)


def mae(true: Array, predicted: Array, weights: Array) -> Array:
    """Mean absolute error, in the target's unit.

    >>> mae(np.array([1.0, 2.0]), np.array([1.0, 4.0]), np.ones((1, 2)))
    array([1.])
    """
    return _mean(np.abs(true - predicted), weights)


def auc(true: Array, outputs: Array, weights: Array) -> Array:
    """Area under the ROC curve: how likely a positive scores above a negative, ties counting half.

    With two classes it is the second one's; with more, the mean over each class against the rest;
    with flags, the mean over the flags.
    Source: Hanley & McNeil, Radiology 143, 1982.

    >>> outputs = np.array([[0.9, 0.1], [0.6, 0.4], [0.95, 0.05]])
    >>> auc(np.array([0, 1, 1]), outputs, np.ones((1, 3)))
    array([0.5])
    """
    if true.ndim == 1 and outputs.shape[1] == 2:
        return _auc(true == 1, outputs[:, 1], weights)
    classes = np.arange(outputs.shape[1])
    return _nanmean(class_auc(true, outputs, weights, classes))


def ece(true: Array, outputs: Array, weights: Array) -> Array:
    """Expected calibration error: how far probabilities are from what came true, in ten equal bins.

    With classes it is of the predicted class; with flags the mean over the flags.
    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    >>> ece(np.array([0, 0, 1, 1]), np.array([[0.8, 0.2]] * 4), np.ones((1, 4))).round(3)
    array([0.3])
    """
    if true.ndim == 1:
        probability, came = stated(true, outputs)
        return _ece(probability, came, weights)
    by_flag = []
    for probability, came in zip(outputs.T, true.T, strict=True):
        by_flag.append(_ece(probability, came, weights))
    return np.asarray(np.mean(by_flag, axis=0))


def class_recall(true: Array, predicted: Array, weights: Array, classes: Array) -> Array:
    """The share of each class, or flag, that was found, [b, C]."""
    hits, are, _ = _hits(true, predicted, weights, classes)
    return _divide(hits, are)


def class_precision(true: Array, predicted: Array, weights: Array, classes: Array) -> Array:
    """The share of each class's, or flag's, predictions that was right, [b, C]."""
    hits, _, said = _hits(true, predicted, weights, classes)
    return _divide(hits, said)


def class_f1(true: Array, predicted: Array, weights: Array, classes: Array) -> Array:
    """The harmonic mean of each class's, or flag's, precision and recall, [b, C]."""
    hits, are, said = _hits(true, predicted, weights, classes)
    return _divide(2 * hits, are + said)


def class_auc(true: Array, outputs: Array, weights: Array, classes: Array) -> Array:
    """The area under the ROC curve of each class against the rest, or of each flag, [b, C]."""
    flags = true
    if true.ndim == 1:
        flags = true[:, None] == classes
    areas = []
    for flag, code in zip(flags.T, classes, strict=True):
        areas.append(_auc(flag, outputs[:, code], weights))
    return np.stack(areas, axis=1)


def confusion(true: Array, predicted: Array, count: int) -> Array:
    """How many rows of each class (down) were given each class (across), int64 [C, C].

    >>> confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    pairs = true * count + predicted
    counts = np.bincount(pairs, minlength=count * count)
    return counts.reshape(count, count)


def reliability(true: Array, outputs: Array) -> list[dict[str, float]]:
    """The reliability diagram: for each bin that is not empty, its mean probability, and n.

    `stated` is the mean probability, `true` the share that came true.
    """
    probability, came = stated(true, outputs)
    bin_of = bins(probability)
    found = []
    for number in range(BINS):
        inside = bin_of == number
        if inside.any():
            found.append(
                {
                    "stated": float(probability[inside].mean(dtype=np.float64)),
                    "true": float(came[inside].mean()),
                    "n": int(inside.sum()),
                }
            )
    return found


def stated(true: Array, outputs: Array) -> tuple[Array, Array]:
    """The probability of each prediction (of each flag), and whether it came true, [k] each."""
    if true.ndim > 1:
        return outputs.ravel(), true.ravel()
    right = outputs.argmax(axis=1) == true
    return outputs.max(axis=1), right


def _hits(
    true: Array, predicted: Array, weights: Array, classes: Array
) -> tuple[Array, Array, Array]:
    """The weight of what was found, of what is there, and of what was predicted, [b, C] each."""
    if true.ndim > 1:
        both = true & predicted
        found = weights @ both.astype(np.float64)
        are = weights @ true.astype(np.float64)
        said = weights @ predicted.astype(np.float64)
    else:
        right = weights * (true == predicted)
        found = _sums(true, right, classes)
        are = _sums(true, weights, classes)
        said = _sums(predicted, weights, classes)
    return found, are, said


def _sums(codes: Array, weights: Array, classes: Array) -> Array:
    """The weight of each class, [b, C]; sorted by class, its rows are summed in one pass."""
    order = np.argsort(codes, kind="stable")
    # `starts`: where the rows of each code begin among the sorted ones.
    found, starts = np.unique(codes[order], return_index=True)
    sums = np.zeros((len(weights), len(classes)))
    wanted = np.isin(found, classes)
    places = np.searchsorted(classes, found[wanted])
    sorted_weights = weights[:, order]
    by_code = np.add.reduceat(sorted_weights, starts, axis=1)
    sums[:, places] = by_code[:, wanted]
    return sums


def _classes(*codes: Array) -> Array:
    """The classes that occur, or the number of each flag."""
    if codes[0].ndim == 1:
        return np.unique(np.concatenate(codes))
    return np.arange(codes[0].shape[1])


def _auc(positive: Array, score: Array, weights: Array) -> Array:
    """The area from ranks: each positive against the negatives below it, and half of its equals."""
    order = np.argsort(score, kind="stable")
    _, starts = np.unique(score[order], return_index=True)
    drawn = weights[:, order]
    flag = positive[order]
    # The weight of positives and of negatives at each different score, [b, scores].
    up = np.add.reduceat(drawn * flag, starts, axis=1)
    down = np.add.reduceat(drawn * ~flag, starts, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    won = (up * below).sum(axis=1)
    pairs = up.sum(axis=1) * down.sum(axis=1)
    return _divide(won, pairs)


def _ece(stated: Array, came: Array, weights: Array) -> Array:
    bin_of = bins(stated)
    missed = came - stated
    gaps = []
    for number in range(BINS):
        inside = bin_of == number
        gap = weights[:, inside] @ missed[inside]
        gaps.append(np.abs(gap))
    total = np.sum(gaps, axis=0)
    return np.asarray(total / weights.sum(axis=1))


def bins(stated: Array) -> Array:
    """The bin int64 [n] of each probability; 1 falls into the last."""
    numbers = (stated * BINS).astype(np.int64)
    return np.minimum(numbers, BINS - 1)


def _mean(values: Array, weights: Array) -> Array:
    total = weights @ values
    return np.asarray(total / weights.sum(axis=1))


def _nanmean(values: Array) -> Array:
    """The mean over the classes, without those that have no score."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    return _divide(total, known.sum(axis=1))


def _divide(over: Array, under: Array) -> Array:
    """A quotient, NaN where the divisor is not positive."""
    found = np.full(np.shape(over), np.nan)
    np.divide(over, under, out=found, where=under > 0)
    return found
