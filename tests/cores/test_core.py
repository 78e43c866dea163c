"""Cores: made of original models, taken as they are, run on pictures."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from dof_arrow.cores.core import Core, headless, wanted
from dof_arrow.cores.core_file import DESCRIPTION, PREPROCESSING_GRAPH
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, OutputError, SourceError, UsageError
from dof_arrow.format.spec import json_model, metadata
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import as_text, load_spec, resize_box
from tests.support.shared import shared_data

SIDE = 8
SQUASHED = Preprocessing(mode="RGB", fit="squash", resize=(SIDE, SIDE), scale=1 / 255)


def small_model(
    dtype: str = "float", layout: str = "NCHW", sides: Any = (SIDE, SIDE), dynamic: bool = False
) -> bytes:
    """A classifier of eight classes: convolution, pooling, Gemm; its features `flat` are [N, 6].

    `dynamic`: quantised by the range of the whole batch, so that a picture's features depend on its
    neighbours.
    """
    shape = ["N", 3, *sides] if layout == "NCHW" else ["N", *sides, 3]
    axes = [0, 3, 1, 2] if layout == "NHWC" else [0, 1, 2, 3]
    ranged = (
        "small, scale, zero = DynamicQuantizeLinear (numbers)  "
        "seen = DequantizeLinear (small, scale, zero)"
    )
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        small ({dtype}[{", ".join(map(str, shape))}] x) => (float[N, 8] scores) {{
            numbers = Cast <to = 1> (x)
            {ranged if dynamic else "seen = Identity (numbers)"}
            laid_out = Transpose <perm = {axes}> (seen)
            map = Conv <kernel_shape = [3, 3]> (laid_out, kernel)
            lively = Relu (map)
            pooled = GlobalAveragePool (lively)
            flat = Flatten (pooled)
            scores = Gemm <transB = 1> (flat, weights, bias)
        }}""")
    for name, size in [("kernel", (6, 3, 3, 3)), ("weights", (8, 6)), ("bias", (8,))]:
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.normal(size=size).astype(np.float32), name)
        )
    return graph.to_bytes(model)


def pictures(count: int = 5, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, 256, (*rng.integers(5, 40, 2), 3), dtype=np.uint8) for _ in range(count)
    ]


def photographs(count: int) -> list[np.ndarray]:
    files = sorted((shared_data() / "images" / "imagenet-sample").glob("*.JPEG"))[:count]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    path.write_bytes(small_model())
    return path


def rewritten(data: bytes, **changes: Any) -> bytes:
    """A core's bytes with fields of its description changed, or removed where None."""
    model = graph.from_bytes(data)
    about = json.loads(graph.properties(model)[DESCRIPTION]) | changes
    kept = {key: value for key, value in about.items() if value is not None}
    graph.set_properties(model, {DESCRIPTION: json.dumps(kept)})
    return graph.to_bytes(model)


def with_fixed_batch(data: bytes, batch: int) -> bytes:
    """A core's bytes with this batch size written into its input and output."""
    model = graph.from_bytes(data)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    return graph.to_bytes(model)


def test_a_core_gives_the_tensor_before_the_head(original: Path) -> None:
    core = Core.load(original, preprocess=SQUASHED)
    features = core(pictures())
    whole = onnx.load(original)
    part = graph.extract(whole, ["flat"])
    inputs = np.stack([core.prepare(picture) for picture in pictures()])
    expected = graph.run(graph.session(graph.to_bytes(part)), {"x": inputs})[0]
    np.testing.assert_allclose(features, expected, rtol=1e-6)
    assert features.dtype == np.float32
    assert features.flags.c_contiguous
    assert core.output_shape == (6,)
    assert core.output_name == "feature"


def test_headless_first_or_at_once_gives_one_identity(original: Path, tmp_path: Path) -> None:
    made = headless(original, preprocess=SQUASHED)
    file, bare = tmp_path / "core.onnx", tmp_path / "bare.onnx"
    file.write_bytes(made)
    bare.write_bytes(headless(original))
    at_once = Core.load(original, preprocess=SQUASHED)
    assert (
        Core.load(file).data
        == file.read_bytes()
        == at_once.data
        == headless(original, preprocess=SQUASHED)
    )
    assert (
        Core.load(bare, preprocess=SQUASHED).sha256
        == at_once.sha256
        == hashlib.sha256(made).hexdigest()
    )


def test_a_core_saved_is_the_same_core(original: Path, tmp_path: Path) -> None:
    core = Core.load(original, preprocess=SQUASHED)
    file = tmp_path / "saved.onnx"
    core.save(file)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == core.sha256
    assert np.array_equal(Core.load(file)(pictures()), core(pictures()))
    with pytest.raises(OutputError, match="exists"):
        core.save(str(file))
    core.save(file, overwrite=True)
    assert [path.name for path in tmp_path.iterdir() if path.name != original.name] == [file.name]


def test_a_core_describes_itself(original: Path) -> None:
    core = Core(headless(original, preprocess=SQUASHED, license="Apache-2.0"))
    about = core.describe()
    assert metadata.from_json(json_model.to_json(about), metadata.CoreMetadata) == about
    assert (about.name, about.source, about.cut, about.license) == (
        "small",
        "small.onnx",
        "flat",
        "Apache-2.0",
    )
    assert about.source_sha256 == hashlib.sha256(original.read_bytes()).hexdigest()
    assert about.input == metadata.TensorSpec(
        name="input", shape=("batch", 3, SIDE, SIDE), dtype="float32"
    )
    assert about.preprocessing == SQUASHED
    assert base64.b64decode(about.graph or "") == core.preprocess.graph
    assert str(original.parent) not in core.data.decode("latin-1")


def test_from_bytes_equals_load_but_for_the_source(original: Path) -> None:
    core = Core.from_bytes(original.read_bytes(), name="small", preprocess=SQUASHED)
    np.testing.assert_array_equal(
        core(pictures()), Core.load(original, preprocess=SQUASHED)(pictures())
    )
    assert core.describe().source is None


def test_preprocessing_is_never_guessed(original: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"carries no preprocessing.*--preprocess.*imagenet"):
        Core.load(original)
    bare = tmp_path / "core.onnx"
    bare.write_bytes(headless(original))
    with pytest.raises(UsageError, match="carries no preprocessing"):
        Core.load(bare)


def test_a_preprocessing_inside_the_core_is_not_overruled(original: Path, tmp_path: Path) -> None:
    file = tmp_path / "core.onnx"
    file.write_bytes(headless(original, preprocess=SQUASHED))
    assert Core.load(file, preprocess=SQUASHED, fit="squash", at="flat").data == file.read_bytes()
    with pytest.raises(UsageError, match="carries a preprocessing of its own"):
        Core.load(file, preprocess='{"mode": "RGB", "fit": "squash", "resize": [8]}')
    with pytest.raises(UsageError, match="carries a preprocessing of its own"):
        Core.load(file, fit="pad")
    with pytest.raises(UsageError, match="cut already: expected --at flat, found --at pooled"):
        Core.load(file, at="pooled")


def test_a_preset_takes_type_and_axes_from_the_core() -> None:
    data = small_model(dtype="float16", layout="NHWC", sides=(224, 224))
    core = Core.from_bytes(data, preprocess="caffe")
    assert (core.preprocessing.dtype, core.preprocessing.layout) == ("float16", "NHWC")
    assert core.prepare(pictures()[0]).shape == (224, 224, 3)


@pytest.mark.parametrize(
    "declared",
    [
        Preprocessing(mode="RGB", fit="squash", resize=(9, 9)),
        Preprocessing(mode="L", channels="L", fit="squash", resize=(SIDE, SIDE)),
        Preprocessing(mode="RGB", fit="squash", resize=(SIDE, SIDE), layout="NHWC"),
        Preprocessing(mode="RGB", fit="squash", resize=(SIDE, SIDE), dtype="float16"),
        Preprocessing(
            mode="L",
            channels="L",
            fit="crop",
            resize=(12,),
            crop=(10, 10),
            layout="NHWC",
            mean=(5.0,),
        ),
        as_text(load_spec("imagenet")),
    ],
)
def test_a_preprocessing_that_does_not_fit_is_refused_with_one_that_does(declared: Any) -> None:
    with pytest.raises(CoreError, match=r"expected float32 \['batch', 3, 8, 8\]") as caught:
        Core.from_bytes(small_model(), preprocess=declared)
    mended = load_spec(caught.value.hint.split("'")[1])
    assert Core.from_bytes(small_model(), preprocess=mended)(pictures()).shape == (5, 6)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_filled_and_the_filling_dropped(batch: int) -> None:
    free = Core.from_bytes(small_model(), preprocess=SQUASHED)
    fixed = Core(with_fixed_batch(free.data, batch))
    assert fixed.fixed_batch == batch
    assert free.fixed_batch is None
    for count in range(10):
        np.testing.assert_allclose(fixed(pictures(count)), free(pictures(count)), rtol=1e-5)


def test_a_core_that_depends_on_its_batch_runs_one_by_one() -> None:
    core = Core.from_bytes(small_model(dynamic=True), preprocess=SQUASHED)
    assert core.batch_dependent
    assert not core.describe().deterministic
    seen = [*pictures(3), np.zeros((8, 8, 3), np.uint8)]
    np.testing.assert_array_equal(core(seen), np.concatenate([core([picture]) for picture in seen]))


def test_no_pictures_give_no_rows(original: Path) -> None:
    core = Core.load(original, preprocess=SQUASHED)
    assert core([]).shape == (0, 6)
    assert core.run(np.empty((0, 3, SIDE, SIDE), np.float32)).shape == (0, 6)


def test_what_is_no_picture_is_refused(original: Path) -> None:
    core = Core.load(original, preprocess=SQUASHED)
    for wrong in (
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        "cat.png",
    ):
        with pytest.raises(UsageError, match="not a picture"):
            core([wrong])  # type: ignore[list-item]
    with pytest.raises(CoreError, match="cannot run"):
        core.run(np.zeros((2, 3, 7, 7), np.float32))


def test_pictures_left_as_they_are_must_have_the_cores_size() -> None:
    as_they_are = Preprocessing(mode="RGB", fit="none", scale=1 / 255)
    fixed = Core.from_bytes(small_model(), preprocess=as_they_are)
    with pytest.raises(SourceError, match=r"expected \[3, 8, 8\], found \[3, 9, 8\]"):
        fixed([np.zeros((9, 8, 3), np.uint8)])
    free = Core.from_bytes(small_model(sides=("h", "w")), preprocess=as_they_are)
    assert free([np.zeros((9, 7, 3), np.uint8)] * 2).shape == (2, 6)
    with pytest.raises(UsageError, match="different sizes"):
        free([np.zeros((9, 7, 3), np.uint8), np.zeros((7, 9, 3), np.uint8)])


def test_many_threads_get_what_one_gets(original: Path) -> None:
    core = Core.load(original, preprocess=SQUASHED)
    batches = [pictures(4, seed) for seed in range(16)]
    with ThreadPoolExecutor(4) as pool:
        for found, batch in zip(pool.map(core, batches), batches, strict=True):
            np.testing.assert_array_equal(found, core(batch))


def test_a_core_goes_to_another_process(original: Path) -> None:
    core = Core.load(original, preprocess=SQUASHED)
    again = pickle.loads(pickle.dumps(core))
    np.testing.assert_array_equal(again(pictures()), core(pictures()))
    assert again.sha256 == core.sha256


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"preprocessing": None}, UsageError, "carries no preprocessing"),
        ({"opset": "new"}, CoreError, r"\$\.opset"),
        ({"name": None}, CoreError, r"\$\.name"),
        ({"preprocessing": {"mode": "RGB", "fit": "crop"}}, UsageError, "needs resize"),
        (
            {"preprocessing": {"mode": "RGB", "fit": "squash", "resize": [9]}},
            CoreError,
            "does not make",
        ),
    ],
)
def test_a_description_that_is_wrong_is_refused(
    original: Path, changes: Any, error: Any, said: str
) -> None:
    with pytest.raises(error, match=said):
        Core(rewritten(headless(original, preprocess=SQUASHED), **changes))


@pytest.mark.parametrize(
    "properties",
    [
        {PREPROCESSING_GRAPH: "no base64!"},
        {PREPROCESSING_GRAPH: ""},
        {PREPROCESSING_GRAPH: "AAAA"},
        {DESCRIPTION: "{"},
        {DESCRIPTION: "[]"},
    ],
)
def test_properties_that_are_broken_are_refused(original: Path, properties: dict[str, str]) -> None:
    model = graph.from_bytes(headless(original, preprocess=SQUASHED))
    graph.set_properties(model, properties)
    with pytest.raises(CoreError):
        Core(graph.to_bytes(model))


def test_a_preprocessing_graph_reads_no_other_file(original: Path) -> None:
    model = graph.from_bytes(headless(original, preprocess=SQUASHED))
    inner = graph.from_bytes(base64.b64decode(graph.properties(model)[PREPROCESSING_GRAPH]))
    stolen = onnx.TensorProto(name="stolen", dims=[1], data_type=onnx.TensorProto.FLOAT)
    stolen.data_location = onnx.TensorProto.EXTERNAL
    stolen.external_data.add(key="location", value="secret.bin")
    inner.graph.initializer.append(stolen)
    graph.set_properties(
        model, {PREPROCESSING_GRAPH: base64.b64encode(graph.to_bytes(inner)).decode()}
    )
    with pytest.raises(CoreError, match="weights lie in another file"):
        Core(graph.to_bytes(model))


def test_a_plain_model_is_no_core() -> None:
    with pytest.raises(CoreError, match="the model is no core"):
        Core(small_model())


def test_a_model_that_takes_no_pictures_is_refused() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        table (float[N, 3] x) => (float[N, 4] y) {
            hidden = Gemm (x, first)
            lively = Relu (hidden)
            y = Gemm (lively, last)
        }""")
    for name, size in [("first", (3, 5)), ("last", (5, 4))]:
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.ones(size, np.float32), name)
        )
    with pytest.raises(
        CoreError, match=r"does not take pictures: expected one input of four axes.*, found input"
    ):
        Core.from_bytes(graph.to_bytes(model), preprocess=SQUASHED, at="lively")


def test_a_hint_is_what_to_type_next() -> None:
    with pytest.raises(CoreError) as caught:
        Core.from_bytes(small_model(), preprocess=as_text(load_spec("imagenet")))
    assert caught.value.hint.startswith("Pass --preprocess '{")
    fitted = load_spec(caught.value.hint.split("'")[1])
    assert (fitted.resize, fitted.crop) == ((9, 9), (8, 8))
    assert load_spec(as_text(fitted)) == fitted


@pytest.mark.parametrize(
    ("file", "preset", "width"),
    [
        ("mobilenetv2-12-fp32-from-int8.onnx", "imagenet", 1280),
        ("mobilenetv2-12-int8.onnx", "imagenet", 1280),
        ("squeezenet_fp16.onnx", "caffe", 512),
    ],
)
def test_real_models_serve(file: str, preset: str, width: int) -> None:
    core = Core.load(shared_data() / "models" / file, preprocess=preset, pool="1x1")
    seen = photographs(3)
    features = core(seen)
    assert features.shape == (3, width)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(core(seen[1:2])[0], features[1], rtol=1e-4, atol=1e-5)


def test_jpegs_are_decoded_smaller_only_where_that_is_asked(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(small_model())
    plain = Core.load(model, preprocess=SQUASHED)
    full = Core.load(model, preprocess=SQUASHED, decode="full")
    reduced = Core.load(model, preprocess=SQUASHED, decode="reduced")
    assert full.data == plain.data
    assert plain.preprocessing.draft is None
    assert reduced.preprocessing.draft == max(resize_box(plain.preprocessing))
    assert reduced.sha256 != plain.sha256
    assert wanted(reduced)[2] == reduced.preprocessing.draft
    reduced.save(tmp_path / "core.onnx")
    assert Core.load(tmp_path / "core.onnx", decode="reduced").data == reduced.data
    with pytest.raises(UsageError, match="a preprocessing of its own"):
        Core.load(tmp_path / "core.onnx", decode="full")
    with pytest.raises(UsageError, match="cannot be decoded smaller"):
        Core.load(model, preprocess=SQUASHED, fit="none", decode="reduced")
