"""Notes go from a model wherever they stand, names become numbers, and it computes what it computed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dof_arrow.cores import core_file
from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.inference.fuse import fuse
from tests.cores.graph.test_model import with_sparse_weights
from tests.inference.test_fuse import small_head
from tests.support import models
from tests.support.canaries import Canaries, layers
from tests.support.canary_sources import CUT, model
from tests.support.pictures import core, pixels

ROWS = np.random.default_rng(0).random((3, 3, 16, 16), np.float32)


def answers(made: onnx.ModelProto, name: str) -> list[np.ndarray]:
    found: list[np.ndarray] = graph.run(graph.session(graph.to_bytes(made)), {name: ROWS})
    return found


def branching() -> onnx.ModelProto:
    """A model whose inner graphs read tensors from outside, and have constants of their own."""
    b = models.Builder()
    x = models.pooled(b)
    inner = []
    for op, number in (("Add", 1), ("Mul", 3)):
        one = helper.make_tensor("secret constant", TensorProto.FLOAT, [1], [number])
        nodes = [
            helper.make_node("Constant", [], ["number"], name="secret node", value=one),
            helper.make_node(op, [x, "number"], ["made"]),
        ]
        made = helper.make_tensor_value_info("made", TensorProto.FLOAT, None)
        inner.append(helper.make_graph(nodes, "secret graph", [], [made]))
    yes = b.const(True, np.bool_)
    y = b.op("If", yes, then_branch=inner[0], else_branch=inner[1])
    return b.model([models.dense(b, y)])


@pytest.mark.parametrize(
    "make",
    [models.gemm, models.vit, models.densenet, models.quantised, branching],
    ids=lambda make: make.__name__,
)
def test_a_model_with_numbers_for_names_computes_the_same(
    make: Callable[[], onnx.ModelProto],
) -> None:
    made = make()
    before = answers(made, "picture")
    outputs = [value.name for value in made.graph.output]
    graph.drop_notes(made)
    graph.number_names(made, "core")
    for value, expected in zip(answers(made, "input"), before, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert [value.name for value in made.graph.output] == outputs
    numbered = {"input", "feature", *outputs}
    names = graph.tensor_names(made) - numbered - {""}
    assert all(name.partition("_")[0] in ("tensor", "weight") for name in names)
    assert b"secret" not in graph.to_bytes(made) and made.graph.name == "core"
    once = graph.to_bytes(made)
    graph.number_names(made, "core")
    assert graph.to_bytes(made) == once


def test_sparse_weights_are_numbered_like_others() -> None:
    made = with_sparse_weights()
    rows = np.eye(3, dtype=np.float32)
    before = graph.run(graph.session(graph.to_bytes(made)), {made.graph.input[0].name: rows})
    graph.number_names(made, "core")
    after = graph.run(graph.session(graph.to_bytes(made)), {"input": rows})
    np.testing.assert_array_equal(after, before)
    assert made.graph.sparse_initializer[0].values.name.startswith("weight_")


def test_free_axes_keep_common_words_alone() -> None:
    made = models.Builder()
    x = made.op("Relu", "picture", to="y")
    built = made.model([x], "a hospital", (3, "height", "a person"))
    graph.number_names(built, "core")
    assert graph.dims(built.graph.input[0])[:3] == ("batch", 3, "height")
    assert str(graph.dims(built.graph.input[0])[3]).startswith("axis_")


def test_only_our_own_producer_is_named() -> None:
    for producer, left in (("dof-arrow", "dof-arrow"), ("somebody's exporter", "")):
        made = models.gemm()
        made.producer_name, made.producer_version = producer, "of somebody"
        graph.drop_notes(made)
        assert (made.producer_name, made.producer_version) == (left, "")


PROPERTY = core_file.PREPROCESSING_GRAPH


def spoilt(data: bytes, canaries: Canaries) -> bytes:
    """A core to which another program has added notes."""
    made = graph.from_bytes(data)
    made.doc_string = canaries.plant("a core's doc_string")
    made.graph.node[0].doc_string = canaries.plant("a node's doc_string")
    made.graph.initializer[0].doc_string = canaries.plant("a weight's doc_string")
    about = json.loads(graph.properties(made)[core_file.DESCRIPTION])
    about["note"] = canaries.plant("a field of its description")
    prepared = onnx.load_from_string(base64.b64decode(graph.properties(made)[PROPERTY]))
    prepared.doc_string = canaries.plant("its preprocessing's doc_string")
    prepared.metadata_props.add(key="x", value=canaries.plant("its preprocessing's property"))
    encoded = base64.b64encode(prepared.SerializeToString()).decode()
    own = {core_file.DESCRIPTION: json.dumps(about), PROPERTY: encoded}
    graph.set_properties(made, {**own, "x": canaries.plant("a core's property")})
    return graph.to_bytes(made)


def test_notes_that_others_added_to_a_core_end_with_it() -> None:
    """The file stays as it is, since its digest is its identity; what is made with it has none of them."""
    canaries = Canaries()
    other = Core(spoilt(core().data, canaries))
    assert canaries.found(layers(other.data)) == set(canaries.places)
    described = repr(other.describe()).encode()
    assert canaries.found(layers(described)) == set()
    assert other.describe().graph == core().describe().graph
    assert canaries.found(layers(fuse(other, {"head": small_head(other)}))) == set()
    np.testing.assert_array_equal(other([pixels(1)]), core()([pixels(1)]))


def test_a_core_of_a_model_has_our_properties_alone(tmp_path: Path) -> None:
    canaries = Canaries()
    made = Core.load(model(canaries, tmp_path, "plain"), preprocess="unit")
    stored = graph.from_bytes(made.data)
    assert set(graph.properties(stored)) == {core_file.DESCRIPTION, PROPERTY}
    assert canaries.found(layers(made.data)) == set() and made.describe().cut == CUT
