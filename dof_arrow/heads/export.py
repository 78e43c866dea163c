"""Write a model that was trained elsewhere as the ONNX head of a dataset.

Models come from torch, Keras, scikit-learn, JAX or ONNX. What was written is run on rows of the
dataset and compared with the model itself before it is given out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import UsageError
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.heads import (
    export_keras,
    export_labels,
    export_onnx,
    export_outputs,
    export_sklearn,
    export_torch,
    export_weights,
    layers,
)
from dof_arrow.heads import features as feature_columns
from dof_arrow.heads import labels as label_columns
from dof_arrow.heads.activations import Rows
from dof_arrow.heads.export_check import check_same, model_answers, runner
from dof_arrow.heads.export_graph import Graph
from dof_arrow.heads.exported import Exported, clips
from dof_arrow.heads.head import Head, cores_of
from dof_arrow.heads.labels import Labelled
from dof_arrow.heads.layers import Step
from dof_arrow.heads.probes import BATCH
from dof_arrow.storage.atomic import replacing
from dof_arrow.tables.targets import learned_kind

Array = NDArray[Any]
Json = Any


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
    two; by default its last layer tells. An estimator's own `classes_` name the outputs; `classes`
    does so in order, if they are not the target's classes. With `path` the bytes are also written
    to a file.

    The head is compared with the model on rows of the dataset and far beyond, in several batch
    sizes: equal to 1e-5 of an answer's size, trees exactly. It warns (DofWarning) if the head
    agrees with the dataset's labels less than chance would.

    Raises UsageError for a model that cannot be exported, or if nothing tells what its outputs are;
    CoreError if the ONNX head does not give what the model gives.
    """
    label_columns.check_dataset(like)
    export_outputs.check_option(outputs)
    metadata = like.metadata
    name = label_columns.choose(metadata.targets, target)
    about = metadata.targets[name]
    (column,) = feature_columns.columns(like, [feature] if feature else [])
    features = _features(like, column)
    rows = features(_spread(len(like)))
    found = _exported(model, rows, activation)
    named = export_labels.class_names(found.codes, classes, about)
    answers = _answers(found, about.kind, rows)
    steps = _whole(found, answers.shape[1])
    ending = export_outputs.ending(found, about.kind, answers, len(named), outputs)
    check_same(found, steps, about.kind, rows)
    steps += ending
    if not layers.timed(steps):
        said = runner(steps, about.kind, rows.shape[1], found.double)
        export_labels.warn_of_chance(like, name, named, features, said)
    core = metadata.cores.get(metadata.columns[column].core or "")
    head = Head(
        target=name,
        kind=learned_kind(name, about),
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
    data = _to_onnx(steps, about.kind, rows.shape[1], head, found.double)
    if path is not None:
        with replacing(path, overwrite=overwrite) as file:
            file.write(data)
    return data


def _features(dataset: Labelled, column: str) -> Callable[[Array], Array]:
    """A function from numbers of rows to their features, float32 [n, D]."""
    primary = column == dataset.metadata.primary_column
    whole = dataset.to_numpy(None if primary else column)

    def of_rows(places: Array) -> Array:
        chosen = whole[places]
        return chosen.reshape(len(chosen), -1).astype(np.float32)

    return of_rows


def _spread(count: int) -> Array:
    """Numbers of rows all over a dataset, at most one batch of them; UsageError for no row."""
    if not count:
        raise UsageError("the dataset has no rows", expected="rows to compare the head on")
    return np.linspace(0, count - 1, min(BATCH, count)).astype(np.int64)


def _answers(found: Exported, kind: str, rows: Array) -> Array:
    """What the model says of rows of the dataset, [n, K]; the steps, if it cannot be run here."""
    given = clips(rows, min(8, len(rows))) if layers.timed(found.steps) else rows
    if found.says is not None:
        return model_answers(found)(given)
    return runner(found.steps, kind, rows.shape[1], found.double)(given)


def _whole(found: Exported, columns: int) -> list[Step]:
    """The steps, those of a whole graph with a row for each row whatever its rank."""
    if isinstance(found.steps[-1], Graph):
        return [*found.steps, Rows(columns)]
    return list(found.steps)


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
        return export_onnx.exported(model)
    return export_weights.exported(model, activation)


def _to_onnx(steps: Sequence[Step], kind: str, width: int, head: Head, double: bool) -> bytes:
    described = json.dumps(to_json(head), ensure_ascii=False, separators=(",", ":"))
    columns = len(head.classes) or 1
    properties = {"dof.head": described}
    made = layers.to_model(steps, kind, width, columns, properties, double=double)
    return graph.to_bytes(made)
