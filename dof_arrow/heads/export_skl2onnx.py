"""scikit-learn's other estimators, converted by skl2onnx."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import DofError, require
from dof_arrow.heads.activations import Columns
from dof_arrow.heads.export_graph import Graph
from dof_arrow.heads.exported import unknown
from dof_arrow.heads.layers import Step

Array = NDArray[Any]

_MACHINE_LEARNING = 3  # the version of ai.onnx.ml
_HINT = "Train an estimator that is listed in docs/heads-and-frameworks.md"
# Where answers jump, equal to a tolerance is not enough.
_JUMPING = ("sklearn.tree", "sklearn.ensemble", "sklearn.neighbors")


def steps(
    model: Any, parts: Sequence[Any], rows: Array, says: Callable[[Array], Any]
) -> tuple[list[Step], Array | None]:
    """One step for the whole model, and rows on which it must be exactly equal.

    In float64, or in float32 where an operator knows no other or the answers are nearer so. Raises
    UsageError, by the estimator's name, where skl2onnx cannot convert it.
    """
    require("skl2onnx", extra="sklearn-onnx")
    expected = np.asarray(says(rows), np.float64)
    columns = expected.reshape(len(rows), -1).shape[1]
    found, reasons = [], []
    for wide in (True, False):
        try:
            converted = _converted(model, parts[-1], rows.shape[1], wide)
            step: list[Step] = [Graph(converted), *_last_columns(converted, rows, columns)]
            found.append((_off(step, rows, expected), step))
        except Exception as error:  # the converter and the runtime raise whatever they like
            reasons.append(
                graph.first_line(error) if not isinstance(error, DofError) else error.found
            )
    if not found:
        names = " and ".join(type(part).__name__ for part in parts)
        raise unknown(
            "scikit-learn", f"{names} (skl2onnx: {reasons[-1]})", "what skl2onnx converts", _HINT
        )
    best = min(found, key=lambda each: each[0])[1]
    jumping = any(type(part).__module__.startswith(_JUMPING) for part in _all(model))
    return best, rows if jumping else None


def _converted(model: Any, final: Any, width: int, wide: bool) -> Any:
    import onnx
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    kind = DoubleTensorType if wide else FloatTensorType
    options = {id(final): {"zipmap": False}} if hasattr(final, "classes_") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's own
        logging.getLogger("skl2onnx").setLevel(logging.ERROR)
        converted = to_onnx(
            model,
            initial_types=[("feature", kind([None, width]))],
            target_opset={"": graph.OPSET, "ai.onnx.ml": _MACHINE_LEARNING},
            options=options,
        )
    plain = onnx.ModelProto()
    plain.ParseFromString(converted.SerializeToString())
    return graph.extract(graph.inlined(plain), [plain.graph.output[-1].name])


def _last_columns(model: Any, rows: Array, columns: int) -> list[Step]:
    """Only the last column, where the model has one answer for two classes and this one two."""
    from dof_arrow.heads.export_onnx import answers

    found = answers(model)(rows[:2])
    width = found.reshape(len(rows[:2]), -1).shape[1]
    return [Columns((1,))] if (width, columns) == (2, 1) else []


def _off(steps: Sequence[Step], rows: Array, expected: Array) -> float:
    """How far answers are from the model's."""
    from dof_arrow.heads.export_check import runner

    found = runner(steps, "category", rows.shape[1], False)(rows)
    return float(np.abs(found.reshape(expected.shape) - expected).max())


def _all(model: Any) -> list[Any]:
    """An estimator and all that it holds."""
    held = [value for value in model.get_params(deep=True).values() if hasattr(value, "get_params")]
    return [model, *held]
