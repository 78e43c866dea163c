"""Training: the score is honest, the ONNX is the model, and whatever cannot be learned says why."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.cores.graph import model as graph
from dof_arrow.dataset import dataset
from dof_arrow.errors import DofError, FormatError, MissingExtra, OutputError, UsageError
from dof_arrow.format.spec import json_model
from dof_arrow.format.spec.metadata import Target
from dof_arrow.format.writer import Writer
from dof_arrow.heads import head, scoring, train
from tests.support.memory import SHA256, UUID, Memory, blobs, category, memory

ABC = category("a", "b", "c")


def data(count: int = 150, **columns: Any) -> Memory:
    x, y = blobs(count)
    return memory(x, {"label": ABC}, **{"label": y, **columns})


def said(error: type[DofError], ds: Memory, **options: Any) -> str:
    with pytest.raises(error) as caught:
        train.train(ds, **options)
    return str(caught.value)


def run(data: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"feature": x})
    return np.asarray(output)


def test_grouped_folds_where_there_is_no_split() -> None:
    report = train.train(data()).report
    assert (report["how"], report["metric"]) == ("grouped 5-fold", "accuracy")
    assert report["n_train"] == report["n_test"] == report["groups"] == 150
    low, high = report["interval"]
    assert low < report["score"] < high
    assert report["score"] > 0.9 > 0.45 > report["baseline"]
    assert set(report["scores"]["folds"]) == {"accuracy", "balanced_accuracy", "f1", "auc", "ece"}
    assert report["warnings"] == []


def test_a_head_is_saved_and_judged_by_the_public_names(tmp_path: Path) -> None:
    trained = dof.train(data(), seed=1)
    trained.save(tmp_path / "head.onnx")
    assert (tmp_path / "head.onnx").read_bytes() == trained.onnx
    found = dof.evaluate(tmp_path / "head.onnx", data())
    assert found["metric"] == "accuracy" and found["score"] > 0.9
    with pytest.raises(OutputError, match="exists"):
        trained.save(tmp_path / "head.onnx")


@pytest.mark.parametrize(
    "call",
    [dof.train, lambda path: dof.evaluate("h", path), lambda path: dof.export_head(0, like=path)],
)
def test_a_path_in_place_of_a_dataset_is_refused(call: Any) -> None:
    with pytest.raises(UsageError, match=r"not a dataset: .* found str\. Open it first: dof\.open"):
        call("x.dof.parquet")


def test_a_split_is_kept_to() -> None:
    split = ["train"] * 90 + ["valid"] * 20 + ["test"] * 30 + ["own"] * 10
    trained = train.train(data(split=split))
    report = trained.report
    assert (report["how"], report["n_train"], report["n_test"]) == ("train and test split", 90, 30)
    assert set(report["scores"]) == {"valid", "test"}
    assert report["score"] == report["scores"]["test"]["accuracy"]["score"]
    assert (
        report["warnings"][0] == "10 rows of other splits than train, valid and test were left out"
    )
    x, y = blobs(150)
    assert np.mean(run(trained.onnx, x[110:140]).argmax(1) == y[110:140]) == pytest.approx(
        report["score"]
    )


def test_folds_do_not_see_other_rows_of_a_group() -> None:
    """Labels that only a group's other rows tell: seen, they score 1; not seen, chance."""
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 4)
    x = random.normal(size=(60, 200))[patient] + 0.01 * random.normal(size=(240, 200))
    y = random.integers(2, size=60)[patient]
    two = {"label": category("a", "b")}
    leaking = train.train(memory(x.astype("f4"), two, label=y))
    honest = train.train(memory(x.astype("f4"), two, label=y, group=[f"p{i}" for i in patient]))
    views = train.train(memory(x.astype("f4"), two, label=y, id=[f"r{i}" for i in patient]))
    assert leaking.report["score"] > 0.9 > 0.7 > honest.report["score"]
    assert views.report["score"] == honest.report["score"]
    assert honest.report["groups"] == 60


@pytest.mark.parametrize("classes", [2, 5])
def test_category_heads_in_onnx(classes: int) -> None:
    x, y = blobs(200, classes=classes)
    names = [f"class {i}" for i in range(classes)]
    trained = train.train(memory(x, {"label": category(*names)}, label=y))
    outputs = run(trained.onnx, x)
    assert outputs.shape == (200, classes)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs.sum(1), 1, atol=1e-6)
    assert np.mean(outputs.argmax(1) == y) > 0.9


def test_the_onnx_is_scikit_learns_model() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y = blobs(200, width=64)
    trained = train.train(memory(x, {"label": ABC}, label=y))
    z = StandardScaler().fit_transform(x)
    theirs = LogisticRegression(C=trained.report["strength"] / 64, max_iter=1000).fit(z, y)
    np.testing.assert_allclose(run(trained.onnx, x), theirs.predict_proba(z), atol=1e-5)


def other_classes(codes: np.ndarray, classes: int = 3) -> pa.Array:
    """Flags of all classes but the row's own, as a multilabel column holds them."""
    rows = []
    for code in codes:
        rows.append([each for each in range(classes) if each != code])
    return pa.array(rows, pa.list_(pa.int32()))


def test_multilabel_and_regression_heads_in_onnx() -> None:
    x, y = blobs(200)
    lists = other_classes(y)
    many = train.train(
        memory(x, {"label": Target(kind="multilabel", classes=("a", "b", "c"))}, label=lists)
    )
    assert np.mean((run(many.onnx, x) >= 0.5) == (y[:, None] != np.arange(3))) > 0.9
    assert many.report["metric"] == "accuracy"
    assert many.report["score"] > 0.85 > many.report["baseline"]
    age = train.train(
        memory(x, {"age": Target(kind="regression", unit="years")}, age=50.0 + 3 * x[:, 0])
    )
    np.testing.assert_allclose(run(age.onnx, x)[:, 0], 50 + 3 * x[:, 0], atol=0.5)
    assert age.report["metric"] == "r2"
    assert age.report["score"] > 0.9
    assert age.report["baseline"] < 0.01
    assert age.report["scores"]["folds"]["mae"]["score"] < 0.5


def test_the_head_says_what_it_is() -> None:
    trained = train.train(data())
    model = graph.from_bytes(trained.onnx)
    onnx.checker.check_model(model, full_check=True)
    about = json_model.from_json(json.loads(graph.properties(model)["dof.head"]), head.Head)
    assert about == head.Head(
        target="label",
        kind="category",
        classes=("a", "b", "c"),
        unit=None,
        feature="feature",
        core_sha256=SHA256,
        dataset_uuid=UUID,
        cores=(about.cores[0],),
        report=trained.report,
    )
    assert (about.cores[0].sha256, about.cores[0].graph) == (SHA256, None)
    assert graph.opset(model) == 18
    assert str(trained) == scoring.summary(trained.report)


def test_equal_data_give_equal_bytes_and_another_seed_another_report() -> None:
    assert train.train(data()).onnx == train.train(data()).onnx != train.train(data(), seed=1).onnx


def test_tensors_and_half_precision_features() -> None:
    x, y = blobs(100)
    flat = train.train(
        memory(x.astype(np.float16).astype(np.float32), {"label": ABC}, label=y)
    ).report
    shaped = train.train(
        memory(x.astype(np.float16).reshape(100, 4, 2, 2), {"label": ABC}, label=y)
    ).report
    assert flat == shaped


def test_missing_labels_are_left_out_and_counted() -> None:
    x, y = blobs(150)
    labels = pa.array([None if i % 10 == 0 else int(code) for i, code in enumerate(y)])
    report = train.train(memory(x, {"label": ABC}, label=labels)).report
    assert (report["n_missing"], report["n_train"]) == (15, 135)
    assert report["warnings"][0] == "15 rows without a label were left out"
    assert "no row has a label" in said(
        UsageError, memory(x, {"label": ABC}, label=pa.nulls(150, pa.int32()))
    )


def test_nothing_to_learn_from() -> None:
    x, _ = blobs(20)
    assert "no target" in said(UsageError, memory(x, {}))
    assert "one class only" in said(UsageError, data(label=np.ones(150, int)))
    assert "found b in all 150 rows" in said(UsageError, data(label=np.ones(150, int)))
    age = {"age": Target(kind="regression")}
    assert "the target is constant" in said(UsageError, memory(x, age, age=np.full(20, 7.0)))
    assert "1 of 20 NaN" in said(FormatError, memory(x, age, age=[float("nan"), *range(19)]))
    flags = pa.array([[0]] * 20, pa.list_(pa.int32()))
    assert "equal flags" in said(
        UsageError, memory(x, {"l": Target(kind="multilabel", classes=("a", "b"))}, l=flags)
    )


def test_one_class_only_in_train() -> None:
    label, split = [0] * 100 + [1] * 50, ["train"] * 100 + ["test"] * 50
    assert "found a in all 100 rows" in said(UsageError, data(label=label, split=split))


def test_nothing_to_judge_on() -> None:
    assert "two groups or more, found 1 group" in said(UsageError, data(group=["p"] * 150))


def test_a_group_on_both_sides() -> None:
    split = ["train"] * 75 + ["test"] * 75
    assert "found 2 groups" in said(
        UsageError, data(group=["p", "q", *map(str, range(146)), "p", "q"], split=split)
    )


def test_features_that_are_no_numbers() -> None:
    x, y = blobs(20)
    x[3, 1], x[7] = np.nan, np.inf
    assert "NaN or infinity in 2 of 20 rows" in said(
        FormatError, memory(x, {"label": ABC}, label=y)
    )


def test_options_that_cannot_be() -> None:
    x, _ = blobs(20)
    assert "expected linear, mlp, rnn, lstm, mean, statistics, suggested, found lineal" in said(
        UsageError, data(), head="lineal"
    )
    assert "2 or more, found 1" in said(UsageError, data(), cv=1)
    age = memory(x, {"age": Target(kind="regression")}, age=np.arange(20.0))
    assert "only classes can be balanced" in said(UsageError, age, balance=True)


def test_fewer_groups_than_folds() -> None:
    report = train.train(data(group=[f"p{i % 3}" for i in range(150)])).report
    assert report["how"] == "grouped 3-fold"
    assert "3 folds instead of 5: there are only 3 groups" in report["warnings"]


def test_a_class_unseen_in_train_is_told_and_never_predicted() -> None:
    x, y = blobs(150)
    split = np.where((y == 2) | (np.arange(150) >= 100), "test", "train")
    trained = train.train(memory(x, {"label": ABC}, label=y, split=split))
    assert trained.report["classes"] == ["a", "b"]
    assert run(trained.onnx, x).shape == (150, 2)
    (warning,) = trained.report["warnings"]
    assert warning.startswith("class c has no row to train on")
    assert f"{(y == 2).sum()} rows judged" in warning


def test_a_class_of_one_group_is_told() -> None:
    x, y = blobs(90, classes=2)
    y[5] = 2
    warnings = train.train(memory(x, {"label": ABC}, label=y)).report["warnings"]
    assert warnings == [
        "class c is of one group: whenever it was judged, it had not been trained on",
        "fewer than 5 rows judged are of c (1): what is said of such a class rests on them alone",
    ]


def test_a_head_without_an_error_is_not_certain() -> None:
    """60 of 60: Wilson's interval begins at 0.94; of six groups it is wider, and that is said."""
    x, y = blobs(60, classes=2)
    far = x + 20 * y[:, None].astype("f4")
    two = {"label": category("a", "b")}
    report = train.train(memory(far, two, label=y)).report
    assert report["interval"] == pytest.approx([0.9398, 1.0], abs=1e-4)
    assert report["warnings"] == []
    groups = [f"p{number // 10}" for number in range(60)]
    grouped = train.train(memory(far, two, label=y, group=groups)).report
    assert grouped["interval"] == pytest.approx([0.6097, 1.0], abs=1e-4)
    assert grouped["warnings"] == ["only 6 groups were judged: the intervals are wide, and rough"]


def test_pictures_of_people_without_groups_are_told() -> None:
    people = data(sex=["f", "m"] * 75)
    assert "which are of the same person" in train.train(people).report["warnings"][0]
    known = data(sex=["f", "m"] * 75, group=[f"p{number}" for number in range(150)])
    assert train.train(known).report["warnings"] == []


def test_of_many_examples_one_fold_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dof_arrow.heads.train._MANY", 149)
    report = train.train(data()).report
    assert (report["how"], report["n_test"], report["n_train"]) == (
        "one of 5 grouped folds",
        30,
        150,
    )
    assert train.train(data(), cv=5).report["n_test"] == 150


def test_folds_side_by_side_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    together = train.train(data()).onnx
    monkeypatch.setattr("dof_arrow.heads.estimators._AT_ONCE", 1)
    assert train.train(data()).onnx == together


def test_a_constant_test_target_has_no_r2() -> None:
    x, _ = blobs(40)
    age, split = np.where(np.arange(40) < 30, np.arange(40.0), 7.0), ["train"] * 30 + ["test"] * 10
    trained = train.train(memory(x, {"age": Target(kind="regression")}, age=age, split=split))
    assert trained.report["score"] is None
    assert "r2 undefined" in str(trained)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    monkeypatch.setattr("importlib.import_module", lambda name: imported(f"{name}_absent"))
    assert "pip install 'dof-arrow[train]'" in said(MissingExtra, data())


def test_a_real_dataset(tmp_path: Path) -> None:
    x, y = blobs(120)
    about = {
        "targets": {"label": {"kind": "category", "classes": ["a", "b", "c"]}},
        "record": {"split": "split"},
    }
    with Writer(tmp_path / "x.dof.parquet", about) as writer:
        split = ["train" if i < 80 else "test" for i in range(120)]
        writer.write(
            ids=[f"r{i:03}" for i in range(120)],
            vectors={"feature": x},
            columns={"label": y, "split": split},
        )
    ds = dataset.open(tmp_path / "x.dof.parquet")
    whole, part = train.train(ds), train.train(ds.split("train"))
    assert whole.report["how"] == "train and test split"
    assert part.report["how"] == "grouped 5-fold"
    np.testing.assert_allclose(run(whole.onnx, x), run(part.onnx, x), atol=1e-6)
