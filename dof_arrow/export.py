"""Heads that were trained elsewhere, in torch, Keras, scikit-learn or JAX, written as ONNX heads of a dataset.

Known layers are written straight from their weights; of torch modules with anything else, torch's own exporter is
asked. What was written is run on rows of the dataset and compared with the model itself before it is given out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dof_arrow import export_frameworks as frameworks
from dof_arrow import graph, inputs, labels, stack
from dof_arrow.commit import replacing
from dof_arrow.declare import to_json
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.export_frameworks import Exported
from dof_arrow.labels import Labelled
from dof_arrow.metadata import Target
from dof_arrow.predict import Head

Array = NDArray[Any]
Json = Any

_SAMPLE = 256  # rows on which model and head are compared
_TOLERANCE = 1e-4
_CERTAIN = 1e-3


def export_head(
    model: Any, *, like: Labelled, path: str | os.PathLike[str] | None = None, target: str | None = None,
    feature: str | None = None, classes: Sequence[str] | None = None, activation: str = "relu",
    outputs: Literal["logits", "chances"] | None = None, report: Mapping[str, Json] | None = None,
    overwrite: bool = False,
) -> bytes:
    """Write a trained model as the head of the dataset that it was trained on; the ONNX bytes, also at `path`.

    `model` is a torch Module, a Keras model, a scikit-learn estimator or pipeline, or the weights of a JAX network as
    a list of (weights [in, out], bias) with `activation` between. It takes `like`'s features [n, D], or clips
    [n, T, D], and gives a logit or a chance for each class, or values. `outputs` tells which of the two; otherwise its
    last layer does, or where the layers are not known, what it says of the dataset. `classes` names its outputs where
    they are not the target's, in their order. Raises UsageError for a model that
    cannot be exported, CoreError where the ONNX head does not say what the model says.
    """
    metadata = like.metadata
    name = labels.choose(metadata.targets, target)
    about = metadata.targets[name]
    (column,) = inputs.columns(like, [feature] if feature else [])
    features = like.to_numpy(None if column == metadata.primary_column else column)[:_SAMPLE]
    sample = features.reshape(len(features), -1).astype(np.float32)
    found = frameworks.exported(model, sample, activation)
    _check_same(found, sample)
    given = _named(found, classes, about)
    answers = _run(found.steps, about.kind, sample, found.timed)
    chances = outputs == "chances" if outputs else _are_chances(found.steps[-1], answers, about.kind)
    steps = [*found.steps, *_ending(answers.shape[1], chances, about.kind, len(given))]
    core = metadata.cores.get(metadata.columns[column].core or "")
    head = Head(target=name, kind=about.kind, classes=given, unit=about.unit, feature=column,
                core_sha256=core.sha256 if core else None, dataset_uuid=metadata.uuid, clips=found.timed,
                sampling=inputs.sampling(metadata),
                report={"how": f"exported from {found.framework}", **(report or {})})
    data = _written(steps, about.kind, sample.shape[1], head)
    if path is not None:
        with replacing(path, overwrite=overwrite) as file:
            file.write(data)
    return data


def _written(steps: Sequence[stack.Step], kind: str, width: int, head: Head) -> bytes:
    described = json.dumps(to_json(head), ensure_ascii=False, separators=(",", ":"))
    return graph.to_bytes(stack.to_model(steps, kind, width, len(head.classes) or 1, {"dof.head": described}))


def _run(steps: Sequence[stack.Step], kind: str, sample: Array, timed: bool) -> Array:
    """What steps say of the sample: of its rows, or of eight clips made of them."""
    session = graph.session(graph.to_bytes(stack.to_model(steps, kind, sample.shape[1], "C")))
    return graph.run(session, {"feature": _fed(sample, timed)})[0]


def _fed(sample: Array, timed: bool) -> Array:
    return np.stack(np.array_split(sample[: len(sample) // 8 * 8], 8)) if timed and len(sample) >= 8 else (
        sample[None] if timed else sample)


def _check_same(found: Exported, sample: Array) -> None:
    """The steps say what the model says."""
    if found.own is None:
        return
    ours, theirs = _run(found.steps, "regression", sample, found.timed), found.own(_fed(sample, found.timed))
    theirs = np.asarray(theirs, np.float64).reshape(len(ours), -1)
    scale = max(1.0, float(np.abs(theirs).max()))
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, atol=_TOLERANCE * scale):
        worst = float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else f"{ours.shape}"
        raise CoreError("the ONNX head differs from the model", found.framework, f"equal to {_TOLERANCE * scale:g}",
                        str(worst), "Put the model into eval mode; report this if it was")


def _named(found: Exported, classes: Sequence[str] | None, about: Target) -> tuple[str, ...]:
    """The class of each output, in order."""
    if about.kind == "regression":
        return ()
    if classes is None and found.codes is not None:
        return tuple(c if isinstance(c, str) else about.classes[int(c)] for c in found.codes)
    return tuple(classes or about.classes)


def _are_chances(last: stack.Step, answers: Array, kind: str) -> bool:
    """Whether a model says chances, not logits: by its last layer, or by what it says where that is not known."""
    if not isinstance(last, frameworks.Graph):
        return isinstance(last, stack.Both) or last in (stack.Function("softmax"), stack.Function("sigmoid"))
    within = bool(((answers >= -_CERTAIN) & (answers <= 1 + _CERTAIN)).all())
    if kind == "category" and answers.shape[1] > 1:
        return within and bool(np.allclose(answers.sum(axis=1), 1, atol=_CERTAIN))
    return within


def _ending(columns: int, chances: bool, kind: str, count: int) -> list[stack.Step]:
    """The steps from what the model says to what a head must say."""
    one_of_two = kind == "category" and count == 2 and columns == 1
    if columns != max(count, 1) and not one_of_two:
        raise UsageError("the model has another number of outputs", expected=f"{max(count, 1)}", found=f"{columns}",
                         hint="Pass classes=[…], the name of each output")
    if kind == "regression":
        return []
    if one_of_two:
        return [*([] if chances else [stack.Function("sigmoid")]), stack.Both()]
    return [] if chances else [stack.Function(stack.ENDS[kind])]
