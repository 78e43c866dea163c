"""Heads are found and cut off, for every kind of model; the original itself is the reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from dof_arrow.cores import cut, head_detection, probe
from dof_arrow.cores.graph import batch_axis
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph.flow import Flow
from dof_arrow.errors import CoreError
from tests.support import models
from tests.support.shared import shared_data

pytestmark = pytest.mark.filterwarnings("ignore:builtin type Swig:DeprecationWarning")
Array = NDArray[Any]

KINDS: dict[str, Callable[[], onnx.ModelProto]] = {
    "gemm": models.gemm,
    "gemm opset 9": lambda: models.gemm(opset=9),
    "logits": lambda: models.gemm(tail=""),
    "argmax": lambda: models.gemm(tail="ArgMax"),
    "fixed batch of one": lambda: models.gemm(batch=1),
    "matmul and add": models.matmul_add,
    "hidden layer": models.hidden_layer,
    "label and zipmap": models.labels_and_probabilities,
    "softmax written out": models.soft_by_hand,
    "sixteen": models.sixteen,
    "class token": models.vit,
    "class token, fixed": lambda: models.vit(batch=4),
    "mean of tokens": lambda: models.vit("mean"),
    "headless": models.headless,
    "embedding": models.embedding,
    "channels last": models.channels_last,
    "two heads": models.two_heads,
    "head and map": models.head_and_map,
    "qdq": lambda: models.quantised("QDQ"),
    "squeezed": models.squeezed,
    "squeezed when alone": models.squeezed_when_alone,
}
REAL = {
    "mobilenetv2-12-fp32-from-int8": ("472_quantized", "627_quantized"),
    "mobilenetv2-12-int8": ("472_quantized", "627_quantized"),
    "squeezenet_fp16": ("fire9/concat_1", "fire9/concat_1"),
    "structure-only/light_resnet50": ("r173", "r171"),
    "structure-only/light_densenet121": ("r908", "r907"),
}


def exposed(model: onnx.ModelProto, tensor: str, rows: Array) -> Array:
    """A tensor of the original model, which runs at the batch size that it declares."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.append(onnx.ValueInfoProto(name=tensor))
    runner, name = graph.session(graph.to_bytes(copy)), graph.inputs(copy)[0].name
    size = batch_axis.size(model) or len(rows)
    full = np.concatenate([rows, *[rows[-1:]] * (-len(rows) % size)])
    parts = [graph.run(runner, {name: full[i : i + size]})[0] for i in range(0, len(full), size)]
    return np.concatenate([p if len(p) == size else p[None] for p in parts])[: len(rows)]


def features(made: cut.Cut, rows: Array) -> Array:
    onnx.checker.check_model(made.model)
    assert [o.name for o in made.model.graph.output] == ["feature"]
    found = graph.run(
        graph.session(graph.to_bytes(made.model)), {graph.inputs(made.model)[0].name: rows}
    )[0]
    assert found.dtype == np.float32 and found.shape == (len(rows), *made.shape)
    return np.asarray(found)


def pictures(model: onnx.ModelProto, count: int = 3) -> Array:
    return batch_axis.sample(graph.inputs(model)[0], count)


def adaptive(maps: Array, grid: int) -> Array:
    """Adaptive average pooling, cell by cell."""
    height, width = maps.shape[2:]
    found = np.empty((*maps.shape[:2], grid, grid))
    for i in range(grid):
        for j in range(grid):
            rows = slice(i * height // grid, -(-(i + 1) * height // grid))
            columns = slice(j * width // grid, -(-(j + 1) * width // grid))
            found[:, :, i, j] = maps[:, :, rows, columns].astype(float).mean((2, 3))
    return found


def assert_near(found: Array, expected: Array, allowed: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= allowed * np.abs(expected).max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_cut_equals_the_tensor_exposed(kind: str) -> None:
    model = KINDS[kind]()
    rows, made = pictures(model), cut.cut(model)
    assert (made.tensor, made.pool, made.fixed_batch, made.batch_dependent) == (
        "feat",
        None,
        None,
        False,
    )
    assert_near(features(made, rows), exposed(model, "feat", rows))
    assert_near(features(made, rows[:1]), exposed(model, "feat", rows)[:1])
    assert [c.tensor for c in cut.candidates(model) if c.chosen] == ["feat"]


@pytest.mark.parametrize("head", ["QGemm", "QLinearMatMul"])
def test_quantised_features_are_dequantised(head: str) -> None:
    model = models.quantised(head)
    rows, made = pictures(model), cut.cut(model)
    stored = exposed(model, "feat", rows)
    assert made.tensor == "feat" and stored.dtype == np.uint8
    assert_near(features(made, rows), (stored.astype(np.float32) - 3) * np.float32(0.02))


@pytest.mark.parametrize(
    ("kind", "size"), [(np.float32, "N"), (np.float32, 1), (np.float16, 1), (np.float16, "N")]
)
def test_a_convolutional_head_leaves_a_map_which_is_averaged(kind: Any, size: models.Batch) -> None:
    model = models.conv_head(size, kind)
    rows, made = pictures(model), cut.cut(model)
    assert (made.tensor, made.shape, made.pool, made.fixed_batch) == ("map", (12,), "1x1", None)
    expected = exposed(model, "map", rows).astype(np.float32).mean((2, 3))
    assert_near(features(made, rows), expected, 1e-5 if kind is np.float32 else 2e-3)


@pytest.mark.parametrize("grid", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize(
    "make", [models.gemm, models.conv_head, models.headless, models.headless_map]
)
def test_pooling_to_a_grid_cuts_before_the_models_own_average(
    make: Callable[[], onnx.ModelProto], grid: int
) -> None:
    model = make()
    rows, made = pictures(model), cut.cut(model, pool=f"{grid}x{grid}")
    assert made.shape == ((12, grid, grid) if grid > 1 else (12,))
    assert_near(
        features(made, rows).reshape(3, 12, grid, grid), adaptive(exposed(model, "map", rows), grid)
    )


def test_no_pooling_keeps_the_map_with_channels_first() -> None:
    rows = pictures(models.gemm())
    assert_near(
        features(cut.cut(models.gemm(), pool="none"), rows), exposed(models.gemm(), "map", rows)
    )
    last = exposed(models.channels_last(), "last", rows).transpose(0, 3, 1, 2)
    assert_near(features(cut.cut(models.channels_last(), pool="none"), rows), last)
    assert_near(features(cut.cut(models.channels_last(), pool="3x3"), rows), adaptive(last, 3))


def test_tokens_are_kept_or_averaged_when_asked() -> None:
    model = models.vit()
    rows, tokens = pictures(model), exposed(model, "map", pictures(model))
    assert_near(features(cut.cut(model, pool="none"), rows), tokens)
    assert_near(features(cut.cut(model, at="map"), rows), tokens.mean(1))
    with pytest.raises(CoreError, match="height and width"):
        cut.cut(model, pool="2x2")


def test_a_cut_goes_where_it_is_told() -> None:
    model = models.gemm()
    rows, maps = pictures(model), exposed(model, "map", pictures(model))
    assert_near(features(cut.cut(model, at="map"), rows), maps.mean((2, 3)))
    assert_near(features(cut.cut(model, at="map", pool="none"), rows), maps)
    with pytest.raises(CoreError, match=r"no such tensor.*Did you mean map\?"):
        cut.cut(model, at="mapp")
    with pytest.raises(CoreError, match="height and width"):
        cut.cut(model, at="feat", pool="2x2")


def test_the_picture_itself_is_never_the_feature() -> None:
    for model, at in ((models.only_a_head(), None), (models.gemm(), "picture")):
        with pytest.raises(CoreError, match="would be the picture"):
            cut.cut(model, at=at)


@pytest.mark.parametrize("make", [models.two_trunks, lambda: models.conv_head(tail="")])
def test_where_two_cuts_can_be_defended_both_are_named(make: Callable[[], onnx.ModelProto]) -> None:
    found = cut.candidates(make())
    assert len(found) > 1 and not any(candidate.chosen for candidate in found)
    with pytest.raises(CoreError, match=r"no single place.*--at TENSOR") as error:
        cut.cut(make())
    assert all(candidate.tensor in str(error.value) for candidate in found)


def test_a_second_input_is_refused() -> None:
    with pytest.raises(CoreError, match=r"one tensor.*age"):
        cut.cut(models.two_inputs())


@pytest.mark.parametrize("pool", ["2", "0x0", "2x", "max", "", "99999x1"])
def test_unknown_poolings_are_refused(pool: str) -> None:
    with pytest.raises(CoreError, match="unknown pooling"):
        cut.cut(models.gemm(), pool=pool)


@pytest.mark.parametrize("size", ["N", 1, 16])
def test_features_that_change_with_their_batch_are_reported(size: models.Batch) -> None:
    model = models.dynamic_range(size)
    rows, made = pictures(model), cut.cut(model)
    assert made.batch_dependent and made.fixed_batch is None and made.tensor == "feat"
    alone = np.concatenate([features(made, rows[i : i + 1]) for i in range(3)])
    assert np.abs(features(made, rows) - alone).max() > 1e-4
    one = models.dynamic_range()
    assert_near(alone, np.concatenate([exposed(one, "feat", rows[i : i + 1]) for i in range(3)]))


def test_a_batch_size_that_cannot_be_taken_out_stays() -> None:
    made = cut.cut(models.mixed_rows())
    assert (made.fixed_batch, made.batch_dependent) == (4, True)
    rows = pictures(models.mixed_rows(), 4)
    assert_near(features(made, rows), exposed(models.mixed_rows(), "feat", rows))


def test_a_free_batch_axis_that_does_not_work_is_mended() -> None:
    model = models.sixteen()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    next(n for n in model.graph.node if n.op_type == "Reshape").input[1] = "one"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 12]), "one"))
    made = cut.cut(model)
    assert made.fixed_batch is None and not made.batch_dependent
    rows = pictures(model)
    assert_near(
        features(made, rows),
        np.concatenate([exposed(model, "feat", rows[i : i + 1]) for i in range(3)]),
    )


def test_a_map_whose_size_follows_the_picture_must_be_averaged() -> None:
    b = models.Builder()
    model = b.model([models.dense(b, models.pooled(b), to="logits")], shape=(3, "H", "W"))
    made, rows = cut.cut(model, at="map"), np.ones((2, 3, 20, 30), np.float32)
    assert_near(features(made, rows), exposed(model, "map", rows).mean((2, 3)))
    with pytest.raises(CoreError, match="size changes"):
        cut.cut(model, pool="2x2")


@pytest.mark.parametrize("at", ["picture", "flat"])
def test_a_picture_of_whole_numbers_is_no_place_to_cut(at: str) -> None:
    nodes = [
        helper.make_node("Flatten", ["picture"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["numbers", "w"], ["y"]),
    ]
    weights = onnx.numpy_helper.from_array(np.ones((48, 5), np.float32), "w")
    picture = helper.make_tensor_value_info("picture", TensorProto.UINT8, ["N", 3, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])
    made = helper.make_graph(nodes, "bytes", [picture], [y], [weights])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(CoreError, match=f"^{at}: whole numbers without a scale"):
        cut.cut(model, at=at)


def test_a_tensor_called_feature_does_not_collide() -> None:
    for old in ("map", "picture", "w0"):
        model = models.gemm()
        graph.rename_tensor(model, old, "feature")
        assert_near(
            features(cut.cut(model), pictures(model)),
            exposed(models.gemm(), "feat", pictures(model)),
        )


def test_equal_models_give_equal_bytes() -> None:
    first, second = (graph.to_bytes(cut.cut(models.sixteen(), pool="2x2").model) for _ in range(2))
    assert first == second


def test_the_original_is_left_as_it_was() -> None:
    model = models.sixteen()
    before = graph.to_bytes(model)
    cut.cut(model, pool="2x2")
    assert graph.to_bytes(model) == before


def test_the_stages_of_a_graph_are_its_bottlenecks() -> None:
    flow = Flow(models.soft_by_hand())
    output = flow.model.graph.output[0].name
    assert [sorted(n.op_type for n in s.nodes) for s in flow.stages(output)][:4] == [
        ["Div", "ReduceSum"],
        ["Exp"],
        ["ReduceMax", "Sub"],
        ["Gemm"],
    ]


@pytest.mark.parametrize(
    ("name", "verdict"), [("logits", "head"), ("image_embeds", "output"), ("out", "head")]
)
def test_names_weigh_in(name: str, verdict: str) -> None:
    model = models.gemm(tail="")
    graph.rename_tensor(model, model.graph.output[0].name, name)
    flow = Flow(model)
    assert head_detection.verdicts(flow, partial(probe.shapes, flow))[0].verdict == verdict


@pytest.mark.parametrize("name", REAL)
def test_real_models(name: str) -> None:
    model = graph.load(shared_data() / "models" / f"{name}.onnx")
    tensor, above = REAL[name]
    rows = pictures(model, 2)
    for pool, at in ((None, tensor), ("2x2", above)):
        made = cut.cut(model, pool=pool)
        assert (made.tensor, made.fixed_batch, made.batch_dependent) == (at, None, False)
        expected = exposed(model, at, rows).astype(np.float32)
        if expected.ndim == 4:
            expected = adaptive(expected, 2 if pool else 1).reshape(2, *made.shape)
        if name.endswith("12-int8"):
            weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
            expected = expected * weights["627_scale" if pool else "464_scale"]
        assert_near(features(made, rows), expected, 2e-3 if "fp16" in name else 1e-5)
