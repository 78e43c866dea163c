"""A small decoder of pictures: a net with one hidden layer, beside the linear attacker.

What it says is mixed with what the linear attacker says, in the measure that helps for groups that
the net has not seen. So it is about as good as that one where no more is to be learned, and better
where pictures bend as features change.

D. Kingma and J. Ba, "Adam: a method for stochastic optimization" (2015).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dof_arrow.privacy.attacks.ridge import Ridge, strength_for, tried
from dof_arrow.sampling.splits import folds

Array = NDArray[Any]

_HIDDEN = 256
_WAVES = 12  # along either side of a picture, which the net says; finer ones are linear
_BATCH = 64
_ROUND = 50  # batches, after which it is looked whether others gained
_MOST = 40  # rounds
_PATIENCE = 2  # rounds without a gain
_HELD_OUT = 5  # one part in so many of the groups says when to stop
_RATE = 1e-3
_DECAY = (0.9, 0.999)  # of Adam's running means, of gradients and of their squares
_TINY = np.float32(1e-8)


class Decoded(NamedTuple):
    """Pictures float64 [n, h * w], each said by attackers who were taught on other groups.

    `mean` is what is said without any features.
    """

    linear: Array
    decoder: Array
    mean: Array


def decoded(x: Array, pictures: Array, groups: Array, seed: int) -> Decoded:
    """Pictures [n, h, w] from features float [n, D], said by ridge and by a decoder."""
    height, width = pictures.shape[1:]
    waves = np.kron(_waves(height), _waves(width))
    y = pictures.reshape(len(pictures), -1).astype(np.float64)
    found = Decoded(np.empty(y.shape), np.empty(y.shape), np.empty(y.shape))
    for out in tried(groups, seed):
        taught = ~out
        seen, wanted = x[taught], y[taught]
        strength = strength_for(seen, wanted, groups[taught], seed)
        model = Ridge(seen, wanted)
        unseen = model.unseen(seen, wanted, strength) - model.mean
        centred = wanted - model.mean
        net = _Net(model.standard(seen), centred @ waves.T, seed)
        net.learn(unseen @ waves.T, groups[taught])
        attacked = x[out]
        linear = model(attacked, strength)
        slow = (linear - model.mean) @ waves.T
        gained = net.beyond(slow, model.standard(attacked))
        found.linear[out] = linear
        found.decoder[out] = linear + gained @ waves
        found.mean[out] = model.mean
    return found


class _Net:
    """Says y float [n, m] of x float [n, D], both around 0, after it has learned."""

    def __init__(self, x: Array, y: Array, seed: int) -> None:
        self._random = np.random.default_rng([seed, 7])
        self._seed = seed
        self._unit = float(np.sqrt(np.square(y).mean())) or 1.0
        self._x = np.asarray(x, np.float32)
        self._y = np.asarray(y / self._unit, np.float32)
        first = self._random.normal(0, np.sqrt(2 / x.shape[1]), (x.shape[1], _HIDDEN))
        # Weights and offsets of either layer; it says nothing until it has learned.
        self._weights = [np.asarray(first, np.float32)]
        for shape in ((_HIDDEN,), (_HIDDEN, y.shape[1]), (y.shape[1],)):
            self._weights.append(np.zeros(shape, np.float32))
        self._share = 0.0

    def learn(self, linear: Array, groups: Array) -> None:
        """Learn from most groups, until what others gain over `linear` [n, m] grows no more."""
        count = min(_HELD_OUT, len(np.unique(groups)))
        held_out = folds(groups, count, seed=self._seed) == 0
        taught = np.flatnonzero(~held_out)
        others = self._x[held_out]
        said_already = np.asarray(linear[held_out] / self._unit, np.float32)
        missed = self._y[held_out] - said_already
        kept = [each.copy() for each in self._weights]
        least = _energy(missed)
        adam = _Adam(self._weights)
        waited = 0
        for _ in range(_MOST):
            for _ in range(_ROUND):
                batch = self._random.choice(taught, _BATCH)
                adam.step(self._slopes(batch))
            apart = self._said(others) - said_already
            share = _share(missed, apart)
            left = missed - share * apart
            error = _energy(left)
            waited += 1
            if error < least:
                least = error
                waited = 0
                self._share = share
                kept = [each.copy() for each in self._weights]
            if waited == _PATIENCE:
                break
        self._weights = kept

    def beyond(self, linear: Array, x: Array) -> Array:
        """What is to be added to `linear` float [k, m], said of x float [k, D]."""
        said = self._said(np.asarray(x, np.float32))
        apart = said * np.float64(self._unit) - linear
        return np.asarray(self._share * apart)

    def _said(self, x: Array) -> Array:
        _, _, second, last = self._weights
        return np.asarray(self._hidden(x) @ second + last)

    def _hidden(self, x: Array) -> Array:
        first, offset, _, _ = self._weights
        return np.asarray(np.maximum(x @ first + offset, 0))

    def _slopes(self, rows: Array) -> list[Array]:
        """The gradient of the mean squared error of some rows, for each of the weights."""
        second = self._weights[2]
        x = self._x[rows]
        hidden = self._hidden(x)
        missed = self._said(x) - self._y[rows]
        error = missed * np.float32(2 / len(rows))
        back = (error @ second.T) * (hidden > 0)
        return [
            x.T @ back,
            back.sum(axis=0),
            hidden.T @ error,
            error.sum(axis=0),
        ]


class _Adam:
    """Steps down, which are long for weights whose slopes are steady."""

    def __init__(self, weights: list[Array]) -> None:
        self._weights = weights
        self._means = [np.zeros_like(each) for each in weights]
        self._squares = [np.zeros_like(each) for each in weights]
        self._steps = 0

    def step(self, slopes: list[Array]) -> None:
        """Change the weights in place."""
        self._steps += 1
        slow, slower = _DECAY
        started = 1 - slow**self._steps
        spread = np.sqrt(1 - slower**self._steps)
        rate = np.float32(_RATE * spread / started)
        kept = zip(self._weights, self._means, self._squares, slopes, strict=True)
        for weights, mean, squares, slope in kept:
            mean += (1 - slow) * (slope - mean)
            squares += (1 - slower) * (np.square(slope) - squares)
            size = np.sqrt(squares) + _TINY
            weights -= rate * mean / size


def _waves(side: int) -> Array:
    """The slowest cosines along a side, of length 1, float64 [k, side]."""
    count = min(_WAVES, side)
    places = np.pi * (np.arange(side) + 0.5) / side
    waves = np.cos(np.outer(np.arange(count), places))
    lengths = np.linalg.norm(waves, axis=1, keepdims=True)
    return np.asarray(waves / lengths)


def _share(missed: Array, apart: Array) -> float:
    """How much of `apart` leaves the least of what was missed, 0 to 1."""
    whole = _energy(apart)
    if not whole:
        return 0.0
    share = float(np.vdot(missed, apart)) / whole
    return min(max(share, 0.0), 1.0)


def _energy(values: Array) -> float:
    return float(np.square(values).sum(dtype=np.float64))
