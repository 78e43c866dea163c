"""How good predictions are, as pure functions of arrays.

A metric takes what is true, what was predicted and **weights** `float64 [b, n]`, one row of weights per resample, and
gives `b` scores, or `[b, C]` one for each class. So one function serves the score itself (weights of one) and its
bootstrap, whatever is resampled. True and predicted are class codes `int [n]`, flags `bool [n, C]` or values
`float [n]`; those that judge chances take `outputs` `float [n, C]`. What cannot be had is NaN.
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
    """Share of right answers; for flags `bool [n, C]`, of right flags.

    >>> accuracy(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), np.ones((1, 4)))
    array([0.75])
    """
    return _mean(_by_row(true == predicted), weights)


def balanced_accuracy(true: Array, predicted: Array, weights: Array) -> Array:
    """Mean over the classes of the share of right answers in each; classes of no weight do not count.

    For flags, every flag is a question of two classes, and the mean is taken over the flags.
    Source: Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010.

    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), np.ones((1, 4)))
    array([0.5])
    """
    if true.ndim == 1:
        return _nanmean(class_recall(true, predicted, weights, _classes(true)))
    return _nanmean(
        np.stack(
            [balanced_accuracy(t, p, weights) for t, p in zip(true.T, predicted.T, strict=True)], 1
        )
    )


def f1(true: Array, predicted: Array, weights: Array) -> Array:
    """Mean over the classes, or the flags, of the harmonic mean of precision and recall; absent ones do not count.

    >>> f1(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), np.ones((1, 4))).round(3)
    array([0.733])
    """
    return _nanmean(class_f1(true, predicted, weights, _classes(true, predicted)))


def r2(true: Array, predicted: Array, weights: Array) -> Array:
    """Share of the variance explained, 1 - SSE / SST; NaN where what is true does not vary.

    >>> r2(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]), np.ones((1, 3)))
    array([1.])
    """
    centred = true - true.mean()
    total = _mean(centred**2, weights) - _mean(centred, weights) ** 2
    total[total <= _CONSTANT * np.mean(centred**2)] = 0.0
    return 1.0 - _divide(_mean((true - predicted) ** 2, weights), total)


def mae(true: Array, predicted: Array, weights: Array) -> Array:
    """Mean absolute error, in the target's unit.

    >>> mae(np.array([1.0, 2.0]), np.array([1.0, 4.0]), np.ones((1, 2)))
    array([1.])
    """
    return _mean(np.abs(true - predicted), weights)


def auc(true: Array, outputs: Array, weights: Array) -> Array:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Of two classes the second one's; of more, the mean over the classes of each against the rest; of flags the mean.
    Source: Hanley & McNeil, Radiology 143, 1982.

    >>> auc(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.6, 0.4], [0.95, 0.05]]), np.ones((1, 3)))
    array([0.5])
    """
    if true.ndim == 1 and outputs.shape[1] == 2:
        return _auc(true == 1, outputs[:, 1], weights)
    return _nanmean(class_auc(true, outputs, weights, np.arange(outputs.shape[1])))


def ece(true: Array, outputs: Array, weights: Array) -> Array:
    """Expected calibration error: how far stated chances are from what came true, in ten bins of equal width.

    Of classes, the chance of the predicted one; of flags, the chance of each flag, averaged over the flags.
    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    >>> ece(np.array([0, 0, 1, 1]), np.array([[0.8, 0.2]] * 4), np.ones((1, 4))).round(3)
    array([0.3])
    """
    if true.ndim > 1:
        return np.asarray(
            np.mean([_ece(o, t, weights) for o, t in zip(outputs.T, true.T, strict=True)], axis=0)
        )
    return _ece(outputs.max(axis=1), outputs.argmax(axis=1) == true, weights)


def class_recall(true: Array, predicted: Array, weights: Array, classes: Array) -> Array:
    """`[b, C]`: the share of each class, or flag, that was found."""
    return _divide(*(_hits(true, predicted, weights, classes)[i] for i in (0, 1)))


def class_precision(true: Array, predicted: Array, weights: Array, classes: Array) -> Array:
    """`[b, C]`: the share of each class's, or flag's, predictions that was right."""
    return _divide(*(_hits(true, predicted, weights, classes)[i] for i in (0, 2)))


def class_f1(true: Array, predicted: Array, weights: Array, classes: Array) -> Array:
    """`[b, C]`: the harmonic mean of each class's, or flag's, precision and recall."""
    hits, are, said = _hits(true, predicted, weights, classes)
    return _divide(2 * hits, are + said)


def class_auc(true: Array, outputs: Array, weights: Array, classes: Array) -> Array:
    """`[b, C]`: the area under the ROC curve of each class against the rest, or of each flag."""
    flags = true if true.ndim > 1 else true[:, None] == classes
    return np.stack(
        [_auc(flag, outputs[:, c], weights) for flag, c in zip(flags.T, classes, strict=True)],
        axis=1,
    )


def confusion(true: Array, predicted: Array, count: int) -> Array:
    """`int64 [C, C]`: how many rows of each class (down) were given each class (across).

    >>> confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    return np.bincount(true * count + predicted, minlength=count * count).reshape(count, count)


def reliability(true: Array, outputs: Array) -> list[dict[str, float]]:
    """The reliability diagram: of each bin that has any, the mean chance stated, the share that came true, and n."""
    stated = outputs.ravel() if true.ndim > 1 else outputs.max(axis=1)
    came = true.ravel() if true.ndim > 1 else outputs.argmax(axis=1) == true
    place = _bins(stated)
    return [
        {
            "stated": float(stated[place == i].mean()),
            "true": float(came[place == i].mean()),
            "n": int((place == i).sum()),
        }
        for i in range(BINS)
        if (place == i).any()
    ]


def _hits(
    true: Array, predicted: Array, weights: Array, classes: Array
) -> tuple[Array, Array, Array]:
    """`[b, C]` each: the weight of what was found, of what is there, of what was said to be there."""
    if true.ndim > 1:
        found, are, said = (
            weights @ part.astype(np.float64) for part in (true & predicted, true, predicted)
        )
        return found, are, said
    right = weights * (true == predicted)
    return (
        _sums(true, right, classes),
        _sums(true, weights, classes),
        _sums(predicted, weights, classes),
    )


def _sums(codes: Array, weights: Array, classes: Array) -> Array:
    """`[b, C]`: the weight of each class."""
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    sums = np.zeros((len(weights), len(classes)))
    wanted = np.isin(found, classes)
    places = np.searchsorted(classes, found[wanted])
    sums[:, places] = np.add.reduceat(weights[:, order], starts, axis=1)[:, wanted]
    return sums


def _classes(*codes: Array) -> Array:
    return np.unique(np.concatenate(codes)) if codes[0].ndim == 1 else np.arange(codes[0].shape[1])


def _auc(positive: Array, score: Array, weights: Array) -> Array:
    order = np.argsort(score, kind="stable")
    starts = np.unique(score[order], return_index=True)[1]
    drawn = weights[:, order]
    up = np.add.reduceat(drawn * positive[order], starts, axis=1)
    down = np.add.reduceat(drawn * ~positive[order], starts, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    return _divide((up * below).sum(axis=1), up.sum(axis=1) * down.sum(axis=1))


def _ece(stated: Array, came: Array, weights: Array) -> Array:
    place = _bins(stated)
    gaps = [np.abs(weights[:, place == i] @ (came - stated)[place == i]) for i in range(BINS)]
    return np.asarray(np.sum(gaps, axis=0) / weights.sum(axis=1))


def _bins(stated: Array) -> Array:
    return np.minimum((stated * BINS).astype(np.int64), BINS - 1)


def _by_row(right: Array) -> Array:
    return right.mean(axis=1) if right.ndim > 1 else right.astype(np.float64)


def _mean(values: Array, weights: Array) -> Array:
    return np.asarray((weights @ values) / weights.sum(axis=1))


def _nanmean(values: Array) -> Array:
    known = np.isfinite(values)
    return _divide(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))


def _divide(over: Array, under: Array) -> Array:
    return np.asarray(np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0))
