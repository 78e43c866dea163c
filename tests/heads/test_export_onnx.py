"""ONNX models that were made elsewhere: the right output, its labels, and what it gives."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import UsageError
from dof_arrow.heads.export import export_head
from tests.support.memory import blobs, category, memory

X, Y = blobs(120)
THREE = memory(X, {"label": category("a", "b", "c")}, label=Y)
pytestmark = pytest.mark.filterwarnings("ignore:the exported head answers worse than chance")
_ML = "ai.onnx.ml"


def estimator() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500).fit(X, Y)


def classifier(
    fitted: Any, outputs: str = "label p", zipmap: bool = False, kind: int = TensorProto.FLOAT,
    opset: int = 18, labels: Any = None,
) -> Any:  # fmt: skip
    """A classifier as converters write it."""
    names = labels or [0, 1, 2]
    key = "classlabels_strings" if isinstance(names[0], str) else "classlabels_ints"
    nodes = [
        helper.make_node(
            "LinearClassifier", ["x"], ["label", "raw"], domain=_ML, post_transform="SOFTMAX",
            coefficients=fitted.coef_.ravel().tolist(), intercepts=fitted.intercept_.tolist(),
            multi_class=1, **{key: names},
        ),
        helper.make_node("Normalizer", ["raw"], ["p"], domain=_ML, norm="L1"),
    ]  # fmt: skip
    text = TensorProto.STRING if isinstance(names[0], str) else TensorProto.INT64
    made = {
        "label": helper.make_tensor_value_info("label", text, [None]),
        "p": helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 3]),
    }
    if zipmap:
        mapped = {
            "classlabels_strings" if text == TensorProto.STRING else "classlabels_int64s": names
        }
        nodes.append(helper.make_node("ZipMap", ["p"], ["maps"], domain=_ML, **mapped))
        made["maps"] = helper.make_value_info("maps", helper.make_sequence_type_proto(
            helper.make_map_type_proto(text, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        ))  # fmt: skip
    given = [helper.make_tensor_value_info("x", kind, [None, 16])]
    body = helper.make_graph(nodes, "made", given, [made[name] for name in outputs.split()])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(_ML, 3)]
    return helper.make_model(body, opset_imports=opsets, ir_version=10 if opset > 18 else 8)


def plain(nodes: list[Any], weights: dict[str, np.ndarray], outputs: int = 3) -> bytes:
    """A model of standard operators from `x` to `y`."""
    body = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, outputs])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(body, opset_imports=opsets, ir_version=8).SerializeToString()


def said(data: bytes) -> np.ndarray:
    return np.asarray(graph.run(graph.session(data), {"feature": X})[0])


@pytest.mark.parametrize("outputs", ["label p", "p", "p label"])
def test_the_probabilities_of_a_classifier_are_taken(outputs: str) -> None:
    fitted = estimator()
    for opset in (18, 21):
        data = export_head(classifier(fitted, outputs, opset=opset), like=THREE)
        np.testing.assert_allclose(said(data), fitted.predict_proba(X), atol=1e-5)


def test_a_zipmap_is_undone_and_its_labels_name_the_classes() -> None:
    fitted = estimator()
    labels = ["c", "a", "b"]
    data = export_head(classifier(fitted, "label maps", zipmap=True, labels=labels), like=THREE)
    np.testing.assert_allclose(said(data), fitted.predict_proba(X), atol=1e-5)
    head = json.loads(graph.properties(graph.from_bytes(data))["dof.head"])
    assert head["classes"] == labels
    with pytest.raises(UsageError, match="neither names nor codes"):
        export_head(classifier(fitted, labels=[4, 5, 6]), like=THREE)


def test_what_skl2onnx_writes() -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    fitted = estimator()
    for zipmap in (True, False):
        made = skl2onnx.to_onnx(fitted, X[:1], options={"zipmap": zipmap}, target_opset=18)
        np.testing.assert_allclose(
            said(export_head(made, like=THREE)), fitted.predict_proba(X), atol=1e-5
        )


def test_the_last_nodes_tell_logits_or_chances() -> None:
    weights = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32) / 9
    product = helper.make_node("MatMul", ["x", "w"], ["z"])
    logits = X @ weights
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    node, fixed = helper.make_node, {"w": weights, "two": np.array([2], np.float32)}
    for ending in (
        [node("Identity", ["z"], ["y"])],
        [node("Softmax", ["z"], ["y"], axis=-1)],
        [node("LogSoftmax", ["z"], ["y"], axis=1)],
        [node("Softmax", ["z"], ["p"]), node("Log", ["p"], ["y"])],
        [node("Div", ["z", "two"], ["half"]), node("Mul", ["half", "two"], ["y"])],
    ):
        data = export_head(plain([product, *ending], fixed), like=THREE)
        np.testing.assert_allclose(said(data), expected, atol=1e-5)


def test_what_nothing_tells_is_asked_for() -> None:
    weights = {"w": np.full((16, 3), 0.01, np.float32), "m": np.eye(3, dtype=np.float32)}
    product = helper.make_node("MatMul", ["x", "w"], ["z"])
    mixed = [
        helper.make_node("Softmax", ["z"], ["p"]),
        helper.make_node("MatMul", ["p", "m"], ["y"]),
    ]
    for ending in ([helper.make_node("Abs", ["z"], ["y"])], mixed):
        model = plain([product, *ending], weights)
        with pytest.raises(UsageError, match=r"does not tell what its outputs are.*outputs="):
            export_head(model, like=THREE)
        export_head(model, like=THREE, outputs="logits")
    export_head(plain([product, *mixed], weights), like=THREE, outputs="chances")
    with pytest.raises(UsageError, match=r"outputs are no chances.*sums from"):
        export_head(
            plain([product, helper.make_node("Sigmoid", ["z"], ["y"])], weights), like=THREE
        )


def test_models_that_are_no_heads() -> None:
    fitted = estimator()
    with pytest.raises(UsageError, match=r"an input float32 or float64"):
        export_head(classifier(fitted, "p", kind=TensorProto.INT64), like=THREE)
    with pytest.raises(UsageError, match=r"found label, p, maps"):
        export_head(classifier(fitted, "label p maps", zipmap=True), like=THREE)
