"""Clips of different lengths in one array, with zeros behind the end of each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Padded(NamedTuple):
    """Clips of a batch: features or pictures `[k, T, *shape]`, zeros behind each clip's end.

    `lengths` int32 [k] is how many of the T steps belong to each clip.
    """

    features: Array
    lengths: Array

    @property
    def mask(self) -> Array:
        """Which steps belong to a clip, bool [k, T]."""
        steps = np.arange(self.features.shape[1])
        return steps < self.lengths[:, None]


def cut_to_longest(x: Array, lengths: Array) -> Padded:
    """Clips `[k, longest possible, *shape]` cut to the longest of these, zeros behind their ends.

    >>> cut_to_longest(np.ones((2, 4)), np.array([1, 2])).features.tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    padded = Padded(np.ascontiguousarray(x[:, : lengths.max()]), lengths)
    padded.features[~padded.mask] = 0  # normalization may have moved them
    return padded


def from_steps(steps: Array, lengths: Array) -> Padded:
    """Clips from their steps `[sum of lengths, *shape]`, one clip behind the other.

    >>> from_steps(np.array([1.0, 2.0, 3.0]), np.array([1, 2])).features.tolist()
    [[1.0, 0.0], [2.0, 3.0]]
    """
    features = np.zeros((len(lengths), lengths.max(), *steps.shape[1:]), steps.dtype)
    padded = Padded(features, lengths.astype(np.int32))
    padded.features[padded.mask] = steps
    return padded
