"""A model of another framework, read as the steps of a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads.layers import Step

Array = NDArray[Any]

# Layers that do nothing in use, by the names of their classes in torch and Keras.
NOTHING = {
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "Identity",
    "InputLayer",
}
_CLIPS = 8  # how many clips are made of the sample


@dataclass(frozen=True, slots=True)
class Exported:
    """The steps of a model, and what the model itself says, to compare them with.

    `expected` is its output for `fed(sample)`, None where the model cannot be run here; `codes` the
    class of each output, by name or number, None where the model does not know.
    """

    framework: str
    steps: list[Step]
    expected: Any = None
    codes: Sequence[Any] | None = None


def fed(sample: Array, timed: bool) -> Array:
    """Sample rows [n, D] as a model takes them: as they are, or as clips [8, n / 8, D]."""
    if not timed:
        return sample
    if len(sample) < _CLIPS:
        return sample[None]
    whole = len(sample) // _CLIPS * _CLIPS
    return np.stack(np.array_split(sample[:whole], _CLIPS))


def unknown(framework: str, found: str, expected: str) -> UsageError:
    """The error for a part of a model that has no counterpart among the steps."""
    return UsageError(
        f"a {framework} model that cannot be exported",
        expected=expected,
        found=found,
        hint="Otherwise convert the model to ONNX with its framework's own tool and pass that",
    )
