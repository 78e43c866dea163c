"""ONNX models are read safely, taken apart, raised and run."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data

from dof_arrow.cores import cut
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError
from tests.support import models
from tests.support.shared import shared_data

pytestmark = pytest.mark.filterwarnings("ignore:builtin type Swig:DeprecationWarning")

MODELS = (
    "mobilenetv2-12-fp32-from-int8",
    "mobilenetv2-12-int8",
    "squeezenet_fp16",
    "structure-only/light_resnet50",
    "structure-only/light_densenet121",
)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(graph.to_bytes(model))
    return path


def with_external_data(folder: Path, location: str = "weights.bin") -> Path:
    model = models.gemm()
    convert_model_to_external_data(
        model, location="weights.bin", size_threshold=0
    )  # changed by the save below
    onnx.save(model, folder / "model.onnx")
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        next(e for e in tensor.external_data if e.key == "location").value = location
    return saved(model, folder)


def outputs(model: onnx.ModelProto, rows: np.ndarray) -> list[np.ndarray]:
    return graph.run(graph.session(graph.to_bytes(model)), {graph.inputs(model)[0].name: rows})


def test_a_model_comes_back_from_its_file_and_its_bytes(tmp_path: Path) -> None:
    model = models.gemm()
    assert graph.to_bytes(graph.load(saved(model, tmp_path))) == graph.to_bytes(model)
    assert graph.to_bytes(graph.from_bytes(graph.to_bytes(model))) == graph.to_bytes(model)


@pytest.mark.parametrize(
    "data", [b"", b"not a model", b"\x89PNG\r\n\x1a\n" + bytes(64), b"\x08\x08"]
)
def test_other_bytes_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(CoreError, match="no ONNX model"):
        graph.load(tmp_path / "x.onnx")


def test_every_truncation_is_refused() -> None:
    data = graph.to_bytes(models.gemm())
    for length in range(0, len(data), 97):
        with pytest.raises(CoreError):
            graph.from_bytes(data[:length])


def test_missing_files_folders_and_devices_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("nul\0"), Path(os.devnull)):
        with pytest.raises(CoreError, match="cannot be read"):
            graph.load(path)


def test_names_that_are_no_text_are_refused() -> None:
    data = graph.to_bytes(models.gemm())
    for name in (b"feat", b"small", b"Gemm", b"n0"):
        with pytest.raises(CoreError, match="UTF-8"):
            graph.from_bytes(data.replace(name, b"\xff" * len(name)))


def test_damaged_models_never_end_in_a_foreign_error() -> None:
    data, rng = graph.to_bytes(models.sixteen()), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        with contextlib.suppress(CoreError):
            assert cut.candidates(graph.from_bytes(bytes(damaged)))


def test_invalid_graphs_are_refused() -> None:
    model = models.gemm()
    model.graph.node[0].input[0] = "nobody"
    with pytest.raises(CoreError, match="not valid"):
        graph.from_bytes(graph.to_bytes(model))


def test_external_data_beside_the_model_is_brought_in(tmp_path: Path) -> None:
    model = graph.load(with_external_data(tmp_path))
    rows = np.ones((2, 3, 16, 16), np.float32)
    np.testing.assert_array_equal(outputs(model, rows)[0], outputs(models.gemm(), rows)[0])


ELSEWHERE = (
    "../weights.bin",
    "sub/../weights.bin",
    "link.bin",
    "folder/weights.bin",
    "",
    ".",
    "gone",
    "nul\0",
)


@pytest.mark.parametrize("location", ELSEWHERE)
def test_external_data_elsewhere_is_refused(location: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    path = with_external_data(home, location)
    outside = tmp_path / "weights.bin"
    outside.write_bytes((home / "weights.bin").read_bytes())
    (home / "link.bin").symlink_to(outside)
    (home / "folder").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(CoreError, match="do not lie beside it"):
        graph.load(path)


def test_external_data_by_an_absolute_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CoreError, match="do not lie beside it"):
        graph.load(with_external_data(tmp_path, os.fspath(tmp_path / "weights.bin")))


def test_external_data_of_another_length_is_refused(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"short")
    with pytest.raises(CoreError, match="cannot be read"):
        graph.load(path)


def test_bytes_alone_may_not_point_to_other_files(tmp_path: Path) -> None:
    with pytest.raises(CoreError, match=r"another file.*Save it with its weights inside"):
        graph.from_bytes(with_external_data(tmp_path).read_bytes())


def test_properties_are_set_sorted_and_kept() -> None:
    model = models.gemm(opset=13)
    graph.set_properties(model, {"b": "2", "a": "1"})
    graph.set_properties(model, {"b": "3"})
    assert [p.key for p in model.metadata_props] == ["a", "b"]
    for other in (graph.raise_opset(model), graph.extract(model, ["feat"])):
        assert graph.properties(other) == {"a": "1", "b": "3"}


def test_extract_keeps_what_is_needed_and_drops_notes() -> None:
    model = models.gemm()
    model.graph.node[0].doc_string = "File /home/somebody/export.py, line 3"
    part = graph.extract(model, ["feat"])
    assert [n.op_type for n in part.graph.node][4:] == ["Relu", "GlobalAveragePool", "Flatten"]
    assert len(part.graph.initializer) == 2
    assert [o.domain for o in part.opset_import] == [""]
    assert b"somebody" not in graph.to_bytes(part) and model.graph.node[0].doc_string


def vectors(nodes: list[onnx.NodeProto], **extra: Any) -> onnx.ModelProto:
    """A model of two numbers `x` in, two numbers `y` out, with weights `w`."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y"))
    weight = onnx.numpy_helper.from_array(np.array([3, 4], np.float32), "w")
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    made = helper.make_graph(nodes, "vectors", [x], [y], [weight])
    return helper.make_model(made, opset_imports=sets, ir_version=8, **extra)


def test_extract_keeps_what_inner_graphs_take_from_outside() -> None:
    def branch(op: str) -> onnx.GraphProto:
        value = helper.make_tensor_value_info(op, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x", "w"], [op])], op, [], [value])

    model = vectors(
        [
            helper.make_node("Neg", ["x"], ["unused"]),
            helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
            helper.make_node("Cast", ["top"], ["flag"], to=TensorProto.BOOL),
            helper.make_node(
                "If", ["flag"], ["y"], then_branch=branch("Add"), else_branch=branch("Mul")
            ),
        ]
    )
    part = graph.extract(graph.from_bytes(graph.to_bytes(model)), ["y"])
    assert [n.op_type for n in part.graph.node] == ["ReduceMax", "Cast", "If"]
    np.testing.assert_array_equal(outputs(part, np.array([1, 2], np.float32))[0], [4, 6])


def test_functions_are_kept_and_can_be_written_out() -> None:
    add = helper.make_node("Add", ["a", "a"], ["b"])
    twice = helper.make_function("own", "Twice", ["a"], ["b"], [add], [helper.make_opsetid("", 18)])
    model = vectors([helper.make_node("Twice", ["x"], ["y"], domain="own")], functions=[twice])
    for other in (graph.extract(model, ["y"]), graph.inlined(model)):
        np.testing.assert_array_equal(outputs(other, np.array([1, 2], np.float32))[0], [2, 4])
    assert [n.op_type for n in graph.inlined(model).graph.node] == ["Add"]


def test_names_added_are_new_and_renaming_is_complete() -> None:
    model = models.gemm(tail="")
    assert graph.unique_name(model, "feat") == "feat_1"
    graph.rename_tensor(model, "feat", "renamed")
    assert outputs(model, np.ones((2, 3, 16, 16), np.float32))[0].shape == (2, 5)
    assert "feat" not in graph.tensor_names(model)


def with_sparse_weights(name: str = "w") -> onnx.ModelProto:
    """`y` = `f` v, `f` = relu(x w), with weights `w` of which three numbers are stored."""
    places = onnx.numpy_helper.from_array(np.array([0, 4, 8]), f"{name}_places")
    numbers = onnx.numpy_helper.from_array(np.array([1, 2, 3], np.float32), name)
    rows = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])]
    scores = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])]
    made = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", name], ["h"]),
            helper.make_node("Relu", ["h"], ["f"]),
            helper.make_node("MatMul", ["f", "v"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["y"]),
        ],
        "sparse",
        rows,
        scores,
        [onnx.numpy_helper.from_array(np.ones((3, 2), np.float32), "v")],
        sparse_initializer=[helper.make_sparse_tensor(numbers, places, [3, 3])],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_sparse_weights_are_renamed_like_others() -> None:
    model = with_sparse_weights()
    graph.rename_tensor(model, "w", "renamed")
    graph.rename_tensor(model, "w_places", "renamed_places")
    (stored,) = model.graph.sparse_initializer
    assert (stored.values.name, stored.indices.name) == ("renamed", "renamed_places")
    assert "w" not in graph.tensor_names(model)
    rows = np.eye(3, dtype=np.float32)
    np.testing.assert_array_equal(outputs(model, rows), outputs(with_sparse_weights(), rows))


def test_sparse_weights_stay_in_a_part_and_give_way_to_its_output() -> None:
    """A cut calls its output `feature`, whatever else has that name."""
    part = cut.cut(with_sparse_weights("feature"))
    assert part.tensor == "f" and len(part.model.graph.sparse_initializer) == 1
    found = outputs(part.model, np.eye(3, dtype=np.float32))[0]
    np.testing.assert_array_equal(found, np.diag([1, 2, 3]))


def test_sparse_weights_listed_as_inputs_need_not_be_fed() -> None:
    model = with_sparse_weights()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 3]))
    assert [value.name for value in graph.inputs(model)] == ["x"]


def test_notes_on_quantisation_name_a_renamed_tensor() -> None:
    model = models.gemm(tail="")
    note = model.graph.quantization_annotation.add(tensor_name="feat")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="small")
    graph.rename_tensor(model, "feat", "renamed")
    graph.rename_tensor(model, "small", "scale")
    assert note.tensor_name == "renamed"
    assert [each.value for each in note.quant_parameter_tensor_names] == ["scale"]


@pytest.mark.parametrize("name", MODELS)
def test_real_models_keep_their_outputs_when_raised(name: str) -> None:
    model = graph.load(shared_data() / "models" / f"{name}.onnx")
    raised = graph.raise_opset(model)
    assert graph.opset(raised) == 18 and graph.opset(model) < 18
    onnx.checker.check_model(raised)
    value = graph.inputs(model)[0]
    rows = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(graph.dtype(value))
    before, after = outputs(model, rows)[0], outputs(raised, rows)[0]
    np.testing.assert_allclose(after.astype(float), before.astype(float), rtol=1e-3, atol=2e-5)


def test_a_model_that_cannot_be_raised_says_so() -> None:
    model = models.gemm(opset=9)
    model.graph.node[1].op_type = "Upsampled"
    with pytest.raises(CoreError, match=r"expected opset 18.*Export the model again"):
        graph.raise_opset(model)


def test_sessions_and_runs_fail_with_our_errors() -> None:
    with pytest.raises(CoreError, match="cannot load"):
        graph.session(b"nonsense")
    with pytest.raises(CoreError, match=r"cannot run.*Check the input"):
        graph.run(
            graph.session(graph.to_bytes(models.gemm())), {"picture": np.ones((1, 1), np.float32)}
        )
