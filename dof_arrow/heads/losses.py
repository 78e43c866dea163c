"""What the training of a network minimises, with the weights of rare classes (extra `torch`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Tensor = Any
Loss = Callable[[Tensor, Tensor], Tensor]


def loss_of(kind: str, y: Array, outputs: int, balance: bool) -> Loss:
    """The mean loss of logits [n, K], given what is true, for a kind of target.

    `y` are the labels of training; with `balance` they weigh the classes.
    """
    import torch

    if kind == "regression":
        return _squared_error
    if kind == "category":
        weights = torch.from_numpy(class_weights(y, outputs)) if balance else None
        return partial(_cross_entropy, weights=weights)
    positive = torch.from_numpy(flag_weights(y)) if balance else None
    return partial(_binary_cross_entropy, positive=positive)


def class_weights(y: Array, count: int) -> Array:
    """Weights float32 [C]: classes that occur weigh the same in all, rows 1 on average.

    >>> class_weights(np.array([0, 0, 0, 1]), 2).round(3)
    array([0.667, 2.   ], dtype=float32)
    """
    sizes = np.bincount(y, minlength=count)
    occurs = sizes > 0
    share = len(y) / occurs.sum()
    nothing = np.zeros(count)
    weights = np.divide(share, sizes, out=nothing, where=occurs)
    return np.asarray(weights, np.float32)


def flag_weights(y: Array) -> Array:
    """Weights float32 [C] of a set flag: all set ones weigh as much as all that are not.

    >>> flag_weights(np.array([[True], [False], [False]]))
    array([2.], dtype=float32)
    """
    set_rows = y.sum(axis=0)
    unset_rows = len(y) - set_rows
    occurs = set_rows > 0
    neutral = np.ones(y.shape[1])
    weights = np.divide(unset_rows, set_rows, out=neutral, where=occurs)
    return np.asarray(weights, np.float32)


def _squared_error(logits: Tensor, true: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.mse_loss(logits[:, 0], true)


def _cross_entropy(logits: Tensor, true: Tensor, weights: Tensor | None) -> Tensor:
    from torch.nn import functional

    # torch's own weighted mean divides by the weights in the batch: in a batch without some class,
    # that would undo them.
    total = functional.cross_entropy(logits, true, weight=weights, reduction="sum")
    return total / len(true)


def _binary_cross_entropy(logits: Tensor, true: Tensor, positive: Tensor | None) -> Tensor:
    from torch.nn import functional

    return functional.binary_cross_entropy_with_logits(logits, true, pos_weight=positive)
