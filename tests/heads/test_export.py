"""Models trained elsewhere become heads that say the same."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.format.spec.metadata import Target
from dof_arrow.heads import evaluate
from dof_arrow.heads.export import export_head
from dof_arrow.inference.fuse import fuse
from dof_arrow.inference.predict import Predictor
from tests.support.memory import Memory, blobs, category, memory

# Most models here are not trained, and so may well be worse than chance.
pytestmark = pytest.mark.filterwarnings("ignore:the exported head answers worse than chance")

X, Y = blobs(120)
THREE = memory(X, {"label": category("a", "b", "c")}, label=Y)
TWO = memory(X, {"label": category("no", "yes")}, label=(Y == 1).astype(int))
AGE = memory(X, {"age": Target(kind="regression", unit="years")}, age=50.0 + 3 * X[:, 0])
FLAGS = memory(
    X,
    {"signs": Target(kind="multilabel", classes=("u", "v"))},
    signs=pa.array([[k for k in range(2) if k != y] for y in Y], pa.list_(pa.int32())),
)


def said(data: bytes, x: np.ndarray = X) -> np.ndarray:
    return np.asarray(graph.run(graph.session(data), {"feature": x})[0])


def classes(data: bytes) -> list[str]:
    return list(json.loads(graph.properties(graph.from_bytes(data))["dof.head"])["classes"])


def test_scikit_learns_estimators_and_pipelines() -> None:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    names = np.array(["a", "b", "c"])[Y]
    network = partial(MLPClassifier, max_iter=30, tol=1, random_state=0)
    for model, y, ds in [
        (LogisticRegression(max_iter=500), Y, THREE),
        (make_pipeline(StandardScaler(), LogisticRegression()), names, THREE),
        (make_pipeline(StandardScaler(), LogisticRegression()), (Y == 1).astype(int), TWO),
        (make_pipeline(MinMaxScaler(), PCA(5, whiten=True), network((9,))), Y, THREE),
        (make_pipeline(StandardScaler(), network((9,))), (Y == 1).astype(int), TWO),
    ]:
        fitted = model.fit(X, y)
        data = export_head(fitted, like=ds)
        np.testing.assert_allclose(said(data), fitted.predict_proba(X), atol=1e-5)
        assert classes(data) == list(ds.metadata.targets["label"].classes)
    age = AGE.table["age"].to_numpy()
    numbers = MLPRegressor(hidden_layer_sizes=(5,), max_iter=30, tol=1, random_state=0)
    for model in (LinearRegression(), Ridge(), make_pipeline(StandardScaler(), numbers)):
        fitted = model.fit(X, age)
        np.testing.assert_allclose(
            said(export_head(fitted, like=AGE))[:, 0], fitted.predict(X), rtol=1e-4, atol=1e-5
        )


def test_estimators_that_cannot_be_written() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    doubled = make_pipeline(FunctionTransformer(np.abs), LogisticRegression())
    with pytest.raises(UsageError, match=r"found FunctionTransformer: a function of your own"):
        export_head(doubled.fit(X, Y), like=THREE)
    with pytest.raises(UsageError, match="LogisticRegression: the model is not fitted"):
        export_head(LogisticRegression(), like=THREE)
    with pytest.raises(UsageError, match="found object"):
        export_head(object(), like=THREE)


def torch_model(outputs: int, *last: Any) -> Any:
    from torch import nn

    inner = nn.Sequential(nn.GELU(), nn.Dropout())
    return nn.Sequential(
        nn.Linear(16, 12),
        nn.BatchNorm1d(12),
        inner,
        nn.LayerNorm(12),
        nn.Linear(12, outputs),
        *last,
    )


def test_torch_modules_logits_or_chances() -> None:
    torch = pytest.importorskip("torch")
    for ds, outputs, kind in [
        (THREE, 3, "softmax"),
        (TWO, 1, "one"),
        (FLAGS, 2, "sigmoid"),
        (AGE, 1, "value"),
    ]:
        torch.manual_seed(0)
        model = torch_model(outputs)
        for _ in range(3):
            model(torch.from_numpy(X))
        data = export_head(model, like=ds)
        assert model.training
        logits = model.eval()(torch.from_numpy(X)).detach()
        one = torch.sigmoid(logits)
        expected = {
            "softmax": logits.softmax(1),
            "one": torch.cat([1 - one, one], 1),
            "sigmoid": one,
            "value": logits,
        }
        np.testing.assert_allclose(said(data), expected[kind].numpy(), atol=1e-5)
    for last in (torch.nn.Softmax(1), torch.nn.LogSoftmax(1)):
        model = torch_model(3, last).eval()
        np.testing.assert_allclose(said(export_head(model, like=THREE)).sum(1), 1, atol=1e-5)


def test_a_torch_module_of_ones_own_goes_through_torchs_exporter() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = torch.nn.Linear(16, 16), torch.nn.Linear(16, 3)

        def forward(self, x: Any) -> Any:
            return self.last(x + torch.relu(self.inner(x)))

    torch.manual_seed(0)
    model = Residual().eval()
    expected = model(torch.from_numpy(X)).softmax(1).detach().numpy()
    with pytest.MonkeyPatch.context() as patch:
        import warnings

        patch.setattr(
            warnings, "filters", [("ignore", None, Warning, None, 0)]
        )  # the exporter's own
        data = export_head(model, like=THREE)
    np.testing.assert_allclose(said(data), expected, atol=1e-5)


def test_an_onnx_model_and_jax_weights() -> None:
    random = np.random.default_rng(0)
    layers = [
        (random.normal(size=(16, 8)) / 4, random.normal(size=8)),
        (random.normal(size=(8, 3)), np.zeros(3)),
    ]
    hidden = np.tanh(X @ layers[0][0] + layers[0][1])
    logits = hidden @ layers[1][0]
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    data = export_head(layers, like=THREE, activation="tanh")
    np.testing.assert_allclose(said(data), expected, atol=1e-5)
    named = [{"w": layers[0][0], "b": layers[0][1]}, {"kernel": layers[1][0], "bias": layers[1][1]}]
    assert export_head(named, like=THREE, activation="tanh") == data
    for outputs in (None, "chances"):
        np.testing.assert_allclose(
            said(export_head(data, like=THREE, outputs=outputs)), expected, atol=1e-5
        )
    assert np.abs(said(export_head(data, like=THREE, outputs="logits")) - expected).max() > 0.1
    with pytest.raises(UsageError, match="another number of outputs: expected 2, found 3"):
        export_head(layers, like=TWO)
    with pytest.raises(UsageError, match="these are no layers"):
        export_head([(np.zeros((3, 4)), np.zeros(3))], like=THREE)


def test_jax_arrays() -> None:
    jax = pytest.importorskip("jax")
    weights = jax.random.normal(jax.random.key(0), (16, 3))
    found = said(export_head([(weights, jax.numpy.zeros(3))], like=THREE))
    np.testing.assert_allclose(found, jax.nn.softmax(X @ weights), atol=1e-4)


def test_keras_models() -> None:
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    layers, clips = keras.layers, Memory(THREE.metadata, X, THREE.table)
    normal = layers.Normalization()
    normal.adapt(X)
    model = keras.Sequential(
        [
            layers.Input((16,)),
            normal,
            layers.Dense(8, "gelu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.LayerNormalization(),
            layers.Activation("tanh"),
            layers.Dense(3, "softmax"),
        ]
    )
    np.testing.assert_allclose(
        said(export_head(model, like=THREE)), model.predict(X, verbose=0), atol=1e-5
    )
    for cell in (layers.LSTM, layers.GRU):
        model = keras.Sequential(
            [layers.Input((None, 16)), cell(5, return_sequences=True), cell(4), layers.Dense(3)]
        )
        found = said(export_head(model, like=clips), X.reshape(10, 12, 16))
        logits = model.predict(X.reshape(10, 12, 16), verbose=0)
        np.testing.assert_allclose(
            found, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), atol=1e-5
        )


def test_a_model_that_says_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import Ridge

    model = Ridge().fit(X, AGE.table["age"].to_numpy())
    monkeypatch.setattr(model, "predict", lambda x: np.zeros(len(x)), raising=False)
    with pytest.raises(CoreError, match="differs from the model"):
        export_head(model, like=AGE)


def test_an_exported_head_is_a_head(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    from tests.inference.test_predict import SQUASHED, dataset, small_model

    core = Core.from_bytes(small_model(), preprocess=SQUASHED)
    pictures = [np.full((9, 9, 3), 8 * i, np.uint8) for i in range(30)]
    ds = dataset(core, core(pictures))
    model = LogisticRegression().fit(ds.features, ds.table["finding"].to_numpy())
    export_head(model, like=ds, target="finding", path=tmp_path / "head.onnx")
    report = evaluate.evaluate(tmp_path / "head.onnx", ds)
    assert report["score"] == pytest.approx(
        model.score(ds.features, ds.table["finding"].to_numpy())
    )
    fused = Predictor(fuse(core, {"finding": (tmp_path / "head.onnx").read_bytes()}))
    found = fused(pictures[29])["finding"]
    assert found.probabilities["high"] == pytest.approx(
        model.predict_proba(ds.features[29:])[0, 2], abs=1e-4
    )
