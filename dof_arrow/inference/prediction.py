"""What one head predicts for one picture or clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from dof_arrow.heads.head import Head

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A prediction, by the kind of target of its head.

    Category: `label` is the most probable class. Multilabel: `labels` are those of probability 1/2
    or more. Both have the `probabilities` by class. Regression: `value`, in `unit`.
    `json_model.to_json` gives its JSON form.
    """

    kind: str
    label: str | None = None
    labels: tuple[str, ...] = ()
    value: float | None = None
    unit: str | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)


def prediction(head: Head, output: Array) -> Prediction:
    """What one row of a head's output says.

    >>> import numpy as np
    >>> head = Head(target="sex", kind="category", classes=("f", "m"), unit=None,
    ...             feature="feature", core_sha256=None, dataset_uuid="", report={})
    >>> prediction(head, np.array([0.25, 0.75])).label
    'm'
    """
    if head.kind == "regression":
        value = float(output[0])
        return Prediction(kind=head.kind, value=value, unit=head.unit)
    probabilities = dict(zip(head.classes, map(float, output), strict=True))
    if head.kind == "category":
        label = max(probabilities, key=probabilities.__getitem__)
        return Prediction(kind=head.kind, label=label, probabilities=probabilities)
    labels = tuple(name for name, likely in probabilities.items() if likely >= 0.5)
    return Prediction(kind=head.kind, labels=labels, probabilities=probabilities)
