"""Presets on cores of any input: size, channels, type and axes come from the core.

The reference is the network run on pictures that Pillow and numpy prepare.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.errors import CoreError, UsageError
from dof_arrow.progress import Update, heard_by, unheard

Array = NDArray[Any]
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
LUMA = np.array([0.299, 0.587, 0.114])


class Heard:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str = "") -> None:
        self.lines.append(text)

    def progress(self, what: str) -> AbstractContextManager[Update]:
        return nullcontext(unheard)


@pytest.fixture
def heard() -> Iterator[Heard]:
    listener = Heard()
    with heard_by(listener):
        yield listener


def classifier(shape: list[int | str], kind: str = "float", channels: int = 3) -> bytes:
    """Convolution, pooling to `flat` [N, 6], Gemm; channels last where `shape` ends in them, or is
    open and `channels` negative.
    """
    last = shape[-1] in (1, 3) or channels < 0
    axes = [0, 3, 1, 2] if last else [0, 1, 2, 3]
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        small ({kind}[{", ".join(map(str, shape))}] x) => (float[M, 8] scores) {{
            numbers = Cast <to = 1> (x)
            laid_out = Transpose <perm = {axes}> (numbers)
            map = Conv <kernel_shape = [3, 3]> (laid_out, kernel)
            lively = Relu (map)
            pooled = GlobalAveragePool (lively)
            flat = Flatten (pooled)
            scores = Gemm <transB = 1> (flat, weights, bias)
        }}""")
    rng = np.random.default_rng(0)
    for name, size in [("kernel", (6, abs(channels), 3, 3)), ("weights", (8, 6)), ("bias", (8,))]:
        values = rng.normal(size=size).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return graph.to_bytes(model)


def reference(data: bytes, rows: Array) -> Array:
    """`flat` of the whole model, row by row in batches of the size that it declares."""
    part = graph.extract(graph.from_bytes(data), ["flat"])
    runner = graph.session(graph.to_bytes(part))
    declared = graph.dims(graph.inputs(part)[0])[0]
    size = declared if isinstance(declared, int) else 1
    found = [graph.run(runner, {"x": np.stack([row] * size)})[0][0] for row in rows]
    return np.stack(found)


def exact(height: int, width: int, count: int = 3) -> Array:
    """Pictures that have the core's size already: nothing is resized, nothing trimmed."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def normal(pictures: Array) -> Array:
    return ((pictures / 255 - MEAN) / STD).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        (["N", 3, 32, 32], (32, 32)),
        (["N", 3, 256, 128], (256, 128)),
        ([16, 3, 40, 24], (40, 24)),
        (["N", 20, 36, 3], (20, 36)),
        ([1, 20, 36, 3], (20, 36)),
    ],
)
def test_a_preset_alone_serves_a_core_of_any_size_and_layout(
    shape: list[int | str], size: tuple[int, int], heard: Heard
) -> None:
    data = classifier(shape)
    core = Core.from_bytes(data, preprocess="imagenet")
    pictures = exact(*size)
    rows = normal(pictures)
    if shape[-1] != 3:
        rows = rows.transpose(0, 3, 1, 2)
    found = core(list(pictures))
    np.testing.assert_allclose(found, reference(data, rows), rtol=1e-4, atol=1e-5)
    assert any(
        f"{size[0]} x {size[1]}: the preset's 224 x 224 became" in line for line in heard.lines
    )
    other = np.zeros((90, 70, 3), np.uint8)
    assert core([other]).shape == (1, 6)


def test_the_size_that_a_preset_became_is_said(heard: Heard) -> None:
    core = Core.from_bytes(classifier(["N", 3, 32, 32]), name="tiny", preprocess="imagenet")
    assert heard.lines == [
        "tiny: the core takes 32 x 32: the preset's 224 x 224 became 32 x 32, resize 37",
    ]
    assert (core.preprocessing.resize, core.preprocessing.crop) == ((37, 37), (32, 32))


def test_a_preset_of_the_cores_own_form_says_nothing(heard: Heard) -> None:
    core = Core.from_bytes(classifier(["N", 3, 224, 224]), preprocess="imagenet")
    assert heard.lines == [] and not core.preprocessing.as_is


@pytest.mark.parametrize("shape", [["N", 1, 28, 28], ["N", 28, 28, 1]])
def test_a_grey_core_gets_grey_in_the_shares_of_the_channels(
    shape: list[int | str], heard: Heard
) -> None:
    data = classifier(shape, channels=1)
    core = Core.from_bytes(data, preprocess="imagenet")
    grey = exact(28, 28)[..., :1]
    rows = ((grey / 255 - LUMA @ MEAN) / (LUMA @ STD)).astype(np.float32)
    if shape[1] == 1:
        rows = rows.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(core(list(grey)), reference(data, rows), rtol=1e-4, atol=1e-5)
    assert any("one grey channel" in line and "means became 0.459" in line for line in heard.lines)


@pytest.mark.parametrize("shape", [["N", 3, 32, 32], ["N", 32, 32, 3]])
def test_a_core_of_bytes_scales_them_itself(shape: list[int | str], heard: Heard) -> None:
    data = classifier(shape, "uint8")
    core = Core.from_bytes(data, preprocess="imagenet")
    rows = exact(32, 32)
    if shape[1] == 3:
        rows = rows.transpose(0, 3, 1, 2)
    found = core(list(exact(32, 32)))
    np.testing.assert_allclose(found, reference(data, rows), rtol=1e-4, atol=1e-5)
    assert any("the preset's scale, mean and std are left to it" in line for line in heard.lines)


@pytest.mark.parametrize("channels", [3, -3])
def test_the_side_of_the_channels_is_found_where_every_axis_is_open(channels: int) -> None:
    data = classifier(["a", "b", "c", "d"], channels=channels)
    core = Core.from_bytes(data, preprocess="imagenet", size="20,36")
    assert core.preprocessing.layout == ("NCHW" if channels > 0 else "NHWC")
    rows = normal(exact(20, 36))
    if channels > 0:
        rows = rows.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(
        core(list(exact(20, 36))), reference(data, rows), rtol=1e-4, atol=1e-5
    )
    unsized = Core.from_bytes(data, preprocess="imagenet")
    assert (unsized.preprocessing.crop, unsized.preprocessing.layout) == (
        (224, 224),
        core.preprocessing.layout,
    )


def test_grey_is_asked_for_where_the_channels_are_open() -> None:
    data = classifier(["N", "c", "h", "w"], channels=1)
    core = Core.from_bytes(data, preprocess="unit", size=28, grey=True)
    assert (core.preprocessing.mode, core.preprocessing.resize) == ("L", (32, 32))
    found = Core.from_bytes(data, preprocess="unit", size=28)  # a run shows that it takes one
    assert found.preprocessing == core.preprocessing


def test_a_size_or_channels_that_the_model_does_not_take_are_refused() -> None:
    fixed = classifier(["N", 3, 32, 32])
    with pytest.raises(UsageError, match=r"expected \[3, 32, 32\], found 64 x 64.*Leave --size"):
        Core.from_bytes(fixed, preprocess="imagenet", size=64)
    assert Core.from_bytes(fixed, preprocess="imagenet", size=32).preprocessing.crop == (32, 32)
    with pytest.raises(UsageError, match="Leave --size and --grey out"):
        Core.from_bytes(fixed, preprocess="imagenet", grey=True, size=32)
    with pytest.raises(UsageError, match=r"three channels.*Leave --grey out"):
        Core.from_bytes(fixed, preprocess="imagenet", grey=True)
    open_in_all = classifier(["a", "b", "c", "d"], channels=5)
    with pytest.raises(CoreError, match=r"does not run on pictures of this size.*--size H,W"):
        Core.from_bytes(open_in_all, preprocess="imagenet")


def test_what_a_user_writes_out_is_not_changed() -> None:
    spec = '{"mode": "RGB", "fit": "squash", "resize": [32, 32]}'
    assert Core.from_bytes(classifier(["N", 3, 32, 32]), preprocess=spec).preprocessing.scale == 1
    with pytest.raises(CoreError, match="does not make what the core takes"):
        Core.from_bytes(classifier(["N", 3, 40, 40]), preprocess=spec)
