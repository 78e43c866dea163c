"""Write a model that was trained elsewhere as the ONNX head of a dataset.

Models come from torch, Keras, scikit-learn, JAX or ONNX. What was written is run on rows of the
dataset and compared with the model itself before it is given out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads import (
    export_keras,
    export_onnx,
    export_sklearn,
    export_torch,
    export_weights,
    layers,
)
from dof_arrow.heads import features as feature_columns
from dof_arrow.heads import labels as label_columns
from dof_arrow.heads.exported import Exported, fed
from dof_arrow.heads.head import Head, cores_of
from dof_arrow.heads.labels import Labelled
from dof_arrow.heads.layers import Step
from dof_arrow.storage.atomic import replacing

Array = NDArray[Any]
Json = Any

_SAMPLE = 256  # rows on which model and head are compared
_TOLERANCE = 1e-4  # between model and head, where outputs are about 1
_ROUNDING = 1e-3  # how far probabilities may miss 0 to 1, and their sum 1


def export_head(
    model: Any,
    *,
    like: Labelled,
    path: str | os.PathLike[str] | None = None,
    target: str | None = None,
    feature: str | None = None,
    classes: Sequence[str] | None = None,
    activation: str = "relu",
    outputs: Literal["logits", "chances"] | None = None,
    report: Mapping[str, Json] | None = None,
    overwrite: bool = False,
) -> bytes:
    """Write a trained model as a head of the dataset `like`; gives the ONNX bytes.

    `model` is a torch Module, a Keras model, a scikit-learn estimator or pipeline, an ONNX model
    (ModelProto, bytes or path), or the weights of a JAX network: a list of (weights [in, out],
    bias) with `activation` between. It takes features [n, D] of `like`, or clips [n, T, D], and
    gives a logit or a probability ("chance") for each class, or values. `outputs` says which of the
    two; by default its last layer tells, or the range of its outputs if its layers are not known.
    `classes` names the outputs in order, if they are not the target's classes. With `path` the
    bytes are also written to a file.

    Raises UsageError for a model that cannot be exported, CoreError if the ONNX head does not give
    what the model gives.
    """
    metadata = like.metadata
    name = label_columns.choose(metadata.targets, target)
    about = metadata.targets[name]
    (column,) = feature_columns.columns(like, [feature] if feature else [])
    sample = _sample(like, column)
    found = _exported(model, sample, activation)
    _check_same(found, sample)
    named = _class_names(found, classes, about)
    ending = _ending(found.steps, about.kind, sample, len(named), outputs)
    steps = [*found.steps, *ending]
    core = metadata.cores.get(metadata.columns[column].core or "")
    head = Head(
        target=name,
        kind=about.kind,
        classes=named,
        unit=about.unit,
        feature=column,
        core_sha256=core.sha256 if core else None,
        dataset_uuid=metadata.uuid,
        clips=layers.timed(steps),
        sampling=feature_columns.sampling(metadata),
        cores=cores_of(metadata, [column]),
        report={"how": f"exported from {found.framework}", **(report or {})},
    )
    data = _to_onnx(steps, about.kind, sample.shape[1], head)
    if path is not None:
        with replacing(path, overwrite=overwrite) as file:
            file.write(data)
    return data


def _sample(dataset: Labelled, column: str) -> Array:
    """The first rows of a feature column, float32 [n, D]."""
    primary = column == dataset.metadata.primary_column
    features = dataset.to_numpy(None if primary else column)[:_SAMPLE]
    rows = features.reshape(len(features), -1)
    return rows.astype(np.float32)


def _exported(model: Any, sample: Array, activation: str) -> Exported:
    """Read a model of any framework, told by the package that one of its classes comes from."""
    modules = [base.__module__ for base in type(model).__mro__]
    packages = {module.split(".")[0] for module in modules}
    if "keras" in packages:  # first: on its torch backend, Keras models are torch modules too
        return export_keras.exported(model, sample)
    if "torch" in packages:
        return export_torch.exported(model, sample)
    if "sklearn" in packages:
        return export_sklearn.exported(model, sample)
    if "onnx" in packages or isinstance(model, (bytes, str, Path)):
        return export_onnx.exported(model, sample)
    return export_weights.exported(model, activation)


def _run(steps: Sequence[Step], kind: str, sample: Array) -> Array:
    """What the steps give for the sample, as ONNX."""
    made = layers.to_model(steps, kind, sample.shape[1], "C")
    session = graph.session(graph.to_bytes(made))
    feature = fed(sample, layers.timed(steps))
    return graph.run(session, {"feature": feature})[0]


def _check_same(found: Exported, sample: Array) -> None:
    """Raise CoreError where the steps do not give what the model gives."""
    if found.expected is None:
        return
    ours = _run(found.steps, "regression", sample)
    theirs = np.asarray(found.expected, np.float64)
    theirs = theirs.reshape(len(ours), -1)
    largest = float(np.abs(theirs).max())
    tolerance = _TOLERANCE * max(1.0, largest)
    difference = str(ours.shape)
    if ours.shape == theirs.shape:
        if np.allclose(ours, theirs, atol=tolerance):
            return
        difference = str(float(np.abs(ours - theirs).max()))
    raise CoreError(
        "the ONNX head differs from the model",
        found.framework,
        f"equal to {tolerance:g}",
        difference,
        "Put the model into eval mode; report this if it was",
    )


def _class_names(found: Exported, classes: Sequence[str] | None, about: Target) -> tuple[str, ...]:
    """The class of each output, in order: as given, as the model knows them, or the target's."""
    if about.kind == "regression":
        return ()
    if classes is None and found.codes is not None:
        return tuple(_class_name(code, about) for code in found.codes)
    return tuple(classes or about.classes)


def _class_name(code: Any, about: Target) -> str:
    """The name of a class that a model knows by name or by number."""
    return code if isinstance(code, str) else about.classes[int(code)]


def _ending(
    steps: Sequence[Step], kind: str, sample: Array, count: int, outputs: str | None
) -> list[Step]:
    """The steps from what the model gives to what a head of `count` classes must give."""
    answers = _run(steps, kind, sample)
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
    if kind == "regression":
        return []
    if outputs is None:
        probabilities = _are_probabilities(steps[-1], answers, kind)
    else:
        probabilities = outputs == "chances"
    ending: list[Step] = []
    if not probabilities:
        ending.append(layers.Function("sigmoid" if one_of_two else layers.ENDS[kind]))
    if one_of_two:
        ending.append(layers.Both())
    return ending


def _are_probabilities(last: Step, answers: Array, kind: str) -> bool:
    """Whether a model gives probabilities: by its last step, or by its answers if that is Graph."""
    if not isinstance(last, export_onnx.Graph):
        known = (layers.Function("softmax"), layers.Function("sigmoid"))
        return isinstance(last, layers.Both) or last in known
    clipped = np.clip(answers, -_ROUNDING, 1 + _ROUNDING)
    within = bool((clipped == answers).all())
    if kind == "category" and answers.shape[1] > 1:
        sums = answers.sum(axis=1)
        return within and bool(np.allclose(sums, 1, atol=_ROUNDING))
    return within


def _to_onnx(steps: Sequence[Step], kind: str, width: int, head: Head) -> bytes:
    described = json.dumps(to_json(head), ensure_ascii=False, separators=(",", ":"))
    columns = len(head.classes) or 1
    made = layers.to_model(steps, kind, width, columns, {"dof.head": described})
    return graph.to_bytes(made)
