"""Heads on frozen features: train one, write it as ONNX, and predict with a fused model.

A head is an ONNX graph: input `feature` float32 [N, D]; output `probabilities` float32 [N, C] (category: adding up to
one; multilabel: each its own) or `value` float32 [N, 1] (regression, in the target's unit). Its key `dof.head` says
what it was trained on and how well it did. Training needs the extra `train`; predicting the base installation only.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dof_arrow import graph, judge, labels, linear
from dof_arrow.declare import to_json
from dof_arrow.errors import FormatError, UsageError, require
from dof_arrow.judge import Score
from dof_arrow.labels import Labelled, Labels
from dof_arrow.linear import Linear
from dof_arrow.metadata import Metadata
from dof_arrow.predict import Head, Prediction, Predictor, predict_files

__all__ = ["Head", "Prediction", "Predictor", "TrainedHead", "predict_files", "summary", "to_onnx", "train"]

Array = NDArray[Any]
Json = Any

_IR_VERSION = 8  # the one of opset 18
_OUTPUTS = {"category": "probabilities", "multilabel": "probabilities", "regression": "value"}
_ACTIVATIONS = {"category": "Softmax", "multilabel": "Sigmoid", "regression": "Identity"}


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head as ONNX bytes, and the report of how it was trained and judged (inside the bytes too)."""

    onnx: bytes
    report: dict[str, Json]

    def __str__(self) -> str:
        return summary(self.report)


def train(
    dataset: Labelled, *, target: str | None = None, head: str = "linear", cv: int = 5, balance: bool = False,
    seed: int = 0,
) -> TrainedHead:
    """Train a head on a dataset's primary features and judge it on rows that it has not seen.

    With a split `train` it is fitted there and judged on `valid` and `test`. Without, it is judged by `cv` grouped
    folds and then fitted to every labelled row. `balance` weighs classes by the inverse of their frequency. Equal
    data and seed give equal bytes. Raises UsageError where there is nothing to learn from or to judge on, FormatError
    for labels or features that cannot be, MissingExtra without scikit-learn.
    """
    require("sklearn", extra="train")
    _check_options(head, cv)
    job = _Job(labels.read(dataset, target), _features(dataset), balance, seed)
    parts = job.labels.parts()
    _check_learnable(job.labels, parts["train"], balance)
    outcome = _by_split(job, parts) if len(parts) > 1 else _by_folds(job, parts["train"], cv)
    report = _report(job, outcome, parts, cv)
    return TrainedHead(to_onnx(outcome.model, _head(dataset.metadata, job.labels, report)), report)


def summary(report: Mapping[str, Json]) -> str:
    """A report in one line.

    >>> summary({"metric": "r2", "score": 0.5, "interval": [0.4, 0.6], "baseline": -0.01, "n_test": 90,
    ...          "groups": 30, "how": "grouped 5-fold"})
    'r2 0.500 (95% interval 0.400 to 0.600, baseline -0.010) on 90 rows of 30 groups, grouped 5-fold'
    """
    interval = report["interval"]
    spread = f"95% interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else "no interval: too few groups"
    return (f"{report['metric']} {_shown(report['score'])} ({spread}, baseline {_shown(report['baseline'])}) "
            f"on {report['n_test']} rows of {report['groups']} groups, {report['how']}")


def _shown(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.3f}"


@dataclass(frozen=True, slots=True)
class _Job:
    """One training: the labels, the features of all rows, and the options."""

    labels: Labels
    features: Array
    balance: bool
    seed: int

    def x(self, rows: Array) -> Array:
        return self.features[self.labels.rows[rows]].astype(np.float32, copy=False)

    def fit(self, rows: Array) -> Linear:
        on = self.labels
        return linear.fit(on.target.kind, self.x(rows), on.values[rows], on.groups[rows],
                          balance=self.balance, seed=self.seed)

    def judge(self, rows: Array, predicted: Array, guess: Array) -> dict[str, Score]:
        on = self.labels
        return judge.judge(on.target.kind, on.values[rows], predicted, guess, on.groups[rows], seed=self.seed)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A fitted model, how it was judged, the scores of each part judged, and which part counts."""

    model: Linear
    how: str
    scores: dict[str, dict[str, Score]]
    part: str
    rows: Array


def _by_split(job: _Job, parts: Mapping[str, Array]) -> _Outcome:
    model, y = job.fit(parts["train"]), job.labels.values[parts["train"]]
    scores = {part: job.judge(rows, model.predict(job.x(rows)), _guess(y, len(rows)))
              for part, rows in parts.items() if part != "train"}
    part = "test" if "test" in scores else "valid"
    return _Outcome(model, f"train and {part} split", scores, part, parts[part])


def _by_folds(job: _Job, rows: Array, cv: int) -> _Outcome:
    values, groups = job.labels.values[rows], job.labels.groups[rows]
    k = _fold_count(groups, cv)
    fold = judge.folds(groups, k, strata=values if job.labels.target.kind == "category" else None, seed=job.seed)
    predicted, guess = np.empty_like(values), np.empty_like(values)
    for i in range(k):
        out = fold == i
        predicted[out] = job.fit(rows[~out]).predict(job.x(rows[out]))
        guess[out] = _guess(values[~out], out.sum())
    scores = {"folds": job.judge(rows, predicted, guess)}
    return _Outcome(job.fit(rows), f"grouped {k}-fold", scores, "folds", rows)


def _fold_count(groups: Array, cv: int) -> int:
    """The folds asked for, or as many as there are groups."""
    count = len(np.unique(groups))
    if count < 2:
        raise UsageError("nothing to judge on", expected="labelled rows of two groups or more", found=f"{count} group",
                         hint="Give a split, or a --group that tells the records apart")
    return min(cv, count)


def _guess(y: Array, count: int) -> Array:
    """The best constant prediction: the most frequent class, each flag's majority, the mean."""
    if y.dtype == np.int64:
        return np.full(count, np.bincount(y).argmax())
    constant = y.mean(axis=0) >= 0.5 if y.dtype == bool else y.mean()
    return np.broadcast_to(constant, (count, *y.shape[1:]))


def _features(dataset: Labelled) -> Array:
    """The primary features as [n, D]; FormatError where they are not finite."""
    found = dataset.to_numpy()
    flat = found.reshape(len(found), -1)
    with np.errstate(invalid="ignore", over="ignore"):
        strange = int((~np.isfinite(flat.sum(axis=1, dtype=np.float64))).sum())
    if strange:
        raise FormatError("features are not finite", where=f"column {dataset.metadata.primary_column}",
                          expected="numbers", found=f"NaN or infinity in {strange} of {len(flat)} rows",
                          hint="Leave these rows out, or extract them again")
    return flat


def _check_options(head: str, cv: int) -> None:
    if head != "linear":
        raise UsageError("unknown head", expected="linear", found=head, hint="Use --head linear")
    if cv < 2:
        raise UsageError("too few folds", expected="2 or more", found=str(cv), hint="Use --cv 5")


def _check_learnable(on: Labels, rows: Array, balance: bool) -> None:
    """Raise UsageError where the rows to train on are all alike, or there are no classes to balance."""
    y, where = on.values[rows], f"target {on.name}"
    if on.target.kind == "regression" and balance:
        raise UsageError("only classes can be balanced", where=where, found="a regression target",
                         hint="Leave --balance out")
    if (y == y[0]).all():
        what = "the target is constant" if on.target.kind == "regression" else "one class only"
        found = f"{y[0]:g}" if on.target.kind == "regression" else _names(on, y)
        raise UsageError(what, where=where, expected="two or more different labels to train on",
                         found=f"{found} in all {len(y)} rows", hint="Add other records, or choose another --target")


def _names(on: Labels, y: Array) -> str:
    return on.target.classes[y[0]] if y.ndim == 1 else "equal flags"


def _report(job: _Job, outcome: _Outcome, parts: Mapping[str, Array], cv: int) -> dict[str, Json]:
    on, metric = job.labels, next(iter(judge.METRICS[job.labels.target.kind]))
    scores = {part: {name: dataclasses.asdict(score) for name, score in found.items()}
              for part, found in outcome.scores.items()}
    return _plain({
        "target": on.name, "kind": on.target.kind, "head": "linear", "how": outcome.how, "metric": metric,
        **scores[outcome.part][metric], "scores": scores,
        "n_train": len(parts["train"]), "n_test": len(outcome.rows), "n_missing": on.missing,
        "groups": len(np.unique(on.groups[outcome.rows])),
        "classes": _classes(on, outcome.model), "unit": on.target.unit,
        "strength": outcome.model.strength, "balance": job.balance, "seed": job.seed,
        "warnings": list(_warnings(on, outcome, parts, cv)),
    })


def _warnings(on: Labels, outcome: _Outcome, parts: Mapping[str, Array], cv: int) -> Iterator[str]:
    """What a reader of the score should know."""
    groups = len(np.unique(on.groups[outcome.rows]))
    unused = len(on.rows) - sum(len(rows) for rows in parts.values())
    main = next(iter(outcome.scores[outcome.part].values()))
    if on.missing:
        yield f"{on.missing} rows without a label were left out"
    if unused:
        yield f"{unused} rows of other splits than train, valid and test were left out"
    if outcome.part == "folds" and groups < cv:
        yield f"{groups} folds instead of {cv}: there are only {groups} groups"
    if not outcome.model.converged:
        yield "the solver stopped before it had converged"
    if on.target.kind == "category":
        yield from _unseen(on, outcome)
    if main.interval and main.interval[0] == main.interval[1] == main.score:
        yield f"no two resamples differ: the interval is too narrow, {min(1, 3 / groups):.0%} of groups may be wrong"


def _unseen(on: Labels, outcome: _Outcome) -> Iterator[str]:
    values, groups = on.values[outcome.rows], on.groups[outcome.rows]
    for code, name in enumerate(on.target.classes):
        met = values == code
        if code not in outcome.model.codes:
            yield f"class {name} has no row to train on: it is never predicted, and {met.sum()} rows judged are of it"
        elif outcome.part == "folds" and len(np.unique(groups[met])) == 1:
            yield f"class {name} is of one group: whenever it was judged, it had not been trained on"


def _classes(on: Labels, model: Linear) -> list[str]:
    return [on.target.classes[code] for code in model.codes] if on.target.classes else []


def _plain(value: dict[str, Json]) -> dict[str, Json]:
    """Fit for JSON: tuples as lists, numbers that are none (R2 of what does not vary) as null."""
    plain: dict[str, Json] = json.loads(json.dumps(value), parse_constant=lambda _: None)
    return plain


def _head(metadata: Metadata, on: Labels, report: dict[str, Json]) -> Head:
    core = metadata.cores.get(metadata.columns[metadata.primary_column].core or "")
    return Head(
        target=on.name, kind=on.target.kind, classes=tuple(report["classes"]), unit=on.target.unit,
        feature=metadata.primary_column, core_sha256=core.sha256 if core else None,
        dataset_uuid=metadata.uuid, report=report,
    )


def to_onnx(model: Linear, head: Head) -> bytes:
    """A linear head as ONNX; equal heads give equal bytes."""
    from onnx import TensorProto, helper, numpy_helper

    output, width, columns = _OUTPUTS[head.kind], *model.weights.shape
    nodes = [
        helper.make_node("Sub", ["feature", "mean"], ["centred"]),
        helper.make_node("Gemm", ["centred", "weights", "bias"], ["logits"]),
        helper.make_node(_ACTIVATIONS[head.kind], ["logits"], [output]),
    ]
    weights = {"mean": model.mean, "weights": model.weights, "bias": model.bias}
    made = helper.make_model(
        helper.make_graph(
            nodes, "head",
            [helper.make_tensor_value_info("feature", TensorProto.FLOAT, ["N", width])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", columns])],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", graph.OPSET)], ir_version=_IR_VERSION, producer_name="dof-arrow",
    )
    graph.set_properties(made, {"dof.head": json.dumps(to_json(head), ensure_ascii=False, separators=(",", ":"))})
    return graph.to_bytes(made)
