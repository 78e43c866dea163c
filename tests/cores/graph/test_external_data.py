"""A model that names a file, in any place: the file lies beside it, or the model is refused."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from onnx import SparseTensorProto, TensorProto, helper

from dof_arrow.cli import main
from dof_arrow.cores.core import Core, headless
from dof_arrow.cores.core_file import PREPROCESSING_GRAPH
from dof_arrow.cores.graph import external_data, session
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.origins import huggingface
from dof_arrow.cores.preprocess import Preprocess
from dof_arrow.errors import CoreError
from dof_arrow.heads.evaluate import evaluate
from dof_arrow.heads.export import export_head
from dof_arrow.inference.fuse import fuse
from dof_arrow.inference.predict import Predictor
from tests.cores.graph.test_model import saved, vectors
from tests.cores.test_core import SQUASHED, small_model
from tests.inference.test_fuse import small_head
from tests.support.memory import category, memory

KEY = "5ec7e7" + "0123456789abcdef" * 3 + "f00dcafe77"  # 64 digits, as a pseudonym key is kept
NUMBERS = 16  # float32, whose bytes are as many as the digits

Model = onnx.ModelProto
Tensor = Callable[..., TensorProto]
Place = Callable[[Model, Tensor], None]


def outside(location: str, kind: int = TensorProto.FLOAT) -> TensorProto:
    """A tensor of 64 bytes that lie in another file."""
    size = 4 if kind == TensorProto.FLOAT else 8
    tensor = TensorProto(name="odd", data_type=kind, dims=[4 * NUMBERS // size])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def sparse(tensor: Tensor, *, by_indices: bool = False) -> SparseTensorProto:
    if by_indices:
        values = helper.make_tensor("odd", TensorProto.FLOAT, [8], np.ones(8))
        return SparseTensorProto(values=values, indices=tensor(TensorProto.INT64), dims=[NUMBERS])
    indices = helper.make_tensor("places", TensorProto.INT64, [NUMBERS], range(NUMBERS))
    return SparseTensorProto(values=tensor(), indices=indices, dims=[NUMBERS])


def a_graph(tensor: Tensor) -> onnx.GraphProto:
    return onnx.GraphProto(name="inner", initializer=[tensor()])


def add_initializer(model: Model, tensor: Tensor) -> None:
    model.graph.initializer.append(tensor())


def add_sparse(model: Model, tensor: Tensor, *, by_indices: bool = False) -> None:
    model.graph.sparse_initializer.append(sparse(tensor, by_indices=by_indices))


def add_node(model: Model, tensor: Tensor, *, op: str, **made: Callable[[Tensor], Any]) -> None:
    """A node that nobody asks, with an attribute made of the tensor."""
    attributes = {name: make(tensor) for name, make in made.items()}
    model.graph.node.append(helper.make_node(op, [], ["asked_by_nobody"], **attributes))


def add_attribute(model: Model, tensor: Tensor, **made: Callable[[Tensor], Any]) -> None:
    fields = {name: make(tensor) for name, make in made.items()}
    model.graph.node[0].attribute.add(name="odd", **fields)


def add_function(model: Model, tensor: Tensor) -> None:
    constant = helper.make_node("Constant", [], ["y"], value=tensor())
    sets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("own", "Odd", [], ["y"], [constant], sets))


def add_default(model: Model, tensor: Tensor, **made: Callable[[Tensor], Any]) -> None:
    """A function's attribute, with what it is unless a node says otherwise."""
    fields = {name: make(tensor) for name, make in made.items()}
    model.functions.add(name="Odd", domain="own").attribute_proto.add(name="odd", **fields)


def add_training(model: Model, tensor: Tensor, *, part: str) -> None:
    getattr(model.training_info.add(), part).initializer.append(tensor())


def add_nested(model: Model, tensor: Tensor) -> None:
    """A tensor in a graph, in a node of a graph, in a node of a function."""
    node = helper.make_node("If", [], ["y"], then_branch=a_graph(tensor))
    holder = onnx.GraphProto(name="holder", node=[node])
    function = model.functions.add(name="Odd", domain="own")
    function.node.append(helper.make_node("Loop", [], ["z"], body=holder))


PLACES: dict[str, Place] = {
    "initializer": add_initializer,
    "sparse_initializer.values": add_sparse,
    "sparse_initializer.indices": partial(add_sparse, by_indices=True),
    "Constant.value": partial(add_node, op="Constant", value=lambda t: t()),
    "Constant.sparse_value.values": partial(add_node, op="Constant", sparse_value=sparse),
    "Constant.sparse_value.indices": partial(
        add_node, op="Constant", sparse_value=partial(sparse, by_indices=True)
    ),
    "If": partial(add_node, op="If", then_branch=a_graph),
    "Loop": partial(add_node, op="Loop", body=a_graph),
    "Scan": partial(add_node, op="Scan", body=a_graph),
    "attribute.tensors": partial(add_attribute, tensors=lambda t: [t()]),
    "attribute.sparse_tensors": partial(add_attribute, sparse_tensors=lambda t: [sparse(t)]),
    "attribute.graphs": partial(add_attribute, graphs=lambda t: [a_graph(t)]),
    "function.node": add_function,
    "function.attribute_proto.t": partial(add_default, t=lambda t: t()),
    "function.attribute_proto.sparse_tensor": partial(add_default, sparse_tensor=sparse),
    "function.attribute_proto.g": partial(add_default, g=a_graph),
    "graphs within graphs": add_nested,
    "training_info.initialization": partial(add_training, part="initialization"),
    "training_info.algorithm": partial(add_training, part="algorithm"),
}
REFUSED = r"weights (lie in another file|do not lie beside it)"
WAYS = {"relative": "id.key", "up": "../work/id.key", "absolute": "{work}/id.key"}

each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, where the owner's key lies."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "id.key").write_text(f"{KEY}\n", "ascii")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def parts() -> dict[str, bytes]:
    """An original model, its core, a head, and the model fused of them."""
    made = Core.from_bytes(small_model(), preprocess=SQUASHED)
    head = small_head(made)
    return {
        "original": small_model(),
        "core": made.data,
        "head": head,
        "fused": fuse(made, {"finding": head}),
        "preprocessing": made.preprocess.graph,
    }


def tainted(data: bytes, place: Place, location: str) -> bytes:
    model = Model.FromString(data)
    place(model, partial(outside, location))
    return graph.to_bytes(model)


def in_properties(data: bytes, preprocessing: bytes) -> bytes:
    """A core that carries another preprocessing."""
    model = Model.FromString(data)
    encoded = base64.b64encode(preprocessing).decode()
    graph.set_properties(model, {PREPROCESSING_GRAPH: encoded})
    return graph.to_bytes(model)


def roads(
    made: dict[str, bytes], parts: dict[str, bytes], folder: Path
) -> Iterator[Callable[[], Any]]:
    """Every way in which a model comes to be run, each with a tainted one."""
    folder.mkdir()
    paths = {name: folder / f"{name}.onnx" for name in made}
    for name, path in paths.items():
        path.write_bytes(made[name])
    ours = Core(parts["core"])
    targets = {"finding": category("a", "b")}
    rows = memory(np.zeros((4, 6), np.float32), targets, finding=[0, 1, 0, 1])
    spoiled = in_properties(parts["core"], made["preprocessing"])
    yield partial(Core.load, paths["original"], preprocess=SQUASHED)
    yield partial(headless, paths["original"], preprocess=SQUASHED)
    yield partial(Core.from_bytes, made["original"], preprocess=SQUASHED)
    yield partial(Core.load, paths["core"])
    yield partial(Core, made["core"])
    yield partial(Core, spoiled)
    yield partial(Preprocess, SQUASHED, made["preprocessing"])
    yield partial(Predictor, paths["fused"])
    yield partial(Predictor, made["fused"])
    yield partial(fuse, ours, {"finding": made["head"]})
    yield partial(evaluate, paths["head"], rows)
    yield partial(evaluate, made["head"], rows)
    for head in (paths["head"], made["head"], Model.FromString(made["head"])):
        yield partial(export_head, head, like=rows, target="finding", path=folder / "exported.onnx")
    for data in made.values():
        yield partial(graph.session, data)


@each_way
@each_place
def test_a_model_that_names_a_file_elsewhere_is_refused_on_every_road(
    place: Place, way: str, work: Path, parts: dict[str, bytes], tmp_path: Path
) -> None:
    made = {name: tainted(data, place, way.format(work=work)) for name, data in parts.items()}
    for road in roads(made, parts, tmp_path / "models"):
        with pytest.raises(CoreError, match=REFUSED) as refused:
            road()
        assert KEY not in str(refused.value)
    assert not (tmp_path / "models" / "exported.onnx").exists()


@each_place
def test_commands_refuse_such_a_model_and_write_nothing(
    place: Place,
    work: Path,
    parts: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    clean = {name: folder / f"clean-{name}.onnx" for name in parts}
    bad = {name: folder / f"bad-{name}.onnx" for name in parts}
    for name, data in parts.items():
        clean[name].write_bytes(data)
        bad[name].write_bytes(tainted(data, place, "id.key"))
    before = sorted(tmp_path.rglob("*"))
    for line in (
        ["headless", bad["original"], "--preprocess", "imagenet", "-o", "out.onnx"],
        ["headless", bad["core"], "-o", "out.onnx"],
        ["fuse", "--core", bad["core"], "--head", clean["head"], "-o", "out.onnx"],
        ["fuse", "--core", clean["core"], "--head", bad["head"], "-o", "out.onnx"],
        ["predict", bad["fused"], work],
    ):
        assert main.main([str(word) for word in line]) == 2
        said = capsys.readouterr()
        assert "weights" in said.err and KEY not in said.out + said.err
    assert sorted(tmp_path.rglob("*")) == before


@each_place
def test_a_key_beside_the_model_is_no_weights(place: Place, work: Path) -> None:
    path = work / "model.onnx"
    path.write_bytes(tainted(small_model(), place, "id.key"))
    with pytest.raises(CoreError, match="found a key") as refused:
        headless(path, preprocess=SQUASHED)
    assert KEY not in str(refused.value)


def test_a_hidden_file_beside_the_model_is_no_weights(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id").write_bytes(bytes(64))
    path = tmp_path / "model.onnx"
    path.write_bytes(tainted(small_model(), add_initializer, ".ssh/id"))
    with pytest.raises(CoreError, match=r"expected .*, not hidden, found '\.ssh/id'"):
        graph.load(path)
    with pytest.raises(CoreError, match="do not lie beside it"):
        huggingface.Repository(name="owner/name").beside("model.onnx")(".env")


@each_place
def test_weights_beside_the_model_are_brought_in(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tainted(small_model(), place, "./weights.bin"))
    (tmp_path / "weights.bin").write_bytes(b"weights!" * 8)
    data = graph.to_bytes(graph.load(path))
    assert b"weights!" * 8 in data and b"weights.bin" not in data


def adding_sparse_weights(location: str) -> Model:
    """y = x + weights that a Constant holds sparsely, and keeps in a file."""
    model = vectors(
        [
            helper.make_node(
                "Constant", [], ["odd"], sparse_value=sparse(partial(outside, location))
            ),
            helper.make_node("Add", ["x", "odd"], ["y"]),
        ]
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = NUMBERS
    return model


def test_sparse_weights_beside_the_model_are_computed_with(tmp_path: Path) -> None:
    weights = np.arange(NUMBERS, dtype=np.float32)
    (tmp_path / "weights.bin").write_bytes(weights.tobytes())
    model = graph.load(saved(adding_sparse_weights("weights.bin"), tmp_path))
    runner = graph.session(graph.to_bytes(model))
    (found,) = graph.run(runner, {"x": np.ones(NUMBERS, np.float32)})
    np.testing.assert_array_equal(found, weights + 1)


def test_the_runtime_itself_finds_no_file_in_the_current_folder(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second belt: what a check of ours might overlook is not read either."""
    model = adding_sparse_weights("id.key")
    monkeypatch.setattr(session, "bring_in", lambda *_: None)
    ways = ("id.key", f"{work}/id.key", f"../../..{work}/id.key", f"../../../..{work}/id.key")
    for location in ways:
        values = model.graph.node[0].attribute[0].sparse_tensor.values
        values.external_data[0].value = location
        with pytest.raises(CoreError, match="cannot load"):
            graph.session(graph.to_bytes(model))


def test_a_model_is_run_as_it_was_checked_not_as_another_format() -> None:
    """ONNX Runtime takes bytes with this mark for a format of its own, which nobody checks."""
    model = Model.FromString(small_model())
    model.ClearField("ir_version")
    model.producer_name = "ORTM" + "x" * 16380
    data = model.SerializeToString() + Model(ir_version=8).SerializeToString()
    assert data[4:8] == b"ORTM"
    with pytest.raises(Exception, match="ORT model verification failed"):
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert graph.session(data).get_inputs()[0].name == "x"


def add_compiled(model: Model) -> None:
    model.graph.node.append(_compiled())


def add_compiled_inside(model: Model) -> None:
    holder = onnx.GraphProto(name="inner", node=[_compiled()])
    model.graph.node.append(helper.make_node("If", [], ["asked_by_nobody"], then_branch=holder))


def add_compiled_function(model: Model) -> None:
    model.functions.add(name="Odd", domain="own").node.append(_compiled())


def _compiled() -> onnx.NodeProto:
    return helper.make_node(
        "EPContext",
        [],
        ["compiled"],
        domain="com.microsoft",
        embed_mode=0,
        ep_cache_context="id.key",
    )


@pytest.mark.parametrize("add", [add_compiled, add_compiled_inside, add_compiled_function])
def test_what_a_provider_compiled_is_refused(add: Callable[[Model], None], tmp_path: Path) -> None:
    """Such a node names a file that the provider reads, or holds code that it runs."""
    model = Model.FromString(small_model())
    add(model)
    with pytest.raises(CoreError, match=r"compiled for one machine.*EPContext"):
        graph.load(saved(model, tmp_path))
    with pytest.raises(CoreError, match="compiled for one machine"):
        graph.session(graph.to_bytes(model))


@pytest.mark.parametrize("name", [b"\xff\xfe\xfd", b"\x1b[2"])
def test_names_in_messages_are_printable(name: bytes, tmp_path: Path) -> None:
    data = tainted(small_model(), add_initializer, "weights.bin")
    data = data.replace(b"\x03odd", b"\x03" + name)
    (tmp_path / "weights.bin").write_bytes(b"short")
    for find in (None, partial(external_data.in_folder, folder=tmp_path, where="")):
        with pytest.raises(CoreError) as refused:
            graph.from_bytes(data, find=find)
        assert str(refused.value).isprintable()


# The walk, against messages made by reflection


def filled(kind: Any, made: list[str], within: tuple[str, ...] = ()) -> Any:
    """A message with every field of messages filled; `made` gets the names of its tensors."""
    message = message_factory.GetMessageClass(kind)()
    here = (*within, kind.full_name)
    for field in kind.fields:
        if field.message_type is None:
            continue
        if here.count(field.message_type.full_name) > 1:  # graphs within graphs, once
            continue
        for _ in range(2 if field.is_repeated else 1):
            held = filled(field.message_type, made, here)
            if field.is_repeated:
                getattr(message, field.name).append(held)
            else:
                getattr(message, field.name).CopyFrom(held)
    if kind.full_name == "onnx.TensorProto":
        message.name = f"{len(made)} in {kind.full_name}"
        made.append(message.name)
    return message


def test_the_walk_visits_every_tensor_of_a_model_with_every_field_filled() -> None:
    made: list[str] = []
    model = filled(Model.DESCRIPTOR, made)
    found = [tensor.name for tensor in external_data.within(model, "onnx.TensorProto")]
    assert sorted(found) == sorted(made) and len(made) > 1000
    attribute = model.training_info[0].algorithm.node[1].attribute[0]
    assert attribute.sparse_tensors[1].indices.name in found


def test_every_tensor_of_a_function_is_refused_by_itself() -> None:
    made: list[str] = []
    holder = Model(functions=[filled(onnx.FunctionProto.DESCRIPTOR, made)])
    external_data.bring_in(holder, "")
    for tensor in list(external_data.within(holder, "onnx.TensorProto"))[::7]:
        tensor.data_location = TensorProto.EXTERNAL
        with pytest.raises(CoreError, match="another file"):
            external_data.bring_in(holder, "")
        tensor.data_location = TensorProto.DEFAULT


def later() -> Any:
    """A message of a later onnx, with fields as no message has today: by key, one of several."""
    file = descriptor_pb2.FileDescriptorProto(name="later.proto", package="later", syntax="proto3")
    file.dependency.append(onnx.ModelProto.DESCRIPTOR.file.name)
    holder = file.message_type.add(name="Holder")
    holder.oneof_decl.add(name="choice")
    holder.oneof_decl.add(name="other_choice")
    entry = holder.nested_type.add(name="ByKeyEntry")
    entry.options.map_entry = True
    kinds = descriptor_pb2.FieldDescriptorProto
    one = {"label": kinds.LABEL_OPTIONAL, "type": kinds.TYPE_MESSAGE}
    many = {"label": kinds.LABEL_REPEATED, "type": kinds.TYPE_MESSAGE}
    entry.field.add(name="key", number=1, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_STRING)
    entry.field.add(name="value", number=2, type_name=".onnx.TensorProto", **one)
    holder.field.add(name="by_key", number=1, type_name=".later.Holder.ByKeyEntry", **many)
    holder.field.add(name="either", number=2, type_name=".onnx.TensorProto", oneof_index=0, **one)
    holder.field.add(name="other", number=3, type_name=".onnx.GraphProto", oneof_index=1, **one)
    holder.field.add(name="inner", number=4, type_name=".later.Holder", **many)
    known = descriptor_pb2.FileDescriptorProto()
    onnx.ModelProto.DESCRIPTOR.file.CopyToProto(known)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(known)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("later.Holder"))()


def test_the_walk_goes_through_fields_of_every_kind() -> None:
    holder = later()
    holder.by_key["a"].name = "by key"
    holder.either.name = "either"
    inner = holder.inner.add()
    inner.other.initializer.add(name="other")
    inner.inner.add().by_key["b"].name = "deep"
    found = sorted(tensor.name for tensor in external_data.within(holder, "onnx.TensorProto"))
    assert found == ["by key", "deep", "either", "other"]


def test_the_walk_does_not_read_weights() -> None:
    """What is pruned cannot be slow: through a tensor nothing is reached but itself."""
    assert external_data._fields_towards("onnx.TensorProto", TensorProto.DESCRIPTOR) == ()
    assert external_data._fields_towards("onnx.NodeProto", TensorProto.DESCRIPTOR) == ()
    assert os.path.isabs(session._NO_FOLDER) and not os.path.exists(session._NO_FOLDER)


def test_a_head_given_as_bytes_is_told_to_hold_its_weights(parts: dict[str, bytes]) -> None:
    """`dof fuse --head` hands bytes over: to load them by their path would be no advice."""
    head = tainted(parts["head"], add_initializer, "weights.bin")
    with pytest.raises(CoreError, match="another file") as raised:
        fuse(Core(parts["core"]), {"finding": head})
    assert raised.value.where == "finding"
    assert raised.value.hint.startswith("Save it with its weights inside: onnx.save(")
