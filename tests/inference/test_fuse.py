"""Fused models: preprocessing, core and heads in one file say what the steps one by one say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.format.spec import metadata
from dof_arrow.heads import layers
from dof_arrow.inference.fuse import FUSED, HEAD, fuse
from tests.cores.test_core import SQUASHED, photographs, pictures, small_model, with_fixed_batch
from tests.support.shared import shared_data


def small_head(core: Core, classes: int = 3, seed: int = 0, opset: int = 18, **about: Any) -> bytes:
    """A linear head with random weights, of features [N, D] to probabilities [N, classes]."""
    width = int(np.prod(core.output_shape))
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        head (float[N, {width}] feature) => (float[N, {classes}] probabilities) {{
            logits = MatMul (feature, weights)
            probabilities = Softmax <axis = -1> (logits)
        }}""")
    weights = np.random.default_rng(seed).normal(size=(width, classes)) / np.sqrt(width)
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(weights.astype(np.float32), "weights")
    )
    described = {
        "core_sha256": core.sha256,
        "target": "finding",
        "classes": [f"c{i}" for i in range(classes)],
        **about,
    }
    graph.set_properties(model, {HEAD: json.dumps(described)})
    return graph.to_bytes(model)


def run_fused(data: bytes, picture: np.ndarray) -> dict[str, np.ndarray]:
    """What plain onnxruntime says, with its default options."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return dict(
        zip(
            [o.name for o in session.get_outputs()],
            session.run(None, {"picture": picture}),
            strict=True,
        )
    )


def two_steps(core: Core, heads: Mapping[str, bytes], picture: np.ndarray) -> dict[str, np.ndarray]:
    feature = core([picture]).reshape(1, -1)
    return {
        name: graph.run(graph.session(head), {"feature": feature})[0]
        for name, head in heads.items()
    }


def assert_same(
    core: Core, heads: Mapping[str, bytes], seen: list[np.ndarray], tolerance: float = 1e-5
) -> None:
    data = fuse(core, heads)
    for picture in seen:
        fused, apart = run_fused(data, picture), two_steps(core, heads, picture)
        assert fused.keys() == apart.keys()
        for name in heads:
            np.testing.assert_allclose(fused[name], apart[name], atol=tolerance)
            assert fused[name].argmax() == apart[name].argmax()


@pytest.fixture
def core() -> Core:
    return Core.from_bytes(small_model(), preprocess=SQUASHED)


def test_one_pass_answers_for_every_head(core: Core) -> None:
    """Several independent heads on one core (row D26)."""
    heads = {
        "finding": small_head(core),
        "sex of patient": small_head(core, 2, seed=1),
        "core": small_head(core, 4),
    }
    assert_same(core, heads, pictures())


@pytest.mark.parametrize("batch", [1, 4])
def test_a_core_of_fixed_batch_is_fused_for_one_picture(batch: int) -> None:
    core = Core(with_fixed_batch(Core.from_bytes(small_model(), preprocess=SQUASHED).data, batch))
    assert_same(core, {"finding": small_head(core)}, pictures())


@pytest.mark.parametrize(
    ("dtype", "layout"), [("float16", "NCHW"), ("uint8", "NHWC"), ("float", "NHWC")]
)
def test_element_types_and_axis_orders(dtype: str, layout: str) -> None:
    declared = dataclasses.replace(
        SQUASHED, scale=1, dtype="float32" if dtype == "float" else dtype, layout=layout
    )
    core = Core.from_bytes(small_model(dtype=dtype, layout=layout), preprocess=declared)
    assert_same(core, {"finding": small_head(core)}, pictures())


def test_features_of_several_axes_are_flattened() -> None:
    core = Core.from_bytes(small_model(), preprocess=SQUASHED, at="lively", pool="2x2")
    assert core.output_shape == (6, 2, 2)
    assert_same(core, {"finding": small_head(core)}, pictures())


def test_parts_of_different_opsets_are_raised_to_one(core: Core) -> None:
    model = graph.from_bytes(
        fuse(core, {"old": small_head(core, opset=13), "new": small_head(core, opset=21)})
    )
    assert graph.opset(model) == 21
    assert_same(
        core, {"old": small_head(core, opset=13), "new": small_head(core, opset=21)}, pictures()
    )


def test_a_fused_model_says_where_it_came_from(core: Core) -> None:
    data = fuse(core, {"finding": small_head(core, 3)})
    model = graph.from_bytes(data)
    onnx.checker.check_model(model, full_check=True)
    about = json.loads(graph.properties(model)[FUSED])
    assert dataclasses.replace(core.describe(), graph=None) == metadata.from_json(
        about["cores"][0], metadata.CoreMetadata
    )
    assert about["heads"]["finding"]["classes"] == ["c0", "c1", "c2"]
    (picture,), (output,) = model.graph.input, model.graph.output
    assert (picture.name, graph.dtype(picture), graph.dims(picture)) == (
        "picture",
        np.uint8,
        ("height", "width", "channels"),
    )
    assert (output.name, graph.dims(output)) == ("finding", (1, 3))


def test_equal_parts_give_equal_bytes(core: Core) -> None:
    heads = {"a": small_head(core), "b": small_head(core, seed=1)}
    assert fuse(core, heads) == fuse(Core(core.data), heads)


def test_a_head_of_several_outputs_names_each(core: Core) -> None:
    head = graph.from_bytes(small_head(core))
    head.graph.output.append(
        onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 3])
    )
    fused = run_fused(fuse(core, {"finding": graph.to_bytes(head)}), pictures()[0])
    assert set(fused) == {"finding_probabilities", "finding_logits"}


def test_a_head_of_another_core_is_refused(core: Core) -> None:
    other = Core.from_bytes(small_model(), name="other", preprocess=SQUASHED)
    with pytest.raises(
        CoreError,
        match=f"trained on another core: expected core {other.sha256}, found {core.sha256}",
    ):
        fuse(core, {"finding": small_head(other)})


def test_a_head_of_another_width_or_of_no_origin_is_refused(core: Core) -> None:
    wide = Core.from_bytes(small_model(), preprocess=SQUASHED, at="lively", pool="2x2")
    with pytest.raises(CoreError, match="does not take this core's features"):
        fuse(core, {"finding": small_head(wide, core_sha256=core.sha256)})
    nameless = graph.from_bytes(small_head(core))
    del nameless.metadata_props[:]
    with pytest.raises(CoreError, match="does not say which core"):
        fuse(core, {"finding": graph.to_bytes(nameless)})


def test_a_head_that_is_not_valid_is_refused(core: Core) -> None:
    broken = graph.from_bytes(small_head(core))
    broken.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((6, 3)), "weights"))
    with pytest.raises(CoreError, match=r"do not make one valid model: found .*double"):
        fuse(core, {"finding": graph.to_bytes(broken)})


@pytest.mark.parametrize("name", ["", "picture", "pictures", "a/b"])
def test_names_that_cannot_stand_are_refused(core: Core, name: str) -> None:
    with pytest.raises(UsageError, match="need names"):
        fuse(core, {name: small_head(core)})
    with pytest.raises(UsageError, match="no head"):
        fuse(core, {})


def cores_of_all_kinds() -> dict[str, Core]:
    """A core for each way in which pictures are run: together, or each by itself."""
    free = dataclasses.replace(SQUASHED, fit="none", resize=())
    half = dataclasses.replace(SQUASHED, dtype="float16", layout="NHWC")
    return {
        "batches": Core.from_bytes(small_model(), name="batches", preprocess=SQUASHED),
        "half": Core.from_bytes(small_model("float16", "NHWC"), name="half", preprocess=half),
        "axes": Core.from_bytes(
            small_model(), name="axes", preprocess=SQUASHED, at="lively", pool="2x2"
        ),
        "fixed": Core(
            with_fixed_batch(
                Core.from_bytes(small_model(), name="fixed", preprocess=SQUASHED).data, 4
            )
        ),
        "dependent": Core.from_bytes(
            small_model(dynamic=True), name="dependent", preprocess=SQUASHED
        ),
        "free": Core.from_bytes(small_model(sides=("h", "w")), name="free", preprocess=free),
    }


def side_by_side(cores: Sequence[Core], classes: int = 3, **about: Any) -> bytes:
    """A linear head on the features of several cores."""
    widths = [int(np.prod(core.output_shape)) for core in cores]
    weights = np.random.default_rng(0).normal(size=(sum(widths), classes)) / 10
    steps = [
        *([layers.Pooled("mean")] if about.get("clips") else []),
        layers.Affine(weights, np.zeros(classes)),
        layers.Function("softmax"),
    ]
    inputs = [
        {"feature": core.name, "core_sha256": core.sha256, "width": width}
        for core, width in zip(cores, widths, strict=True)
    ]
    model = layers.to_model(steps, "category", sum(widths), classes)
    graph.set_properties(
        model, {HEAD: json.dumps({"core_sha256": None, "inputs": inputs, **about})}
    )
    return graph.to_bytes(model)


def run_batch(data: bytes, seen: list[np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return dict(
        zip(
            [o.name for o in session.get_outputs()],
            session.run(None, {"pictures": seen}),
            strict=True,
        )
    )


@pytest.mark.parametrize("kind", ["batches", "half", "axes", "fixed", "dependent", "free"])
def test_pictures_of_different_sizes_in_one_call(kind: str) -> None:
    core = cores_of_all_kinds()[kind]
    heads, seen = {"finding": small_head(core), "sex": small_head(core, 2, seed=1)}, pictures(7)
    data = fuse(core, heads, batch=True)
    onnx.checker.check_model(graph.from_bytes(data), full_check=True)
    found = run_batch(data, seen)
    alone = [two_steps(core, heads, picture) for picture in seen]
    for name in heads:
        np.testing.assert_allclose(
            found[name], np.concatenate([each[name] for each in alone]), atol=1e-5
        )
    assert [graph.dims(o) for o in graph.from_bytes(data).graph.output] == [
        ("pictures", 3),
        ("pictures", 2),
    ]


def test_cores_of_all_kinds_side_by_side() -> None:
    """Each head reads its own cores, in its own order; every core runs once (row D26)."""
    made = cores_of_all_kinds()
    cores, seen = list(made.values()), pictures(4)
    several = {"all": cores, "two": [made["free"], made["batches"]], "back": cores[::-1]}
    heads = {name: side_by_side(read) for name, read in several.items()} | {
        "one": small_head(made["axes"])
    }
    one, many = fuse(cores, heads), run_batch(fuse(cores, heads, batch=True), seen)
    for i, picture in enumerate(seen):
        found = run_fused(one, picture)
        for name, read in {**several, "one": [made["axes"]]}.items():
            feature = np.concatenate([core([picture]).reshape(1, -1) for core in read], axis=1)
            expected = graph.run(graph.session(heads[name]), {"feature": feature})[0]
            np.testing.assert_allclose(found[name], expected, atol=1e-5)
            np.testing.assert_allclose(many[name][i], expected[0], atol=1e-5)
    nodes = [node.op_type for node in graph.from_bytes(one).graph.node]
    assert nodes.count("Conv") == len(cores)


def test_a_head_of_clips_reads_several_cores() -> None:
    made = cores_of_all_kinds()
    cores, clip = (
        [made["axes"], made["batches"]],
        np.stack([np.full((9, 7, 3), 20 * i, np.uint8) for i in range(6)]),
    )
    head = side_by_side(cores, clips=True)
    feature = np.concatenate([core(list(clip)).reshape(len(clip), -1) for core in cores], axis=1)[
        None
    ]
    session = onnxruntime.InferenceSession(
        fuse(cores, {"way": head}), providers=["CPUExecutionProvider"]
    )
    found = session.run(["way"], {"clip": clip})[0]
    np.testing.assert_allclose(
        found, graph.run(graph.session(head), {"feature": feature})[0], atol=1e-5
    )
    with pytest.raises(UsageError, match="one clip at a time"):
        fuse(cores, {"way": head}, batch=True)


def test_cores_that_cannot_be_joined_are_refused(core: Core) -> None:
    turned = dataclasses.replace(SQUASHED, orientation="ignore")
    other = Core.from_bytes(small_model(), name="other", preprocess=turned)
    both = {"finding": side_by_side([core, other])}
    with pytest.raises(UsageError, match="decoded in different ways"):
        fuse([core, other], both)
    with pytest.raises(
        CoreError,
        match=f"trained on another core: expected core {other.sha256}, found {core.sha256}",
    ):
        fuse(core, both)
    with pytest.raises(UsageError, match=r"a core too many: expected .*, found other"):
        fuse([core, other], {"finding": small_head(core)})
    with pytest.raises(UsageError, match="one core twice"):
        fuse([core, core], {"finding": small_head(core)})
    narrow = graph.from_bytes(side_by_side([core, made := cores_of_all_kinds()["half"]]))
    about = json.loads(graph.properties(narrow)[HEAD])
    about["inputs"][0]["width"], about["inputs"][1]["width"] = 5, 7
    graph.set_properties(narrow, {HEAD: json.dumps(about)})
    with pytest.raises(CoreError, match=r"does not take .* \[N, 6 \+ 6\]"):
        fuse([core, made], {"finding": graph.to_bytes(narrow)})


@pytest.mark.parametrize(
    ("file", "preset"),
    [
        ("mobilenetv2-12-fp32-from-int8.onnx", "imagenet"),
        ("mobilenetv2-12-int8.onnx", "imagenet"),
        ("squeezenet_fp16.onnx", "caffe"),
    ],
)
def test_real_models_agree_with_the_two_steps(file: str, preset: str) -> None:
    core = Core.load(shared_data() / "models" / file, preprocess=preset, pool="1x1")
    assert_same(core, {"finding": small_head(core, 5), "sex": small_head(core, 2)}, photographs(6))
    newer = {"finding": small_head(core, 5, opset=21)}
    assert_same(core, newer, photographs(2), tolerance=1e-3)


def test_a_head_whose_description_is_nested_deeply_is_refused(core: Core) -> None:
    head = graph.from_bytes(small_head(core))
    graph.set_properties(head, {"dof.head": "[" * 100_000})
    with pytest.raises(CoreError, match="does not say which core"):
        fuse(core, {"finding": graph.to_bytes(head)})
