"""What the outputs of a model are, chances or logits, and the steps from there to a head's outputs.

Its last layer tells, or the user says; numbers between 0 and 1 may be logits, so they tell nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.errors import UsageError
from dof_arrow.heads import layers
from dof_arrow.heads.activations import LogSigmoid, Operator
from dof_arrow.heads.export_graph import Graph, graph_gives
from dof_arrow.heads.exported import Exported, Gives
from dof_arrow.heads.layers import Step

Array = NDArray[Any]

OUTPUTS = ("logits", "chances")
_ROUNDING = 1e-3  # how far probabilities may miss 0 to 1, and their sum 1
_LINEAR = (layers.Affine, layers.Rescale)
_CHANCES = (layers.Function("softmax"), layers.Function("sigmoid"))
_ASK = 'Say what they are: outputs="logits" or outputs="chances"'


def check_option(outputs: str | None) -> None:
    """Raise UsageError for something that outputs cannot be."""
    if outputs is not None and outputs not in OUTPUTS:
        raise UsageError("no such outputs", "outputs", " or ".join(OUTPUTS), repr(outputs))


def ending(
    found: Exported, kind: str, answers: Array, count: int, outputs: str | None
) -> list[Step]:
    """The steps from what the model gives to what a head of `count` classes must give.

    `answers` [n, K] are the model's to rows of the dataset. Raises UsageError for another number of
    outputs, where nothing tells what they are, and for chances that are none.
    """
    columns = answers.shape[1]
    # One output may stand for two classes: the second one's.
    one_of_two = kind == "category" and count == 2 and columns == 1
    if columns != max(count, 1) and not one_of_two:
        raise UsageError(
            "the model has another number of outputs",
            expected=f"{max(count, 1)}",
            found=f"{columns}",
            hint="Pass classes=[…], the name of each output",
        )
    strange = int(np.count_nonzero(~np.isfinite(answers).all(axis=1)))
    if strange:
        raise UsageError(
            "the model's answers to rows of the dataset are no numbers",
            found.framework,
            "finite numbers",
            f"NaN or infinite for {strange} of {len(answers)} rows",
        )
    if kind == "regression":
        return []
    gives = _gives(found, outputs)
    steps: list[Step] = []
    if gives == "logits":
        steps.append(layers.Function("sigmoid" if one_of_two else layers.ENDS[kind]))
    else:
        if gives == "log chances":
            steps.append(Operator("Exp"))
            answers = np.exp(answers)
        _check_chances(answers, kind, one_of_two)
    if one_of_two:
        steps.append(layers.Both())
    return steps


def _gives(found: Exported, outputs: str | None) -> Gives:
    """What the outputs are: as the user says, or as the model tells."""
    if outputs == "logits":
        return "logits"
    if outputs == "chances":
        return "chances"
    gives = found.gives or told(found.steps)
    if gives == "distances":
        raise UsageError(
            "the model gives no chances",
            found.framework,
            "predict_proba",
            "a decision function, whose distances are no logits",
            'Wrap it in CalibratedClassifierCV, or take them as logits: outputs="logits"',
        )
    if gives is None:
        raise UsageError(
            "the model does not tell what its outputs are",
            found.framework,
            "a last layer that is softmax, sigmoid or linear",
            f"{_shown(found.steps)} at the end",
            _ASK,
        )
    return gives


def _shown(steps: Sequence[Step]) -> str:
    last = steps[-1]
    if isinstance(last, Graph):
        return last.model.graph.node[-1].op_type if last.model.graph.node else "nothing"
    return getattr(last, "name", "") or getattr(last, "kind", "") or type(last).__name__


def told(steps: Sequence[Step]) -> Gives | None:
    """What the last step says of the outputs; None if nothing."""
    last = steps[-1]
    if isinstance(last, Graph):
        return graph_gives(last.model)
    if isinstance(last, layers.Both) or last in _CHANCES:
        return "chances"
    if isinstance(last, LogSigmoid) or getattr(last, "kind", "") == "LogSoftmax":
        return "log chances"
    return "logits" if isinstance(last, _LINEAR) else None


def _check_chances(answers: Array, kind: str, one_of_two: bool) -> None:
    """Raise UsageError for numbers that cannot be probabilities."""
    clipped = np.clip(answers, -_ROUNDING, 1 + _ROUNDING)
    if not (clipped == answers).all():
        raise _no_chances("numbers from 0 to 1", f"{answers.min():.4g} to {answers.max():.4g}")
    sums = answers.sum(axis=1)
    if kind == "category" and not one_of_two and not np.allclose(sums, 1, atol=_ROUNDING):
        found = f"sums from {sums.min():.4g} to {sums.max():.4g}"
        raise _no_chances("chances of all classes that add up to 1", found)


def _no_chances(expected: str, found: str) -> UsageError:
    return UsageError(
        "the model's outputs are no chances",
        "rows of the dataset",
        expected,
        found,
        'End the model in a softmax, or give logits: outputs="logits"',
    )
