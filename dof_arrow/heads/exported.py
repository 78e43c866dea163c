"""A model of another framework, read as the steps of a head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads.layers import Step

Array = NDArray[Any]
# What the outputs for classes are; `distances` are a decision function, which is no logit.
Gives = Literal["logits", "chances", "log chances", "distances"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The steps of a model, and what the model itself says, to compare them with."""

    framework: str
    steps: list[Step]
    says: Callable[[Array], Any] | None = None
    """Its answers to rows float32 [n, D] or clips [n, T, D]; None where it cannot be run here."""
    name: str = ""
    """The model in a few words, for messages."""
    codes: Sequence[Any] | None = None
    """The class of each output, by name or number; None where the model does not know."""
    gives: Gives | None = None
    """What its outputs for classes are; None where nothing in the model tells."""
    double: bool = False
    """Whether the head must compute in float64, as the model does."""
    edges: Array | None = None
    """Rows float32 [m, D] at which the answer jumps; where given, answers must be exactly equal."""


def clips(rows: Array, frames: int) -> Array:
    """Rows [n, D] as clips [n // frames, frames, D] of frames in a row."""
    count = len(rows) // frames
    return rows[: count * frames].reshape(count, frames, -1)


def unknown(framework: str, found: str, expected: str, hint: str = "") -> UsageError:
    """The error for a part of a model that has no counterpart among the steps."""
    return UsageError(
        f"a {framework} model that cannot be exported",
        expected=expected,
        found=found,
        hint=hint
        or "Otherwise convert the model to ONNX with its framework's own tool and pass that",
    )


def float32(value: Any) -> Array:
    """Numbers as a float32 array."""
    return np.asarray(value, np.float32)
