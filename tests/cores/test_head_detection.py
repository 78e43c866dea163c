"""Every form of head is found, or said to be unclear; class scores are never taken for features."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from dof_arrow.cores import cut
from dof_arrow.cores.graph import batch_axis
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError
from tests.support import heads, models

pytestmark = pytest.mark.filterwarnings("ignore:builtin type Swig:DeprecationWarning")
Array = NDArray[Any]


def pictures(model: onnx.ModelProto) -> Array:
    return batch_axis.sample(graph.inputs(model)[0], 3)


def value(model: onnx.ModelProto, tensor: str) -> Array:
    """A tensor of the original model."""
    part = graph.extract(model, [tensor])
    feeds = {graph.inputs(model)[0].name: pictures(model)}
    return graph.run(graph.session(graph.to_bytes(part)), feeds)[0]


def features(made: cut.Cut, model: onnx.ModelProto) -> Array:
    feeds = {graph.inputs(made.model)[0].name: pictures(model)}
    return graph.run(graph.session(graph.to_bytes(made.model)), feeds)[0]


def assert_equal(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("form", heads.FEATURES)
def test_a_head_is_cut_before_what_it_reads(form: str) -> None:
    model = heads.made(heads.FEATURES[form])
    made = cut.cut(model)
    assert made.tensor == "feat"
    assert_equal(features(made, model), value(model, "feat").reshape(3, -1))


@pytest.mark.parametrize("form", heads.MAPS)
def test_a_head_that_reads_a_map_leaves_its_average(form: str) -> None:
    model = heads.made(heads.MAPS[form])
    made = cut.cut(model)
    assert made.pool == "1x1"
    assert_equal(features(made, model), value(model, "map").mean((2, 3)))


@pytest.mark.parametrize("form", heads.VECTORS)
def test_vectors_that_heads_read_one_by_one_lie_side_by_side(form: str) -> None:
    model = heads.made(heads.VECTORS[form])
    made = cut.cut(model)
    assert made.tensor == "token0 + token1"
    both = np.concatenate([value(model, f"token{i}") for i in range(2)], axis=1)
    assert_equal(features(made, model), both)
    again = cut.cut(model, at="token0 + token1")
    assert graph.to_bytes(again.model) == graph.to_bytes(made.model)
    with pytest.raises(CoreError, match=r"token9: no such tensor"):
        cut.cut(model, at="token0 + token9")


def test_maps_do_not_lie_side_by_side() -> None:
    with pytest.raises(CoreError, match=r"only vectors .*found map"):
        cut.cut(heads.made(heads.average_and_maximum), at="map + token1")


@pytest.mark.parametrize("form", heads.HEADLESS)
def test_a_model_without_a_head_keeps_its_output(form: str) -> None:
    model = heads.made(heads.HEADLESS[form])
    made = cut.cut(model)
    assert made.tensor == model.graph.output[0].name
    assert_equal(features(made, model), value(model, made.tensor))


@pytest.mark.parametrize("form", heads.UNCLEAR)
def test_what_could_be_either_is_refused_with_the_candidates(form: str) -> None:
    model = heads.made(heads.UNCLEAR[form])
    found = cut.candidates(model)
    assert not any(candidate.chosen for candidate in found)
    assert model.graph.output[0].name in [candidate.tensor for candidate in found]
    with pytest.raises(CoreError, match=r"no single place to cut.*--at TENSOR") as error:
        cut.cut(model)
    for candidate in found:
        assert f"{candidate.tensor} {list(candidate.shape)}" in str(error.value)
        if candidate.tensor != model.graph.output[0].name:
            assert len(features(cut.cut(model, at=candidate.tensor), model)) == 3


def test_an_unclear_head_lists_what_lies_between() -> None:
    listed = cut.candidates(heads.made(heads.scores_of_prototypes))
    assert ("feat", "in the head") in [(each.tensor, each.kind) for each in listed]


def beside(form: heads.Form, more: Any) -> onnx.ModelProto:
    """A model with a second output."""
    b = models.Builder()
    return b.model([form(b), more(b)])


@pytest.mark.parametrize(
    "more",
    [
        lambda b: b.op("LpNormalization", "feat", axis=1, to="embedding"),
        lambda b: b.op("Sub", "feat", b.const(np.ones((3, 12)), np.float32), to="apart"),
        lambda b: "map",
    ],
)
def test_outputs_on_the_way_to_a_head_are_byproducts(more: Any) -> None:
    assert cut.cut(beside(heads.einsum, more)).tensor == "feat"


def test_a_second_unclear_output_is_no_byproduct() -> None:
    model = beside(heads.einsum, lambda b: b.op("Relu", heads.dense(b, b.op("Sin", "feat"))))
    with pytest.raises(CoreError, match="no single place"):
        cut.cut(model)


@pytest.mark.parametrize("kind", ["QGemm", "QLinearMatMul", "QDQ"])
def test_tensors_of_quantised_models_are_listed(kind: str) -> None:
    listed = cut.candidates(models.quantised(kind))
    first = listed[0]
    assert (first.tensor, first.kind, first.chosen) == ("feat", "before the head", True)
    assert [each.shape for each in listed] == [("N", 12), ("N", 12, 8, 8), ("N", 5)]


def dropout(ratio: float, mode: bool, seed: int | None = None) -> onnx.ModelProto:
    b = models.Builder()
    given = [models.pooled(b, to="clean"), b.const(ratio, np.float32), b.const(mode, np.bool_)]
    seeded = {} if seed is None else {"seed": seed}
    return b.model([heads.dense(b, b.op("Dropout", *given, to="feat", **seeded))])


@pytest.mark.parametrize("seed", [None, 3])
def test_dropout_that_drops_is_refused_and_named(seed: int | None) -> None:
    model = dropout(0.3, mode=True, seed=seed)
    with pytest.raises(CoreError, match=r"draws random numbers.*Dropout n\d+ in training mode"):
        cut.cut(model, at="feat")
    # The features before it are sound: it goes with the head.
    assert_equal(features(cut.cut(model), model), value(model, "clean"))


@pytest.mark.parametrize(("ratio", "mode"), [(0.0, True), (0.3, False)])
def test_dropout_that_drops_nothing_serves(ratio: float, mode: bool) -> None:
    model = dropout(ratio, mode)
    assert_equal(features(cut.cut(model), model), value(model, "clean"))


@pytest.mark.parametrize(
    "draw",
    [
        lambda b, x: b.op("Add", x, b.op("RandomNormalLike", x)),
        lambda b, x: b.op("Add", x, b.op("RandomUniformLike", x, seed=7.0)),
        lambda b, x: b.op("Mul", x, b.op("RandomNormal", shape=[12])),
        lambda b, x: b.op("Mul", x, b.op("RandomUniform", shape=[12], seed=1.0)),
        lambda b, x: b.op("Bernoulli", b.op("Sigmoid", x)),
        lambda b, x: b.op("CastLike", b.op("Multinomial", x, sample_size=12), x),
    ],
)
def test_random_numbers_are_refused_by_their_operator(draw: Any) -> None:
    b = models.Builder()
    drawn = draw(b, models.pooled(b))
    model = b.model([heads.dense(b, b.op("Relu", drawn, to="seen"), width=12)])
    with pytest.raises(CoreError, match=r"draws random numbers.*(Random|Bernoulli|Multinomial)"):
        cut.cut(model, at="seen")


def training_normalisation(opset: int, outputs: int, **attributes: Any) -> onnx.ModelProto:
    b = models.Builder(opset)
    x = b.op("Conv", "picture", b.weight(12, 3, 3, 3))
    given = [b.const(np.full(12, each), np.float32) for each in (1, 0, 0.5, 2)]
    x = b.op("BatchNormalization", x, *given, outputs=outputs, **attributes)
    x = b.op("Flatten", b.op("GlobalAveragePool", b.op("Relu", x)), to="feat")
    model = b.model([heads.dense(b, x)])
    model.ir_version = 7
    return model


@pytest.mark.parametrize(
    ("opset", "outputs", "attributes"),
    [(15, 3, {"training_mode": 1}), (9, 5, {}), (13, 5, {}), (8, 5, {"momentum": 0.9})],
)
def test_normalisation_in_training_mode_is_refused_and_named(
    opset: int, outputs: int, attributes: dict[str, Any]
) -> None:
    model = training_normalisation(opset, outputs, **attributes)
    with pytest.raises(
        CoreError, match=r"BatchNormalization in training mode.*BatchNormalization n1.*eval mode"
    ):
        cut.cut(model)


@pytest.mark.parametrize("opset", [8, 9, 15])
def test_normalisation_in_use_serves(opset: int) -> None:
    model = training_normalisation(opset, 1)
    assert_equal(features(cut.cut(model), model), value(model, "feat"))


def test_weights_may_be_normalised_in_training_mode() -> None:
    """As NFNets standardise theirs: that depends on no picture."""
    b = models.Builder()
    stack = b.op("Reshape", b.weight(12, 3, 3, 3), b.const([1, 12, -1]))
    given = [b.const(np.full(12, each), np.float32) for each in (1, 0, 0, 1)]
    normal = b.op("BatchNormalization", stack, *given, outputs=3, training_mode=1)
    x = b.op("Conv", "picture", b.op("Reshape", normal, b.const([12, 3, 3, 3])), to="map")
    x = b.op("Flatten", b.op("GlobalAveragePool", b.op("Relu", x)), to="feat")
    model = b.model([heads.dense(b, x)])
    assert_equal(features(cut.cut(model), model), value(model, "feat"))


def test_a_model_newer_than_the_runtime_is_refused_with_both_versions() -> None:
    model = models.gemm()
    model.ir_version = 99
    with pytest.raises(
        CoreError, match=r"at most IR version \d+.*found IR version 99.*pip install"
    ):
        cut.cut(model)
    model = models.gemm()
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 99))
    with pytest.raises(CoreError, match=r"at most opset \d+.*found opset 99 of ai.onnx"):
        cut.cut(model)


def test_nodes_of_one_name_and_empty_axes_serve() -> None:
    model = models.gemm()
    for node in model.graph.node:
        node.name = "same"
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 0
    made = cut.cut(model)
    assert made.fixed_batch is None
    assert_equal(features(made, models.gemm()), value(models.gemm(), "feat"))
