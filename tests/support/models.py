"""Small ONNX models of every kind met in the wild, seeded, for tests only: pictures float32 [N, 3, 16, 16] in.

The tensor that a cut ought to find is called `feat` in all of them, the map it is pooled from `map`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Batch = int | str
Array = NDArray[Any]


class Builder:
    """A graph under construction: `op` adds a node and returns its output's name."""

    def __init__(self, opset: int = 18) -> None:
        self.rng = np.random.default_rng(7)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(
        self,
        op: str,
        *inputs: str,
        to: str = "",
        outputs: int = 1,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        name = to or f"t{len(self.nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        self.nodes.append(
            helper.make_node(
                op, inputs, names, name=f"n{len(self.nodes)}", domain=domain, **attributes
            )
        )
        return name

    def const(self, value: Any, kind: Any = np.int64) -> str:
        self.weights.append(
            numpy_helper.from_array(np.asarray(value, kind), f"w{len(self.weights)}")
        )
        return str(self.weights[-1].name)

    def weight(self, *shape: int, kind: Any = np.float32) -> str:
        return self.const(self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1), kind)

    def model(
        self,
        outputs: Sequence[str],
        batch: Batch = "N",
        shape: Sequence[Batch] = (3, 16, 16),
        kind: int = TensorProto.FLOAT,
        types: Sequence[int] = (),
    ) -> onnx.ModelProto:
        picture = helper.make_tensor_value_info("picture", kind, [batch, *shape])
        kinds = [*types, *[TensorProto.FLOAT] * (len(outputs) - len(types))]
        values = [
            helper.make_tensor_value_info(name, k, None)
            for name, k in zip(outputs, kinds, strict=True)
        ]
        graph = helper.make_graph(self.nodes, "small", [picture], values, self.weights)
        sets = [
            helper.make_opsetid(*s)
            for s in (("", self.opset), ("ai.onnx.ml", 3), ("com.microsoft", 1))
        ]
        return helper.make_model(graph, opset_imports=sets, ir_version=8)


def trunk(b: Builder, kind: Any = np.float32) -> str:
    """Two 3x3 convolutions: `map`, [N, 12, 8, 8]."""
    x = b.op("Conv", "picture", b.weight(8, 3, 3, 3, kind=kind), pads=[1] * 4)
    x = b.op("MaxPool", b.op("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
    return b.op("Relu", b.op("Conv", x, b.weight(12, 8, 3, 3, kind=kind), pads=[1] * 4), to="map")


def pooled(b: Builder, to: str = "feat") -> str:
    return b.op("Flatten", b.op("GlobalAveragePool", trunk(b)), to=to)


def dense(b: Builder, x: str, classes: int = 5, width: int = 12, to: str = "") -> str:
    return b.op("Gemm", x, b.weight(width, classes), b.weight(classes), to=to)


def gemm(batch: Batch = "N", opset: int = 18, tail: str = "Softmax") -> onnx.ModelProto:
    """Global average, dropout, dense head; `tail` follows."""
    b = Builder(opset)
    x = dense(b, b.op("Dropout", pooled(b)))
    kinds = [TensorProto.INT64] if tail == "ArgMax" else []
    return b.model([b.op(tail, x, axis=1) if tail else x], batch, types=kinds)


def matmul_add() -> onnx.ModelProto:
    b = Builder()
    return b.model(
        [b.op("Add", b.op("MatMul", pooled(b), b.weight(12, 5)), b.weight(5), to="logits")]
    )


def hidden_layer() -> onnx.ModelProto:
    """Two dense layers with a Relu between: the features are the Relu's."""
    b = Builder()
    return b.model(
        [
            dense(
                b, b.op("Relu", dense(b, pooled(b, to="early"), 7), to="feat"), width=7, to="logits"
            )
        ]
    )


def conv_head(batch: Batch = "N", kind: Any = np.float32, tail: str = "Softmax") -> onnx.ModelProto:
    """A 1x1 convolution to classes, Relu, then the global average, as SqueezeNet has it."""
    b = Builder()
    x = b.op(
        "Conv",
        b.op("Dropout", b.op("Identity", trunk(b, kind), to="same")),
        b.weight(5, 12, 1, 1, kind=kind),
    )
    x = b.op("Flatten", b.op("GlobalAveragePool", b.op("Relu", x)))
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    return b.model([b.op(tail, x) if tail else x], batch, kind=element, types=[element])


def labels_and_probabilities() -> onnx.ModelProto:
    """A label beside a ZipMap of probabilities, as converters of scikit-learn give them."""
    b = Builder()
    p = b.op("Softmax", dense(b, pooled(b)))
    b.op("ZipMap", p, to="scores", domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2, 3, 4])
    model = b.model([b.op("ArgMax", p, to="label", axis=1), "scores"], types=[TensorProto.INT64])
    score = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    model.graph.output[1].type.CopyFrom(helper.make_sequence_type_proto(score))
    return model


def soft_by_hand() -> onnx.ModelProto:
    """Softmax written out: a tail with paths that part and join."""
    b = Builder()
    x = dense(b, pooled(b))
    e = b.op("Exp", b.op("Sub", x, b.op("ReduceMax", x, b.const([1]))))
    return b.model([b.op("Div", e, b.op("ReduceSum", e, b.const([1])))])


def sixteen() -> onnx.ModelProto:
    """The batch of 16 is written into the input and into a Reshape."""
    b = Builder()
    x = b.op("Reshape", b.op("GlobalAveragePool", trunk(b)), b.const([16, 12]), to="feat")
    return b.model([dense(b, x, to="logits")], 16)


def mixed_rows() -> onnx.ModelProto:
    """Four rows that are centred on their common mean: nothing can free them."""
    b = Builder()
    x = pooled(b, to="raw")
    x = b.op("Sub", x, b.op("ReduceMean", x, b.const([0])), to="feat")
    return b.model([dense(b, x, to="logits")], 4)


def squeezed() -> onnx.ModelProto:
    """One picture in, a vector without a batch axis out, and so before the head."""
    b = Builder()
    x = b.op("Squeeze", b.op("GlobalAveragePool", trunk(b)), to="feat")
    return b.model([b.op("Add", b.op("MatMul", x, b.weight(12, 5)), b.weight(5), to="logits")], 1)


def squeezed_when_alone() -> onnx.ModelProto:
    """A headless model whose `squeeze()` drops the batch axis of a single picture."""
    b = Builder()
    return b.model([b.op("Squeeze", b.op("GlobalAveragePool", trunk(b)), to="feat")])


def vit(token: str = "class", batch: Batch = "N") -> onnx.ModelProto:
    """One transformer block over 4x4 patches and a class token; the head takes that token, or the tokens' mean."""
    b = Builder()
    rows = 1 if batch == "N" else int(batch)
    x = b.op("Conv", "picture", b.weight(8, 3, 4, 4), strides=[4, 4])
    x = b.op("Reshape", x, b.const([rows if rows > 1 else 0, 8, -1]))
    x = b.op("Transpose", x, perm=[0, 2, 1])
    first = b.const(np.repeat(b.rng.standard_normal((1, 1, 8)), rows, 0), np.float32)
    if batch == "N":
        count = b.op("Shape", "picture", start=0, end=1)
        first = b.op("Expand", first, b.op("Concat", count, b.const([1, 1]), axis=0))
    x = b.op("Concat", first, x, axis=1)
    q, k, v = (b.op("MatMul", x, b.weight(8, 8)) for _ in range(3))
    a = b.op("Softmax", b.op("MatMul", q, b.op("Transpose", k, perm=[0, 2, 1])))
    x = b.op("Add", x, b.op("MatMul", b.op("MatMul", a, v), b.weight(8, 8)))
    x = b.op(
        "Add", x, b.op("MatMul", b.op("Relu", b.op("MatMul", x, b.weight(8, 16))), b.weight(16, 8))
    )
    x = b.op("LayerNormalization", x, b.const(np.ones(8), np.float32), to="map")
    if token == "mean":
        x = b.op("ReduceMean", x, b.const([1]), to="feat", keepdims=0)
    else:
        x = b.op("Gather", x, b.const(0), to="feat", axis=1)
    return b.model([dense(b, x, width=8, to="logits")], batch)


def densenet() -> onnx.ModelProto:
    """Each layer reads the maps of all layers before it; normalised and rectified at the end, then averaged."""
    b = Builder()
    x = b.op("Conv", "picture", b.weight(4, 3, 3, 3), pads=[1] * 4)
    for width in (4, 8):
        x = b.op(
            "Concat",
            x,
            b.op("Conv", b.op("Relu", x), b.weight(4, width, 3, 3), pads=[1] * 4),
            axis=1,
        )
    known = [
        b.const(np.linspace(low, high, 12), np.float32)
        for low, high in ((1, 2), (-1, 1), (0, 1), (0.5, 2))
    ]
    x = b.op("Relu", b.op("BatchNormalization", x, *known), to="map")
    return b.model(
        [dense(b, b.op("Flatten", b.op("GlobalAveragePool", x), to="feat"), to="logits")]
    )


def headless() -> onnx.ModelProto:
    b = Builder()
    return b.model([pooled(b)])


def headless_map() -> onnx.ModelProto:
    b = Builder()
    trunk(b)
    return b.model(["map"])


def embedding() -> onnx.ModelProto:
    """A projection to unit length: no classes, so the output is the feature."""
    b = Builder()
    return b.model(
        [b.op("LpNormalization", b.op("MatMul", pooled(b, to="early"), b.weight(12, 6)), to="feat")]
    )


def channels_last() -> onnx.ModelProto:
    """Maps moved to [N, H, W, C] and averaged over axes 1 and 2."""
    b = Builder()
    x = b.op("Transpose", trunk(b), to="nhwc", perm=[0, 2, 3, 1])
    x = b.op("ReduceMean", b.op("Abs", x, to="last"), b.const([1, 2]), to="feat", keepdims=0)
    return b.model([dense(b, x, to="logits")])


def dynamic_range(batch: Batch = "N") -> onnx.ModelProto:
    """A trunk quantised by the range of the whole batch, and a head quantised likewise."""
    b = Builder()
    x = _dynamic(b, pooled(b, to="early"), 12, 9)
    return b.model([_dynamic(b, b.op("Relu", x, to="feat"), 9, 5)], batch)


def _dynamic(b: Builder, x: str, width: int, out: int) -> str:
    q = b.op("DynamicQuantizeLinear", x, outputs=3)
    product = b.op(
        "MatMulInteger", q, b.const(b.rng.integers(-99, 99, (width, out)), np.int8), f"{q}_2"
    )
    scale = b.op("Mul", f"{q}_1", b.const(0.01, np.float32))
    return b.op("Mul", b.op("CastLike", product, scale), scale)


def quantised(head: str = "QGemm") -> onnx.ModelProto:
    """uint8 features of scale 0.02 and zero point 3, then a quantised head: QGemm, QLinearMatMul or QDQ."""
    b = Builder()
    scale, zero = b.const(0.02, np.float32), b.const(3, np.uint8)
    x = b.op("QuantizeLinear", b.op("GlobalAveragePool", trunk(b)), scale, zero)
    w = b.const(b.rng.integers(-99, 99, (12, 5)), np.int8)
    weights = [w, b.const(0.01, np.float32), b.const(0, np.int8)]
    out = [b.const(0.1, np.float32), b.const(128, np.uint8)]
    if head == "QDQ":
        x = b.op("DequantizeLinear", b.op("Flatten", x), scale, zero, to="feat")
        return b.model([b.op("Gemm", x, b.op("DequantizeLinear", *weights), to="logits")])
    x = b.op("Flatten", x, to="feat")
    if head == "QGemm":
        x = b.op("QGemm", x, scale, zero, *weights, "", *out, domain="com.microsoft")
    else:
        x = b.op("QLinearMatMul", x, scale, zero, *weights, *out)
    return b.model([b.op("DequantizeLinear", x, *out, to="logits")])


def two_heads() -> onnx.ModelProto:
    """Age and sex from the same features."""
    b = Builder()
    x = pooled(b)
    return b.model([dense(b, x, 1, to="age"), dense(b, x, 2, to="sex")])


def head_and_map() -> onnx.ModelProto:
    """Logits, and the map they come of as a second output."""
    b = Builder()
    return b.model([dense(b, pooled(b), to="logits"), "map"])


def two_trunks() -> onnx.ModelProto:
    """Two heads on features of their own: no single cut."""
    b = Builder()
    x = b.op("GlobalAveragePool", trunk(b))
    low, high = (b.op("Flatten", b.op(op, x)) for op in ("Sin", "Cos"))
    return b.model([dense(b, low, to="logits_a"), dense(b, high, to="logits_b")])


def only_a_head() -> onnx.ModelProto:
    """Logistic regression on pixels: before its head there is only the picture."""
    b = Builder()
    return b.model([dense(b, b.op("Flatten", "picture"), width=768, to="logits")])


def two_inputs() -> onnx.ModelProto:
    b = Builder()
    model = b.model([dense(b, b.op("Mul", pooled(b), "age"), to="logits")])
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["N", 1]))
    return model
